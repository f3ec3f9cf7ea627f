"""What names say of a layout that is not clear, and that the advice, followed, finds the frames."""

from __future__ import annotations

import re

import pytest
from shared_helpers import touch

from mimicme.pipeline.captures.layout_hints import are_single_scans, of_deep, of_flat, of_sequences_together
from mimicme.pipeline.captures.layouts import search
from mimicme.pipeline.errors import InputError


def advised(root):
    """The first layout that the refusal names."""
    with pytest.raises(InputError, match="layout of the captures is not clear") as caught:
        search(root)
    return re.search(r"--layout '([^']+)'", str(caught.value))[1]


def test_a_folder_for_each_frame(tmp_path):
    for sequence in ("neutral", "smile"):
        touch(tmp_path, *(f"S1/{sequence}/frame_{k:04}/model.obj" for k in (1, 2, 10)))
    layout = advised(tmp_path)
    assert layout == "{subject}/{sequence}/{frame}/model.{ext}"
    found = search(tmp_path, layout).found
    assert [(f.subject, f.sequence, f.number) for f in found[:3]] == [
        ("S1", "neutral", k) for k in (1, 2, 10)
    ]
    assert {f.sequence for f in found} == {"neutral", "smile"}


def test_a_folder_for_each_frame_below_sessions_with_names_of_their_own(tmp_path):
    touch(tmp_path, *(f"lab/S1/smile/{k}/mesh{k}.ply" for k in range(3)))
    assert advised(tmp_path) == "*/{subject}/{sequence}/{frame}/*.{ext}"
    assert [f.number for f in search(tmp_path, advised(tmp_path)).found] == [0, 1, 2]


def test_a_folder_for_each_camera(tmp_path):
    for camera in ("cam1", "cam2"):
        touch(tmp_path, *(f"S1/smile/{camera}/{k}.obj" for k in range(3)))
    assert advised(tmp_path) == "{subject}/{sequence}/cam1/{frame}.{ext}"
    assert [(f.sequence, f.number) for f in search(tmp_path, advised(tmp_path)).found] == [
        ("smile", k) for k in range(3)
    ]
    assert "cameras" not in of_deep([f"S1/camping/smile/{k}.obj" for k in range(3)])


@pytest.mark.parametrize(
    "files",
    [
        [f"S1/day 1/smile/{k}.obj" for k in range(3)],  # sessions
        ["S1/day 1/smile/a.obj", "S1/day 1/neutral/a.obj"],  # one scan a folder, of no number
        ["S1/day 1/smile1/a.obj", "S2/day 1/smile2/a.obj"],  # one folder a sequence
    ],
)
def test_other_deep_folders_are_no_frames(files):
    assert "holds one frame" not in of_deep(files)


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        ([f"P{p}_smile_{k}" for p in (1, 2) for k in (1, 2, 10)], "{subject}_{sequence}_{frame}.{ext}"),
        ([f"P01-smile.{k:04}" for k in range(3)], "{subject}-{sequence}.{frame}.{ext}"),
        ([f"{n}_{e}" for n in ("anna", "ben") for e in ("neutral", "smile")], "{subject}_{sequence}.{ext}"),
    ],
)
def test_several_scans_of_a_subject_in_one_folder(tmp_path, names, layout):
    touch(tmp_path, *(f"{name}.obj" for name in names))
    assert advised(tmp_path) == layout
    found = search(tmp_path, layout).found
    assert len(found) == len(names) and len({f.subject for f in found}) < len(names)
    assert len(search(tmp_path, "flat").found) == len(names)  # the other way that is named


@pytest.mark.parametrize(
    "stems",
    [
        ["james"],
        ["anna", "ben"],
        [f"subject_{k:03}" for k in range(9)],
        [f"male_{k}" for k in range(3)] + [f"female_{k}" for k in range(3)],
        [f"S{k}_neutral" for k in range(9)],
        ["DemoFace_10K", "DemoFace_100K"],
        [f"{k:05}" for k in range(9)],
        ["3dmd_anna", "3dmd_ben", "3dmd_carol"],
    ],
)
def test_a_folder_of_single_scans(stems):
    assert of_flat([f"{stem}.obj" for stem in stems], re.compile) == ""


