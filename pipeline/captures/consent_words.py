"""Words of consent, as names of columns and remarks have them in many languages; of refusals: `refusal_words`.

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
CONSENT_SCRIPTS = (
    *("同意", "授权", "授權", "许可", "許可", "承諾", "許諾", "동의", "승낙", "허락"),
    *("соглас", "сагласн", "дозвіл", "згод", "съглас", "пристан", "συγκατάθεσ", "συναίνεσ"),
    *("موافق", "رضایت", "הסכמ", "सहमति", "সম্মতি", "ஒப்புதல்", "ยินยอม", "თანხმობ", "համաձայն"),
)
_ANYWHERE = any_of(*CONSENT_SCRIPTS)
# at the beginning of a word
_BEGINS = any_of(
    *("suostumu", "souhlas", "nesouhlas", "súhlas", "nesúhlas", "hozzájárul", "beleegyez", "consimț"),
    *("nõusolek",),
    *("sutikim", "piekriš", "pristan", "suglasn", "saglasn", "soglas", "privolit", "samþykk", "pëlqim"),
    *("persetujuan",),
    *("setuju", "đồng_ý", "chấp_thuận", "kunsens", "akkoord", "assent", "opt_in", "opted_in", "optin"),
    *("bildrecht",),
    *("image_rights", "droit_à_l_image"),
)
# a whole word: laws, and what forms are called
_WHOLE = any_of(
    *("onam", "onamı", "rıza", "rızası", "acord", "acordul", "izin", "gdpr", "dsgvo", "rgpd", "pdpa"),
    *("popia",),
    *("icf", "einw", "einv"),
)
SPEAKS = rf"{_ANYWHERE}|(?:^|_)(?:{_BEGINS}|(?:{_WHOLE})(?=_|$))"
# names that say a consent and nothing else: with any further word nobody knows what a yes says
_PLAIN_NAMES = (
    *("同意书", "同意書", "知情同意", "知情同意书", "知情同意書", "是否同意", "同意有無", "授权"),
    *("授权书", "授權", "授權書"),
    *("许可", "許可", "承諾", "承諾書", "許諾", "同意", "동의", "동의서", "동의여부", "승낙", "허락"),
    *("согласие", "согласен"),
    *("согласна", "информированное согласие", "сагласност", "дозвіл", "згода", "съгласие"),
    *("συγκατάθεση", "συναίνεση"),
    *("موافقة", "الموافقة", "رضایت", "رضایت نامه", "הסכמה", "सहमति", "সম্মতি", "ஒப்புதல்", "ยินยอม", "ความยินยอม"),
    *("თანხმობა", "համաձայնություն", "suostumus", "souhlas", "informovaný souhlas", "súhlas"),
    *("informovaný súhlas",),
    *("hozzájárulás", "beleegyezés", "consimțământ", "nõusolek", "sutikimas", "piekrišana", "pristanak"),
    *("suglasnost",),
    *("saglasnost", "soglasje", "privolitev", "samþykki", "pëlqim", "persetujuan", "setuju", "đồng ý"),
    *("chấp thuận",),
    *("kunsens", "akkoord", "assent", "assented", "opt in", "opted in", "optin", "bildrecht", "bildrechte"),
    *("image rights", "droit à l'image", "onam", "onamı", "aydınlatılmış onam", "rıza", "açık rıza"),
    *("acord", "acordul"),
    *("izin", "gdpr", "dsgvo", "rgpd", "pdpa", "popia", "icf", "einw", "einv", "einverst", "einw erkl"),
    *("einv erkl",),
)
_PLAIN = frozenset(folded(name).replace("_", "") for name in _PLAIN_NAMES)
# what may stand with one of them: whose, how, and that there is a form
_BESIDE = frozenset(
    ["form", "forms", "signed", "informed", "written", "given", "obtained", "ok", "yes", "parental", "parent"]
    + [
        "parents",
        "guardian",
        "child",
        "minor",
        "subject",
        "participant",
        "eltern",
        "erteilt",
        "formular",
        "бланк",
    ]
)


def is_plain(name: str) -> bool:
    """Whether a folded name says a consent and nothing else, in words of this list: `gdpr`, `icf_signed`."""
    words = [word for word in name.split("_") if word not in _BESIDE]
    return "".join(words) in _PLAIN or name.replace("_", "") in _PLAIN
