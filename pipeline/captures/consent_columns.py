"""Columns of a table of subjects that speak of consent: which one is the consent, and which take a consent back.

Fails closed.  Only a plainly positive name (`informed consent`, `Einwilligung`) is the consent unasked.  A column of
refusals (`withdrawn`, `no consent`) keeps out by everything but a no; any other that speaks of consent keeps out by
everything but a yes, a date in a column of dates, and a number in one of versions.
"""

from __future__ import annotations

import re

from mimicme.pipeline.captures import consent_words
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
_SPEAKS = re.compile(
    r"consent|consenso|einwillig|eingewillig|zustimm|zugestimm|einverst|nutzungsrecht|toestemm|samtyc?k"
    r"|(?:^|_)(?:agree(?!ab)|permission|freigab|freigeg|erlaub|datenschutz|aut?h?ori[sz]|zgod)"
    rf"|{consent_words.SPEAKS}"
)

_REFUSALS = (
    r"withdr|revo[ckq]|rescind|cancel|declin|deni(?!m)|deny|refus|opt(?:ed)?_?out|objection|disagree|dissent"
    r"|widerr|widerspr|widersproch|zurue?ck|verweiger|ablehn|abgelehn"
)
_REFUSAL = re.compile(rf"(?:^|_)(?:{_REFUSALS}|{consent_words.REFUSED})|{consent_words.REFUSED_ANYWHERE}")
# the same in a name that speaks of consent, where much else says that there is none
_NONE_GIVEN = re.compile(
    rf"{_REFUSALS}|reject|expir|ablauf|abgelauf|laps|invalid|void|ungue?ltig|missing|pending|outstanding|lacking"
    r"|absent|unsigned|until|fehl|aussteh|entzog|entzug|entzieh|retir|retra[ic]|ritir|rifiut|recha[zc]|deneg|negad"
    r"|negat|intrek|ingetrok|geweiger|aterkall|tilbake|tilbage|trukket|cofni|odmow|terminat|suspend"
    r"|(?:^|_)(?:no|non|not|never|none|without|end|ends|ended|lost|nicht|nie|nein|kein|keine|keiner|ohne|bis|pas|sans"
    r"|aucun|aucune|sin|sem|nao|senza|geen|niet|nee|zonder|brak|bez|inte|ej|ingen|utan|ikke|uden)(?:_|$)"
    r"|(?:^|_)(?:non?|not|un)_?(?:consent|agree|permission|authori|autori)|keine?r?einw|keinezust|keineinver"
    r"|not?(?:given|obtained|signed|granted|yet)|nicht(?:erteilt|gegeben|unters|vorh)|(?:consent|agreed)(?:no|not)$"
)
_NO_REFUSAL = re.compile(rf"(?:^|_)(?:non?|not|never|un|nicht|nie|keine?r?|pas|sin|senza)_?(?:{_REFUSALS})")
# in a sentence about a person, wherever it stands: what else may be cancelled or declined is left
_WITHDRAWAL = re.compile(r"(?:^|_)(?:withdr|revo[ck](?!er)|rescind|retract)")
_ABOUT_CONSENT = re.compile(
    r"(?:^|_)(?:consent|permission|participa|subject|person|patient|proband|study|studie|data|has|have|had|he|she|they"
    r"|einwillig|zustimm)"
)
_WITHDRAWN = re.compile(
    r"(?:^|_)opt(?:s|ed|ing)?_?out|(?:^|_)widerr(?:uf|ief)|(?:^|_)zurue?ckgez|(?:^|_)z(?:og|ieht)_(?:[^_]+_){0,4}zurue?ck"
    r"|(?:^|_)(?:ritirat|retire_son_cons)"
    r"|(?:consent|permission|einwillig|zustimm)[^_]*_(?:[^_]+_){0,2}(?:refus|declin|deni|expir|widerspr|verweiger|abgel)"
    r"|(?:^|_)(?:refus|declin|deni)[^_]*_(?:[^_]+_){0,2}(?:consent|permission)"
)
_RIGHT_TO = re.compile(r"(?:^|_)right_(?:to|of)_(?:withdr|revo[ck])[^_]*")
_NO = ("no", "n", "false", "0", "-", "nein", "non", "nee", "nej")
_NO_TOO = frozenset(
    ["falsch", "faux", "falso", "onwaar", "nie", "não", "nao", "ei", "hayır", "нет", "ні", "όχι"]
    + ["否", "无", "無", "没有", "いいえ", "なし", "아니오", "아니요"]
)

_OF_DATES = re.compile(r"(?<!up)date|datum|fecha|timestamp|(?:^|_)(?:data|dato|day|time|on|am|signed)(?:_|$)")
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
    return _SPEAKS.search(name) is not None or _refuses(name)


def is_of_refusals(column: str) -> bool:
    """Whether a yes in a column takes a consent back: `withdrawn`, `no consent`, `Einwilligung widerrufen`."""
    name = _folded(column)
    if is_consent(column):
        return False
    return _refuses(name) or (_SPEAKS.search(name) is not None and _NONE_GIVEN.search(name) is not None)


def _refuses(name: str) -> bool:
    """Whether a folded name is one of refusals, whether it speaks of consent or not."""
    return _REFUSAL.search(name) is not None or consent_words.keeps_out_unasked(name)


def leaves_consent(column: str, cell: str, is_yes: bool) -> bool:
    """Whether a cell of a column that speaks of consent leaves a consent as it is.

    Args:
        is_yes: whether the cell is nothing but a yes.
    """
    name, text = _folded(column), cell.casefold().strip()
    if not text:
        return True
    if is_of_refusals(column):
        return (text in _NO or text in _NO_TOO) and _NO_REFUSAL.search(name) is None
    dated, versioned = _of_a_consent(name)
    return (
        is_yes
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
    plain = is_consent("_".join(words))
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
        return "an empty cell" if _NO_REFUSAL.search(name) else f"an empty cell or {', '.join(_NO)}"
    words = ["an empty cell", "a yes"]
    dated, versioned = _of_a_consent(name)
    words += ["a date"] if dated or versioned else []
    words += ["a number"] if versioned else []
    return " or ".join(words)


def tells_of_withdrawal(cell: str) -> bool:
    """Whether a sentence says that somebody took a consent back: `has withdrawn`, `participant withdrew by e-mail`.

    Not where it is denied, nor where something else is withdrawn (`alcohol withdrawal`).
    """
    text = _RIGHT_TO.sub("", _NO_REFUSAL.sub("", _folded(cell)))
    return (
        _WITHDRAWN.search(text) is not None
        or (_WITHDRAWAL.search(text) is not None and _ABOUT_CONSENT.search(text) is not None)
        or consent_words.tells_of_refusal(text)
    )


def is_word_of_refusal(cell: str, words: frozenset[str]) -> bool:
    """Whether a cell is one word of refusal and nothing else but a date: `withdrawn`, `opted out 2024-05-01`.

    Args:
        words: such words besides those in names of columns.
    """
    text = "_".join(w for w in re.findall(r"[^\W\d_]+", _folded(cell)) if w not in ("on", "consent", "am"))
    return (
        text in words
        or re.fullmatch(rf"(?:{_REFUSALS}|{consent_words.REFUSED})[^_]*", text) is not None
        or consent_words.keeps_out_unasked(text)
    )
