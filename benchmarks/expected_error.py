"""`expected_error`: learnt on two makers' people, judged on a third's.

Every maker's captures are registered frame by frame, every second one damaged (damage.py), most of the expressions
from their person's neutral; and by `mimicme run` with landmarks that its detector finds, in colours and without them,
as registered.  The two makers that teach weigh the same, by hand and found.  What is found without colours teaches one
figure alone, after the others.  What becomes of it in frames that are refined is learnt on these runs, and on one with
the landmarks that lie beside the frames (inherited_error.py).  What is learnt stands in
stages/register/expected_error.py and stages/refine/expected.py and is not changed here: the figures to write there are
printed beside what they are now worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import accuracy
import inherited_error
import numpy as np
import robust
from cases import Captures, correspondence
from damage import DAMAGES

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.stages.register.expected_error import (
    BEST_CASE_MM,
    DISTANCE_POWER,
    FOUND_COSTS_MM,
    expected_error,
    expected_interval,
    vertex_spread,
)

KINDS = tuple(kind for damage in DAMAGES for kind in ("none", damage))
FROM_NEUTRAL = 0.6
"""Share of the expressions that are registered from their person's neutral; the others from the template."""
FIGURES = ("template_distance", "landmark_error", "landmarks_found", "stretch_core")
INTERVAL = (10, 90)
HOW = GIVEN, FOUND, BARE = "given", "found", "bare"
"""What `accuracy.whole_run` takes away of captures."""


@dataclass(frozen=True)
class Seen:
    """Registered frames of one maker, all found or all by hand: how far the core lies from the template's, mm, how far
    landmarks lie from where the others carry them, mm, the share of landmarks found, how far the core stretched,
    |log2|, and the true mean error, mm; (n,) each.  And the `vertex_spread` of their template, and whether what was
    found was found without colours (1, else 0)."""

    name: str
    distance: Floats
    held_out: Floats
    found_share: Floats
    stretch: Floats
    true: Floats
    spread: Floats
    bare: Floats

    @classmethod
    def of(
        cls, name: str, rows: Sequence[tuple[Mapping[str, float], float]], spread: float, bare: bool = False
    ) -> Seen:
        """Of figures of quality and true errors; what is not finite is left out."""
        table = np.array([(*(quality[figure] for figure in FIGURES), true) for quality, true in rows])
        table = table.reshape(-1, len(FIGURES) + 1)
        table = table[np.isfinite(table).all(axis=1)]
        return cls(name, *table.T, np.full(len(table), spread), np.full(len(table), float(bare)))

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
        columns = (self.distance, self.held_out, self.found_share, self.stretch, self.spread)
        rows = zip(*columns, self.bare * self.found_share, strict=True)
        return np.array([expected_error(*row) for row in rows])


