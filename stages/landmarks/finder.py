"""The detector: 68 landmarks on a scan, seen by networks from several sides and lifted to its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import DETECTED, GROUPS, N_LANDMARKS, NONE, Located
from mimicme.stages.landmarks.bridge import CHIN, SILHOUETTE, Bridge
from mimicme.stages.landmarks.brows import follow_brows
from mimicme.stages.landmarks.consensus import Agreed, agree
from mimicme.stages.landmarks.mediapipe_points import on_points
from mimicme.stages.landmarks.networks import PictureNetworks
from mimicme.stages.landmarks.search import Head, find_head
from mimicme.stages.landmarks.views import Scene, View, head_camera, look

# (yaw, pitch) beside the frontal view: more of them changed nothing on real and synthetic scans.
ACROSS = ((-15.0, 0.0), (15.0, 0.0))
VIEWS = (*ACROSS, (0.0, 12.0), (0.0, -12.0))
# Where the front shows little - half a scan, a turned head - views from further round take over.
ASIDE = ((-40.0, 0.0), (40.0, 0.0))
ENOUGH_SEEN = 0.7
LEAST_PRESENCE = 5.0  # of a view that has a say
LEAST_VIEWS = 3
# Median over all 478 points of how much the views disagree: 0.8 to 1.6 mm on faces, over 4 on spheres, where a network
# that is asked for a face draws one, but each time elsewhere.
FACE_SPREAD_MM = 3.0
SNAP_MM = 8.0  # a point further from the scan lies over a hole
RIM_MM = 4.0  # a point that no ray meets, but the scan reaches: a lid beside the hole of an eye
SPREAD_MM = 6.0  # views that disagree by more know nothing
FULL_PRESENCE = 15.0
UNTEXTURED_SHARE = 0.6  # what a shaded scan's points are worth beside a textured one's
CHIN_SHARE = 0.4
BROW_SHARE = 0.1  # of brows that the texture does not show

AROUND_MM = 1.2  # how far around a point the scan has a say in where it is put


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
PRESENT, NOT_GIVEN, OFF_SCAN, UNSEEN, DISAGREED, OVER_HOLE, OUTLINE = range(7)
ABSENCE = (
    "present",
    "not given by the file",
    "given, but off the scan",
    "no view sees it",
    "the views disagree about it",
    "it lies over a hole of the scan",
    "it lies on the outline of a picture and on no fixed place of the skin; the registered mesh has it later",
)


class FaceFinder:
    """Finds landmarks with networks that look at pictures.

    Args:
        networks: what looks at pictures.
        bridge: from their points to iBUG-68.
    """

    def __init__(self, networks: PictureNetworks, bridge: Bridge) -> None:
        self.networks, self.bridge = networks, bridge
        self.name = f"{networks.name}, {bridge.origin} bridge"

    def detect(self, scan: Mesh, image: NDArray[np.uint8] | None, near: Floats | None = None) -> Located:
        """See `Detector`."""
        scene = Scene(scan, image)
        head = find_head(scene, self.networks, near)
        seen = None if head is None else self.stand(scene, head, known=head.near)
        if seen is None or np.median(seen[0].spread) > FACE_SPREAD_MM:
            raise FrameRejected(
                "no-face",
                "no face is found on the scan",
                expected="a scan that shows a face from some side",
                todo="Look at the scan; if it shows a face, put a landmark file beside the frame.",
            )
        return place(scene, *seen, self.bridge)

    def stand(self, scene: Scene, head: Head, known: bool) -> tuple[Agreed, list[View]] | None:
        """What the views agree on, seen from where it says the head is; None when too few show a face.

        The views are taken anew from what the first ones found: so the points do not depend on how
        the scan lies, nor on where the head was one frame ago.

        Args:
            known: the head was searched for from where it was one frame ago; then less is needed.
        """
        pose, sides = head.pose, VIEWS if head.view.seen.mean() >= ENOUGH_SEEN else VIEWS + ASIDE
        between = ACROSS if known and sides == VIEWS else sides
        for last in (False, True) if known else (False, False, True):
            front, *beside = (
                look(scene, head_camera(pose, *side), self.networks, creases=last)
                for side in ((0.0, 0.0), *(sides if last else between))
            )
            views = [front, *(v for v in beside if v.presence >= LEAST_PRESENCE and v.seen.any())]
            if len(views) < LEAST_VIEWS:
                return None
            agreed = agree(views)
            pose = agreed.pose
        return agreed, views


def onto(scene: Scene, wanted: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Places (k, 3) mm of points (k, 3) on the scan, and how far they were off, (k,).

    The mean over points around each: between lips, or over the hole of an eye, the nearest place alone jumps from one
    side to the other.
    """
    around = _AROUND @ pose[:3, :3].T * AROUND_MM
    near = scene.surface.closest((wanted[:, None] + around).reshape(-1, 3) - scene.centre)
    shape = len(wanted), len(around)
    points = near.points.reshape(*shape, 3).mean(axis=1) + scene.centre
    return points, near.distances.reshape(shape)[:, 0]


def place(scene: Scene, agreed: Agreed, views: list[View], bridge: Bridge) -> Located:
    """Landmarks of what the views agree on, put onto the scan, with confidence and reasons for absence."""
    pose = agreed.pose
    wanted, followed = follow_brows(scene, bridge.landmarks(agreed.points, pose, scene.textured), pose)
    spread = on_points(np.repeat(agreed.spread[:, None], 3, axis=1))[:, 0]
    support = on_points(np.repeat(agreed.support[:, None], 3, axis=1))[:, 0]
    points, off = onto(scene, wanted, pose)
    absent = np.full(N_LANDMARKS, PRESENT, np.uint8)
    absent[off > SNAP_MM] = OVER_HOLE
    absent[spread > SPREAD_MM] = DISAGREED
    absent[(support < 0.1) & (off > RIM_MM)] = UNSEEN
    absent[SILHOUETTE] = OUTLINE
    found = absent == PRESENT
    presence = float(np.median([view.presence for view in views]))
    sure = 1 / (1 + (spread / 4.0) ** 2) * np.clip(0.4 + 0.6 * support / len(views), 0, 1)
    for group in ("left_eyebrow", "right_eyebrow"):
        sure[GROUPS[group]] *= BROW_SHARE
    sure[CHIN] *= CHIN_SHARE
    sure[followed] = 1.0
    sure *= np.clip(presence / FULL_PRESENCE, 0.2, 1.0) * (1 - 0.5 * off / SNAP_MM)
    sure *= 1.0 if scene.textured else UNTEXTURED_SHARE
    return Located(
        np.where(found[:, None], points, np.nan),
        np.where(found, DETECTED, NONE).astype(np.uint8),
        np.where(found, np.clip(sure, 0.02, 1), 0.0).astype(np.float32),
        absent,
        pose,
    )
