"""Where a person's id stands in a text: as a word of its own, or joined to other letters, but not in a longer id."""

from __future__ import annotations

import re

_HASH = re.compile("[0-9a-fA-F]{16,}")
_SHORT = 8


def is_in(subject: str, text: str) -> bool:
    """Whether an id stands in a text; a short one not by chance, in digits of a hash."""
    return names_in(subject).search(_HASH.sub(" ", text) if len(subject) < _SHORT else text) is not None


def names_in(subject: str) -> re.Pattern[str]:
    """What finds an id in a text.

    It may stand anywhere, in any case, also within a word (`S001neutral`, `faceS001.obj`).  But a number goes on as far
    as its digits - `S001` is not in `S0010`, nor `1` in `21` - and a word of letters as far as its letters: `ann` is
    not in `channel`.
    """
    return re.compile(_pattern(subject), re.IGNORECASE)


def names_in_bytes(subject: str) -> re.Pattern[bytes]:
    """The same of bytes, of UTF-8."""
    return re.compile(_pattern(subject).encode("utf-8", "surrogateescape"), re.IGNORECASE)


def _pattern(subject: str) -> str:
    first, last = subject[:1], subject[-1:]
    before = (
        r"(?<![0-9])" if first.isdigit() else r"(?<![A-Za-z])" if first.isalpha() and last.isalpha() else ""
    )
    after = r"(?![0-9])" if last.isdigit() else r"(?![A-Za-z])" if last.isalpha() and first.isalpha() else ""
    return before + re.escape(subject) + after
