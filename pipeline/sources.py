"""Raw files a stage has read: confined to the capture folder, bounded in size, and remembered by content.

A checkpoint that was made from raw files carries their digests in its fingerprint, and their sizes and times
beside it, so that an unchanged file is recognised without reading it again.  A file is remembered by the name
under which it was asked for; where a symbolic link on the way leads is found out anew at every check.  Names that were
looked for in a folder are remembered as `FOLDER//PATTERN`, in all folders below it as `FOLDER//**/PATTERN`, which no
file can be called; `FOLDER//**//PATTERN` are the folders in which such files lie, and
`FOLDER///EXPRESSION` folders by their names.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from glob import escape
from pathlib import Path

from mimicme.pipeline.errors import FrameRejected, InputError

ABSENT = "absent"
UNREAD = "unread"
OUTSIDE = "outside"

_ATTEMPTS = 3  # at a file that changes while it is read
_BELOW = "**/"  # begins a pattern that is looked for in all folders below one
_FOLDERS = "**//"  # begins one of which the folders are told, and not the files
_WORD = "/"  # begins a regular expression for names of folders
_DEEPEST = 6  # folders below one
_MOST_NAMES = 200_000  # of files and folders below one
_READ_ONLY = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
)


def folded(name: str) -> str:
    """A name in which capitals and the form of accents make no difference: composed (NFC), in small letters."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Sources:
    """Reads raw files below `root` and records every one that was read or looked for.

    Args:
        root: the capture folder; a path that leaves it, by `..`, by being absolute or through a symbolic
            link, is refused.
        max_bytes: largest file that is read.
    """

    def __init__(self, root: Path, max_bytes: int = 2 << 30) -> None:
        self.root = Path(os.path.realpath(root))
        self.max_bytes = max_bytes
        self.digests: dict[str, str] = {}
        self.stats: dict[str, tuple[int, int, str]] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._folders = _Folders()
        self._named = Path(os.path.abspath(root))

    def inside(self, path: Path) -> Path:
        """The real path, checked to lie below the root.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.root):
            name = self._name(path)
            if name is not None:  # a symbolic link: remembered, so that a file in its place is noticed
                self.digests[name] = OUTSIDE
            raise FrameRejected(
                "unsafe-path",
                "a path leaves the capture folder; it was not read",
                seen=repr(str(path.name)),
                expected="a file below the capture folder",
                todo="Remove the reference; captures may only name files beside them.",
            )
        return real

    def exists(self, path: Path) -> bool:
        """Whether a file is there; its absence is remembered, so that adding it later is noticed."""
        real = self.inside(path)
        if real.is_file():
            return True
        self.digests[self._key(path, real)] = ABSENT
        return False

    def names(self, folder: Path, pattern: str) -> tuple[str, ...]:
        """Names in a folder that fit a pattern, of files and of anything else, in order; remembered, so that another
        one is noticed.  A folder that is not there has none.

        Args:
            pattern: of `fnmatch`, in small letters: names are compared `folded`; several with `/` between.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        key, found = self._listed_as(folder, pattern)
        self.digests[key] = _digest_of(found)
        return found

    def names_among(self, folder: Path, wanted: Iterable[str], below: bool = False) -> tuple[str, ...]:
        """Those of the names in a folder that are called like one of `wanted`, whatever their capitals.  Only whether
        these are there is remembered: what else lies in it, other people's captures say, makes no difference.

        Args:
            wanted: without folders.
            below: in the folders below it too, to the sixth: paths relative to it, with `/`.  Links to folders and
                folders whose name begins with a point are not gone into.  None at all where more than 200,000 names
                lie there.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        exact = "/".join(escape(name) for name in sorted(set(map(folded, wanted))))
        return self.names(folder, (_BELOW if below else "") + exact)

    def folders_below(self, folder: Path, pattern: str) -> tuple[str, ...]:
        """The folders in which files that fit a pattern lie, of a folder and of those below it as in `names_among`;
        relative to `folder`, '' for that itself, in order.  Which files these are makes no difference.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        return self.names(folder, _FOLDERS + pattern)

    def folders(self, folder: Path, word: re.Pattern[str]) -> tuple[str, ...]:
        """The folders in a folder in whose names, `folded`, the expression finds something, in order; remembered as
        `names` are.  Links are none of them.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        return self.names(folder, _WORD + word.pattern)

    def look(self, folder: Path, pattern: str) -> tuple[str, ...]:
        """As `names`, and not remembered: who concludes something from it remembers what that follows from.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        return self._listed_as(folder, pattern)[1]

    def _listed_as(self, folder: Path, pattern: str) -> tuple[str, tuple[str, ...]]:
        """What the names in a folder that fit a pattern are remembered by, and these names."""
        real = self.inside(folder)
        key = f"{self._key(folder, real)}//{pattern}"
        if key not in self._listed:
            self._listed[key] = self._folders.names(real, pattern)
        return key, self._listed[key]

    def read(self, path: Path, max_bytes: int | None = None) -> bytes:
        """The whole file.

        Args:
            max_bytes: largest that is read of it, where that is less than of all.

        Raises:
            FrameRejected: `unsafe-path`, or `too-large`.
            InputError: it cannot be read, is no regular file, or changes while it is read.
        """
        real = self.inside(path)
        name = self._key(path, real)
        limit = self.max_bytes if max_bytes is None else min(max_bytes, self.max_bytes)
        try:
            found = real.stat()
            if not stat.S_ISREG(found.st_mode):
                raise OSError(None, "no regular file")
            if found.st_size > limit:
                # remembered, so that another file in its place is noticed
                self.digests[name] = UNREAD
                self.stats[name] = _signature(self.root, real, found)
                raise FrameRejected(
                    "too-large",
                    "the file is larger than a capture can be",
                    where=path.name,
                    seen=f"{found.st_size:,} bytes",
                    expected=f"at most {limit:,}",
                )
            data, found = _content(real, limit)
        except OSError as error:
            self.digests[name] = ABSENT if isinstance(error, FileNotFoundError) else UNREAD
            raise InputError("the file cannot be read", where=path.name, seen=error.strerror) from error
        self.digests[name] = hashlib.sha256(data).hexdigest()
        self.stats[name] = _signature(self.root, real, found)
        return data

    def stats_json(self) -> str:
        return json.dumps(self.stats, sort_keys=True)

    def _key(self, path: Path, real: Path) -> str:
        return self._name(path) or real.relative_to(self.root).as_posix()

    def _name(self, path: Path) -> str | None:
        """The path as named below the root; None when it is not named below it."""
        named = Path(os.path.abspath(path))
        if os.path.realpath(named) != os.path.realpath(path):
            named = path  # `..` behind a symbolic link cannot be taken out of the name
        for root in (self.root, self._named):
            if named.is_relative_to(root):
                return named.relative_to(root).as_posix()
        return None


