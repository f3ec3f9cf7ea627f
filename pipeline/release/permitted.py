"""What each subject permits: columns of the table of subjects, which travel in a release as attributes.

    may_appear_in_papers   pictures of them may be shown: papers, talks, web pages
    may_train              models may be learnt from them
    may_share_raw          raw captures of them may be given away
    research_only          no, and nothing but no: commercial use too

Fails closed: what is not plainly permitted - empty, unknown, a word that is not understood, a column that is not
there, a code of a column that has others than 0 and 1 - is not permitted.  Whether it counts at all depends on the
release: one that has none of these columns is as it was before there were any.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.captures.permission_columns import COLUMNS as COLUMNS
from mimicme.pipeline.captures.permission_columns import is_code, plain_name
from mimicme.pipeline.captures.permission_columns import with_unclear_codes as with_unclear_codes
from mimicme.pipeline.errors import UsageError

RESEARCH = "research"
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


def said(attributes: Mapping[str, Any], unclear: Collection[str]) -> dict[str, str]:
    """By use: `yes`, `no`, or `unknown` where the subject's attributes say nothing of it.

    Args:
        unclear: columns in which a code says nothing (`with_unclear_codes`, of everybody).
    """
    found = {}
    for use, column in COLUMNS.items():
        spelled = {str(value).strip() for name, value in attributes.items() if plain_name(name) == column}
        text = spelled.pop() if len(spelled) == 1 else UNKNOWN  # two columns that disagree permit nothing
        if text.casefold() in ("", UNKNOWN, "nan") or (column in unclear and is_code(text)):
            found[use] = UNKNOWN
        elif use == "commercial":
            found[use] = YES if text.casefold() in _NO else NO
        else:
            found[use] = YES if ConsentRules().is_yes(text, column not in unclear) else NO
    return found


def permits(attributes: Mapping[str, Any], use: str, unclear: Collection[str]) -> bool:
    """Whether a subject permits a use: plainly, or not.  `research` is what every release is for.

    Args:
        unclear: as of `said`.

    Raises:
        UsageError: there is no such use.
    """
    return check_use(use) == RESEARCH or said(attributes, unclear)[use] == YES


def declares(people: Iterable[Mapping[str, Any]]) -> bool:
    """Whether anybody has a column that speaks of a use, whatever stands in it."""
    return any(plain_name(name) in COLUMNS.values() for attributes in people for name in attributes)


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
    if not permits(people[subject], use, with_unclear_codes(people.values())):
        raise UsageError(f"'{subject}' does not plainly permit '{use}'", where=where)
