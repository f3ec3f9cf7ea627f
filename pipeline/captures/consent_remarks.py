"""Remarks about a subject that say a refusal: a word alone, or a sentence about consent, participation or data.

A remark may speak of much else that is deleted, declined or dropped: of a scan, a question, a signal.
"""

from __future__ import annotations

import re

from mimicme.pipeline.captures import refusal_words
from mimicme.pipeline.captures.consent_words import SPEAKS, any_of, folded

_CONSENT = (
    rf"(?:^|_)(?:consent|permission|einwillig|zustimm|einverst|toestemm|samtyc?k|zgod|consens)|{SPEAKS}"
)
_TAKING_PART = (
    r"(?:^|_)(?:particip|partecip|teilnahme|teilnehm|mitmach|deelnem|take_part"
    r"|study|studie|etude|estudio|studio|badani)"
)
_PERSON = r"(?:^|_)(?:participa|subject|person|patient|proband|data|has|have|had|he|she|they)(?=_|$|n)"
# what withdraws is a consent or a person; what else may be cancelled or declined is not asked for
_WITHDRAWS = re.compile(r"(?:^|_)(?:withdr|revo[ck](?!er)|rescind|retract)")
_REFUSES = rf"(?:{refusal_words.STEMS}|(?:^|_)(?:retract|retir|expir|reject)|trukket)"
_ENDED = r"quit|ended|discontinued|stopped|terminated|abbandona|beendet|abgebrochen"
_FEW = r"[^_]*(?:_[^_]+){0,3}?"
_OF_CONSENT = re.compile(
    rf"(?:{_REFUSES}){_FEW}(?:{_CONSENT})|(?:{_CONSENT}){_FEW}(?:{_REFUSES})"
    rf"|(?:{_REFUSES}|(?:^|_)(?:drop(?:s|ped)?_out|ausgestiegen|{_ENDED})){_FEW}(?:{_TAKING_PART})"
    rf"|(?:^|_)(?:participa[tc]i|partecipaz|teilnahme){_FEW}(?:{_REFUSES}|_(?:{_ENDED}))"
)
_NONE_BEFORE = (
    r"(?:^|_)(?:cannot|(?:did|does|has|have)n_t|nie|no(?!_\d)"
    rf"|(?!no(?:_|$))(?:{refusal_words.NONE_WORDS}))(?=_|$)"
)
_NONE_AFTER = (
    r"(?:^|_)(?:not|never|missing|pending|invalid|void|lapsed|unsigned|lacking|outstanding|lost|nicht|fehlt|fehlend"
    r"|no_longer|manque|falta|manca|ontbreekt|yok|vermedi|не|нет|отсутствует|no$)(?=_|$)"
)
_NO_CONSENT = re.compile(
    rf"(?:{_NONE_BEFORE})(?:_[^_]+){{0,2}}?_?(?:{_CONSENT})|(?:{_CONSENT}){_FEW}(?:{_NONE_AFTER})"
    r"|^(?:(?:never|not)_(?:signed|given|obtained|consented)|unsigned|nicht_unterschrieben)$"
)
_NOT_NEEDED = re.compile(
    r"(?:^|_)(?:problem|issue|concern|question|delay|doubt|copy|need|requir|necessary|notig|noetig|erforderlich)"
)
_OUT = re.compile(
    r"(?:^|_)opt(?:s|ed|ing)?_?out|(?:^|_)widerr(?:uf|ief)|(?:^|_)zurue?ckgez"
    r"|(?:^|_)z(?:og|ieht)_(?:[^_]+_){0,4}zurue?ck|(?:^|_)(?:ritirat|retire_(?:son|sa|leur)_|retirad[oa]_)"
    r"|(?:^|_)(?:ausgetreten|left_(?:the_)?study(?!_room)|quit_(?:the_)?study|wants?_out(?=_|$)|changed_(?:his|her|their)_mind)"
    r"|(?:^|_)(?:subject|participant|patient|proband|person|he|she|they|has|have)_drop(?:s|ped)?_?out"
    r"|(?:^|_)(?:no_longer|nicht_mehr|ne_[^_]+_plus|ya_no)_(?:[^_]+_){0,3}"
    r"(?:particip|partecip|teilnehm|mitmach|deelnem|take_part|in_the_study)"
    r"|(?:^|_)не_(?:хоч|хот|желае)[^_]*_(?:участв|продолж)"
    r"|^(?:dropped|dropping)_out(?!_of_(?:the_)?(?:college|school|university|frame|view|range|picture|sight))"
    r"|(?:^|_)(?:refus|declin)[^_]*_to_(?:continue|go_on|return)"
    r"|(?:^|_)(?:exclud|remov)[^_]*_from_(?:the_)?(?:study|data_?set|data_?base|release|publication)"
    r"|(?:^|_)(?:wil_niet|vil_ikke|vill_inte|ei_halua)_(?:[^_]+_){0,2}(?:mee|delta|osallist)|(?:^|_)ha(?:s|ve)_left$"
    r"|(?:^|_)exercis[^_]*_(?:[^_]+_){0,3}right_(?:to|of)_(?:withdr|revo|eras|be_forg)"
    r"|(?:not|n_?t|nicht|non|niet|nie|no)_(?:want|wish|mochte|will|vuole|quiere|wil|chce)[^_]*_(?:[^_]+_){0,2}"
    r"(?:particip|partecip|teilnehm|mitmach|deelnem|take_part)"
    r"|(?:^|_)lehnte?(?:_[^_]+){0,4}?_ab(?=_|$)"
    # of a scan too, but alone of nothing else than the subject
    r"|^(?:(?:has_|hat_|was_|is_)?(?:excluded?|expired|ineligible|embargo(?:ed)?|abgebrochen|ausgeschieden)"
    r"|nekade|avslog)$"
    rf"|{any_of('未签署', '未簽署')}"
    rf"|{any_of('撤回', '撤销同意', '退出', '不同意', '철회', 'отозва', 'відклика', 'ανακάλεσ', '탈퇴')}"
)
# only that somebody was told of it, or has it; who has used it has left
_KNOWS_THE_RIGHT = re.compile(
    r"(?:(?:^|_)(?:informed|told|knows?|aware|reminded|understands?|explained)(?:_[^_]+){0,4}?|(?:^|_)(?:has|have)"
    r"(?:_(?:a|the|his|her|their))?)_right_(?:to|of)_(?:withdr|revo[ck])[^_]*"
    r"|(?:^|_)right_(?:to|of)_(?:withdr|revo[ck])[^_]*(?=(?:_[^_]+){0,2}_(?:explained|discussed|known|read)(?:_|$))"
)
_WISH = (
    r"(?:^|_)(?:want|wish|ask|request|demand|requir|must|should|please|to_be|bitte|mochte|moechte|wunsch|wuensch|verlang"
    r"|souhait|veut|quiere|solicit|chiede|wil|beantrag|antrag|verzoek|begj|gdpr|right_to)"
)
_DELETION = rf"(?:^|_)(?:{refusal_words.DELETED}|deletion)"
_WISHED = re.compile(
    rf"{_WISH}[^_]*_(?:[^_]+_){{0,5}}?(?:(?:{refusal_words.DELETED}|deletion|forgotten)"
    rf"|(?:removed|taken_out)(?:_from|$))|{_DELETION}[^_]*(?:_[^_]+){{0,2}}{_WISH}"
    r"|(?:^|_)(?:loschantrag|loeschantrag)|(?:asked|wants?|requests?)_(?:us_)?(?:to_)?remove_(?:his|her|their|all)_data"
    r"|(?:^|_)remove_(?:(?:all|his|her|their|the)_){1,2}data"
)
_THEIR_DATA = re.compile(
    rf"{_DELETION}[^_]*(?:_[^_]+){{0,3}}_(?:data|daten|donnees|datos|dati|everything|participant|subject|person)(?=_|$)"
    rf"|(?:^|_)(?:data|daten|donnees|datos|dati|alles)(?:_[^_]+){{0,2}}{_DELETION}"
)
# a thing on a face is removed for a recording; a list of addresses is no study
_THINGS = re.compile(
    r"beard|moustache|mustache|glasses|make_?up|jewel|earring|hair|mask|patch|mailing|newsletter"
)
_WHAT_OF_A_PERSON = (
    r"this|the|any|his|her|hers|him|their|them|my|these|all|of|data|daten|person|subject|participant|face|faces"
    r"|scans?|images?|photos?|pictures?|recordings?|videos?|for|in|anything|anywhere|publicly|publications?|papers?"
    r"|mehr|anymore|any_more|please|bitte|donnees|datos|dati"
)
_NOT_TO_BE_USED = re.compile(
    rf"(?:^|_)(?:{refusal_words.DO_NOT_SHOW})|(?:^|_)(?:{refusal_words.DO_NOT_USE})(?:_(?:{_WHAT_OF_A_PERSON}))*$"
)
_DENIED = re.compile(rf"(?:{refusal_words.NO_REFUSAL.pattern})[^_]*")
_SENTENCES = re.compile(r"[.,;()!?\n]")
_CLAUSES = re.compile(rf"{_SENTENCES.pattern}|[:/\u2013\u2014]|\s-\s")
_WITH_A_WORD = frozenset(
    [
        "on",
        "consent",
        "am",
        "le",
        "has",
        "have",
        "is",
        "was",
        "he",
        "she",
        "they",
        "subject",
        "participant",
        "by",
        "email",
    ]
    + ["sie", "s", "est", "se", "si", "ha", "hat", "zich"]
)
_FOR_A_STATUS = frozenset(refusal_words.REFUSED) - {"n", "0"}
_OF_PERSONS = re.compile(
    rf"withdr|rescind|revo[ck]|widerruf|zurue?ckgez|opt(?:ed)?_?out|{any_of('撤回', '退出', 'отозв', '철회')}"
)
# what stands alone in a remark of a session or an appointment as well
_OF_SESSIONS = re.compile(r"cancel|objection|zurue?ck$|отмен|取消|취소")


