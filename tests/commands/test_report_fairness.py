"""report: quality by groups of people, with intervals over people."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.commands.report.fairness import (
    ENOUGH,
    EXPECTED,
    NOT_SAID,
    REJECTED,
    columns_of,
    fairness,
    interval,
    value_of,
    visible,
)
from mimicme.commands.report.page import render_section
from mimicme.commands.report.records import FrameRecord, ItemRecord
from mimicme.commands.report.sections import quality
from mimicme.pipeline.items import Item


def person(name: str, errors: list[float], lost: int = 0) -> ItemRecord:
    frames = [FrameRecord(n, n, "bake", quality={"expected_error": e}) for n, e in enumerate(errors)]
    frames += [FrameRecord(90 + n, n, "align", ok=False, reason="no-face") for n in range(lost)]
    return ItemRecord(Item(name, "smile"), "smile", frames)


def two_groups(apart: float, count: int = 8):
    rng = np.random.default_rng(4)
    records, people = [], {}
    for k in range(2 * count):
        gender = ("female", "male")[k % 2]
        level = 0.7 + apart * (gender == "male") + 0.02 * rng.normal()
        records.append(person(f"S{k:02d}", (level + 0.3 * rng.normal(size=6)).tolist()))
        people[f"S{k:02d}"] = {"age": 20 + k, "gender": gender, "consent": "yes", "scanner": "unit 1"}
    return records, people


def test_the_interval_is_students_over_people() -> None:
    """2.776 is the 97.5th percentile of t with four degrees of freedom."""
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764 * np.sqrt(2.5) / np.sqrt(5)
    assert found.mean == 3 and found.low == pytest.approx(3 - half, abs=1e-3)
    assert found.high == pytest.approx(3 + half, abs=1e-3)
    shares = interval([0.0, 0.0, 0.0, 0.0, 0.5], share=True)
    assert shares.low == 0 and shares.high > shares.mean
    assert not interval([1.0] * (ENOUGH - 1)).known and np.isnan(interval([]).mean)


def test_frames_of_one_person_do_not_make_more_people() -> None:
    records, people = two_groups(0.0)
    many = [person(r.item.subject, [f.quality["expected_error"] for f in r.frames] * 50) for r in records]
    few, more = (fairness(rs, people).groupings for rs in (records, many))
    for a, b in zip(few, more, strict=True):
        assert [g.people for g in a.groups] == [g.people for g in b.groups]
        assert a.groups[0].measures[EXPECTED].high == pytest.approx(b.groups[0].measures[EXPECTED].high)


@pytest.mark.parametrize(
    ("apart", "said"), [(0.0, "No two groups by gender"), (1.0, "Groups by gender differ")]
)
def test_it_says_whether_groups_differ(apart, said) -> None:
    records, people = two_groups(apart)
    by = {grouping.column: grouping for grouping in fairness(records, people).groupings}
    assert list(by) == ["age", "gender", "scanner"]
    assert by["gender"].sentences[0].startswith(said)
    assert by["scanner"].sentences[0].startswith("By scanner there are no two groups")
    assert [(g.name, g.people, g.frames) for g in by["gender"].groups] == [("female", 8, 48), ("male", 8, 48)]


def test_small_groups_are_named_and_have_no_interval() -> None:
    records, people = two_groups(0.0)
    people["S00"]["gender"] = "Other"
    people["S01"]["gender"] = "unknown"
    (by,) = (g for g in fairness(records, people).groupings if g.column == "gender")
    assert [g.name for g in by.groups] == ["female", "male", "other", NOT_SAID]
    assert by.sentences[-1] == f"Too small to tell, with fewer than {ENOUGH} people: other (1)."
    assert "too few people" in render_section("fairness", fairness(records, people))


def test_rejected_frames_count_as_a_share_of_each_persons() -> None:
    records = [person(f"S{k}", [0.5, 0.5], lost=2) for k in range(6)]
    people = {f"S{k}": {"ethnicity": "a" if k else "b"} for k in range(6)}
    (by,) = fairness(records, people).groupings
    assert by.groups[0].measures[REJECTED].mean == 0.5


def test_small_groups_are_not_shown_to_others() -> None:
    members = {"a": ["x"] * 20, "b": ["x"] * 12, "c": ["x"] * 3}
    shown, hidden = visible(members, 10)
    assert list(shown) == ["a"] and hidden == 15  # c alone would be what is missing of all
    assert visible(members | {"d": ["x"] * 9}, 10) == ({"a": members["a"], "b": members["b"]}, 12)
    assert visible(members, 0) == (members, 0)
    records, people = two_groups(0.0, 12)
    people["S00"]["gender"] = "rarest"
    found = fairness(records, people, private=10)
    (by,) = (g for g in found.groupings if g.column == "gender")
    page = render_section("fairness", found)
    assert "rarest" not in page and by.hidden == 12 and [g.name for g in by.groups] == ["male"]
    assert "Not shown: 12 people" in page
    few = render_section("fairness", fairness(records[:6], people, private=10))
    assert "Not shown: 6 people" in few and "<table" not in few


def test_a_figure_of_few_people_is_not_shown_to_others() -> None:
    records, _ = two_groups(0.0, 12)
    records[0].frames[0].quality["of_one"] = 42.125
    assert "of_one" in {row.figure for row in quality(records, ()).rows}
    assert "of_one" not in {row.figure for row in quality(records, (), private=10).rows}


def test_columns_are_those_about_people_and_devices() -> None:
    row = {
        "age": 1,
        "Skin type": 2,
        "scanner_id": 3,
        "consent": "yes",
        "split": "x",
        "language": "x",
        "page": 3,
    }
    assert columns_of([row, {"Geschlecht": "w", "sex": "f"}]) == ["age", "Skin type", "scanner_id", "sex"]
    assert value_of("age", {"age": 30}) == "18to49" and value_of("age", {}) == NOT_SAID
    assert value_of("gender", {"gender": " Female "}) == "female"


def test_a_table_without_such_columns_says_so() -> None:
    found = fairness([person("S0", [0.5])], {"S0": {"consent": "yes"}})
    assert not found.groupings and "nothing to compare" in render_section("fairness", found)


def test_what_few_of_a_group_have_is_not_shown_to_others() -> None:
    """Nine of ten lost all their frames: the mean of the group would be the tenth's own figure."""
    records = [person("f0", [1.5])] + [person(f"f{k}", [], lost=2) for k in range(1, 10)]
    records += [person(f"m{k}", [0.7]) for k in range(10)]
    people = {r.item.subject: {"gender": "female" if r.item.subject[0] == "f" else "male"} for r in records}
    shown = {group.name: group for group in fairness(records, people, 10).groupings[0].groups}
    assert np.isnan(shown["female"].measures[EXPECTED].mean)
    assert shown["male"].measures[EXPECTED].mean == pytest.approx(0.7)
    own = {group.name: group for group in fairness(records, people).groupings[0].groups}
    assert own["female"].measures[EXPECTED].mean == pytest.approx(1.5)
