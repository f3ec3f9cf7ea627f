"""How a large workspace stands, told in a second or two: counts a person, believed while the folders are unchanged.

A run writes two files beside its ledger, person by person, as each is over:

    listing.txt     what the catalogue lists of a person, and the folders below the captures that this was read from
    standing.txt    how many items of each stage are done, failed or blocked, their frames and figures

Both count for one key: the stages' versions and settings, the template, what is declared of the captures, the table
of subjects, verdicts, corrections.  The listing counts while every folder of the captures has the times and inode it
had; the row of a person while the folders of its checkpoints and failures have theirs.  A person of whom there is no
row and no folder has not begun; any other is looked at, item by item, such as one whose frames are links.  Whatever
else does not fit - a line that is damaged, a folder that changed, a key - makes the file as good as none, and `status`
looks at everything.

Times of folders tell which files came, went or were replaced, not what was overwritten in place: that is seen where
every file is looked at, by each run and by `status --every-file`.  The truth stays in the checkpoints.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.pipeline.captures.catalogue import Catalogue, LeftOut, neutrals, no_garbage_collection
from mimicme.pipeline.checkpoint import fingerprint
from mimicme.pipeline.errors import MimicmeError, OutputError, counted
from mimicme.pipeline.items import FrameSource, Item, Sequence, Verdict
from mimicme.pipeline.run.checkpoint_index import FigureSummary, merge_summaries
from mimicme.pipeline.run.plan import Plan, State
from mimicme.pipeline.run.settled import Settled
from mimicme.pipeline.run.tallies import tally
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import checked_lines, text_digest, whole_file, with_check
from mimicme.pipeline.workspace import Workspace

_FIRST_LINE = "mimicme standing 2"
"""Of both files; another number when what is in them, or what a signature is taken of, changes."""
SETTLE_S = 2.0
"""A folder that changed this shortly before it was read may have changed once more within the tick of its clock (two
seconds on FAT, one on old network file systems): what was read of it is not believed."""
RELEASE_LINE = ""
"""In place of a person's name, in the line of the release."""
_STATES: tuple[State, ...] = ("done", "failed", "blocked")


@dataclass(frozen=True)
class StageCounts:
    """What is told of one stage, of one person.

    Attributes:
        states: how many items are `done`, `failed`, `blocked`.
        ok, rejected: frames of those that are done.
        troubles: sentences that `status --failed` would print.
        figures: over the frames that are ok.
    """

    states: tuple[int, int, int]
    ok: int
    rejected: int
    troubles: int
    figures: tuple[FigureSummary, ...] = ()

    def to_record(self) -> list[Any]:
        """For JSON; `Totals.add` takes it.  Means are told by seven digits, which is more than is shown."""
        return [
            *self.states,
            self.ok,
            self.rejected,
            self.troubles,
            "|".join(f"{one.name}\t{one.unit}" for one in self.figures),
            [one.frames for one in self.figures],
            [float(f"{one.mean:.7g}") for one in self.figures],
            [float(f"{one.largest:.7g}") for one in self.figures],
        ]


@dataclass
class Totals:
    """What is told of one stage, of many people together."""

    done: int = 0
    failed: int = 0
    blocked: int = 0
    ok: int = 0
    rejected: int = 0
    troubles: int = 0
    _figures: dict[str, list[list[Any]]] = field(default_factory=dict)

    def add(self, record: list[Any]) -> None:
        """One more person, as `StageCounts.to_record` writes it."""
        done, failed, blocked, ok, rejected, troubles, names, *columns = record
        self.done, self.failed, self.blocked = self.done + done, self.failed + failed, self.blocked + blocked
        self.ok, self.rejected, self.troubles = (
            self.ok + ok,
            self.rejected + rejected,
            self.troubles + troubles,
        )
        if names:
            self._figures.setdefault(names, []).append(columns)

    @property
    def states(self) -> Counter[str]:
        """How many items are in which state."""
        return Counter(done=self.done, failed=self.failed, blocked=self.blocked)

    @property
    def figures(self) -> list[FigureSummary]:
        """Of all of them, in the order of first appearance."""
        found = []
        for names, rows in self._figures.items():
            frames, means, largest = (np.array(column, np.float64) for column in zip(*rows, strict=True))
            counts = frames.sum(axis=0)
            with np.errstate(invalid="ignore"):
                mean = np.where(frames > 0, means * frames, 0.0).sum(axis=0) / counts
            top = np.where(frames > 0, largest, -np.inf).max(axis=0)
            for k, one in enumerate(names.split("|")):
                name, unit = one.split("\t")
                some = counts[k] > 0
                values = (float(mean[k]), float(top[k])) if some else (np.nan, np.nan)
                found.append(FigureSummary(name, unit, int(counts[k]), *values))
        return merge_summaries(found)


