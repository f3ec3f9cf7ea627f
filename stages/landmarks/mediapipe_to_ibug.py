"""From MediaPipe's 478 points to iBUG-68: two annotation schemes that mean different places by the same word.

A landmark is a place on MediaPipe's mesh - a point, or a mean of some; five of equal distances along a brow -
plus an offset in the head's own axes.  The offsets are learnt from a template whose own 68 landmarks are known:
it is rendered with its brows, eyes and lips painted where its landmarks say, the networks detect their points in these
views, and what they miss by is the offset.  `DEFAULT_MM` was learnt so, from the generic head of ICT-FaceKit (MIT);
brows and eyes have no offset there, for painted ones are shorter and rounder than people's.  Where a painted template
gives another offset of eyes and of the ends of the mouth, the middle between it and the default is taken.

A template's offsets count where they are plausible.  Each pair of landmarks is compared with its mirror image: what
differs from it is an annotation error, not a definition.  And an offset far from the default is an error too: menpo3d's
template, as it comes, has the tip of its nose 11 mm above the tip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import GROUPS, MIRROR, N_LANDMARKS, eye_distance
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.skin import load_skin
from mimicme.stages.landmarks.consensus import consensus_of
from mimicme.stages.landmarks.mediapipe_points import ibug_from_mediapipe
from mimicme.stages.landmarks.networks import PictureNetworks
from mimicme.stages.landmarks.pose import head_pose
from mimicme.stages.landmarks.search import find_head
from mimicme.stages.landmarks.views import Scene, detect_points, head_camera

EYES_MM = 63.0  # the size of face at which offsets are measured: distance of the eye centres
# Learnt offsets, mm, in the head's axes: one half of the face, the other is its mirror image.
_HALF_MM: dict[int, tuple[float, float, float]] = {
    27: (0.0, -3.7, 0.3),
    28: (0.0, 1.2, -0.6),
    29: (0.0, -2.8, 1.6),
    30: (0.0, -0.7, 0.2),
    31: (0.8, -0.9, 0.4),
    32: (1.2, -1.0, 0.7),
    33: (0.0, 0.4, 1.7),
    48: (0.4, 0.2, 0.1),
    49: (-2.5, -1.1, -1.9),
    50: (0.0, -0.7, 0.1),
    51: (0.0, 0.3, 0.0),
    57: (0.0, -0.1, 0.0),
    58: (-2.9, 0.3, -0.8),
    59: (-3.7, 1.3, -2.7),
    60: (1.0, 0.3, -0.4),
    61: (-3.9, -0.2, -2.5),
    62: (0.0, -0.5, -1.8),
    66: (0.0, -1.3, -2.5),
    67: (-4.8, -1.0, -2.9),
}
# The same without any paint, for scans without colours; here the brows have one.
_BARE_HALF_MM: dict[int, tuple[float, float, float]] = {
    17: (-1.5, 5.1, -2.5),
    18: (-0.1, 6.9, -0.9),
    19: (0.9, 6.4, 0.8),
    20: (2.6, 5.8, 2.6),
    21: (2.0, 5.5, 2.5),
    27: (0.0, 1.3, -0.3),
    28: (0.0, 4.9, -2.4),
    29: (0.0, 0.2, 0.0),
    30: (0.0, 0.3, 0.1),
    31: (0.7, -1.1, 0.2),
    32: (1.8, -1.2, 1.1),
    33: (0.0, 0.5, 2.0),
    48: (-0.6, 0.1, 0.0),
    49: (-3.7, 0.7, -2.0),
    50: (-0.3, 1.7, 0.3),
    51: (0.0, 2.6, 0.4),
    57: (0.0, -1.3, -0.8),
    58: (-3.2, -1.0, -1.6),
    59: (-4.3, 0.3, -3.3),
    60: (1.2, 0.7, -0.4),
    61: (-4.1, 0.2, -1.8),
    62: (0.0, -0.3, -1.5),
    66: (0.0, -0.7, -0.5),
    67: (-5.0, -0.6, -1.5),
}
# A template's offset counts in full up to the first of these from the default (mm), not at all from the second; the
# other two where definitions differ most: brows, and the wings of the nose, in their crease or at the nostril's rim.
# The embedded template has its wings 6.2 mm from the default: four fifths of that count.  Counted whole, noses of five
# people of `synth --maker people` gained 0.1 mm, those of three others and james lost as much or more.
_PLAUSIBLE_MM, _FAR_MM = (3.0, 6.0), (5.1, 10.2)
# The same for half the difference between an offset and its mirror image.
_EVEN_MM, _UNEVEN_MM = 0.75, 1.5
# Weight of the offsets that a template's lids, and painted ends of the mouth, give: one half serves real scans and
# synthetic ones best together.
_LIDS_SHARE = _PAINTED_SHARE = 0.5
_ENDS = np.array([48, 54, 60, 64])
_WINGS, _SILLS = np.array([31, 35]), np.array([32, 34])
BROW_WIDTHS_MM = (4.0, 6.5)
LEARNING_VIEWS = ((0.0, 0.0), (-15.0, 0.0), (15.0, 0.0), (0.0, 12.0), (0.0, -12.0))


@dataclass(frozen=True)
class MediapipeToIbug:
    """The mapping from MediaPipe's 478 points to iBUG-68: points of the mesh, plus offsets.

    Attributes:
        offsets: (68, 3) in the head's axes, mm on a face whose eye centres are `EYES_MM` apart.
        bare_offsets: the same for scans without colours, where the networks take the ridge for the brow.
        origin: `default`, or `template` when it was learnt from a template.
    """

    offsets: Floats
    bare_offsets: Floats
    origin: str

    def landmarks(self, points: Floats, pose: Floats, textured: bool = True) -> Floats:
        """(68, 3) landmarks of the head with 478 points (478, 3) and a pose (4, 4); not yet on the surface."""
        plain = ibug_from_mediapipe(points)
        scale = eye_distance(plain) / EYES_MM
        offsets = self.offsets if textured else self.bare_offsets
        return np.asarray(plain + scale * offsets @ pose[:3, :3].T)


_MIRROR_X = np.array([-1.0, 1.0, 1.0])


def symmetric(offsets: Floats) -> tuple[Floats, Floats]:
    """Offsets (68, 3) averaged with their mirror image, and half the distance between the two, (68,)."""
    other = offsets[MIRROR] * _MIRROR_X
    return (offsets + other) / 2, np.linalg.norm(offsets - other, axis=1) / 2


def plausible_offsets(learnt: Floats, default: Floats, painted: bool = True) -> Floats:
    """(68, 3) offsets learnt from a template (68, 3), as far as they are plausible, blended with the default.

    Args:
        painted: it was painted; then its offsets of the ends of the mouth have half the weight, as those of lids
            always have.  If not, lids are off by up to 5 mm, as on bare scans, and more is plausible there.
    """
    even, uneven = symmetric(learnt)
    difference = even - default
    far = np.linalg.norm(difference, axis=1)
    bounds = np.tile(_PLAUSIBLE_MM, (N_LANDMARKS, 1))
    bounds[GROUPS["left_eyebrow"]] = bounds[GROUPS["right_eyebrow"]] = bounds[_WINGS] = _FAR_MM
    slack = np.ones(N_LANDMARKS)
    for group in ("left_eye", "right_eye"):
        if not painted:
            bounds[GROUPS[group]], slack[GROUPS[group]] = _FAR_MM, 2.0
    # beside them a ray falls into the nostril, on one side sooner than on the other: of two preparations of the
    # embedded template one has them 0.1 mm from each other's mirror image (0.8 bare), the other 2.3 mm (2.9 bare)
    slack[_SILLS] = 2.0
    plausible, implausible = bounds.T
    weight = np.clip((implausible - far) / (implausible - plausible), 0, 1)
    weight *= np.clip((_UNEVEN_MM - uneven / slack) / (_UNEVEN_MM - _EVEN_MM), 0, 1)
    for group in (
        "left_eye",
        "right_eye",
    ):  # painted or bare, where a scan has lashes, an eyeball and a gap between
        weight[GROUPS[group]] *= _LIDS_SHARE
    if painted:
        weight[_ENDS] *= _PAINTED_SHARE
    for brow in ("left_eyebrow", "right_eyebrow") if painted else ():
        # a brow is one line: offsets of some of its points alone would move these along it, and a painted brow is
        # rounder than people's.  Without paint the ridge is seen, and those of the inner points are right where an
        # end's is not (`synth`, 2 bare people: 4.9 mm off, with all of a brow 7.4)
        weight[GROUPS[brow]] = weight[GROUPS[brow]].min()
    weight[GROUPS["jaw"]] = 0  # it lies wherever the outline of a picture happens to be
    return default + weight[:, None] * difference


def _both_sides(half: dict[int, tuple[float, float, float]]) -> Floats:
    offsets = np.zeros((N_LANDMARKS, 3))
    for k, offset in half.items():
        offsets[k] = offset
        offsets[MIRROR[k]] = offset * _MIRROR_X
    return offsets


DEFAULT_MM = _both_sides(_HALF_MM)
BARE_DEFAULT_MM = _both_sides(_BARE_HALF_MM)


def default_mapping() -> MediapipeToIbug:
    return MediapipeToIbug(DEFAULT_MM, BARE_DEFAULT_MM, "default")


@lru_cache(maxsize=2)
def _of_file(path: Path, networks: PictureNetworks, stamp: tuple[int, int]) -> MediapipeToIbug:
    return learn_mapping(load_skin(path), networks)


def mapping_for(path: Path, networks: PictureNetworks) -> MediapipeToIbug:
    """The mapping learnt from the prepared template in a file, once per process (about a second)."""
    found = path.stat()
    return _of_file(path, networks, (found.st_mtime_ns, found.st_size))


def learn_mapping(template: Template, networks: PictureNetworks) -> MediapipeToIbug:
    """The mapping learnt from a template; the default one when the networks detect no face on it."""
    painted_one, bare = learn_offsets(template, networks), learn_offsets(template, networks, brows_mm=(0.0,))
    if painted_one is None or bare is None:
        return default_mapping()
    return MediapipeToIbug(
        plausible_offsets(painted_one, DEFAULT_MM),
        plausible_offsets(bare, BARE_DEFAULT_MM, painted=False),
        "template",
    )


def learn_offsets(
    template: Template,
    networks: PictureNetworks,
    brows_mm: tuple[float, ...] = BROW_WIDTHS_MM,
    least_presence: float = 5.0,
) -> Floats | None:
    """(68, 3) offsets of a template's landmarks from where the networks detect them; None when they detect no face.

    Args:
        brows_mm: how wide brows are painted, the results being averaged; 0: nothing is painted.
    """
    if template.landmark_vertices.shape[0] != N_LANDMARKS:
        return None
    marks = template.landmarks()
    scene = Scene(Mesh(template.vertices, template.faces), None)
    head = find_head(scene, networks)
    if head is None:
        return None
    pose, width_mm, seen = head.pose, head.view.width_mm, []
    for brow_mm in brows_mm:
        paint = partial(painted, marks=marks, brow_mm=brow_mm) if brow_mm > 0 else None
        for last in (False, True):  # the ends of the mouth say next to nothing of the pose
            views = []
            for yaw, pitch in LEARNING_VIEWS:
                camera = head_camera(pose, yaw, pitch, width_mm)
                views.append(detect_points(scene, camera, networks, creases=last, paint=paint))
            consensus = consensus_of(views)
            pose, width_mm = consensus.pose, consensus.width_mm
        if min(view.presence for view in views) < least_presence:
            return None
        seen.append(consensus.points)
    points = np.mean(seen, axis=0)
    pose = head_pose(points)
    return np.asarray((marks - ibug_from_mediapipe(points)) @ pose[:3, :3] * (EYES_MM / eye_distance(marks)))


def painted(
    picture: NDArray[np.float32], camera: Camera, marks: Floats, brow_mm: float
) -> NDArray[np.float32]:
    """The picture of a bare template with lips, brows and eyes where its landmarks (68, 3) say they are."""
    cv2 = opencv()
    out = picture.astype(np.float32)
    height, width = out.shape[:2]
    pixels, per_mm, bits = camera.project(marks), camera.pixels_per_mm, 4
    at = np.rint(pixels * 2**bits - 2 ** (bits - 1)).astype(np.int32)

    def layer(draw: str, *arguments: object) -> NDArray[np.uint8]:
        mask = np.zeros((height, width), np.uint8)
        getattr(cv2, draw)(mask, *arguments, cv2.LINE_AA, bits)
        return mask

    def lay(mask: NDArray[np.uint8], color: tuple[int, int, int], strength: float, blur_mm: float) -> None:
        soft = cv2.GaussianBlur(mask, (0, 0), max(blur_mm * per_mm, 0.3)).astype(np.float32) / 255
        out[:] += (np.array(color, np.float32) - out) * (strength * soft)[..., None]

    def line(rows: slice, closed: bool, thick_mm: float) -> NDArray[np.uint8]:
        return layer("polylines", [at[rows]], closed, 255, max(1, round(thick_mm * per_mm)))

    lay(layer("fillPoly", [at[48:60]], 255), (160, 90, 85), 0.5, 0.6)
    for brow in ("left_eyebrow", "right_eyebrow"):
        lay(line(GROUPS[brow], False, brow_mm), (50, 36, 28), 0.8, 0.8)
    for group in ("left_eye", "right_eye"):
        rows = GROUPS[group]
        opening = layer("fillPoly", [at[rows]], 255)
        lay(opening, (215, 208, 200), 0.95, 0.3)
        middle = tuple(int(x) for x in at[rows].mean(axis=0))
        for radius_mm, color in ((5.6, (70, 50, 35)), (2.4, (15, 12, 12))):
            disc = layer("circle", middle, int(radius_mm * per_mm * 2**bits), 255, -1)
            lay(np.minimum(disc, opening), color, 1.0, 0.3)
        lay(line(rows, True, 0.9), (45, 30, 25), 0.8, 0.3)
    lay(line(slice(60, 65), False, 1.0), (70, 30, 28), 0.7, 0.4)
    return out