def _content(real: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """What a regular file of at most `limit` bytes holds, and its status while it held that.

    Raises:
        OSError: it cannot be read, is no regular file, is larger, or changes while it is read.
    """
    for _ in range(_ATTEMPTS):
        with open(os.open(real, _READ_ONLY), "rb") as handle:
            before = os.fstat(handle.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise OSError(None, "no regular file")
            data = handle.read(min(before.st_size, limit) + 1)
            after = os.fstat(handle.fileno())
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if same and len(data) == before.st_size:
            return data, before
    raise OSError(None, "it changes while it is read")


@lru_cache(maxsize=512)
def _fitting(pattern: str) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(part) for part in pattern.split("/")))


class _Folders:
    """What lies in folders, listed once each: a sequence may ask a folder for the names of all its frames."""

    def __init__(self) -> None:
        self._lists: dict[tuple[Path, bool], list[str]] = {}
        self._groups: dict[tuple[Path, bool], dict[str, list[str]]] = {}

    def names(self, real: Path, pattern: str) -> tuple[str, ...]:
        """See `Sources.names`."""
        if pattern.startswith(_FOLDERS):
            files = self.names(real, _BELOW + pattern.removeprefix(_FOLDERS))
            return tuple(sorted({name.rpartition("/")[0] for name in files}))
        if pattern.startswith(_WORD):
            return _folders_in(real, re.compile(pattern.removeprefix(_WORD)))
        below = pattern.startswith(_BELOW)
        pattern = pattern.removeprefix(_BELOW)
        key, listed = (real, below), self._listed(real, below)
        exact = [_unescaped(part) for part in pattern.split("/")]
        if None not in exact:
            if key not in self._groups:
                groups = self._groups[key] = {}
                for name in listed:
                    groups.setdefault(folded(name.rpartition("/")[2]), []).append(name)
            return tuple(sorted({n for one in exact for n in self._groups[key].get(str(one), ())}))
        fits = _fitting(pattern)
        return tuple(sorted(n for n in listed if fits.match(folded(n.rpartition("/")[2]))))

    def _listed(self, real: Path, below: bool) -> list[str]:
        if (real, below) not in self._lists:
            self._lists[real, below] = _below(real) if below else _in(real)
        return self._lists[real, below]


