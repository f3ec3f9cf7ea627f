"""Whom a published release calls how: keyed hashes of ids, and the ledger that leads back, which stays at home.

A pseudonym is `P` and the beginning of the HMAC-SHA256 of the id.  Who has no key cannot find an id by trying names;
who has it gives everybody the same pseudonym in every version of the data set.  Key and ledger lie outside the
published folder, readable to their owner alone.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.whole_file import whole_file

DIGITS = 12
_MARK_DIGITS = 16
_LEDGER = ("subject", "pseudonym", "split", "sequence", "published")


@dataclass(frozen=True)
class Known:
    """What an earlier publication with the same key said of a subject."""

    pseudonym: str
    split: str


def key_of(path: Path) -> bytes:
    """The key in a file.

    Raises:
        UsageError: the file is not there, or holds no key.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError as error:
        raise UsageError("there is no such key", where=path) from error
    if len(text) < 32:
        raise UsageError("this is no key", where=path, seen=f"{len(text)} letters", expected="32 or more")
    return text.encode()


def made_key(path: Path, folder: Path) -> bytes:
    """The key in a file, which is made where it is not there.

    Raises:
        UsageError: the file lies in the folder that is given away, or holds no key.
    """
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise UsageError(
            "the key must not lie in the folder that is given away",
            where=path,
            todo="Name another place with --key; who has the key can find everybody's id.",
        )
    if not path.exists():
        _write_private(path, secrets.token_hex(32) + "\n")
    return key_of(path)


def key_mark(key: bytes) -> str:
    """What tells in a published release whether a key is the one that it was published with."""
    return hmac.new(key, b"mimicme key", hashlib.sha256).hexdigest()[:_MARK_DIGITS]


def pseudonym(key: bytes, subject: str) -> str:
    """What a subject is called."""
    text = f"mimicme pseudonym\0{subject}".encode("utf-8", "surrogateescape")
    return "P" + hmac.new(key, text, hashlib.sha256).hexdigest()[:DIGITS]


def pseudonyms(key: bytes, subjects: Iterable[str]) -> dict[str, str]:
    """What subjects are called.

    Raises:
        UsageError: two would be called alike.
    """
    found = {subject: pseudonym(key, subject) for subject in subjects}
    if len(set(found.values())) < len(found):
        raise UsageError("two subjects would be called alike", todo="Publish with another key.")
    return found


def sequence_names(expressions: Mapping[str, str]) -> dict[str, str]:
    """What a subject's sequences are called: their expression, numbered in order of their names if there are several.

    Args:
        expressions: by the sequence's own name, which may have been made of anything, a person's name too.
    """
    counts: dict[str, int] = {}
    found = {}
    for name in sorted(expressions):
        label = safe_name(expressions[name] or "sequence")
        counts[label] = counts.get(label, 0) + 1
        found[name] = label if counts[label] == 1 else f"{label}-{counts[label]}"
    return found


def ledger_of(key: Path) -> Path:
    """Where the ledger of a key lies."""
    return key.with_name(f"{key.name}.ledger.csv")


def read_ledger(path: Path) -> dict[str, Known]:
    """What earlier publications said, by subject; empty where there was none.

    Raises:
        UsageError: it is not what was written.
    """
    return {row["subject"]: Known(row["pseudonym"], row["split"]) for row in _ledger_rows(path)}


def _ledger_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a ledger; none where there is none.

    Raises:
        UsageError: it is not what was written.
    """
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as handle:
        rows = list(csv.DictReader(handle))
    if any(set(row) != set(_LEDGER) for row in rows):
        raise UsageError(
            "this is no ledger of published subjects",
            where=path,
            expected=f"the columns {', '.join(_LEDGER)}",
        )
    return rows


def write_ledger(path: Path, rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """Write subject, pseudonym, split, sequence and its published name, a line a sequence.

    What earlier publications said of others stays: their splits hold in the next one, and their copies are out there.

    Raises:
        UsageError: what is there is no ledger.
    """
    new = {(row[0], row[3]) for row in rows}
    before = [[row[name] for name in _LEDGER] for row in _ledger_rows(path)]
    every = sorted([*map(list, rows), *(row for row in before if (row[0], row[3]) not in new)])
    _write_private(path, _as_text(every))


def forget(path: Path, subject: str) -> bool:
    """Take a subject out of a ledger; whether it was there.

    Raises:
        UsageError: what is there is no ledger.
    """
    rows = _ledger_rows(path)
    kept = [row for row in rows if row["subject"] != subject]
    if len(kept) < len(rows):
        _write_private(path, _as_text([row[name] for name in _LEDGER] for row in kept))
    return len(kept) < len(rows)


def _as_text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(_LEDGER)
    out.writerows(rows)
    return text.getvalue()


def _write_private(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
