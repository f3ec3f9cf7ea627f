"""What BU-3DFE's and BU-4DFE's names say: labels, and people where the table says nothing."""

from __future__ import annotations

import pytest
from shared_helpers import touch

from mimicme.pipeline.captures.bu_names import people
from mimicme.pipeline.captures.catalogue import build
from mimicme.pipeline.captures.expressions import label_of
from mimicme.pipeline.captures.metadata import SubjectTable, parse_subjects


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("AN03WH", "anger"),
        ("DI01AE", "disgust"),
        ("FE02BL", "fear"),
        ("HA04IN", "happiness"),
        ("NE00LA", "neutral"),
        ("SA01ME", "sadness"),
        ("su04am", "surprise"),
        ("NE01WH", "NE01WH"),  # a neutral has no levels, and a level of 0 nothing else
        ("AN00WH", "AN00WH"),
        ("AN05WH", "AN05WH"),
        ("AN03XX", "AN03XX"),
        ("AN03WH2", "AN03WH2"),
    ],
)
def test_expressions(name: str, label: str) -> None:
    assert label_of(name) == label


def test_a_mapping_goes_before_the_code() -> None:
    assert label_of("AN03WH", {"an03wh": "rage"}) == "rage"


def captured(tmp_path):
    for subject, codes in (
        ("F0001", "NE00WH AN01WH"),
        ("M0002", "NE00AE SU04BL"),
        ("M0003", "NE00AM FE01ME"),
    ):
        touch(tmp_path / "3", *(f"{subject}/{subject}_{code}_F3D.wrl" for code in codes.split()))
    touch(tmp_path / "4", "F001/Angry/000.wrl", "M002/Happy/000.wrl", "M003/happy/000.wrl", "M004/Talk/0.wrl")
    touch(tmp_path / "4", "M005/Sad/000.wrl", "M005/blink/000.wrl", "S006/Sad/000.wrl")
    return [build(tmp_path / name).sequences for name in "34"]


def test_people(tmp_path) -> None:
    three, four = captured(tmp_path)
    assert people(three) == {
        "F0001": {"gender": "female", "ethnicity": "White"},
        "M0002": {"gender": "male"},  # its names do not agree
        "M0003": {"gender": "male", "ethnicity": "Middle-East Asian"},
    }
    assert people(four) == {"F001": {"gender": "female"}, "M002": {"gender": "male"}}


def test_the_table_goes_before_the_names(tmp_path) -> None:
    found = people(captured(tmp_path)[0])
    table = parse_subjects(b"subject,gender,age\nF0001,f,31\nM0002,w,\n").with_names(found)
    assert table.attributes("F0001") == {
        "age": 31, "gender": "f", "ethnicity": "White", "consent": "unknown", "split": "unknown",
    }  # fmt: skip
    assert table.attributes("M0003")["gender"] == "male"
    assert table.attributes("nobody")["gender"] == "unknown"
    said = " ".join(table.messages)
    assert "The gender and ethnicity of 3 subjects are read from names" in said
    assert "The table's gender of M0002 ('w') is another" in said and "F0001" not in said


def test_other_captures_are_as_they_were(tmp_path) -> None:
    sequences = build(touch(tmp_path, "S1/Angry/0.obj")).sequences
    table = SubjectTable()
    assert people(sequences) == {} and table.with_names({}) is table
