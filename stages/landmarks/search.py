"""Where the head is on a scan, however the scan lies: whichever axis is up, wherever it looks.

The face detector runs on small pictures rendered from 26 directions, each also turned by quarters.  On what it finds
the point network runs, twice more from straight ahead, and it has to be a face there: to the network, in the depth of
the scan, and in its proportions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.landmarks import eye_distance
from mimicme.stages.landmarks.mediapipe_points import ibug_from_mediapipe
from mimicme.stages.landmarks.networks import FACE_SIDE, PictureNetworks
from mimicme.stages.landmarks.views import Scene, View, box_camera, detect_points, head_camera, turned

WINDOW_MM = (
    430.0  # a picture for the face detector shows this much at most: it wants faces that are not small
)
STEP_MM = 260.0
LEAST_SCORE = 0.35
CERTAIN_SCORE = 0.8
CERTAIN_TRIES = 6  # of what looks certain, as it comes up
OTHER_TRIES = 6  # of what is left then, the likeliest first
# Faces have 15 to 25 in the canonical views, halves of faces 7; what passes here must pass the consensus too.
LEAST_PRESENCE = 6.0
SURE_PRESENCE = 12.0  # no other direction is searched any more
MAX_MISFIT_MM = 9.0
LEAST_SEEN = 0.4
EYES_MM = (35.0, 110.0)
MAX_ASYMMETRY = 0.35
# A head that moved by less since the frame before, as one view has it, is looked at from where it was then: it is still
# in the middle of the pictures.  How it turned one view does not tell, by 16 degrees on a coarse scan; several do.
STILL_MM = 4.0


class Head(NamedTuple):
    """A head that was found.

    Attributes:
        pose: (4, 4) head -> scan, mm.
        view: the frontal view of it.
        near: whether it was found from where it was one frame ago.
        still: whether it is there still: then the pose is that of one frame ago, and the view looks from there.
    """

    pose: Floats
    view: View
    near: bool = False
    still: bool = False


def find_head(
    scene: Scene, networks: PictureNetworks, near: Floats | None = None, missed: list[View] | None = None
) -> Head | None:
    """The head on a scan; None when there is none.

    Args:
        near: (4, 4) the head's pose one frame ago; tried first.
        missed: takes the frontal views of what was no face.
    """
    if near is not None:
        view = detect_points(scene, head_camera(near), networks)
        if is_face(view) and np.linalg.norm(view.pose[:3, 3] - near[:3, 3]) < STILL_MM:
            return Head(near, view, near=True, still=True)
        head = refine_pose(scene, view, networks, 1, missed)
        if head is not None:
            return head._replace(near=True)
    best: Head | None = None
    certain = 0
    found: list[tuple[float, int, Camera]] = []
    for k, (score, camera, straight) in enumerate(_candidates(scene, networks)):
        if score < LEAST_SCORE:
            continue
        if score <= CERTAIN_SCORE or certain == CERTAIN_TRIES:
            found.append((score, -k, camera))
            continue
        certain += 1
        head = refine_pose(scene, detect_points(scene, camera, networks), networks, missed=missed)
        if head is not None and (straight or head.view.presence > SURE_PRESENCE):
            return head
        best = _likelier(best, head)
    for _, _, camera in sorted(found, key=lambda f: f[:2], reverse=True)[:OTHER_TRIES]:
        head = refine_pose(scene, detect_points(scene, camera, networks), networks, missed=missed)
        best = _likelier(best, head)
        if best is not None and best.view.presence > SURE_PRESENCE:
            break
    return best


def _likelier(one: Head | None, other: Head | None) -> Head | None:
    if one is None or other is None:
        return one if other is None else other
    return other if other.view.presence > one.view.presence else one


def refine_pose(
    scene: Scene,
    view: View,
    networks: PictureNetworks,
    rounds: int = 2,
    missed: list[View] | None = None,
) -> Head | None:
    """Pose refinement: render from straight ahead of the pose found, detect again; None when it is no face: then
    `missed` takes the last view.  Each picture is as wide as the face in the one before says."""
    for _ in range(rounds):
        if not np.isfinite(view.misfit_mm):
            return None
        view = detect_points(scene, head_camera(view.pose, width_mm=view.width_mm), networks)
    if is_face(view):
        return Head(view.pose, view)
    if missed is not None:
        missed.append(view)
    return None


def is_face(view: View) -> bool:
    """Whether a frontal view shows a face: to the network, in depth, in its proportions."""
    if view.presence < LEAST_PRESENCE or not view.misfit_mm < MAX_MISFIT_MM:
        return False
    inner = ibug_from_mediapipe(view.points)[17:]
    apart = eye_distance(ibug_from_mediapipe(view.points))
    if view.seen.mean() < LEAST_SEEN or not EYES_MM[0] < apart < EYES_MM[1]:
        return False
    pose = view.pose
    local = (inner - pose[:3, 3]) @ pose[:3, :3]
    left, right = np.abs(local[[36 - 17, 39 - 17], 0]), np.abs(local[[45 - 17, 42 - 17], 0])
    return bool(np.abs(left - right).max() < MAX_ASYMMETRY * apart)


def _candidates(scene: Scene, networks: PictureNetworks) -> Iterator[tuple[float, Camera, bool]]:
    """What the face detector finds, side by side: score, a camera that frames it, whether it was upright and
    within 45 degrees of +z."""
    for k, (yaw, pitch) in enumerate(_sides()):
        axes = turned(np.eye(3), yaw, pitch)
        for camera in _windows(scene, axes):
            picture = scene.picture(camera)
            if not picture.any():
                continue
            for quarter in range(4):
                box = networks.face(np.ascontiguousarray(np.rot90(picture, quarter)))
                centre = _unrotated(box.centre, quarter)
                framed = box_camera(camera, centre, box.side, box.roll_deg + 90.0 * quarter)
                yield box.score, framed, k < 3 and quarter == 0


def _sides() -> Iterator[tuple[float, float]]:
    """(yaw, pitch) in degrees of 26 directions, the likeliest first: +z is straight ahead, or y and z are exchanged."""
    around = (0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
    yield from ((yaw, 0.0) for yaw in around[:3])
    yield from ((0.0, 90.0), (0.0, -90.0))
    yield from ((yaw, 0.0) for yaw in around[3:])
    yield from ((yaw, pitch) for pitch in (45.0, -45.0) for yaw in around)


def _windows(scene: Scene, axes: Floats) -> Iterator[Camera]:
    """Cameras with the axes given whose small pictures cover the scan."""
    local = scene.vertices @ axes.T
    low, high = np.percentile(local, [0.5, 99.5], axis=0)
    middle, span = (low + high) / 2, (high - low)[:2]
    side = float(min(max(span) * 1.1, WINDOW_MM))
    places = []
    for c, s in zip(middle[:2], span, strict=True):
        room = max(s * 1.1 - side, 0.0)
        count = min(int(np.ceil(room / STEP_MM)) + 1, 4)
        places.append(c + np.linspace(-room / 2, room / 2, count))
    for y, x in itertools.product(places[1][::-1], places[0]):
        target = np.array([x, y, middle[2]]) @ axes + scene.centre
        yield Camera(target, axes, FACE_SIDE / side, (FACE_SIDE, FACE_SIDE), 1500.0)


def _unrotated(place: Floats, quarter: int) -> Floats:
    """Where a place (2,) px of the picture after `np.rot90(picture, quarter)` was before."""
    x, y = place
    for _ in range(quarter % 4):  # rot90 takes (x, y) to (y, side - x)
        x, y = FACE_SIDE - y, x
    return np.array([x, y])
