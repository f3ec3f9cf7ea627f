"""Ages as tables have them: numbers of years, and what is none."""

from __future__ import annotations

import re
from typing import Any

OLDEST = 120.0

AS_YEARS = "ages with a word after the number are read as years"
AS_TEXT = "an age that is no number of years is kept as the text it is"
BIRTH = "what looks like a date of birth is no age, identifies a person and is left out"
OUTSIDE = f"an age that is not from 0 to {OLDEST:g} is left out"

BANDS: tuple[tuple[str, float], ...] = (
    ("under7", 7),
    ("7to17", 18),
    ("18to49", 50),
    ("50plus", float("inf")),
)
"""Age bands and the age at which each ends, as in Booth et al., "Large scale 3D morphable models" (2018)."""

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?")
_YEARS = re.compile(
    r"(\d{1,3}(?:[.,]\d+)?) ?(?:y|yr|yrs|year|years|yo|y\.o|y/o|j|jahr|jahre|ans?)(?: old)?\.?", re.IGNORECASE
)
_YEAR = re.compile(r"(?<!\d)(?:18|19|20)\d\d(?!\d)")
_DATE = re.compile(
    r"\d{1,2}[-/. ]+(?:\d{1,2}|jan\w*|feb\w*|m[aä]r\w*|apr\w*|ma[yi]|jun\w*|jul\w*|aug\w*|sep\w*|o[ck]t\w*|nov\w*"
    r"|de[cz]\w*)[-/. ]+\d{2,4}",
    re.IGNORECASE,
)
_UNKNOWN = ("na", "n/a", "nan", "none", "null", "unknown", "-", "--", "?", ".")


def age_of(cell: str) -> tuple[str | int | float | None, str]:
    """An age in years, or the text it is, or None where it is left out; and a remark, empty where there is none.

    `23y` is 23; a range (`20-29`) stays text; a date of birth, a year and what no person's age can be are left out.
    """
    text = cell.strip()
    if text.casefold() in _UNKNOWN:
        return None, ""
    if years := _YEARS.fullmatch(text):
        value, remark = _number(years[1])
        return value, remark or AS_YEARS
    if _YEAR.search(text) or _DATE.fullmatch(text):
        return None, BIRTH
    if _NUMBER.fullmatch(text):
        return _number(text)
    return text, AS_TEXT


def _number(text: str) -> tuple[int | float | None, str]:
    value = float(text.replace(",", "."))
    if not 0 <= value <= OLDEST:
        return None, OUTSIDE
    return (value if re.search(r"[.,]", text) else int(text)), ""


def age_band(age: Any) -> str:
    """The band of an age in years; empty when it is unknown."""
    try:
        years = float(age)
    except (TypeError, ValueError):
        return ""
    return next((name for name, end in BANDS if 0 <= years < end), "")
