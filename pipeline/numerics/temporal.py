"""Temporal smoothing: Whittaker smoothing of every temporal mode of a sequence, its weight by cross-validation.

Frames are registered one by one, so what their landmarks and scans get wrong is nearly independent from frame to
frame, and a face moves smoothly.  The sequence's vertices (F, V, 3) are split into temporal modes, the left singular
vectors of the F x 3V matrix, and each mode, a curve of F numbers, is smoothed with a penalty on its third difference
(Whittaker 1923; Eilers 2003) whose weight minimises that curve's own generalised cross-validation score (Craven and
Wahba 1979).  A mode that moves, a blink or an opening mouth, is hardly touched, so that apexes stay; a mode whose
smoothed curve is no more than its noise makes by chance (an F test) is left out altogether, so that a still face stays
still.  All of it is one F x F matrix applied to the sequence.

Time alone cannot tell noise from a motion that is different in every frame, such as expressions scanned one by one.  A
part of the surface that does not move can: it shows how much of a mode is noise, and no more than that is taken away
(Morozov's discrepancy principle, 1966).  Nor can modes tell a motion that is smaller than the noise: it is spread over
many of them, none of which passes.  Noise is alike at all rates of change, though, and a face moves slowly: what was
taken away is looked at once more by rate, and where the face has much more of a rate than the part that does not move,
that is put back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats

ORDER = 3
MIN_FRAMES = 9
"""With fewer frames cross-validation cannot tell motion from noise; what does not move still can."""
BLOCK = 4096
PENALTIES = np.concatenate([[0.0], np.geomspace(1e-2, 1e6, 33)])
"""The first, no smoothing at all, is never what cross-validation chooses."""
GCV_INFLATION = 1.4
"""Each degree of freedom counts this much: plain cross-validation leaves one noise curve in ten unsmoothed (Kim and Gu
2004, sec. 3.2, whose value this is)."""
CHANCE = 0.01
"""Level of the test for a mode that moves.  As the weight is chosen on the same curve, noise alone passes a little more
often: of 4,000 curves of 9, 20, 40 and 82 frames 1.7, 2.2, 2.0 and 1.1 %."""
QUIET = 0.6
"""A mode moves when its amplitude over the still part is less than this share of that over the moving one.  Of heads of
`mimicme synth` scanned with 0.5 mm of noise, noise modes have 0.75 and more, a smile 0.37."""
RESTLESS = 0.77
"""In sequences of fewer than `MIN_FRAMES` frames a mode is noise, and left out, when its amplitude over the still part
is more than this share of that over the moving one."""


class Regions(NamedTuple):
    """Vertices (V,) of a part that does not move, and of one that may."""

    still: Bools
    moving: Bools


def smoothing_matrix(
    frames: NDArray[np.float32],
    times: NDArray[np.int64],
    regions: Regions | None = None,
    every_mode: bool = False,
) -> Floats:
    """(F, F) matrix S; the smoothed sequence is S @ frames.

    Below `MIN_FRAMES` frames nothing is smoothed: modes that are noise by `regions` are left out, so that the shape of
    a face at rest is pooled, and without `regions` S is the identity.  Raised brows look like noise there.

    Args:
        frames: (F, V, 3) mm, canonical frame.
        times: (F,) frame numbers, increasing; gaps are allowed.
        regions: what tells noise from motion; None: time alone does.
        every_mode: whether also modes stay that no test tells from noise.
    """
    count = len(frames)
    if regions is not None and not (regions.still.any() and regions.moving.any()):
        regions = None
    short = count < MIN_FRAMES
    if count < 2 or (short and regions is None):
        return np.eye(count)
    value, mode = np.linalg.eigh(_gram(frames))
    mode = mode[:, value > 1e-12 * max(value[-1], 1e-300)]
    grams = None if regions is None else _Grams.of(frames, regions)
    noise = np.ones(mode.shape[1]) if grams is None else _noise_shares(grams, mode)
    smoothed = mode * (noise < RESTLESS**2) if short else _smoothed_modes(mode, times, noise, every_mode)
    stay = np.full((count, count), 1 / count)  # the mean is kept as it is
    matrix = np.asarray(stay + smoothed @ mode.T @ (np.eye(count) - stay))
    return matrix if short or grams is None else matrix + _missed(grams, times, matrix)


def _missed(grams: _Grams, times: NDArray[np.int64], matrix: Floats) -> Floats:
    """(F, F) what a smoothing `matrix` takes of a motion, by rates of change: to be added to it.

    A rate, one of the penalty's eigenvectors, is a motion's where the amplitude of what was taken away over the still
    part is less than `QUIET` of that over the moving one.
    """
    _, basis = rates(times)
    taken = np.eye(len(matrix)) - matrix
    still, moving = grams.energies(taken.T @ basis)
    moves = still < QUIET**2 * moving
    return np.asarray(basis[:, moves] @ basis[:, moves].T @ taken)


def _smoothed_modes(mode: Floats, times: NDArray[np.int64], noise: Floats, every_mode: bool) -> Floats:
    """(F, k) what is kept of modes (F, k), of which shares (k,) are noise; of `every_mode`, or of those that move."""
    count = len(mode)
    roughness, basis = rates(times)
    in_basis = basis.T @ mode
    gain = 1 / (1 + PENALTIES[:, None] * roughness[None, :])
    misfit = ((1 - gain) ** 2) @ in_basis**2
    free = count - GCV_INFLATION * gain.sum(axis=1)
    score = np.where(free[:, None] > 0, misfit / np.maximum(free[:, None], 1e-9) ** 2, np.inf)
    best = np.argmin(score, axis=0)
    moves = noise < QUIET**2
    stiffest = (misfit <= np.where(moves, noise, np.inf)).sum(axis=0) - 1
    best = np.minimum(best, stiffest)  # the misfit grows with the penalty
    kept = gain[best].T
    if not every_mode:
        kept[:, ~moves & ~_significant(kept, in_basis)] = 0.0
    return np.asarray(basis @ (kept * in_basis))


def rates(times: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Rates of change: (F,) roughness, and (F, F) in columns the orthonormal curves that have it, slowest first.

    These are the penalty's eigenvectors: a constant, a linear and a quadratic one, which cost nothing, and so on.

    Args:
        times: (F,) frame numbers, increasing, `ORDER` or more.
    """
    at = times.astype(np.float64)
    difference = _differences(at)
    roughness, basis = np.linalg.eigh(difference.T @ difference)
    roughness = np.maximum(roughness, 0.0)
    roughness[:ORDER] = 0.0
    # of the eigenvectors of one value any rotation would do
    middle = (at - at.mean()) / max(float(np.ptp(at)), 1.0)
    basis[:, :ORDER] = np.linalg.qr(np.vander(middle, ORDER, increasing=True))[0]
    return roughness, basis


