"""report: the methods paragraph says what was done, and cites what that is."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from mimicme.commands.report import citations
from mimicme.commands.report.citations import Citation
from mimicme.commands.report.methods import differences, methods
from mimicme.commands.report.page import render_section
from mimicme.commands.report.records import FrameRecord, ItemRecord
from mimicme.pipeline.items import Item
from mimicme.stages import STAGES

ALL = [one for one in vars(citations).values() if isinstance(one, Citation)]


def workspace(folder: Path, config: str = "") -> SimpleNamespace:
    """As far as it is read: a run with its settings and versions, and no template."""
    (folder / "config.toml").write_text(config)
    (folder / "versions.json").write_text(
        '{"python": "3.11.2", "packages": {"mimicme": "9.9", "numpy": "2.4"}}'
    )
    return SimpleNamespace(runs=lambda: [folder], template=folder / "template.h5")


def record(given: int = 68, found: int = 0, by_surface: bool = False, **quality: float) -> ItemRecord:
    frames = [
        FrameRecord(n, n, "bake", quality=dict(quality), given=given, found=found, by_surface=by_surface)
        for n in range(3)
    ]
    frames.append(FrameRecord(3, 3, "register", ok=False, reason="register-half"))
    frames.append(FrameRecord(4, 4, "bake", ok=False, reason="review", verdict="bad"))
    return ItemRecord(Item("S0", "smile"), "smile", frames)


def test_it_has_counts_versions_settings_and_reasons(tmp_path: Path) -> None:
    found = methods(
        workspace(tmp_path, "[bake]\nsize = 512\n[register]\nstiffness_end = 2.5\n"),
        [record(scan_vertices=31_000, s2m_median=0.0712, drift=0.2, coverage=0.9)],
        STAGES,
    )
    text = " ".join(found.paragraphs)
    for part in (
        "5 scans in 1 sequence of 1 subject with mimicme 9.9 (Python 3.11.2; numpy 2.4)",
        "median 31,000 vertices", "given by hand or by file on every scan", "stiffness down to 2.5",
        "512 x 512 texels", "1 scan of 5 (20.0%) was rejected (register-half: 1)",
        "1 more scan was left out after being looked at", "surface is 0.07 mm",
    ):  # fmt: skip
        assert part in text, part
    assert "S0" not in text and "MediaPipe" not in text and "second pass" not in text


def test_what_is_cited_is_in_the_bibtex_and_nothing_else(tmp_path: Path) -> None:
    found = methods(workspace(tmp_path), [record(given=34, found=34, s2m_median=0.1)], STAGES)
    text = " ".join(found.paragraphs)
    cited = {one.key for one in ALL if one.said in text}
    assert cited == set(re.findall(r"@\w+\{(\w+),", found.bibtex))
    assert {"papaioannou2022mimicme", "amberg2007optimal", "kartynnik2019realtime"} <= cited
    assert "lucas1981iterative" not in cited
    assert "on 100% of the scans" not in text


def said_of(folder: Path, *records: ItemRecord, config: str = "") -> str:
    return " ".join(methods(workspace(folder, config), records, STAGES).paragraphs)


def test_the_surface_is_named_where_it_moved_a_pose_alone(tmp_path: Path) -> None:
    by_landmarks = record(align_landmark_residual=2.0)
    text = said_of(tmp_path, by_landmarks)
    assert "rigidly aligned" in text and "refined on the surface" not in text and "Besl" not in text
    text = said_of(tmp_path, record(align_landmark_residual=2.0, given=6, by_surface=True))
    assert "; the pose was refined on the surface (Besl" in text
    both = (by_landmarks, record(align_landmark_residual=2.0, given=6, by_surface=True))
    text = said_of(tmp_path, *both, config="[align]\nfew_landmarks = 20\n")
    assert "; on 3 of 6 scans, where fewer than 20 landmarks were trusted, the pose was refined" in text


def test_landmarks_that_are_not_there_are_not_said_to_be(tmp_path: Path) -> None:
    assert "68 landmarks (Sagonas" in said_of(tmp_path, record())
    text = said_of(tmp_path, record(), record(given=12), record(given=40))
    assert "given by hand or by file: all of them on 3 of 9 scans, 12 to 40 on the others" in text
    assert "given by hand or by file: 6 on each scan" in said_of(tmp_path, record(given=6))
    text = said_of(tmp_path, record(), record(given=0, found=60))
    assert "given by hand or by file on 3 scans and found in rendered views" in text
    assert "on 3 scans: all of them on 3 of 6 scans, 60 on the others" in text


def test_what_was_not_refined_or_textured_is_counted(tmp_path: Path) -> None:
    whole = record(s2m_median=0.1, drift=0.2, coverage=0.9)
    assert "not so on" not in said_of(tmp_path, whole)
    text = said_of(tmp_path, whole, record(s2m_median=0.1))
    assert text.count("; not so on 3 of 6 registered scans.") == 2


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.key)
def test_an_entry_is_whole(one: Citation) -> None:
    assert {"author", "title", "year"} <= set(one.fields) and one.fields["year"] in one.key
    assert one.fields["year"] in one.said
    assert one.bibtex.count("{") == one.bibtex.count("}")
    if doi := one.fields.get("doi"):
        assert re.fullmatch(r"10\.\d{4,5}/\S+", doi)


def test_settings_that_differ_are_listed() -> None:
    config = {"bake": {"size": 512, "format": "png", "unknown": 1}, "register": {"max_s2m_median_mm": 1}}
    (found,) = differences(config, STAGES)
    assert (found.name, found.value, found.default) == ("bake.size", "512", "1024")


def test_where_nothing_has_run_it_says_so(tmp_path: Path) -> None:
    none = SimpleNamespace(runs=list, template=tmp_path / "template.h5")
    found = methods(none, [], STAGES)
    assert not found.ran and "Nothing has run yet" in render_section("methods", found)


def test_a_sequences_own_name_is_not_told() -> None:
    from mimicme.commands.report.methods import _labelled

    assert _labelled({"happiness": 2, "neutral": 1}) == "The sequences are labelled happiness, neutral."
    said = _labelled({"neutral": 1, "anna_meier_take2": 2})
    assert said == "The sequences are labelled neutral, and 2 sequences with words of their own."
    assert _labelled({"anna": 1}) == "There is 1 sequence with words of its own."
