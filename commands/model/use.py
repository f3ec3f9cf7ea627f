"""Using a model file: project frames, reconstruct and sample shapes, transfer expressions between people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.commands.model.bounded import bounded_weights
from mimicme.commands.model.gradients import transfer_deformation
from mimicme.commands.model.personal import personal_blendshapes
from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.captures.expressions import NEUTRAL
from mimicme.pipeline.errors import UsageError, listed
from mimicme.pipeline.model_file import Blendshapes, FaceModel
from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.release.frames import ReleaseFrames, Rows, apexes, same_topology

PERSONAL_FRAMES = 40


@dataclass(frozen=True)
class Projection:
    """The coefficients of frames.

    Attributes:
        table: (N,) structured: subject, sequence, expression, frame ...
        identity: (N, Ki) coefficients of the subject's neutral.
        expression: (N, Ke) coefficients of the difference to it.
        weights: (N, B) of the named blendshapes, in [0, 1]; names: B words.
        residual_mm: (N,) root mean square of what identity and expression together leave over, under the
            expression model's vertex weights; blendshape_residual_mm: likewise with weights for coefficients.
    """

    table: NDArray[Any]
    identity: Floats
    expression: Floats
    weights: Floats
    names: tuple[str, ...]
    residual_mm: Floats
    blendshape_residual_mm: Floats


class ShapeWeights:
    """Weights in [0, 1] of blendshapes, for many frames: what does not depend on the frame is made once.

    Args:
        shapes: the blendshapes.  vertex_weights: (V,).
    """

    def __init__(self, shapes: Blendshapes, vertex_weights: Floats) -> None:
        flat = shapes.deltas.reshape(len(shapes), -1)
        self._dual = flat * np.repeat(vertex_weights, 3).astype(np.float32)
        self.gram = (self._dual @ flat.T).astype(np.float64)

    def __call__(self, differences: ArrayLike) -> Floats:
        """(N, B) weights of differences (N, V, 3) to the neutral, mm."""
        data = np.asarray(differences, np.float32)
        return bounded_weights(self.gram, (data.reshape(len(data), -1) @ self._dual.T).astype(np.float64))


def check_fits(model: FaceModel, frames: ReleaseFrames) -> None:
    """Raises UsageError when model and release do not share a template."""
    if not same_topology(model.template, frames.template):
        raise UsageError(
            "the model was built on another template than the release",
            seen=frames.template.digest[:12],
            expected=model.template.digest[:12],
        )


def project(model: FaceModel, frames: ReleaseFrames, rows: Rows | None = None) -> Projection:
    """Coefficients and blendshape weights of frames of a release, in one pass."""
    check_fits(model, frames)
    chosen = np.arange(len(frames), dtype=np.int64) if rows is None else rows
    identity, expression = model.model("identity"), model.model("expression")
    share = expression.weights / expression.weights.sum()
    solver = None if model.blendshapes is None else ShapeWeights(model.blendshapes, expression.weights)
    neutral_coefs: dict[str, tuple[Floats, Singles]] = {}
    result: dict[str, list[Any]] = {
        n: [] for n in ("identity", "expression", "weights", "rest", "shape_rest")
    }
    start = 0
    for batch in frames.batches(chosen, difference=True):
        people = frames.table["subject"][chosen[start : start + len(batch)]]
        start += len(batch)
        coefs = expression.encode(batch)
        lost = batch - expression.decode(coefs)
        for k, subject in enumerate(map(str, people)):
            if subject not in neutral_coefs:
                neutral = frames.neutral(subject).vertices
                own = identity.encode(neutral[None])
                neutral_coefs = {subject: (own[0], neutral - identity.decode(own)[0])}
            own_coefs, own_lost = neutral_coefs[subject]
            result["identity"].append(own_coefs)
            result["rest"].append(_rms(lost[k] + own_lost, share))
        result["expression"].append(coefs)
        if solver is not None and model.blendshapes is not None:
            weights = solver(batch)
            result["weights"].append(weights)
            made = np.tensordot(weights.astype(np.float32), model.blendshapes.deltas, 1)
            result["shape_rest"] += [_rms(d, share) for d in batch - made]
    names = () if model.blendshapes is None else model.blendshapes.names
    return Projection(
        frames.table[chosen],
        np.array(result["identity"]),
        np.concatenate(result["expression"]),
        np.concatenate(result["weights"]) if names else np.zeros((len(chosen), 0)),
        names,
        np.array(result["rest"]),
        np.array(result["shape_rest"]),
    )


def _rms(difference: NDArray[Any], share: Floats) -> float:
    return float(np.sqrt((difference.astype(np.float64) ** 2).sum(axis=1) @ share))


def save_projection(path: Path, projection: Projection) -> None:
    """Write a projection as .npz; its columns of text and numbers are arrays of their own."""
    columns: dict[str, Any] = {n: projection.table[n] for n in ("subject", "sequence", "expression", "frame")}
    columns["label"] = columns.pop("expression")
    np.savez_compressed(
        path,
        **columns,
        identity=projection.identity,
        expression=projection.expression,
        weights=projection.weights,
        blendshapes=np.array(projection.names),
        residual_mm=projection.residual_mm,
        blendshape_residual_mm=projection.blendshape_residual_mm,
    )


def compose(
    model: FaceModel, identity: ArrayLike | None = None, expression: ArrayLike | None = None
) -> Singles:
    """Faces (N, V, 3), mm, of identity coefficients (N, Ki) and expression coefficients (N, Ke).

    Without identity: the mean person.  Without expression: at rest.
    """
    person = model.model("identity")
    if identity is None and expression is None:
        return person.mean[None].copy()
    shapes = person.mean[None] if identity is None else person.decode(identity)
    return shapes if expression is None else shapes + model.model("expression").decode(expression)


def reconstruct(model: FaceModel, frames: ReleaseFrames, rows: Rows) -> Iterator[Singles]:
    """Each row's face as identity plus expression model have it, (V, 3), mm."""
    check_fits(model, frames)
    identity, expression = model.model("identity"), model.model("expression")
    for row in rows.tolist():
        neutral = frames.neutral(str(frames.table["subject"][row])).vertices[None]
        difference = frames.vertices(row)[None] - neutral
        yield (identity.decode(identity.encode(neutral)) + expression.decode(expression.encode(difference)))[
            0
        ]


