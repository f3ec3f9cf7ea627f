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
# Robust cost above which the face may have other proportions than the template's: two persons mostly give less.  Below
# it a similarity is enough, and an added freedom would only follow noise and expression.
PROPORTIONS_COST = 0.1
# How much of that cost is left at most where other proportions are what it came from.  The two people of five of
# `synth --seed 5511` whose cost is over 0.1 keep 0.1 to 0.35 of it, up to 0.75 with 40 % wrong points beside; swapped
# sides, another order, shifted parts and wrong points of faces of the usual proportions keep 0.85 to 1.
PROPORTIONS_KEEP = 0.75
# Height and depth of a face against its width, as multiples of the template's.  The face's height (nasion to chin) over
# the width of the cheekbones is 0.85 to 0.9 in adults, within a tenth or so, and about 0.75 in small children: 0.75 to
# 1.25 of an average template.  The bounds leave room for a template that is itself unusual; points without any depth
# are no flat face.
HEIGHTS, DEPTHS = (0.55, 1.7), (0.7, 1.45)
STRETCH_SD = 0.25  # of the logarithm: what a few points that do not tell height from depth fall back on
_STARTS = tuple((h, d) for h in (0.6, 0.8, 1.0, 1.25, 1.5) for d in (0.75, 1.0, 1.35))
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
        stretch: (3,) width (1), height and depth of the face against the template's, at the same width; 1 but where
            the template's own proportions fit badly and others well.
    """

    pose: Floats
    trusted: Bools
    residuals: Floats
    scale: float
    cost: float
    stretch: Floats


def fit_landmarks(template: Floats, points: Floats, confidence: Floats | None = None) -> LandmarkFit:
    """Robust pose of template landmarks (68, 3) on a scan's (68, 3), NaN where absent; at least 3 must be
    given.

    Deterministic.  Fits scale too, measured in the template's own size, so that any unit gives the same
    trust; and height and depth of the face against its width, where a similarity alone fits badly and these well.
    """
    given = np.isfinite(points).all(axis=1) & np.isfinite(template).all(axis=1)
    where = np.flatnonzero(given)
    x, y, spread = template[where], points[where], SPREAD_MM[where]
    prior = 1.0 / spread**2
    if confidence is not None:
        prior = prior * np.clip(confidence[where], 0.05, 1)
    fit = _robust(x, y, spread, prior, np.ones(3))
    if fit.cost > PROPORTIONS_COST:
        other = _proportioned(x, y, spread, prior)
        if other.cost < PROPORTIONS_KEEP * fit.cost:
            fit = other
    shaped = x * fit.stretch
    offset = transform(fit.similarity, y) - shaped  # in the template's size
    r = np.linalg.norm(offset, axis=1)
    ok = r < CUT * spread
    full = np.full((N_LANDMARKS, 3), np.nan)
    full[where] = offset
    ok &= ~_neighbour_outliers(full)[where]
    scale = np.cbrt(np.prod(fit.stretch)) / np.cbrt(np.linalg.det(fit.similarity[:3, :3]))
    if ok.sum() >= 3:
        w = prior * ok * np.maximum(1 - (r / (CUT * spread)) ** 2, 0) ** 2
        w = w if np.count_nonzero(w) >= 3 else ok.astype(float)
        pose = fit_rigid(shaped, y, w)
        # the turn is that of the head's own proportions; the template itself keeps its shape, middle on middle
        pose[:3, 3] += pose[:3, :3] @ (w @ (shaped - x)) / w.sum()
    else:
        pose = np.eye(4)
    trusted = np.zeros(N_LANDMARKS, bool)
    trusted[where[ok]] = True
    residuals = np.full(N_LANDMARKS, np.nan)
    residuals[where] = np.linalg.norm(transform(pose, x) - y, axis=1)
    return LandmarkFit(pose, trusted, residuals, float(scale), fit.cost, fit.stretch)


class _Fit(NamedTuple):
    """`similarity` (4, 4) takes landmarks of a scan to the template's times `stretch` (3,); see `LandmarkFit.cost`."""

    similarity: Floats
    stretch: Floats
    cost: float


def _robust(x: Floats, y: Floats, spread: Floats, prior: Floats, stretch: Floats, free: bool = False) -> _Fit:
    """Consensus and iteratively re-weighted least squares, `y` (k, 3) of a scan onto `x` (k, 3) times `stretch`, which
    is fitted too where it is `free`."""
    similarity = _consensus(x * stretch, y, spread, prior)
    for _ in range(_ROUNDS):
        near = transform(similarity, y)
        w = prior * np.maximum(1 - (_lengths(near - x * stretch) / (CUT * spread)) ** 2, 0) ** 2
        if np.count_nonzero(w) < 3:
            break
        before = similarity, stretch
        if free:
            stretch = _fit_stretch(x, near, w)
        similarity = _fit_similarity(y, x * stretch, w)
        if max(np.abs(similarity - before[0]).max(), np.abs(stretch - before[1]).max()) < 1e-9:
            break
    r = _lengths(transform(similarity, y) - x * stretch)
    return _Fit(
        similarity, stretch, float(np.average(np.minimum((r / (CUT * spread)) ** 2, 1), weights=prior))
    )


def _proportioned(x: Floats, y: Floats, spread: Floats, prior: Floats) -> _Fit:
    """The best of `_robust` with height and depth of the face free, from several proportions to start with: where
    points seem wrong only because the face is short or long, no single start has all of them."""
    starts = [_robust(x, y, spread, prior, np.array([1.0, *start]), free=True) for start in _STARTS]
    return min(starts, key=lambda fit: fit.cost)


def _fit_stretch(x: Floats, near: Floats, w: Floats) -> Floats:
    """(3,) stretch of width (always 1), height and depth of `x` (k, 3) that comes closest to `near` (k, 3), which lies
    as `x` does: a regression for each axis, with a prior at the template's own (`STRETCH_SD`)."""
    a, b = x - w @ x / w.sum(), near - w @ near / w.sum()
    own = w @ (a * a) + STRETCH_SD**-2
    sizes = np.maximum(w @ (a * b) + STRETCH_SD**-2, 1e-9) / own
    _, height, depth = sizes / sizes[0]
    return np.array([1.0, np.clip(height, *HEIGHTS), np.clip(depth, *DEPTHS)])


def _lengths(vectors: Floats) -> Floats:
    return np.asarray(np.linalg.norm(vectors, axis=1))


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