def _gram(frames: NDArray[np.float32], part: Bools | None = None) -> Floats:
    """(F, F) inner products of frames (F, V, 3), their mean taken off, over all vertices or a part (V,) of them."""
    count = len(frames)
    gram = np.zeros((count, count))
    for start in range(0, frames.shape[1], BLOCK):
        block = frames[:, start : start + BLOCK]
        if part is not None:
            block = block[:, part[start : start + BLOCK]]
        flat = block.reshape(count, -1).astype(np.float64)
        flat -= flat.mean(axis=0)
        gram += flat @ flat.T
    return gram


class _Grams(NamedTuple):
    """`_gram` of the part that does not move and of the one that may, (F, F) each, and their numbers of vertices."""

    still: Floats
    moving: Floats
    counts: tuple[int, int]

    @classmethod
    def of(cls, frames: NDArray[np.float32], regions: Regions) -> _Grams:
        still, moving = (_gram(frames, part) for part in regions)
        return cls(still, moving, (int(regions.still.sum()), int(regions.moving.sum())))

    def energies(self, curves: Floats) -> tuple[Floats, Floats]:
        """(k,) mm^2 a vertex, of curves in time (F, k): over the still part and over the moving one."""
        still, moving = (
            np.einsum("fk,fg,gk->k", curves, gram, curves) / count
            for gram, count in zip((self.still, self.moving), self.counts, strict=True)
        )
        return still, moving


def _noise_shares(grams: _Grams, mode: Floats) -> Floats:
    """(k,) share, at most 1, of each mode's energy (F, k) over the moving part that is noise, if noise is alike."""
    still, moving = grams.energies(mode)
    return np.asarray(np.minimum(still / np.maximum(moving, 1e-300), 1.0))


