"""The detector: 68 landmarks on a scan, detected in rendered views from several sides and lifted to its surface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.rigid import angle_deg
from mimicme.pipeline.landmarks import DETECTED, GROUPS, N_LANDMARKS, NONE, PARTS, Located
from mimicme.stages.landmarks.brows import follow_brows
from mimicme.stages.landmarks.chin import CHIN, RELIABLE, Chin, find_chin
from mimicme.stages.landmarks.consensus import Consensus, consensus_of
from mimicme.stages.landmarks.creases import follow_creases, unshown_parts
from mimicme.stages.landmarks.half_shape import middle_by_shape
from mimicme.stages.landmarks.halves import RIM_MM, completed, middle_of, missing_side
from mimicme.stages.landmarks.hidden import refuse_hidden
from mimicme.stages.landmarks.lids import follow_lids
from mimicme.stages.landmarks.lips import follow_lips
from mimicme.stages.landmarks.mediapipe_points import ibug_from_mediapipe
from mimicme.stages.landmarks.mediapipe_to_ibug import MediapipeToIbug
from mimicme.stages.landmarks.middles import middled
from mimicme.stages.landmarks.networks import PictureNetworks
from mimicme.stages.landmarks.outer_corners import follow_outer_corners
from mimicme.stages.landmarks.pose import head_pose
from mimicme.stages.landmarks.search import SURE_PRESENCE, Head, find_head, refine_pose
from mimicme.stages.landmarks.shut_lids import follow_shut_lids
from mimicme.stages.landmarks.spacing import spaced
from mimicme.stages.landmarks.strips import ramp
from mimicme.stages.landmarks.upper_face import (
    UpperFace,
    between_shape,
    follow_upper_face,
    nose_aside,
    nose_shape,
)
from mimicme.stages.landmarks.views import (
    FACE_MM,
    Scene,
    View,
    detect_points,
    head_camera,
    texels_too_many,
)

# (yaw, pitch) of the views beside the frontal one: more of them changed nothing on real and synthetic scans.
ACROSS = ((-15.0, 0.0), (15.0, 0.0))
VIEWS = (*ACROSS, (0.0, 12.0), (0.0, -12.0))
# Where the front shows little - half a scan, a turned head - views from further round take over.
ASIDE = ((-40.0, 0.0), (40.0, 0.0))
ENOUGH_SEEN = 0.7
LEAST_PRESENCE = 5.0  # of a view that takes part in the consensus
LEAST_VIEWS = 3
# Median over all 478 points of how much the views disagree: 0.8 to 1.6 mm on faces, over 4 on spheres, where a network
# that is asked for a face draws one, but each time elsewhere.
FACE_SPREAD_MM = 3.0
# Half a face is completed twice: the middle is 1.0 mm off first and 0.5 mm then (a neutral of `synth`).
MIDDLE_ROUNDS, LEAST_TRUST = 2, 1e-3
MOST_HALVES = 2  # of views of what may be half a face that are completed where nothing is a face as it is
SNAP_MM = 8.0  # a point further from the scan lies over a hole
BOUNDARY_MM = 4.0  # a point that no ray meets, but the scan reaches: a lid beside the hole of an eye
SPREAD_MM = 6.0  # views that disagree by more know nothing
# Evidence with which relief or the lips' borders have a point that the views disagree about.
RELIEF_SHOWS = 0.5
# Views move on to the consensus' pose until it turns by less, at most so often.  On a face of `synth` that is looked at
# from 10 degrees aside, the pose turns by 9 degrees more in the second round and 10 back in the third.  With 2 degrees
# for heads that were searched for, a coarse scan (of the tests) lay 0.8 degrees and its points 0.5 mm beside where they
# came to lie from five other sides; with 1 degree 0.1 mm.  Tracked heads are spared such rounds.
SETTLED_DEG, TRACKED_DEG, MOST_ROUNDS = 1.0, 2.0, 6
SETTLED_SHARE = 0.05  # and until the pictures' width changes by less
FULL_PRESENCE = 15.0
UNTEXTURED_SHARE = 0.6  # what a shaded scan's points are worth beside a textured one's
# Of a chin whose shape is found, beside points by hand: it is 2 to 3 mm off where these are one.
CHIN_SHARE = 0.3
LEAST_CHIN = 0.1  # evidence below which none is given
GUESSED_SHARE = 0.5  # of brows, eyes and mouth of a bare scan where its surface does not show them
BROW_SHARE = 0.1  # of brows that the texture does not show
SHAPE_SHARE = 0.5  # of brows, nose and eyes that the shape of a bare scan's upper face tells
# Share of the lips' outer border that is absent, from a mouth to a hole in its place: open, pouted and half hidden ones
# of ten people of `synth` have 0.17 at most, of mouths that are cut out as many as 0.4 to 1.  What is left lies on the
# hole's rim, and is worth that share.
CUT_OUT, RIM_SHARE = (0.2, 0.4), 0.1
LIPS = slice(48, 60)

AROUND_MM = 1.2  # radius around a point over which its place on the scan is averaged
# That mean lies before the bottom of a fold and behind a tip.  Corners of eyes are therefore taken so far back, and the
# tip of the nose forwards, before they are projected: what ten people of `synth` show, and other makers and james too.
DEEPER_MM = {36: 2.0, 39: 2.0, 42: 2.0, 45: 2.0, 30: -1.0}


def _ball(count: int = 26) -> Floats:
    """(count + 1, 3) points evenly in a ball of radius 1, in a golden spiral: no two cross a plane together; first the
    middle, which is also their mean."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + np.sqrt(5)) * k
    flat = np.sqrt(1 - z**2)
    directions = np.stack([np.cos(turn) * flat, np.sin(turn) * flat, z], axis=1)
    ball = directions * np.cbrt(((np.arange(count) * 11) % count + 0.5) / count)[:, None]
    return np.concatenate([np.zeros((1, 3)), ball - ball.mean(axis=0)])


