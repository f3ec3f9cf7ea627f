"""What the experiments on unseen people share: how people are assigned to folds, and the record of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mimicme.commands.experiment.features import COMPONENTS
from mimicme.commands.experiment.folds import Fold, split_fold, subject_folds
from mimicme.pipeline.release.frames import ReleaseFrames


@dataclass(frozen=True)
class Protocol:
    """How an experiment is made.

    Attributes:
        folds: number of folds of people; by_split: one fold instead, whose tested people have the split `test`.
        components: of the models of shapes and textures.
        seed: of folds and intervals.
    """

    folds: int = 10
    by_split: bool = False
    components: int = COMPONENTS
    seed: int = 0

    def make_folds(
        self, frames: ReleaseFrames, people: Iterable[str], strata: Mapping[str, str] | None = None
    ) -> list[Fold]:
        """Folds of people, or the one that the release's `split` says; `strata`: see `subject_folds`.

        Raises:
            UsageError: there are too few people, or nobody has the split `test`.
        """
        names = list(people)
        if self.by_split:
            return split_fold({name: str(frames.attributes(name).get("split", "")) for name in names})
        return subject_folds(names, self.folds, self.seed, strata)

    def record(
        self, experiment: str, parts: list[Fold], messages: Iterable[str], **more: Any
    ) -> dict[str, Any]:
        """What `experiment.json` says of it, beside the results."""
        return {
            "experiment": experiment,
            **more,
            "components": self.components,
            "folds": len(parts),
            "by_split": self.by_split,
            "seed": self.seed,
            "messages": list(messages),
        }
