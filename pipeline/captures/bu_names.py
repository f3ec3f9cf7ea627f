"""What the names of BU-3DFE's files and of BU-4DFE's folders say of who is shown and what.

BU-3DFE (Yin et al., "A 3D Facial Expression Database for Facial Behavior Research", 2006) has a folder for each
subject, `F0001` or `M0001` by sex, and in it `F0001_AN03WH_F3D.wrl`: expression, its level 01 to 04 (00 of the
neutral), ancestry.  BU-4DFE (Yin et al., "A High-Resolution 3D Dynamic Facial Expression Database", 2008) has
`F001/Angry/000.wrl`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mimicme.pipeline.items import Sequence

_EXPRESSIONS = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
_ANCESTRIES = {
    "AE": "East Asian",
    "AM": "Middle-East Asian",
    "BL": "Black",
    "IN": "Indian",
    "LA": "Hispanic or Latino",
    "ME": "Middle-East Asian",  # AM in most copies
    "WH": "White",
}
_GENDERS = {"F": "female", "M": "male"}
_POSED = "|".join(code for code in _EXPRESSIONS if code != "NE")
_CODE = re.compile(rf"(?:(NE)00|({_POSED})0[1-4])({'|'.join(_ANCESTRIES)})", re.IGNORECASE)
_FOLDERS = frozenset(("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise"))


def expression_of(name: str) -> str | None:
    """The label of a sequence named as BU-3DFE's, `AN03WH`; None for another name."""
    code = _CODE.fullmatch(name)
    return _EXPRESSIONS[(code[1] or code[2]).upper()] if code else None


def people(sequences: Iterable[Sequence]) -> dict[str, dict[str, str]]:
    """Gender and ethnicity by subject, of those all of whose sequences are named as in one of the two databases; an
    ethnicity on which the names do not agree is left out."""
    names: dict[str, list[str]] = {}
    for sequence in sequences:
        names.setdefault(sequence.item.subject, []).append(sequence.name)
    found: dict[str, dict[str, str]] = {}
    for subject, own in names.items():
        codes = [_CODE.fullmatch(name) for name in own]
        if re.fullmatch(r"[FM]\d{4}", subject) and all(codes):
            found[subject] = {"gender": _GENDERS[subject[0]]}
            ancestries = {_ANCESTRIES[code[3].upper()] for code in codes if code}
            if len(ancestries) == 1:
                found[subject]["ethnicity"] = ancestries.pop()
        elif re.fullmatch(r"[FM]\d{3}", subject) and _FOLDERS.issuperset(own):
            found[subject] = {"gender": _GENDERS[subject[0]]}
    return found
