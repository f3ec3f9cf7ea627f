"""What a cell of the column `consent` says: a yes, a refusal, or a word that is not understood.

Fails closed: only what is nothing but a yes lets a subject in.  Which columns speak of consent, `consent_columns` says.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mimicme.pipeline.captures.consent_columns import without_one_date
from mimicme.pipeline.captures.refusal_words import REFUSED
from mimicme.pipeline.errors import ConfigError

# these refuse wherever they stand: `full withdrawal`, `given 2019, revoked 2023`
REFUSED_ANYWHERE = frozenset(w for w in REFUSED if len(w) > 1)
GIVEN = ("yes", "y", "true", "1", "given", "granted", "signed", "full")
_MONTHS = (
    *(
        "jan",
        "feb",
        "mar",
        "apr",
        "may",
        "jun",
        "jul",
        "aug",
        "sep",
        "oct",
        "nov",
        "dec",
        "january",
        "february",
    ),
    *("march", "april", "june", "july", "august", "september", "october", "november", "december"),
)
_WITH_A_YES = frozenset(
    [*_MONTHS, "on", "form", "version", "consent", "written", "informed", "date", "dated"]
)
UNCLEAR = "is not understood"
_MISSING_CODES = frozenset(
    sign + digit * times for sign in ("", "-") for digit in "89" for times in (1, 2, 3)
)
_YEAR = r"(?:19|20)\d\d"
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_OF_A_FORM = re.compile(r"\b(?:form|version|v)\W*\d{1,3}(?:\.\d+)*(?!\d)")
# one date that is written in parts: 3. 5. 21; 5 May 21; May 2021
_IN_PARTS = re.compile(
    rf"\d{{1,2}}([-./ ] ?)\d{{1,2}}\1(?:{_YEAR}|\d\d)|{_YEAR}([-./ ] ?)\d{{1,2}}\2\d{{1,2}}"
    rf"|(?:\d{{1,2}}\W{{0,2}})?(?:{_MONTH})\W{{0,2}}(?:{_YEAR}|\d\d)"
)
_YEARS = re.compile(
    rf"{_YEAR}\s*[-/]\s*(?:1[3-9]|[2-9]\d)(?!\d)"
)  # 2019-21; of 2019-05 the second is a month


@dataclass(frozen=True)
class ConsentRules:
    """What lets a subject in.

    Attributes:
        yes: consents that are a yes besides `GIVEN`: a word, which may stand with a date, or a whole cell.
        missing: whether a subject is left out (`exclude`) or worked on (`include`) that has an empty consent, or no
            row, in a table with a column `consent`.
        not_same: pairs of a row and a folder that are two persons, however alike they are spelled.
    """

    yes: tuple[str, ...] = ()
    missing: Literal["exclude", "include"] = "exclude"
    not_same: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for word in self.yes:
            if not re.search(r"\w", word) or word.casefold().strip() in REFUSED:
                raise ConfigError(
                    "this cannot be a yes",
                    where="captures.consent_yes",
                    seen=repr(word),
                    expected="a word, or a whole cell, of the table's column `consent`",
                )

    def is_yes(self, consent: str, one_is_yes: bool = True) -> bool:
        """Whether a cell is nothing but a yes: words of consent, a date and what stands with them.

        Whatever else it holds might take the yes back: `yes - opted out`, `signed; rescinded`, `yes?`; and a second
        date may be its end: `yes 2019-2021`.

        Args:
            one_is_yes: whether a `1` is one (`codes_are_clear`), where `yes` does not name it.
        """
        own = {word.casefold().strip() for word in self.yes}
        text = consent.casefold().strip()
        if text in own:
            return True
        words = re.findall(r"\w+", text)
        given = {*GIVEN, *own}
        rest, _ = without_one_date(text)
        numbers = re.findall(r"\d+", rest)
        if words and words[0] == "1" and "1" not in own and not (one_is_yes and numbers == ["1"]):
            return False
        return (
            bool(words)
            and text[0].isalnum()
            and _of_one_date(text)
            and words[0] in given
            and all(w in given or w in _WITH_A_YES or (w.isdecimal() and w != "0") for w in words[1:])
            and re.fullmatch(r"[\w\s.,:;/()-]*", text) is not None
        )


def codes(cells: Iterable[str]) -> frozenset[str]:
    """The numbers among cells, as a column of codes has them."""
    return frozenset(
        re.sub(r"[.,]0+$", "", text) for text in cells if re.fullmatch(r"[-+]?\d{1,3}(?:[.,]0+)?", text)
    )


def codes_are_clear(cells: Iterable[str]) -> bool:
    """Whether a `1` in a column of such cells can be a yes only: where its other numbers are 0, and codes of what is
    missing (9, 99, -9) beside a 0.

    With a 2 nobody can know: 1 and 2 are yes and no, or no and yes; and with 0, 1 and 2 the 1 is often a form that
    nobody has checked yet (REDCap: incomplete, unverified, complete).
    """
    numbers = codes(cells)
    others = numbers - {"0", "1"}
    return not others or ("0" in numbers and others <= _MISSING_CODES)


def _of_one_date(text: str) -> bool:
    """Whether a yes has one date at most, and beside it numbers of forms and versions: two dates may be a range, and
    one that is yet to come is its end.
    """
    if _YEARS.search(text) or _is_to_come(text):
        return False
    plain = _OF_A_FORM.sub(" ", text)
    rest, dated = without_one_date(plain)
    if not dated and (part := _IN_PARTS.search(plain)):
        rest, dated = plain[: part.start()] + " " + plain[part.end() :], True
    numbers = re.findall(r"\d+", rest)
    if re.search(rf"\b(?:{_MONTH})\b", rest):
        return not dated and len(numbers) <= 1
    if dated:
        return not numbers or (numbers == ["1"] and text.startswith("1"))
    return len(numbers) <= 1 or (len(numbers) == 2 and _has_a_month(numbers))


def _has_a_month(numbers: list[str]) -> bool:
    """Whether of two numbers one may be a month and the other a year: `2019-05`, `12/19`."""
    return (
        any(
            1 <= int(month) <= 12
            and len(month) <= 2
            and (len(year) == 2 or re.fullmatch(_YEAR, year) is not None)
            for month, year in (numbers, numbers[::-1])
        )
        or max(map(len, numbers)) == 1
    )


def _is_to_come(text: str) -> bool:
    """Whether a date or a year in a text is after today."""
    today = _today()
    days = re.findall(rf"(?<!\d)({_YEAR})-?(\d\d)-?(\d\d)(?!\d)", text)
    years = re.findall(rf"(?<!\d){_YEAR}(?!\d)", text)
    return any("-".join(day) > today.isoformat() for day in days) or any(int(y) > today.year for y in years)


def _today() -> datetime.date:
    return datetime.date.today()


def kept_out(consent: str, has_column: bool, rules: ConsentRules, one_is_yes: bool = True) -> str:
    """Why a consent keeps its subject out, after `its consent ...`; empty: it does not."""
    if not consent:
        return "is empty" if has_column and rules.missing == "exclude" else ""
    if rules.is_yes(consent, one_is_yes):
        return ""
    return f"is '{consent}'" if is_refusal(consent) else f"'{consent}' {UNCLEAR}"


def is_refusal(consent: str) -> bool:
    """Whether a consent is a refusal: `no`, `withdrawn 2024-05-01`, `not given`, `given 2019, revoked 2023`."""
    words = re.findall(r"[a-z]+", consent.lower())
    return _first_word(consent) in REFUSED or not REFUSED_ANYWHERE.isdisjoint(words)


def _first_word(text: str) -> str:
    return (re.findall(r"\w+", text.casefold()) or [""])[0]
