"""Names of expressions: from what a lab calls its sequences to the labels of MimicMe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mimicme.pipeline.captures import bu_names
from mimicme.pipeline.captures import table as tables
from mimicme.pipeline.errors import InputError

NEUTRAL = "neutral"
_WHAT = "expression mapping"
_COLUMNS = ("sequence", "expression")

# canonical label -> what labs and databases (BU-4DFE, CoMA, D3DFACS, FaceWarehouse) call it, letters only
_ALIASES: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral", "neutralface", "rest", "restpose", "relaxed", "neutre", "ne", "baseline"),
    "anger": ("anger", "angry"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "afraid", "fearful", "scared"),
    "happiness": ("happiness", "happy", "smile", "smiling", "joy"),
    "sadness": ("sadness", "sad"),
    "surprise": ("surprise", "surprised"),
    "pain": ("pain", "painful"),
    "pout": ("pout", "pouting", "pucker", "lippucker", "lipspucker"),
    "show_teeth": ("showteeth", "showingteeth", "teeth", "bareteeth", "teethshow"),
    "flare_nostrils": ("flarenostrils", "flarenostril", "nostrilflare", "nostrilsflare", "nostrils"),
    "inflate_cheeks": (
        "inflatecheeks",
        "inflatecheek",
        "cheekpuff",
        "cheekspuff",
        "puffcheeks",
        "puffedcheeks",
        "cheekblowing",
        "blowcheeks",
        "cheeksinflate",
    ),
    "wink_right": ("winkright", "rightwink", "winkr", "rwink", "blinkright"),
    "wink_left": ("winkleft", "leftwink", "winkl", "lwink", "blinkleft"),
    "bite_lower_lip": ("bitelowerlip", "lowerlipbite", "bitelower", "lipbitelower", "bitinglowerlip"),
    "bite_upper_lip": ("biteupperlip", "upperlipbite", "biteupper", "lipbiteupper", "bitingupperlip"),
    "tongue_out": ("tongueout", "tongue", "stickouttongue", "outtongue"),
    "tongue_left": ("tongueleft", "lefttongue", "tonguel"),
    "tongue_right": ("tongueright", "righttongue", "tonguer"),
    "mouth_right": ("mouthright", "rightmouth", "mouthr", "mouthsideright"),
    "mouth_left": ("mouthleft", "leftmouth", "mouthl", "mouthsideleft"),
}
LABELS: tuple[str, ...] = tuple(_ALIASES)
"""`neutral` and the twenty expressions of MimicMe."""

_BY_ALIAS = {alias: label for label, aliases in _ALIASES.items() for alias in aliases}


def label_of(name: str, mapping: Mapping[str, str] | None = None, subject: str = "") -> str:
    """The canonical label of a sequence as named on disk; an unknown name keeps itself.

    Case, digits, separators and words such as `take` do not count: `Happy`, `02_smile`, `mouth-left_take3`.  BU-3DFE's
    codes (`AN03WH`) are known.
    What the name leaves open (`wink`: which eye?) stays as it is; a mapping says it.

    Args:
        name: the sequence's name.
        mapping: label by name, or by `subject/name`, which goes first; asked before anything else.
        subject: the subject's name, for the mapping.
    """
    if mapping:
        for key in (f"{subject}/{name}".lower(), name.lower()):
            if key in mapping:
                said = mapping[key]
                return _BY_ALIAS.get(_letters(said), said)
    return bu_names.expression_of(name) or _BY_ALIAS.get(_letters(name), name)


def _letters(name: str) -> str:
    words = re.findall(r"[a-z]+", name.lower())
    kept = [w for w in words if w not in ("take", "rep", "trial", "seq", "sequence", "expr", "expression")]
    return "".join(kept)


def read_mapping(path: Path) -> dict[str, str]:
    """Labels by sequence name: a table (`table.parse`) with the columns `sequence` and `expression`.

    `sequence` is a sequence's name, or `subject/sequence` for one subject alone.

    Returns:
        label by lower-case name.

    Raises:
        InputError: the file cannot be read, lacks a column, or names a sequence twice differently.
        MissingDependencyError: it is XLSX, and openpyxl is not installed.
    """
    (_, header), *rows = tables.parse(tables.read_bytes(path, _WHAT), path.name, _WHAT, _is_head, [])
    columns = [cell.strip().lower() for cell in header]
    if not _is_head(header):
        raise InputError(
            "the expression mapping lacks a column",
            where=path,
            seen=", ".join(columns) or "an empty file",
            expected="a header line 'sequence,expression'",
        )
    places = [columns.index(column) for column in _COLUMNS]
    mapping: dict[str, str] = {}
    for line, row in rows:
        name, label = (row[at] if at < len(row) else "" for at in places)
        name = name.lower()
        if not name and not label:
            continue
        if not name or not label:
            raise InputError(
                "a line of the expression mapping is not complete", where=f"{path.name} line {line}"
            )
        if mapping.get(name, label) != label:
            raise InputError(
                f"'{name}' has two labels",
                where=f"{path.name} line {line}",
                seen=f"{mapping[name]} and {label}",
            )
        mapping[name] = label
    return mapping


def _is_head(cells: list[str]) -> bool:
    return set(_COLUMNS) <= {cell.strip().lower() for cell in cells}
