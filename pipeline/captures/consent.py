"""What a cell of the column `consent` says: a yes, a refusal, or a word that is not understood.

Fails closed: only what is nothing but a yes lets a subject in.  Which columns speak of consent, `consent_columns` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mimicme.pipeline.captures.consent_columns import without_one_date
from mimicme.pipeline.errors import ConfigError

# in the order in which a message lists them
REFUSED = (
    *("no", "n", "false", "0", "not", "none", "withdrawn", "withdrew", "withdraw", "withdrawal"),
    *("refused", "refuses", "denied", "declined", "revoked", "expired", "pending"),
)
# these refuse wherever they stand: `full withdrawal`, `given 2019, revoked 2023`
REFUSED_ANYWHERE = frozenset(w for w in REFUSED if len(w) > 1)
GIVEN = ("yes", "y", "true", "1", "given", "granted", "signed", "full")
_WITH_A_YES = frozenset(
    ["on", "form", "version", "consent", "written", "informed", "date", "dated"]
    + ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    + ["january", "february", "march", "april", "june", "july"]
    + ["august", "september", "october", "november", "december"]
)
UNCLEAR = "is not understood"
_MISSING_CODES = frozenset(
    sign + digit * times for sign in ("", "-") for digit in "89" for times in (1, 2, 3)
)
_YEAR = r"(?:19|20)\d\d"
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
        rest, dated = without_one_date(text)
        numbers = re.findall(r"\d+", rest)
        if words and words[0] == "1" and "1" not in own and not (one_is_yes and numbers == ["1"]):
            return False
        return (
            bool(words)
            and text[0].isalnum()
            and _of_one_date(text, numbers, dated)
            and words[0] in given
            and all(w in given or w in _WITH_A_YES or (w.isdecimal() and w != "0") for w in words[1:])
            and re.fullmatch(r"[\w\s.,:;/()-]*", text) is not None
        )


def codes_are_clear(cells: Iterable[str]) -> bool:
    """Whether a `1` in a column of such cells can be a yes only: where its other numbers are 0, and codes of what is
    missing (9, 99, -9) beside a 0.

    With a 2 nobody can know: 1 and 2 are yes and no, or no and yes; and with 0, 1 and 2 the 1 is often a form that
    nobody has checked yet (REDCap: incomplete, unverified, complete).
    """
    numbers = {
        re.sub(r"[.,]0+$", "", text) for text in cells if re.fullmatch(r"[-+]?\d{1,3}(?:[.,]0+)?", text)
    }
    others = numbers - {"0", "1"}
    return not others or ("0" in numbers and others <= _MISSING_CODES)


def _of_one_date(text: str, numbers: list[str], dated: bool) -> bool:
    """Whether a yes has one date at most, and with it the number of a form or a version: two may be a range.

    Args:
        numbers: those beside a plain date, all where none is.
        dated: whether a plain date is in it; else it may be written otherwise (`3. 5. 21`), and so have three numbers.
    """
    years = sum(re.fullmatch(_YEAR, number) is not None for number in numbers)
    most, most_years = (1, 0) if dated else (3, 1)
    return len(numbers) <= most and years <= most_years and _YEARS.search(text) is None


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