def _significant(gain: Floats, curves: Floats) -> Bools:
    """(k,) True where more is kept of a mode's curve than would be of noise (F test, its level `CHANCE`).

    Args:
        gain, curves: (F, k) of what is kept of each mode's coefficients, and these, which are of the mean too.
    """
    from scipy.stats import f as fisher

    count = len(curves)
    freedom = np.maximum(gain.sum(axis=0) - 1, 1e-9)
    left = np.maximum(count - 1 - freedom, 1e-9)
    kept = (gain * curves**2).sum(axis=0) / freedom
    noise = ((1 - gain) ** 2 * curves**2).sum(axis=0) / left
    return np.asarray(kept > noise * fisher.ppf(1 - CHANCE, freedom, left))


def _differences(times: Floats) -> Floats:
    """(F - 3, F) third divided differences, scaled to 1, -3, 3, -1 for times one apart."""
    count = len(times)
    rows = np.zeros((count - ORDER, count))
    for k in range(count - ORDER):
        t = times[k : k + ORDER + 1]
        gaps = t[:, None] - t[None, :] + np.eye(ORDER + 1)
        rows[k, k : k + ORDER + 1] = 6.0 / gaps.prod(axis=1)
    return rows


def smooth(
    frames: NDArray[np.float32],
    times: NDArray[np.int64],
    regions: Regions | None = None,
    every_mode: bool = False,
) -> None:
    """Smooth a sequence (F, V, 3) in place; see this module's text.  Needs a few MB beside it.

    Args:
        frames, times, regions, every_mode: as of `smoothing_matrix`.
    """
    matrix = smoothing_matrix(frames, times, regions, every_mode)
    for block in _blocks(frames):
        block[...] = np.einsum("st,tvx->svx", matrix, block.astype(np.float64), optimize=True)


def _blocks(frames: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Views (F, v, 3) of a few thousand vertices at a time."""
    for start in range(0, frames.shape[1], BLOCK):
        yield frames[:, start : start + BLOCK]


def smooth_poses(poses: Floats, centre: Floats, times: NDArray[np.int64]) -> Floats:
    """Rigid motions (F, 4, 4) smoothed as three rotations and three translations of the point `centre` (3,).

    Each of the six curves is a mode of its own, and none is left out: a head that turns by half a degree in nine frames
    passes no test, and to hold it still takes more away than the noise of poses, which thousands of points share.
    Rotations are taken relative to the first frame's, as rotation
    vectors: a head does not turn by half a circle within a sequence.
    """
    from scipy.spatial.transform import Rotation

    relative = np.linalg.inv(poses[0]) @ poses
    turn = Rotation.from_matrix(relative[:, :3, :3]).as_rotvec()
    shift = relative[:, :3, :3] @ centre + relative[:, :3, 3] - centre
    curves = np.concatenate([turn, shift], axis=1)
    for k in range(6):
        column = curves[:, [k], None].astype(np.float32)
        curves[:, k] = smoothing_matrix(column, times, every_mode=True) @ curves[:, k]
    still = np.tile(np.eye(4), (len(poses), 1, 1))
    still[:, :3, :3] = Rotation.from_rotvec(curves[:, :3]).as_matrix()
    still[:, :3, 3] = centre + curves[:, 3:] - still[:, :3, :3] @ centre
    return np.asarray(poses[0] @ still)


def apart(first: Floats, second: Floats, centre: Floats, reach_mm: float) -> Floats:
    """(F,) mean distance, mm, between what two motions (F, 4, 4) make of points `reach_mm` around `centre` (3,)."""
    points = centre + reach_mm * np.concatenate([np.eye(3), -np.eye(3)])
    moved = [np.einsum("fxy,py->fpx", m[:, :3, :3], points) + m[:, None, :3, 3] for m in (first, second)]
    return np.asarray(np.linalg.norm(moved[0] - moved[1], axis=2).mean(axis=1))


def runs(times: NDArray[np.int64], max_gap: int) -> list[NDArray[np.int64]]:
    """Positions of `times` (F,) split where two neighbours are more than `max_gap` apart."""
    return np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > max_gap) + 1)
