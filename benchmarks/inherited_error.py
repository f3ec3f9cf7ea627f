"""What is left of `expected_error` once frames are refined: how much a frame inherits from its subject's neutral.

Learnt and judged on frames that `mimicme run` has refined, with landmarks as given and as found, as expected_error.py
does it for registered ones.  What is learnt stands in stages/refine/expected.py and is not changed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import robust
from cases import Captures

from mimicme.commands.evaluate import read_truth
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import transform
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.refine.checkpoint import RefineCheckpoint
from mimicme.stages.refine.expected import mean_of_refined
from mimicme.stages.register.checkpoint import RegisteredCheckpoint
from mimicme.stages.register.expected_error import expected_interval
from mimicme.stages.register.quality import Quality

NEUTRAL = "neutral"


class RunFrame(NamedTuple):
    """A frame of a workspace: whose it is, its figures and true mean error as registered, mm; and once refined, where
    it is: its error, what registration expects of it, and of the frame of its subject's neutral that the reference is
    made of."""

    person: str
    quality: Quality
    true: float
    refined: float
    own: float
    neutral: float


def run_frames(captures: Captures, workspace: Path) -> list[RunFrame]:
    """The frames that a run of captures has registered; without colours, `refined` is NaN."""
    found = []
    for name in captures.sequences:
        truth = read_truth(captures.folder / "truth" / f"{name}.npz")
        path = {
            stage: workspace / stage / f"{name}.h5"
            for stage in ("ingest", "register", RefineCheckpoint.stage)
        }
        calm = workspace / RefineCheckpoint.stage / truth.item.subject / f"{NEUTRAL}.h5"
        with RefineCheckpoint(calm) as of_neutral:
            reference = of_neutral.reference
            neutral = np.nan if reference is None else reference.expected_mm
        with (
            IngestCheckpoint(path["ingest"]) as ingest,
            RegisteredCheckpoint(path["register"]) as registered,
            RefineCheckpoint(path[RefineCheckpoint.stage]) as refined,
        ):
            own = registered.expected[:, 0]
            for row in registered.ok_rows:
                number = int(registered.numbers[row])
                seen = truth.core & truth.valid[number]
                true, after = (
                    np.linalg.norm(
                        transform(ingest.file_from_scan @ of.pose(row), of.vertices(row))
                        - truth.vertices[number],
                        axis=1,
                    )[seen].mean()
                    for of in (registered, refined)
                )
                left = after if refined.has_gains and np.isfinite(refined.gain(row)).all() else np.nan
                person = f"{captures.folder.name}/{truth.item.subject}"
                found.append(RunFrame(person, registered.measured(row), true, left, float(own[row]), neutral))
    return found


@dataclass(frozen=True)
class Refined:
    """Refined frames of one maker, all given or all found: whose each is, what registration expects of it and of its
    subject's neutral, and its true mean error, mm; (n,) each."""

    name: str
    person: tuple[str, ...]
    own: Floats
    neutral: Floats
    true: Floats

    @classmethod
    def of(cls, name: str, frames: Sequence[RunFrame]) -> Refined:
        """Those of which all is known."""
        known = [f for f in frames if np.isfinite([f.refined, f.own, f.neutral]).all()]
        own, neutral, true = np.array([(f.own, f.neutral, f.refined) for f in known]).reshape(-1, 3).T
        return cls(f"{name}, refined", tuple(f.person for f in known), own, neutral, true)

    def expected(self, own_share: float) -> Floats:
        """(n,) mm, as `mean_of_refined` with this share."""
        return np.sqrt(own_share * self.own**2 + (1 - own_share) * self.neutral**2)

    @property
    def weights(self) -> Floats:
        """(n,) each person weighs the same; the sum is 1."""
        frames = Counter(self.person)
        return np.array([1 / len(frames) / frames[who] for who in self.person])


def learn_own_share(parts: Sequence[Refined]) -> float:
    """`OWN_SHARE`: least squares of log(true / expected), each part weighing the same, and in it each person."""
    from scipy.optimize import minimize_scalar

    def off(share: float) -> float:
        return sum(float(p.weights @ np.log(p.true / p.expected(share)) ** 2) for p in parts if len(p.true))

    return float(minimize_scalar(off, bounds=(0.0, 1.0), method="bounded").x)


def interval(taught: Sequence[Sequence[Refined]], ends: tuple[float, float]) -> tuple[float, float]:
    """Percentiles of true / expected error: of each maker's parts by what is learnt on the other makers'; with one
    maker alone, on its own.  Parts weigh the same, and in each its persons."""
    ratios, weights = [], []
    for number, parts in enumerate(taught):
        others = [part for k, of in enumerate(taught) if k != number for part in of] or list(parts)
        share = learn_own_share(others)
        for part in (p for p in parts if len(p.true)):
            ratios.append(part.true / part.expected(share))
            weights.append(part.weights)
    if not ratios:
        return float("nan"), float("nan")
    ratio, weight = np.concatenate(ratios), np.concatenate(weights)
    order = np.argsort(ratio)
    below = np.cumsum(weight[order]) / weight.sum()
    low, high = (float(ratio[order][min(np.searchsorted(below, end / 100), len(order) - 1)]) for end in ends)
    return low, high


def judged(part: Refined) -> dict[str, Any]:
    """Of what the program says now, as `expected_error.judged`."""
    expected = mean_of_refined(part.own, part.neutral)
    low, high = expected_interval()
    inside = (part.true >= low * expected) & (part.true <= high * expected)
    return {
        "frames": part.name,
        "number": len(expected),
        "rank": robust.rank_correlation(expected, part.true),
        "expected": float(expected.mean()) if len(expected) else float("nan"),
        "true": float(part.true.mean()) if len(expected) else float("nan"),
        "in_interval": float(inside.mean()) if len(expected) else float("nan"),
    }