def sample(model: FaceModel, count: int, seed: int, expressive: bool = True) -> Singles:
    """Random people (count, V, 3), mm, at rest or with random weights of one or two blendshapes.

    Expressions are drawn from the named shapes rather than from the expression model: its coefficients are far
    from normal, because a face is at rest or at one of the posed expressions.
    """
    shapes = model.model("identity").sample(count, seed)
    if expressive and model.blendshapes is not None:
        rng = np.random.default_rng((seed, 1))
        for k in range(count):
            picked = rng.choice(len(model.blendshapes), min(2, len(model.blendshapes)), replace=False)
            amounts = rng.dirichlet(np.ones(len(picked))) * rng.uniform(0.3, 1.0)
            shapes[k] += np.tensordot(amounts.astype(np.float32), model.blendshapes.deltas[picked], 1)
    return shapes


def interpolate(first: ArrayLike, last: ArrayLike, model: LinearModel, steps: int) -> Singles:
    """`steps` shapes (steps, V, 3) from one shape to another through the model's space; ends are reconstructions."""
    if steps < 2:
        raise UsageError("an interpolation has at least its two ends", seen=steps)
    ends = model.encode(np.stack([np.asarray(first), np.asarray(last)]))
    t = np.linspace(0, 1, steps)[:, None]
    return model.decode((1 - t) * ends[0] + t * ends[1])


def transfer(
    model: FaceModel,
    source_neutral: ArrayLike,
    source: ArrayLike,
    target_neutral: ArrayLike,
    smooth: bool = True,
) -> Singles:
    """The target (V, 3) with the expression of the source; all mm, of the model's template.

    Args:
        smooth: what the expression model says about the source's difference is transferred, not its noise; and not
            what is outside of the model's mask.
    """
    neutral = np.asarray(source_neutral, np.float64)
    shape = np.asarray(source, np.float64)
    if smooth:
        expression = model.model("expression")
        shape = neutral + expression.decode(expression.encode((shape - neutral)[None]))[0]
    return transfer_deformation(neutral, shape, np.asarray(target_neutral), model.template.faces).astype(
        np.float32
    )


