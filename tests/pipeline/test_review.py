"""review.csv and corrections/: what is read of them, what they do to the catalogue, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import openpyxl
import pytest

from mimicme.pipeline.captures.catalogue import Catalogue, neutrals
from mimicme.pipeline.checkpoint import Checkpoint, FrameStatus, writing
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.items import Correction, FrameSource, Item, Sequence, Verdict
from mimicme.pipeline.review import Review, left_out, read_corrections, reviewed

HEAD = "subject,sequence,frame,verdict,reason\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "review.csv"
    path.write_text(text, encoding="utf-8")
    return path


def sequence(name: str, frames: int, expression: str = "smile") -> Sequence:
    subject, own = name.split("/")
    sources = tuple(FrameSource(n, Path(f"/captures/{name}/{n}.obj")) for n in range(frames))
    return Sequence(Item(subject, own), own, expression, sources)


def catalogue(*sequences: Sequence) -> Catalogue:
    return Catalogue(sequences, neutrals(sequences), "", ())


def test_without_a_file_nobody_said_anything(tmp_path: Path) -> None:
    assert Review.read(tmp_path / "review.csv").lines == {}
    found = catalogue(sequence("S1/smile", 2))
    assert reviewed(found, Review(), {}) is found


def test_a_frames_own_line_outranks_its_sequences(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "S1,smile,*,bad,blurred\nS1,smile,0002,good,\nS 2,neutral,7,BAD,\n")
    review = Review.read(path)
    assert review.of(Item("S1", "smile"), 1) == Verdict(False, "blurred")
    assert review.of(Item("S1", "smile"), 2) == Verdict(True)
    assert review.of(Item("S_2", "neutral"), 7) == Verdict(False)
    assert review.of(Item("S_2", "neutral"), 8) is None
    again = tmp_path / "again.csv"
    review.write(again)
    assert {p: line.verdict for p, line in Review.read(again).lines.items()} == {
        p: line.verdict for p, line in review.lines.items()
    }


def test_a_spreadsheets_semicolons_and_short_lines_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "sep=;\nverdict;subject;sequence;frame\nbad;S1;smile;3\n;;;\n")
    assert Review.read(path).of(Item("S1", "smile"), 3) == Verdict(False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,sequence,frame,verdict,why\n", "line 1: the columns of the review are others"),
        (
            HEAD + "S1,smile,3,awful,\n",
            "line 2: the verdict is not known; seen 'awful', expected good or bad",
        ),
        (HEAD + "S1,smile,three,bad,\n", "line 2: this is no frame; seen 'three'"),
        (HEAD + "S1,smile,-1,bad,\n", "line 2: this is no frame"),
        (HEAD + "\nS1,,1,bad,\n", "line 3: the line names no sequence"),
        (HEAD + "S1,smile,1,bad,half, cut\n", "line 2: the line has more cells than the header"),
        (HEAD + "S1,smile,1,bad,\nS1,smile,01,good,\n", "S1/smile frame 1 here and in line 2"),
        (HEAD + f"S1,smile,1,bad,{'x' * 201}\n", "line 2: a reason is one line of text; seen 201"),
        (HEAD + 'S1,smile,1,bad,"two\nlines"\n', "a reason is one line of text"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        Review.read(path)
    assert str(path) in str(caught.value)


def test_a_verdict_is_set_changed_and_taken_back() -> None:
    place = Item("S1", "smile"), 3
    bad = Review().said(place, Verdict(False, 'drifted "cheek", left'))
    assert bad.text() == HEAD + 'S1,smile,3,bad,"drifted ""cheek"", left"\n'
    assert bad.said(place, Verdict(True)).text() == HEAD + "S1,smile,3,good,\n"
    assert bad.said(place, None).text() == HEAD
    with pytest.raises(InputError, match="one line"):
        bad.said(place, Verdict(False, "a\nb"))


@pytest.mark.parametrize("frame", ["16", "16.0", "16.00", "16,0", "0016", "16."])
def test_whole_numbers_as_spreadsheets_write_them(tmp_path: Path, frame: str) -> None:
    text = f'subject;sequence;frame;verdict;reason\r\nS1;smile;{frame};bad;"half; cut"\r\n'
    path = tmp_path / "review.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert Review.read(path).of(Item("S1", "smile"), 16) == Verdict(False, "half; cut")
    path.write_bytes(text.encode("utf-16"))
    assert Review.read(path).of(Item("S1", "smile"), 16) == Verdict(False, "half; cut")


@pytest.mark.parametrize(
    ("frame", "spreadsheet"),
    [("16.5", True), ("1.000", True), ("12.05.2026", True), ("2026-05-12", True), ("1.2E+15", True),
     ("1E+05", True), ("12:30", True), ("\u0661", False), ("1 6", False), ("-1", False), ("", False)],
)  # fmt: skip
def test_what_is_no_whole_number_is_no_frame(tmp_path: Path, frame: str, spreadsheet: bool) -> None:
    path = written(tmp_path, HEAD + f"S1,smile,{frame},bad,\n")
    with pytest.raises(InputError, match="line 2: this is no frame") as caught:
        Review.read(path)
    assert ("give the column the format text" in str(caught.value)) == spreadsheet


def test_a_workbook_under_that_name_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (
        ["subject", "sequence", "frame", "verdict"],
        ["S1", "smile", 16.0, "bad"],
        ["S1", "cry", "*", "good"],
    ):
        book.active.append(row)
    book.save(tmp_path / "review.csv")
    review = Review.read(tmp_path / "review.csv")
    assert review.of(Item("S1", "smile"), 16) == Verdict(False) and review.of(
        Item("S1", "cry"), 3
    ) == Verdict(True)


def test_verdicts_of_what_is_not_there_are_said(tmp_path: Path) -> None:
    lines = "S1,smile,9,bad,\nS1,smlie,1,bad,\nS1,smile,1,bad,cut\nQ,x,1,bad,\n"
    path = written(tmp_path, HEAD + lines)
    found = reviewed(catalogue(sequence("S1/smile", 2)), Review.read(path), {})
    assert found.sequences[0].bad == {1: "cut"} and not found.sequences[0].all_bad
    assert (
        found.messages
        == found.unheeded
        == (
            "review.csv line 2 counts for nothing: there is no frame 9 in 'S1/smile' among the captures (it has "
            "0 to 1).",
            "review.csv line 3 counts for nothing: there is no sequence 'S1/smlie' among the captures (is 'S1/smile' "
            "meant?).",
            "review.csv line 5 counts for nothing: there is no sequence 'Q/x' among the captures.",
        )
    )


def test_a_correction_under_the_name_of_a_folder_is_told_its_own(tmp_path: Path) -> None:
    correction = Correction("corrections/S ä/lächeln/1.ljson", b"", "0")
    found = reviewed(
        catalogue(sequence("S_a/lacheln", 2)), Review(), {(Item("S ä", "lächeln"), 1): correction}
    )
    (said,) = found.unheeded
    assert "no sequence 'S ä/lächeln' among the captures (is 'S_a/lacheln' meant?)" in said


def test_a_neutral_whose_frames_are_all_bad_is_nobodys(tmp_path: Path) -> None:
    three = (
        sequence("S1/neutral", 2, "neutral"),
        sequence("S1/smile", 2),
        sequence("S1/angry", 1),
        sequence("S2/neutral", 1, "neutral"),
    )
    found = catalogue(*three)
    assert not found.unlabelled and found.neutral["S1"] == Item("S1", "neutral")
    one = reviewed(found, Review.read(written(tmp_path, HEAD + "S1,neutral,0,bad,\n")), {})
    assert not one.unlabelled and one.neutral == found.neutral
    both = reviewed(found, Review.read(written(tmp_path, HEAD + "S1,neutral,*,bad,half a face\n")), {})
    assert both.unlabelled == {"S1"}
    assert both.neutral == {"S1": Item("S1", "angry"), "S2": Item("S2", "neutral")}


def test_corrections_are_found_by_subject_sequence_and_number(tmp_path: Path) -> None:
    folder = tmp_path / "corrections"
    (folder / "S1" / "smile").mkdir(parents=True)
    (folder / "S1" / "smile" / "0001.ljson").write_bytes(b"{}")
    (folder / "S1" / "smile" / "notes.txt").write_text("mine")
    (folder / "S1" / "smile" / "2.ljson").symlink_to("/etc/hostname")
    found, strange = read_corrections(folder)
    assert [(str(item), number) for item, number in found] == [("S1/smile", 1)]
    assert len(strange) == 1 and "2.ljson" in strange[0] and "notes.txt" in strange[0]
    frames = reviewed(catalogue(sequence("S1/smile", 2)), Review(), found).sequences[0].frames
    assert frames[0].correction is None
    assert frames[1].correction is not None and frames[1].correction.data == b"{}"
    (folder / "S1" / "smile" / "1.ljson").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"two files correct one frame; seen .*0001.ljson and .*1.ljson"):
        read_corrections(folder)


def test_what_nobody_moved_belongs_to_its_correction(tmp_path: Path) -> None:
    folder = tmp_path / "corrections" / "S1" / "smile"
    folder.mkdir(parents=True)
    (folder / "3.ljson").write_bytes(b"{}")
    ((alone,), none) = (list(found) for found in read_corrections(tmp_path / "corrections"))
    before = read_corrections(tmp_path / "corrections")[0][alone]
    assert before.found is None and none == []
    (folder / "3.found").write_bytes(b"[]")
    (folder / "4.found").write_bytes(b"[]")
    found, strange = read_corrections(tmp_path / "corrections", Item("S1", "smile"))
    assert found[alone].found == b"[]" and found[alone].digest != before.digest
    assert len(strange) == 1 and "4.found" in strange[0] and "3.found" not in strange[0]
    assert read_corrections(tmp_path / "corrections", Item("S1", "*")) == ({}, [])


def test_a_correction_is_no_large_file(tmp_path: Path) -> None:
    path = tmp_path / "corrections" / "S1" / "smile" / "1.ljson"
    path.parent.mkdir(parents=True)
    with path.open("wb") as handle:
        handle.truncate((1 << 20) + 1)
    with pytest.raises(InputError, match="too large for 68 points"):
        read_corrections(tmp_path / "corrections")


def test_a_checkpoint_is_continued_without_what_is_left_out(tmp_path: Path) -> None:
    with writing(tmp_path / "a.h5", stage="a", item="S1/smile", made_by={}) as out:
        out.frames(
            [3, 4, 5], [FrameStatus(), FrameStatus(True, "", "noted", "Look."), FrameStatus(False, "x")]
        )
    with (
        Checkpoint(tmp_path / "a.h5") as before,
        writing(tmp_path / "b.h5", stage="b", item="S1/smile", made_by={}, left_out=left_out([4, 5])) as out,
    ):
        assert out.continue_from(before) == [0]
    with Checkpoint(tmp_path / "b.h5") as after:
        first, bad, earlier = after.statuses
    assert first.ok and earlier.reason == "x"
    assert (bad.ok, bad.reason, bad.note) == (False, "review", "noted")
    assert "review.csv" in bad.message
