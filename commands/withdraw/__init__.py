"""withdraw: a person takes back their consent, and what was made from them is gone.

From a release: it is written anew without the subject, so that no byte of theirs stays in the file
(removing a group only unlinks it), and replaced in one step.  From a workspace: checkpoints, records, log
lines, the release and the report; the workspace remembers (as a keyed hash) that the subject must not come back.
Models that lie beside, and what else is named (`elsewhere`), are looked at for the subject (copies.py).  Of a published
folder the pages are made again too, so that none counts who left, and its version is raised.
The raw captures and the table of subjects are not touched: they are the lab's own to delete, and the result
says so.  So it does where the subject taught a stage that learns from everyone: other people's faces are then what
they are also through this one, until the next run makes them again.

Copies elsewhere, backups and free blocks of the disk are beyond a program's reach.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mimicme.commands.withdraw.copies import Alias, find_copies, packed_by
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.captures.who import person_key
from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import CheckpointError, ReleaseError, UsageError
from mimicme.pipeline.model_file import is_model, mark_stale, read_model
from mimicme.pipeline.privacy.pseudonyms import forget, key_mark, key_of, ledger_of, pseudonym
from mimicme.pipeline.release import Release, digest, publication, shards
from mimicme.pipeline.release.publication import SUMS, Publication
from mimicme.pipeline.release.rewriting import rewrite
from mimicme.pipeline.run.plan import WITHDRAWN
from mimicme.pipeline.workspace import CONFIG_NAME, Workspace
from mimicme.stages import FLOW, STAGES

_CORPUS_STAGES = tuple(stage.name for stage in STAGES if stage.scope == "corpus")


@dataclass(frozen=True)
class Withdrawal:
    """What was removed.

    Attributes:
        sequences, frames: in the release.
        files: checkpoints, records and reports that are gone, of a workspace.
        stale: models that were built from the subject too and are marked: no command uses them any more.
        messages: what a person still has to do.
    """

    sequences: int = 0
    frames: int = 0
    files: tuple[Path, ...] = ()
    stale: tuple[Path, ...] = ()
    messages: tuple[str, ...] = ()


def withdraw(
    target: str | Path,
    subject: str,
    elsewhere: Sequence[Path] = (),
    key: Path | None = None,
    pages: Callable[[Path], object] | None = None,
) -> Withdrawal:
    """Remove a subject from a release (a file), a published folder or a workspace (folders).

    Args:
        elsewhere: files and folders in which other copies are looked for; of published ones among them the subject is
            taken out.
        key: of the pseudonyms under which the subject was published.
        pages: makes the pages beside a published release again (`publish.pages.again`); None: they are removed, since
            they count the subject.

    Raises:
        UsageError: the subject is not there, the key is another release's, or the file is a model, which holds traces
            of everyone it was built from; see also `withdraw_release` and `withdraw_workspace`.
    """
    path = Path(target)
    if path.is_dir() and not (path / CONFIG_NAME).is_file() and (path / "release.h5").is_file():
        path = path / "release.h5"  # a published folder
    if path.is_file() and is_model(path):
        known = subject in read_model(path, stale_too=True).subjects["subject"].tolist()
        if known:
            mark_stale(path)
        raise UsageError(
            f"a model cannot forget one person; it was {'' if known else 'not '}built from '{subject}'",
            where=path,
            todo="It is marked, and no command uses it any more. Withdraw the subject from the releases, build the "
            "model again and delete this one."
            if known
            else None,
        )
    name = safe_name(subject)
    alias = None
    if key is not None:
        secret = key_of(key)
        alias = Alias(pseudonym(secret, name), key_mark(secret), key)
    left = path.is_dir()
    around = path if left else packed_by(path)
    if left:
        done, beside, release = withdraw_workspace(path, subject), path, path / "release.h5"
    else:
        about = _publication_of(path)
        beside, release = path.parent, path
        if about is None:
            done = withdraw_release(path, subject)
        else:
            called = _name_in(path, about, name, alias)
            done = _withdraw_published(path, called, pages)
            tell = (
                f"Who was given a copy has to be told: `mimicme withdraw DIR {called}`.",
                f"The release that this was published from may still hold '{called}', under their own id: withdraw "
                "them there too, `mimicme withdraw WORKSPACE ID --key KEY`. Until then they are left out of what is "
                "published from it with the same key.",
            )
            done = replace(done, messages=(*done.messages, *tell))

    def take_out(copy: Path, called: str) -> None:
        _withdraw_published(copy, called, pages)
        publication.note_withdrawal(release, called, Path(os.path.realpath(copy.parent)))

    copies = find_copies(name, [beside], elsewhere, release, alias, take_out, around, left)
    messages = [*done.messages, *copies.messages, *_published_elsewhere(subject, release, elsewhere, key)]
    messages += _not_looked_for(subject, path if left else None)
    if alias is not None:
        publication.note_withdrawal(release, alias.name)
    if key is not None and forget(ledger_of(key), name):
        messages.append(
            f"'{subject}' is out of the ledger {ledger_of(key)} too; the key alone still leads from the id."
        )
    return replace(done, stale=copies.stale, messages=tuple(messages))


def _not_looked_for(subject: str, workspace: Path | None) -> tuple[str, str]:
    """What `mimicme model` made, which nothing leads to from here.

    Args:
        workspace: that the subject was taken out of; None: it was a release.
    """
    quoted = shlex.quote(subject)
    if workspace is None:
        how = f"`mimicme withdraw MODEL {quoted}` marks one"
    else:
        how = f"`mimicme withdraw {shlex.quote(str(workspace))} {quoted} --also DIR` marks those in DIR"
    return (
        f"Models that `mimicme model build` wrote elsewhere still hold traces of '{subject}', and stay in use: {how}.",
        f"What `mimicme model` wrote of '{subject}' (transfer, personal, project, fit), or out of a model that was "
        "built from them (its samples, rigs and pictures), has their face, or traces of it: delete it by hand.",
    )


def _publication_of(path: Path) -> Publication | None:
    with Release(path) as release:
        return publication.of_attributes(release.attributes)


def _name_in(path: Path, about: Publication, name: str, alias: Alias | None) -> str:
    """What a subject is called in a published release.

    Raises:
        UsageError: it is not there under its own name, and the key is missing, or another's.
    """
    if alias is not None and about.key not in ("", alias.mark):
        raise UsageError("this release was published with another key", where=path, seen=alias.key)
    with Release(path) as release:
        if alias is not None and (alias.name in release.subjects or name not in release.subjects):
            return alias.name
        if name in release.subjects or not (path.parent / SUMS).exists():  # that a withdrawal has removed
            return name
    raise UsageError(
        f"the release has no subject '{name}', and its subjects have pseudonyms",
        where=path,
        todo="Name the pseudonym, or the key that it was published with: --key FILE.",
    )


def _withdraw_published(path: Path, name: str, pages: Callable[[Path], object] | None) -> Withdrawal:
    """Take a subject out of a published release and its pages; a withdrawal that was interrupted is finished."""
    sums, here = path.parent / SUMS, _in_release(path, name)
    if here or sums.exists():
        if here:
            sums.unlink(missing_ok=True)  # until all of it is there again
        done = withdraw_release(path, name)
    else:
        left = (
            f"'{name}' is not in the release; what an interrupted withdrawal left of its pages is made again."
        )
        done = Withdrawal(messages=(left,))
    if pages is not None:
        pages(path)
        return done
    removed = [path.parent / one for one in ("subjects.csv", "datasheet.md", "croissant.json", "README.md")]
    for page in removed:
        page.unlink(missing_ok=True)
    again = (
        "README, datasheet, table and checksums beside it spoke of everybody and are removed: publish again."
    )
    return replace(done, messages=(*done.messages, again))


def _published_elsewhere(
    subject: str, release: Path, elsewhere: Sequence[Path], key: Path | None
) -> list[str]:
    """A sentence on each folder that the release was published into and that was not looked through."""
    looked = [Path(os.path.realpath(one)) for one in elsewhere]
    given = Path(os.path.realpath(key)) if key is not None else None
    said = []
    for entry in publication.read_history(release):
        folder = Path(entry.folder)
        if Path(entry.key) == given and any(folder == one or folder.is_relative_to(one) for one in looked):
            continue
        called = "may be under a pseudonym"
        try:
            name = pseudonym(key_of(Path(entry.key)), safe_name(subject))
        except (UsageError, OSError):
            pass  # without its key nobody knows who is in it
        else:
            if name not in entry.subjects:
                continue
            called = f"is '{name}'"
        words = ["mimicme", "withdraw", entry.folder, subject, "--key", entry.key]
        said.append(
            f"It was published into '{entry.folder}' (version {entry.version}), where '{subject}' {called}: "
            f"`{shlex.join(words)}`; and who was given a copy has to be told."
        )
    return said


def withdraw_release(path: str | Path, subject: str) -> Withdrawal:
    """Write a release anew without a subject: its one file, or the shard that holds the subject and the index.

    All other data are copied as they lie, compressed; other shards stay as they are.

    Raises:
        UsageError: the release has no such subject.
        ReleaseError, CheckpointError: it is not a release, or is damaged.
    """
    path = Path(path)
    name = safe_name(subject)
    if (
        held := shards.of_file(path)
    ) is not None:  # of a pack or a withdrawal that was interrupted, and may hold the subject
        shards.remove_others(path, (one.name for one in held))
    with Release(path) as release:
        if name not in release.subjects:
            raise UsageError(f"the release has no subject '{subject}'", where=path)
        gone = [s.item.sequence for s in release.sequences() if s.item.subject == name]
        frames = int((release.index["subject"] == name).sum())
    rewrite(path, {name}, mark=WITHDRAWN)
    return Withdrawal(
        len(gone), frames, messages=(*_left_behind(path, name), *_corpus_stages_in_release(path, name))
    )


def _left_behind(path: Path, subject: str) -> tuple[str, ...]:
    """A warning when the settings in the release still speak of the subject."""
    with Release(path) as release:
        named = [key for key, value in release.attributes.items() if subject in str(value)]
    return tuple(f"The release's attribute '{key}' still holds '{subject}'; pack it again." for key in named)


def _corpus_stages_in_release(path: Path, subject: str) -> list[str]:
    """A sentence for each stage that learned from everyone in the release."""
    with Release(path) as release:
        try:
            stages = json.loads(str(release.attributes.get("config", "{}"))).get("stages", {})
        except ValueError:
            return []
    return [
        f"`{name}` shaped the faces that are left by all people's, and '{subject}' may have been among them: "
        "run `mimicme run` and pack this release again."
        for name in _CORPUS_STAGES
        if stages.get(name, {}).get("settings", {}).get("enabled")
    ]


def _subject_id(workspace: Workspace, name: str) -> str:
    """The name under which a workspace knows a subject: its captures', or that of what was made of it.

    Raises:
        UsageError: it is spelled otherwise here.
    """
    known = set(workspace.captured_subjects())
    known |= {path.name for stage in FLOW for path in (workspace.root / stage).glob("*") if path.is_dir()}
    with suppress(ReleaseError, CheckpointError, OSError), Release(workspace.release) as release:
        known |= set(release.subjects)
    same = sorted(one for one in known if person_key(one) == person_key(name))
    if name in known or not same:
        return name
    raise UsageError(
        f"there is no subject '{name}', and what is withdrawn is deleted: it must be named as it is spelled here",
        where=workspace.root,
        seen=f"'{name}'",
        expected=" or ".join(f"'{one}'" for one in same),
        todo=f"If that is who is meant: `mimicme withdraw {shlex.quote(str(workspace.root))} {shlex.quote(same[0])}`",
    )


def withdraw_workspace(root: str | Path, subject: str) -> Withdrawal:
    """Remove everything made from a subject from a workspace, and never make it again.

    Doing it twice does no harm: what an interrupted withdrawal left is removed then.  A release that cannot be
    read is deleted, because it may hold the subject; `mimicme pack` makes it again.

    Raises:
        UsageError: nothing here was ever made from such a subject, or a run is going on.
    """
    workspace = Workspace.open(root)
    with workspace.lock():
        name = _subject_id(workspace, safe_name(subject))
        damage = ""
        try:
            released = _in_release(workspace.release, name)
        except (ReleaseError, CheckpointError) as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise  # it is not damaged: somebody looks at it
            released, damage = False, str(error)
        known = (
            released
            or workspace.is_withdrawn(name)
            or bool(workspace.folders_of(name, FLOW))
            or name in workspace.captured_subjects()
        )
        if not known:
            raise UsageError(f"the workspace knows no subject '{subject}'", where=workspace.root)
        files = workspace.remove_subject(name, FLOW)
        # a run that was killed may have left a half-written checkpoint or release with the subject in it
        workspace.remove_temporary_files(FLOW)
        named = shards.of_file(workspace.release) if workspace.release.exists() else ()
        if not damage and named is not None:  # what a pack or a withdrawal that was interrupted has left
            files += shards.remove_others(workspace.release, [shard.name for shard in named])
        gone = Withdrawal()
        learned: list[str] = []
        try:
            if released:
                gone = withdraw_release(workspace.release, name)
                learned = _corpus_stages_in_release(workspace.release, name)
        except (ReleaseError, CheckpointError) as error:
            damage = str(error)
        if damage:
            real = Path(os.path.realpath(workspace.release))  # a link to it would be gone alone
            for one in (real, digest.beside(real), workspace.release, digest.beside(workspace.release)):
                one.unlink(missing_ok=True)
            files += shards.remove_others(real, ())
            files.append(workspace.release)
        reports = []
        for report in (workspace.report_folder, workspace.public_report_folder):
            if report.is_dir():
                # its pictures and tables are of everyone together; `mimicme report` makes it again
                files += [p for p in sorted(report.rglob("*")) if p.is_file()]
                shutil.rmtree(report)
                reports.append(f"'{report}'")
    to_make_again = _corpus_stages_in_workspace(workspace)
    elsewhere = "Releases that were written elsewhere (--output, copies) still hold"
    packed_again = (
        "The release is whole and can be used. The next run packs it once more, as if they had never been in it; no "
        "other stage has anything to do for that."
    )
    messages = (
        *gone.messages,
        *([packed_again] if released and not (damage or learned or to_make_again) else []),
        *(
            [f"The release could not be read and was deleted; `mimicme pack` makes it again: {damage}"]
            if damage
            else []
        ),
        *([_reports_gone(workspace, reports)] if reports else []),
        f"The raw captures of '{subject}' and its row in the table of subjects are still where they were.",
        f"Pages that `mimicme view --output` wrote of '{subject}' show their face: delete them by hand.",
        f"Reports that `mimicme report --output` wrote elsewhere show '{subject}' too: write each again with the same "
        "--output, which takes them out of it, or delete it.",
        f"What `mimicme export` wrote of '{subject}' shows them as well: delete it; `--also DIR` looks for it there.",
        f"{elsewhere} '{subject}': `mimicme withdraw RELEASE {shlex.quote(subject)}`, or pack them again.",
        *to_make_again,
        *_mentions(workspace, name),
    )
    return Withdrawal(gone.sequences, gone.frames, tuple(files), messages=messages)


def _reports_gone(workspace: Workspace, reports: Sequence[str]) -> str:
    again = f"`mimicme report {shlex.quote(str(workspace.root))}` (`--for-others`: the one without anybody)"
    return f"The report in {' and '.join(reports)} showed everyone together, and is deleted: {again} makes it again."


def _in_release(path: Path, subject: str) -> bool:
    if not path.is_file():
        return False
    with Release(path) as release:
        return subject in release.subjects


def _corpus_stages_in_workspace(workspace: Workspace) -> list[str]:
    """A sentence for each stage whose checkpoints come from everyone's, as far as one of them is there."""
    return [
        f"`{name}` learned from everyone: `mimicme run` makes its results, what follows and the release again."
        for name in _CORPUS_STAGES
        if any(_used_corpus(path) for path in workspace.checkpoints(name))
    ]


def _used_corpus(path: Path) -> bool:
    """Whether a checkpoint was made from other sequences too; one that cannot be read is made again anyway."""
    try:
        with Checkpoint(path) as made:
            return made.made_by.get("corpus") is not None
    except (CheckpointError, OSError, KeyError, ValueError):
        return False


def _mentions(workspace: Workspace, subject: str) -> list[str]:
    """Text files of the workspace in which the subject's name still stands."""
    texts = [p for run in workspace.runs() for p in sorted(run.iterdir()) if p.is_file()]
    texts += [p for p in sorted(workspace.root.glob("*.toml")) if p.is_file()]
    named = [p for p in texts if subject in p.read_text(encoding="utf-8", errors="replace")]
    return [f"{p.relative_to(workspace.root)} still names '{subject}'." for p in named]
