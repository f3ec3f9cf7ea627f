"""`expected_error`: learnt on two makers' people, judged on a third's.

Every maker's captures are registered frame by frame, every second one damaged (damage.py), most of the expressions
from their person's neutral; and once more by `mimicme run` with landmarks that its detector finds.  The two makers that
teach weigh the same, by hand and found.  What is learnt stands in stages/register/quality.py and is not changed here:
the figures to write there are printed beside what they are now worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import robust
from cases import Captures, correspondence
from damage import DAMAGES

from mimicme.commands.evaluate import read_truth
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform, vertex_areas
from mimicme.pipeline.release import Release
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.stages.register.quality import (
    BEST_CASE_MM,
    DISTANCE_POWER,
    EXPECTED_HIGH,
    EXPECTED_LOW,
    expected_error,
    vertex_spread,
)

KINDS = tuple(kind for damage in DAMAGES for kind in ("none", damage))
FROM_NEUTRAL = 0.6
"""Share of the expressions that are registered from their person's neutral; the others from the template."""
FIGURES = ("template_distance", "landmark_error", "landmarks_found", "stretch_core")
INTERVAL = (10, 90)


@dataclass(frozen=True)
class Seen:
    """Registered frames of one maker, all found or all by hand: how far the core lies from the template's, mm, how far
    landmarks lie from where the others carry them, mm, the share of landmarks found, how far the core stretched,
    |log2|, and the true mean error, mm; (n,) each.  And the `vertex_spread` of their template."""

    name: str
    distance: Floats
    held_out: Floats
    found_share: Floats
    stretch: Floats
    true: Floats
    spread: Floats

    @classmethod
    def of(cls, name: str, rows: Sequence[tuple[Mapping[str, float], float]], spread: float) -> Seen:
        """Of figures of quality and true errors; what is not finite is left out."""
        table = np.array([(*(quality[figure] for figure in FIGURES), true) for quality, true in rows])
        table = table.reshape(-1, len(FIGURES) + 1)
        table = table[np.isfinite(table).all(axis=1)]
        return cls(name, *table.T, np.full(len(table), spread))

    @property
    def design(self) -> Floats:
        """(n, 4) what the squares of the coefficients of `expected_error` multiply."""
        columns = (
            self.distance ** (2 * DISTANCE_POWER),
            self.held_out**2,
            self.found_share,
            self.found_share * self.stretch**2,
        )
        return np.stack(columns, axis=1) * self.spread[:, None] ** 2

    @property
    def best_case(self) -> Floats:
        """(n,) mm^2 what the square of the expected error has besides, which is measured and not learnt."""
        return (BEST_CASE_MM * self.spread) ** 2

    @property
    def expected(self) -> Floats:
        """(n,) mm, as the program says it now."""
        rows = zip(self.distance, self.held_out, self.found_share, self.stretch, self.spread, strict=True)
        return np.array([expected_error(*row) for row in rows])


