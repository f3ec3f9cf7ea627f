"""The columns of a table of subjects that say what else a subject permits, and codes in them that say nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mimicme.pipeline.captures.consent import codes_are_clear

COLUMNS: Mapping[str, str] = {
    "papers": "may_appear_in_papers",
    "training": "may_train",
    "raw": "may_share_raw",
    "commercial": "research_only",
}
"""Columns by use; that of `commercial` forbids what the others permit."""
_CODE = re.compile(r"[-+]?\d+(?:[.,]\d+)?")


def plain_name(name: str) -> str:
    """A column's name in small letters, joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def is_code(text: str) -> bool:
    """Whether a cell is a number and nothing else."""
    return _CODE.fullmatch(text.strip()) is not None


def with_unclear_codes(people: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The columns of `COLUMNS`, of all these people, of whose codes nobody can know which is a yes: others than 0 and 1
    (`codes_are_clear`)."""
    cells: dict[str, list[str]] = {}
    for attributes in people:
        for name, value in attributes.items():
            cells.setdefault(plain_name(name), []).append(str(value).strip())
    return frozenset(c for c in COLUMNS.values() if not codes_are_clear(cells.get(c, ())))
