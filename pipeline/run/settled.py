"""What is settled: subjects of whom an earlier run found everything done, recognised without looking at each item.

A subject's signature is taken of the state of all that its checkpoints follow from: the names, sizes, times and inodes
of everything in the folders that its raw files, its checkpoints and the records of its failures lie in, and its frames
as the catalogue lists them.  The ledger as a whole counts for one key alone: the stages' versions and settings, the
template and what is declared of the captures.  As long as both are the same, every item of the subject is done, and
what was told of it is told again; whatever else is found, the items are looked at one by one.

The ledger saves time alone: one that is missing, damaged or of another key is as good as none.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimicme.pipeline.items import FrameSource, Sequence
from mimicme.pipeline.run.checkpoint_index import FigureSummary
from mimicme.pipeline.whole_file import checked_lines, text_digest, whole_file, with_check

_FIRST_LINE = "mimicme settled 3"
"""Of a saved ledger; another number when what a signature is taken of, or `Tally`, changes."""

_TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
_NOT_THERE = f"-{errno.ENOENT}"


@dataclass
class Tally:
    """What is told of the items of one stage, of one subject or of several.

    Attributes:
        items: that are done.
        ok, rejected: their frames.
        findings, remarks: sentences about single frames.
        decisions: attribute name, sentence or count, and item.
        figures: what the stage measured, over all its frames.
        called_bad, newly_called_bad: of the rejected ones, those that a person called bad; of these, those that no
            stage before left out.
    """

    items: int = 0
    ok: int = 0
    rejected: int = 0
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    decisions: list[tuple[str, str, str]] = field(default_factory=list)
    figures: list[FigureSummary] = field(default_factory=list)
    called_bad: int = 0
    newly_called_bad: int = 0

    def to_json(self) -> str:
        """`from_json` takes it back; a mean of nothing is NaN."""
        values = [
            self.items, self.ok, self.rejected, self.called_bad, self.newly_called_bad,
            self.findings, self.remarks, self.decisions, self.figures,
        ]  # fmt: skip
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """See `to_json`."""
        items, ok, rejected, bad, new, findings, remarks, decisions, figures = json.loads(text)
        told = [(name, sentence, item) for name, sentence, item in decisions]
        measured = [FigureSummary(*one) for one in figures]
        return cls(items, ok, rejected, findings, remarks, told, measured, bad, new)


@dataclass(frozen=True)
class Settled:
    """A subject of whom everything is done.

    Attributes:
        signature: while it is the same, it stays so.
        folders: below the captures, in which its raw files lie or were looked for.
        tallies: by stage, as `Tally.to_json` writes them: they are many, and asked for one stage at a time.
        newest_s: time of the newest mesh file, in seconds since the epoch; the signature covers it.
    """

    signature: str
    folders: tuple[str, ...]
    tallies: Mapping[str, str]
    newest_s: float = 0.0

    def tally(self, stage: str) -> Tally:
        return Tally.from_json(self.tallies[stage])

    def any_rejected(self, stage: str) -> bool:
        """Whether a frame was rejected at a stage; asked of everybody, so only the numbers are read."""
        text = self.tallies.get(stage, "")
        return bool(text) and int(text.split(",", 3)[2]) > 0


class Ledger:
    """The settled subjects of a workspace.

    Args:
        file: where they are saved.
        key: of everything that all signatures have in common.
        others: files of the same kind, which are read and not written: of the runs of shards.

    Attributes:
        subjects: by name.
        release: signature of all that a release follows from, and the fingerprint that follows; None: not known.
    """

    def __init__(self, file: Path, key: str, others: Iterable[Path] = ()) -> None:
        self._file, self._key = file, key
        self.subjects: dict[str, Settled] = {}
        self.release: tuple[str, str] | None = None
        self._whole = False
        try:
            self._load()
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            self.subjects, self.release, self._whole = {}, None, False
        self._saved: tuple[Any, ...] | None = self._content()
        for other in others:
            found = Ledger(other, key).subjects
            self.subjects |= found
            self._whole &= not found  # `begin` writes them down here

    def _load(self) -> None:
        lines = checked_lines(self._file, cut=True)
        first, key, release = json.loads(next(lines, ""))
        if (first, key) != (_FIRST_LINE, self._key):
            return
        for line in lines:
            subject, signature, newest, folders, *tallies = line.split("\t")
            named = dict(zip(tallies[::2], tallies[1::2], strict=True))
            read = tuple(json.loads(folders))
            self.subjects[subject] = Settled(signature, read, named, float(newest))
        self._whole = _ends_a_line(self._file)
        self.release = None if release is None else (str(release[0]), str(release[1]))

    def _content(self) -> tuple[Any, ...]:
        return self.release, {subject: one.signature for subject, one in self.subjects.items()}

    def save(self) -> None:
        """Write it down, whole or not at all; unchanged, it stays.

        Raises:
            OSError, OutputError: it cannot be written.
        """
        if self._content() == self._saved:
            return
        with whole_file(self._file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
            handle.write(with_check(json.dumps([_FIRST_LINE, self._key, self.release])))
            for subject, one in self.subjects.items():
                handle.write(_line(subject, one))
        self._saved = self._content()

    def begin(self, subjects: Mapping[str, Settled]) -> None:
        """Write down who is settled before a run begins, so that others can be added to the file (`append`).

        Raises:
            OSError, OutputError: it cannot be written.
        """
        kept = dict(subjects)
        if not self._whole or kept.keys() != self.subjects.keys():
            self.subjects, self._saved = kept, None
            self.save()

    def append(self, subject: str, one: Settled) -> None:
        """Add a subject to the file as it is; see `begin`.

        Raises:
            OSError: it cannot be written.
        """
        self.subjects[subject] = one
        self._saved = None  # what is told of the release may be another
        with open(self._file, "a", encoding="utf-8") as handle:
            handle.write(_line(subject, one))


def _ends_a_line(file: Path) -> bool:
    """Whether a file that is not empty ends as a line does: not in what a killed run began to write."""
    with open(file, "rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read() == b"\n"


def _line(subject: str, one: Settled) -> str:
    told = [part for pair in one.tallies.items() for part in pair]
    folders = json.dumps(one.folders)
    return with_check("\t".join([subject, one.signature, repr(one.newest_s), folders, *told]))


def purge(file: Path, known: Collection[str]) -> None:
    """Take out of a saved ledger whoever is not known any more: who withdrew or refuses is told of nowhere.

    A run of a part, and one in which nobody can be settled, use no ledger and would leave it as it was.

    Raises:
        OSError, OutputError: it cannot be read or written.
    """
    try:
        first, *lines = checked_lines(file, cut=True)
    except FileNotFoundError:
        return
    except ValueError:  # damaged, so that nobody reads it, or nothing in it: whom it names is not known
        file.unlink()
        return
    kept = [line for line in lines if line.partition("\t")[0] in known]
    if len(kept) < len(lines):
        with whole_file(file) as temporary, open(temporary, "w", **_TEXT) as handle:
            handle.writelines(map(with_check, [first, *kept]))


class Signatures:
    """Takes the signatures of subjects, as things are on the disk; each folder of raw files is looked at once.

    Args:
        root: of the workspace.
        captures: folder of the raw captures.
        stages: names of the stages that leave checkpoints.
    """

    def __init__(self, root: Path, captures: Path, stages: Iterable[str]) -> None:
        self._root, self._captures = str(root), str(captures)
        self._stages = tuple(stages)
        self._seen: dict[str, str] = {}

    def take(self, subject: str, sequences: Iterable[Sequence], folders: Iterable[str]) -> str:
        """The signature of a subject.

        Args:
            sequences: all that the catalogue lists of it.
            folders: see `Settled`.
        """
        said = [_described(sequence) for sequence in sequences]
        failing = self._failing()
        for stage in self._stages:
            said.append(folder_digest(f"{self._root}/{stage}/{subject}"))
            # most have none, and the first of a stage changes nothing for the others
            failed = (
                folder_digest(f"{self._root}/failures/{stage}/{subject}") if stage in failing else _NOT_THERE
            )
            if failed != _NOT_THERE:
                said.append(f"{stage} {failed}")
        for folder in folders:
            found = self._seen.get(folder)
            if found is None:
                found = self._seen[folder] = folder_digest(f"{self._captures}/{folder}")
            said.append(f"{folder}\0{found}")
        return text_digest("\n".join(said))

    def _failing(self) -> Collection[str]:
        """The stages of which there may be records of failures."""
        try:
            return frozenset(os.listdir(f"{self._root}/failures"))
        except FileNotFoundError:
            return ()
        except OSError:  # what each of them is found to be, says so
            return self._stages


def _described(sequence: Sequence) -> str:
    frames = [
        f"{f.number}\0{f.path}\0{f.time_s}" + "".join(f"\0{path}" for path in f.duplicates) + _reviewed(f)
        for f in sequence.frames
    ]
    return "\1".join([sequence.item.sequence, sequence.expression, str(sequence.named_fps), *frames])


def _reviewed(frame: FrameSource) -> str:
    """What a person who looked said of a frame; nothing of most."""
    if frame.verdict is None and frame.correction is None:
        return ""
    return f"\0{frame.verdict}\0{frame.correction and frame.correction.digest}"


def folder_digest(folder: str) -> str:
    """Digest of the names in a folder with the size, times and inode of every file; of a link to one also where it
    leads.  A folder that is not there, or cannot be read, has one as well."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError as error:
        return f"-{error.errno}"
    said = []
    for entry in entries:  # of a whole database a million
        name = entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                said.append(f"{name}/")
                continue
            if entry.is_symlink():
                said.append(f"{name}>{os.readlink(entry.path)}")
            stat = entry.stat()
        except OSError as error:
            said.append(f"{name}-{error.errno}")
            continue
        said.append(f"{name}\0{stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_size} {stat.st_ino}")
    said.sort()
    return text_digest("\n".join(said))


def source_folders(names: Iterable[str]) -> tuple[str, ...] | None:
    """The folders in which raw files of these names (`Sources.digests`) lie or were looked for.

    Returns:
        in order; None where all folders below one were searched, which no signature covers.
    """
    found = set()
    for name in names:
        folder, listed, pattern = name.partition("//")
        if listed and pattern.startswith("**/"):  # files, or whether there are any
            return None
        found.add(folder if listed else os.path.dirname(folder))
    return tuple(sorted(found))