def _unescaped(pattern: str) -> str | None:
    """The name that alone fits a pattern (`glob.escape`); None where several may."""
    plain = re.sub(r"\[([*?[])\]", r"\1", pattern)
    return plain if escape(plain) == pattern else None


def _in(real: Path) -> list[str]:
    try:
        return os.listdir(real)
    except OSError:
        return []


def _folders_in(real: Path, word: re.Pattern[str]) -> tuple[str, ...]:
    try:
        with os.scandir(real) as entries:
            found = [
                e.name for e in entries if word.search(folded(e.name)) and e.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return ()
    return tuple(sorted(found))


def _below(real: Path) -> list[str]:
    """The files in a folder and in those below it; none where there are too many."""
    found: list[str] = []
    seen, stack = 0, [""]
    while stack:
        before = stack.pop()
        try:
            with os.scandir(real / before) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MOST_NAMES:
                        return []
                    if entry.is_dir(follow_symlinks=False):
                        if before.count("/") < _DEEPEST and not entry.name.startswith("."):
                            stack.append(f"{before}{entry.name}/")
                    else:
                        found.append(before + entry.name)
        except OSError:
            continue
    return found


def _digest_of(names: tuple[str, ...]) -> str:
    return hashlib.sha256("/".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def unchanged(root: Path, digests: dict[str, str], stats_json: str) -> bool:
    """Whether every recorded file still has the recorded content (or is still absent, or outside)."""
    base = os.path.realpath(root)
    stats = json.loads(stats_json)
    folders: dict[str, str] = {}
    listed = _Folders()
    return all(
        _same(base, name, digest, stats.get(name), folders, listed) for name, digest in digests.items()
    )


def _same(
    base: str,
    name: str,
    digest: str,
    signature: list[object] | None,
    folders: dict[str, str],
    lists: _Folders,
) -> bool:
    """Args: folders: where each folder truly is, as far as it is known; the raw files of a checkpoint lie in few."""
    name, listed, pattern = name.partition("//")
    folder, _, own = name.rpartition("/")
    if folder not in folders:
        folders[folder] = os.path.realpath(os.path.join(base, folder))
    real = os.path.join(folders[folder], own)
    if own in ("", ".", "..") or os.path.islink(real):
        real = os.path.realpath(real)
    if real != base and not real.startswith(base.rstrip("/") + "/"):
        return digest == OUTSIDE
    if listed:
        return digest == _digest_of(lists.names(Path(real), pattern))
    try:
        found = os.stat(real)
    except OSError:
        return digest == ABSENT
    if not stat.S_ISREG(found.st_mode):
        return digest in (ABSENT, UNREAD)
    if digest in (ABSENT, OUTSIDE) or signature is None:
        return False
    if signature == [found.st_size, found.st_mtime_ns, real[len(base.rstrip("/")) + 1 :]]:
        return True
    return signature[0] == found.st_size and _digest(Path(real)) == digest


def _signature(root: Path, real: Path, found: os.stat_result) -> tuple[int, int, str]:
    """Size, time and true place below the root: while these are the same, the content is."""
    return found.st_size, found.st_mtime_ns, real.relative_to(root).as_posix()


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
