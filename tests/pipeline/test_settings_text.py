"""What settings mean is read from the docstrings of their classes, and is there for every setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from mimicme.pipeline.config import WORKSPACE_SECTIONS
from mimicme.pipeline.settings_text import (
    Setting,
    attributes,
    settings_of,
    shortcomings,
    type_name,
    wrapped,
)
from mimicme.stages import STAGES


@dataclass(frozen=True)
class Base:
    """What others stand on.

    Attributes:
        size: side length (texels).
        fill: whether holes
            are filled: all  of them.
    """

    size: int = 4
    fill: bool = True


@dataclass(frozen=True)
class Settings(Base):
    """Settings, and

    Attributes:
        size: side length, at most 8 (texels).
        max_turn_deg, max_shift_mm: largest motion (of the head); more
            is undone.
        a_share, a_rather_long_name_that_leaves_no_room,
        b_share: a part.

        kind: `near`, or far!
        cost: robust cost (no unit, 0 to 1); 0 is best.

    Raises:
        ValueError: never.
    """

    max_turn_deg: float = 1.0
    max_shift_mm: float = 2.0
    a_share: float = 0.1
    a_rather_long_name_that_leaves_no_room: str = ""
    b_share: float = 0.2
    kind: Literal["near", "far"] = "near"
    cost: float = 0.5
    moved: str = field(default="", metadata={"shown": False})


@dataclass(frozen=True)
class Bare:
    steps: int = 1


@dataclass(frozen=True)
class InOneLine:
    """Attributes: level: number of a level."""

    level: int = 1


def test_sentences_and_units():
    told = {s.name: (s.sentence, s.unit) for s in settings_of(Settings)}
    assert told == {
        "size": ("Side length, at most 8.", "texels"),
        "fill": ("Whether holes are filled: all of them.", ""),
        "max_turn_deg": ("Largest motion (of the head); more is undone.", "degrees"),
        "max_shift_mm": ("Largest motion (of the head); more is undone.", "mm"),
        "a_share": ("A part.", "share, 0 to 1"),
        "a_rather_long_name_that_leaves_no_room": ("A part.", ""),
        "b_share": ("A part.", "share, 0 to 1"),
        "kind": ("`near`, or far!", ""),
        "cost": ("Robust cost; 0 is best.", "no unit, 0 to 1"),
    }


def test_types_choices_and_defaults():
    by_name = {s.name: s for s in settings_of(Settings)}
    assert by_name["kind"] == Setting("kind", "", ("near", "far"), "near", "`near`, or far!", "")
    assert (by_name["size"].type, by_name["size"].default) == ("int", 4)


def test_a_class_without_a_docstring_is_borne():
    assert attributes(Bare) == {}
    assert settings_of(Bare) == (Setting("steps", "int", (), 1, "", ""),)
    assert attributes(InOneLine) == {"level": "number of a level."}


def test_what_is_lacking_is_told():
    @dataclass(frozen=True)
    class Lacking:
        """Attributes:
        gone: a sentence.
        far: how far it is.
        """

        far: float = 1.0
        near: float = 1.0

    assert shortcomings(Lacking) == [
        "Lacking has no setting 'gone'",
        "Lacking.far has no unit",
        "Lacking.near has no sentence",
    ]
    assert shortcomings(InOneLine) == []


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "int"),
        (str | float, "str or float"),
        (float | None, "float or none"),
        (tuple[str, ...], "list of str"),
        (tuple[tuple[str, str], ...], "list of pairs of str"),
        (list[int], "list of int"),
        (tuple[int, int], "pair of int"),
        (tuple[int, str, bool], "list of 3: int, str, bool"),
        (Any, "Any"),
    ],
)
def test_types_in_short_words(hint, words):
    assert type_name(hint) == words


def test_no_word_is_broken():
    assert wrapped("a well-known word " + "x" * 30, 10) == ["a", "well-known", "word", "x" * 30]


@pytest.mark.parametrize(
    "kind", [*WORKSPACE_SECTIONS.values(), *(stage.settings for stage in STAGES)], ids=lambda k: k.__name__
)
def test_every_setting_has_a_sentence_and_every_number_a_unit(kind):
    """A new setting needs a line `name: sentence` under `Attributes:`; see the docstring of settings_text.py."""
    assert shortcomings(kind) == []
