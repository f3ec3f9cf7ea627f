"""The checkpoint index: a cache of what a run needs to know of every checkpoint; and the records of failures."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.checkpoint import (
    FrameStatus,
    figures_in,
    fingerprint,
    status_table,
    unit_of,
    unit_today,
)
from mimicme.pipeline.formats.hdf5_text import attribute_names, read_text
from mimicme.pipeline.whole_file import whole_file

DECISION = "_decision"
"""Attributes of checkpoints that end so are sentences about what a stage decided; the runner prints them."""
TALLY = "_tally"
"""Attributes that end so count frames, as in `3 read, 5 guessed`; the runner adds them up (`findings.added`)."""

_OK = FrameStatus()
_FIRST_LINE = "mimicme heads 3"
"""Of a saved index; another number when `CheckpointSummary`, or how its fingerprints are made, changes."""


class FigureSummary(NamedTuple):
    """A figure of quality over the frames that are ok: how many have it, their mean and the largest (NaN of none)."""

    name: str
    unit: str
    frames: int
    mean: float
    largest: float

    @classmethod
    def of(cls, name: str, unit: str, values: NDArray[np.float64]) -> Self:
        """Of the figure's values for the frames that are ok; one that is not finite counts as absent."""
        there = values[np.isfinite(values)]
        mean, largest = (float(there.mean()), float(there.max())) if len(there) else (math.nan, math.nan)
        # the names are the same in every checkpoint of a stage: each is kept once
        return cls(sys.intern(name), sys.intern(unit), len(there), mean, largest)


def merge_summaries(summaries: Iterable[FigureSummary]) -> list[FigureSummary]:
    """Summaries of several items merged by figure, in the order of first appearance."""
    groups: dict[tuple[str, str], list[FigureSummary]] = {}
    for one in summaries:
        groups.setdefault((one.name, one.unit), []).append(one)
    return [_merge(name, unit, group) for (name, unit), group in groups.items()]