@dataclass(frozen=True)
class Person:
    """What the catalogue lists of a subject.

    Attributes:
        sequences, frames: how many.
        neutral: name of its neutral sequence where none is labelled so, by name alone; empty: one is labelled.
        folders: below the captures, everything that was looked at for it.
        listed: its sequences as JSON; empty: what a person said of them is not written down here.
    """

    sequences: int
    frames: int
    neutral: str
    folders: tuple[str, ...]
    listed: str

    def to_line(self, subject: str) -> str:
        folders = json.dumps(self.folders)
        return "\t".join([subject, str(self.sequences), str(self.frames), self.neutral, folders, self.listed])

    @classmethod
    def from_fields(cls, sequences: str, frames: str, neutral: str, folders: str, listed: str) -> Person:
        return cls(int(sequences), int(frames), neutral, tuple(json.loads(folders)), listed)

    def read(self, subject: str, root: Path) -> list[Sequence]:
        """Its sequences as the catalogue has them."""
        return [_sequence(subject, root, *one) for one in json.loads(self.listed)]


def _listed(root: str, sequences: Iterable[Sequence]) -> str:
    found = []
    for s in sequences:
        frames = []
        for f in s.frames:
            if f.correction is not None:
                return ""
            verdict = None if f.verdict is None else [f.verdict.good, f.verdict.reason]
            recipe = None if f.recipe is None else _below(root, f.recipe)
            copies = [_below(root, path) for path in f.duplicates]
            frames.append([f.number, _below(root, f.path), copies, f.time_s, verdict, recipe])
        found.append([s.item.sequence, s.name, s.expression, s.named_fps, frames])
    return json.dumps(found, separators=(",", ":"))


def _sequence(
    subject: str, root: Path, sequence: str, name: str, expression: str, fps: float | None, frames: list[Any]
) -> Sequence:
    sources = tuple(
        FrameSource(
            number,
            root / path,
            tuple(root / copy for copy in copies),
            time_s,
            None if verdict is None else Verdict(*verdict),
            None,
            None if recipe is None else root / recipe,
        )
        for number, path, copies, time_s, verdict, recipe in frames
    )
    return Sequence(Item(subject, sequence), name, expression, sources, fps)


def _below(root: str, path: Path | str) -> str:
    name = str(path)  # of a million, `relpath` takes seconds
    return name[len(root) + 1 :] if name.startswith(f"{root}/") else os.path.relpath(path, root)


def _naming(names: Iterable[str]) -> re.Pattern[str]:
    """Finds one of some names, whatever marks are around it; a number is a name too."""
    every = "|".join(map(re.escape, sorted({name for name in names if name})))
    return re.compile(rf"(?<![^\W_])(?:{every})(?![^\W_])" if every else r"(?!)", re.IGNORECASE)


# -- the folders of the captures


