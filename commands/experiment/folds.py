"""Subject-independent cross-validation: what is trained has never seen anything of the people it is tested on.

That is a property of the types and not of care taken: a `Fold` is made from people, and those it trains on are those
it does not test - there is no way to say otherwise.  Everything that learns takes a `Training`, which only a fold
hands out and which reads only its own people's samples; what is tested comes as a `Unlabelled`, which has no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.subsample import even_subsample_by_subject

Rows = NDArray[np.int64]
Source = Callable[[Rows], NDArray[Any]]

_FOLD_KEY = object()  # only this module has it
_BATCH_BYTES = 96 << 20


@dataclass(frozen=True)
class Samples:
    """The samples of an experiment.

    Attributes:
        subjects: (N,) whose each sample is.
        labels: (N,) what is to be said of it: words, or numbers.
        units: (N,) samples of one unit (a sequence, a person) get one prediction.
        sources: by name, what can be read of samples: given rows (n,), an array (n, ...).
        item_bytes: of one sample of the largest source.
    """

    subjects: NDArray[np.str_]
    labels: NDArray[Any]
    units: NDArray[np.str_]
    sources: Mapping[str, Source]
    item_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        if not len(self.subjects) == len(self.labels) == len(self.units):
            raise UsageError("subjects, labels and units of the samples are not equally many")
        pairs = {str(u): str(s) for u, s in zip(self.units, self.subjects, strict=True)}
        if any(pairs[str(u)] != str(s) for u, s in zip(self.units, self.subjects, strict=True)):
            raise UsageError("a unit has samples of two subjects")

    def __len__(self) -> int:
        return len(self.subjects)


class _Subset:
    """Some people's samples; made by `Fold` alone."""

    def __init__(self, samples: Samples, rows: Rows, key: object) -> None:
        if key is not _FOLD_KEY:
            raise TypeError(f"a {type(self).__name__} comes from a Fold and cannot be made")
        self._samples, self._rows = samples, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def subjects(self) -> NDArray[np.str_]:
        return self._samples.subjects[self._rows]

    def batches(self, source: str) -> Iterator[NDArray[Any]]:
        """What the source says of these samples, (n, ...) at a time, in order."""
        size = max(1, _BATCH_BYTES // self._samples.item_bytes)
        for start in range(0, len(self._rows), size):
            yield self._samples.sources[source](self._rows[start : start + size])


class Training(_Subset):
    """Samples to learn from, with their labels."""

    @property
    def labels(self) -> NDArray[Any]:
        return self._samples.labels[self._rows]

    def subsampled(self, most: int) -> Training:
        """At most about `most` of them, evenly over the people."""
        if len(self) <= most:
            return self
        return Training(self._samples, self._rows[even_subsample_by_subject(self.subjects, most)], _FOLD_KEY)


class Unlabelled(_Subset):
    """Samples to be predicted; their labels are not here."""

    @property
    def rows(self) -> Rows:
        """Their rows among all samples, for the predictions."""
        return self._rows.copy()


@dataclass(frozen=True)
class Fold:
    """People to be tested; everybody else is trained on.

    Args:
        everybody: all subjects of the experiment.
        tested: some of them, not all.

    Raises:
        UsageError: `tested` is empty, holds somebody unknown, or leaves nobody to train on.
    """

    everybody: frozenset[str]
    tested: frozenset[str]

    def __init__(self, everybody: Iterable[str], tested: Iterable[str]) -> None:
        object.__setattr__(self, "everybody", frozenset(map(str, everybody)))
        object.__setattr__(self, "tested", frozenset(map(str, tested)))
        if not self.tested <= self.everybody:
            unknown = sorted(self.tested - self.everybody)[:3]
            raise UsageError("a fold tests somebody who is not in the experiment", seen=", ".join(unknown))
        if not self.tested or not self.trained:
            raise UsageError(
                "a fold needs people on both sides",
                seen=f"{len(self.tested)} of {len(self.everybody)} tested",
            )

    @property
    def trained(self) -> frozenset[str]:
        """Everybody who is not tested."""
        return self.everybody - self.tested

    def training(self, samples: Samples) -> Training:
        """The samples of the people who are not tested."""
        return Training(samples, self._rows(samples, self.trained), _FOLD_KEY)

    def test(self, samples: Samples) -> Unlabelled:
        """The samples of the people who are tested."""
        return Unlabelled(samples, self._rows(samples, self.tested), _FOLD_KEY)

    def _rows(self, samples: Samples, people: frozenset[str]) -> Rows:
        strangers = set(map(str, np.unique(samples.subjects))) - self.everybody
        if strangers:
            raise UsageError(
                "samples of somebody who is in no part of the fold", seen=", ".join(sorted(strangers)[:3])
            )
        return np.flatnonzero(np.isin(samples.subjects, sorted(people))).astype(np.int64)


def subject_folds(
    subjects: Sequence[str], count: int, seed: int = 0, strata: Mapping[str, str] | None = None
) -> list[Fold]:
    """Folds that test every subject once.

    Args:
        count: of folds; no more than there are subjects.
        seed: of the order in which people are dealt out.
        strata: a word per subject (as their gender) of which every fold gets its share.

    Raises:
        UsageError: fewer than two subjects or folds.
    """
    names = sorted(set(map(str, subjects)))
    count = min(count, len(names))
    if count < 2:
        raise UsageError("folds need two subjects or more", seen=len(names))
    order = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    if strata is not None:
        order.sort(key=lambda name: strata.get(name, ""))  # stable: shuffled inside each stratum
    return [Fold(names, order[k::count]) for k in range(count)]


def split_fold(splits: Mapping[str, str]) -> list[Fold]:
    """One fold out of the subjects' `split`: those marked `test` are tested.

    Raises:
        UsageError: nobody, or everybody, is marked so.
    """
    tested = [name for name, split in splits.items() if str(split).strip().lower() == "test"]
    if not tested or len(tested) == len(splits):
        raise UsageError(
            "the table of subjects does not say whom to test",
            seen=f"{len(tested)} of {len(splits)} subjects with split 'test'",
            todo="Fill the column `split` of the metadata, or use folds.",
        )
    return [Fold(splits, tested)]
