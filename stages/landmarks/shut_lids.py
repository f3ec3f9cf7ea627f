"""Shut eyes of scans without colours, by the line where their lids meet.

On a bare surface the networks draw every eye nearly shut, and what they say of an opening tells nothing.  The surface
does.  An upper lid ends in an edge that faces downwards, the steepest thing between the corners of an eye, shut or
open.  Above an open eye it arches from corner to corner, or runs straight; when the lids shut it comes down onto the
lower one, whose rim hangs below the corners.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mimicme.pipeline.arrays import Floats, Longs
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.landmarks.creases import (
    EYE_MM,
    EYES,
    STEP_MM,
    Strip,
    camera_before,
    lifted_at,
    slope_across,
    straightened,
)
from mimicme.stages.landmarks.strips import ramp, ridge
from mimicme.stages.landmarks.views import Scene

# How far from the middle between the networks' lids, and beyond their corners, the line is looked for.  This and the
# numbers below were chosen by looking at four people of `synth`, bare, and their winks; none was searched for.
ASIDE_MM, BEYOND_MM = 8.0, 3.0
STEEPEST = 1.5  # slopes above count no more: a spike's
MOVE_COST, NEARER_PER_MM = 0.3, 0.02
SMOOTH_ROWS = 7
# The line's slope in the median, from none to one of lids: upper lids of four people of `synth`, bare, have 0.9 to 1.4,
# the noise on an eyeball that a scanner smoothed over 0.4.
STEEP = (0.55, 0.85)
# How far it hangs in its middle third below its places beside the networks' corners, in shares of their distance, from
# open to shut: open eyes of the same people have -0.10 to 0.03, a real coarse scan's 0.05 and 0.07, one narrowed by a
# smile 0.09; shut ones 0.08 to 0.12, another maker's 0.13 to 0.25.  What is missed stays open, as before; an open eye
# that is shut is worse.
HANGS = (0.09, 0.12)
RATHER_SHUT = 0.5
CREASE_MM = 2.5  # how far below the steepest place the lids may meet
LIDS = (1, 2, 4, 5)


def follow_shut_lids(
    scene: Scene, points: Floats, open_lids: Floats, pose: Floats
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Landmarks (68, 3) with the lids of shut eyes where they meet, a share of the way as great as the evidence; that
    evidence (68,), 0 to 1, and the groups of `landmarks.GROUPS` of eyes that are rather shut than open.

    Args:
        scene: a scan without colours; of another one nothing is moved.
        points: (68, 3) mm, scan frame, as a detector has them; open_lids: the same as they are if no eye is shut.
        pose: (4, 4) of the head, head -> scan.
    """
    out, evidence, shut = open_lids.copy(), np.zeros(N_LANDMARKS), []
    for group, yaw in () if scene.textured else EYES:
        lids = np.arange(N_LANDMARKS)[GROUPS[group]][list(LIDS)]
        camera = camera_before(points[GROUPS[group]], pose, yaw, EYE_MM)
        depth = scene.depths(camera)
        if np.isnan(depth).all():
            continue
        meeting, sure = shut_lids(depth, camera.project(points[GROUPS[group]]))
        if sure > 0:
            evidence[lids] = sure
            out[lids] += sure * (lifted_at(camera, depth, meeting) - out[lids])
        if sure > RATHER_SHUT:
            shut.append(group)
    return out, evidence, tuple(shut)


def shut_lids(depth: NDArray[np.float32], marks: Floats) -> tuple[Floats, float]:
    """Where the lids of an eye, (4, 2) px, rows `LIDS` of its points, meet if it is shut; and the evidence, 0 to 1, for
    that.

    Args:
        depth: (height, width) mm towards the camera, NaN over holes, of `creases.PIXELS_PER_MM`.
        marks: (6, 2) px of the eye, in iBUG's order, as a detector has them.
    """
    upper, lower = marks[[1, 2]], marks[[5, 4]]
    line = np.concatenate([marks[:1], (upper + lower) / 2, marks[3:4]])
    strip = straightened(depth, line, BEYOND_MM, ASIDE_MM)
    if strip is None:
        return marks[list(LIDS)], 0.0
    slope = slope_across(strip.sampled(np.nan_to_num(depth)), strip.missing)
    steep = np.clip(-slope, 0.0, STEEPEST).astype(np.float64)
    steep[ndimage.binary_dilation(strip.missing)] = 0.0
    path = ridge(steep - NEARER_PER_MM * np.abs(strip.offsets), MOVE_COST)
    rows, past = np.arange(len(path)), round(BEYOND_MM / STEP_MM)
    ends = slice(past, len(path) - past)
    edge = strip.at(rows, ndimage.uniform_filter1d(strip.offsets[path], SMOOTH_ROWS))[ends]
    part = len(edge) // 5
    level = float(np.median(steep[rows, path][ends][part:-part]))
    axis = edge[-1] - edge[0]
    below = (edge - edge[0]) @ np.array([-axis[1], axis[0]]) / max(float(axis @ axis), 1e-9)
    third = len(edge) // 3
    evidence = float(ramp(level, STEEP)) * float(ramp(below[third:-third].mean(), HANGS))
    at = strip.rows_of(marks[list(LIDS)])
    meet = ndimage.uniform_filter1d(_crease_below(strip, path), SMOOTH_ROWS)
    return strip.at(at, meet[at]), evidence


def _crease_below(strip: Strip, path: Longs) -> Floats:
    """(n,) mm: where a strip bends most, at or below a path (n,): the upper lid's edge ends there, on the lower one."""
    rows = np.arange(len(path))[:, None]
    near = np.clip(path[:, None] + np.arange(round(CREASE_MM / STEP_MM) + 1), 0, len(strip.offsets) - 1)
    return np.asarray(strip.offsets[near[rows[:, 0], strip.curvature[rows, near].argmax(axis=1)]])
