"""Words of consent, and of its refusal, as names of columns and remarks have them in many languages.

They say nothing of whether a cell is a yes: they make a column one that is asked about, or that keeps out.  So a word
too many costs a question, and one too few lets somebody in whom nobody asked.
"""

from __future__ import annotations

import re
import unicodedata


def folded(text: str) -> str:
    """Small letters without accents; `_` for what is neither letter nor digit."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf"))
    return re.sub(r"\W+", "_", plain).strip("_")


def any_of(*words: str) -> str:
    """A pattern of any of the words, as `folded` writes them."""
    return "|".join(re.escape(folded(word)) for word in words)


# scripts that write words without blanks, or decline them: wherever they stand in a name
_CONSENT_SCRIPTS = (
    *("同意", "授权", "授權", "许可", "許可", "承諾", "許諾", "동의", "승낙", "허락"),
    *("соглас", "сагласн", "дозвіл", "згод", "съглас", "пристан", "συγκατάθεσ", "συναίνεσ"),
    *("موافق", "رضایت", "הסכמ", "सहमति", "সম্মতি", "ஒப்புதல்", "ยินยอม", "თანხმობ", "համաձայն"),
)
_CONSENT_ANYWHERE = any_of(*_CONSENT_SCRIPTS)
# at the beginning of a word
_CONSENT_BEGINS = any_of(
    *(
        "suostumu",
        "souhlas",
        "súhlas",
        "hozzájárul",
        "beleegyez",
        "consimț",
        "nõusolek",
        "sutikim",
        "piekriš",
    ),
    *("pristan", "suglasn", "soglas", "privolit", "samþykk", "pëlqim", "persetujuan", "đồng_ý", "chấp_thuận"),
    *(
        "kunsens",
        "akkoord",
        "assent",
        "opt_in",
        "opted_in",
        "optin",
        "bildrecht",
        "image_rights",
        "droit_à_l_image",
    ),
)
# a whole word: laws, and what forms are called
_CONSENT_WHOLE = any_of(
    *(
        "onam",
        "onamı",
        "rıza",
        "rızası",
        "acord",
        "acordul",
        "izin",
        "gdpr",
        "dsgvo",
        "rgpd",
        "pdpa",
        "popia",
        "icf",
    ),
    *("einw", "einv"),
)
SPEAKS = rf"{_CONSENT_ANYWHERE}|(?:^|_)(?:{_CONSENT_BEGINS}|(?:{_CONSENT_WHOLE})(?=_|$))"

# taken back or never given, in the same order
_REFUSED_SCRIPTS = (
    *(
        "撤回",
        "撤销",
        "撤銷",
        "退出",
        "拒绝",
        "拒絕",
        "不同意",
        "未同意",
        "没有同意",
        "取消",
        "拒否",
        "辞退",
        "取り消",
    ),
    *(
        "철회",
        "거부",
        "취소",
        "отозв",
        "отзыв",
        "отказ",
        "отмен",
        "відклик",
        "відмов",
        "ανάκλησ",
        "ανακάλεσ",
        "άρνησ",
    ),
    *("سحب", "انسحاب", "رفض", "ביטול", "סירוב"),
)
REFUSED_ANYWHERE = any_of(*_REFUSED_SCRIPTS)
_DELETED_SCRIPTS = ("删除", "刪除", "削除", "삭제", "удалить", "удалено", "видалити", "видалено")
OTHER_SCRIPTS = (*_CONSENT_SCRIPTS, *_REFUSED_SCRIPTS, *_DELETED_SCRIPTS)
"""As they are written, to be looked for in what may be another code page's text."""
_REFUSED_BEGINS = any_of(
    *(
        "retract",
        "rétract",
        "retirad",
        "ritir",
        "rifiut",
        "rechaz",
        "deneg",
        "recus",
        "desist",
        "ingetrok",
        "intrekk",
    ),
    *(
        "teruggetrok",
        "geweigerd",
        "återkall",
        "återta",
        "tilbagetr",
        "tilbagekald",
        "wycof",
        "cofni",
        "odmow",
    ),
    *(
        "odvol",
        "odmít",
        "odmiet",
        "visszavon",
        "elutasít",
        "perunut",
        "geri_çek",
        "geri_al",
        "austritt",
        "ausgetreten",
    ),
    *(
        "rücktritt",
        "ruecktritt",
        "drop_out",
        "dropped_out",
        "dropout",
        "left_study",
        "left_the_study",
        "quit_study",
    ),
)
_REFUSED_WHOLE = any_of("retrait", "retiré", "retirée", "retirés", "retras", "refuzat", "iptal", "trukket")
REFUSED = rf"{REFUSED_ANYWHERE}|(?:{_REFUSED_BEGINS})|(?:{_REFUSED_WHOLE})(?=_|$)"
"""At the beginning of a word, but for those of `REFUSED_ANYWHERE`."""