def _folder_state(path: str) -> tuple[int, int, int]:
    """Times of the last change, of what is in a folder and of the folder itself, and its inode; where it cannot be
    read, why.  The second time is nobody's to set: what copies folders sets the first back."""
    try:
        stat = os.stat(path)
    except OSError as error:
        return -(error.errno or 1), 0, 0
    if not os.access(path, os.R_OK | os.X_OK):
        return -errno.EACCES, 0, stat.st_ino
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _owned(
    root: str, sequences: Iterable[Sequence], left_out: Iterable[LeftOut] = ()
) -> tuple[dict[str, set[str]], set[str], set[str]]:
    """Below the captures: the folders of one listed subject alone by subject; those that it shares with others; of
    these, those that it shares with who is left out.  A folder in which nobody who is listed has captures is in none.
    """
    subjects: dict[str, set[str]] = {"": set()}
    apart: set[str] = set()
    parents: dict[tuple[str, str], None] = {}
    for sequence in sequences:
        for frame in sequence.frames:
            for path in (frame.path, *frame.duplicates):
                parents[os.path.dirname(str(path)), sequence.item.subject] = None

    def above(folder: str) -> Iterator[str]:
        name = _below(root, folder) if folder != root else ""
        while name:
            yield name
            name = name.rpartition("/")[0]

    for folder, subject in parents:
        for name in above(folder):
            subjects.setdefault(name, set()).add(subject)
    for folder in {folder for one in left_out for folder in one.folders}:
        apart.update(name for name in above(folder) if name in subjects)
    own: dict[str, set[str]] = {}
    shared = {""}
    for name, those in subjects.items():
        if len(those) == 1 and name not in apart:
            own.setdefault(next(iter(those)), set()).add(name)
        else:
            shared.add(name)
    return own, shared, apart


def _folders_below(root: str, name: str) -> Iterator[str]:
    """A folder of the captures and those below it, as the search visits them; a link to one is not gone into."""
    pending = [name]
    while pending:
        name = pending.pop()
        try:
            with os.scandir(f"{root}/{name}" if name else root) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError:
            entries = []
        if any(entry.name == "mimicme.toml" for entry in entries):
            continue
        yield name
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{name}/{entry.name}")


def _captures_digest(
    root: str, shared: Iterable[str], people: Iterable[Iterable[str]], before: float | None = None
) -> str:
    """Of the state of every folder below the captures.

    Nobody's folders that lie in shared ones may bear the name of who has withdrawn, so these are looked for.

    Args:
        before: seconds since the epoch; where a folder changed later than this, less `SETTLE_S`, it is empty.
    """
    limit = float("inf") if before is None else (before - SETTLE_S) * 1e9
    known = {name for folders in people for name in folders}
    common = frozenset(shared)
    said = []
    for name in sorted(common):
        known.add(name)
        with contextlib.suppress(OSError), os.scandir(f"{root}/{name}" if name else root) as found:
            for entry in found:
                below = f"{name}/{entry.name}" if name else entry.name
                if below in known or below in common or entry.name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    known.update(_folders_below(root, below))
    for name in sorted(known):
        changed, own, inode = _folder_state(f"{root}/{name}" if name else root)
        if max(changed, own) > limit:
            return ""
        said.append(f"{name}\0{changed} {own} {inode}")
    return text_digest("\n".join(said))


# -- the folders of a person's checkpoints


class _Places:
    """The folders of the workspace in which something of a person may lie."""

    def __init__(self, root: Path, stages: Iterable[str]) -> None:
        self._root = str(root)
        self._names = tuple(stages)

    def signature(self, subject: str) -> str:
        """Of their state; empty where there is none."""
        said = []
        for name in (*self._names, *(f"failures/{stage}" for stage in self._failing)):
            changed, own, inode = _folder_state(f"{self._root}/{name}/{subject}")
            if changed not in (-errno.ENOENT, -errno.ENOTDIR):
                said.append(f"{name} {changed} {own} {inode}")
        return text_digest("\n".join(said)) if said else ""

    @property
    def _failing(self) -> tuple[str, ...]:
        try:
            found = os.listdir(f"{self._root}/failures")
        except OSError:
            return ()
        return tuple(sorted(name for name in found if name in self._names))


