"""Columns of a table of subjects that speak of consent: which one is the consent, and which take a consent back.

Fails closed.  Only a plainly positive name (`informed consent`, `Einwilligung`) is the consent unasked.  A column of
refusals (`withdrawn`, `no consent`) keeps out by everything but a no; any other that speaks of consent keeps out by
everything but a yes, a date in a column of dates, and a number in one of versions.
"""

from __future__ import annotations

import re

from mimicme.pipeline.captures import consent_words, refusal_words
from mimicme.pipeline.captures.consent_words import folded as _folded

_CONSENT = (
    *("consent", "consented", "hasconsented", "hasconsent", "consentgiven", "givenconsent", "gaveconsent"),
    *("consentgranted", "consentobtained", "consentsigned", "signedconsent", "consentformsigned"),
    *("signedconsentform", "informedconsent", "informedconsentgiven", "informedconsentobtained"),
    *("informedconsentsigned", "signedinformedconsent", "writtenconsent", "writteninformedconsent"),
    *("subjectconsent", "participantconsent", "patientconsent", "agree", "agrees", "agreed", "permission"),
    *("permissiongiven", "permissiongranted"),
    *("einwilligung", "einwilligungerteilt", "einwilligunggegeben", "einwilligungunterschrieben"),
    *("einwilligungvorhanden", "einwilligungserklarung", "einwilligungserklaerung", "eingewilligt"),
    *("zustimmung", "zustimmungerteilt", "zugestimmt", "einverstanden", "einverstandnis"),
    *("einverstaendnis", "einverstandniserklarung", "einverstaendniserklaerung", "erlaubnis"),
    *("consentement", "consentementdonne", "consentementobtenu", "consentementsigne"),
    *("consentementeclaire", "autorisation"),
    *("consentimiento", "consentimientoinformado", "consentimientofirmado", "autorizacion"),
    *("consentimento", "consentimentoinformado", "consenso", "consensoinformato", "autorizzazione"),
    *("toestemming", "toestemminggegeven", "zgoda", "samtycke", "samtykke"),
    *map(_folded, ("同意", "知情同意", "是否同意", "동의", "동의여부", "согласие", "συγκατάθεση")),
)
# how a name says which cells there are: `consent (y/n)`
_CELLS = re.compile(
    r"_(?:y_?n|yes_no|j_?n|ja_nein|o_?n|oui_non|s_?n|si_no|sim_nao|ja_nee|ja_nej|tak_nie|true_false|1_0|0_1"
    r"|1_yes_0_no|yes_1_no_0|0_no_1_yes|no_0_yes_1)$"
)
_SPEAKS_PLAINLY = re.compile(
    r"consent|consenso|einwillig|eingewillig|zustimm|zugestimm|einverst|nutzungsrecht|toestemm|samtyc?k"
    r"|(?:^|_)(?:agree(?!ab)|permission|freigab|freigeg|erlaub|datenschutz|aut?h?ori[sz]|zgod)"
)
_SPEAKS = re.compile(rf"{_SPEAKS_PLAINLY.pattern}|{consent_words.SPEAKS}")
_NO = ("no", "n", "false", "0", "-", "nein", "non", "nee", "nej")
_NO_TOO = frozenset(
    ["falsch", "faux", "falso", "onwaar", "nie", "não", "nao", "ei", "hayır", "нет", "ні", "όχι"]
    + ["否", "无", "無", "没有", "いいえ", "なし", "아니오", "아니요"]
)

_OF_DATES = re.compile(r"(?<!up)date|datum|fecha|timestamp|(?:^|_)(?:data|dato|day|time|on|am|signed)(?=_|$)")
_OF_VERSIONS = re.compile(r"(?<!con)version|versie|fassung|(?:^|_)v(?:er)?(?:_|$)")
_BESIDE_A_DATE = frozenset(["of", "the", "der", "des", "de", "du", "del", "form", "stamp"])
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)"
_LONG_MONTH = (
    rf"(?:{_MONTH}|january|february|march|april|june|july|august|september|october|november|december)"
)
_DAY, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19[5-9]\d|20\d\d)"
_DATE = re.compile(
    rf"(?:{_YEAR}([-/.])(?:0?[1-9]|1[0-2])\1{_DAY}|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rf"|{_DAY}([-/.]) ?{_DAY}\2 ?(?:{_YEAR}|\d\d)"
    rf"|{_DAY}[. -]{{0,2}}{_LONG_MONTH}[., -]{{0,2}}{_YEAR}|{_LONG_MONTH}\.? {_DAY},? {_YEAR})"
    r"(?:[ t]\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?:z|\+00:00)?)?"
)
_DATE_IN_A_TEXT = re.compile(rf"(?<!\w){_DATE.pattern}(?!\w)")
_VERSION = re.compile(r"(?:v|version)?[. ]?(?=[\d.]*[1-9])\d+(?:\.\d+)*")


