"""What is counted of a data set before it is given away: who is in it, what they show, how well it is registered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.publish.splits import NAMES, age_band, stratum
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.release import Release, permitted
from mimicme.pipeline.release.layout import OK

FIGURES = ("s2m_median", "s2m_p95", "landmark_error", "expected_error", "data_share", "coverage")
_BINS = 10


@dataclass(frozen=True)
class Facts:
    """What README, datasheet and Croissant say of a release.

    Attributes:
        people: attributes by pseudonym, with `split` and what they permit.
        sequences, frames, ok: numbers.
        expressions: frames that are ok, by label.
        ok_by_subject: frames that are ok, by pseudonym.
        reasons: rejected frames by reason.
        figures: (n,) finite values of figures of quality of the frames that are ok, by name; with the unit.
        n_vertices, n_triangles: of the template.
        sharded: whether the release has shards.
    """

    people: Mapping[str, Mapping[str, Any]]
    sequences: int
    frames: int
    ok: int
    expressions: Mapping[str, int]
    ok_by_subject: Mapping[str, int]
    reasons: Mapping[str, int]
    figures: Mapping[str, tuple[Floats, str]]
    n_vertices: int
    n_triangles: int
    sharded: bool

    def count(self, column: str, split: str = "") -> dict[str, int]:
        """Subjects by the value of a column (`age`: by bands), in order."""
        chosen = [p for p in self.people.values() if split in ("", p.get("split"))]
        values = Counter(age_band(p) if column == "age" else str(p.get(column, "unknown")) for p in chosen)
        return dict(sorted(values.items()))

    def permitting(self, use: str, split: str = "") -> list[str]:
        """Who plainly permits a use."""
        unclear = permitted.with_unclear_codes(self.people.values())
        return [
            n
            for n, p in self.people.items()
            if split in ("", p.get("split")) and permitted.permits(p, use, unclear)
        ]

    @property
    def alone(self) -> int:
        """Subjects who alone have their age band, gender and ethnicity."""
        return sum(count == 1 for count in Counter(stratum(p) for p in self.people.values()).values())


def facts_of(release: Release, sharded: bool) -> Facts:
    """Count; reads the quality of every sequence."""
    index = release.index
    good = index["status"] == OK
    units: dict[str, str] = {}
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in FIGURES}
    reasons: Counter[str] = Counter()
    for info in release.sequences():
        table = release.values(info.item, "quality")
        own = table["status"] == OK
        reasons.update(table["reason"][~own].tolist())
        for name in FIGURES:
            if name in (table.dtype.names or ()):
                parts[name].append(np.asarray(table[name][own], np.float64))
        units = units or release.units(info.item)
    template = release.template
    figures = {name: _finite(values) for name, values in parts.items()}
    return Facts(
        release.subjects,
        len(release.sequences()),
        len(index),
        int(good.sum()),
        dict(sorted(Counter(index["expression"][good].tolist()).items())),
        dict(sorted(Counter(index["subject"][good].tolist()).items())),
        dict(sorted(reasons.items())),
        {name: (values, units.get(name, "1")) for name, values in figures.items() if len(values)},
        len(template.vertices),
        len(template.faces),
        sharded,
    )


def _finite(parts: Sequence[NDArray[Any]]) -> Floats:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return np.asarray(values[np.isfinite(values)], np.float64)


def bars(counts: Mapping[str, int], width: int = 20) -> list[str]:
    """Lines of a Markdown table: value, count, bar."""
    most = max([1, *counts.values()])
    return [
        f"| {name.replace('|', '/')} | {n} | {'#' * round(width * n / most)} |" for name, n in counts.items()
    ]


def histogram(values: Floats) -> dict[str, int]:
    """Counts in equal bins up to the 99th percentile, and of what lies beyond."""
    end = float(np.percentile(values, 99))
    start = min(float(values.min()), end)
    if start == end == float(values.max()):
        return {f"{end:.3g}": len(values)}
    edges = np.linspace(start, end if end > start else start + 1, _BINS + 1)
    counts, _ = np.histogram(values[values <= edges[-1]], edges)
    found = {
        f"{low:.3g} to {high:.3g}": int(n) for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    }
    beyond = int((values > edges[-1]).sum())
    return found | ({f"over {edges[-1]:.3g}": beyond} if beyond else {})


def by_split(facts: Facts, column: str) -> Iterable[tuple[str, list[int]]]:
    """Subjects by the value of a column: of each split."""
    parts = {split: facts.count(column, split) for split in NAMES}
    for value in facts.count(column):
        yield value, [parts[split].get(value, 0) for split in NAMES]