_AROUND = _ball()  # in the head's axes

# Why a point is absent, as stored.
PRESENT, NOT_GIVEN, OFF_SCAN, UNSEEN, DISAGREED, OVER_HOLE, OUTLINE, OTHER_HALF = range(8)
ABSENCE = (
    "present",
    "not given by the file",
    "given, but off the scan",
    "no view sees it",
    "the views disagree about it",
    "it lies over a hole of the scan",
    "it lies on the outline of a picture and on no fixed place of the skin; the registered mesh has it later",
    "the scan has the other half of the face, whose mirror image was looked at in its place",
)


class FaceFinder:
    """Finds landmarks in rendered views of a scan, by networks for images.

    Args:
        networks: detect a face, and points on it, in an image.
        to_ibug: from their points to iBUG-68.
        chin: the template's, which those of scans are found by; None: no chin is found.
        upper_face: the template's, which those of scans without colours are found by, and noses and inner corners of
            the eyes of all; None: by the networks alone.
    """

    def __init__(
        self,
        networks: PictureNetworks,
        to_ibug: MediapipeToIbug,
        chin: Chin | None = None,
        upper_face: UpperFace | None = None,
    ) -> None:
        self.networks, self.to_ibug, self.chin, self.upper_face = networks, to_ibug, chin, upper_face
        # `bridge` is the word of the attribute `detector` in checkpoints
        self.name = f"{networks.name}, {to_ibug.origin} bridge"

    @staticmethod
    def texels_too_many(scan: Mesh, size: tuple[int, int]) -> int:
        """By how much coarser an image of (height, width) than a scan's own will do."""
        return texels_too_many(scan, size)

    def detect(self, scan: Mesh, image: NDArray[np.uint8] | None, near: Floats | None = None) -> Located:
        """See `Detector`."""
        scene = Scene(scan, image)
        missed: list[View] = []
        head = find_head(scene, self.networks, near, missed)
        halves = [view for view in (missed if head is None else [head.view]) if missing_side(view)]
        for view in sorted(halves, key=lambda view: view.presence, reverse=True)[:MOST_HALVES]:
            by_mirror = self._half_face(scene, image, view, sure=head is not None)
            if by_mirror is not None:
                return by_mirror
        seen = None if head is None else self.multi_view_consensus(scene, head, known=head.near)
        if seen is None or np.median(seen[0].spread) > FACE_SPREAD_MM:
            raise self._no_face(scan, image)
        consensus = seen[0]
        rough = self.to_ibug.landmarks(consensus.points, consensus.pose, scene.textured)
        refuse_hidden(scene, rough, consensus.pose)
        return landmarks_on_scan(scene, *seen, self.to_ibug, self.chin, self.upper_face)

    def _half_face(
        self, scene: Scene, image: NDArray[np.uint8] | None, seen_half: View, sure: bool
    ) -> Located | None:
        """Landmarks of a face of which the scan has one side, see `halves`; None where its whole shows no face.

        Args:
            seen_half: a frontal view of it, which says about where the head is and which side is missing.
            sure: the half alone shows a face; else the whole has to show one clearly.
        """
        side = -missing_side(seen_half)
        whole, view = self._whole_face(scene, image, seen_half.pose)
        for _ in range(MIDDLE_ROUNDS - 1):
            tried = []
            for pose in self._own_poses(scene, view, side):
                tried.append(self._whole_face(scene, image, pose))
                if tried[-1][1].presence > SURE_PRESENCE:
                    break
            whole, view = max(tried, key=lambda one: one[1].presence)
        found = refine_pose(whole, view, self.networks, rounds=1)
        if found is not None and not sure and found.view.presence <= SURE_PRESENCE:
            return None
        seen = None if found is None else self.multi_view_consensus(whole, found, known=False)
        if seen is None or np.median(seen[0].spread) > FACE_SPREAD_MM:
            return None
        return on_scan_itself(
            landmarks_on_scan(whole, *seen, self.to_ibug, self.chin, self.upper_face), scene
        )

    def _whole_face(self, scene: Scene, image: NDArray[np.uint8] | None, pose: Floats) -> tuple[Scene, View]:
        """Half a face completed about its middle, which is searched for near a pose (4, 4); and its frontal view, as
        wide as the face in a first one wants."""
        middle = middle_of(scene.surface, scene.centre, pose)
        whole = Scene(completed(scene.mesh, scene.surface, scene.centre, middle), image)
        first = detect_points(whole, head_camera(middle), self.networks)
        if not np.isfinite(first.misfit_mm):
            return whole, first
        return whole, detect_points(whole, head_camera(first.pose, width_mm=first.width_mm), self.networks)

    def _own_poses(self, scene: Scene, view: View, side: int) -> Iterator[Floats]:
        """Poses (4, 4) of a head as what the scan itself has of it says, the likeliest first: by the template's shape,
        which goes astray where the networks saw the head turned by 17 degrees, and by the networks' points.  Of its
        whole they see more, but its middle is where it was completed.

        Args:
            view: of the whole.
            side: which the scan has, see `middle_by_shape`.
        """
        if self.upper_face is not None and side:
            points = self.to_ibug.landmarks(view.points, view.pose, scene.textured)
            mesh = scene.mesh
            found = middle_by_shape(self.upper_face, mesh.vertices, mesh.faces, points, view.pose, side)
            if found is not None:
                yield found
        own = scene.surface.distance(view.points - scene.centre) < RIM_MM
        yield head_pose(view.points, np.where(own, 0.02 + view.cosine**2, LEAST_TRUST))

    def _no_face(self, scan: Mesh, image: NDArray[np.uint8] | None) -> FrameRejected:
        """The rejection; before that the scan is looked at the other way round, from where its triangles are backs."""
        turned = replace(
            scan,
            faces=scan.faces[:, ::-1],
            uv_faces=None if scan.uv_faces is None else scan.uv_faces[:, ::-1],
        )
        if find_head(Scene(turned, image), self.networks) is not None:
            return FrameRejected(
                "no-face",
                "a face is found only where the triangles show their backs",
                expected="triangles that face outwards",
                todo="Reverse the triangles (MeshLab: Invert Faces Orientation) and export the frame again.",
            )
        return FrameRejected(
            "no-face",
            "no face is found on the scan",
            expected="a scan that shows a face from some side",
            todo="Look at the scan: a mask, a hand or hair over the nose hides a face; capture it again without. If it "
            "shows one, put a landmark file beside the frame.",
        )

    def multi_view_consensus(
        self, scene: Scene, head: Head, known: bool
    ) -> tuple[Consensus, list[View]] | None:
        """The consensus of views rendered around the head's pose, and these; None when too few show a face.

        The views are rendered again around the pose of their consensus until that stays where it is: so the points do
        not depend on how the scan lies, nor on where the head was one frame ago.

        Args:
            known: the head was searched for from where it was one frame ago; then less is needed.
        """
        pose, wide = head.pose, head.view.width_mm
        sides = VIEWS if head.view.seen.mean() >= ENOUGH_SEEN else VIEWS + ASIDE
        between = ACROSS if known and sides == VIEWS else sides
        settled, rounds, close = False, 0, TRACKED_DEG if known else SETTLED_DEG
        marks = ibug_from_mediapipe(head.view.points)
        while True:
            last = settled or rounds == MOST_ROUNDS
            around = [(0.0, 0.0), *(sides if last else between)]
            as_drawn = head.still and pose is head.pose and abs(np.log(wide / FACE_MM)) < SETTLED_SHARE
            there = [head.view] if as_drawn and not last else []
            front, *beside = there + [
                detect_points(scene, head_camera(pose, yaw, pitch, wide), self.networks, last, marks=marks)
                for yaw, pitch in around[len(there) :]
            ]
            views = [front, *(v for v in beside if v.presence >= LEAST_PRESENCE and v.seen.any())]
            if len(views) < LEAST_VIEWS:
                return None
            consensus = consensus_of(views)
            if last:
                return consensus, views
            rounds += 1
            turned, wider = angle_deg(pose, consensus.pose), consensus.width_mm / wide
            settled = rounds >= (1 if known else 2)
            settled &= turned < close and abs(np.log(wider)) < SETTLED_SHARE
            pose, wide = consensus.pose, consensus.width_mm
            marks = ibug_from_mediapipe(consensus.points)


