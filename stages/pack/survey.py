"""What pack remembers of the checkpoints and shards that it has seen, so that it need not open them again.

Opening the checkpoints of everybody to add one subject takes longer than packing that subject.  So what a first look
tells of a sequence is kept in a file, and counts while names, sizes, times and inodes of its checkpoints are the same;
so do the shards that were written.  The file saves time alone: one that is missing or damaged is as good as none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mimicme.pipeline.items import Item
from mimicme.pipeline.whole_file import checked, text_digest, whole_file, with_check

_FIRST_LINE = "mimicme packed 2"
"""Of a saved file; another number when what is kept, or what a signature is of, changes."""


@dataclass(frozen=True)
class Look:
    """What a first look tells of a sequence.

    Attributes:
        units: of the figures that its stages measured.
        lost: the stage whose failure leaves it without vertices; None: none.
        fingerprints: of its checkpoints, by stage.
        frames: their number.  image_bytes: of all its images; -1: not looked at.
    """

    units: tuple[tuple[str, ...], ...]
    lost: str | None
    fingerprints: Mapping[str, str]
    frames: int
    image_bytes: int


@dataclass(frozen=True)
class Verified:
    """That a shard was verified.

    Attributes:
        by: the mark of the checks: what other checks would say is not known.
        warnings: what they said of it: place, sentence, and name of the check.
    """

    by: str
    warnings: tuple[tuple[str, ...], ...] = ()


class Memory:
    """What was seen, and what is to be remembered; by item and by name of a shard.

    Args:
        file: where it is kept; None: nowhere.
        stages: names of the flow's, which a look depends on.
    """

    def __init__(self, file: Path | None, stages: Iterable[str]) -> None:
        self._file = file
        self._head = f"{_FIRST_LINE} {' '.join(stages)}"
        self._looks: dict[Item, tuple[str, Look]] = {}
        self._shards: dict[str, tuple[str, Verified | None]] = {}
        self._new: dict[Item, tuple[str, Look]] = {}
        try:
            self._load()
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            self._looks, self._shards = {}, {}

    def _load(self) -> None:
        if self._file is None:
            return
        with open(self._file, encoding="utf-8") as handle:
            if handle.readline().rstrip() != self._head:
                return
            self._shards = _shards(handle.readline())
            for line in handle:
                subject, sequence, signature, said = json.loads(checked(line))
                units = tuple((str(name), str(unit)) for name, unit in said.pop("units"))
                self._looks[Item(subject, sequence)] = signature, Look(units=units, **said)

    def look(self, item: Item, paths: Mapping[str, Path], sized: bool) -> Look | None:
        """What was seen of a sequence whose checkpoints are still the same; None: it must be looked at."""
        known = self._looks.get(item)
        if known is None or known[0] != signature(paths) or (sized and known[1].image_bytes < 0):
            return None
        self._new[item] = known
        return known[1]

    def keep(self, item: Item, paths: Mapping[str, Path], before: str, look: Look) -> None:
        """Remember a sequence, if its checkpoints are what they were `before` it was looked at (`signature`)."""
        if before == signature(paths):
            self._new[item] = before, look

    def is_same(self, shard: Path) -> bool:
        """Whether a shard is as an earlier pack left it."""
        known = self._shards.get(shard.name)
        return known is not None and known[0] == _stat(shard)

    def is_verified(self, shard: Path) -> bool:
        """Whether it is, and was verified then (`note_verified`)."""
        return self._verified(shard) is not None

    def _verified(self, shard: Path) -> Verified | None:
        return self._shards[shard.name][1] if self.is_same(shard) else None

    def save(self, shards: Iterable[Path]) -> None:
        """Write down what was seen in this pack, and these shards.

        Raises:
            OSError, OutputError: it cannot be written.
        """
        if self._file is None:
            return
        with whole_file(self._file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
            handle.write(f"{self._head}\n")
            handle.write(_shard_line({path.name: (_stat(path), self._verified(path)) for path in shards}))
            for item, (signature, look) in self._new.items():
                handle.write(_line([item.subject, item.sequence, signature, asdict(look)]))


def note_verified(
    file: Path, folder: Path, by: str, warnings: Mapping[str, Iterable[tuple[str, ...]]] | None = None
) -> None:
    """Remember that the shards in a folder that a pack has left are verified, as far as they are as it left them.

    Args:
        by: the mark of the checks.  warnings: what they said, by name of a shard, see `Verified`.

    Raises:
        OSError, OutputError: it cannot be written.
    """
    said = warnings or {}
    try:
        with open(file, encoding="utf-8") as handle:
            head, shards, *looks = handle.readlines()
        known = _shards(shards)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return
    marked = {
        name: (mark, Verified(by, tuple(said.get(name, ()))) if mark == _stat(folder / name) else before)
        for name, (mark, before) in known.items()
    }
    if marked != known:
        with whole_file(file) as temporary:
            temporary.write_text("".join([head, _shard_line(marked), *looks]), encoding="utf-8")


def verified_by(file: Path, by: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Names of the shards that these very checks verified, and what they warned of; see `Memory.is_verified`."""
    try:
        with open(file, encoding="utf-8") as handle:
            handle.readline()
            known = _shards(handle.readline())
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}
    return {
        name: verified.warnings
        for name, (_, verified) in known.items()
        if verified is not None and verified.by == by
    }


def _shards(line: str) -> dict[str, tuple[str, Verified | None]]:
    """What was seen of each shard, and by what it is verified."""
    found: dict[str, tuple[str, Verified | None]] = {}
    for name, (mark, by, said) in json.loads(checked(line)).items():
        warnings = tuple(tuple(map(str, one)) for one in said)
        found[str(name)] = str(mark), Verified(str(by), warnings) if by else None
    return found


def _shard_line(shards: Mapping[str, tuple[str, Verified | None]]) -> str:
    return _line(
        {
            name: (mark, "", []) if verified is None else (mark, verified.by, verified.warnings)
            for name, (mark, verified) in shards.items()
        }
    )


def signature(paths: Mapping[str, Path]) -> str:
    """Of the names, sizes, times and inodes of checkpoints."""
    return text_digest("\n".join(f"{stage}\0{path}\0{_stat(path)}" for stage, path in sorted(paths.items())))


def _stat(path: Path) -> str:
    try:
        seen = os.lstat(path)
    except OSError as error:
        return f"-{error.errno}"
    return f"{seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_size} {seen.st_ino}"


def _line(value: Any) -> str:
    return with_check(json.dumps(value, separators=(",", ":")))
