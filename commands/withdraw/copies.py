"""What else holds somebody who withdraws: models that were built from them, releases and exports beside or elsewhere.

A model cannot forget one person, so it is marked stale and no command uses it any more.  Releases and exports are
named, and left: what was given away, or lies where nobody said it may be changed, is a person's to delete.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import CheckpointError, ReleaseError, UsageError
from mimicme.pipeline.model_file import is_model, mark_stale, read_model
from mimicme.pipeline.privacy.names_in import is_in
from mimicme.pipeline.release import Release

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


def find_copies(subject: str, beside: Sequence[Path], elsewhere: Sequence[Path], but: Path) -> Copies:
    """Look for what else holds a subject, and mark models stale.

    Args:
        subject: its id.
        beside: folders whose own files are looked at.
        elsewhere: files, and folders that are looked through with all below them.
        but: the release that the subject is taken out of.

    Raises:
        UsageError: one of `elsewhere` is not there.
    """
    for path in elsewhere:
        if not path.exists():
            raise UsageError("this is not there, so nothing can be looked for in it", where=path)
    stale: list[Path] = []
    said: list[str] = []
    for path in _files(beside, elsewhere):
        if os.path.realpath(path) == os.path.realpath(but):
            continue
        if is_model(path):
            said += _model(path, subject, stale)
        elif _is_release(path):
            said += _release(path, subject)
    exported = list(_exports(elsewhere, subject))
    said += [
        f"'{path}' is named after '{subject}': an export or a copy; delete it." for path in exported[:_MOST]
    ]
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


def _release(path: Path, subject: str) -> list[str]:
    try:
        with Release(path) as release:
            if subject not in release.subjects:
                return []
    except ReleaseError as error:
        return [f"The release '{path}' cannot be read, and may hold '{subject}': {error}"]
    return [
        f"The release '{path}' holds '{subject}' too: "
        f"`mimicme withdraw {shlex.quote(str(path))} {shlex.quote(subject)}`."
    ]


def _exports(elsewhere: Iterable[Path], subject: str) -> Iterator[Path]:
    """Files and folders named after the subject; what lies in one that is named so is not listed again."""
    name = safe_name(subject)
    for root in (p for p in elsewhere if p.is_dir()):
        for folder, folders, files in os.walk(root):
            mine = sorted(one for one in folders if is_in(name, one))
            yield from (Path(folder, one) for one in mine)
            folders[:] = sorted(set(folders) - set(mine))
            yield from (Path(folder, one) for one in sorted(files) if is_in(name, one))