class _PlacesNow(_Places):
    """The same while nothing is added to them."""

    def __init__(self, root: Path, stages: Iterable[str]) -> None:
        super().__init__(root, stages)
        self._known = super()._failing

    @property
    def _failing(self) -> tuple[str, ...]:
        return self._known


# -- the two files


def key_of(plan: Plan) -> str:
    """Fingerprints of all that both files have in common but the folders: of what is made, and of what is listed."""
    return f"{fingerprint({'plan': plan.key})} {_listed_for(plan.workspace)}"


def _listed_for(workspace: Workspace) -> str:
    # another version may read the same names otherwise
    return fingerprint({"catalogue": workspace.catalogue_key(), "program": _version()})


def _version() -> str:
    try:
        return metadata.version("mimicme")
    except metadata.PackageNotFoundError:
        return ""


def _read_lines(file: Path, cut: bool = False) -> tuple[list[Any], dict[str, str]]:
    """The first line, and of the others the last of each person.

    Args:
        cut: the last line may be cut short, by a run that was killed.

    Raises:
        ValueError: a line is damaged, or more than anybody writes.
        OSError: it cannot be read.
    """
    lines = checked_lines(file, cut)
    first = json.loads(next(lines, ""))
    found = {}
    for line in lines:
        subject, _, rest = line.partition("\t")
        found[subject] = rest
    return first, found


def forget(workspace: Workspace, known: Collection[str]) -> None:
    """Remove both files where they may tell of somebody who is not known any more: who withdrew or refuses is told of
    nowhere.  A run of all writes them again.

    Somebody may be named without a line of its own, in a message or a folder: what was listed under another table of
    subjects, or other verdicts, is removed as well, and what cannot be read.

    Raises:
        OSError: one cannot be removed.
    """
    now = _listed_for(workspace)
    for file in (workspace.listing, workspace.standing):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            try:
                first, lines = _read_lines(file, cut=True)
                gone = first[1].rpartition(" ")[2] != now or not (lines.keys() - {RELEASE_LINE} <= set(known))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError):
                gone = True
            if gone:
                file.unlink()


