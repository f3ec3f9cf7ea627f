"""The catalogue: sequences, their labels and each subject's neutral."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_helpers import touch

from mimicme.pipeline.captures import catalogue as catalogues
from mimicme.pipeline.captures.catalogue import build, unknown_labels
from mimicme.pipeline.captures.expressions import LABELS, label_of, read_mapping
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.items import FrameSource, Item, Sequence


def test_sequences_in_order_with_frames_in_order(tmp_path):
    touch(tmp_path, "S2/b/10.obj", "S2/b/9.obj", "S1/z/1.obj", "S1/a/1.obj")
    catalogue = build(tmp_path)
    assert [str(s.item) for s in catalogue.sequences] == ["S1/a", "S1/z", "S2/b"]
    assert [f.number for f in catalogue.sequences[2].frames] == [9, 10]
    assert catalogue.subjects == ("S1", "S2")
    assert catalogue.frame_count == 4


def test_duplicate_numbers_are_kept_together(tmp_path):
    touch(tmp_path, "S1/a/frame1.obj", "S1/a/frame01.obj", "S1/a/frame2.obj")
    first, second = build(tmp_path).sequences[0].frames
    assert first.path.name == "frame01.obj"
    assert [p.name for p in first.duplicates] == ["frame1.obj"]
    assert second.duplicates == ()


def test_neutral_by_label_else_by_name(tmp_path):
    touch(tmp_path, "S1/angry/0.obj", "S1/Neutral_01/0.obj", "S2/sad/0.obj", "S2/happy/0.obj")
    assert build(tmp_path).neutral == {"S1": Item("S1", "Neutral_01"), "S2": Item("S2", "happy")}


def test_names_become_safe_and_collisions_are_errors(tmp_path):
    touch(tmp_path, "S 1/AU 1/0.obj")
    sequence = build(tmp_path).sequences[0]
    assert str(sequence.item) == "S_1/AU_1"
    assert sequence.name == "AU 1"
    touch(tmp_path, "S_1/x/0.obj")
    with pytest.raises(InputError, match="'S 1' and 'S_1'"):
        build(tmp_path)


def test_who_is_named_otherwise_than_their_folder_is_told_and_why(tmp_path):
    touch(tmp_path, "Proband 7/lächeln/0.obj", "S2/lächeln/0.obj", "S2/smile/0.obj")
    subjects, sequences = build(tmp_path).renamed
    assert "1 of 2 subjects" in subjects and "'Proband 7' is Proband_7" in subjects and "because" in subjects
    assert "1 of 2 names of sequences" in sequences and "'lächeln' is lacheln" in sequences
    assert build(tmp_path, withdrawn=lambda subject: subject == "Proband_7").renamed == (sequences,)
    touch(tmp_path / "plain", "S1/smile/0.obj")
    assert build(tmp_path / "plain").renamed == ()


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path):
    touch(tmp_path, "S1/one/smile/0.obj", "S1/two/smile/0.obj")
    (said,) = (
        m for m in build(tmp_path, "{subject}/*/{sequence}/{frame}.obj").messages if "one file a frame" in m
    )
    assert "one/smile/0.obj" in said and "two/smile/0.obj" in said


def test_withdrawn_subjects_are_not_listed(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S2/a/0.obj")
    catalogue = build(tmp_path, withdrawn=lambda subject: subject == "S1")
    assert [s.item.subject for s in catalogue.sequences] == ["S2"]
    assert any("withdrawn" in m and "S1" not in m for m in catalogue.messages)


def test_no_message_about_files_names_who_has_withdrawn(tmp_path):
    touch(tmp_path, "2/a/0.obj", "2/a/7.ljson", "12/a/0.obj", "12/a/7.ljson", "2/left over.fbx")
    said = " ".join(build(tmp_path, withdrawn=lambda subject: subject == "2").messages)
    assert "2 landmark files belong to no frame" in said
    assert "12/a/7.ljson" in said and "(withdrawn)/a/7.ljson" in said and "(withdrawn)/left over.fbx" in said


def test_refused_subjects_are_not_listed_and_named_with_the_reason(tmp_path):
    touch(tmp_path, "S1/a/0.obj", "S2/a/0.obj", "S 3/a/0.obj", "S4/a/0.obj")
    refused = {
        "S_3": "S_3 says no.",
        "S1": "S1 says no.",
        "S4": "S4 says no.",
        "S9": "S9 was never captured.",
    }

    def asked(captured):
        assert set(captured) == {"S1", "S2", "S_3"}
        return refused

    catalogue = build(tmp_path, withdrawn=lambda subject: subject == "S4", refused=asked)
    assert catalogue.captured == ("S1", "S2", "S_3")
    assert catalogue.subjects == ("S2",)
    assert list(catalogue.neutral) == ["S2"]
    # who has withdrawn is not named, whatever the table says
    assert catalogue.messages[-3:] == (
        "1 subject has withdrawn their consent; left out.",
        "S1 says no.",
        "S_3 says no.",
    )
    assert not any("S4" in m or "S9" in m for m in catalogue.messages)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("neutral", "neutral"),
        ("Happy", "happiness"),
        ("02_smile_take3", "happiness"),
        ("angry", "anger"),
        ("wink_left", "wink_left"),
        ("WinkRight", "wink_right"),
        ("mouthleft", "mouth_left"),
        ("mouth-right", "mouth_right"),
        ("bareteeth", "show_teeth"),
        ("cheekpuff", "inflate_cheeks"),
        ("lower lip bite", "bite_lower_lip"),
        ("wink", "wink"),  # which eye?
        ("scream", "scream"),
        ("1+2+4", "1+2+4"),
        ("AU 12", "AU 12"),
    ],
)
def test_labels(name, label):
    assert label_of(name) == label


def test_there_are_twenty_labels_and_neutral():
    assert len(LABELS) == 21
    assert all(label_of(label) == label for label in LABELS)


def test_mapping_goes_first(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("Sequence,Expression\nE01,smile\nS2/E01,pain\nhappy,my own\n")
    mapping = read_mapping(path)
    assert label_of("e01", mapping, "S1") == "happiness"
    assert label_of("E01", mapping, "S2") == "pain"
    assert label_of("happy", mapping) == "my own"
    assert label_of("sad", mapping) == "sadness"


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "", "sequence,expression\nE1,\n", "sequence,expression\nE1,x\ne1,y\n"]
)
def test_bad_mappings(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"labels\.csv"):
        read_mapping(path)


def test_names_that_say_nothing_are_told_with_how_to_say_it() -> None:
    def one(name: str) -> Sequence:
        item = Item("S1", name)
        return Sequence(item, name, label_of(name), (FrameSource(0, Path("a.obj")),))

    known = (one("neutral"), one("Smile_2"))
    assert unknown_labels(known) == []
    (said,) = unknown_labels((*known, one("jawdrop"), one("wink")))
    assert said.startswith("2 of 4 sequences are labelled as they are called") and "--expressions" in said
    assert "'jawdrop' (1)" in said and "'wink' (1)" in said
    assert unknown_labels((one("jawdrop"), one("wink")), {"jawdrop": "gape", "s1/wink": "wink_left"}) == []


def test_single_scans_which_nobody_named_are_no_unknown_expressions(tmp_path) -> None:
    touch(tmp_path / "single", "P1.ply", "P2.ply")
    assert unknown_labels(build(tmp_path / "single", "{subject}.{ext}").sequences) == []
    touch(tmp_path / "named", "P1/first.ply")
    (said,) = unknown_labels(build(tmp_path / "named", "{subject}/{sequence}.{ext}").sequences)
    assert "'first' (1)" in said


def test_each_name_is_looked_at_once_however_many_frames_bear_it(tmp_path, monkeypatch):
    touch(tmp_path, *(f"S{s}/e{e}/{k}.obj" for s in range(2) for e in range(3) for k in range(5)))
    asked, spelled = [], []
    safe = catalogues.safe_name
    monkeypatch.setattr(catalogues, "safe_name", lambda name: spelled.append(name) or safe(name))
    monkeypatch.setattr(catalogues, "_renamed", lambda found: ())
    found = build(tmp_path, withdrawn=lambda subject: asked.append(subject) or False)
    assert found.frame_count == 30
    assert sorted(asked) == ["S0", "S1"] and len(spelled) == 2 * 6
