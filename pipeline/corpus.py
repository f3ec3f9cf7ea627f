"""What a stage of scope `corpus` learns from, written down once a run: a job carries where, not all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from mimicme.pipeline.items import Item
from mimicme.pipeline.whole_file import write_whole


@dataclass(frozen=True)
class Corpus:
    """Checkpoints of all sequences of a workspace.  Two are equal when their fingerprints are.

    Attributes:
        inputs: paths of checkpoints by stage name, by item, in order.
        fingerprint: of the items and their checkpoints.
    """

    inputs: Mapping[Item, Mapping[str, Path]] = field(compare=False)
    fingerprint: str

    @cached_property
    def by_subject(self) -> Mapping[str, Mapping[Item, Mapping[str, Path]]]:
        """The same, subject by subject."""
        found: dict[str, dict[Item, Mapping[str, Path]]] = {}
        for item, paths in self.inputs.items():
            found.setdefault(item.subject, {})[item] = paths
        return found

    def save(self, path: Path) -> None:
        """Write it down for workers; see `load_corpus`."""
        listed = [
            [item.subject, item.sequence, {name: str(one) for name, one in paths.items()}]
            for item, paths in self.inputs.items()
        ]
        write_whole(path, json.dumps({"fingerprint": self.fingerprint, "inputs": listed}))


@lru_cache(maxsize=1)
def load_corpus(path: Path) -> Corpus:
    """What `Corpus.save` wrote, once per process; its path must be of this corpus alone."""
    record = json.loads(path.read_bytes())
    inputs = {
        Item(subject, sequence): {name: Path(one) for name, one in paths.items()}
        for subject, sequence, paths in record["inputs"]
    }
    return Corpus(inputs, record["fingerprint"])