class Standing:
    """Writes both files while a run goes on.  That saves time alone: where they cannot be written, there are none.

    Args:
        plan: of the run; nobody is settled who changed.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stages = [stage for stage in plan.stages if stage.scope != "everything"]
        self._places = _Places(plan.workspace.root, [stage.name for stage in self._stages])
        self._key = key_of(plan)
        self._rows: dict[str, str] = {}
        self._listed = True
        with contextlib.suppress(OSError, OutputError):
            self._list(plan.catalogue)
            self._begin()

    def list_again(self) -> None:
        """Where folders had changed too shortly before they were listed, as captures that were just copied, list them
        once more: as long as the same lies in them, the listing counts."""
        if self._listed:
            return
        was = self._plan.catalogue
        with contextlib.suppress(MimicmeError, OSError):
            now = self._plan.workspace.search()
            same = ("sequences", "messages", "captured", "left_out", "unclear", "unheeded")
            if all(getattr(now, name) == getattr(was, name) for name in same):
                self._list(now)

    def _list(self, catalogue: Catalogue) -> None:
        """See to it that the listing is there, as the catalogue is now, which lists the plan's sequences."""
        file = self._plan.workspace.listing
        refusing = self._plan.workspace.refused(catalogue.captured)
        naming = _naming([*refusing, *(name for one in catalogue.left_out for name in one.names)])
        unheeded = [message for message in catalogue.unheeded if naming.search(message) is None]
        messages = [
            message
            for message in catalogue.messages
            if message not in catalogue.unheeded and naming.search(message) is None
        ]
        if refused := sum(not one.withdrew for one in catalogue.left_out):
            said = "`mimicme status --every-file` says who and why."
            messages.append(f"{counted(refused, 'subject is', 'subjects are')} left out: {said}")
        if self._is_listed(catalogue, messages, unheeded):
            return
        root = os.path.realpath(self._plan.captures.root)
        own, shared, apart = _owned(root, catalogue.sequences, catalogue.left_out)
        if any(
            naming.search(name) for name in apart
        ):  # a folder of several people that is called after this one
            file.unlink(missing_ok=True)
            return
        unlabelled = catalogue.unlabelled
        people = {}
        for subject in catalogue.subjects:
            sequences = self._plan.of_subject(subject)
            folders = set(own.get(subject, ()))
            for name in own.get(subject, ()):
                if name.rpartition("/")[0] in shared:
                    folders.update(_folders_below(root, name))
            people[subject] = Person(
                len(sequences),
                sum(len(s.frames) for s in sequences),
                catalogue.neutral[subject].sequence if subject in unlabelled else "",
                tuple(sorted(folders)),
                _listed(root, sequences),
            )
        digest = _captures_digest(root, shared, (p.folders for p in people.values()), catalogue.searched)
        self._listed = bool(digest)
        bad = [
            [str(s.item), number, why] for s in catalogue.sequences if s.bad for number, why in s.bad.items()
        ]
        frames = [f for s in catalogue.sequences for f in s.frames]
        review = [sum(f.verdict is not None for f in frames), sum(f.correction is not None for f in frames)]
        head = [
            _FIRST_LINE, self._key, digest, sorted(shared), messages, unheeded, review, bad,
        ]  # fmt: skip
        with whole_file(file) as temporary, open(temporary, "w", **_TEXT) as handle:
            handle.write(with_check(json.dumps(head)))
            for subject, person in people.items():
                handle.write(with_check(person.to_line(subject)))

    def _is_listed(self, catalogue: Catalogue, messages: list[str], unheeded: list[str]) -> bool:
        """Whether the listing that is there counts, for all that `read_listing` looks at, and tells of the same people
        and messages.  To write it anew would cost as much as to find the captures."""
        try:
            with no_garbage_collection():
                found = read_listing(self._plan, self._key)
        except (OSError, ValueError, TypeError, LookupError, RecursionError, MemoryError):
            return False
        if found is None or (found.messages, found.unheeded) != (tuple(messages), tuple(unheeded)):
            return False
        counts = {}
        for subject in catalogue.subjects:
            own = self._plan.of_subject(subject)
            counts[subject] = len(own), sum(len(s.frames) for s in own)
        return counts == {subject: (one.sequences, one.frames) for subject, one in found.people.items()}

    def _begin(self) -> None:
        """Keep what is written down of people who are settled, and write down the others of these."""
        old: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError, RecursionError, MemoryError):
            first, found = _read_lines(self._plan.workspace.standing, cut=True)
            if first == [_FIRST_LINE, self._key]:
                old = found
        settled = self._plan.settled
        for subject in settled:
            row = old.get(subject, "")
            signature = self._places.signature(subject)
            if not row or row.partition("\t")[0] != signature:
                row = self._row_of_settled(subject, signature, settled[subject]) or ""
            if row:
                self._rows[subject] = row
        with whole_file(self._plan.workspace.standing) as temporary, open(temporary, "w", **_TEXT) as handle:
            handle.write(with_check(json.dumps([_FIRST_LINE, self._key])))
            for subject, row in self._rows.items():
                handle.write(with_check(f"{subject}\t{row}"))

    def _row_of_settled(self, subject: str, signature: str, settled: Settled) -> str | None:
        if _has_links(self._plan.of_subject(subject)):
            return None
        told = (settled.tally(stage.name) for stage in self._stages)
        counts = [
            StageCounts((t.items, 0, 0), t.ok, t.rejected, len(t.findings), tuple(t.figures)) for t in told
        ]
        choice = self._plan.neutral_choices([subject])
        return _row(signature, choice[0] if choice else "", counts)

    def signature(self, subject: str) -> str:
        """Of the folders of a person's checkpoints as they are; taken before its items are looked at."""
        return self._places.signature(subject)

    def over(self, subject: str, signature: str, settled: Settled | None) -> None:
        """A person has passed through the stages: write down what became of it, if every item has an end.

        Args:
            signature: see `signature`.
            settled: what was found since; None: not everything of it is done.
        """
        if settled is not None:
            row = self._row_of_settled(subject, signature, settled)
        else:
            with self._plan.index.each_once():
                row = self._row(subject, signature)
        if row is not None:
            self._append(subject, row)

    def _append(self, subject: str, row: str) -> None:
        self._rows[subject] = row
        with (
            contextlib.suppress(OSError),
            open(self._plan.workspace.standing, "a", **_TEXT) as handle,
        ):
            handle.write(with_check(f"{subject}\t{row}"))

    def _row(self, subject: str, signature: str) -> str | None:
        plan, sequences = self._plan, self._plan.of_subject(subject)
        if _has_links(sequences):
            return None
        found = []
        for stage in self._stages:
            states = [plan.states.get((stage.name, s.item)) for s in sequences]
            counts = Counter(state.state for state in states if state is not None)
            if sum(counts[state] for state in _STATES) < len(sequences):
                return None
            if (
                counts["done"] < len(sequences)
                and stage.parts
                and plan.workspace.parts(stage.name, [subject])
            ):
                return None  # `status` says which parts are there, and looks at them
            told = tally(plan, stage, sorted(sequences, key=lambda s: s.item))
            found.append(
                StageCounts(
                    (counts["done"], counts["failed"], counts["blocked"]),
                    told.ok,
                    told.rejected,
                    len(told.findings) + counts["failed"],
                    tuple(told.figures),
                )
            )
        choice = plan.neutral_choices([subject])
        return _row(signature, choice[0] if choice else "", found)

    def release(self, state: str, reason: str) -> None:
        """What became of the release, which was made of everything that is there."""
        signatures = {}
        for subject in self._plan.catalogue.subjects:
            row = self._rows.get(subject)
            signatures[subject] = row.partition("\t")[0] if row else self._places.signature(subject)
        self._append(RELEASE_LINE, json.dumps([_release_signature(self._plan, signatures), state, reason]))


