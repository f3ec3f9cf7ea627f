"""Where the middle of a face is of which one side is scanned, by the template's shape.

Of one side alone evenness of the depth (`halves`) says little of how the face is turned: a wrong middle is made even by
a face that is flatter or more pointed.  The template says what is likely.  The same half of its upper face is laid onto
the scan (like_places.py), as upper_face.py lays the whole of it, with deformations that are alike on both sides but for
a shift and a turn of the whole: the middle goes where these take the template's.  Both halves end at the middle, so
that normals, which are smoothed over their surroundings, are one-sided there alike.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.stages.landmarks.like_places import Samples, Wanted, laid_onto
from mimicme.stages.landmarks.upper_face import (
    ANCHORS,
    INDEPENDENT,
    POWERS,
    ROBUST,
    SCAN_MM,
    UPPER,
    WIDER,
    WIDTHS_MM,
    UpperFace,
    bend,
    one_side,
    pose_of,
    sampled,
)

# Standard deviations, mm at one distance between the eyes: of a shift aside and a turn about the upright axis; of a
# tilt, which the networks see better (2 degrees off in the mean, the shape 3.7); and of all else that is not the same
# on both sides.  Chosen on people of `synth` who teach.
ASIDE_MM, TILT_MM, UNEVEN_MM = 5.0, 1.0, 0.3
ANCHOR_MM = 6.0
"""How far off the networks' points on a whole that was completed about a wrong middle are."""


def middle_by_shape(
    face: UpperFace, vertices: Floats, faces: Ints, points: Floats, pose: Floats, side: int
) -> Floats | None:
    """(4, 4) a head's pose turned and shifted so that its yz plane is the middle; None where too little is seen.

    Args:
        vertices, faces: of the scan, mm.
        points: (68, 3) landmarks as the networks have them on the completed face, finite but for the jaw.
        pose: (4, 4) about where the head is, head -> scan, mm.
        side: which the scan has: 1 the subject's left, -1 the right.
    """
    half = face.halves[side]
    turn, scale, nose = pose_of(face.marks, points)
    local = (vertices - nose) @ turn
    seen = sampled(local, one_side(local, faces, side), WIDER * scale * face.eyes_mm, SCAN_MM)
    if half is None or seen is None:
        return None
    unit = scale * face.eyes_mm
    placed, samples = scale * face.marks, scale * half.places
    on_samples, on_anchors = bend(samples / unit)[0], bend(placed[ANCHORS] / unit)[0]
    widths = _widths()
    flat = on_anchors.reshape(-1, len(widths))
    missing = ((points[ANCHORS] - nose) @ turn - placed[ANCHORS]).ravel()
    held = Wanted(np.diag(1 / widths**2) + flat.T @ flat / ANCHOR_MM**2, flat.T @ missing / ANCHOR_MM**2)
    amounts, _ = laid_onto(Samples(samples, half.normals), seen, on_samples, held, INDEPENDENT, ROBUST)
    marks = placed[UPPER]
    left, right = (
        (there + bend(there / unit)[0] @ amounts) @ turn.T + nose for there in (marks, marks * [-1, 1, 1])
    )
    return _between(left, right, pose)


def _widths() -> Floats:
    """(k,) standard deviations, mm, of the deformations that `bend` gives."""
    count = len(POWERS)
    out = np.zeros(3 * count)
    for axis in range(3):
        for k, powers in enumerate(POWERS):
            degree, even = sum(powers), (axis == 0) == (powers[0] % 2 == 1)
            tilt = (axis, powers) in ((0, (0, 1, 0)), (1, (1, 0, 0)))
            uneven = TILT_MM if tilt else ASIDE_MM if degree < 2 else UNEVEN_MM
            out[axis * count + k] = WIDTHS_MM[degree] if even else uneven
    return out


def _between(one: Floats, other: Floats, pose: Floats) -> Floats:
    """A pose (4, 4) with its yz plane where points (n, 3) lie nearest to the mirror images of others (n, 3).

    Of a mirror image across the plane with unit normal n through the mean of both, the squared error is least where
    n' (B - A) n is largest: A the scatter of the pairs' middles, B that of half their differences.
    """
    middles, halves = (one + other) / 2, (one - other) / 2
    centre = middles.mean(axis=0)
    scatter = halves.T @ halves - (middles - centre).T @ (middles - centre)
    x = np.linalg.eigh(scatter)[1][:, -1]
    x = x * np.sign(x @ pose[:3, 0])
    y = pose[:3, 1] - (pose[:3, 1] @ x) * x
    y /= np.linalg.norm(y)
    out = np.eye(4)
    out[:3, :3] = np.stack([x, y, np.cross(x, y)], axis=1)
    out[:3, 3] = pose[:3, 3] - ((pose[:3, 3] - centre) @ x) * x
    return out
