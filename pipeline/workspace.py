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

import errno
import glob
import hashlib
import hmac
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from mimicme.pipeline import config as configs
from mimicme.pipeline.captures import bu_names
from mimicme.pipeline.captures import catalogue as catalogues
from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.captures.expressions import read_mapping
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.captures.who import person_key
from mimicme.pipeline.config import Config
from mimicme.pipeline.errors import ConfigError, InputError, MissingDependencyError, UsageError
from mimicme.pipeline.items import Captures, Item, Part, Sequence, Shard
from mimicme.pipeline.review import EXTENSION as CORRECTED
from mimicme.pipeline.review import Review, read_corrections, reviewed
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import NO_ROOM, no_room, temporary_name, whole_file, write_whole

if TYPE_CHECKING:
    from mimicme.pipeline.captures.metadata import SubjectTable
    from mimicme.pipeline.checkpoint import Checkpoint
    from mimicme.pipeline.template import Template

A = TypeVar("A", bound="Checkpoint")

CONFIG_NAME = "mimicme.toml"
OVERRIDES_NAME = "given.json"
_OF_CONSENT = ("captures.consent", "captures.not_same", "metadata.")
_RESERVED = ("failures", "runs", "template", "report", "corrections")
# `safe_name` lets no name of a sequence hold an '@'
_PART = re.compile(r"([^@]+)@part-(\d{4,})-of-(\d{4,})\.h5")
_KEYED = "hmac-sha256:"


_SHARD_LOCK = re.compile(r"\.lock-(\d+)-of-(\d+)")
_HELD = (errno.EAGAIN, errno.EACCES)
"""What locking a file ends with that somebody else holds."""
_TEMPORARY = re.compile(r"\.[^/]+\.\d+\.tmp")


