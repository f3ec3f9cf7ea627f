"""What subjects permit: readers filter by it, exports and models obey it, and whatever is not plainly a yes is a no."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from mimicme.commands.export import export
from mimicme.commands.model.build import BuildSettings, build
from mimicme.commands.model.sheets import write_sheets
from mimicme.commands.view.sources import ReleaseSource
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.model_file import pruned_table
from mimicme.pipeline.release import Release
from mimicme.pipeline.release.frames import ReleaseFrames, Rows
from mimicme.pipeline.release.permitted import declares, permits, said, with_unclear_codes

TABLE = """subject,age,consent,may_appear_in_papers,May train,may-share-raw,Research only
A1,30,yes,yes,yes,yes,no
A2,31,yes,no,yes,no,yes
A3,32,yes,,yes - but not after 2030,unknown,
A4,33,yes,1,signed 2024-01-02,ja,0
"""


@pytest.fixture(scope="module")
def path(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("permitted")
    given = [fakes.checkpoints(folder, fakes.sequence(Item(f"A{k}", "smile"))) for k in (1, 2, 3, 4)]
    fakes.packed(folder / "release.h5", given, parse_subjects(TABLE.encode()))
    return folder / "release.h5"


@pytest.mark.parametrize(
    ("use", "who"),
    [
        ("research", "A1 A2 A3 A4"), ("papers", "A1 A4"), ("training", "A1 A2 A4"), ("raw", "A1"),
        ("commercial", "A1 A4"),
    ],
)  # fmt: skip
def test_readers_and_exports_keep_to_it(path: Path, tmp_path: Path, use: str, who: str) -> None:
    release = Release(path)
    assert sorted(set(release.index["subject"][release.select(use=use)].tolist())) == who.split()
    assert [s for s in release.subjects if release.permits(s, use)] == who.split()
    done = export(path, tmp_path, "npz", use=use)
    assert sorted(p.name for p in tmp_path.iterdir()) == who.split()
    assert sorted((*done.forbidden, *who.split())) == ["A1", "A2", "A3", "A4"]


def test_an_export_says_what_it_is_for(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--for research"):
        export(path, tmp_path, "npz")
    with pytest.raises(UsageError, match="plainly permits 'raw'"):
        export(path, tmp_path, "npz", "A2/*", use="raw")
    with pytest.raises(UsageError, match="no such use"):
        export(path, tmp_path, "npz", use="fun")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no such use"):
        Release(path).select(use="fun")
    with pytest.raises(UsageError, match="no subject"):
        Release(path).permits("A9", "papers")


def test_a_release_that_says_nothing_is_as_before_and_permits_nothing(
    fakes: ModuleType, tmp_path: Path
) -> None:
    fakes.packed(tmp_path / "r.h5", fakes.inputs(tmp_path / "made"))
    release = Release(tmp_path / "r.h5")
    assert not declares(release.subjects.values())
    assert len(release.select(use="papers")) == 0
    assert export(release, tmp_path / "out", "npz").forbidden == ()
    with pytest.raises(UsageError, match="plainly permits 'papers'"):
        export(release, tmp_path / "more", "npz", use="papers")
    with ReleaseFrames([release.path], use="training") as frames:
        assert frames.forbidden == [] and frames.messages == () and len(frames) == 5


def test_frames_for_a_use_say_who_is_left_out(path: Path) -> None:
    with ReleaseFrames([path], use="training") as frames:
        assert frames.subjects == ["A1", "A2", "A4"] and frames.forbidden == ["A3"]
        assert "1 of the release's subjects" in frames.messages[0]


def test_models_are_built_of_those_who_permit_it(path: Path, tmp_path: Path) -> None:
    told: list[str] = []
    model = build(
        [path], tmp_path / "m.h5", BuildSettings(texture=0, group_minimum=0, prune=0, sparse=0), told.append
    )
    assert model.subjects["subject"].tolist() == ["A1", "A2", "A4"]
    assert any("1 left out (training not permitted: A3)" in one for one in told), told
    with pytest.raises(UsageError, match="who permits 'raw'"):
        ReleaseFrames([path], lambda table: table["subject"] == "A1", use="raw")


def test_who_allows_no_picture_is_on_no_sheet(path: Path, tmp_path: Path) -> None:
    built = build([path], tmp_path / "m.h5", BuildSettings(texture=0, group_minimum=0, prune=0, sparse=0))
    left_out = [(f"A{k}", "smile", "happiness", 0, 3.0) for k in (1, 2, 3)]
    shown: list[str] = []

    class Looked(ReleaseFrames):
        def rows_of(self, subject: str = "", expression: str = "", sequence: str = "") -> Rows:
            shown.append(subject)
            return super().rows_of(subject, expression, sequence)

    with Looked([path]) as frames:
        write_sheets(replace(built, pruned=pruned_table(left_out)), tmp_path / "sheets", frames)
    assert (tmp_path / "sheets" / "outliers.png").is_file()
    assert set(shown) == {"A1"}


def test_words_that_are_no_plain_yes() -> None:
    for word in ("", "no", "maybe", "ask first", "yes?", "yes, until 2030", "nan", "unknown"):
        assert not permits({"may_train": word}, "training", ())
        assert not permits({"research_only": word}, "commercial", ()) or word == "no"
    assert permits({"MAY TRAIN": "Yes"}, "training", ()) and permits({}, "research", ())
    assert said({}, ()) == dict.fromkeys(("papers", "training", "raw", "commercial"), "unknown")


@pytest.mark.parametrize("words", ["", "unknown"])
def test_a_column_in_which_nobody_says_yes_permits_nobody(
    fakes: ModuleType, tmp_path: Path, words: str
) -> None:
    table = parse_subjects(f"subject,consent,may_train,may_appear_in_papers\nA1,yes,{words},yes\n".encode())
    made = [fakes.checkpoints(tmp_path, fakes.sequence(Item("A1", "smile"), (0, 1)))]
    fakes.packed(tmp_path / "r.h5", made, table)
    with pytest.raises(UsageError, match="permits 'training'"):
        ReleaseFrames([tmp_path / "r.h5"], use="training")
    with ReleaseFrames([tmp_path / "r.h5"], use="papers") as frames:
        assert frames.forbidden == []


@pytest.mark.parametrize(
    ("codes", "clear"), [("0 1", True), ("1 1", True), ("1 0 9", True), ("1 2", False), ("0 1 2", False)]
)
def test_codes_permit_where_they_are_no_others_than_0_and_1(codes: str, clear: bool) -> None:
    each = codes.split()
    for column, use, code in (("may_train", "training", "1"), ("research_only", "commercial", "0")):
        people = [{column: one} for one in (*each, code)]
        unclear = with_unclear_codes(people)
        assert permits({column: code}, use, unclear) == clear
        assert permits(
            {column: "yes" if use == "training" else "no"}, use, unclear
        )  # words are as plain as before
        assert clear or said({column: code}, unclear)[use] == "unknown"


def test_codes_that_say_nothing_permit_nothing_of_who_is_released(fakes: ModuleType, tmp_path: Path) -> None:
    """Also in a release of those alone who have a 1 or a 0; and that is said."""
    text = "subject,consent,may_train,research_only\nA1,yes,1,0\nA2,yes,2,1\nA3,yes,yes,2\n"
    table = parse_subjects(text.encode())
    assert "`may_train` has codes (1, 2) of which nobody can know what they permit" in " ".join(
        table.messages
    )
    assert "`research_only` has codes (0, 1, 2)" in " ".join(table.messages)
    made = [fakes.checkpoints(tmp_path, fakes.sequence(Item(who, "smile"), (0, 1))) for who in ("A1", "A3")]
    fakes.packed(tmp_path / "r.h5", made, table)
    release = Release(tmp_path / "r.h5")
    assert [s for s in release.subjects if release.permits(s, "training")] == ["A3"]
    assert [s for s in release.subjects if release.permits(s, "commercial")] == []
    assert set(release.index["subject"][release.select(use="training")].tolist()) == {"A3"}


def test_two_columns_of_one_use_that_disagree_permit_nothing():
    assert permits({"may_train": "yes", "May Train": "yes"}, "training", ())
    assert not permits({"may_train": "no", "May Train": "yes"}, "training", ())
    assert not permits({"may_train": "yes", "May Train": ""}, "training", ())


def test_a_page_of_a_sequence_asks_what_for(fakes: ModuleType, tmp_path: Path) -> None:
    made = [fakes.checkpoints(tmp_path, fakes.sequence(Item(who, "smile"), (0, 1))) for who in ("A1", "A2")]
    fakes.packed(tmp_path / "r.h5", made, parse_subjects(TABLE.encode()))
    source = ReleaseSource(tmp_path / "r.h5")
    places = {item.subject: at for at, item in enumerate(source.items)}
    source.check_use(places["A1"], "papers")
    with pytest.raises(UsageError, match="--for"):
        source.check_use(places["A1"], "")
    with pytest.raises(UsageError, match="'A2' does not plainly permit 'papers'"):
        source.check_use(places["A2"], "papers")
