"""Words of refusal in many languages: the one list that cells, names of columns and remarks take theirs from.

Patterns are of text as `consent_words.folded` writes it.  A word too many costs a question, one too few lets in
somebody who refuses.
"""

from __future__ import annotations

import re

from mimicme.pipeline.captures.consent_words import CONSENT_SCRIPTS, any_of

NOES = ("no", "n", "false", "0", "not", "none")
"""A no, which only a cell that asks for a yes or a no says of consent."""
_ENGLISH = (
    *("withdrawn", "withdrew", "withdraw", "withdrawal", "refused", "refuses", "denied", "declined"),
    *("revoked",),
    *("expired", "pending"),
)
REFUSED = (*NOES, *_ENGLISH)
"""What a message lists as refusals, in that order."""

# taken back or never given, without doubt wherever a word of a name begins so
_BEGINS = (
    r"withdr|revo[ckq]|rescind|cancel|declin|deni(?!m)|deny|refus|opt(?:s|ed|ing)?_?out|objection|disagree|dissent"
    r"|widerr|widerspr|widersproch|zurue?ck|verweiger|ablehn|abgelehn"
)
_BEGINS_ABROAD = any_of(
    *("retirad", "retiro_su", "ritirat", "ritiro", "rifiut", "rechaz", "deneg", "recus", "desist"),
    *("ingetrok",),
    *("intrekk", "teruggetrok", "geweigerd", "återkall", "återta", "tilbagetr", "tilbagekald", "wycof"),
    *("cofni",),
    *("odmow", "rezygn", "zrezygn", "odmów", "odvol", "odmít", "odmiet", "visszavon", "elutasít"),
    *("perunut", "peruut", "geri_çek"),
    *("geri_al", "austritt", "ausgetreten", "rücktritt", "ruecktritt", "nesouhlas", "nesúhlas"),
    *("dicabut", "ditolak"),
    *("opozva", "povuč", "atšauk", "atsauk", "afturk"),
)
_WHOLE = any_of("retrait", "retiré", "retirée", "retirés", "retras", "refuzat", "iptal", "trukket", "peruttu")
# who leaves; a scanner's signal drops out as well, and then it is no whole name or sentence
_LEFT = r"drop(?:s|ped|ping)?_?out|left_(?:the_)?study|quit(?:_(?:the_)?study)?"
# a lip is retracted too: only by themselves, or of a consent or a participation
_RETRACT = r"retract(?:s|ed|ion|ation)?"
_SCRIPTS = (
    *("撤回", "撤销", "撤銷", "退出", "拒绝", "拒絕", "不同意", "未同意", "没有同意", "取消", "拒否", "辞退"),
    *("取り消", "철회", "거부", "취소", "отозв", "отозыв", "отзыв", "отказ", "отмен", "выбыл"),
    *("відклик", "відмов"),
    *("ανάκλησ", "ανακάλεσ", "ανακλήθ", "άρνησ", "سحب", "انسحاب", "رفض", "لغو", "ביטול", "בוטל"),
    *("סירוב", "ถอน"),
    *("वापस_ल", "оттегл", "повуче", "rút_lại"),
)
_ANYWHERE = any_of(*_SCRIPTS)
STEMS = rf"(?:^|_)(?:{_BEGINS}|{_BEGINS_ABROAD}|(?:{_WHOLE})(?=_|$))|{_ANYWHERE}"
"""A refusal wherever it stands in the name of a column."""
_BY_ITSELF = rf"(?:{_LEFT}|{_RETRACT})(?:_(?:date|datum|on|am|at|yes_no|y_?n))*"
_OF_A_PERSON = r"participa|subject|person|patient|proband|teilnehm|study|studie|etude|estudio|studio|consent"

