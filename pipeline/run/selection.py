"""Which sequences a run includes: those that `--only` names, and the neutrals that they wait for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage


@dataclass(frozen=True)
class Selection:
    """The sequences of a run, stage by stage.

    Attributes:
        catalogue: what is on disk.
        requested: what `--only` names; everything without it.
        before_neutrals: names of the stages before the first that needs a neutral: they run over all the sequences of a
            subject whose neutral has to be looked for.
        narrow_stages: names of the stages that run over `requested` alone, because no later one needs a neutral.
    """

    catalogue: Catalogue
    requested: tuple[Sequence, ...]
    before_neutrals: frozenset[str]
    narrow_stages: frozenset[str]

    @classmethod
    def make(
        cls, catalogue: Catalogue, only: Iterable[str], stages: tuple[Stage, ...], chosen: tuple[Stage, ...]
    ) -> Selection:
        """The selection for the stages that run, of all.

        Raises:
            UsageError: see `select`.
        """
        neutral = [place for place, stage in enumerate(chosen) if stage.scope in NEUTRAL_FIRST]
        narrow = chosen[max(neutral, default=-1) + 1 :]
        first = next((k for k, stage in enumerate(stages) if stage.scope in NEUTRAL_FIRST), 0)
        return cls(
            catalogue,
            select(catalogue, only),
            frozenset(stage.name for stage in stages[:first]),
            frozenset(stage.name for stage in narrow),
        )

    def of(self, stage: Stage, neutral_of: Callable[[str], Item]) -> tuple[Sequence, ...]:
        """The sequences that a stage runs over; of a stage that does not run, those whose states it determines.

        Args:
            neutral_of: a subject's neutral sequence, as far as it is known when the stage begins.
        """
        if self._is_narrow(stage):
            return self.requested
        subjects = self._requested_by_subject
        return tuple(s for subject in subjects for s in self.of_subject(stage, subject, neutral_of))

    def of_subject(
        self, stage: Stage, subject: str, neutral_of: Callable[[str], Item]
    ) -> tuple[Sequence, ...]:
        """`of`, of one subject."""
        requested = self.requested_of(subject)
        if self._is_narrow(stage):
            return requested
        every = self._by_subject[subject]
        if stage.name in self.before_neutrals and subject in self._looked_for:
            return every
        items = {s.item for s in requested} | {neutral_of(subject)}
        return tuple(s for s in every if s.item in items)

    def requested_of(self, subject: str) -> tuple[Sequence, ...]:
        """`requested`, of one subject."""
        return self._requested_by_subject.get(subject, ())

    def _is_narrow(self, stage: Stage) -> bool:
        return stage.name in self.narrow_stages or len(self.requested) == len(self.catalogue.sequences)

    @cached_property
    def _looked_for(self) -> frozenset[str]:
        return self.catalogue.unlabelled

    @cached_property
    def _requested_by_subject(self) -> dict[str, tuple[Sequence, ...]]:
        return _by_subject(self.requested)

    @cached_property
    def _by_subject(self) -> dict[str, tuple[Sequence, ...]]:
        return _by_subject(self.catalogue.sequences)


def _by_subject(sequences: Iterable[Sequence]) -> dict[str, tuple[Sequence, ...]]:
    found: dict[str, list[Sequence]] = {}
    for sequence in sequences:
        found.setdefault(sequence.item.subject, []).append(sequence)
    return {subject: tuple(own) for subject, own in found.items()}


def select(catalogue: Catalogue, only: Iterable[str]) -> tuple[Sequence, ...]:
    """Sequences that match one of the globs; without globs, all.

    Raises:
        UsageError: a glob matches nothing, or only who is left out.
    """
    patterns = list(only)
    if not patterns:
        return catalogue.sequences
    chosen: set[Item] = set()
    for pattern in patterns:
        hits = catalogue.matching(pattern)
        if not hits:
            _refuse_left_out(catalogue, pattern)
            names = [str(s.item) for s in catalogue.sequences]
            close = difflib.get_close_matches(pattern, names, 1, 0.4) or names[:1]
            raise UsageError(
                f"no sequence matches '{pattern}'",
                where="--only",
                expected=f"a glob on SUBJECT/SEQUENCE, such as '{close[0]}'" if close else None,
            )
        chosen |= hits
    return tuple(s for s in catalogue.sequences if s.item in chosen)


def _refuse_left_out(catalogue: Catalogue, pattern: str) -> None:
    """Refuse a glob that is no slip of the pen, but names somebody who does not consent; without their name."""
    subject = pattern.partition("/")[0]
    for one in catalogue.left_out:
        if any(fnmatchcase(name, subject) for name in one.names):
            why = "withdrew" if one.withdrew else "has no consent in the table of subjects"
            raise UsageError(
                f"'{pattern}' names a subject who is left out",
                where="--only",
                seen=f"who is meant {why}",
                todo="Nothing is made of them, whatever is asked for."
                + ("" if one.withdrew else " If the table is wrong, correct it and run again."),
            )
