"""Who has withdrawn and must not come back: a list that names nobody.

`withdrawn.txt` has two keyed hashes of each, of its name and of what all spellings of it have in common, and a line
that tells whether a key is the list's; `withdrawn.key` is the key, without which nobody can find who is in the list by
trying names.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from pathlib import Path

from mimicme.pipeline.captures.who import person_key
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.whole_file import whole_file, write_whole

_KEYED = "hmac-sha256:"


class Withdrawn:
    """The list in a workspace's folder.

    Attributes:
        file: the list.
    """

    def __init__(self, root: Path) -> None:
        self.file = root / "withdrawn.txt"
        self._key_file = root / "withdrawn.key"

    def asked(self) -> Callable[[str], bool]:
        """What says of many names whether they have withdrawn, in whatever spelling; the list is read once.

        Raises:
            UsageError: the list, or its key, is missing or another's: nobody can say who must not come back.
        """
        listed = frozenset(self.file.read_text().split()) if self.file.exists() else frozenset()
        key = b""
        if any(line.startswith(_KEYED) for line in listed):
            key = self._key(listed)
        elif self._key_file.exists():
            raise UsageError(
                "the list of who withdrew is missing or incomplete, though its key is there",
                where=self.file,
                todo="Put it back from a backup of the workspace. Without it nobody can say whose captures may be "
                "used; if it is lost, leave out who withdrew in the table of subjects, and remove withdrawn.key.",
            )
        if not listed:
            return lambda name: False
        return lambda name: any(_hashed(one, k) in listed for one in _spellings(name) for k in (key, b""))

    def add(self, name: str) -> None:
        """Remember that a subject must not come back, without naming it.

        Raises:
            UsageError: see `asked`.
            OutputError: there is no room for it.
        """
        old = self.file.read_text() if self.file.exists() else ""
        key = self._key_file
        if _KEYED not in old:
            if not key.exists() or not key.read_bytes().strip():
                with whole_file(key) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_text(secrets.token_hex(32) + "\n")
            old += f"{_key_check(key.read_bytes().strip())}\n"
        hashed = self._key(old.split())
        write_whole(self.file, old + "".join(f"{_hashed(one, hashed)}\n" for one in _spellings(name)))

    def _key(self, listed: Collection[str]) -> bytes:
        """What names of who withdrew are hashed with: without it nobody can find them by trying names.

        Args:
            listed: lines of the list, one of which says whether a key is the one that it was made with.

        Raises:
            UsageError: it is not there, or is another: nobody can say who must not come back.
        """
        try:
            key = self._key_file.read_bytes().strip()
        except FileNotFoundError:
            key = b""
        if not key or _key_check(key) not in listed:
            raise UsageError(
                "the key to the list of who withdrew is missing" if not key else "that key is not the list's",
                where=self._key_file,
                todo="Put it back from a backup of the workspace. Without it nobody can say whose captures may be "
                "used; if it is lost, leave out who withdrew in the table of subjects, and remove withdrawn.txt and "
                "withdrawn.key.",
            )
        return key


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
