"""From MediaPipe's points to iBUG-68: two schemes that mean different places by the same word.

A landmark is a place on MediaPipe's mesh - a point, or a mean of some; five of equal distances along a brow -
plus an offset in the head's own axes.  The offsets are learnt from a template whose own 68 landmarks are known:
it is drawn with its brows, eyes and lips painted where its landmarks say, the networks look at it, and what they
miss by is the offset.  `DEFAULT_MM` was learnt so, from the generic head of ICT-FaceKit (MIT); brows and eyes have no
offset there, for painted ones are shorter and rounder than people's.  Where a painted template teaches another offset
of eyes and of the ends of the mouth, the middle between it and the default is taken.

A template teaches where it can be trusted.  Each pair of landmarks is looked at in the mirror: what differs from
its mirror image is the annotator's slip, not a definition.  And an offset far from the default is a slip too:
menpo3d's template has the tip of its nose 9 mm above the tip.
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
from mimicme.pipeline.template import Template, load_prepared
from mimicme.stages.landmarks.consensus import agree
from mimicme.stages.landmarks.mediapipe_points import on_points
from mimicme.stages.landmarks.networks import PictureNetworks
from mimicme.stages.landmarks.pose import head_pose
from mimicme.stages.landmarks.search import find_head
from mimicme.stages.landmarks.views import Scene, head_camera, look

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
# A template's offset counts in full up to the first of these from the default (mm), not at all from the second.
_TRUSTED_MM, _REFUSED_MM = 3.0, 6.0
# Of the jaw only the chin is a place on skin; the others lie wherever the outline of a picture happens to be.
CHIN = np.arange(7, 10)
SILHOUETTE = np.setdiff1d(np.arange(17), CHIN)
# The same for half the difference between an offset and its mirror image.
_EVEN_MM, _UNEVEN_MM = 0.75, 1.5
# What painted lids and ends of the mouth are worth as a lesson: half of it serves real scans and synthetic ones best
# together.
_PAINTED_SHARE = 0.5
_ENDS = np.array([48, 54, 60, 64])
BROW_WIDTHS_MM = (4.0, 6.5)
TEACHING_VIEWS = ((0.0, 0.0), (-15.0, 0.0), (15.0, 0.0), (0.0, 12.0), (0.0, -12.0))


@dataclass(frozen=True)
class Bridge:
    """How to get from 478 points to 68.

    Attributes:
        offsets: (68, 3) in the head's axes, mm on a face whose eye centres are `EYES_MM` apart.
        bare_offsets: the same for scans without colours, where the networks take the ridge for the brow.
        origin: `default`, or `template` when a template has taught it.
    """

    offsets: Floats
    bare_offsets: Floats
    origin: str

    def landmarks(self, points: Floats, pose: Floats, textured: bool = True) -> Floats:
        """(68, 3) landmarks of the head with 478 points (478, 3) and a pose (4, 4); not yet on the surface."""
        plain = on_points(points)
        scale = eye_distance(plain) / EYES_MM
        offsets = self.offsets if textured else self.bare_offsets
        return np.asarray(plain + scale * offsets @ pose[:3, :3].T)


_MIRROR_X = np.array([-1.0, 1.0, 1.0])


def symmetric(offsets: Floats) -> tuple[Floats, Floats]:
    """Offsets (68, 3) averaged with their mirror image, and half the distance between the two, (68,)."""
    other = offsets[MIRROR] * _MIRROR_X
    return (offsets + other) / 2, np.linalg.norm(offsets - other, axis=1) / 2


def trusted(taught: Floats, default: Floats, painted: bool = True) -> Floats:
    """(68, 3) offsets that a template taught (68, 3), as far as it is trusted, and the default beyond.

    Args:
        painted: it was painted; then half is taken of what it has to say about lids and the ends of the mouth.  If
            not it has nothing to say about lids, for templates have no eyeballs, and all about the mouth.
    """
    even, uneven = symmetric(taught)
    difference = even - default
    far = np.linalg.norm(difference, axis=1)
    # brows are where definitions differ most
    reach = np.ones(N_LANDMARKS)
    reach[GROUPS["left_eyebrow"]] = reach[GROUPS["right_eyebrow"]] = 1.7
    trust = np.clip((_REFUSED_MM * reach - far) / ((_REFUSED_MM - _TRUSTED_MM) * reach), 0, 1)
    trust *= np.clip((_UNEVEN_MM - uneven) / (_UNEVEN_MM - _EVEN_MM), 0, 1)
    for group in ("left_eye", "right_eye"):  # painted, where a scan has lashes, an eyeball and a gap between
        trust[GROUPS[group]] *= _PAINTED_SHARE if painted else 0.0
    if painted:
        trust[_ENDS] *= _PAINTED_SHARE
    trust[CHIN] = np.clip(
        (_UNEVEN_MM - uneven[CHIN]) / (_UNEVEN_MM - _EVEN_MM), 0, 1
    )  # no default to keep to
    trust[SILHOUETTE] = 0
    return default + trust[:, None] * difference


def _whole(half: dict[int, tuple[float, float, float]]) -> Floats:
    offsets = np.zeros((N_LANDMARKS, 3))
    for k, offset in half.items():
        offsets[k] = offset
        offsets[MIRROR[k]] = offset * _MIRROR_X
    return offsets


DEFAULT_MM = _whole(_HALF_MM)
BARE_DEFAULT_MM = _whole(_BARE_HALF_MM)


def default_bridge() -> Bridge:
    return Bridge(DEFAULT_MM, BARE_DEFAULT_MM, "default")


@lru_cache(maxsize=2)
def _of_file(path: Path, networks: PictureNetworks, stamp: tuple[int, int]) -> Bridge:
    return learn(load_prepared(path), networks)


def bridge_for(path: Path, networks: PictureNetworks) -> Bridge:
    """The bridge that the prepared template in a file teaches, once per process (about a second)."""
    found = path.stat()
    return _of_file(path, networks, (found.st_mtime_ns, found.st_size))


def learn(template: Template, networks: PictureNetworks) -> Bridge:
    """The bridge that a template teaches; the default one when the networks see no face in it."""
    painted_one, bare = teach(template, networks), teach(template, networks, brows_mm=(0.0,))
    if painted_one is None or bare is None:
        return default_bridge()
    return Bridge(trusted(painted_one, DEFAULT_MM), trusted(bare, BARE_DEFAULT_MM, painted=False), "template")


def teach(
    template: Template,
    networks: PictureNetworks,
    brows_mm: tuple[float, ...] = BROW_WIDTHS_MM,
    least_presence: float = 5.0,
) -> Floats | None:
    """(68, 3) offsets of a template's landmarks from where the networks see them; None when they see no face.

    Args:
        brows_mm: how wide brows are painted, one lesson each; 0: nothing is painted.
    """
    if template.landmark_vertices.shape[0] != N_LANDMARKS:
        return None
    marks = template.landmarks()
    scene = Scene(Mesh(template.vertices, template.faces), None)
    head = find_head(scene, networks)
    if head is None:
        return None
    pose, seen = head.pose, []
    for width in brows_mm:
        paint = partial(painted, marks=marks, brow_mm=width) if width > 0 else None
        for _ in range(2):
            views = []
            for yaw, pitch in TEACHING_VIEWS:
                camera = head_camera(pose, yaw, pitch)
                views.append(look(scene, camera, networks, creases=True, paint=paint))
            agreed = agree(views)
            pose = agreed.pose
        if min(view.presence for view in views) < least_presence:
            return None
        seen.append(agreed.points)
    points = np.mean(seen, axis=0)
    pose = head_pose(points)
    return np.asarray((marks - on_points(points)) @ pose[:3, :3] * (EYES_MM / eye_distance(marks)))


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