def on_scan_itself(located: Located, scene: Scene) -> Located:
    """Landmarks of a face that was completed by its mirror image, without those that lie on the image alone."""
    there = located.source != NONE
    off = np.full(N_LANDMARKS, np.inf)
    off[there] = scene.surface.distance(located.points[there] - scene.centre)
    lost = there & (off > RIM_MM)
    assert located.absent is not None
    eyes = [group for group in ("left_eye", "right_eye") if (there & ~lost)[GROUPS[group]].any()]
    return replace(
        located,
        points=np.where(lost[:, None], np.nan, located.points),
        source=np.where(lost, NONE, located.source).astype(np.uint8),
        confidence=np.where(lost, 0, located.confidence).astype(np.float32),
        absent=np.where(lost, OTHER_HALF, located.absent).astype(np.uint8),
        shut=tuple(group for group in located.shut if group in eyes),
        shown_shut=tuple(group for group in located.shown_shut if group in eyes),
    )


def project_onto_scan(scene: Scene, wanted: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Places (k, 3) mm on the scan closest to points (k, 3), and the points' distances to it, (k,).

    Places are averaged over points around each: between lips, or over the hole of an eye, the closest one alone jumps
    from one side to the other.
    """
    around = _AROUND @ pose[:3, :3].T * AROUND_MM
    near = scene.surface.closest((wanted[:, None] + around).reshape(-1, 3) - scene.centre)
    shape = len(wanted), len(around)
    points = near.points.reshape(*shape, 3).mean(axis=1) + scene.centre
    return points, near.distances.reshape(shape)[:, 0]


def settled_on_scan(scene: Scene, wanted: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Places (68, 3) mm of landmarks (68, 3) on the scan, see `project_onto_scan`, in folds at their bottom and on
    the tip of the nose at its top; and how far from the scan the landmarks lie, (68,)."""
    points, off = project_onto_scan(scene, wanted, pose)
    moved = list(DEEPER_MM)
    deeper = np.array(list(DEEPER_MM.values()))[:, None] * -pose[:3, 2]
    points[moved], _ = project_onto_scan(scene, wanted[moved] + deeper, pose)
    return points, off


def landmarks_on_scan(
    scene: Scene,
    consensus: Consensus,
    views: list[View],
    to_ibug: MediapipeToIbug,
    chin: Chin | None = None,
    upper_face: UpperFace | None = None,
) -> Located:
    """Landmarks of the views' consensus, projected onto the scan, with confidence and reasons for absence."""
    pose = consensus.pose
    detected = to_ibug.landmarks(consensus.points, pose, scene.textured)
    wanted, on_shape = follow_upper_face(upper_face, scene, detected)
    wanted, on_brows = follow_brows(scene, wanted, pose)
    wanted, on_lips = follow_lips(scene, wanted, pose)
    wanted, on_creases = follow_creases(scene, wanted, pose)
    # where the networks draw an eye: what a shut one looks like there was measured so
    wanted, on_shut, shown_shut = follow_shut_lids(scene, detected, wanted, pose)
    on_creases = np.maximum(on_creases, on_shut)
    lids = follow_lids(scene, wanted, pose)
    wanted, on_lids = lids.points, lids.evidence
    places, shown = nose_shape(upper_face, scene, wanted)
    wanted = middled(wanted, nose_aside(wanted, places, shown))
    if chin is not None:
        wanted = spaced(wanted, chin.marks)
    points, off = settled_on_scan(scene, wanted, pose)
    if scene.textured:
        nose = GROUPS["nose"]
        on_shape[nose] = shown[nose]
        beside = between_shape(points, places, shown)
        beside, on_white = follow_outer_corners(scene, beside, pose)
        on_lids = np.maximum(on_lids, on_white)
        moved = (beside != points).any(axis=1)
        points[moved] = scene.surface.closest(beside[moved] - scene.centre).points + scene.centre
    spread = ibug_from_mediapipe(np.repeat(consensus.spread[:, None], 3, axis=1))[:, 0]
    support = ibug_from_mediapipe(np.repeat(consensus.support[:, None], 3, axis=1))[:, 0]
    # where the shape tells, it matters no more that the networks' views disagree
    spread *= 1 - on_shape
    support = np.maximum(support, on_shape * len(views))
    on_chin = np.zeros(N_LANDMARKS)
    if chin is not None:
        places, on_chin[CHIN] = find_chin(chin, scene.mesh.vertices, scene.mesh.faces, points)
        points[CHIN], off[CHIN] = project_onto_scan(scene, places, pose)
        spread[CHIN], support[CHIN] = 0.0, len(views)
    absent = np.full(N_LANDMARKS, PRESENT, np.uint8)
    absent[off > SNAP_MM] = OVER_HOLE
    shown = np.maximum.reduce([on_lips, on_creases, on_lids])
    absent[(spread > SPREAD_MM) & (shown < RELIEF_SHOWS)] = DISAGREED
    absent[(support < 0.1) & (off > BOUNDARY_MM)] = UNSEEN
    jaw = GROUPS["jaw"]
    absent[jaw][on_chin[jaw] < LEAST_CHIN] = OUTLINE
    found = absent == PRESENT
    presence = float(np.median([view.presence for view in views]))
    sure = 1 / (1 + (spread / 4.0) ** 2) * np.clip(0.4 + 0.6 * support / len(views), 0, 1)
    for group in ("left_eyebrow", "right_eyebrow"):
        sure[GROUPS[group]] *= BROW_SHARE
    unshown: tuple[str, ...] = ()
    if not scene.textured:
        unshown = unshown_parts(on_creases, on_shape)
        for group in chain.from_iterable(PARTS.values()):
            sure[GROUPS[group]] *= GUESSED_SHARE
    sure *= lids.share
    sure[CHIN] = CHIN_SHARE * RELIABLE * on_chin[CHIN]
    shown = np.maximum.reduce([on_brows, on_lips, on_creases, on_lids, SHAPE_SHARE * on_shape])
    sure += shown * (1 - sure)
    sure *= np.clip(presence / FULL_PRESENCE, 0.2, 1.0) * (1 - 0.5 * off / SNAP_MM)
    sure *= 1.0 if scene.textured else UNTEXTURED_SHARE
    cut = float(ramp(1 - found[LIPS].mean(), CUT_OUT))
    sure[GROUPS["mouth"]] *= 1 - cut * (1 - RIM_SHARE)
    return Located(
        np.where(found[:, None], points, np.nan),
        np.where(found, DETECTED, NONE).astype(np.uint8),
        np.where(found, np.clip(sure, 0.02, 1), 0.0).astype(np.float32),
        absent,
        pose,
        unshown,
        ("mouth",) if cut > 0.5 else (),
        lids.guessed,
        shown_shut,
    )
