"""Raw files a stage has read: confined to the capture folder, bounded in size, and remembered by content.

An artefact that was made from raw files carries their digests in its fingerprint, and their sizes and times
beside it, so that an unchanged file is recognised without reading it again.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from mimicme.pipeline.errors import FrameRejected, InputError

ABSENT = "absent"
UNREAD = "unread"


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
        self.stats: dict[str, tuple[int, int]] = {}

    def inside(self, path: Path) -> Path:
        """The real path, checked to lie below the root.

        Raises:
            FrameRejected: `unsafe-path`.
        """
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.root):
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
        self.digests[self._name(real)] = ABSENT
        return False

    def read(self, path: Path) -> bytes:
        """The whole file.

        Raises:
            FrameRejected: `unsafe-path`, or `too-large`.
            InputError: it cannot be read.
        """
        real = self.inside(path)
        try:
            stat = real.stat()
            if stat.st_size > self.max_bytes:
                # remembered, so that another file in its place is noticed
                self.digests[self._name(real)] = UNREAD
                self.stats[self._name(real)] = (stat.st_size, stat.st_mtime_ns)
                raise FrameRejected(
                    "too-large",
                    "the file is larger than a capture can be",
                    where=path.name,
                    seen=f"{stat.st_size:,} bytes",
                    expected=f"at most {self.max_bytes:,}",
                )
            data = real.read_bytes()
        except OSError as error:
            self.digests[self._name(real)] = ABSENT if isinstance(error, FileNotFoundError) else UNREAD
            raise InputError("the file cannot be read", where=path.name, seen=error.strerror) from error
        name = self._name(real)
        self.digests[name] = hashlib.sha256(data).hexdigest()
        self.stats[name] = (stat.st_size, stat.st_mtime_ns)
        return data

    def stats_json(self) -> str:
        return json.dumps(self.stats, sort_keys=True)

    def _name(self, real: Path) -> str:
        return real.relative_to(self.root).as_posix()


def unchanged(root: Path, digests: dict[str, str], stats_json: str) -> bool:
    """Whether every recorded file still has the recorded content (or is still absent)."""
    base = Path(os.path.realpath(root))
    stats = json.loads(stats_json)
    for name, digest in digests.items():
        path = base / name
        try:
            stat = path.stat()
        except OSError:
            if digest != ABSENT:
                return False
            continue
        if digest == ABSENT:
            return False
        if list(stats.get(name, ())) == [stat.st_size, stat.st_mtime_ns]:
            continue
        if stats.get(name, (None,))[0] != stat.st_size or _digest(path) != digest:
            return False
    return True


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