class Workspace:
    """One workspace on disk.  Made by `Workspace.create`, opened by `Workspace.open`."""

    def __init__(
        self, root: Path, own: Config, environ: Mapping[str, str] | None, sets: tuple[str, ...]
    ) -> None:
        self.root = root
        self._own = own
        self._environ = environ
        self._sets = sets
        self._catalogue: Catalogue | None = None
        self._table: SubjectTable | None = None
        self._table_bytes = b""

    @classmethod
    def open(
        cls, root: str | Path, *, environ: Mapping[str, str] | None = None, sets: Iterable[str] = ()
    ) -> Workspace:
        """Open a workspace; reads its own sections of the settings and nothing else.

        Raises:
            UsageError: there is no workspace.
            ConfigError: its settings are wrong.
        """
        folder = Path(root)
        if not (folder / CONFIG_NAME).is_file():
            raise UsageError(
                "this is not a workspace",
                where=folder,
                expected=f"a folder with {CONFIG_NAME}",
                todo=f"Make one with: mimicme init {shlex.quote(str(folder))} --captures DIR",
            )
        chosen = tuple(sets)
        own = configs.load(folder / CONFIG_NAME, environ=environ, sets=chosen)
        return cls(Path(os.path.realpath(folder)), own, environ, chosen)

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
        _check_place(folder, captures, [s.name for s in stages], replace_settings)
        sections = _declared(
            captures, layout, template, metadata, columns, expressions, unit, up, fps, licence
        )
        run = configs.RunSection()
        workspace = cls(Path(os.path.realpath(folder)), Config(**sections, run=run), {}, ())
        # written down, so that captures that come later do not change what a path means
        found = workspace.catalogue()
        if found.unclear and not dry_run:
            raise catalogues.unclear_error(found.unclear, workspace.captures.root)
        sections["captures"] = replace(sections["captures"], layout=found.pattern)
        workspace._own = Config(**sections, run=run)
        from mimicme.pipeline.template import template_source_digest

        template_source_digest(sections["template"].file)
        if dry_run:
            return workspace
        workspace.root.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG_NAME, configs.new_file(sections, stages))
        return workspace

    # -- settings

    def config(self, stages: Iterable[Stage]) -> Config:
        """The resolved settings of the workspace and of these stages.

        Raises:
            ConfigError: see `config.load`.
        """
        return configs.load(self.root / CONFIG_NAME, stages, environ=self._environ, sets=self._sets)

    def _path(self, text: str) -> Path:
        return Path(os.path.normpath(self.root / Path(text).expanduser()))

    @property
    def captures(self) -> Captures:
        """What is declared about the captures."""
        section = self._own.captures
        if not section.root:
            raise ConfigError(
                "the workspace names no captures", where=self.root / CONFIG_NAME, todo="Set captures.root."
            )
        return Captures(
            self._path(section.root),
            section.unit_text,
            section.up,
            section.fps,
            section.sides,
            section.mirrored,
            section.texture_v,
        )

    @property
    def licence(self) -> str:
        return self._own.licence.text

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
        file = self._own.expressions.file
        mapping = read_mapping(self._path(file)) if file else None
        found = catalogues.build(
            self.captures.root,
            self._own.captures.layout,
            mapping,
            self._withdrawal(),
            self._refused,
            self._own.captures.fps,
        )
        corrections, strange = read_corrections(self.corrections_folder, sides=self.captures.sides)
        found = reviewed(found, Review.read(self.review_file), corrections)
        unknown = catalogues.unknown_labels(found.sequences, mapping)
        notices = self._matched(found.captured).notices
        return replace(found, messages=(*found.messages, *unknown, *strange, *notices))

    def sequences(self) -> list[Sequence]:
        """Every sequence on disk, in order, without subjects that have withdrawn or refuse."""
        return list(self.catalogue().sequences)

    def captured_subjects(self) -> tuple[str, ...]:
        """Every subject on disk, whatever its consent; the table of subjects is not read.

        Raises:
            InputError, ConfigError: see `catalogue.build`.
        """
        return catalogues.build(self.captures.root, self._own.captures.layout).captured

    def refused(self, subjects: Iterable[str]) -> dict[str, str]:
        """Who of some subjects is kept out by the table as it is now, and why; the captures are not looked for.

        Raises:
            InputError: the table cannot be used.
        """
        return dict(self._matched(subjects).excluded)

    def _refused(self, captured: Iterable[str]) -> dict[str, str]:
        """Captured subjects whom the table keeps out, with what a user should know of it."""
        return {
            subject: self._advised(subject, why) for subject, why in self._matched(captured).excluded.items()
        }

    def _advised(self, subject: str, why: str) -> str:
        """A sentence on who is left out, with what that means and what can be done."""
        from mimicme.pipeline.captures.consent import UNCLEAR

        made = any(path.is_dir() for path in self.root.glob(f"*/{glob.escape(safe_name(subject))}"))
        before = (
            f" What was made of it before stays until `mimicme withdraw {shlex.quote(str(self.root))} "
            f"{shlex.quote(subject)}`, which cannot be undone."
        )
        or_say = ", or let `consent_yes` in [captures] name a word that is a yes" if UNCLEAR in why else ""
        now = f"Nothing is made from it, shown or packed; if that is wrong, change the table{or_say}."
        return f"{why} {now}{before if made else ''}"

    @property
    def table_of_subjects(self) -> Path | None:
        """The file of the table of subjects; None where none is declared."""
        file = self._own.metadata.file
        return self._path(file) if file else None

    def metadata(self) -> SubjectTable:
        """The table of subjects, by the names of the captures' folders, with what these names say (`bu_names`); empty
        when none is declared.

        Raises:
            InputError: the table cannot be used.
        """
        found = self.catalogue()
        return self._matched(found.captured).with_names(bu_names.people(found.sequences))

    def _matched(self, captured: Iterable[str]) -> SubjectTable:
        from mimicme.pipeline.captures.consent import ConsentRules
        from mimicme.pipeline.captures.metadata import SubjectTable, read_subjects

        file, captures = self.table_of_subjects, self._own.captures
        if self._table is None:  # read once, so that who is left out and what is said of the others agree
            self._table_bytes = self._bytes_of_table()
            rules = ConsentRules(captures.consent_yes, captures.consent_missing, captures.not_same)
            columns = self._own.metadata.columns
            self._table = read_subjects(file, rules, columns) if file else SubjectTable()
        return self._table.matched(captured, self._withdrawal())

    def _bytes_of_table(self) -> bytes:
        """The file of the table of subjects as it is now; empty where there is none, or none that can be read."""
        file = self.table_of_subjects
        try:
            return file.read_bytes() if file else b""
        except OSError:
            return b""

    def metadata_digest(self) -> str:
        """SHA-256 of the table of subjects, of what its columns are and of what names say of people; empty when none is
        declared or it cannot be read, and names say nothing."""
        columns = self._own.metadata.columns
        named = json.dumps(columns, sort_keys=True).encode() if columns else b""
        people = bu_names.people(self.catalogue().sequences)
        by_names = json.dumps(people, sort_keys=True).encode() if people else b""
        # of what was read, not of what was written since: the release is made of that
        read = self._bytes_of_table() if self._table is None else self._table_bytes
        table = read + named if read else b""
        return hashlib.sha256(table + by_names).hexdigest() if table or by_names else ""

    def table_digest(self) -> str:
        """SHA-256 of the table of subjects and of what its columns are; the catalogue is not asked, and what names of
        captures say does not count."""
        columns = json.dumps(self._own.metadata.columns, sort_keys=True)
        return hashlib.sha256(self._bytes_of_table() + columns.encode()).hexdigest()

    def catalogue_key(self) -> dict[str, str]:
        """Digests of all that the catalogue follows from but the captures themselves."""

        def digest(path: Path) -> str:
            try:
                return hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                return f"-{error.errno}"

        own, corrected = self._own, []
        for folder, _, names in os.walk(self.corrections_folder):
            for name in names:
                with suppress(OSError):
                    stat = os.stat(os.path.join(folder, name))
                    corrected.append(f"{folder}/{name} {stat.st_mtime_ns} {stat.st_size} {stat.st_ino}")
        return {
            "declared": repr((own.captures, own.metadata, own.expressions)),
            "expressions": digest(self._path(own.expressions.file)) if own.expressions.file else "",
            "table": self.table_digest(),
            "withdrawn": digest(self.root / "withdrawn.txt"),
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
        return self.root / "template" / "template.h5"

    # -- template

    @property
    def template_source(self) -> str:
        """The declared template: `menpo3d` or the path of a file."""
        file = self._own.template.file
        path = self._path(file)
        return str(path) if path.exists() or "/" in file or "." in file else file

    def template_source_digest(self) -> str:
        """Digest of what the template is, or would be, prepared from.

        Raises:
            InputError, MissingDependencyError: see `template_digest`.
        """
        from mimicme.pipeline.template import template_source_digest

        try:
            return template_source_digest(self.template_source)
        except (InputError, MissingDependencyError):
            if self.template_digest() is None:
                raise
            return str(json.loads((self.root / "template" / "source.json").read_text())["source"])

    def template_digest(self) -> str | None:
        """Digest of the prepared template; None when it must be prepared (again).

        A prepared template whose source is gone stays good, as long as the settings still name that source.

        Raises:
            InputError, MissingDependencyError: the settings name another source, which cannot be read.
        """
        from mimicme.pipeline.template import template_source_digest

        try:
            record = json.loads((self.root / "template" / "source.json").read_text())
            made_from, digest = record["source"], str(record["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        try:
            source = template_source_digest(self.template_source)
        except (InputError, MissingDependencyError):
            if record.get("declared") != self._own.template.file:
                raise
            source = made_from
        return digest if source == made_from and self.template.is_file() else None

    def template_vertices(self) -> int:
        """How many vertices the prepared template has; 0 where none can be read."""
        from mimicme.pipeline.template import prepared_vertex_count

        return prepared_vertex_count(self.template)

    def prepare_template(self) -> Template:
        """Prepare the template anew.  Only the parent process of a run calls this, holding the `template_lock`.

        Raises:
            InputError, MissingDependencyError: see `template.prepare`.
        """
        from mimicme.pipeline.template import prepare, save_prepared, template_source_digest

        source = template_source_digest(self.template_source)
        template = prepare(self.template_source)
        save_prepared(template, self.template)
        write_whole(
            self.root / "template" / "source.json",
            json.dumps({"declared": self._own.template.file, "source": source, "digest": template.digest})
            + "\n",
        )
        return template

    # -- runs

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

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings given when the workspace was opened, which override its file, as `section.key=value`."""
        return self._sets

    @property
    def overrides_but_consent(self) -> tuple[str, ...]:
        """`overrides` without what was said of consent and of the metadata, which may name people."""
        return _but_consent(self._sets)

    def last_overrides(self) -> tuple[str, ...]:
        """The overrides of the last run; see `overrides_of`."""
        runs = self.runs()
        return self.overrides_of(runs[-1]) if runs else ()

    def overrides_of(self, run: Path) -> tuple[str, ...]:
        """The overrides of a run (`OVERRIDES_NAME` in its folder); empty where none can be read.

        Without what was said of consent: who is let in is said each time anew, or in the settings.
        """
        try:
            said = json.loads((run / OVERRIDES_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ()
        if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
            return ()
        return _but_consent(said)

    @contextmanager
    def lock(self, shard: Shard | None = None, sees: str = "", template: str = "") -> Iterator[None]:
        """Hold the workspace for one run, or for that of one shard beside those of others.  The system lets go of it
        however the process ends.

        Args:
            shard: the shard; None: nothing else may go on.
            sees: digest of who is in which shard; all that run at the same time must agree.
            template: digest of what the shard's template is prepared from, on which they must agree too: there is one
                prepared template.  Empty: the shard uses none.

        Raises:
            UsageError: another run holds it, which is named by host and process; or it cannot be written.
            OutputError: there is no room on its disk.
        """
        import fcntl

        with self._lock_file(".lock") as whole:
            if not _locked(whole, fcntl.LOCK_EX if shard is None else fcntl.LOCK_SH):
                held = [f"shard {one}: {said}" for one, said in self._running_shards().items()]
                raise UsageError(
                    "another run is working on this workspace",
                    where=self.root,
                    seen=", ".join(held) or _said_in(whole) or "an unnamed process",
                    todo="Wait for it, or stop it.",
                )
            if shard is None:
                for path, _ in self._shard_locks():  # none is held: a shard holds the other one too
                    path.unlink(missing_ok=True)
                _say_in(whole, _this_process())
                yield
                return
            with self._lock_file(f".lock-{shard.suffix}") as own:
                if not _locked(own, fcntl.LOCK_EX):
                    raise UsageError(
                        f"shard {shard} of this workspace is being worked on",
                        where=self.root,
                        seen=_said_in(own) or "an unnamed process",
                        todo="Wait for it, or stop it.",
                    )
                # said before the others are looked at: of two that begin together one sees the other at least
                _say_in(own, f"{_this_process()}\n{sees}\n{template}")
                self._agree(shard, sees, template)
                yield

    def _agree(self, shard: Shard, sees: str, template: str) -> None:
        """Whether the shards that run are shards of the same.

        Raises:
            UsageError: one is not.
        """
        for path, other in self._shard_locks():
            if other == shard or (said := _held_by(path)) is None:
                continue
            process, digest, of_template = (said.split("\n") + ["", ""])[:3]
            if other.count != shard.count:
                raise UsageError(
                    f"shard {shard} would overlap with shard {other}, which is being worked on",
                    where=self.root,
                    seen=process,
                    todo=f"Give all of them the same number of shards, or wait until those of {other.count} are over.",
                )
            if digest and digest != sees:
                raise UsageError(
                    f"shard {shard} would divide the subjects otherwise than shard {other}, which is being worked on",
                    where=self.root,
                    seen=f"{process}: it began with other captures, verdicts or consent than there are now",
                    todo="Wait until the shards that run are over, then begin all of them anew: what is done stays.",
                )
            if template and of_template and template != of_template:
                raise UsageError(
                    f"shard {shard} has another template than shard {other}, which is being worked on",
                    where=self.template_source,
                    seen=f"{process}: it began with another file, or with other content of this one",
                    todo="Give all shards the same template, or wait until those that run are over.",
                )

    @contextmanager
    def template_lock(self, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Held by the run that prepares the template, for which those of other shards wait.

        Args:
            wait: called before it is waited for another one.
        """
        import fcntl

        with self._lock_file(".lock-template") as handle:
            if not _locked(handle, fcntl.LOCK_EX, attempts=1):
                wait()
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                except OSError as error:
                    raise _no_locks(self.root, error) from error
            yield

    def _lock_file(self, name: str) -> IO[str]:
        try:
            return open(self.root / name, "a+")
        except OSError as error:
            what = "the workspace cannot be written"
            if error.errno in NO_ROOM:
                raise no_room(self.root, error, what) from error
            raise UsageError(
                what,
                where=self.root,
                seen=error.strerror,
                todo="See to its permissions, and whether its disk is mounted read-only.",
            ) from error

    def _shard_locks(self) -> Iterator[tuple[Path, Shard]]:
        """The lock files of shards, held or not, in order."""
        found = []
        for path in self.root.glob(".lock-*-of-*"):
            if named := _SHARD_LOCK.fullmatch(path.name):
                found.append((Shard(int(named[1]), int(named[2])), path))
        for shard, path in sorted(found, key=lambda one: (one[0].count, one[0].number)):
            yield path, shard

    def _running_shards(self) -> dict[Shard, str]:
        """The shards that are being worked on now, each with its process."""
        held = ((shard, _held_by(path)) for path, shard in self._shard_locks())
        return {shard: said.partition("\n")[0] for shard, said in held if said is not None}

    def running_process(self) -> str | None:
        """The run that holds the workspace now, as `process 12 on HOST`; empty where it has not said; None: there is
        none.  Of several shards the first, and how many there are.  Changes nothing."""
        runs = self.running_runs()
        if not runs:
            return None
        first, said = next(iter(runs.items()))
        if first is None:
            return said
        return f"{said} (shard {first}{f', {len(runs)} shards are worked on' if len(runs) > 1 else ''})"

    def running_runs(self) -> dict[Shard | None, str]:
        """The runs that hold the workspace now, each as `process 12 on HOST`, by the shard that it works on; one that
        works on everything is alone, under None.  Changes nothing."""
        whole = _held_by(self.root / ".lock")
        if whole is not None:
            return {None: whole}
        return {shard: said for shard, said in self._running_shards().items()}

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
            stale = [p for p in self.root.glob(".*.tmp") if p.is_file() and _TEMPORARY.fullmatch(p.name)]
            roots = ["template", "runs", "failures", *stages]
        else:
            stale, named = [], list(subjects)
            roots = [
                f"{above}{stage}/{name}" for stage in stages for above in ("", "failures/") for name in named
            ]
        for root in roots:
            for folder, names in _temporary_below(f"{self.root}/{root}"):
                if not self._holds_captures(Path(folder)):
                    stale += [Path(folder, n) for n in names]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def _holds_captures(self, folder: Path) -> bool:
        """Whether a folder of the workspace lies among the raw captures, or they in it."""
        captures, real = os.path.realpath(self.captures.root), Path(os.path.realpath(folder))
        among = real.is_relative_to(captures) and not self.root.is_relative_to(captures)
        return among or Path(captures).is_relative_to(real)

    # -- consent and withdrawal

    def is_withdrawn(self, subject: str) -> bool:
        """Whether a subject has withdrawn its consent, under this name or another spelling of it."""
        return self._withdrawal()(subject)

    def any_withdrawn(self, subjects: Iterable[str]) -> bool:
        """Whether one of them has withdrawn, by what the list says now: the catalogue may be older than it."""
        return any(map(self._withdrawal(), subjects))

    def _withdrawal(self) -> Callable[[str], bool]:
        """What says of many names whether they have withdrawn; the list is read once."""
        file = self.root / "withdrawn.txt"
        listed = frozenset(file.read_text().split()) if file.exists() else frozenset()
        key = b""
        if any(line.startswith(_KEYED) for line in listed):
            key = self._tombstone_key(listed)
        elif (self.root / "withdrawn.key").exists():
            raise UsageError(
                "the list of who withdrew is missing or incomplete, though its key is there",
                where=file,
                todo="Put it back from a backup of the workspace. Without it nobody can say whose captures may be "
                "used; if it is lost, leave out who withdrew in the table of subjects, and remove withdrawn.key.",
            )
        if not listed:
            return lambda name: False
        return lambda name: any(_hashed(one, k) in listed for one in _spellings(name) for k in (key, b""))

    def _tombstone_key(self, listed: Collection[str]) -> bytes:
        """What names of who withdrew are hashed with: without it nobody can find them by trying names.

        Args:
            listed: lines of the list, one of which says whether a key is the one that it was made with.

        Raises:
            UsageError: it is not there, or is another: nobody can say who must not come back.
        """
        path = self.root / "withdrawn.key"
        try:
            key = path.read_bytes().strip()
        except FileNotFoundError:
            key = b""
        if not key or _key_check(key) not in listed:
            raise UsageError(
                "the key to the list of who withdrew is missing" if not key else "that key is not the list's",
                where=path,
                todo="Put it back from a backup of the workspace. Without it nobody can say whose captures may be "
                "used; if it is lost, leave out who withdrew in the table of subjects, and remove withdrawn.txt and "
                "withdrawn.key.",
            )
        return key

    def _keep_out(self, name: str) -> None:
        """Remember that a subject must not come back, without naming it."""
        path, key = self.root / "withdrawn.txt", self.root / "withdrawn.key"
        old = path.read_text() if path.exists() else ""
        if _KEYED not in old:
            if not key.exists() or not key.read_bytes().strip():
                with whole_file(key) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_text(secrets.token_hex(32) + "\n")
            old += f"{_key_check(key.read_bytes().strip())}\n"
        hashed = self._tombstone_key(old.split())
        write_whole(path, old + "".join(f"{_hashed(one, hashed)}\n" for one in _spellings(name)))

    def folders_of(self, subject: str, stages: Iterable[str]) -> list[Path]:
        """The folders of a subject's checkpoints, failures and corrections; never one of the raw captures."""
        failures = self.root / "failures"
        folders = [self.root / name for name in stages]
        folders += [p for p in failures.iterdir() if p.is_dir()] if failures.is_dir() else []
        folders.append(self.corrections_folder)
        mine = [folder / safe_name(subject) for folder in folders]
        return [p for p in mine if p.is_dir() and not self._holds_captures(p)]

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
        if not self.is_withdrawn(
            name
        ):  # before anything is removed: killed in between, it does not come back
            self._keep_out(name)
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
        for record in sorted(self.root.glob("failures/*/*/*.json")):
            # that of a release speaks of everyone; what else names the subject is tried again
            if record.parts[-2:] == ("release", "release.json") or _mentions(record, name):
                removed.append(record)
                record.unlink()
        self._forget_verdicts(name)
        for run in self.runs():
            log = run / "log.jsonl"
            if log.is_file():
                lines = log.read_text(encoding="utf-8").splitlines()
                kept = [_without_globs(line, name) for line in lines if not _line_mentions(line, name)]
                if kept != lines:
                    write_whole(log, "".join(f"{line}\n" for line in kept))
        return removed

    def _forget_verdicts(self, name: str) -> None:
        """Take a subject out of review.csv; of a file that cannot be read, every line that names it."""
        path, key = self.review_file, person_key(name)
        if not path.is_file():
            return
        try:
            old = Review.read(path)
        except InputError:
            text = path.read_text(encoding="utf-8", errors="replace")
            kept = "".join(line for line in text.splitlines(True) if not _word(name).search(line))
            if kept != text:
                write_whole(path, kept)
            return
        new = old.without(lambda subject: subject == name or person_key(subject) == key)
        if len(new.lines) < len(old.lines):
            new.write(path)


def _but_consent(sets: Iterable[str]) -> tuple[str, ...]:
    return tuple(one for one in sets if not one.strip().startswith(_OF_CONSENT))


def _this_process() -> str:
    return f"process {os.getpid()} on {platform.node() or 'this machine'}"


def _locked(handle: IO[str], how: int, attempts: int = 5) -> bool:
    """Lock an opened file, unless somebody else holds it.

    Raises:
        UsageError: its file system has no locks.
    """
    import fcntl

    for attempt in range(attempts):
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                raise _no_locks(Path(handle.name).parent, error) from error
        if attempt < attempts - 1:  # `status` holds it for an instant
            time.sleep(0.1)
    return False


def _held_by(path: Path) -> str | None:
    """What the process says that holds a lock file for itself; None: none does."""
    import fcntl

    try:
        with open(path) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                # where there are no locks nobody holds one
                return handle.read().strip() if error.errno in _HELD else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):  # nobody can say
        return ""
    return None


def _no_locks(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        "the workspace cannot be locked",
        where=folder,
        seen=error.strerror,
        todo="Two runs at once would spoil it, so none begins. Mount its file system with locks (NFS without `nolock`, "
        "Lustre with `-o flock`), or put the workspace on another one.",
    )


def _said_in(handle: IO[str]) -> str:
    handle.seek(0)
    return handle.read().partition("\n")[0]


def _say_in(handle: IO[str], text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(f"{text}\n")
    handle.flush()


def _check_place(folder: Path, captures: str | Path, stages: Iterable[str], replace_settings: bool) -> None:
    """Whether a workspace can be made there.

    Raises:
        UsageError: there is one already, or something else, or the captures lie in its way.
    """
    path = folder / CONFIG_NAME
    if path.exists() and not replace_settings:
        raise UsageError(
            "this is a workspace already",
            where=folder,
            todo=f"Change {path} instead, or give another folder.",
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError("a workspace is a folder", where=folder, seen="a file")
    raw = Path(os.path.realpath(captures))
    if any(raw.is_relative_to(os.path.realpath(folder / name)) for name in (*_RESERVED, *stages)):
        raise UsageError(
            "the captures lie where the workspace keeps its own files",
            where=captures,
            todo="Move them, or make the workspace elsewhere.",
        )


def _declared(
    captures: str | Path,
    layout: str,
    template: str | Path,
    metadata: str | Path | None,
    columns: Mapping[str, str] | None,
    expressions: str | Path | None,
    unit: str | float,
    up: str,
    fps: float,
    licence: str,
) -> dict[str, Any]:
    """The workspace's own sections of the settings from what was declared; files by their full paths.

    Raises:
        ConfigError: one of them is not what it can be.
    """

    def full(path: str | Path | None) -> str:
        return "" if path is None else str(Path(path).resolve())

    values: dict[str, dict[str, Any]] = {
        "captures": {
            "root": full(captures),
            "layout": layout,
            "unit": unit,
            "up": up,
            "fps": float(fps),
        },
        "template": {"file": full(template) if Path(template).exists() else str(template)},
        "metadata": {"file": full(metadata), "columns": dict(columns or {})},
        "expressions": {"file": full(expressions)},
        "licence": {"text": licence},
    }
    try:
        return {name: configs.WORKSPACE_SECTIONS[name](**value) for name, value in values.items()}
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _spellings(subject: str) -> tuple[str, str]:
    """What is hashed of a name: itself, and what is the same for every spelling of it."""
    return f"mimicme withdrawn {subject}", f"mimicme withdrawn person {person_key(subject)}"


def _key_check(key: bytes) -> str:
    """A line that tells whether a list of who withdrew was made with a key."""
    return "key-" + hmac.new(key, b"mimicme list of who withdrew", hashlib.sha256).hexdigest()


def _hashed(text: str, key: bytes) -> str:
    """A line of the list of who withdrew; without a key as it was written before there was one."""
    if not key:
        return hashlib.sha256(text.encode()).hexdigest()
    return _KEYED + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _line_mentions(line: str, subject: str) -> bool:
    """Whether a line of a run log speaks of a subject."""
    try:
        record = json.loads(line)
        item, message = str(record.get("item", "")), str(record.get("message", ""))
    except (ValueError, AttributeError):
        return subject in line
    return item.split("/")[0] == subject or _word(subject).search(message) is not None


def _without_globs(line: str, subject: str) -> str:
    """A line of a run log, with nothing in place of each glob (`--only`) that names a subject; a run that named them
    alone is so told from one that named nobody."""
    if '"only"' not in line:
        return line
    try:
        record = json.loads(line)
        named = [_names(re.sub(r"\[(.)\]", r"\1", one), subject) for one in record["only"]]
    except (ValueError, KeyError, TypeError):
        return line
    if not any(named):
        return line
    only = ["" if names else one for one, names in zip(record["only"], named, strict=True)]
    return json.dumps({**record, "only": only})


def _names(glob: str, subject: str) -> bool:
    """Whether a glob, with nothing escaped, names a subject, also where it spells them otherwise."""
    return _word(subject).search(glob) is not None or person_key(glob.split("/")[0]) == person_key(subject)


def _mentions(record: Path, subject: str) -> bool:
    """Whether a failure record names a subject; one that cannot be read may."""
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return _word(subject).search(json.dumps(said, ensure_ascii=False)) is not None


def _word(subject: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(subject)}(?![\w-])")


def _temporary_below(root: str) -> Iterator[tuple[str, list[str]]]:
    """The folders at and below one in which temporary files lie, with their names; links are not followed.

    There may be a million files, whose names alone are looked at: `os.walk` asks the system about each folder twice.
    """
    pending = [root]
    while pending:
        folder = pending.pop()
        names = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.name[-4:] == ".tmp" and _TEMPORARY.fullmatch(entry.name):
                        names.append(entry.name)
        except OSError:  # not there, or nobody may look: as good as empty
            continue
        if names:
            yield folder, names
