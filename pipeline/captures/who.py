"""Record linkage: rows of the table of subjects and folders of captures that mean one person.

A spreadsheet takes leading zeros away, a folder is written in small letters or as BIDS has it (`sub-01`): names are
compared without case, leading zeros and such prefixes.  What is one slip of a finger apart is a doubt, not a match.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mimicme.pipeline.errors import InputError

_PREFIX = re.compile(r"^(?:subject|subj|sub|participant|patient|proband|person|id)(?:[-_ .]+(?=\w)|(?=\d))")


@lru_cache(maxsize=1 << 16)
def person_key(name: str) -> str:
    """What the spellings of one subject have in common: `sub-007`, `Subject_7` and a spreadsheet's `7.0` have `7`.

    Case, leading zeros, prefixes, characters that are not seen, and separators do not count; a separator between two
    digits does, for `1_12` and `11_2` are two.
    """
    seen = "".join(
        c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) not in ("Cf", "Cc")
    )
    plain = _PREFIX.sub("", re.sub(r"^(\d+)\.0+$", r"\1", seen.strip().casefold()))
    plain = re.sub(r"(?<!\d)[-_ .]+|[-_ .]+(?!\d)", "", plain)
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[-_ .]+", "_", plain))


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that are spellings of one, in order."""
    by_key: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        by_key.setdefault(person_key(name), []).append(name)
    return [group for group in by_key.values() if len(group) > 1]


@dataclass(frozen=True)
class Matches:
    """Which row of a table is a captured subject's.

    Attributes:
        row_of: row by folder, where there is one.
        rows_alone: rows without a folder, in order; folders_alone: folders without a row, in order.
    """

    row_of: Mapping[str, str] = field(default_factory=dict)
    rows_alone: tuple[str, ...] = ()
    folders_alone: tuple[str, ...] = ()


def match(rows: Iterable[str], folders: Iterable[str]) -> Matches:
    """Match the rows of a table with the folders of the captures.

    Raises:
        InputError: two rows, or two folders, mean one person, unless each is spelled exactly as the other side has it.
    """
    listed, captured = list(dict.fromkeys(rows)), sorted(set(folders))
    row_of = {name: name for name in captured if name in set(listed)}
    by_key: dict[str, tuple[list[str], list[str]]] = {}
    for row in listed:
        by_key.setdefault(person_key(row), ([], []))[0].append(row)
    for folder in captured:
        by_key.setdefault(person_key(folder), ([], []))[1].append(folder)
    for its_rows, its_folders in by_key.values():
        if not its_rows or not its_folders or set(its_rows) == set(its_folders):
            continue
        for kind, names in (("rows of the table", its_rows), ("capture folders", its_folders)):
            if len(names) > 1:
                raise InputError(
                    f"two {kind} may be one person",
                    seen=" and ".join(f"'{n}'" for n in names),
                    todo="Keep one row and one folder a person; or write the rows exactly as their folders are named.",
                )
        row_of[its_folders[0]] = its_rows[0]
    taken = set(row_of.values())
    return Matches(
        row_of,
        tuple(row for row in listed if row not in taken),
        tuple(folder for folder in captured if folder not in row_of),
    )


def one_edit_apart(one: str, other: str) -> bool:
    """Whether two names are the same but for one character that was added, left out, mistyped, or for two exchanged.

    Case does not count (Damerau 1964).
    """
    a, b = sorted((one.casefold(), other.casefold()), key=len)
    if a == b or len(b) - len(a) > 1:
        return a == b
    start = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    swapped = a[start + 1 : start + 2] + a[start : start + 1]
    return a[start + 1 :] == b[start + 1 :] or swapped + a[start + 2 :] == b[start:]


def words(name: str) -> list[str]:
    """The words of a name, each as `person_key` has it: of `sub-P017_visit-2` p17, visit and 2."""
    plain = _PREFIX.sub("", unicodedata.normalize("NFKC", name).strip().casefold())
    return [person_key(word) for word in re.findall(r"[^\W_]+", plain)]


def names_more(row: str, folder: str) -> bool:
    """Whether a folder's name is a row's with more words after or before it, as `P17-visit2` is that of `P17`."""
    short, long = words(row), words(folder)
    return 0 < len(short) < len(long) and short in (long[: len(short)], long[-len(short) :])


def near(row: str, folders: Iterable[str]) -> list[str]:
    """Folders one edit apart from a row, as they are written or as `person_key` has them; and those with more words."""
    key = person_key(row)
    return [
        f
        for f in folders
        if one_edit_apart(row, f) or one_edit_apart(key, person_key(f)) or names_more(row, f)
    ]
