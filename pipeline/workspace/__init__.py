"""The workspace: the only code that knows the names of its files.

WORKSPACE/mimicme.toml                             settings
WORKSPACE/template/template.h5, source.json        prepared template, and what it was prepared from
WORKSPACE/<stage>/<subject>/<sequence>.h5          checkpoints
WORKSPACE/<stage>/<subject>/<sequence>@part-0002-of-0005.h5   parts of checkpoints, until they are joined
WORKSPACE/failures/<stage>/<subject>/<sequence>.json
WORKSPACE/runs/<UTC stamp>/                        config.toml, given.json, versions.json, log.jsonl
WORKSPACE/heads.jsonl                              the checkpoint index that the last run saved; may be deleted
WORKSPACE/settled.txt                              subjects of whom the last run found everything done; may be deleted
WORKSPACE/listing.txt, standing.txt                what `status` is told from (`run.standing`); may be deleted
WORKSPACE/heads-2-of-8.jsonl, settled-2-of-8.txt   the same of a run of a shard, until a whole run takes them over
WORKSPACE/.lock, .lock-2-of-8, .lock-template      held by a run, by that of a shard, by who prepares the template
WORKSPACE/packed.jsonl                             what the last pack saw of checkpoints and shards; may be deleted
WORKSPACE/withdrawn.txt, withdrawn.key             who may not come back, as keyed hashes; and the key
WORKSPACE/review.csv                               what a person who looked says of frames (`pipeline.review`)
WORKSPACE/corrections/<subject>/<sequence>/<frame>.ljson   landmarks that a person corrected
WORKSPACE/release.h5, report/
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mimicme.pipeline.captures import bu_names
from mimicme.pipeline.captures import catalogue as catalogues
from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.captures.expressions import read_mapping
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.config import Config
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Captures, Item, Part, Sequence, Shard
from mimicme.pipeline.review import EXTENSION as CORRECTED
from mimicme.pipeline.review import Review, read_corrections, reviewed
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import is_temporary, temporary_below, temporary_name
from mimicme.pipeline.workspace.declaration import (
    CONFIG_NAME,
    Declaration,
    but_consent,
    check_place,
    read_overrides,
)
from mimicme.pipeline.workspace.locks import Locks
from mimicme.pipeline.workspace.subjects import DeclaredSubjects
from mimicme.pipeline.workspace.template import PreparedTemplate
from mimicme.pipeline.workspace.traces import forget_failures, forget_in_log, forget_verdicts
from mimicme.pipeline.workspace.withdrawn import Withdrawn

if TYPE_CHECKING:
    from mimicme.pipeline.captures.metadata import SubjectTable
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.template import Template

__all__ = ["CONFIG_NAME", "OVERRIDES_NAME", "Workspace"]

A = TypeVar("A", bound="Checkpoint")

OVERRIDES_NAME = "given.json"
# `safe_name` lets no name of a sequence hold an '@'
_PART = re.compile(r"([^@]+)@part-(\d{4,})-of-(\d{4,})\.h5")


class Workspace:
    """One workspace on disk.  Made by `Workspace.create`, opened by `Workspace.open`.

    It names the files.  What is declared, whom the table of subjects lets in, the prepared template, the locks and the
    list of who withdrew are parts, each in a module of this room; it passes on what is asked of them.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.root = declaration.root
        self._declared = declaration
        self._withdrawn = Withdrawn(self.root)
        self._subjects = DeclaredSubjects(declaration, self._withdrawn)
        self._template = PreparedTemplate(self.root / "template", declaration)
        self._locks = Locks(self.root, self._template)
        self._catalogue: Catalogue | None = None

    @classmethod
    def open(
        cls, root: str | Path, *, environ: Mapping[str, str] | None = None, sets: Iterable[str] = ()
    ) -> Workspace:
        """Open a workspace; reads its own sections of the settings and nothing else.

        Raises:
            UsageError: there is no workspace.
            ConfigError: its settings are wrong.
        """
        return cls(Declaration.read(Path(root), environ, sets))

    @classmethod
    def create(
        cls,
        root: str | Path,
        *,
        captures: str | Path,
        layout: str = "",
        template: str | Path = "menpo3d",
        metadata: str | Path | None = None,
        columns: Mapping[str, str] | None = None,
        expressions: str | Path | None = None,
        unit: str | float = "auto",
        up: str = "auto",
        fps: float = float("nan"),
        licence: str = "",
        stages: Iterable[Stage] = (),
        replace_settings: bool = False,
        dry_run: bool = False,
    ) -> Workspace:
        """Make a workspace and check that everything it names is there and readable.

        Args:
            root: its folder; made when absent.
            captures: folder of the raw captures.
            layout: pattern or name of a layout; empty: decided by trying, and written down.
            template: `menpo3d` or a mesh file with landmarks beside it.
            metadata: CSV, TSV or XLSX with one line a subject; columns: of it, by name here, where they are called
                otherwise.
            expressions: CSV, TSV or XLSX of expression labels by sequence name.
            unit, up, fps: what is known of the captures.
            licence: terms of the release.
            stages: their settings are written into the new file as comments.
            replace_settings: overwrite the settings of a workspace that is already there; checkpoints stay.
            dry_run: check everything and write nothing; what is returned can say what lies on the disk.

        Raises:
            UsageError: a workspace is already there, or an argument is wrong.
            InputError: captures, template or table cannot be read, or the order of some frames is not clear.
        """
        stages = tuple(stages)
        folder = Path(root)
        check_place(folder, captures, [s.name for s in stages], replace_settings)
        declaration = Declaration.new(
            folder,
            captures=captures,
            layout=layout,
            template=template,
            metadata=metadata,
            columns=columns,
            expressions=expressions,
            unit=unit,
            up=up,
            fps=fps,
            licence=licence,
        )
        workspace = cls(declaration)
        found = workspace.catalogue()
        if found.unclear and not dry_run:
            raise catalogues.unclear_error(found.unclear, workspace.captures.root)
        declaration.settle_layout(found.pattern)
        from mimicme.pipeline.template import template_source_digest

        template_source_digest(declaration.own.template.file)
        if dry_run:
            return workspace
        workspace.root.mkdir(parents=True, exist_ok=True)
        declaration.write(folder / CONFIG_NAME, stages)
        return workspace

    # -- what is declared

    def config(self, stages: Iterable[Stage]) -> Config:
        """The resolved settings of the workspace and of these stages.

        Raises:
            ConfigError: see `config.load`.
        """
        return self._declared.config(stages)

    @property
    def captures(self) -> Captures:
        """What is declared about the captures."""
        return self._declared.captures

    @property
    def licence(self) -> str:
        return self._declared.own.licence.text

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings given when the workspace was opened, which override its file, as `section.key=value`."""
        return self._declared.overrides

    def command(self, name: str, *options: str, given: tuple[str, ...] | None = None) -> str:
        """A command on this workspace, as it is typed, with the settings that were given here, or others (`given`, as
        `overrides`)."""
        sets = [word for one in (self.overrides if given is None else given) for word in ("--set", one)]
        return shlex.join(["mimicme", name, str(self.root), *options, *sets])

    @property
    def overrides_but_consent(self) -> tuple[str, ...]:
        """`overrides` without what was said of consent and of the metadata, which may name people."""
        return but_consent(self.overrides)

    def last_overrides(self) -> tuple[str, ...]:
        """The overrides of the last run; see `overrides_of`."""
        runs = self.runs()
        return self.overrides_of(runs[-1]) if runs else ()

    def overrides_of(self, run: Path) -> tuple[str, ...]:
        """The overrides of a run (`OVERRIDES_NAME` in its folder); empty where none can be read.

        Without what was said of consent: who is let in is said each time anew, or in the settings.
        """
        return read_overrides(run / OVERRIDES_NAME)

    # -- captures

    def catalogue(self) -> Catalogue:
        """The catalogue with its messages, verdicts and corrected landmarks; the folder is searched once.

        It lists neither who has withdrawn nor whom the table of subjects refuses: what goes by it (stages, status,
        report, sheets to review) then neither works on such a subject nor shows it.

        Raises:
            InputError, ConfigError: see `catalogue.build`, or the table of subjects, the review or a correction
                cannot be used.
        """
        if self._catalogue is None:
            self._catalogue = self.search()
        return self._catalogue

    def search(self) -> Catalogue:
        """The same, as the folder is now.

        Raises: as `catalogue`.
        """
        with catalogues.no_garbage_collection():
            return self._search()

    def _search(self) -> Catalogue:
        own = self._declared.own
        mapping = read_mapping(self._declared.path(own.expressions.file)) if own.expressions.file else None
        found = catalogues.build(
            self.captures.root,
            own.captures.layout,
            mapping,
            self._withdrawn.asked(),
            self._subjects.refused,
            own.captures.fps,
        )
        corrections, strange = read_corrections(self.corrections_folder, sides=self.captures.sides)
        found = reviewed(found, Review.read(self.review_file), corrections)
        unknown = catalogues.unknown_labels(found.sequences, mapping)
        notices = self._subjects.matched(found.captured).notices
        return replace(found, messages=(*found.messages, *unknown, *strange, *notices))

    def sequences(self) -> list[Sequence]:
        """Every sequence on disk, in order, without subjects that have withdrawn or refuse."""
        return list(self.catalogue().sequences)

    def captured_subjects(self) -> tuple[str, ...]:
        """Every subject on disk, whatever its consent; the table of subjects is not read.

        Raises:
            InputError, ConfigError: see `catalogue.build`.
        """
        return catalogues.build(self.captures.root, self._declared.own.captures.layout).captured

    def captured_files(self, subject: str) -> tuple[Path, ...]:
        """A subject's raw captures, whatever their consent, and whether or not they have withdrawn; none where the
        folder of captures is not there.

        Args:
            subject: its id.

        Raises:
            InputError, ConfigError: see `catalogue.build`.
        """
        if not self.captures.root.is_dir():
            return ()
        found = catalogues.build(self.captures.root, self._declared.own.captures.layout)
        mine = [one for one in found.sequences if one.item.subject == safe_name(subject)]
        return tuple(path for one in mine for frame in one.frames for path in (frame.path, *frame.duplicates))

    def refused(self, subjects: Iterable[str]) -> dict[str, str]:
        """Who of some subjects is kept out by the table as it is now, and why; the captures are not looked for.

        Raises:
            InputError: the table cannot be used.
        """
        return dict(self._subjects.matched(subjects).excluded)

    def kept_out(self, subjects: Iterable[str]) -> frozenset[str]:
        """Who of some subjects must not be in a release by now: the table as it is refuses them, or they have
        withdrawn.

        Raises:
            InputError: the table cannot be used.
        """
        names, withdrawn = tuple(subjects), self._withdrawn.asked()
        refused = self._subjects.matched(names).excluded
        return frozenset(one for one in names if one in refused or withdrawn(one))

    @property
    def table_of_subjects(self) -> Path | None:
        """The file of the table of subjects; None where none is declared."""
        return self._subjects.file

    def metadata(self) -> SubjectTable:
        """The table of subjects, by the names of the captures' folders, with what these names say (`bu_names`); empty
        when none is declared.

        Raises:
            InputError: the table cannot be used.
        """
        found = self.catalogue()
        return self._subjects.matched(found.captured).with_names(bu_names.people(found.sequences))

    def metadata_digest(self) -> str:
        """SHA-256 of the table of subjects, of what its columns are and of what names say of people; empty when none is
        declared or it cannot be read, and names say nothing."""
        return self._subjects.digest_read(bu_names.people(self.catalogue().sequences))

    def table_digest(self) -> str:
        """SHA-256 of the table of subjects and of what its columns are; the catalogue is not asked, and what names of
        captures say does not count."""
        return self._subjects.digest_now()

    def catalogue_key(self) -> dict[str, str]:
        """Digests of all that the catalogue follows from but the captures themselves."""

        def digest(path: Path) -> str:
            try:
                return hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                return f"-{error.errno}"

        own, corrected = self._declared.own, []
        for folder, _, names in os.walk(self.corrections_folder):
            for name in names:
                with suppress(OSError):
                    stat = os.stat(os.path.join(folder, name))
                    corrected.append(f"{folder}/{name} {stat.st_mtime_ns} {stat.st_size} {stat.st_ino}")
        return {
            "declared": repr((own.captures, own.metadata, own.expressions)),
            "expressions": digest(self._declared.path(own.expressions.file)) if own.expressions.file else "",
            "table": self.table_digest(),
            "withdrawn": digest(self._withdrawn.file),
            "review": digest(self.review_file),
            "corrections": hashlib.sha256("\n".join(sorted(corrected)).encode(errors="replace")).hexdigest(),
        }

    # -- files

    def checkpoint(self, stage: str, item: Item) -> Path:
        """Where the checkpoint of a stage for an item lies."""
        return self.root / stage / item.subject / f"{item.sequence}.h5"

    def read(self, kind: type[A], item: Item) -> A:
        """The opened checkpoint of an item that a stage's own reader is for; use as a context manager.

        Raises:
            CheckpointError: it cannot be read.
        """
        return kind(self.checkpoint(kind.stage, item))

    def checkpoints(self, stage: str) -> Iterator[Path]:
        """The checkpoints, and those of parts, that lie in a stage's folder."""
        return (self.root / stage).glob("*/*.h5")

    def part(self, stage: str, item: Item, part: Part) -> Path:
        """Where the checkpoint of a part of an item lies; never the name of a sequence's own."""
        own = self.checkpoint(stage, item)
        return own.with_name(f"{item.sequence}@part-{part.number:04d}-of-{part.count:04d}.h5")

    def parts(self, stage: str, subjects: Iterable[str] | None = None) -> dict[Item, dict[Part, Path]]:
        """The checkpoints of parts that lie in a stage's folder; of these subjects, or of all."""
        found: dict[Item, dict[Part, Path]] = {}
        folders = ["*"] if subjects is None else [glob.escape(name) for name in subjects]
        for path in sorted(p for name in folders for p in (self.root / stage).glob(f"{name}/*@part-*.h5")):
            named = _PART.fullmatch(path.name)
            if named:
                item, part = Item(path.parent.name, named[1]), Part(int(named[2]), int(named[3]))
                found.setdefault(item, {})[part] = path
        return found

    def corpus(self, stage: str, fingerprint: str) -> Path:
        """Where a run writes down what a stage learns from; a temporary file, gone when the run is."""
        return temporary_name(self.root / stage / f"corpus-{fingerprint}")

    def failure(self, stage: str, item: Item) -> Path:
        """Where the record of a failed item lies."""
        # in one step: it is asked for with every state
        return Path(f"{self.root}/failures/{stage}/{item.subject}/{item.sequence}.json")

    @property
    def checkpoint_index(self) -> Path:
        """Where a run saves its checkpoint index (`run.checkpoint_index`); may be deleted."""
        return self.root / "heads.jsonl"

    @property
    def ledger(self) -> Path:
        """Where a run saves of whom everything is done (`run.settled`); may be deleted."""
        return self.root / "settled.txt"

    def saved(self, path: Path, shard: Shard | None = None) -> tuple[Path, list[Path]]:
        """Where a run saves its checkpoint index, or its ledger; and where else there may be some of it.

        Args:
            path: `checkpoint_index` or `ledger`.
            shard: of the run; None: a whole one.
        """
        own = path if shard is None else path.with_name(f"{path.stem}-{shard.suffix}{path.suffix}")
        return own, [file for file in (path, *self.of_shards(path)) if file != own]

    def of_shards(self, path: Path) -> list[Path]:
        """The files that runs of shards have in place of `checkpoint_index` or `ledger`."""
        named = re.compile(rf"{re.escape(path.stem)}-\d+-of-\d+{re.escape(path.suffix)}")
        return sorted(
            p for p in self.root.glob(f"{path.stem}-*-of-*{path.suffix}") if named.fullmatch(p.name)
        )

    @property
    def listing(self) -> Path:
        """Where a run saves what the catalogue lists (`run.standing`); may be deleted."""
        return self.root / "listing.txt"

    @property
    def standing(self) -> Path:
        """Where a run saves what became of each person (`run.standing`); may be deleted."""
        return self.root / "standing.txt"

    @property
    def packed(self) -> Path:
        """Where `pack` saves what it saw of checkpoints and shards; may be deleted."""
        return self.root / "packed.jsonl"

    @property
    def release(self) -> Path:
        return self.root / "release.h5"

    @property
    def sample_release(self) -> Path:
        """Where `mimicme plan` packs its sample, to measure that; a temporary file."""
        return temporary_name(self.root / "sample.h5")

    @property
    def report_folder(self) -> Path:
        return self.root / "report"

    @property
    def public_report_folder(self) -> Path:
        """Of the report that names and shows nobody."""
        return self.root / "report-for-others"

    @property
    def review_file(self) -> Path:
        """What a person who looked says of frames; see `pipeline.review`."""
        return self.root / "review.csv"

    @property
    def corrections_folder(self) -> Path:
        """Where corrected landmark files lie; see `correction`."""
        return self.root / "corrections"

    def correction(self, item: Item, number: int) -> Path:
        """Where the corrected landmarks of a frame lie."""
        return self.corrections_folder / item.subject / item.sequence / f"{number}{CORRECTED}"

    @property
    def template(self) -> Path:
        """Where the prepared template lies (`prepare_template` makes it)."""
        return self._template.file

    def new_run(self) -> Path:
        """Make the folder of a new run."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
            folder = self.root / "runs" / f"{stamp}{suffix}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
        raise UsageError("too many runs began within one second", where=self.root / "runs")

    def runs(self) -> list[Path]:
        """Folders of all runs, oldest first."""
        folder = self.root / "runs"
        return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []

    def remove_temporary_files(self, stages: Iterable[str], subjects: Iterable[str] | None = None) -> int:
        """Remove what a killed run left half written; only while holding the lock.

        Args:
            stages: names of the stages.  Nothing is looked at but their folders, those of the template, the
                runs and the failures, and what lies beside the release.
            subjects: of a shard, whose folders alone are looked at; None: everything.

        Returns:
            How many files.
        """
        if subjects is None:
            stale = [p for p in self.root.glob(".*.tmp") if p.is_file() and is_temporary(p.name)]
            roots = ["template", "runs", "failures", *stages]
        else:
            stale, named = [], list(subjects)
            roots = [
                f"{above}{stage}/{name}" for stage in stages for above in ("", "failures/") for name in named
            ]
        for root in roots:
            for folder, names in temporary_below(f"{self.root}/{root}"):
                if not self._declared.holds_captures(Path(folder)):
                    stale += [Path(folder, n) for n in names]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    # -- the prepared template

    @property
    def template_source(self) -> str:
        """The declared template: `menpo3d` or the path of a file."""
        return self._template.source

    def template_source_digest(self) -> str:
        """Digest of what the template is, or would be, prepared from.

        Raises:
            InputError, MissingDependencyError: see `template_digest`.
        """
        return self._template.source_digest()

    def template_digest(self) -> str | None:
        """Digest of the prepared template; None when it must be prepared (again).

        Raises:
            InputError, MissingDependencyError: the settings name another source, which cannot be read.
        """
        return self._template.digest()

    def template_vertices(self) -> int:
        """How many vertices the prepared template has; 0 where none can be read."""
        return self._template.vertices()

    def prepare_template(self) -> Template:
        """Prepare the template anew.  Only the parent process of a run calls this, holding the `template_lock`.

        Raises:
            InputError, MissingDependencyError: see `template.prepare`.
        """
        return self._template.prepare()

    # -- who works on it

    def lock(
        self, shard: Shard | None = None, sees: str = "", template: str = ""
    ) -> AbstractContextManager[None]:
        """Hold the workspace for one run, or for that of one shard beside those of others.  The system lets go of it
        however the process ends.

        Args:
            shard, sees, template: see `Locks.hold`.

        Raises:
            UsageError: another run holds it, which is named by host and process; or it cannot be written.
            OutputError: there is no room on its disk.
        """
        return self._locks.hold(shard, sees, template)

    def template_lock(self, wait: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
        """Held by the run that prepares the template, for which those of other shards wait.

        Args:
            wait: called before it is waited for another one.
        """
        return self._locks.hold_template(wait)

    def running_process(self) -> str | None:
        """The run that holds the workspace now, as `process 12 on HOST`; empty where it has not said; None: there is
        none.  Of several shards the first, and how many there are.  Changes nothing."""
        return self._locks.running_process()

    def running_runs(self) -> dict[Shard | None, str]:
        """The runs that hold the workspace now, each as `process 12 on HOST`, by the shard that it works on; one that
        works on everything is alone, under None.  Changes nothing."""
        return self._locks.running_runs()

    # -- who has withdrawn

    def is_withdrawn(self, subject: str) -> bool:
        """Whether a subject has withdrawn its consent, under this name or another spelling of it."""
        return self._withdrawn.asked()(subject)

    def any_withdrawn(self, subjects: Iterable[str]) -> bool:
        """Whether one of them has withdrawn, by what the list says now: the catalogue may be older than it."""
        return any(map(self._withdrawn.asked(), subjects))

    def folders_of(self, subject: str, stages: Iterable[str]) -> list[Path]:
        """The folders of a subject's checkpoints, failures and corrections; never one of the raw captures."""
        failures = self.root / "failures"
        folders = [self.root / name for name in stages]
        folders += [p for p in failures.iterdir() if p.is_dir()] if failures.is_dir() else []
        folders.append(self.corrections_folder)
        mine = [folder / safe_name(subject) for folder in folders]
        return [p for p in mine if p.is_dir() and not self._declared.holds_captures(p)]

    def remove_subject(self, subject: str, stages: Iterable[str]) -> list[Path]:
        """Remove everything made from a subject and see to it that its captures are never used again.

        The raw captures are not touched.  The subject is remembered as a hash alone, so that the workspace
        does not name it.

        Args:
            subject: its id.
            stages: names of the stages, whose folders hold the checkpoints.

        Returns:
            The checkpoints and records that were removed.
        """
        name = safe_name(subject)
        if not self.is_withdrawn(name):
            self._withdrawn.add(name)  # before anything is removed: killed in between, it does not come back
        self._catalogue = None
        for path in (self.checkpoint_index, self.ledger):
            for saved in (path, *self.of_shards(path)):
                saved.unlink(missing_ok=True)
        for saved in (self.listing, self.standing):
            saved.unlink(missing_ok=True)
        self.packed.unlink(missing_ok=True)
        removed: list[Path] = []
        for folder in self.folders_of(name, stages):
            removed += [p for p in sorted(folder.rglob("*")) if p.is_file()]
            shutil.rmtree(folder)
        removed += forget_failures(sorted(self.root.glob("failures/*/*/*.json")), name)
        forget_verdicts(self.review_file, name)
        for run in self.runs():
            forget_in_log(run / "log.jsonl", name)
        return removed