def is_consent(column: str) -> bool:
    """Whether a name plainly says who consents: a yes in it is a consent."""
    return _CELLS.sub("", _folded(column)).replace("_", "") in _CONSENT


def speaks_of_consent(column: str) -> bool:
    """Whether a name has to do with consent, given or refused."""
    name = _folded(column)
    return _SPEAKS.search(name) is not None or refusal_words.refuses(name)


def is_of_refusals(column: str) -> bool:
    """Whether a yes in a column takes a consent back: `withdrawn`, `no consent`, `Einwilligung widerrufen`."""
    name = _folded(column)
    if is_consent(column):
        return False
    says_none = _SPEAKS.search(name) is not None and refusal_words.NONE_GIVEN.search(name) is not None
    return refusal_words.refuses(name) or says_none


def _is_plain(name: str) -> bool:
    """Whether a yes in a column of this folded name agrees.

    Of a name that only `consent_words` knows, each word has to be known: a negation in that language may not be.
    """
    return _SPEAKS_PLAINLY.search(name) is not None or consent_words.is_plain(_CELLS.sub("", name))


def leaves_consent(column: str, cell: str, is_yes: bool) -> bool:
    """Whether a cell of a column that speaks of consent leaves a consent as it is.

    Args:
        is_yes: whether the cell is nothing but a yes.
    """
    name, text = _folded(column), cell.casefold().strip()
    if not text or refusal_words.is_duration(name, text):
        return True
    if is_of_refusals(column):
        return (text in _NO or text in _NO_TOO) and refusal_words.NO_REFUSAL.search(name) is None
    dated, versioned = _of_a_consent(name)
    return (
        (is_yes and (dated or versioned or _is_plain(name)))
        or ((dated or versioned) and is_date(text))
        or (versioned and _VERSION.fullmatch(text) is not None)
    )


def _of_a_consent(name: str) -> tuple[bool, bool]:
    """Whether a folded name is that of the date, and of the version, of a consent and of nothing else.

    What is left without the words of dates and versions has to be a name of consent: a date may as well be that on
    which one was taken back, in words that nobody has thought of.
    """
    dated, versioned = _OF_DATES.search(name), _OF_VERSIONS.search(name)
    rest = _OF_VERSIONS.sub("_", _OF_DATES.sub("_", name)).replace("__", "_").strip("_")
    words = [word for word in rest.split("_") if word and word not in _BESIDE_A_DATE]
    plain = is_consent("_".join(words)) or consent_words.is_plain("_".join(words))
    return dated is not None and plain, versioned is not None and plain


def is_date(cell: str) -> bool:
    """Whether a cell is a date and nothing else."""
    return _DATE.fullmatch(cell.casefold().strip()) is not None


def without_one_date(text: str) -> tuple[str, bool]:
    """A text in small letters without the first date in it, and whether there was one."""
    found = _DATE_IN_A_TEXT.search(text)
    return (text, False) if found is None else (text[: found.start()] + " " + text[found.end() :], True)


def what_leaves_consent(column: str) -> str:
    """The cells that leave a consent as it is, in words."""
    name = _folded(column)
    if is_of_refusals(column):
        denied = refusal_words.NO_REFUSAL.search(name) is not None
        return "an empty cell" if denied else f"an empty cell or {', '.join(_NO)}"
    dated, versioned = _of_a_consent(name)
    words = ["an empty cell"]
    words += ["a yes"] if dated or versioned or _is_plain(name) else []
    words += ["a date"] if dated or versioned else []
    words += ["a number"] if versioned else []
    return " or ".join(words)