# what of a person is to be deleted, or may not be used; not what of a recording was, nor of a chromosome
_DELETED = any_of(
    *(
        "delete",
        "erase",
        "erasure",
        "lösch",
        "gelösch",
        "loesch",
        "geloesch",
        "supprim",
        "effac",
        "verwijder",
    ),
    *("borrad", "eliminad", "deletion_date", "deletion_request", "data_deletion"),
)
_DO_NOT = (
    r"(?:do_not|don_?t|must_not|may_not|not_to_be)_(?:use|publish|share|release|process)|nicht_(?:verwend|nutz|benutz)"
    r"|nicht_vero(?:e)?ffentl|ne_pas_(?:util|publi|diffus)|no_(?:usar|publicar)|non_(?:usare|utilizzare|pubblicare)"
)
_OF_RECORDINGS = re.compile(
    r"frame|scan|file|take|mesh|image|photo|bild|seq|point|punkt|vert|marker|item|trial|texture|part|row|view"
)
_NOT_USED = re.compile(rf"(?:^|_)(?:{_DELETED}|{_DO_NOT})|{any_of(*_DELETED_SCRIPTS)}")
# until when something may be kept: what a day in it means, nobody computes
_ENDS = re.compile(
    r"(?:^|_)(?:expir(?:y|es?|ed|ing|ation)(?=_|$)|valid_(?:until|to|till|thru)|gue?ltig_bis|valable_jusqu"
    r"|valido_(?:hasta|fino)|geldig_tot|data_retention|retention_(?:date|end|until|period)|(?:retain|keep|kept|store)_until|aufbewahr)"
    rf"|{any_of('有效期', '到期', '有効期限', '유효기간', 'срок действия')}"
)


def keeps_out_unasked(name: str) -> bool:
    """Whether a folded name says that a person is to be deleted or not to be used, or until when it may be kept."""
    return _ENDS.search(name) is not None or (
        _NOT_USED.search(name) is not None and _OF_RECORDINGS.search(name) is None
    )


# in a sentence: taken back by itself, whatever else it says
_TAKEN_BACK = re.compile(
    any_of(
        "撤回",
        "撤销同意",
        "退出研究",
        "退出实验",
        "退出试验",
        "不同意",
        "철회",
        "отозва",
        "відклика",
        "ανακάλεσ",
    )
    + r"|(?:^|_)(?:drop(?:s|ped)?_?out|left_(?:the_)?study|ausgetreten|retire_(?:son|sa|leur)_|retirado_|retirada_)"
)
_WISH = r"(?:want|wish|ask|request|demand|requir|must|should|please|to_be|bitte|mochte|moechte|wunsch|wuensch|verlang"
_WISH += r"|souhait|veut|quiere|solicit|chiede|wil)"
_WANTS_DELETED = re.compile(
    rf"(?:^|_){_WISH}[^_]*_(?:[^_]+_){{0,5}}(?:{_DELETED}|deletion|removed(?:_from|$))"
)
_WHAT_OF_A_PERSON = (
    r"this|the|any|his|her|hers|him|their|them|my|these|all|data|daten|person|subject|participant|face|faces|scans?"
    r"|images?|pictures?|recordings?|videos?|for|in|anything|anywhere|publicly|publications?|papers?|mehr|anymore"
    r"|any_more|please|bitte|donnees|datos|dati"
)
_NOT_TO_BE_USED = re.compile(rf"(?:^|_)(?:{_DO_NOT})[^_]*(?:_(?:{_WHAT_OF_A_PERSON}))*$")


def tells_of_refusal(sentence: str) -> bool:
    """Whether a folded sentence says that a person left, or that what there is of them is to go or not to be used."""
    both = re.search(_CONSENT_ANYWHERE, sentence) and re.search(REFUSED_ANYWHERE, sentence)
    return (
        both is not None
        or _TAKEN_BACK.search(sentence) is not None
        or _NOT_TO_BE_USED.search(sentence) is not None
        or (_WANTS_DELETED.search(sentence) is not None and "frame" not in sentence)
    )
