"""What each subject permits: columns of the table of subjects, which travel in a release as attributes.

    may_appear_in_papers   pictures of them may be shown: papers, talks, web pages
    may_train              models may be learnt from them
    may_share_raw          raw captures of them may be given away
    research_only          no, and nothing but no: commercial use too

Fails closed: what is not plainly permitted - empty, unknown, a word that is not understood, a column that is not
there - is not permitted.  Whether it counts at all depends on the release: one that has none of these columns is as
it was before there were any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.errors import UsageError

RESEARCH = "research"
COLUMNS: Mapping[str, str] = {
    "papers": "may_appear_in_papers",
    "training": "may_train",
    "raw": "may_share_raw",
    "commercial": "research_only",
}
"""Columns by use; that of `commercial` forbids what the others permit."""
USES = (RESEARCH, *COLUMNS)
YES, NO = "yes", "no"
_NO = frozenset({"no", "n", "false", "0"})


def check_use(use: str) -> str:
    """A use that there is.

    Raises:
        UsageError: there is no such use.
    """
    if use not in USES:
        raise UsageError("there is no such use of a release", seen=repr(use), expected=", ".join(USES))
    return use


def said(attributes: Mapping[str, Any]) -> dict[str, str]:
    """By use: `yes`, `no`, or `unknown` where the subject's attributes say nothing of it."""
    found = {}
    for use, column in COLUMNS.items():
        spelled = {str(value).strip() for name, value in attributes.items() if _plain(name) == column}
        text = spelled.pop() if len(spelled) == 1 else UNKNOWN  # two columns that disagree permit nothing
        if text.casefold() in ("", UNKNOWN, "nan"):
            found[use] = UNKNOWN
        elif use == "commercial":
            found[use] = YES if text.casefold() in _NO else NO
        else:
            found[use] = YES if ConsentRules().is_yes(text) else NO
    return found


def permits(attributes: Mapping[str, Any], use: str) -> bool:
    """Whether a subject permits a use: plainly, or not.  `research` is what every release is for.

    Raises:
        UsageError: there is no such use.
    """
    return check_use(use) == RESEARCH or said(attributes)[use] == YES


def declares(people: Iterable[Mapping[str, Any]]) -> bool:
    """Whether anybody has a column that speaks of a use, whatever stands in it."""
    return any(_plain(name) in COLUMNS.values() for attributes in people for name in attributes)


def check_page(people: Mapping[str, Mapping[str, Any]], subject: str, use: str, where: object) -> None:
    """A page that shows one of some people may be given away.

    Args:
        people: attributes by subject.  use: what for; empty: nobody said.  where: for the error.

    Raises:
        UsageError: something is said of what these people permit, and nobody said what for, or this one does not
            plainly permit it.
    """
    if not use and not declares(people.values()):
        return
    if not use:
        raise UsageError(
            "what each of these subjects permits is written down",
            where=where,
            todo=f"Say what the page is for: --for {'|'.join(USES)}.",
        )
    if not permits(people[subject], use):
        raise UsageError(f"'{subject}' does not plainly permit '{use}'", where=where)


def _plain(name: str) -> str:
    """A column's name in small letters, joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