def is_word_of_refusal(cell: str) -> bool:
    """Whether the state of a person is one word of refusal and nothing else but a date: `withdrawn`, `no`."""
    return _without_dates(cell) in _FOR_A_STATUS or _is_word(cell)


def is_word_of_leaving(cell: str) -> bool:
    """Whether a cell is one word of refusal that is said of persons alone: `withdrawn`, not `declined`."""
    return _is_word(cell) and _OF_PERSONS.match(_without_dates(cell)) is not None


def _is_word(cell: str) -> bool:
    return refusal_words.is_word(_without_dates(cell))


def _without_dates(cell: str) -> str:
    """The words of a cell, folded, but for those that say who and when."""
    return "_".join(w for w in re.findall(r"[^\W\d_]+", folded(cell)) if w not in _WITH_A_WORD)


def tells_of_refusal(cell: str) -> bool:
    """Whether a remark says that somebody refused, left, or wants what there is of them gone.

    Not where it is denied, nor where something else is meant (`alcohol withdrawal`, `please delete scan 2`).
    """
    clauses = [clause for clause in _CLAUSES.split(cell) if clause.strip()]
    if refusal_words.NUMBERED.search(folded(cell)):  # `must be deleted: frame 3`
        clauses = [clause for clause in clauses if not refusal_words.is_to_be_deleted(folded(clause))]
    return (
        _tells(cell)
        or any(map(_speaks_of_none, _SENTENCES.split(cell)))
        or any(_is_word(c) and _OF_SESSIONS.match(_without_dates(c)) is None or _tells(c) for c in clauses)
    )


def _tells(sentence: str) -> bool:
    text = _without_the_denied(sentence)
    about = re.search(rf"{_PERSON}|{_CONSENT}|{_TAKING_PART}", text) is not None
    return (
        (_OUT.search(text) is not None and _THINGS.search(text) is None)
        or (_WITHDRAWS.search(text) is not None and (about or re.search(_WISH, text) is not None))
        or _NOT_TO_BE_USED.search(text) is not None
        or (_asks_for_deletion(text) and _THINGS.search(text) is None)
    )


def _speaks_of_none(sentence: str) -> bool:
    """Whether a refusal, or a no, stands near a word of consent."""
    text = _without_the_denied(sentence)
    none = _NO_CONSENT.search(text) or refusal_words.NONE_IN_SCRIPTS.search(text)
    said = none is not None and _NOT_NEEDED.search(text) is None
    return said or _OF_CONSENT.search(text) is not None


def _without_the_denied(sentence: str) -> str:
    return _KNOWS_THE_RIGHT.sub("", _DENIED.sub("", folded(sentence)))


def _asks_for_deletion(text: str) -> bool:
    if refusal_words.NUMBERED.search(text):
        return False
    return _WISHED.search(text) is not None or _THEIR_DATA.search(text) is not None