def test_words_that_no_layout_can_tell_apart_are_no_advice(tmp_path):
    """Fields are as short as can be: of `P1_mouth_open_1` the sequence would be `mouth`, as of `P1_mouth_shut_1`."""
    touch(tmp_path, *(f"P1_mouth_{word}_{k}.obj" for word in ("open", "shut") for k in (1, 2)))
    with pytest.raises(InputError, match="make it a folder, with a folder in it for each of its sequences"):
        search(tmp_path)


def test_a_number_before_each_expression_counts_no_frames(tmp_path):
    for subject in ("S1", "S2"):
        touch(tmp_path, *(f"{subject}/{name}.obj" for name in ("01_neutral", "02_smile", "03_mouth_open")))
    found = search(tmp_path)
    assert found.pattern == "{subject}/{sequence}.{ext}" and "words of its own" in found.messages[0]
    assert {f.sequence for f in found.found} == {"01_neutral", "02_smile", "03_mouth_open"}


def test_sequences_that_lie_together_in_a_folder(tmp_path):
    for subject in ("S1", "S2"):
        touch(tmp_path, *(f"{subject}/{name}_{k:04}.obj" for name in ("neutral", "smile") for k in (1, 2)))
    layout = advised(tmp_path)
    assert layout == "{subject}/{sequence}_{frame}.{ext}"
    found = search(tmp_path, layout).found
    assert [(f.sequence, f.number) for f in found[:4]] == [
        (s, k) for s in ("neutral", "smile") for k in (1, 2)
    ]


@pytest.mark.parametrize(
    "stems",
    [
        ("mouth_open_0", "mouth_open_1", "smile_0", "smile_1"),
        ("smile0", "smile1", "neutral0", "neutral1"),
        ("neutral", "smile_0", "smile_1", "open_0", "open_1"),
    ],
)
def test_sequences_together_that_no_layout_can_tell_apart_want_folders(tmp_path, stems):
    touch(tmp_path, *(f"{subject}/{stem}.obj" for subject in ("P01", "P02") for stem in stems))
    with pytest.raises(InputError, match="make a folder for each of them in that of the subject") as caught:
        search(tmp_path)
    assert "{subject}/{frame}.{ext}" in str(caught.value)
    assert len(search(tmp_path, "{subject}/{frame}.{ext}").found) == 2 * len(stems)


def test_times_of_a_morning_and_an_afternoon_are_one_sequence():
    stems = [f"S1/{hour}-00-0{k} {half}.obj" for hour, half in (("11", "AM"), ("1", "PM")) for k in range(3)]
    assert of_sequences_together(stems, re.compile) == ""


def test_a_word_that_all_files_begin_with_is_a_subject_where_its_number_is_at_its_end():
    names = [f"{{}}_{word}.obj" for word in ("neutral", "smile")]
    assert "'P01' is the subject" in of_flat([name.format("P01") for name in names], re.compile)
    assert of_flat([name.format("3dmd") for name in names], re.compile) == ""


@pytest.mark.parametrize(
    "names",
    [
        [f"S1/scan_{k}.obj" for k in range(3)],
        [f"S1/{k}.obj" for k in range(3)],
        ["S1/smile_1.obj", "S2/anger_1.obj"],  # alone in their folders
        ["S1/1-00-00 AM.obj", "S1/1-00-00 PM.obj"],
        ["S1/head_10K.obj", "S1/head_100K.obj"],
        [f"S1/{word}_{k}.obj" for word in ("a", "b") for k in range(2)],
    ],
)
def test_frames_of_one_folder_stay_frames(names):
    assert not are_single_scans(names)