# in a name or a sentence that speaks of consent, where much else says that there is none
NONE_WORDS = any_of(
    *("no", "non", "not", "never", "none", "without", "end", "ends", "ended", "lost", "nicht", "nie"),
    *("nein", "kein"),
    *("keine", "keiner", "ohne", "bis", "pas", "sans", "aucun", "aucune", "sin", "sem", "nao", "senza"),
    *("geen",),
    *(
        "niet",
        "nee",
        "zonder",
        "brak",
        "bez",
        "inte",
        "ej",
        "ingen",
        "utan",
        "ikke",
        "uden",
        "yok",
        "vermedi",
        "nessun",
        "nessuna",
        "inget",
    ),
    *("ei", "nincs"),
    *("không", "tidak", "chybí", "chýba", "ne", "nav", "nėra", "fără", "pa", "ekki", "не", "нет", "без"),
    *("немає",),
    *("нема", "няма", "няма", "δεν", "χωρίς", "όχι", "لا", "بدون", "אין", "ללא", "ไม่", "नहीं", "안함"),
    *("없음", "않음"),
)
_NONE_BEFORE = any_of(
    "没有", "沒有", "未签", "未簽", "未", "无", "無", "不", "미", "비", "отсутств", "відсутн", "ไม่"
)
_NONE_AFTER = any_of(
    "なし", "缺失", "未", "无", "しない", "하지_않", "안_함", "안함", "없음", "отсутств", "відсутн"
)
_NONE_IN_SCRIPTS = (
    rf"(?:{_NONE_BEFORE})_?(?:{any_of(*CONSENT_SCRIPTS)})|(?:{any_of(*CONSENT_SCRIPTS)}).*(?:{_NONE_AFTER})"
)
NONE_IN_SCRIPTS = re.compile(_NONE_IN_SCRIPTS)
NONE_GIVEN = re.compile(
    rf"{_BEGINS}|{_BEGINS_ABROAD}|(?:^|_)(?:{_WHOLE})(?=_|$)|{_ANYWHERE}|{_LEFT}"
    r"|reject|expir|ablauf|abgelauf|laps|invalid|void|ungue?ltig|missing|pending|outstanding|lacking"
    r"|absent|unsigned|until|fehl|aussteh|entzog|entzug|entzieh|retir|retra[ic]|ritir|recha[zc]|negad"
    r"|negat|intrek|aterkall|tilbake|tilbage|trukket|terminat|suspend|annul|nullif|removed|erased|deleted"
    rf"|(?:^|_)(?:{NONE_WORDS})(?=_|$)"
    r"|(?:^|_)(?:non?|not|un)_?(?:consent|agree|permission|authori|autori)|keine?r?einw|keinezust|keineinver"
    r"|not?(?:given|obtained|signed|granted|yet)|nicht(?:erteilt|gegeben|unters|vorh)|(?:consent|agreed)(?:no|not)$"
    rf"|{_NONE_IN_SCRIPTS}"
)
_NOT_BEFORE = (
    r"(?:^|_)(?:non?|not|never|un|didn_t|hasn_t|nicht|nie|keine?r?|pas|sin|senza|niet|nie|ikke|inte|ej|ne"
    r"|не|без)_?"
)
NO_REFUSAL = re.compile(
    rf"{_NOT_BEFORE}(?:{_BEGINS}|{_BEGINS_ABROAD}|{_ANYWHERE})|(?:未|没有|沒有|没|无|無|미)(?:{_ANYWHERE})"
)
"""A refusal that is denied."""