def run(
    teachers: Sequence[Captures], judge: Captures, trials: int, work: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Learn from the teachers, judge on the judge; the record to save."""
    seen: dict[str, list[Seen]] = {}
    refined: dict[str, list[inherited_error.Refined]] = {}
    for captures in [*teachers, judge]:
        name = captures.folder.name
        say(f"  {name}: {trials} trials, and runs with landmarks given and found")
        runs = {how: run_of(captures, how, work, say) for how in HOW}
        spread = spread_of(captures)
        seen[name] = [
            *by_hand(captures, trials),
            *(
                Seen.of(
                    f"{name}, {how}", [(asdict(f.quality), f.true) for f in runs[how]], spread, how == BARE
                )
                for how in (FOUND, BARE)
            ),
        ]
        refined[name] = [inherited_error.Refined.of(f"{name}, {how}", runs[how]) for how in (GIVEN, FOUND)]
    *_, bare = zip(*(seen[captures.folder.name] for captures in teachers), strict=True)
    taught = [seen[captures.folder.name][:-1] for captures in teachers]
    learnt = learn([part for parts in taught for part in parts])
    far, held_out, by_detector, stretched = np.sqrt(learnt)
    say(
        f"learnt, root of the squares' sum: {far:.3f} x distance^{DISTANCE_POWER}, {held_out:.3f} x held out, "
        f"{by_detector:.3f} mm of found, {stretched:.3f} mm x stretch of found"
    )
    bare_mm, bare_ends = learn_bare(bare), bare_interval(bare)
    say(
        f"found without colours: {bare_mm:.3f} mm in place of {FOUND_COSTS_MM}; true / expected "
        f"{bare_ends[0]:.2f}, {bare_ends[1]:.2f}"
    )
    low, high = interval(taught)
    say(
        f"true / expected, {INTERVAL[0]} and {INTERVAL[1]} % of frames, learnt on the others: {low:.2f}, {high:.2f}"
    )
    taught_refined = [refined[captures.folder.name] for captures in teachers]
    own_share = inherited_error.learn_own_share([part for parts in taught_refined for part in parts])
    ends = inherited_error.interval(taught_refined, INTERVAL)
    say(
        f"refined: {own_share:.2f} of its own, else its neutral's; true / expected {ends[0]:.2f}, {ends[1]:.2f}"
    )
    rows = [judged(part) for parts in seen.values() for part in parts]
    rows.append(judged(together(f"{judge.folder.name}, all", seen[judge.folder.name])))
    rows += [inherited_error.judged(part) for parts in refined.values() for part in parts]
    say(table(rows))
    return {
        "learnt": np.sqrt(learnt).tolist(),
        "interval": [low, high],
        "bare": [bare_mm, *bare_ends],
        "refined": [own_share, *ends],
        "judged": rows,
    }


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


def run_of(
    captures: Captures, how: str, work: Path, say: Callable[[str], None]
) -> list[inherited_error.RunFrame]:
    """Frames of a run with landmarks given or found, or, bare, found with the images taken away."""
    workspace = work / f"expected-{captures.folder.name}-{how}"
    accuracy.whole_run(captures, how, None, workspace, say)
    return inherited_error.run_frames(captures, workspace)


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


def learn_bare(parts: Sequence[Seen]) -> float:
    """`BARE_COSTS_MM` with which the mean of what is expected is the mean of what is true, each part weighing the same,
    all else as the program has it; NaN where none does."""
    from scipy.optimize import brentq

    if not any(len(part.true) for part in parts):
        return float("nan")
    all_of = together("", parts)
    weight = np.concatenate([np.full(len(part.true), 1 / len(part.true)) for part in parts if len(part.true)])
    others, per_square = without_bare_costs(all_of)

    def too_much(costs_mm: float) -> float:
        return float(weight @ (np.sqrt(others + costs_mm**2 * per_square) - all_of.true))

    return float(brentq(too_much, 0.0, 10.0)) if too_much(0.0) < 0 < too_much(10.0) else float("nan")


def without_bare_costs(part: Seen) -> tuple[Floats, Floats]:
    """(n,) mm^2 of the square of what is expected all but `BARE_COSTS_MM`, and (n,) what multiplies its square."""
    per_square = part.found_share * part.spread**2
    in_colours = replace(part, bare=np.zeros_like(part.bare)).expected
    return in_colours**2 - FOUND_COSTS_MM**2 * per_square, per_square


def bare_interval(parts: Sequence[Seen]) -> tuple[float, float]:
    """As `interval`, of what was found without colours."""
    ratios = []
    for number, part in enumerate(parts):
        if not len(part.true):
            continue
        rest = [of for k, of in enumerate(parts) if k != number and len(of.true)] or [part]
        others, per_square = without_bare_costs(part)
        expected = np.sqrt(others + learn_bare(rest) ** 2 * per_square)
        ratios.append(np.percentile(part.true / expected, np.linspace(0, 100, 501)))
    low, high = np.percentile(np.concatenate(ratios), INTERVAL) if ratios else (np.nan, np.nan)
    return float(low), float(high)


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
    low, high = (
        np.transpose([expected_interval(bare) for bare in part.bare]) if len(part.bare) else (0.0, 0.0)
    )
    inside = (part.true >= low * expected) & (part.true <= high * expected)
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
    lines = [f"{'frames':<28}{'number':>8}{'rank':>8}{'expected':>10}{'true':>8}{'in interval':>13}"]
    lines += [
        f"{row['frames']:<28}{row['number']:8d}{row['rank']:8.2f}{row['expected']:10.3f}{row['true']:8.3f}"
        f"{row['in_interval']:13.0%}"
        for row in rows
    ]
    return "\n".join(lines)
