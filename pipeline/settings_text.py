"""What settings mean: sentence, unit, type, default and choices of each, as its settings class says them.

The sentence stands in the `Attributes:` of the class's docstring, or of a class that it is made from, as
`name: sentence`; several names that share one stand before the colon with commas between. The unit stands in the suffix
of the name (`SUFFIXES`) or in brackets in the sentence, `(texels)`; a number that is a count says `number of` instead.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

SUFFIXES = {
    "mm": "mm",
    "mm2": "mm^2",
    "um": "um",
    "deg": "degrees",
    "px": "pixels",
    "s": "s",
    "texels": "texels",
    "share": "share, 0 to 1",
}
"""Unit of a setting by the last part of its name."""

UNITS = (
    "mm", "mm^2", "mm^3", "mm^4", "mm^-2", "um", "degrees", "pixels", "texels", "s", "frames per second",
    "share", "ratio", "no unit",
)  # fmt: skip
"""What brackets in a sentence begin with, as far as a comma, when they hold its unit."""

_ENTRY = re.compile(r"(\w+(?:, \w+)*): *(.*)")


@dataclass(frozen=True)
class Setting:
    """One setting of a section.

    Attributes:
        name: its key.
        type: its type in short words: `int`, `list of str`; '' where `choices` say it.
        choices: its values, where there are only these.
        default: its value in a class's instance that is given nothing.
        sentence: what it means, without the unit; '': the class does not say it.
        unit: of its number; '': it has none, or counts something.
    """

    name: str
    type: str
    choices: tuple[Any, ...]
    default: Any
    sentence: str
    unit: str


def settings_of(kind: type) -> tuple[Setting, ...]:
    """The settings of a class in its order, without those whose field has the metadata `shown` False."""
    hints, said = typing.get_type_hints(kind), attributes(kind)
    made = kind()
    found = []
    for f in dataclasses.fields(kind):
        if not f.init or not f.metadata.get("shown", True):
            continue
        hint = hints[f.name]
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        words = "" if choices else type_name(hint)
        sentence, unit = _split(said.get(f.name, ""))
        if not unit and words in ("int", "float"):
            unit = SUFFIXES.get(f.name.rpartition("_")[2], "")
        found.append(Setting(f.name, words, choices, getattr(made, f.name), sentence, unit))
    return tuple(found)


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a class and of those it is made from say under `Attributes:`, by name.

    Of a name that several speak of, the class nearest to `kind` counts.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = base.__dict__.get("__doc__")
        if text and dataclasses.is_dataclass(base):
            found.update(_entries(inspect.cleandoc(text)))
    return found


def shortcomings(kind: type) -> list[str]:
    """What the docstrings lack: settings without a sentence, numbers without a unit, sentences of no setting."""
    names = [f.name for f in dataclasses.fields(kind)]
    found = [f"{kind.__name__} has no setting '{name}'" for name in attributes(kind) if name not in names]
    for setting in settings_of(kind):
        where = f"{kind.__name__}.{setting.name}"
        if not setting.sentence:
            found.append(f"{where} has no sentence")
        elif setting.type in ("int", "float") and not setting.unit and "umber of" not in setting.sentence:
            found.append(f"{where} has no unit")
    return found


def type_name(hint: Any) -> str:
    """A type in short words: `int`, `str or float`, `list of str`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "none"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(a) for a in args)
    if origin in (tuple, list):
        if origin is list or args[-1] is Ellipsis:
            return f"list of {type_name(args[0]).replace('pair of', 'pairs of')}"
        if len(args) == 2 and args[0] == args[1]:
            return f"pair of {type_name(args[0])}"
        return f"list of {len(args)}: " + ", ".join(map(type_name, args))
    return getattr(hint, "__name__", str(hint))


def as_comment(text: str, width: int = 100) -> list[str]:
    """Lines of at most `width` characters, each a comment of TOML."""
    return [f"# {line}" for line in wrapped(text, width - 2)]


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` characters; no word is broken."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    """Name and text of each entry of `Attributes:`, of a docstring without its indentation."""
    head, found, section = f"\n{docstring}".partition("\nAttributes:")
    if not found:
        return
    entries: list[tuple[str, str]] = []
    for depth, line in _lines(section, flat=not head.strip()):
        entry = None if depth else _ENTRY.fullmatch(line)
        if entry:
            entries.append((entry[1], entry[2]))
        elif entries:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line}")
    yield from ((name, said) for names, said in entries for name in names.split(", "))


def _lines(section: str, flat: bool) -> Iterator[tuple[int, str]]:
    """Lines of the section, up to the next one, and how deep they stand in it; names cut by a line end are joined.

    `flat`: the docstring begins with the section, whose entries then are not indented.
    """
    first, _, rest = section.partition("\n")
    if first.strip():  # """Attributes: name: sentence"""
        yield 0, first.strip()
    base, names = None, ""
    for line in rest.splitlines():
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0 and not flat:
            return
        base = depth if base is None else base
        text = f"{names} {line.strip()}".strip()
        names = text if depth == base and re.fullmatch(r"(\w+, )*\w+,", text) else ""
        if not names:
            yield depth - base, text


def _split(text: str) -> tuple[str, str]:
    """A sentence with a capital letter and a full stop, and the unit that stood in it."""
    text, unit = " ".join(text.split()), ""
    for found in re.finditer(r" ?\(([^()]*)\)", text):
        if found[1].split(",")[0] in UNITS:
            text, unit = text[: found.start()] + text[found.end() :], found[1]
            break
    if not text:
        return "", unit
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else "."), unit