_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}


def _row(signature: str, choice: str, counts: Iterable[StageCounts]) -> str:
    told = json.dumps([choice, [one.to_record() for one in counts]], separators=(",", ":"))
    return f"{signature}\t{told}"


def _has_links(sequences: Iterable[Sequence]) -> bool:
    """Whether a frame is a link: no time of the folder that it lies in tells that the file was replaced."""
    return any(os.path.islink(path) for s in sequences for f in s.frames for path in (f.path, *f.duplicates))


def _files_of_release(index: Path) -> list[list[Any]]:
    """Name, size, times and inode of a release and of what may be its shards, which lie beside the file itself."""
    found: list[list[Any]] = []
    with contextlib.suppress(OSError), os.scandir(os.path.dirname(os.path.realpath(index))) as entries:
        for entry in entries:
            if entry.name.startswith(index.stem) and entry.name.endswith(".h5"):
                stat = entry.stat()
                found.append([entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return sorted(found)


def _release_signature(plan: Plan, signatures: dict[str, str]) -> str:
    """Of what a release is made of, as far as folders tell, and of its file."""
    workspace = plan.workspace
    everything = next(stage for stage in plan.stages if stage.scope == "everything")
    people = text_digest("\n".join(f"{name}\0{sign}" for name, sign in sorted(signatures.items())))
    failed = os.path.exists(workspace.failure(everything.name, Item("release", "release")))
    record = {
        "people": people,
        "files": _files_of_release(workspace.release),
        "failed": failed,
        "version": [everything.name, everything.version, everything.needs],
        "settings": dict(plan.settings_of(everything)),
        "subjects": workspace.table_digest(),
        "licence": workspace.licence,
        "epoch": os.environ.get("SOURCE_DATE_EPOCH", ""),
    }
    return fingerprint(record)


# -- what `status` reads


@dataclass(frozen=True)
class Listing:
    """What the catalogue would list; see `Catalogue`, `ReviewCounts`."""

    people: dict[str, Person]
    messages: tuple[str, ...]
    unheeded: tuple[str, ...]
    reviewed: int
    corrected: int
    bad: tuple[tuple[str, int, str], ...]


def read_listing(plan: Plan, key: str) -> Listing | None:
    """The listing, if it is of this key and of the captures' folders as they are; the catalogue is not asked.

    Raises:
        OSError, ValueError, TypeError, LookupError: there is none that is whole.
    """
    first, lines = _read_lines(plan.workspace.listing)
    version, saved, digest, shared, messages, unheeded, review, bad = first
    if (version, saved) != (_FIRST_LINE, key) or not digest:
        return None
    people = {subject: Person.from_fields(*line.split("\t")) for subject, line in lines.items()}
    root = os.path.realpath(plan.captures.root)
    if _captures_digest(root, shared, (person.folders for person in people.values())) != digest:
        return None
    called = tuple((item, int(number), why) for item, number, why in bad)
    return Listing(people, tuple(messages), tuple(unheeded), int(review[0]), int(review[1]), called)


@dataclass
class Told:
    """What the two files tell, and of whom they do not.

    Attributes:
        listing: of everybody.
        totals: by stage, of the people who have a row.
        pending: people who have not begun.
        open: people who must be looked at.
        choices: a sentence on the neutral of people who have a row, where there is one.
        release: its state and the reason, unless who is open has something to be made; None: not known.
    """

    listing: Listing
    totals: dict[str, Totals]
    pending: list[str]
    open: list[str]
    choices: dict[str, str]
    release: tuple[str, str] | None


def read(plan: Plan, stages: Iterable[Stage]) -> Told | None:
    """What is written down, as far as it still counts; None where nothing can be believed.

    Args:
        plan: whose catalogue is not asked.
        stages: of which rows are.
    """
    key = key_of(plan)
    names = [stage.name for stage in stages]
    try:
        with no_garbage_collection():
            listing = read_listing(plan, key)
            if listing is None:
                return None
            first, rows = _read_lines(plan.workspace.standing, cut=True)
            if first != [_FIRST_LINE, key]:
                rows = {}
            return _told(plan, listing, rows, names)
    except (OSError, ValueError, TypeError, LookupError, RecursionError, MemoryError):
        return None


def _told(plan: Plan, listing: Listing, rows: dict[str, str], names: list[str]) -> Told:
    places = _PlacesNow(plan.workspace.root, names)
    totals = {name: Totals() for name in names}
    told = Told(listing, totals, [], [], {}, None)
    signatures = {}
    for subject in sorted(listing.people):
        now = places.signature(subject)
        saved, _, record = rows.get(subject, "").partition("\t")
        if record and saved == now:
            signatures[subject] = saved
            choice, counts = json.loads(record)
            for name, one in zip(names, counts, strict=True):
                totals[name].add(one)
            if choice:
                told.choices[subject] = choice
        elif not now:
            told.pending.append(subject)
        else:
            signatures[subject] = now
            told.open.append(subject)
    if RELEASE_LINE in rows and not told.pending:
        signature, state, reason = json.loads(rows[RELEASE_LINE])
        if signature == _release_signature(plan, signatures):
            told.release = state, reason
    return told


def catalogue_of(plan: Plan, listing: Listing, subjects: Iterable[str]) -> Catalogue | None:
    """The catalogue of some people alone; None where the listing does not say enough of one."""
    root = Path(os.path.realpath(plan.captures.root))
    sequences: list[Sequence] = []
    for subject in subjects:
        person = listing.people[subject]
        if not person.listed:
            return None
        sequences += person.read(subject, root)
    return Catalogue(tuple(sequences), neutrals(tuple(sequences)), "", ())


def first_item(listing: Listing, subject: str, root: Path) -> Item | None:
    """The first sequence of a person; None where the listing does not say enough."""
    person = listing.people[subject]
    return person.read(subject, root)[0].item if person.listed else None
