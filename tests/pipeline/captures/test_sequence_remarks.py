"""What is told of sequences: gaps, several files of a frame, rates; and sequences whose order is not clear."""

from __future__ import annotations

import math

import pytest
from shared_helpers import touch

from mimicme.pipeline.captures.catalogue import build
from mimicme.pipeline.captures.overview import overview
from mimicme.pipeline.errors import InputError


def said(root, *names, **more):
    found = build(touch(root, *names), **more)
    return [m for m in (*found.rates, *found.messages) if not m.startswith("Layout")]


def frames(folder, numbers, ending="obj"):
    return [f"{folder}/{k:04d}.{ending}" for k in numbers]


def test_gaps_are_told_once_a_sequence(tmp_path):
    names = [
        *frames("S1/smile", [*range(12), 15, 16]),
        *frames("S1/anger", [1, 2, 4]),
        *frames("S2/x", range(0, 50, 5)),
    ]
    assert said(tmp_path, *names) == [
        "S1/anger: frame 3 is missing.",
        "S1/smile: frames 12 to 14 are missing.",
    ]
    assert said(tmp_path / "b", *frames("S1/x", [0, 1, 3, 4, 6, 7, 9, 10, 12])) == [
        "S1/x: frames 2, 5, 8 and 1 more are missing."
    ]
    assert said(tmp_path / "c", *frames("S1/x", range(0, 40, 2)), *frames("S1/y", [0, 2, 4, 8])) == [
        "S1/y: frame 6 is missing."
    ]


def test_many_sequences_with_gaps_are_told_in_one_sentence(tmp_path):
    names = [name for k in range(6) for name in frames(f"S{k}/x", [0, 1, 2, 4 + k, 5 + k])]
    (message,) = said(tmp_path, *names)
    assert message == "6 of 6 sequences have gaps (21 frames); the longest: S5/x: frames 3 to 8 are missing."


def test_a_dropped_frame_is_told_by_the_times(tmp_path):
    names = [f"S1/x/{k / 25:.2f}.obj" for k in range(20, 60) if k not in (33, 34)]
    assert said(tmp_path, *names) == [
        "S1/x: fps: 25 from the frames' times.",
        "S1/x: by the times 2 frames after 12 are missing.",
    ]
    (sequence,) = build(tmp_path).sequences
    assert sequence.times(math.nan)[12:14] == pytest.approx([0.48, 0.6])


@pytest.mark.parametrize(
    "names",
    [
        ["2026-01-05", "2026-02-04", "2026-03-07", "2026-06-01"],
        ["2026-01-05", "2026-01-06", "2026-01-09"],
        ["visit_2026-01", "visit_2026-02", "visit_2026-06"],
        ["1_2026-01-05", "2_2026-02-04", "4_2026-06-01"],
        ["20260105T100000", "20260204T113000", "20260601T100000", "20260701T100000"],
        ["20260105T100000.00", "20260105T100000.04", "20260105T100000.08", "20260204T100000.00"],
        ["1_20260105T100000.00", "2_20260105T100000.04", "3_20260105T100000.08", "9_20260204T100000.00"],
    ],
)
def test_between_sessions_nothing_is_missing(tmp_path, names):
    messages = said(tmp_path, *(f"S1/x/{name}.obj" for name in names))
    assert not any("missing" in message for message in messages)


def test_dates_beside_numbers_hide_no_gap(tmp_path):
    names = ["S1/x/2026-01-05_0001.obj", "S1/x/2026-01-05_0002.obj", "S1/x/2026-01-05_0004.obj"]
    assert said(tmp_path, *names) == ["S1/x: frame 3 is missing."]


def test_a_declared_rate_that_names_contradict(tmp_path):
    names = ["S1/x/0.933.obj", "S1/x/0.967.obj", "S1/x/1.000.obj", "S1/x/1.033.obj"]
    (message,) = said(tmp_path, *names, fps=60)
    assert message.startswith("The times in the file names of S1/x tell 30 fps, not the 60 that are declared")
    assert said(tmp_path, fps=29.97) == []
    (sequence,) = build(tmp_path).sequences
    assert sequence.fps(math.nan) == 30 and sequence.fps(60.0) == 60
    assert sequence.times(60.0)[-1] == pytest.approx(0.1)


