"""Who is who: spellings of one subject, slips of a finger, and two that may be one."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.who import alike, match, near, one_edit_apart, person_key
from mimicme.pipeline.errors import InputError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "001"), ("S1", "s001"), ("sub-01", "1"), ("Subject_007", "7"), ("subject 3", "3"), ("S01_02", "s1_2"),
        ("S-1", "S1"), ("S 1", "s_01"), ("7.0", "7"), ("participant-7", "07"), ("A\u200b1", "a1"), ("\uff331", "S1"),
    ],
)  # fmt: skip
def test_spellings_of_one_subject(one, other):
    assert person_key(one) == person_key(other)
    assert match([one], [other]).row_of == {other: one}


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "10"), ("100", "1"), ("S1", "T1"), ("S0", "S"), ("suburb", "urb"), ("1_12", "11_2"), ("P7", "7")],
)
def test_others_are_others(one, other):
    assert person_key(one) != person_key(other)
    assert match([one], [other]).row_of == {}


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("S001", "S001", True), ("S001", "s001", True), ("S001", "S01", True), ("S001", "S0001", True),
        ("S001", "S002", True), ("S012", "S021", True), ("S012", "0S12", True), ("S012", "S0123", True),
        ("S001", "S022", False), ("S001", "S1", False), ("S123", "S321", False), ("ab", "ba", True), ("", "a", True),
    ],
)  # fmt: skip
def test_one_edit(one, other, near):
    assert one_edit_apart(one, other) is near
    assert one_edit_apart(other, one) is near


def test_exact_spellings_are_no_doubt():
    found = match(["1", "001", "7", "8"], ["001", "1", "07"])
    assert found.row_of == {"001": "001", "1": "1", "07": "7"}
    assert (found.rows_alone, found.folders_alone) == (("8",), ())
    with pytest.raises(InputError, match="'1' and '001'"):
        match(["1", "001"], ["001"])


def test_folders_that_are_alike():
    assert alike(["001", "2", "1", "sub-1", "3"]) == [["001", "1", "sub-1"]]
    assert alike(["1", "2"]) == []


@pytest.mark.parametrize(
    ("row", "folder", "may_be"),
    [
        ("P17", "P17-visit2", True),
        ("p017", "sub-P17_visit2", True),
        ("17", "lab_17", True),
        ("P17", "P1799", False),
        ("P1", "P17-visit1", False),
        ("visit", "P17-visit2", False),
    ],
)
def test_a_folder_that_says_more_than_a_row_may_be_the_same_person(row, folder, may_be):
    assert bool(near(row, [folder])) is may_be
