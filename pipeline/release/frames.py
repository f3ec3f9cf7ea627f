"""The usable frames of one or several releases, in order: what models are made from.

Rejected frames are left out.  A frame's difference is taken to its subject's own neutral: the vertex-wise median
of the frames labelled neutral or, where a subject has none, of its calmest frames (in releases without
`neutral_cost`, of the first frames of its sequences).  Nothing is held but one batch and one neutral.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.captures.expressions import NEUTRAL
from mimicme.pipeline.errors import UsageError, listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.release import Release, permitted
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.template import Template

Rows = NDArray[np.int64]
Balance = Literal["frames", "subjects", "expressions"]

BATCH_BYTES = 96 << 20
NEUTRAL_FRAMES = 9  # more of them change the median little and cost a read each
NEUTRAL_COST, NEARLY_CALMEST = "neutral_cost", 1.25
AMOUNT = "amount"
APEX_SHARE = 0.9  # frames of at least this share of a sequence's largest amount are its apex


@dataclass(frozen=True)
class SubjectNeutral:
    """A subject's face at rest.

    Attributes:
        vertices: (V, 3) float32, mm, canonical frame.
        source: 'neutral' (frames labelled so), 'calmest' (those of the least `neutral_cost`) or, in a release without
            that figure, 'first' (first frames of its sequences).
        rows: of the table, whose median it is.
    """

    vertices: Singles
    source: str
    rows: Rows


class ReleaseFrames:
    """The usable frames of releases that share one template; a context manager.

    Attributes:
        releases: in the order given.  A subject id found in two of them is taken for one person.
        table: (N,) structured: release (which one), row (in its index), subject, sequence, expression,
            frame (the source's number); in the order subject, release, row.
        template: the one they share.
        forbidden: subjects who are left out because they do not permit the use.

    Args:
        paths: release files.
        leave_out: called with the table, says (N,) which frames not to use.
        use: what for (`permitted`); where a release says who permits it, all others' frames are left out.

    Raises:
        UsageError: no release, no usable frame, or templates that differ.
        ReleaseError: a file is no release.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        leave_out: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
        use: str = "",
    ) -> None:
        if not paths:
            raise UsageError("a model is built from at least one release")
        self.releases = [Release(path) for path in paths]
        self.template: Template = self.releases[0].template
        for release in self.releases[1:]:
            if not same_topology(release.template, self.template):
                self.close()
                raise UsageError(
                    "the releases do not share one template",
                    where=release.path,
                    seen=release.template.digest[:12],
                    expected=self.template.digest[:12],
                )
        self.table = self._usable()
        self.forbidden = self.who_forbids(use) if use else []
        if self.forbidden:
            self.table = self.table[~np.isin(self.table["subject"], self.forbidden)]
        if leave_out is not None:
            self.table = self.table[~np.asarray(leave_out(self.table), bool)]
        if not len(self.table):
            self.close()
            why = f" of somebody who permits '{use}'" if self.forbidden else ""
            raise UsageError(f"the releases hold no usable frame{why}", where=", ".join(map(str, paths)))
        self._last: tuple[str, SubjectNeutral] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for release in self.releases:
            release.close()

    def __len__(self) -> int:
        return len(self.table)

    def _usable(self) -> NDArray[Any]:
        texts = ("subject", "sequence", "expression")
        columns: dict[str, list[NDArray[Any]]] = {n: [] for n in ("release", "row", *texts, "frame")}
        for number, release in enumerate(self.releases):
            index = release.index
            rows = np.flatnonzero(index["status"] == OK).astype("<i8")
            columns["release"].append(np.full(len(rows), number, "<i4"))
            columns["row"].append(rows)
            for name in (*texts, "frame"):
                columns[name].append(index[name][rows])
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        table = np.empty(len(whole["row"]), [(name, column.dtype) for name, column in whole.items()])
        for name, column in whole.items():
            table[name] = column
        return table[np.lexsort((table["row"], table["release"], table["subject"]))]

    def who_forbids(self, use: str) -> list[str]:
        """Who does not permit a use, in a release that has columns of permitted uses."""
        return sorted(
            {
                subject
                for release in self.releases
                if permitted.declares(release.subjects.values())
                for subject in release.subjects
                if not release.permits(subject, use)
            }
        )

    @property
    def messages(self) -> tuple[str, ...]:
        """A sentence on who is left out because they do not permit the use."""
        n = len(self.forbidden)
        return (f"Left out, because they do not permit it: {n} of the release's subjects.",) if n else ()

    @property
    def subjects(self) -> list[str]:
        """Ids of the subjects with usable frames, in order."""
        return [str(s) for s in np.unique(self.table["subject"])]

    def attributes(self, subject: str) -> dict[str, Any]:
        """Age, gender, consent, split ... of a subject, from the first release that has it."""
        for release in self.releases:
            if subject in release.subjects:
                return dict(release.subjects[subject])
        raise UsageError(f"no release has a subject '{subject}'")

    def rows_of(self, subject: str = "", expression: str = "", sequence: str = "") -> Rows:
        """Rows of the table with these values; an empty one means any."""
        keep = np.ones(len(self.table), bool)
        for name, value in (("subject", subject), ("expression", expression), ("sequence", sequence)):
            if value:
                keep &= self.table[name] == value
        return np.flatnonzero(keep).astype(np.int64)

    @property
    def expressive(self) -> Rows:
        """Rows of the table that do not belong to a neutral sequence."""
        return np.flatnonzero(self.table["expression"] != NEUTRAL).astype(np.int64)

    def vertices(self, row: int) -> Singles:
        """(V, 3) float32, mm, of a row of the table."""
        entry = self.table[row]
        return self.releases[int(entry["release"])].vertices(int(entry["row"]))

    def texture(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Texture (h, w, 3) and coverage (h, w) of a row of the table; None without them."""
        entry = self.table[row]
        release = self.releases[int(entry["release"])]
        texture, coverage = release.texture(int(entry["row"])), release.coverage(int(entry["row"]))
        return None if texture is None or coverage is None else (texture, coverage)

    def neutral(self, subject: str) -> SubjectNeutral:
        """The subject's face at rest; the last one asked for is kept."""
        if self._last is None or self._last[0] != subject:
            self._last = subject, self._neutral(subject)
        return self._last[1]

    def no_subject(self, subject: str) -> UsageError:
        """The error that there is no usable frame of a subject; it names those that there are."""
        return UsageError(
            f"the release has no usable frame of a subject '{subject}'",
            expected=f"a subject: {listed(self.subjects)}",
        )

    def _neutral(self, subject: str) -> SubjectNeutral:
        rows, source = self.rows_of(subject, NEUTRAL), "neutral"
        if not len(rows):
            rows = self.rows_of(subject)
            if not len(rows):
                raise self.no_subject(subject)
            costs = self._figures(rows, NEUTRAL_COST)
            if np.isfinite(costs).any():
                calm = np.flatnonzero(costs <= NEARLY_CALMEST * np.nanmin(costs))
                calm = calm[np.argsort(costs[calm], kind="stable")][:NEUTRAL_FRAMES]
                rows, source = rows[np.sort(calm)], "calmest"
            else:
                rows, source = rows[np.unique(self.table["sequence"][rows], return_index=True)[1]], "first"
        chosen = rows[even_subsample(len(rows), NEUTRAL_FRAMES)]
        shapes = np.stack([self.vertices(int(row)) for row in chosen])
        return SubjectNeutral(np.median(shapes, axis=0).astype(np.float32), source, chosen)

    def _figures(self, rows: Rows, name: str) -> Floats:
        """(k,) a figure of quality of rows of the table; NaN without that figure."""
        values = np.full(len(rows), np.nan)
        of_sequence: dict[tuple[int, Item], Floats | None] = {}
        for k, entry in enumerate(self.table[rows]):
            number, item = int(entry["release"]), Item(str(entry["subject"]), str(entry["sequence"]))
            release = self.releases[number]
            if (number, item) not in of_sequence:
                quality = release.values(item, "quality")
                there = name in (quality.dtype.names or ())
                of_sequence[number, item] = np.asarray(quality[name], np.float64) if there else None
            found = of_sequence[number, item]
            if found is not None:
                values[k] = found[int(release.index[int(entry["row"])]["row"])]
        return values

    def neutrals(self, subjects: Sequence[str] | None = None) -> Iterator[Singles]:
        """Batches (n, V, 3) of the subjects' neutrals, in order."""
        wanted = self.subjects if subjects is None else list(subjects)
        size = self.batch_frames
        for start in range(0, len(wanted), size):
            yield np.stack([self.neutral(s).vertices for s in wanted[start : start + size]])

    @property
    def batch_frames(self) -> int:
        """Frames in a batch: about a hundred megabytes."""
        return max(1, BATCH_BYTES // (12 * len(self.template.vertices)))

    def batches(
        self, rows: Rows | None = None, *, difference: bool = False, skip: int = 0
    ) -> Iterator[Singles]:
        """Batches (n, V, 3) float32, mm, of rows of the table, in their order.

        Args:
            rows: default all.
            difference: to the subject's own neutral.
            skip: batches to begin after.
        """
        wanted = np.arange(len(self.table)) if rows is None else np.asarray(rows)
        size = self.batch_frames
        for start in range(skip * size, len(wanted), size):
            part = wanted[start : start + size]
            shapes = np.empty((len(part), len(self.template.vertices), 3), np.float32)
            for k, row in enumerate(part.tolist()):
                shapes[k] = self.vertices(row)
                if difference:
                    shapes[k] -= self.neutral(str(self.table["subject"][row])).vertices
            yield shapes

    def amounts(self, weights: Floats, rows: Rows | None = None) -> Floats:
        """How far each frame is from its subject's neutral: weighted root mean square, (n,), mm."""
        share = weights / weights.sum()
        parts = [
            np.sqrt((d.astype(np.float64) ** 2).sum(axis=2) @ share)
            for d in self.batches(rows, difference=True)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def gone(self, rows: Rows, amounts: Floats) -> Floats:
        """(n,) how far each of rows of the table has gone, comparable within a sequence: the release's figure `amount`,
        and in sequences without it `amounts` (n,)."""
        told = self._figures(rows, AMOUNT)
        table = self.table[rows]
        sequence = np.unique(table[["release", "subject", "sequence"]], return_inverse=True)[1].ravel()
        without = np.bincount(sequence, ~np.isfinite(told)) > 0
        return np.where(without[sequence], amounts, told)


def same_topology(a: Template, b: Template) -> bool:
    """Whether two templates have the same vertices and triangles."""
    return (
        a.vertices.shape == b.vertices.shape
        and np.array_equal(a.faces, b.faces)
        and bool(np.allclose(a.vertices, b.vertices, atol=1e-3))
    )


def balance_weights(table: NDArray[Any], balance: Balance = "subjects") -> Floats:
    """Sample weights (N,) of mean 1 for rows of a table.

    Args:
        balance: `frames`: every frame alike; `subjects`: every subject alike, whatever its number of frames;
            `expressions`: within a subject also every expression alike.
    """
    n = len(table)
    if balance == "frames" or not n:
        return np.ones(n)
    _, subject, frames = np.unique(table["subject"], return_inverse=True, return_counts=True)
    if balance == "subjects":
        weights = 1.0 / frames[subject]
    else:
        _, expression = np.unique(table["expression"], return_inverse=True)
        pair = subject.astype(np.int64) * (expression.max() + 1) + expression
        kinds, inverse, count = np.unique(pair, return_inverse=True, return_counts=True)
        of_subject = np.bincount(kinds // (expression.max() + 1), minlength=len(frames))
        weights = 1.0 / (count[inverse] * of_subject[subject])
    return weights * n / weights.sum()


def apexes(table: NDArray[Any], amounts: Floats) -> dict[tuple[str, str], Rows]:
    """The apex frames of every expressive sequence: positions in `table`, by (subject, sequence).

    Args:
        amounts: (N,) of the rows, see `ReleaseFrames.gone`.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for k in range(len(table)):
        if table["expression"][k] != NEUTRAL:
            found.setdefault((str(table["subject"][k]), str(table["sequence"][k])), []).append(k)
    result = {}
    for key, rows in found.items():
        these = np.array(rows, np.int64)
        result[key] = these[amounts[these] >= APEX_SHARE * amounts[these].max()]
    return result