# what of a person is to be deleted, or may not be used; not what of a recording was, nor of a chromosome
DELETED = r"erase(?!r)|" + any_of(
    *("destroy", "destruction", "slett"),
    *("delete", "erasure", "lösch", "gelösch", "loesch", "geloesch", "supprim", "suppression", "effac"),
    *("verwijder", "borrad", "borrar", "eliminad", "cancellare", "usun"),
)
_DELETED_NAMES = any_of(
    *("delete", "erase", "erasure", "lösch", "gelösch", "loesch", "geloesch", "supprim", "effac"),
    *("verwijder",),
    *("borrad", "eliminad", "deletion_date", "deletion_request", "data_deletion"),
)
_DELETED_SCRIPTS = ("删除", "刪除", "削除", "삭제", "удалить", "удалено", "видалити", "видалено")
OTHER_SCRIPTS = (*CONSENT_SCRIPTS, *_SCRIPTS, *_DELETED_SCRIPTS)
"""As they are written, to be looked for in what may be another code page's text."""
_NOT = r"(?:(?:do|does|must|may|shall|should|can|could|will)_?(?:not|n_?t)|cannot|not_to|never)_(?:be_)?"
DO_NOT_SHOW = (
    rf"{_NOT}(?:publish|share|release|show|disclos|distribut)[^_]*|not_for_(?:publi|releas|shar|distrib|use)[^_]*"
    r"|not?_(?:public_)?(?:publi[cs][^_]*|sharing|release)(?=_|$)"
    r"|nicht_(?:zu[rm]_)?(?:vero(?:e)?ffentl|publiz|teil)[^_]*|keine_vero(?:e)?ffentl[^_]*"
    r"|ne_pas_(?:publi|diffus)[^_]*|no_publi(?:car|que)[^_]*|non_pubblicare"
)
"""What nobody says of a recording alone."""
DO_NOT_USE = (
    rf"{_NOT}(?:use|process)[^_]*|nicht_(?:verwend|nutz|benutz)[^_]*|ne_pas_util[^_]*"
    r"|no_(?:usar|use)|non_(?:usare|utilizzare)"
)
_RECORDINGS = (
    r"frames?|scans?|files?|takes?|mesh(?:es)?|images?|photos?|bild(?:er)?|seq|sequences?|points?|punkte?"
    r"|vert|verts|vertex|vertices|markers?|items?|trials?|textures?|parts?|rows?|views?"
)
_OF_RECORDINGS = re.compile(rf"(?:^|_)(?:{_RECORDINGS})(?=_|$)")
# all that there is of somebody, and no count of it
_TO_DELETE_SCANS = re.compile(r"(?:^|_)(?:delete|erase)_(?:[^_]+_){0,2}(?:scans|images|photos|files)(?=_|$)")
_OF_ALL = re.compile(rf"(?:^|_)(?:{_OF_A_PERSON}|request|data|daten|donnees|datos)")
NUMBERED = re.compile(rf"(?:^|_)(?:(?:{_RECORDINGS})_(?:no_|nr_)?\d+|frames?(?=_|$)|takes?(?=_|$))")
"""A recording that is meant alone: `scan 2`, `frame`."""
_NAME_OF_DELETED = re.compile(rf"(?:^|_)(?:{_DELETED_NAMES})|{any_of(*_DELETED_SCRIPTS)}")
_NAME_OF_NO_USE = re.compile(rf"(?:^|_)(?:{DO_NOT_SHOW}|{DO_NOT_USE})")
# until when something may be kept: what a day in it means, nobody computes
_ENDS = re.compile(
    r"(?:^|_)(?:expir(?:y|es?|ed|ing|ation)(?=_|$)|valid_(?:until|to|till|thru)|gue?ltig_bis|valable_jusqu"
    r"|valido_(?:hasta|fino)|geldig_tot|data_retention|retention_(?:date|end|until|period)"
    r"|(?:retain|keep|kept|store)_until|aufbewahr)"
    rf"|{any_of('有效期', '到期', '有効期限', '유효기간', 'срок действия')}"
)
_KEPT_FOR = re.compile(r"retention|aufbewahr")
_DURATION = re.compile(
    r"\d+(?:[.,]\d+)?\s*(?:y|yrs?|years?|months?|jahre?n?|monate?n?|ans?|mois|anos?|años?|meses|anni|mesi|jaar|maanden)"
    r"|indefinite(?:ly)?|unlimited|unbegrenzt"
)


def refuses(name: str) -> bool:
    """Whether a folded name of a column is one of refusals, whether it speaks of consent or not."""
    return (
        re.search(STEMS, name) is not None
        or re.fullmatch(_BY_ITSELF, name) is not None
        or (
            re.search(rf"(?:^|_)(?:{_LEFT}|{_RETRACT})(?=_|$)", name) is not None and _tells_of_a_person(name)
        )
        or keeps_out_unasked(name)
    )


def keeps_out_unasked(name: str) -> bool:
    """Whether a folded name says that a person is to be deleted or not to be used, or until when it may be kept."""
    if _ENDS.search(name) or _NAME_OF_NO_USE.search(name):
        return True
    if _TO_DELETE_SCANS.search(name):
        return True
    of_recordings = _OF_RECORDINGS.search(name) is not None and _OF_ALL.search(name) is None
    return _NAME_OF_DELETED.search(name) is not None and not of_recordings


def is_duration(name: str, cell: str) -> bool:
    """Whether a cell says for how long data are kept, in a column of that: it ends nobody's consent."""
    return _KEPT_FOR.search(name) is not None and _DURATION.fullmatch(cell) is not None


def _tells_of_a_person(name: str) -> bool:
    return re.search(rf"(?:^|_)(?:{_OF_A_PERSON})", name) is not None


_ALONE = (
    rf"(?:{_BEGINS}|{_BEGINS_ABROAD}|[^_]{{0,2}}(?:{_ANYWHERE}))[^_]*"
    rf"|{_LEFT}|{_RETRACT}|(?:{_WHOLE})"
)


def is_word(text: str) -> bool:
    """Whether a folded text is one word of refusal and nothing else: `withdrawn`, `opted_out`; not `dropouts`."""
    return re.fullmatch(_ALONE, text) is not None or is_to_be_deleted(text)


def is_to_be_deleted(text: str) -> bool:
    """Whether a folded text says that something is to be deleted, and not what."""
    return (
        re.fullmatch(rf"(?:(?:please|bitte|to_be|must_be)_)?(?:{DELETED})[^_]*(?:_(?:me|on_request))?", text)
        is not None
    )