def test_times_of_plain_numbers_follow_the_rate(tmp_path):
    (sequence,) = build(touch(tmp_path, *frames("S1/x", [5, 6, 9]))).sequences
    assert sequence.times(50.0) == (0, 0.02, 0.08)
    assert all(map(math.isnan, sequence.times(math.nan)))


def test_files_that_differ_in_ending_alone_are_one_sentence(tmp_path):
    names = [*frames("S1/x", range(3)), *frames("S1/x", range(3), "ply"), *frames("S1/y", range(3))]
    (message,) = said(tmp_path, *names)
    assert message.startswith(
        "Every frame of S1/x has 2 files that differ in their ending alone (.obj, .ply)"
    )
    assert "'{subject}/{sequence}/{frame}.obj' or '{subject}/{sequence}/{frame}.ply'" in message
    chosen = build(tmp_path, "{subject}/{sequence}/{frame}.ply")
    assert [len(s.frames) for s in chosen.sequences] == [3] and not chosen.sequences[0].frames[0].duplicates


def test_single_frames_with_several_files_are_named(tmp_path):
    names = ["S1/x/1.obj", "S1/x/001.obj", "S1/x/2.obj", "S1/x/3.obj"]
    assert said(tmp_path, *names) == ["S1/x: frame 1 (001.obj and 1.obj) is rejected: one file a frame."]


def test_an_order_that_is_not_clear_is_left_out_and_said(tmp_path):
    unclear = ["S1/x/take1_1.obj", "S1/x/take1_2.obj", "S1/x/take2_1.obj"]
    with pytest.raises(InputError, match=r"--layout '\{subject\}/\{sequence\}/take1_\{frame\}.\{ext\}'"):
        build(touch(tmp_path / "a", *unclear))
    found = build(touch(tmp_path / "b", *unclear, *frames("S2/y", range(3))))
    assert [str(s.item) for s in found.sequences] == ["S2/y"] and list(map(str, found.unclear)) == ["S1/x"]
    assert "It is left out." in found.messages[-1] and found.captured == ("S1", "S2")
    settled = build(tmp_path / "a", "{subject}/{sequence}/take1_{frame}.{ext}")
    assert [f.number for f in settled.sequences[0].frames] == [1, 2]
    with pytest.raises(InputError, match=r"carry no frame numbers: anger, neutral, smile"):
        build(touch(tmp_path / "c", "S1/x/smile.obj", "S1/x/neutral.obj", "S1/x/anger.obj"))


def test_a_table_of_what_is_there(tmp_path):
    names = [*frames("S1/neutral", [0, 1, 3]), "S2/x/0.98.obj", "S2/x/1.00.obj", "S2/x/1.02.obj"]
    header, first, second = overview(build(touch(tmp_path, *names)), math.nan)
    assert header.split() == [
        "sequence",
        "shows",
        "frames",
        "numbers",
        "missing",
        "claimed",
        "twice",
        "fps",
        "seconds",
    ]
    assert first.split() == [
        "S1/neutral",
        "neutral",
        "(the",
        "neutral)",
        "3",
        "0",
        "to",
        "3",
        "1",
        "-",
        "?",
        "?",
    ]
    assert second.split()[-8:] == ["0", "to", "2", "-", "-", "50", "(times)", "0.040"]


def test_a_gap_is_told_by_a_sentence_or_by_the_table(tmp_path):
    few = build(touch(tmp_path / "a", *frames("S1/x", [0, 1, 3])))
    assert few.messages[-1] == "S1/x: frame 2 is missing." and "1: 2" not in overview(few, math.nan)[1]
    many = build(touch(tmp_path / "b", *(name for k in range(4) for name in frames(f"S{k}/x", [0, 1, 3]))))
    assert all("1: 2" in row for row in overview(many, math.nan)[1:])