def run(
    teachers: Sequence[Captures], judge: Captures, trials: int, work: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Learn from the teachers, judge on the judge; the record to save."""
    seen: dict[str, list[Seen]] = {}
    for captures in [*teachers, judge]:
        name = captures.folder.name
        say(f"  {name}: {trials} trials, and a run with landmarks found")
        seen[name] = [*by_hand(captures, trials), found(captures, work, say)]
    taught = [seen[captures.folder.name] for captures in teachers]
    learnt = learn([part for parts in taught for part in parts])
    far, held_out, by_detector, stretched = np.sqrt(learnt)
    say(
        f"learnt, root of the squares' sum: {far:.3f} x distance^{DISTANCE_POWER}, {held_out:.3f} x held out, "
        f"{by_detector:.3f} mm of found, {stretched:.3f} mm x stretch of found"
    )
    low, high = interval(taught)
    say(
        f"true / expected, {INTERVAL[0]} and {INTERVAL[1]} % of frames, learnt on the others: {low:.2f}, {high:.2f}"
    )
    rows = [judged(part) for parts in seen.values() for part in parts]
    rows.append(judged(together(f"{judge.folder.name}, all", seen[judge.folder.name])))
    say(table(rows))
    return {"learnt": np.sqrt(learnt).tolist(), "interval": [low, high], "judged": rows}


def by_hand(captures: Captures, trials: int) -> tuple[Seen, Seen]:
    """Trials with the landmarks that lie beside the frames: undamaged and damaged."""
    prepared = robust.Prepared.of(captures.template())
    names = captures.sequences
    neutrals: dict[str, Floats | None] = {}
    whole: list[tuple[Mapping[str, float], float]] = []
    damaged: list[tuple[Mapping[str, float], float]] = []
    for seed in range(trials):
        rng = np.random.default_rng([seed, 77])
        sequence = names[rng.integers(len(names))]
        case = captures.case(sequence, int(rng.integers(captures.frames(sequence))))
        kind = KINDS[seed % len(KINDS)]
        spoiled = DAMAGES[kind](case, rng) if kind in DAMAGES else case
        subject = sequence.partition("/")[0]
        calm = f"{subject}/neutral"
        tracked = sequence != calm and calm in names and rng.random() < FROM_NEUTRAL
        try:
            if tracked and subject not in neutrals:
                tracker = prepared.tracker()
                tracker.register(robust.aligned(prepared, captures.case(calm, 0))[0])
                neutrals[subject] = tracker.neutral
            frame, _ = robust.aligned(prepared, spoiled)
            with robust.verdict_noted():
                result = prepared.tracker(neutrals.get(subject) if tracked else None).register(frame)
        except FrameRejected:
            continue
        if case.answer is None or spoiled.answer is None:
            raise ValueError(f"{sequence} has no known answer")
        off = correspondence(robust.placed(result), spoiled.answer)
        (damaged if kind in DAMAGES else whole).append((asdict(result.quality), off.mean()))
    name = captures.folder.name
    spread = spread_of(captures)
    return Seen.of(f"{name}, by hand", whole, spread), Seen.of(f"{name}, damaged", damaged, spread)


def spread_of(captures: Captures) -> float:
    """`vertex_spread` of the template of these captures."""
    template = captures.template()
    vertices, landmarks = template.vertices, template.landmarks()
    core = FaceCore.of(vertices, template.faces, vertex_areas(vertices, template.faces), landmarks)
    return vertex_spread(vertices, core.areas > 0, landmarks)


def found(captures: Captures, work: Path, say: Callable[[str], None]) -> Seen:
    """Frames of a release whose landmarks were found."""
    workspace = work / f"expected-{captures.folder.name}"
    release = accuracy.whole_run(captures, "found", None, workspace, say)[1]
    rows = []
    with Release(release) as opened:
        for name in captures.sequences:
            truth = read_truth(captures.folder / "truth" / f"{name}.npz")
            info = opened.sequence(truth.item.subject, truth.item.sequence)
            for frame in (opened.frame(row, images=False) for row in info.rows):
                if not frame.ok:
                    continue
                placed = transform(info.file_from_scan @ frame.pose, np.asarray(frame.vertices, np.float64))
                seen = truth.core & truth.valid[frame.number]
                off = np.linalg.norm(placed - truth.vertices[frame.number], axis=1)[seen].mean()
                rows.append((frame.quality, off))
    return Seen.of(f"{captures.folder.name}, found", rows, spread_of(captures))


def together(name: str, parts: Sequence[Seen]) -> Seen:
    """Several as one."""
    columns = [field.name for field in fields(Seen) if field.name != "name"]
    return Seen(name, *(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


def learn(parts: Sequence[Seen]) -> Floats:
    """(4,) squares of the coefficients of `expected_error`: least squares of the relative error of the square, none
    negative, each part weighing the same; then scaled so that the mean of what is expected is the mean of what is true.
    """
    from scipy.optimize import nnls

    all_of = together("", parts)
    weight = np.concatenate([np.full(len(part.true), 1 / len(part.true)) for part in parts if len(part.true)])
    design = all_of.design
    relative = np.sqrt(weight) / all_of.true**2
    left = np.maximum(1 - all_of.best_case / all_of.true**2, 0.0)
    solved, _ = nnls(design * relative[:, None], np.sqrt(weight) * left)
    expected = np.sqrt(all_of.best_case + design @ solved)
    return np.asarray(solved * ((weight @ all_of.true) / (weight @ expected)) ** 2)


def interval(taught: Sequence[Sequence[Seen]]) -> tuple[float, float]:
    """Percentiles of true / expected error: of each maker's parts by what is learnt on the other makers'; with one
    maker alone, on its own.  Each part weighs the same."""
    ratios = []
    for number, parts in enumerate(taught):
        others = [part for k, of in enumerate(taught) if k != number for part in of] or parts
        learnt = learn(others)
        ratios += [
            np.percentile(
                part.true / np.sqrt(part.best_case + part.design @ learnt), np.linspace(0, 100, 501)
            )
            for part in parts
            if len(part.true)
        ]
    low, high = np.percentile(np.concatenate(ratios), INTERVAL)
    return float(low), float(high)


def judged(part: Seen) -> dict[str, Any]:
    """Of what the program says now: rank correlation, calibration, and how many frames the interval holds."""
    expected = part.expected
    inside = (part.true >= EXPECTED_LOW * expected) & (part.true <= EXPECTED_HIGH * expected)
    return {
        "frames": part.name,
        "number": len(expected),
        "rank": robust.rank_correlation(expected, part.true),
        "expected": float(expected.mean()),
        "true": float(part.true.mean()),
        "in_interval": float(inside.mean()),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """For people."""
    lines = [f"{'frames':<24}{'number':>8}{'rank':>8}{'expected':>10}{'true':>8}{'in interval':>13}"]
    lines += [
        f"{row['frames']:<24}{row['number']:8d}{row['rank']:8.2f}{row['expected']:10.3f}{row['true']:8.3f}"
        f"{row['in_interval']:13.0%}"
        for row in rows
    ]
    return "\n".join(lines)