def personalise(model: FaceModel, frames: ReleaseFrames, subject: str) -> tuple[Singles, Blendshapes]:
    """A subject's neutral (V, 3) and own blendshapes, from the generic ones and the subject's frames."""
    check_fits(model, frames)
    generic = model.shapes()
    rows = np.intersect1d(frames.rows_of(subject), frames.expressive)
    if not len(rows):
        if subject not in frames.subjects:
            raise frames.no_subject(subject)
        raise UsageError(
            f"the release has no usable frame of '{subject}' but the neutral ones", expected="expressions"
        )
    expression = model.models.get("expression")
    weights = np.ones(len(model.template.vertices)) if expression is None else expression.weights
    picked = _informative_frames(frames, rows, frames.amounts(weights, rows))
    neutral = frames.neutral(subject).vertices
    data = np.stack([frames.vertices(int(row)) for row in picked])
    base = model.model("identity").mean
    deltas, _ = personal_blendshapes(neutral, data, base, generic.deltas, model.template.faces, weights)
    return neutral, Blendshapes(generic.names, deltas, np.ones(len(generic), np.int32))


def _informative_frames(frames: ReleaseFrames, rows: Rows, amounts: Floats) -> Rows:
    """The apexes, and of the others as many as there is room for, evenly."""
    gone = frames.gone(rows, amounts)
    apex = sorted({int(r) for picked in apexes(frames.table[rows], gone).values() for r in rows[picked[:3]]})
    room = max(PERSONAL_FRAMES - len(apex), 0)
    others = np.setdiff1d(rows, apex)
    apex = sorted({*apex, *others[even_subsample(len(others), room)].tolist()})
    return np.array(apex[: max(PERSONAL_FRAMES, 1)], np.int64)


def find_frame(frames: ReleaseFrames, text: str) -> int:
    """The row of 'SUBJECT/SEQUENCE/NUMBER'; 'SUBJECT/SEQUENCE' means the frame furthest from the neutral.

    The sequence may also be given by its expression label.

    Raises:
        UsageError: there is no such usable frame.
    """
    subject, _, rest = text.partition("/")
    sequence, _, number = rest.partition("/")
    rows = frames.rows_of(subject, sequence=sequence or NEUTRAL)
    if not len(rows):
        rows = frames.rows_of(subject, expression=sequence or NEUTRAL)
    if not len(rows):
        own = frames.table["sequence"][frames.rows_of(subject)]
        if not len(own):
            raise frames.no_subject(subject)
        raise UsageError(
            f"the release has no usable frame '{text}'",
            expected=f"SUBJECT/SEQUENCE[/NUMBER]; of '{subject}' there is {listed(np.unique(own), 24)}",
        )
    if number:
        if not number.isdecimal():
            raise UsageError(
                "a frame is named by its number", seen=number, expected="SUBJECT/SEQUENCE/NUMBER"
            )
        numbers = frames.table["frame"][rows]
        rows = rows[numbers == int(number)]
        if not len(rows):
            raise UsageError(
                f"the release has no usable frame '{text}'", expected=f"one of {listed(numbers)}"
            )
    if len(rows) == 1 or not sequence:
        return int(rows[0])
    everywhere = np.ones(len(frames.template.vertices))
    return int(rows[int(frames.amounts(everywhere, rows).argmax())])


def model_facts(model: FaceModel) -> Mapping[str, Any]:
    """What is in a model file, for people and programs: also whose faces it was built from."""
    facts: dict[str, Any] = {
        "template": model.template.name,
        "vertices": len(model.template.vertices),
        "licence": model.licence,
        **({"stale": model.stale} if model.stale else {}),
        "created": model.created,
        "models": {
            n: {
                "components": m.rank,
                "shapes": m.count,
                "explained": round(float(m.variances.sum() / max(m.total_variance, 1e-300)), 6),
            }
            for n, m in model.models.items()
        },
        "blendshapes": list(model.blendshapes.names) if model.blendshapes else [],
        "notes": dict(model.blendshapes.notes) if model.blendshapes else {},
        "sparse": list(model.sparse.names) if model.sparse else [],
        "texture": [model.texture.height, model.texture.width] if model.texture else None,
        "subjects": [str(s) for s in model.subjects["subject"]],
        "consent": _counts(model.subjects["consent"].tolist()),
        "split": _counts(model.subjects["split"].tolist()),
        "pruned": [
            {"frame": f"{p['subject']}/{p['sequence']}/{p['frame']}", "norm": round(float(p["norm"]), 3)}
            for p in model.pruned
        ],
        "settings": dict(model.settings),
        "releases": list(model.releases),
    }
    return facts


def _counts(values: Sequence[str]) -> dict[str, int]:
    return {v: values.count(v) for v in sorted(set(values))}
