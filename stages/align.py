"""align: where the head is on every scan, as a rigid motion from the canonical frame.

Reads   ingest: the cleaned scan; landmarks: points and confidence; the template.
Writes  pose (F, 4, 4) f8, canonical -> scan, rigid; landmark_ok (F, 68) bool, the points it trusts;
        quality/align_landmark_residual (F,) f4: mean distance of the trusted points of eyes, brows and nose
        to the template's, mm; quality/align_surface_residual (F,) f4: median distance of the
        template's upper face to the scan, mm; quality/align_scale (F,) f4: size of the face as a multiple of
        the template's (never applied).
Fails   a frame with `too-few-landmarks`, `landmarks-mirrored`, `landmark-scale`, `landmarks-misfit`, or
        `numerical-failure`: its numbers broke the computation.

A generic template is another person: 2 to 4 mm at eyes, brows and nose are what differing faces leave, and 7
mm of james on menpo3d's template, whose four points of the nose's bridge sit up to 13 mm too high.  Mouth
and jaw are left out of the figure, for they move.

1. Consensus: similarities through triples of landmarks, from a fixed random seed; the one that most landmarks
   agree with, each measured against how much faces differ there (`SPREAD_MM`), is the start (Fischler &
   Bolles 1981).
2. Iteratively re-weighted least squares with Tukey's biweight, for the similarity: its scale tells a wrong
   unit, and keeps a child's face from looking like wrong landmarks.  Landmarks that disagree with it, or
   with their neighbours, are not trusted.  The pose is the rigid fit of the trusted ones: a person is never
   rescaled.
3. Robust point-to-plane ICP (Chen & Medioni 1992) of the template's upper face - forehead, brows, nose, no
   eyelids, nothing of the jaw - with the landmarks kept; undone when it does not bring the surfaces closer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.landmarks import GROUPS, IBUG68, MIRROR, N_LANDMARKS
from mimicme.pipeline.mesh import Bools, Floats, transform, triangle_normals, vertex_normals
from mimicme.pipeline.rigid import fit_rigid
from mimicme.pipeline.spatial import Surface
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import Template

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import ArtefactWriter


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


@dataclass(frozen=True)
class AlignSettings:
    """Settings of the align stage.

    Attributes:
        min_landmarks: fewer trusted landmarks reject the frame.
        min_agreeing: share of the given landmarks that must be trusted.
        max_disagreement: largest robust cost of the fit, 0 (all agree) to 1.  Two different persons give
            0.01 to 0.1, 20 % wrong points 0.3, 40 % 0.42, left and right exchanged 0.5, an unknown order over
            0.7.
        min_scale, max_scale: size of the face relative to the template's; beyond it the unit is wrong.
        max_residual_mm: mean residual of the trusted landmarks of eyes, brows and nose beyond which the
            frame is rejected.
        refine: whether to refine on the surface.
        rounds: rounds of surface refinement.
        samples: template vertices used for it.
        max_turn_deg, max_shift_mm: refinement that moves the head further than this is undone.
    """

    min_landmarks: int = 4
    min_agreeing: float = 0.5
    max_disagreement: float = 0.45
    min_scale: float = 0.65
    max_scale: float = 1.5
    max_residual_mm: float = 15.0
    refine: bool = True
    rounds: int = 15
    samples: int = 1500
    max_turn_deg: float = 12.0
    max_shift_mm: float = 15.0

    def __post_init__(self) -> None:
        if self.min_landmarks < 3:
            raise ConfigError(
                "three points fix a pose", seen=self.min_landmarks, expected="min_landmarks >= 3"
            )
        if not 0 <= self.min_agreeing <= 1:
            raise ConfigError("`min_agreeing` is a share", seen=self.min_agreeing, expected="0 to 1")
        if not 0 < self.min_scale < 1 < self.max_scale:
            raise ConfigError("the scales enclose 1", seen=f"{self.min_scale} and {self.max_scale}")
        if self.rounds < 1 or self.samples < 100:
            raise ConfigError("refinement needs rounds >= 1 and samples >= 100")


# ------------------------------------------------------------------------------------------------ landmarks


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


_CUT = 3.0  # spreads beyond which a landmark counts as wrong
_TRIPLES = 600
_ROUNDS = 30


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
        w = prior * np.maximum(1 - (r / (_CUT * spread)) ** 2, 0) ** 2
        if np.count_nonzero(w) < 3:
            break
        new = _fit_similarity(y, x, w)
        moved = np.abs(new - similarity).max()
        similarity = new
        if moved < 1e-9:
            break
    offset = transform(similarity, y) - x  # in the template's size
    r = np.linalg.norm(offset, axis=1)
    cost = float(np.average(np.minimum((r / (_CUT * spread)) ** 2, 1), weights=prior))
    ok = r < _CUT * spread
    full = np.full((N_LANDMARKS, 3), np.nan)
    full[where] = offset
    ok &= ~_odd_one_out(full)[where]
    scale = 1 / np.cbrt(np.linalg.det(similarity[:3, :3]))
    if ok.sum() >= 3:
        w = prior * ok * np.maximum(1 - (r / (_CUT * spread)) ** 2, 0) ** 2
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
    # Gumbel's trick: weighted draws without replacement, all triples at once; firm landmarks more often
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
    cost = np.minimum((r / (_CUT * spread)) ** 2, 1) @ prior
    # a triple of nearly one place fixes nothing
    cost[size_b < (30.0**2)] += prior.sum() * 1e-3
    best = int(np.argmin(cost))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear[best], shift[best]
    return matrix


# Neighbours on a face move together, even where the jaw has carried both away.
_RUNS: tuple[tuple[list[int], bool, float], ...] = (
    (list(range(17)), False, 15.0),
    (list(range(17, 22)), False, 12.0),
    (list(range(22, 27)), False, 12.0),
    (list(range(48, 60)), True, 16.0),
    (list(range(60, 68)), True, 22.0),
)


def _odd_one_out(offset: Floats) -> Bools:
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
    fit: LandmarkFit, template: Floats, points: Floats, confidence: Floats | None, settings: AlignSettings
) -> None:
    """Raises FrameRejected when the landmarks do not fit, with what would make them."""
    given = int(np.isfinite(points).all(axis=1).sum())
    agreeing = int(fit.trusted.sum())
    shown = _shown(fit.trusted)
    residual = float(fit.residuals[shown].mean()) if shown.any() else np.inf
    sized = settings.min_scale <= fit.scale <= settings.max_scale
    agree = agreeing >= max(settings.min_landmarks, settings.min_agreeing * given)
    agree = agree and fit.cost <= settings.max_disagreement
    if agree and sized and residual <= settings.max_residual_mm:
        return
    if agree and not sized:
        raise FrameRejected(
            "landmark-scale",
            f"the landmarks fit the template only at scale {fit.scale:.3g}",
            expected=f"{settings.min_scale:g} to {settings.max_scale:g}",
            todo="Is the unit of the captures right? Set it with --unit.",
        )
    for name, order in _EXCHANGED.items():
        other = fit_landmarks(template, points[order], None if confidence is None else confidence[order])
        if other.trusted.sum() > agreeing and other.cost < 0.5 * fit.cost:
            raise FrameRejected(
                "landmarks-mirrored",
                f"left and right of the landmarks are exchanged: they fit with {name} the other way round",
                seen=f"{agreeing} of {given} agree; {int(other.trusted.sum())} would",
                todo='If the files mean the subject\'s own left, set sides = "subject" in [landmarks]; '
                "else the scan itself is mirrored.",
            )
    raise FrameRejected(
        "landmarks-misfit",
        "the landmarks do not fit a face",
        seen=f"{agreeing} of {given} agree, mean residual {residual:.1f} mm, disagreement {fit.cost:.2f}",
        expected=f"at least {settings.min_agreeing:.0%} and {settings.min_landmarks}, "
        f"at most {settings.max_residual_mm:g} mm, at most {settings.max_disagreement:g}",
        todo="Check the scheme and order of the points: they must be iBUG-68, or labelled.",
    )


def _exchanged_groups() -> dict[str, np.ndarray]:
    straight = np.arange(N_LANDMARKS)
    reversed_ = np.arange(N_LANDMARKS)
    for a, b in (("left_eyebrow", "right_eyebrow"), ("left_eye", "right_eye")):
        straight[GROUPS[a]], straight[GROUPS[b]] = np.r_[GROUPS[b]], np.r_[GROUPS[a]]
        reversed_[GROUPS[a]], reversed_[GROUPS[b]] = MIRROR[GROUPS[a]], MIRROR[GROUPS[b]]
    return {"all points": MIRROR, "eyes and brows": straight, "the points of eyes and brows": reversed_}


_EXCHANGED = _exchanged_groups()


# ------------------------------------------------------------------------------------------------ surface


# How many independent points the whole surface counts as, against the landmarks, which stop it from sliding.
# On 18 synthetic sequences the heads' motion was recovered equally well from 5 to 200.
_SURFACE_POINTS = 20.0


class UpperFace(NamedTuple):
    """Template points (k, 3) on the skull's part of the face with normals (k, 3) and weights (k,)."""

    points: Floats
    normals: Floats
    weights: Floats


