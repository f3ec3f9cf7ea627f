"""Raw files a stage has read: confined to the capture folder, bounded in size, and remembered by content.

A checkpoint that was made from raw files carries their digests in its fingerprint, and their sizes and times
beside it, so that an unchanged file is recognised without reading it again.  A file is remembered by the name
under which it was asked for; where a symbolic link on the way leads is found out anew at every check.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from mimicme.pipeline.errors import FrameRejected, InputError

ABSENT = "absent"
UNREAD = "unread"
OUTSIDE = "outside"


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

    def read(self, path: Path) -> bytes:
        """The whole file.

        Raises:
            FrameRejected: `unsafe-path`, or `too-large`.
            InputError: it cannot be read.
        """
        real = self.inside(path)
        name = self._key(path, real)
        try:
            found = real.stat()
            if found.st_size > self.max_bytes:
                # remembered, so that another file in its place is noticed
                self.digests[name] = UNREAD
                self.stats[name] = _signature(self.root, real, found)
                raise FrameRejected(
                    "too-large",
                    "the file is larger than a capture can be",
                    where=path.name,
                    seen=f"{found.st_size:,} bytes",
                    expected=f"at most {self.max_bytes:,}",
                )
            data = real.read_bytes()
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


def unchanged(root: Path, digests: dict[str, str], stats_json: str) -> bool:
    """Whether every recorded file still has the recorded content (or is still absent, or outside)."""
    base = Path(os.path.realpath(root))
    stats = json.loads(stats_json)
    return all(_same(base, name, digest, stats.get(name)) for name, digest in digests.items())


def _same(base: Path, name: str, digest: str, signature: list[object] | None) -> bool:
    real = Path(os.path.realpath(base / name))
    if not real.is_relative_to(base):
        return digest == OUTSIDE
    try:
        found = real.stat()
    except OSError:
        return digest == ABSENT
    if not stat.S_ISREG(found.st_mode):
        return digest in (ABSENT, UNREAD)
    if digest in (ABSENT, OUTSIDE) or signature is None:
        return False
    now = _signature(base, real, found)
    if signature == list(now):
        return True
    return signature[0] == now[0] and _digest(real) == digest


def _signature(root: Path, real: Path, found: os.stat_result) -> tuple[int, int, str]:
    """Size, time and true place below the root: while these are the same, the content is."""
    return found.st_size, found.st_mtime_ns, real.relative_to(root).as_posix()


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
