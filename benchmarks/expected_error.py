"""`expected_error`: learnt on two makers' people, judged on a third's.

Every maker's captures are registered frame by frame, every second one damaged (damage.py), most of the expressions
from their person's neutral; and once more by `mimicme run` with landmarks that its detector finds.  The two makers that
teach weigh the same, by hand and found.  What is learnt stands in stages/register/quality.py and is not changed here:
the figures to write there are printed beside what they are now worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
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
from mimicme.stages.register import quality
from mimicme.stages.register.quality import expected_error, vertex_spread

KINDS = tuple(kind for damage in DAMAGES for kind in ("none", damage))
FROM_NEUTRAL = 0.6
"""Share of the expressions that are registered from their person's neutral; the others from the template."""
FIGURES = (
    "template_distance", "person_distance", "neutral_distance", "landmark_error", "landmarks_found", "mouth_relief",
)  # fmt: skip
INTERVAL = (10, 90)
LARGE = 0.15
"""From this difference of logarithms on a frame counts by it and no longer by its square: one that has gone astray
altogether says nothing about the others."""


@dataclass(frozen=True)
class Seen:
    """Registered frames of one maker, all found or all by hand: how far the core lies from the template's, mm, that of
    the subject's neutral, and from that neutral's, how far landmarks lie from where the others carry them, mm, the
    share of landmarks found, the relief of the lips, and the true mean error, mm; (n,) each.  And the `vertex_spread`
    of their template."""

    name: str
    distance: Floats
    person: Floats
    motion: Floats
    held_out: Floats
    found_share: Floats
    relief: Floats
    true: Floats
    spread: Floats

    @classmethod
    def of(cls, name: str, rows: Sequence[tuple[Mapping[str, float], float]], spread: float) -> Seen:
        """Of figures of quality and true errors; what is not finite is left out."""
        table = np.array([(*(figures[figure] for figure in FIGURES), true) for figures, true in rows])
        table = table.reshape(-1, len(FIGURES) + 1)
        table = table[np.isfinite(table).all(axis=1)]
        return cls(name, *table.T, np.full(len(table), spread))

    @property
    def design_by_hand(self) -> Floats:
        """(n, 2) what the squares of the coefficients of `expected_error` multiply where nothing was found: of the
        distance from the template and of what is held out."""
        columns = (self.distance ** (2 * quality.DISTANCE_POWER), self.held_out**2)
        return np.stack(columns, axis=1) * self.spread[:, None] ** 2

    @property
    def design_found(self) -> Floats:
        """(n, 6) the same of a form that goes the person's way and the motion's apart, of frames of both kinds: person,
        motion and what is held out; and of found points alone person, motion and relief."""
        motion = self.motion ** (2 * quality.MOTION_POWER)
        columns = (
            self.person ** (2 * quality.DISTANCE_POWER),
            motion,
            self.held_out**2,
            self.found_share * self.person ** (2 * quality.UNLIKE_POWER),
            self.found_share * motion,
            self.found_share * [quality.lost_relief(relief) ** 2 for relief in self.relief],
        )
        return np.stack(columns, axis=1) * self.spread[:, None] ** 2

    @property
    def best_case(self) -> Floats:
        """(n,) mm^2 what the square of the expected error has besides, which is measured and not learnt."""
        return (quality.BEST_CASE_MM * self.spread) ** 2

    @property
    def expected(self) -> Floats:
        """(n,) mm, as the program says it now."""
        found = map(quality.Found, self.found_share, self.person, self.motion, self.relief)
        return np.array(
            [
                expected_error(*row)
                for row in zip(self.distance, self.held_out, found, self.spread, strict=True)
            ]
        )


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
    all_parts = [part for parts in taught for part in parts]
    distance, held_out = learn([part for part in all_parts if by_hand_only(part)], BY_HAND)
    say(
        f"by hand, root of the squares' sum: {distance:.3f} x distance^{quality.DISTANCE_POWER}, {held_out:.3f} x held "
        "out"
    )
    person, motion, held_out, unlike, found_motion, relief = learn(all_parts, FOUND)
    say(
        f"found: {person:.3f} x person^{quality.DISTANCE_POWER}, {unlike:.3f} x person^{quality.UNLIKE_POWER}, "
        f"{np.hypot(motion, found_motion):.3f} x motion^{quality.MOTION_POWER}, {held_out:.3f} x held out, "
        f"{relief:.1f} mm x lost relief"
    )
    intervals = {what: interval(taught, form) for what, form in (("by hand", BY_HAND), ("found", FOUND))}
    for what, (low, high) in intervals.items():
        say(
            f"true / expected, {what}, {INTERVAL[0]} and {INTERVAL[1]} % of frames, learnt on the others: "
            f"{low:.2f}, {high:.2f}"
        )
    rows = [judged(part) for parts in seen.values() for part in parts]
    rows.append(judged(together(f"{judge.folder.name}, all", seen[judge.folder.name])))
    say(table(rows))
    learnt = {
        "by hand": [float(distance), float(held_out)],
        "found": [float(x) for x in (person, motion, held_out, unlike, found_motion, relief)],
    }
    return {"learnt": learnt, "intervals": intervals, "judged": rows}


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


Form = Callable[[Seen], Floats]
BY_HAND: Form = attrgetter("design_by_hand")
FOUND: Form = attrgetter("design_found")


def by_hand_only(part: Seen) -> bool:
    """Whether no landmark of these frames was found."""
    return len(part.true) > 0 and not part.found_share.any()


def learn(parts: Sequence[Seen], form: Form) -> Floats:
    """The coefficients of `expected_error`: least differences of the logarithms of what is expected and what is true,
    squared where they are small (`LARGE`), each part weighing the same.
    """
    from scipy.optimize import least_squares

    all_of = together("", parts)
    weight = np.concatenate([np.full(len(part.true), 1 / len(part.true)) for part in parts if len(part.true)])
    root = np.sqrt(weight / weight.mean())
    design, best_case, true = form(all_of), all_of.best_case, np.log(all_of.true)

    def off(coefficients: Floats) -> Floats:
        return np.asarray(root * (np.log(best_case + design @ coefficients**2) / 2 - true))

    begin = np.full(design.shape[1], 0.4)
    return np.abs(least_squares(off, begin, loss="soft_l1", f_scale=LARGE).x)


def interval(taught: Sequence[Sequence[Seen]], form: Form) -> tuple[float, float]:
    """Percentiles of true / expected error, of frames that are told by a form: of each maker's parts by what is learnt
    on the other makers'; with one maker alone, on its own.  Each part weighs the same."""
    hand = form is BY_HAND
    ratios = []
    for number, parts in enumerate(taught):
        others = [part for k, of in enumerate(taught) if k != number for part in of] or parts
        learnt = learn([part for part in others if by_hand_only(part)] if hand else others, form)
        ratios += [
            np.percentile(
                part.true / np.sqrt(part.best_case + form(part) @ learnt**2), np.linspace(0, 100, 501)
            )
            for part in parts
            if len(part.true) and by_hand_only(part) == hand
        ]
    low, high = np.percentile(np.concatenate(ratios), INTERVAL)
    return float(low), float(high)


def judged(part: Seen) -> dict[str, Any]:
    """Of what the program says now: rank correlation, calibration, and how many frames the interval holds."""
    expected = part.expected
    inside = (part.true >= quality.EXPECTED_LOW * expected) & (part.true <= quality.EXPECTED_HIGH * expected)
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
