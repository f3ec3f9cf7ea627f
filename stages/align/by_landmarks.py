"""The pose of a head by its landmarks, some of which may be wrong: steps 1 and 2 of the stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, MIRROR, N_LANDMARKS

if TYPE_CHECKING:
    from mimicme.stages.align.settings import AlignSettings


def _spread() -> Floats:
    spread = np.empty(N_LANDMARKS)
    for group, mm in (
        *(("jaw", 18.0), ("left_eyebrow", 7.0), ("right_eyebrow", 7.0), ("nose", 4.5)),
        *(("left_eye", 5.0), ("right_eye", 5.0), ("mouth", 8.0)),
    ):
        spread[GROUPS[group]] = mm
    spread[[36, 39, 42, 45]] = 4.0  # eye corners stay with the skull
    spread[[48, 54, 60, 64]] = 10.0
    spread[[55, 56, 57, 58, 59, 65, 66, 67]] = 20.0  # the lower lip goes with the jaw
    spread[3:14] = 25.0
    return spread


# How far a landmark of a person lies from a generic template's, one standard deviation, mm, expressions
# included.  Rounded from james and 18 synthetic sequences (two identities, a wide-open jaw among them).
SPREAD_MM: Floats = _spread()
# Landmarks on bone or close to it: the eye corners, the nose.
STABLE = np.array([27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45])
CUT = 3.0  # spreads beyond which a landmark counts as wrong
# Robust cost above which left and right are tried exchanged, even where the fit may pass: two persons give up to 0.1.
DOUBTFUL_COST = 0.2
ON_SCAN_MM = 3.0  # points this near to the scan (median) are places of it, whatever their order
_TRIPLES = 600
_ROUNDS = 30


# Neighbours on a face move together, even where the jaw has carried both away.
_RUNS: tuple[tuple[list[int], bool, float], ...] = (
    (list(range(17)), False, 15.0),
    (list(range(17, 22)), False, 12.0),
    (list(range(22, 27)), False, 12.0),
    (list(range(48, 60)), True, 16.0),
    (list(range(60, 68)), True, 22.0),
)


class LandmarkFit(NamedTuple):
    """Pose by landmarks.

    Attributes:
        pose: (4, 4) canonical -> scan, rigid.
        trusted: (68,) bool.
        residuals: (68,) mm of the rigid fit, NaN where absent.
        scale: size of the face relative to the template's.
        cost: mean robust cost of the similarity, 0 (all agree) to 1 (none does).
    """

    pose: Floats
    trusted: Bools
    residuals: Floats
    scale: float
    cost: float


def fit_landmarks(template: Floats, points: Floats, confidence: Floats | None = None) -> LandmarkFit:
    """Robust pose of template landmarks (68, 3) on a scan's (68, 3), NaN where absent; at least 3 must be
    given.

    Deterministic.  Fits scale too, measured in the template's own size, so that any unit gives the same
    trust.
    """
    given = np.isfinite(points).all(axis=1) & np.isfinite(template).all(axis=1)
    where = np.flatnonzero(given)
    x, y, spread = template[where], points[where], SPREAD_MM[where]
    prior = 1.0 / spread**2
    if confidence is not None:
        prior = prior * np.clip(confidence[where], 0.05, 1)
    similarity = _consensus(x, y, spread, prior)
    for _ in range(_ROUNDS):
        r = np.linalg.norm(transform(similarity, y) - x, axis=1)
        w = prior * np.maximum(1 - (r / (CUT * spread)) ** 2, 0) ** 2
        if np.count_nonzero(w) < 3:
            break
        new = _fit_similarity(y, x, w)
        moved = np.abs(new - similarity).max()
        similarity = new
        if moved < 1e-9:
            break
    offset = transform(similarity, y) - x  # in the template's size
    r = np.linalg.norm(offset, axis=1)
    cost = float(np.average(np.minimum((r / (CUT * spread)) ** 2, 1), weights=prior))
    ok = r < CUT * spread
    full = np.full((N_LANDMARKS, 3), np.nan)
    full[where] = offset
    ok &= ~_neighbour_outliers(full)[where]
    scale = 1 / np.cbrt(np.linalg.det(similarity[:3, :3]))
    if ok.sum() >= 3:
        w = prior * ok * np.maximum(1 - (r / (CUT * spread)) ** 2, 0) ** 2
        pose = fit_rigid(x, y, w if np.count_nonzero(w) >= 3 else ok.astype(float))
    else:
        pose = np.eye(4)
    trusted = np.zeros(N_LANDMARKS, bool)
    trusted[where[ok]] = True
    residuals = np.full(N_LANDMARKS, np.nan)
    residuals[where] = np.linalg.norm(transform(pose, x) - y, axis=1)
    return LandmarkFit(pose, trusted, residuals, float(scale), cost)


def _fit_similarity(source: Floats, target: Floats, weights: Floats) -> Floats:
    """(4, 4) similarity from `source` (k, 3) to `target`, weighted (Umeyama 1991)."""
    w = weights / weights.sum()
    mean_s, mean_t = w @ source, w @ target
    rotation = fit_rigid(source, target, w)[:3, :3]
    s, t = source - mean_s, target - mean_t
    # regression in both directions, so that noise does not shrink the face
    scale = np.sqrt((w @ (t * t).sum(1)) / max(w @ (s * s).sum(1), 1e-300))
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = mean_t - scale * rotation @ mean_s
    return matrix


def _consensus(x: Floats, y: Floats, spread: Floats, prior: Floats) -> Floats:
    """The similarity y -> x through a triple of landmarks that the others agree with most."""
    rng = np.random.default_rng(0)
    k = len(x)
    # Gumbel's trick: weighted draws without replacement, all triples at once; reliable landmarks more often
    keys = np.log(prior) + rng.gumbel(size=(_TRIPLES, k))
    triples = np.argsort(-keys, axis=1)[:, :3]
    a, b = y[triples], x[triples]
    mean_a, mean_b = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    a0, b0 = a - mean_a, b - mean_b
    u, _, vt = np.linalg.svd(np.einsum("tki,tkj->tij", b0, a0))
    flip = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= flip[:, None]
    rotation = u @ vt
    size_a, size_b = (a0**2).sum((1, 2)), (b0**2).sum((1, 2))
    scale = np.sqrt(size_b / np.maximum(size_a, 1e-300))
    linear = scale[:, None, None] * rotation
    shift = mean_b[:, 0] - np.einsum("tij,tj->ti", linear, mean_a[:, 0])
    r = np.linalg.norm(np.einsum("tij,kj->tki", linear, y) + shift[:, None] - x, axis=2)
    cost = np.minimum((r / (CUT * spread)) ** 2, 1) @ prior
    # a triple of nearly one place fixes nothing
    cost[size_b < (30.0**2)] += prior.sum() * 1e-3
    best = int(np.argmin(cost))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear[best], shift[best]
    return matrix


def _neighbour_outliers(offset: Floats) -> Bools:
    """(68,) True where a landmark's offset (68, 3) differs too much from its neighbours' median."""
    odd = np.zeros(N_LANDMARKS, bool)
    for run, closed, limit in _RUNS:
        run_ = np.asarray(run)
        k = len(run)
        reach = np.array([-2, -1, 1, 2])
        index = np.arange(k)[:, None] + reach
        inside = np.ones_like(index, bool) if closed else (index >= 0) & (index < k)
        near = np.where(inside[:, :, None], offset[run_[index % k]], np.nan)
        enough = np.isfinite(near[:, :, 0]).sum(1) >= 2
        median = np.full((k, 3), np.nan)
        if enough.any():
            median[enough] = np.nanmedian(near[enough], axis=1)
        odd[run_] = np.linalg.norm(offset[run_] - median, axis=1) > limit  # NaN compares False
    return odd


def check_fit(
    fit: LandmarkFit,
    template: Floats,
    points: Floats,
    confidence: Floats | None,
    settings: AlignSettings,
    surface: Surface,
) -> None:
    """Raises FrameRejected when the landmarks do not fit, with what would make them.

    Args:
        fit: of template (68, 3) on points (68, 3), mm, scan frame; confidence: (68,).
        surface: the scan; only used to say what is wrong.

    Raises:
        FrameRejected: `landmark-scale`, `landmarks-mirrored`, `landmarks-misfit`.
    """
    given = np.asarray(np.isfinite(points).all(axis=1))
    count, agreeing = int(given.sum()), int(fit.trusted.sum())
    shown = shown_landmarks(fit.trusted)
    residual = float(fit.residuals[shown].mean()) if shown.any() else np.inf
    sized = settings.min_scale <= fit.scale <= settings.max_scale
    agree = agreeing >= max(settings.min_landmarks, settings.min_agreeing * count)
    agree = agree and fit.cost <= settings.max_disagreement
    passes = agree and sized and residual <= settings.max_residual_mm
    if passes and fit.cost <= DOUBTFUL_COST:
        return
    off = float(np.median(surface.distance(points[given])))
    if not (agree and not sized):
        _refuse_exchanged(fit, template, points, confidence, off)
    if passes:
        return
    if agree and not sized:
        raise FrameRejected(
            "landmark-scale",
            f"the landmarks fit the template only at scale {fit.scale:.3g}",
            expected=f"{settings.min_scale:g} to {settings.max_scale:g}",
            todo="Is the unit of the captures right? It is `unit` in [captures] of mimicme.toml.",
        )
    raise FrameRejected(
        "landmarks-misfit",
        "the landmarks do not fit a face",
        seen=f"{agreeing} of {count} agree, mean residual {residual:.1f} mm, disagreement {fit.cost:.2f}; they lie "
        f"{off:.2g} mm off the scan (median)",
        expected=f"at least {settings.min_agreeing:.0%} and {settings.min_landmarks}, "
        f"at most {settings.max_residual_mm:g} mm, at most {settings.max_disagreement:g}",
        todo="They lie on the scan, so look at their order: it must be iBUG-68's, or the points be labelled."
        if off <= ON_SCAN_MM
        else "Check the scheme and order of the points - they must be iBUG-68, or labelled - and that they belong to "
        "this frame.",
    )


def _refuse_exchanged(
    fit: LandmarkFit, template: Floats, points: Floats, confidence: Floats | None, off_mm: float
) -> None:
    """Raises `landmarks-mirrored` when the landmarks fit far better with left and right exchanged."""
    agreeing = int(fit.trusted.sum())
    for name, order in _EXCHANGED.items():
        other = fit_landmarks(template, points[order], None if confidence is None else confidence[order])
        if other.trusted.sum() > agreeing and other.cost < 0.5 * fit.cost:
            raise FrameRejected(
                "landmarks-mirrored",
                f"left and right of the landmarks are exchanged: they fit with {name} the other way round",
                seen=f"{agreeing} of {np.isfinite(points).all(axis=1).sum()} agree, {int(other.trusted.sum())} would; "
                f"they lie {off_mm:.2g} mm off the scan (median)",
                todo='If labels mean the subject\'s own left, set sides = "subject" in [captures]; without labels '
                "(.npy, .pts) write the points in iBUG-68's order, the image's left first. If scan and landmarks are "
                'both mirror images, set mirrored = "yes" there; if the landmarks alone are, write their x with the '
                "other sign.",
            )


def _exchanged_groups() -> dict[str, np.ndarray]:
    straight = np.arange(N_LANDMARKS)
    reversed_ = np.arange(N_LANDMARKS)
    for a, b in (("left_eyebrow", "right_eyebrow"), ("left_eye", "right_eye")):
        straight[GROUPS[a]], straight[GROUPS[b]] = np.r_[GROUPS[b]], np.r_[GROUPS[a]]
        reversed_[GROUPS[a]], reversed_[GROUPS[b]] = MIRROR[GROUPS[a]], MIRROR[GROUPS[b]]
    return {"all points": MIRROR, "eyes and brows": straight, "the points of eyes and brows": reversed_}


_EXCHANGED = _exchanged_groups()


def shown_landmarks(trusted: Bools) -> Bools:
    """(68,) the trusted landmarks whose residual is reported: brows, nose, eyes; any, if there are none."""
    upper = trusted.copy()
    upper[GROUPS["jaw"]] = upper[GROUPS["mouth"]] = False
    return upper if upper.any() else trusted
