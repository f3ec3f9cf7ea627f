"""Which sequences a run includes: those that `--only` names, and the neutrals that they wait for."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage


@dataclass(frozen=True)
class Selection:
    """The sequences of a run, stage by stage.

    Attributes:
        requested: what `--only` names; everything without it.
        with_neutrals: the same, with the neutral sequences of their subjects.
        narrow_stages: names of the stages that run over `requested` alone, because no later one needs a neutral.
    """

    requested: tuple[Sequence, ...]
    with_neutrals: tuple[Sequence, ...]
    narrow_stages: frozenset[str]

    @classmethod
    def make(cls, catalogue: Catalogue, only: Iterable[str], chosen: tuple[Stage, ...]) -> Selection:
        """The selection for the stages that run.

        Raises:
            UsageError: see `select`.
        """
        requested = select(catalogue, only)
        items = {s.item for s in requested}
        items |= {catalogue.neutral[item.subject] for item in items}
        with_neutrals = tuple(s for s in catalogue.sequences if s.item in items)
        neutral = [place for place, stage in enumerate(chosen) if stage.scope in NEUTRAL_FIRST]
        narrow = chosen[max(neutral, default=-1) + 1 :]
        return cls(requested, with_neutrals, frozenset(s.name for s in narrow))

    def of(self, stage: Stage) -> tuple[Sequence, ...]:
        """The sequences that a stage runs over; of a stage that does not run, those whose states it determines."""
        return self.requested if stage.name in self.narrow_stages else self.with_neutrals


def select(catalogue: Catalogue, only: Iterable[str]) -> tuple[Sequence, ...]:
    """Sequences that match one of the globs; without globs, all.

    Raises:
        UsageError: a glob matches nothing.
    """
    patterns = list(only)
    if not patterns:
        return catalogue.sequences
    chosen: set[Item] = set()
    for pattern in patterns:
        full = pattern if "/" in pattern else f"{pattern}/*"
        hits = {s.item for s in catalogue.sequences if fnmatch.fnmatchcase(str(s.item), full)}
        if not hits:
            names = [str(s.item) for s in catalogue.sequences]
            close = difflib.get_close_matches(pattern, names, 1, 0.4) or names[:1]
            raise UsageError(
                f"no sequence matches '{pattern}'",
                where="--only",
                expected=f"a glob on SUBJECT/SEQUENCE, such as '{close[0]}'" if close else None,
            )
        chosen |= hits
    return tuple(s for s in catalogue.sequences if s.item in chosen)
