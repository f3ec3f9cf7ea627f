"""What else holds somebody who withdraws: models that were built from them, workspaces, releases and exports beside or
elsewhere.

A model cannot forget one person, so it is marked stale and no command uses it any more.  From a published folder that
was named the person is taken out.  Workspaces, other releases, and exports, are named and left: what was given away, or
lies where nobody said it may be changed, is a person's to delete.  Of a workspace its release and checkpoints are not
told one by one: it would make them again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from mimicme.commands.withdraw.workspaces import Held, command, held_by, workspaces_in
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import CheckpointError, MimicmeError, ReleaseError, UsageError
from mimicme.pipeline.model_file import is_model, mark_stale, read_model
from mimicme.pipeline.privacy.names_in import is_in
from mimicme.pipeline.release import Release, publication
from mimicme.pipeline.workspace.beside import workspace_beside

_MOST = 20  # exports that are named one by one


@dataclass(frozen=True)
class Copies:
    """What was found.

    Attributes:
        stale: models that are marked now, or were before.
        messages: a sentence on each thing that was found.
    """

    stale: tuple[Path, ...] = ()
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alias:
    """What a subject is called in published releases.

    Attributes:
        name: its pseudonym.  mark: of the key (`key_mark`).  key: its file.
    """

    name: str
    mark: str
    key: Path


def find_copies(
    subject: str,
    beside: Sequence[Path],
    elsewhere: Sequence[Path],
    but: Path,
    alias: Alias | None,
    take_out: Callable[[Path, str], None],
    around: Path | None = None,
    left: bool = False,
) -> Copies:
    """Look for what else holds a subject, mark models stale, and take it out of published folders.

    Args:
        subject: its id.  alias: its pseudonym, where there is a key.
        beside: folders whose own files are looked at.
        elsewhere: files, and folders that are looked through with all below them.
        but: the release that the subject is taken out of.
        take_out: of the published release, a file in `elsewhere`, the subject of this name.
        around: the workspace that the subject is taken out of, or that packs the release `but`.
        left: they are taken out of that workspace: nothing is said of it.

    Raises:
        UsageError: one of `elsewhere` is not there.
    """
    for path in elsewhere:
        if not path.exists():
            raise UsageError("this is not there, so nothing can be looked for in it", where=path)
    stale: list[Path] = []
    said: list[str] = []
    names = [subject, *([alias.name] if alias is not None else [])]
    named = {os.path.realpath(path) for path in _files((), elsewhere)}
    mine = None if around is None else os.path.realpath(around)
    looked = workspaces_in(elsewhere)
    if around is not None and (
        elsewhere or not left
    ):  # of which nothing is said, where nothing is looked through
        looked.append(around)
    roots = {os.path.realpath(root): root for root in looked}
    held = [held_by(root, subject, left and real == mine) for real, root in sorted(roots.items())]
    said += [one.message for one in held if one.message]
    for path in _files(beside, elsewhere):
        if os.path.realpath(path) == os.path.realpath(but) or not path.exists():  # a shard, gone by now
            continue
        if is_model(path):
            for name in names:
                said += _model(path, name, stale)
        elif _is_release(path):
            said += _release(
                path, subject, alias, take_out if os.path.realpath(path) in named else None, roots
            )
    exported = list(dict.fromkeys(path for name in names for path in _exports(elsewhere, name, held)))
    for path in exported[:_MOST]:
        root = next((one.root for one in held if one.captured(path)), None)
        what = (
            "an export or a copy; delete it" if root is None else f"raw captures, of the workspace '{root}'"
        )
        said.append(f"'{path}' is named after '{subject}': {what}.")
    if len(exported) > _MOST:
        said.append(f"So are {len(exported) - _MOST} more files and folders there.")
    return Copies(tuple(stale), tuple(said))


def _files(beside: Iterable[Path], elsewhere: Iterable[Path]) -> list[Path]:
    found = [p for folder in beside if folder.is_dir() for p in folder.glob("*.h5")]
    for path in elsewhere:
        found += [path] if path.is_file() else path.rglob("*.h5")
    return sorted({p for p in found if p.is_file()})


def _model(path: Path, subject: str, stale: list[Path]) -> list[str]:
    try:
        model = read_model(path, stale_too=True)
        if subject not in model.subjects["subject"].tolist():
            return []
        if not model.stale:
            mark_stale(path)
    except (CheckpointError, OSError) as error:
        return [f"The model '{path}' cannot be read, or not be marked, and may hold '{subject}': {error}"]
    stale.append(path)
    return [
        f"The model '{path}' was built from '{subject}' too, and is marked as one that must not be used any more: "
        "build it again from the release that is left, and delete it."
    ]


def _is_release(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as handle:
            return "schema_version" in handle.attrs and "template" in handle
    except OSError:
        return False


def _release(
    path: Path,
    subject: str,
    alias: Alias | None,
    take_out: Callable[[Path, str], None] | None,
    told: Collection[str] = (),
) -> list[str]:
    """What to say of a release, or what was done with it.

    Args:
        told: real paths of workspaces of which it is said already that they hold the subject.
    """
    try:
        with Release(path) as release:
            people = set(release.subjects)
            about = publication.of_attributes(release.attributes)
    except ReleaseError as error:
        return [f"The release '{path}' cannot be read, and may hold '{subject}': {error}"]
    its_key = alias is not None and about is not None and about.key in ("", alias.mark)
    # a converted copy does not say that it was published; a pseudonym is nobody else's by chance
    name = next((n for n in (subject, *([alias.name] if alias else ())) if n in people), None)
    if name is None:
        if about is None or (its_key and about.key):
            return []
        return [
            f"The release '{path}' was published under pseudonyms: whether it holds '{subject}' cannot be said "
            f"without {'another key than this' if alias else 'its key'}: --key FILE."
        ]
    if about is not None and take_out is not None:
        take_out(path, name)
        return [f"'{name}' is gone from the published release '{path}' too, and its pages are made again."]
    if about is None and (root := packed_by(path)) is not None:
        if os.path.realpath(root) in told:
            return []
        return [
            f"The release '{path}' holds '{name}' too, and its workspace would pack them again: {command(root, name)}."
        ]
    key = f" --key {shlex.quote(str(alias.key))}" if alias is not None and name == alias.name else ""
    return [
        f"The release '{path}' holds '{name}' too: "
        f"`mimicme withdraw {shlex.quote(str(path))} {shlex.quote(subject if key else name)}{key}`."
    ]


def packed_by(path: Path) -> Path | None:
    """The folder of the workspace that packs a release; None: none does."""
    real = Path(os.path.realpath(path))
    try:
        workspace = workspace_beside(path)
    except MimicmeError:  # its settings cannot be read: its release is what it always was
        return path.parent if real.name == "release.h5" else None
    if workspace is None or real != Path(os.path.realpath(workspace.release)):
        return None
    return path.parent if os.path.samefile(path.parent, workspace.root) else workspace.root


def _exports(elsewhere: Iterable[Path], subject: str, held: Sequence[Held] = ()) -> Iterator[Path]:
    """Files and folders named after the subject, but what a withdrawal from a workspace takes out; what lies in one
    that is named so is not listed again."""
    name = safe_name(subject)
    for root in (p for p in elsewhere if p.is_dir()):
        for folder, folders, files in os.walk(root):
            mine = sorted(one for one in folders if is_in(name, one))
            folders[:] = sorted(set(folders) - set(mine))
            named = (
                Path(folder, one) for one in [*mine, *(one for one in sorted(files) if is_in(name, one))]
            )
            yield from (path for path in named if not any(one.takes_out(path) for one in held))
