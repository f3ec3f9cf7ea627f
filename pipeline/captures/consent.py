"""What a cell of the column `consent` says: a yes, a refusal, or a word that is not understood.

Fails closed: only what is nothing but a yes lets a subject in.  Which columns speak of consent, `consent_columns` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

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

    def is_yes(self, consent: str) -> bool:
        """Whether a cell is nothing but a yes: words of consent, dates and what stands with them.

        Whatever else it holds might take the yes back: `yes - opted out`, `signed; rescinded`, `yes?`.
        """
        own = {word.casefold().strip() for word in self.yes}
        text = consent.casefold().strip()
        if text in own:
            return True
        words = re.findall(r"\w+", text)
        given = {*GIVEN, *own}
        return (
            bool(words)
            and text[0].isalnum()
            and words[0] in given
            and all(w in given or w in _WITH_A_YES or (w.isdecimal() and w != "0") for w in words[1:])
            and re.fullmatch(r"[\w\s.,:;/()-]*", text) is not None
        )


def kept_out(consent: str, has_column: bool, rules: ConsentRules) -> str:
    """Why a consent keeps its subject out, after `its consent ...`; empty: it does not."""
    if not consent:
        return "is empty" if has_column and rules.missing == "exclude" else ""
    if rules.is_yes(consent):
        return ""
    return f"is '{consent}'" if is_refusal(consent) else f"'{consent}' {UNCLEAR}"


def is_refusal(consent: str) -> bool:
    """Whether a consent is a refusal: `no`, `withdrawn 2024-05-01`, `not given`, `given 2019, revoked 2023`."""
    words = re.findall(r"[a-z]+", consent.lower())
    return _first_word(consent) in REFUSED or not REFUSED_ANYWHERE.isdisjoint(words)


def _first_word(text: str) -> str:
    return (re.findall(r"\w+", text.casefold()) or [""])[0]