def upper_face(template: Template, samples: int) -> UpperFace:
    """The template's vertices on forehead, temples, brows, nose and the rims of the eyes.

    Derived from its landmarks, in units of its own eye distance d: within 0.9 d of brows, eyes or nose,
    nearer to one of these than to mouth or jaw, above the nose's base, outside the eyes' openings.  At most
    `samples` of them, evenly by index; weighted by the area they stand for.
    """
    marks = template.landmarks()
    v = template.vertices
    d = np.linalg.norm(marks[GROUPS["right_eye"]].mean(0) - marks[GROUPS["left_eye"]].mean(0))
    distance = np.linalg.norm(v[:, None] - marks[None], axis=2) if len(v) < 2000 else _distances(v, marks)
    upper, lower = distance[:, 17:48].min(1), np.minimum(distance[:, :17].min(1), distance[:, 48:].min(1))
    keep = (upper < 0.9 * d) & (upper < lower) & (v[:, 1] > marks[31:36, 1].min())
    for group in ("left_eye", "right_eye"):
        eye = marks[GROUPS[group]]
        keep &= np.linalg.norm(v - eye.mean(0), axis=1) > 0.32 * d
    normals = vertex_normals(v, template.faces)
    keep &= normals[:, 2] > 0.1  # the ears and the inside of the nostrils look elsewhere
    index = np.flatnonzero(keep)
    area = np.bincount(
        template.faces.ravel(), np.repeat(triangle_normals(v, template.faces)[1] / 3, 3), len(v)
    )
    step = max(1, len(index) // samples)
    index = index[::step]
    return UpperFace(v[index], normals[index], area[index] / max(area[index].mean(), 1e-300))


def _distances(v: Floats, marks: Floats) -> Floats:
    return np.sqrt(np.maximum((v**2).sum(1)[:, None] + (marks**2).sum(1) - 2 * v @ marks.T, 0))


class Refined(NamedTuple):
    """Pose after refinement; median distance of upper face to scan before and after, mm; whether kept."""

    pose: Floats
    before: float
    after: float
    kept: bool


def refine(
    pose: Floats,
    face: UpperFace,
    surface: Surface,
    template_marks: Floats,
    points: Floats,
    trusted: Bools,
    settings: AlignSettings,
) -> Refined:
    """Robust point-to-plane ICP of the upper face onto the scan; the stable trusted landmarks keep pulling.

    Args:
        pose: (4, 4) canonical -> scan to start from.
        surface: the scan, mm.
        template_marks, points: (68, 3) landmarks on the template and on the scan; trusted: (68,).
    """
    face_normals, _ = triangle_normals(surface.vertices, surface.faces)
    use = np.flatnonzero(trusted & np.isin(np.arange(N_LANDMARKS), STABLE))
    start = pose
    before = surface_residual(pose, face, surface)
    for round_ in range(settings.rounds):
        gate = max(20.0 * 0.8**round_, 6.0)  # mm
        p = transform(pose, face.points)
        n = face.normals @ pose[:3, :3].T
        hit = surface.closest(p)
        m = face_normals[hit.triangles]
        facing = np.maximum((n * m).sum(1), 0)
        off = ((p - hit.points) * m).sum(1)
        near = hit.distances < gate
        if np.count_nonzero(near) < 50:
            break
        scale = max(1.4826 * float(np.median(np.abs(off[near]))), 0.5)
        w = face.weights * (facing > 0.5) * facing * np.maximum(1 - (off / (4.685 * scale)) ** 2, 0) ** 2
        # a far target, or one to the side of the normal, lies on the rim of a hole
        aside = np.linalg.norm((p - hit.points) - off[:, None] * m, axis=1)
        w = w * near * (aside < 1.0 + 0.1 * np.abs(off))
        if np.count_nonzero(w) < 50:
            break
        centre = p.mean(0)
        jacobian = np.concatenate([np.cross(p - centre, m), m], axis=1)
        # neighbouring surface points are not independent: all together count as much as SURFACE_POINTS would
        w = w * (_SURFACE_POINTS / w.sum()) / scale**2
        a = jacobian.T @ (w[:, None] * jacobian)
        b = -jacobian.T @ (w * off)
        q = transform(pose, template_marks[use])
        e = q - points[use]
        v = 1 / SPREAD_MM[use] ** 2
        cut = np.linalg.norm(e, axis=1) / (_CUT * SPREAD_MM[use])
        v = v * np.maximum(1 - cut**2, 0) ** 2
        k = np.zeros((len(use), 3, 6))
        c = q - centre
        k[:, 0, 1], k[:, 0, 2] = c[:, 2], -c[:, 1]
        k[:, 1, 0], k[:, 1, 2] = -c[:, 2], c[:, 0]
        k[:, 2, 0], k[:, 2, 1] = c[:, 1], -c[:, 0]
        k[:, [0, 1, 2], [3, 4, 5]] = 1
        a += np.einsum("l,lij,lik->jk", v, k, k)
        b -= np.einsum("l,lij,li->j", v, k, e)
        step = np.linalg.solve(a + 1e-9 * np.eye(6) * np.trace(a), b)
        move = np.eye(4)
        move[:3, :3] = _rotation(step[:3])
        move[:3, 3] = centre + step[3:] - move[:3, :3] @ centre
        pose = move @ pose
        if np.abs(step[:3]).max() < 1e-5 and np.abs(step[3:]).max() < 1e-3:
            break
    after = surface_residual(pose, face, surface)
    turn, shift = _difference(start, pose, face.points.mean(0))
    kept = after < before and turn <= settings.max_turn_deg and shift <= settings.max_shift_mm
    return Refined(pose if kept else start, before, after if kept else before, bool(kept))


def surface_residual(pose: Floats, face: UpperFace, surface: Surface) -> float:
    """Median distance of the upper face to the scan, mm; 20 where the scan is further or absent."""
    return float(np.median(np.minimum(surface.distance(transform(pose, face.points)), 20.0)))


def _rotation(vector: Floats) -> Floats:
    """(3, 3) rotation by a vector: axis times angle in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k))


def _difference(a: Floats, b: Floats, at: Floats) -> tuple[float, float]:
    """Turn in degrees, and shift in mm of the point `at`, between two poses."""
    cosine = (np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), float(
        np.linalg.norm(transform(a, at) - transform(b, at))
    )


# ------------------------------------------------------------------------------------------------ frame


class Aligned(NamedTuple):
    """One frame: pose (4, 4), trusted (68,), the three quality figures, whether the surface moved it."""

    pose: Floats
    trusted: Bools
    landmark_residual: float
    surface_residual: float
    scale: float
    refined: bool


def align(
    template_marks: Floats,
    face: UpperFace,
    points: Floats,
    confidence: Floats | None,
    surface: Surface,
    settings: AlignSettings,
) -> Aligned:
    """Pose of one scan.

    Raises:
        FrameRejected: see the module.
    """
    given = int(np.isfinite(points).all(axis=1).sum())
    if given < settings.min_landmarks or not _spans(points):
        raise FrameRejected(
            "too-few-landmarks",
            "the landmarks given do not fix a pose",
            seen=f"{given} points",
            expected=f"at least {settings.min_landmarks}, not on one line",
            todo="Give more points: the eye corners, the nose tip and the mouth corners are enough.",
        )
    fit = fit_landmarks(template_marks, points, confidence)
    check_fit(fit, template_marks, points, confidence, settings)
    if settings.refine:
        pose, _, after, refined = refine(
            fit.pose, face, surface, template_marks, points, fit.trusted, settings
        )
    else:
        pose, after, refined = fit.pose, surface_residual(fit.pose, face, surface), False
    shown = _shown(fit.trusted)
    residual = np.linalg.norm(transform(pose, template_marks[shown]) - points[shown], axis=1).mean()
    return Aligned(pose, fit.trusted, float(residual), after, fit.scale, refined)


def _shown(trusted: Bools) -> Bools:
    """(68,) the trusted landmarks whose residual is reported: brows, nose, eyes; any, if there are none."""
    upper = trusted.copy()
    upper[GROUPS["jaw"]] = upper[GROUPS["mouth"]] = False
    return upper if upper.any() else trusted


def _spans(points: Floats) -> bool:
    """Whether the points given do not all lie on one line."""
    given = points[np.isfinite(points).all(axis=1)]
    if len(given) < 3:
        return False
    s = np.linalg.svd(given - given.mean(0), compute_uv=False)
    return bool(s[1] > 0.05 * s[0])


# ------------------------------------------------------------------------------------------------ shell


def compute(task: Task, out: ArtefactWriter) -> None:
    """The stage: see the module."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_scan

    settings: AlignSettings = task.settings
    template = task.load_template()
    marks = template.landmarks()
    face = upper_face(template, settings.samples)
    with task.input("ingest") as ingest, task.input("landmarks") as landmarks:
        rows = out.continue_from(landmarks)
        pose = out.rows("pose", (4, 4), "f8", "mm")
        trusted = out.rows("landmark_ok", (N_LANDMARKS,), "?")
        landmark_residual = out.rows("quality/align_landmark_residual", (), "f4", "mm")
        surface_figure = out.rows("quality/align_surface_residual", (), "f4", "mm")
        scale = out.rows("quality/align_scale", (), "f4", "1")
        refined = np.zeros(len(landmarks.numbers), bool)
        for row in rows:
            scan = load_scan(ingest, row)
            points = landmarks["points"][row].astype(np.float64)
            confidence = landmarks["confidence"][row].astype(np.float64)
            try:
                with frame_numerics():
                    surface = Surface(scan.vertices, scan.faces)
                    found = align(marks, face, points, confidence, surface, settings)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            pose[row] = found.pose
            trusted[row] = found.trusted
            landmark_residual[row] = found.landmark_residual
            surface_figure[row] = found.surface_residual
            scale[row] = found.scale
            refined[row] = found.refined
            _say(out, row, points, found, settings)
        out.array("refined", refined)


def _say(out: ArtefactWriter, row: int, points: Floats, found: Aligned, settings: AlignSettings) -> None:
    wrong = np.flatnonzero(np.isfinite(points).all(axis=1) & ~found.trusted)
    if len(wrong):
        names = ", ".join(IBUG68[k] for k in wrong[:6]) + (" ..." if len(wrong) > 6 else "")
        out.note(row, "landmarks-distrusted", f"{len(wrong)} landmarks disagree with the others: {names}.")
    if settings.refine and not found.refined:
        out.note(
            row, "pose-by-landmarks", "The surface did not improve the pose; it is the landmarks' alone."
        )


STAGE = Stage(
    name="align",
    version=2,
    settings=AlignSettings,
    needs=("ingest", "landmarks"),
    compute=compute,
    memory="0.3 GB a worker: the template, one scan and its search tree.",
)
