"""Why not every frame is ok, and what is said of it."""

from __future__ import annotations

from fake_runs import GOOD, go

from mimicme.pipeline.run.account import _wrong
from mimicme.pipeline.run.run_types import StageResult


def test_rejected_frames_are_told_once_and_notes_too(make, fake):
    workspace = make(GOOD | {"S2/angry": ["dd", "reject", "note"]})
    result = go(workspace, fake)
    assert result.code == 1
    assert result.stages["paint"].frames_rejected == 1
    assert [stage.newly_rejected for stage in result.stages.values()][:3] == [1, 0, 0]
    assert "frames ok, 1 rejected; " in result.err and "frames ok, 0 rejected (1 before); " in result.err
    assert result.err.count("1 rejected;") == 1
    assert result.out.count("the frame says reject") == 1
    assert "S2/angry frame 1: read rejected it (bad-words)" in result.out
    assert result.out.count("The frame says note.") == 1
    assert "every sequence: scale 1 was chosen" in result.err
    frames = sum(map(len, (GOOD | {"S2/angry": [1, 2, 3]}).values()))
    assert f"\n  {frames} frames read, 4 thrown away\n" in result.err
    assert go(workspace, fake).code == 1  # also when nothing had to be done


def test_a_frame_that_a_person_called_bad_is_no_trouble_and_others_are() -> None:
    first = StageResult("fit", frames_rejected=3, newly_rejected=3, called_bad=2, newly_called_bad=2)
    assert _wrong(first, False, 0, 0) == ["1 frame rejected by fit"]
    first.frames_rejected = first.newly_rejected = 2
    assert _wrong(first, False, 0, 0) == []
    later = StageResult("paint", frames_rejected=2, called_bad=2)
    assert _wrong(later, False, 0, 0) == []
    later.frames_rejected = 3
    assert _wrong(later, False, 0, 0) == ["1 frame rejected by the stages before"]


def test_a_rejected_frame_is_trouble_for_every_command_that_passes_it_on(make, fake):
    workspace = make(GOOD | {"S2/sad": ["reject"]})
    assert go(workspace, fake, last="read").why == ("1 frame rejected by read",)
    assert (
        go(workspace, fake, last="read").code == 1
    )  # nothing is done, and the frame is as rejected as before
    assert go(workspace, fake).why == ("1 frame rejected by read",)
    told = go(workspace, fake, first="bundle", last="bundle")
    assert (told.code, told.why) == (1, ("1 frame rejected by the stages before",))
    told = go(workspace, fake, first="fit", force=True)
    assert (told.code, told.why) == (1, ("1 frame rejected by the stages before",))
    assert (
        go(workspace, fake, first="bundle", last="bundle", only=["S1"], output=workspace.root / "s1.h5").code
        == 0
    )


def test_what_waits_for_something_that_failed_is_trouble(make, fake):
    workspace = make(GOOD | {"S2/sad": ["fail"]})
    assert go(workspace, fake, last="read").code == 1
    result = go(
        workspace, fake, first="fit", last="fit"
    )  # nothing fails here, and one sequence cannot be worked
    assert (result.counts("fit"), result.code) == ((3, 0, 0, 1), 1)
    assert result.why == ("1 waiting at fit for what failed",)
    assert go(workspace, fake, first="fit", last="fit", only=["S1"]).code == 0
    # who waits is told of once, and not at every later stage
    assert go(workspace, fake, first="fit", last="paint").why == ("1 waiting at fit for what failed",)


def test_what_waits_where_nothing_failed_waits_for_what_comes_before(make, fake):
    workspace = make()
    go(workspace, fake, last="read", only=["S1"])
    result = go(workspace, fake, first="fit", last="paint")
    assert (result.counts("fit"), result.counts("paint")) == ((2, 0, 0, 2), (2, 0, 0, 2))
    assert result.why == ("2 waiting at fit for what comes before",)
    (workspace.root.parent / "captures/S2/sad/0000.obj").write_text("fail")
    go(workspace, fake, last="read", only=["S2/sad"])
    expected = ("1 waiting at fit for what failed", "1 waiting at fit for what comes before")
    assert go(workspace, fake, first="fit", last="paint").why == expected


def test_what_waits_at_a_stage_that_is_off_is_told_of_where_no_other_follows(make, fake):
    """Else the run would end with status 1 and without a word."""
    workspace, stages, off = make(GOOD | {"S2/sad": ["fail"]}), fake.WITH_CORPUS, ("learn.enabled=false",)
    go(workspace, fake, stages, sets=off)
    result = go(workspace, fake, stages, sets=off, first="learn", last="learn")
    assert (result.code, result.why) == (1, ("1 waiting at learn for what failed",))
    result = go(workspace, fake, stages, sets=off, first="learn", last="paint")
    assert (result.code, result.why) == (1, ("1 waiting at paint for what failed",))