def _merge(name: str, unit: str, summaries: list[FigureSummary]) -> FigureSummary:
    there = [one for one in summaries if one.frames]
    frames = sum(one.frames for one in there)
    if not frames:
        return FigureSummary(name, unit, 0, math.nan, math.nan)
    mean = math.fsum(one.mean * one.frames for one in there) / frames
    return FigureSummary(name, unit, frames, mean, max(one.largest for one in there))


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """What the index keeps of a checkpoint; little, because a workspace may have half a million of them.

    Attributes:
        record_fingerprint: of the record of what made it (`made_by`), without the raw files.
        has_sources: whether it was made from raw files.
        numbers: (F,) frame numbers.
        flagged: statuses of the frames that are rejected or have a note, by row; the other frames are ok.
        decisions: sentences and tallies by attribute name (`DECISION`, `TALLY`).
        figures: what the stage itself measured, in the order in which it wrote it.
    """

    fingerprint: str
    record_fingerprint: str
    has_sources: bool
    numbers: NDArray[np.int64]
    flagged: Mapping[int, FrameStatus]
    decisions: Mapping[str, str]
    figures: tuple[FigureSummary, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # each checkpoint's comes from a worker, and what `dataclass` and numpy write takes several times as long
        rest = self.flagged, self.decisions, self.figures
        return _unpickled, (
            self.fingerprint,
            self.record_fingerprint,
            self.has_sources,
            self.numbers.tobytes(),
            *rest,
        )

    @property
    def rejected(self) -> int:
        return sum(not s.ok for s in self.flagged.values())

    @property
    def ok(self) -> int:
        return len(self.numbers) - self.rejected

    def flagged_frames(self) -> Iterator[tuple[int, FrameStatus]]:
        """Number and status of every frame that is rejected or has a note, in order."""
        for row, status in self.flagged.items():
            yield int(self.numbers[row]), status

    def frames(self) -> Iterator[tuple[int, FrameStatus]]:
        """Number and status of every frame."""
        for row, number in enumerate(self.numbers.tolist()):
            yield number, self.flagged.get(row, _OK)

    def to_record(self) -> list[Any]:
        """For JSON; `from_record` takes it back."""
        flagged = [[row, s.ok, s.reason, s.note, s.message] for row, s in self.flagged.items()]
        return [
            self.fingerprint,
            self.record_fingerprint,
            self.has_sources,
            self.numbers.tolist(),
            flagged,
            dict(self.decisions),
            self.figures,
        ]

    @classmethod
    def from_record(
        cls,
        fingerprint: str,
        record_fingerprint: str,
        has_sources: bool,
        numbers: list[int],
        flagged: list[list[Any]],
        decisions: dict[str, str],
        figures: list[list[Any]],
    ) -> CheckpointSummary:
        """See `to_record`."""
        statuses = {row: _status(*status) for row, *status in flagged}
        numbers_array = np.asarray(numbers, np.int64)
        summaries = tuple(
            FigureSummary(
                sys.intern(name), sys.intern(unit_today(unit)), int(frames), float(mean), float(largest)
            )
            for name, unit, frames, mean, largest in figures
        )
        return cls(
            fingerprint, record_fingerprint, has_sources, numbers_array, statuses, dict(decisions), summaries
        )


def _unpickled(
    fingerprint: str,
    record_fingerprint: str,
    has_sources: bool,
    numbers: bytes,
    flagged: Mapping[int, FrameStatus],
    decisions: Mapping[str, str],
    figures: tuple[FigureSummary, ...],
) -> CheckpointSummary:
    known = np.frombuffer(numbers, np.int64)
    return CheckpointSummary(fingerprint, record_fingerprint, has_sources, known, flagged, decisions, figures)


@lru_cache(maxsize=4096)
def _status(ok: bool, reason: str, note: str, message: str) -> FrameStatus:
    """The status of a flagged frame; where a whole sequence has one note, and every stage passes it on, it is kept
    once."""
    return FrameStatus(ok, reason, note, message)


IndexEntry = tuple[tuple[int, ...], CheckpointSummary | None]
"""What a checkpoint's file was like when it was read, and its summary; None: it cannot be read."""


def read_entry(path: Path) -> IndexEntry | None:
    """The entry of the checkpoint at `path`; None when there is none."""
    signature = file_signature(path)
    return None if signature is None else (signature, _read_summary(path))


def file_signature(path: Path) -> tuple[int, ...] | None:
    """What tells one state of a file from another: times, size, inode; None: there is no file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


class CheckpointIndex:
    """Reads the summaries of checkpoints, each once while its file stays the same.

    What it has read of subjects that are over is put on a shelf (`shelve`), a temporary file: of half a million
    checkpoints it would be more than a GB.  Asked for again, it is taken from there, one subject at a time.

    Args:
        root: the workspace's folder.
        file: where an earlier run saved its index (`save`).  An entry counts only while the checkpoint's times, size
            and inode are still those; a file that cannot be read is as good as none.
        others: files that runs of shards saved, or, for one of these, the whole run; they are read and not written.
        subjects: of whom alone anything is asked and saved; None: of everybody.
    """

    def __init__(
        self,
        root: Path,
        file: Path,
        others: Iterable[Path] = (),
        subjects: Collection[str] | None = None,
    ) -> None:
        self._root, self._file, self._others = root, file, tuple(others)
        self._subjects = None if subjects is None else frozenset(subjects)
        # by path as text, of which there is one anyway: half a million more of `Path` would be 0.2 GB
        self._entries: dict[str, IndexEntry] = {}
        self._loaded: frozenset[str] | None = None  # paths in the file; None: not looked at yet
        self._aside: frozenset[str] = frozenset()
        self._dropped: set[str] = set()  # what the file may still hold of them does not count
        self._changed = False
        self._shelf: IO[bytes] | None = None
        self._shelved: dict[str, tuple[int, int]] = {}  # by subject: where its lines begin, and their bytes
        self._taken = ""  # a subject whose entries are in memory as well, as they are on the shelf
        # while each file is looked at once
        self._seen: dict[str, tuple[bool, CheckpointSummary | None]] | None = None

    @contextmanager
    def each_once(self) -> Iterator[None]:
        """Look at the file of a checkpoint once in this block, however often it is asked for: what follows from many
        items of one person asks for each of them some ten times.  In a block within, each is looked at anew."""
        before, self._seen = self._seen, {}
        try:
            yield
        finally:
            self._seen = before

    def set_aside(self, subjects: Iterable[str]) -> None:
        """Leave the entries of subjects of whom nothing will be asked in the file, until something is."""
        if self._loaded is None:
            self._aside = frozenset(subjects)

    def shelve(self, subject: str, paths: Iterable[Path]) -> None:
        """Put what is known of a subject's checkpoints where it takes no memory, until it is asked for again.

        Args:
            paths: all that are known.  Where there is no room for them on the disk, they stay in memory.
        """
        self._keep(subject)
        entries = {name: self._entries[name] for path in paths if (name := str(path)) in self._entries}
        if not entries or any(summary is None for _, summary in entries.values()):
            return
        text = "".join(self._line(name, entry) for name, entry in entries.items()).encode()
        with suppress(OSError):
            if self._shelf is None:
                # beside the index, which has to have room there in the end; it has no name, and outlives no process
                self._shelf = tempfile.TemporaryFile("w+b", buffering=0, dir=self._root)  # noqa: SIM115 - see below
                weakref.finalize(self, self._shelf.close)
            begin = self._shelf.seek(0, os.SEEK_END)
            if self._shelf.write(text) == len(text):
                self._shelved[subject] = begin, len(text)
                self._forget(entries)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._entries.pop(name, None)

    def _lines_of(self, subject: str) -> list[str]:
        """The lines that the shelf has of a subject; none where it cannot be read: its checkpoints then are."""
        begin, size = self._shelved[subject]
        with suppress(OSError):
            assert self._shelf is not None
            self._shelf.seek(begin)
            text = self._shelf.read(size)
            if len(text) == size:
                return text.decode("ascii").splitlines(keepends=True)
        return []

    def _put_back(self) -> None:
        """Have what is on the shelf nowhere else."""
        if self._taken:
            self._forget(os.path.join(self._root, _name_in(line)) for line in self._lines_of(self._taken))
            self._taken = ""

    def _take(self, subject: str) -> None:
        """Have what is on the shelf of a subject in memory, too; of the one before, there alone again."""
        if subject in self._shelved and subject != self._taken:
            self._put_back()
            self._taken = subject
            self._entries.update(_entry_in(self._root, line) for line in self._lines_of(subject))

    def _keep(self, subject: str) -> None:
        """Have a subject in memory alone: what the shelf has of it does not count any more."""
        self._take(subject)
        if self._shelved.pop(subject, None) is not None:
            self._taken = ""

    def _line(self, path: str, entry: IndexEntry) -> str:
        """A line of the file, of a summary that is there; `_entry_in` takes it back."""
        signature, summary = entry
        assert summary is not None
        line = [os.path.relpath(path, self._root), signature, *summary.to_record()]
        return json.dumps(line, separators=(",", ":")) + "\n"

    def _load(self, aside: frozenset[str]) -> None:
        self._aside = aside
        saved = _load(self._root, self._file, aside, self._subjects)
        self._loaded = frozenset(saved)
        for file in self._others:
            # what is newer was read of the file as it is now; what is not, is found out by its signature
            saved |= _load(self._root, file, aside, self._subjects)
        self._changed |= len(saved) > len(self._loaded)
        known = self._dropped.union(path for path, _ in self._on_shelf())
        self._entries = {k: v for k, v in saved.items() if k not in known} | self._entries

    def _drop(self, path: Path) -> None:
        self._keep(path.parent.name)
        self._dropped.add(str(path))
        self._changed |= self._entries.pop(str(path), None) is not None

    def read(self, path: Path) -> CheckpointSummary | None:
        """The summary of the checkpoint at `path`; None when there is none, or none that can be read."""
        return self.look(path)[1]

    def look(self, path: Path) -> tuple[bool, CheckpointSummary | None]:
        """Whether there is a file at `path`, and its summary as `read` tells it."""
        if self._seen is None:
            return self._look(path)
        name = str(path)
        found = self._seen.get(name)
        if found is None:
            found = self._seen[name] = self._look(path)
        return found

    def known(self, path: Path) -> CheckpointSummary | None:
        """What was read of a checkpoint when it was looked at last, or put there; the file is not looked at."""
        self._take(path.parent.name)
        entry = self._entries.get(str(path))
        return None if entry is None else entry[1]

    def _look(self, path: Path) -> tuple[bool, CheckpointSummary | None]:
        if self._loaded is None:
            self._load(self._aside)
        if self._aside and path.parent.name in self._aside:
            self._load(frozenset())
        signature, name = file_signature(path), str(path)
        if self._shelved:
            self._take(path.parent.name)
        if signature is None:
            if name in self._entries:
                self._drop(path)
            return False, None
        entry = self._entries.get(name)
        if entry is None or entry[0] != signature:
            self._keep(path.parent.name)
            entry = self._entries[name] = (signature, _read_summary(path))
            self._changed = True
        return True, entry[1]

    def put(self, path: Path, entry: IndexEntry) -> None:
        """Keep what a worker read of the checkpoint that it wrote; it counts as what was read here does."""
        self._keep(path.parent.name)
        self._entries[str(path)] = entry
        self._changed = True

    def invalidate(self, path: Path) -> None:
        """Read a checkpoint again the next time, though its file is the same: it turned out to be damaged."""
        self._drop(path)

    def save(self) -> None:
        """Write the index to its file, so that the next run need not open every checkpoint; unchanged, it stays."""
        if self._others and self._subjects is None and (self._loaded is None or self._aside):
            self._load(frozenset())  # a whole run takes over all that those of shards saved
        if self._loaded is None:  # nothing was asked
            return
        self._put_back()
        kept = self._kept()
        if not self._changed and self._loaded <= kept.keys() | {path for path, _ in self._on_shelf()}:
            return
        if self._aside and self._others:
            self._load(frozenset())
            kept = self._kept()
        with whole_file(self._file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
            handle.write(f"{_FIRST_LINE}\n")
            for path, line in chain(self._left_in_file(), self._on_shelf()):
                if os.path.exists(path):
                    handle.write(line)
            for path, entry in kept.items():
                if entry[1] is not None:
                    handle.write(self._line(path, entry))
        self._changed = False

    def _on_shelf(self) -> Iterator[tuple[str, str]]:
        """Path and line of everything on the shelf."""
        for subject in self._shelved:
            for line in self._lines_of(subject):
                yield os.path.join(self._root, _name_in(line)), line

    def _left_in_file(self) -> Iterator[tuple[str, str]]:
        """Path and line of what was left in the file, because nothing was asked of it (`set_aside`)."""
        if not self._aside:
            return
        # what is damaged, or gone, costs a look at the checkpoints
        with suppress(OSError, ValueError, LookupError), open(self._file, encoding="ascii") as handle:
            if handle.readline().rstrip() != _FIRST_LINE:
                return
            for line in handle:
                path = os.path.join(self._root, _name_in(line))
                if line.split("/", 2)[1] in self._aside and path not in self._dropped:
                    yield path, line

    def _kept(self) -> dict[str, IndexEntry]:
        return {path: entry for path, entry in self._entries.items() if os.path.exists(path)}


def _load(
    root: Path, file: Path, aside: frozenset[str] = frozenset(), subjects: frozenset[str] | None = None
) -> dict[str, IndexEntry]:
    entries: dict[str, IndexEntry] = {}
    try:
        with open(file, encoding="utf-8") as handle:
            if handle.readline().rstrip() != _FIRST_LINE:
                return {}
            for line in handle:
                if aside or subjects is not None:
                    subject = line.split("/", 2)[1]
                    if subject in aside or (subjects is not None and subject not in subjects):
                        continue
                path, entry = _entry_in(root, line)
                entries[path] = entry
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return {}
    return entries


def _entry_in(root: Path, line: str) -> tuple[str, IndexEntry]:
    """Path and entry that a line of the file tells."""
    name, signature, *record = json.loads(line)
    path = os.path.join(root, name)  # one that is not below the root is asked for by nobody
    return path, (tuple(signature), CheckpointSummary.from_record(*record))


def _name_in(line: str) -> str:
    """The path below the root, of safe names, that such a line begins with."""
    return line.split('"', 2)[1]


def _read_summary(path: Path) -> CheckpointSummary | None:
    try:
        # not `guarded_file`: it visits every link, and a plan opens every checkpoint of the workspace
        with h5py.File(path, "r") as handle:
            record = json.loads(read_text(handle, "made_by"))
            sources = record.pop("sources", {})
            table = status_table(handle)
            rows = np.flatnonzero(~table["ok"] | (table["note"] != b"") | (table["message"] != b""))
            flagged = {
                int(row): _status(
                    bool(table["ok"][row]),
                    table["reason"][row].decode(),
                    table["note"][row].decode(),
                    table["message"][row].decode("utf-8", "ignore"),
                )
                for row in rows
            }
            return CheckpointSummary(
                read_text(handle, "fingerprint"),
                fingerprint(record),
                bool(sources),
                np.asarray(handle["frame"][:], np.int64),
                flagged,
                {k: read_text(handle, k) for k in attribute_names(handle) if k.endswith((DECISION, TALLY))},
                _read_figures(handle, table["ok"]),
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None


def _read_figures(handle: h5py.File, ok: NDArray[np.bool_]) -> tuple[FigureSummary, ...]:
    """What the stage measured, in the order in which it wrote it."""
    datasets = figures_in(handle)
    # HDF5 lists them by name; in a file that is written once, what was made first lies at the lower address
    written = sorted(datasets, key=lambda name: h5py.h5o.get_info(datasets[name].id).addr)
    return tuple(
        FigureSummary.of(name, unit_of(datasets[name]), datasets[name][:].astype(np.float64)[ok])
        for name in written
    )


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, str], str]:
    """The record of what made a checkpoint; the digests of its raw files, and their sizes and times.

    Of the last ones that were read it is kept, as long as their files are the same.
    """
    signature = file_signature(path)
    return ({}, {}, "{}") if signature is None else _read_record(path, signature)


@lru_cache(maxsize=256)
def _read_record(path: Path, signature: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, str], str]:
    try:
        with h5py.File(path, "r") as handle:
            record = json.loads(handle.attrs["made_by"])
            return record, record.pop("sources", {}), str(handle.attrs.get("source_stats", "{}"))
    except (OSError, KeyError, ValueError):
        return {}, {}, "{}"


@dataclass(frozen=True)
class Failure:
    """Why an item failed, as its record says."""

    kind: str
    message: str
    seconds: float = math.nan
    when: str = ""
    traceback: str = ""

    @classmethod
    def read(cls, path: Path) -> Failure | None:
        """The record at `path`, if there is one."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                **{k: record[k] for k in ("kind", "message", "seconds", "when", "traceback") if k in record}
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return cls("unknown", "its failure record cannot be read")
