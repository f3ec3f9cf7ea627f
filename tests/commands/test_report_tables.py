"""The report's tables for other programs: what they say is what the records say, whatever stands in these."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mimicme.commands.report.figures import Bound
from mimicme.commands.report.index import order
from mimicme.commands.report.ranking import badness
from mimicme.commands.report.records import FrameRecord, ItemRecord
from mimicme.commands.report.tables import (
    ALL,
    FRAME_COLUMNS,
    FRAMES,
    SEQUENCE_COLUMNS,
    SEQUENCES,
    write_tables,
)
from mimicme.pipeline.items import Item

MEANT = {"s2m_p95": "how far"}
BOUNDS = {"s2m_p95": [Bound(3.0, "noted above")]}


@pytest.fixture
def records() -> list[ItemRecord]:
    good = FrameRecord(0, 0, "bake", quality={"s2m_p95": 1.23456789, "expected_error": 0.5})
    noted = FrameRecord(1, 1, "bake", note="half-seen,lips-apart", verdict="good", quality={"s2m_p95": 2.0})
    lost = FrameRecord(2, 2, "align", ok=False, reason="no-face", message="=cmd|\tsays\nwho")
    smile = ItemRecord(
        Item("S1", "smile"), "=1+1", [good, noted, lost], decisions=["unit: mm"], units={"s2m_p95": "mm"}
    )
    return order([smile, ItemRecord(Item("-S2", "calm"), "neutral", [], failure='align: "no" <scan>')])


@pytest.fixture
def written(records: list[ItemRecord], tmp_path: Path) -> Path:
    write_tables(tmp_path, records, "bake", MEANT, BOUNDS)
    return tmp_path


def table(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert all(None not in row and None not in row.values() for row in rows)  # as many cells as headings
    assert len(text.splitlines()) == len(rows) + 1
    return rows


def test_a_row_a_frame_with_all_its_figures(written: Path) -> None:
    first, second, third = table(written / FRAMES)
    assert list(first) == [*FRAME_COLUMNS, "expected_error", "s2m_p95"]
    assert (first["subject"], first["sequence"], first["frame"]) == ("S1", "smile", "0")
    assert (first["s2m_p95"], second["s2m_p95"], third["s2m_p95"]) == ("1.23457", "2", "")
    assert second["notes"] == "half-seen; lips-apart" and second["verdict"] == "good"
    assert second["score"] == "12"  # two notes, and nobody knows its expected error
    assert (third["status"], third["reason"], third["score"]) == ("rejected", "no-face", "")


def test_nothing_in_a_table_is_a_formula_or_breaks_a_row(written: Path) -> None:
    assert table(written / FRAMES)[2]["message"] == "'=cmd| says who"
    failed, smile = table(written / SEQUENCES)
    assert (smile["expression"], failed["subject"]) == ("'=1+1", "'-S2")


def test_a_row_a_sequence_worst_first(written: Path) -> None:
    failed, smile = table(written / SEQUENCES)
    assert list(smile) == list(SEQUENCE_COLUMNS)
    assert failed["failure"] == 'align: "no" <scan>' and failed["state"] == "failed" and failed["score"] == ""
    assert (smile["frames"], smile["rejected"], smile["reviewed"]) == ("3", "1", "1")
    assert smile["codes"] == "half-seen; lips-apart; no-face" and smile["decisions"] == "unit: mm"


def test_json_has_both_and_what_the_figures_mean(written: Path, records: list[ItemRecord]) -> None:
    said = json.loads((written / ALL).read_text())
    assert said["figures"]["s2m_p95"] == {
        "unit": "mm",
        "meaning": "how far",
        "which_way": "lower is better",
        "bounds": [{"value": 3.0, "what": "noted above"}],
    }
    smile = said["sequences"][1]
    assert (smile["subject"], smile["expression"], len(smile["frames"])) == ("S1", "=1+1", 3)
    assert smile["frames"][0]["figures"] == {"s2m_p95": 1.23456789, "expected_error": 0.5}
    assert smile["frames"][2]["message"] == "=cmd|\tsays\nwho"
    assert said["sequences"][0]["score"] is None


def test_without_anything_there_are_headings(tmp_path: Path) -> None:
    write_tables(tmp_path, [], "bake", {}, {})
    assert table(tmp_path / FRAMES) == [] and json.loads((tmp_path / ALL).read_text())["sequences"] == []


def test_an_expected_error_is_told_with_its_interval() -> None:
    figures = {"expected_error": 1.7, "expected_error_low": 1.1, "expected_error_high": 2.9}
    assert badness(FrameRecord(0, 0, quality=figures)).why == "expected error 1.70 mm (1.10 to 2.90)"
