"""The detector: 68 landmarks on a scan, seen by networks from several sides and lifted to its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import DETECTED, GROUPS, N_LANDMARKS, NONE, Located
from mimicme.pipeline.mesh import Floats, Mesh
from mimicme.stages.landmarks.bridge import CHIN, SILHOUETTE, Bridge, on_points
from mimicme.stages.landmarks.consensus import Agreed, agree, head_pose
from mimicme.stages.landmarks.networks import PictureNetworks
from mimicme.stages.landmarks.search import Head, find_head
from mimicme.stages.landmarks.views import Scene, View, head_camera, look

# (yaw, pitch) beside the frontal view: more of them changed nothing on real and synthetic scans.
VIEWS = ((-15.0, 0.0), (15.0, 0.0), (0.0, 12.0), (0.0, -12.0))
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
BROW_SHARE = 0.6  # brows slide along themselves

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
        views = [] if head is None else self.views(scene, head)
        agreed = agree(views) if len(views) >= LEAST_VIEWS else None
        if agreed is None or np.median(agreed.spread) > FACE_SPREAD_MM:
            raise FrameRejected(
                "no-face",
                "no face is found on the scan",
                expected="a scan that shows a face from some side",
                todo="Look at the scan; if it shows a face, put a landmark file beside the frame.",
            )
        return place(scene, agreed, views, self.bridge)

    def views(self, scene: Scene, head: Head) -> list[View]:
        """The frontal view and those beside it in which the networks see the face."""
        sides = VIEWS if head.view.seen.mean() >= ENOUGH_SEEN else VIEWS + ASIDE
        beside = [look(scene, head_camera(head.pose, *side), self.networks) for side in sides]
        return [head.view, *(v for v in beside if v.presence >= LEAST_PRESENCE and v.seen.any())]


def place(scene: Scene, agreed: Agreed, views: list[View], bridge: Bridge) -> Located:
    """Landmarks of what the views agree on, put onto the scan, with confidence and reasons for absence."""
    pose = head_pose(agreed.points)
    wanted = bridge.landmarks(agreed.points, pose, scene.textured)
    spread = on_points(np.repeat(agreed.spread[:, None], 3, axis=1))[:, 0]
    support = on_points(np.repeat(agreed.support[:, None], 3, axis=1))[:, 0]
    nearest = scene.surface.closest(wanted - scene.centre)
    points = nearest.points + scene.centre
    absent = np.full(N_LANDMARKS, PRESENT, np.uint8)
    absent[nearest.distances > SNAP_MM] = OVER_HOLE
    absent[spread > SPREAD_MM] = DISAGREED
    absent[(support < 0.1) & (nearest.distances > RIM_MM)] = UNSEEN
    absent[SILHOUETTE] = OUTLINE
    found = absent == PRESENT
    presence = float(np.median([view.presence for view in views]))
    sure = np.clip(presence / FULL_PRESENCE, 0.2, 1.0) / (1 + (spread / 4.0) ** 2)
    sure *= np.clip(0.4 + 0.6 * support / len(views), 0, 1) * (1 - 0.5 * nearest.distances / SNAP_MM)
    sure *= 1.0 if scene.textured else UNTEXTURED_SHARE
    sure[CHIN] *= CHIN_SHARE
    for group in ("left_eyebrow", "right_eyebrow"):
        sure[GROUPS[group]] *= BROW_SHARE
    return Located(
        np.where(found[:, None], points, np.nan),
        np.where(found, DETECTED, NONE).astype(np.uint8),
        np.where(found, np.clip(sure, 0.02, 1), 0.0).astype(np.float32),
        absent,
        pose,
    )
