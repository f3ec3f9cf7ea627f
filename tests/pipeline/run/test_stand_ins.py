"""A neutral of which no frame can be registered, or that failed: who takes its place, and what is left as it was."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from fake_runs import calls, digests, go

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.neutrals import MOST_STAND_INS, Neutrals
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.workspace import Workspace

# even numbers of letters are no neutrals; the fewer letters, the calmer
REJECTED = {
    "S1/neutral": ["ab"],
    "S1/calm": ["abcdefg", "abc"],
    "S1/smile": ["abcdef", "abcdefgh"],
    "S1/wide": ["abcdefghi"],
    "S2/neutral": ["a"],
    "S2/smile": ["abcd"],
}
SAID = (
    "S1: the neutral is 'calm': of 'neutral' no frame is registered; the calmest of the others is its frame 1"
)


@pytest.fixture
def picky(fake):
    return SimpleNamespace(STAGES=fake.PICKY)


def neutral_of(workspace, item, stage="fit"):
    with Checkpoint(workspace.checkpoint(stage, Item(*item.split("/")))) as made:
        return made.attrs["neutral"]


def registered(workspace):
    """Digests of what was made after the captures were read, whose checkpoints know the times of their files."""
    return {
        name: digest for name, digest in digests(workspace).items() if name.startswith(("fit/", "agree/"))
    }


def decision(workspace, item):
    with Checkpoint(workspace.checkpoint("fit", Item(*item.split("/")))) as made:
        return made.attrs.get("neutral_decision", "")


def no_fit(workspace, name, fails=True):
    """Whether a sequence fails from now on."""
    file = workspace.captures.root.parent / "no_fit" / name
    file.parent.mkdir(exist_ok=True)
    file.touch() if fails else file.unlink()


def told(workspace, stages, each=True):
    return "\n".join(read_status(Workspace.open(workspace.root, environ={}), stages.STAGES, each).messages)


def test_the_calmest_of_the_others_takes_the_place_and_is_said(make, picky):
    workspace = make(REJECTED)
    result = go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == neutral_of(workspace, "S1/wide") == "S1/calm"
    assert neutral_of(workspace, "S1/calm") == neutral_of(workspace, "S1/neutral") == ""
    assert neutral_of(workspace, "S2/smile") == "S2/neutral"
    assert decision(workspace, "S1/calm").endswith("in place of 'neutral': no frame is registered there")
    assert decision(workspace, "S1/neutral") == decision(workspace, "S2/neutral") == ""
    with Checkpoint(workspace.checkpoint("agree", Item("S1", "calm"))) as made:
        assert list(made.attrs["siblings"]) == ["neutral", "smile", "wide"]
    assert SAID in result.err and "S2: " not in result.err
    assert SAID in told(workspace, picky) and SAID in told(workspace, picky, each=False)


def test_a_second_run_finds_everything_made_and_says_it_again(make, picky):
    workspace = make(REJECTED)
    go(workspace, picky)
    calls(workspace)
    result = go(workspace, picky)
    assert calls(workspace) == []
    assert SAID in result.err


@pytest.mark.parametrize("jobs", [2, 3])
def test_workers_side_by_side_choose_the_same(make, picky, jobs):
    one, more = make(REJECTED), make(REJECTED, "more")
    go(one, picky)
    go(more, picky, jobs=jobs)
    assert digests(one) == digests(more)
    assert len(calls(one)) == len(calls(more))  # nothing twice


def test_nothing_is_made_twice_while_another_is_looked_for(make, picky):
    workspace = make(REJECTED)
    go(workspace, picky)
    made = [tuple(call[:2]) for call in calls(workspace)]
    assert len(made) == len(set(made))


def test_an_unlabelled_subject_takes_its_next_calmest(make, picky):
    words = {"S1/a": ["abcdefghijk"], "S1/b": ["ab"], "S1/c": ["abcd"], "S1/d": ["abcde"]}
    workspace = make(words)
    result = go(workspace, picky)
    assert neutral_of(workspace, "S1/a") == "S1/d"
    assert [neutral_of(workspace, f"S1/{name}") for name in "bcd"] == ["", "", ""]
    assert decision(workspace, "S1/d").startswith(
        "tried as the subject's neutral in place of 'b', 'c': no frame"
    )
    assert "S1: the neutral is 'd': of 'b', 'c' no frame is registered" in result.err


def test_another_one_labelled_neutral_comes_before_calmer_ones(make, picky):
    words = {"S1/neutral": ["ab"], "S1/neutral_2": ["abcdefg"], "S1/smile": ["a"], "S1/wide": ["abcd"]}
    workspace = make(words)
    go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == neutral_of(workspace, "S1/wide") == "S1/neutral_2"


def test_so_many_are_tried_and_then_each_finds_its_own(make, picky):
    evens = {f"S1/e{k}": ["ab" * (k + 2)] for k in range(MOST_STAND_INS + 1)}
    workspace = make({"S1/neutral": ["ab"], **evens, "S1/odd": ["a" * 99]})
    result = go(workspace, picky)
    # as it is without a stand-in: the others are given what has no neutral
    assert neutral_of(workspace, "S1/odd") == "S1/neutral" == neutral_of(workspace, f"S1/e{MOST_STAND_INS}")
    said = "S1: there is no neutral: of 'neutral', 'e0', 'e1', 'e2' no frame is registered"
    assert said in result.err and said in told(workspace, picky)
    calls(workspace)
    go(workspace, picky)
    assert calls(workspace) == []


def test_a_neutral_that_is_rejected_later_leaves_its_place(make, picky):
    workspace = make(REJECTED | {"S1/neutral": ["a"]})
    go(workspace, picky)
    assert neutral_of(workspace, "S1/calm") == "S1/neutral"
    registered_before = registered(workspace)
    calls(workspace)
    path = workspace.captures.root / "S1/neutral/0000.obj"
    path.write_text("reject")
    result = go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == "S1/calm" and SAID in result.err
    assert not any(call[1].startswith("S2") for call in calls(workspace))
    path.write_text("a")
    go(workspace, picky)
    assert registered(workspace) == registered_before


def test_a_neutral_that_fails_tonight_leaves_what_was_made_from_it(make, picky):
    workspace = make(REJECTED | {"S1/neutral": ["a"]})
    go(workspace, picky)
    before = registered(workspace)
    calls(workspace)
    no_fit(workspace, "neutral")
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("abc")
    result = go(workspace, picky)
    assert result.counts("fit") == (0, 5, 1, 0)
    assert {call[1] for call in calls(workspace)} == {"S1/neutral"}
    assert registered(workspace) == before
    no_fit(workspace, "neutral", False)
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("a")
    calls(workspace)
    assert go(workspace, picky).code == 0
    assert {call[1] for call in calls(workspace)} == {"S1/neutral"}
    assert registered(workspace) == before


def test_what_is_new_begins_from_the_earlier_result_of_a_neutral_that_fails(make, picky):
    workspace = make(REJECTED | {"S1/neutral": ["a"]})
    go(workspace, picky)
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("fail")
    new = workspace.captures.root / "S1/new"
    new.mkdir()
    (new / "0000.obj").write_text("abcd")
    calls(workspace)
    assert go(workspace, picky).counts("fit") == (1, 5, 0, 1)
    assert neutral_of(workspace, "S1/new") == "S1/neutral"


def test_other_settings_do_not_begin_from_the_earlier_result(make, picky):
    workspace = make(REJECTED | {"S1/neutral": ["a"]})
    go(workspace, picky)
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("fail")
    go(workspace, picky, sets=("fit.steps=5",))
    assert neutral_of(workspace, "S1/smile") == "S1/calm"


def test_where_there_is_nothing_earlier_another_takes_the_place_of_one_that_failed(make, picky):
    workspace = make(REJECTED | {"S1/neutral": ["fail"]})
    go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == neutral_of(workspace, "S1/wide") == "S1/calm"
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("a")
    go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == neutral_of(workspace, "S1/calm") == "S1/neutral"


def test_a_sequence_with_a_frame_called_bad_stands_in_for_none(make, picky):
    workspace = make(REJECTED)
    (workspace.root / "review.csv").write_text("subject,sequence,frame,verdict,reason\nS1,calm,1,bad,cut\n")
    go(workspace, picky)
    assert decision(workspace, "S1/wide").startswith(
        "tried as the subject's neutral in place of 'neutral', 'smile'"
    )
    assert neutral_of(workspace, "S1/calm") == "S1/wide"


def test_a_part_of_the_captures_begins_from_the_stand_in_that_is_there(make, picky):
    workspace = make(REJECTED)
    go(workspace, picky)
    calls(workspace)
    before = digests(workspace)
    go(workspace, picky, only=("S1/smile",))
    assert calls(workspace) == []
    assert {name for name, digest in digests(workspace).items() if digest != before[name]} <= {"release.h5"}


def test_a_part_of_the_captures_works_without_it_and_the_whole_after_it(make, picky):
    workspace, whole = make(REJECTED), make(REJECTED, "whole")
    assert go(workspace, picky, only=("S1/wide",)).code in (0, 1)
    go(workspace, picky)
    go(whole, picky)
    assert digests(workspace) == digests(whole)


def test_dry_run_and_force_agree_with_the_run(make, picky):
    workspace = make(REJECTED)
    go(workspace, picky)
    before = digests(workspace)
    assert "fit: 0 of 6 would run" in go(workspace, picky, dry_run=True).out
    go(workspace, picky, force=True)
    assert digests(workspace) == before
    shutil.rmtree(workspace.root / "fit" / "S1")
    go(workspace, picky)
    assert digests(workspace) == before


def nothing_is_left_to_do(workspace, stages):
    status = read_status(Workspace.open(workspace.root, environ={}), stages.STAGES)
    return not any(item.state != "done" for stage in status.stages for item in stage.items)


@pytest.mark.parametrize("jobs", [0, 2])
@pytest.mark.parametrize("sets", [(), ("fit.steps=5",)])
def test_a_neutral_that_failed_in_fit_is_waited_for_when_it_is_tried_again(make, picky, jobs, sets):
    words = REJECTED | {"S1/neutral": ["a"]}
    workspace, fresh = make(words), make(words, "fresh")
    no_fit(workspace, "neutral")
    go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == neutral_of(workspace, "S1/wide") == "S1/calm"
    no_fit(workspace, "neutral", False)
    calls(workspace)
    assert go(workspace, picky, jobs=jobs, sets=sets).code == 0
    made = [tuple(call[:2]) for call in calls(workspace)]
    assert len(made) == len(set(made))
    assert {call for call in made if call[1].startswith("S1")} == {
        (stage, f"S1/{name}")
        for stage in ("fit", "agree", "paint")
        for name in ("neutral", "calm", "smile", "wide")
    }
    go(fresh, picky, sets=sets)
    assert registered(workspace) == registered(fresh)
    assert sets or nothing_is_left_to_do(workspace, picky)
    go(workspace, picky, jobs=jobs, sets=sets)
    assert calls(workspace) == []


def test_dry_run_foresees_that_a_neutral_that_failed_is_tried_again(make, picky):
    workspace = make(REJECTED | {"S1/neutral": ["a"]})
    no_fit(workspace, "neutral")
    go(workspace, picky)
    said = go(workspace, picky, dry_run=True).out
    assert "fit: 6 of 6 would run, 0 are current" in said
    assert "would run: its subject's neutral 'S1/neutral' comes first [S1/calm, S1/smile, S1/wide]" in said
    assert "its subject's neutral 'S2/neutral' comes first [S2/smile]" in said
    assert "would run: failed last time: " in said


UNLABELLED = {"S1/a": ["abcdefghijk"], "S1/b": ["ab"], "S1/c": ["abcd"], "S1/d": ["abcde"]}


def test_a_part_of_an_unlabelled_subject_comes_to_an_end_and_the_whole_after_it(make, picky):
    workspace, whole = make(UNLABELLED), make(UNLABELLED, "whole")
    # who might stand in for 'b' is not made in this run, so nobody waits for them
    assert go(workspace, picky, only=("S1/a",)).counts("fit") == (2, 0, 0, 0)
    calls(workspace)
    assert go(workspace, picky, only=("S1/a",)).counts("fit") == (0, 2, 0, 0)
    assert "fit: 0 of 2 would run, 2 are current" in go(workspace, picky, dry_run=True, only=("S1/a",)).out
    assert calls(workspace) == []
    go(workspace, picky)
    go(whole, picky)
    assert registered(workspace) == registered(whole) and neutral_of(workspace, "S1/a") == "S1/d"
    calls(workspace)
    assert go(workspace, picky, only=("S1/a",)).counts("paint") == (0, 1, 0, 0)
    assert calls(workspace) == []


TRIED_IN_VAIN = {
    "S1/neutral": ["ab"],
    "S1/c1": ["abcd"],
    "S1/c2": ["abcde"],
    "S1/smile": ["abcdefgh"],
}


@pytest.mark.parametrize("only", ["S1/c2", "S1/smile", "S1/c1", "S1/c*"])
def test_a_part_of_the_captures_knows_who_was_tried_in_vain(make, picky, only):
    workspace = make(TRIED_IN_VAIN)
    go(workspace, picky)
    assert neutral_of(workspace, "S1/smile") == "S1/c2"
    before = registered(workspace)
    calls(workspace)
    go(workspace, picky, only=(only,))
    assert calls(workspace) == [] and registered(workspace) == before


@pytest.mark.parametrize("each", [True, False])
def test_of_a_settled_subject_where_nobody_could_be_tried_it_is_still_said(make, picky, each):
    workspace = make({"S1/neutral": ["ab"], "S1/smile": ["abc", "abcde"], "S2/neutral": ["a"]})
    (workspace.root / "review.csv").write_text("subject,sequence,frame,verdict,reason\nS1,smile,1,bad,cut\n")
    said = "S1: there is no neutral: of 'neutral' no frame is registered"
    for _ in range(2):
        result = go(workspace, picky)
        assert said in result.err and "S2: " not in result.err
    assert said in told(workspace, picky, each)


def test_who_comes_next_is_looked_for_once_and_not_for_every_sequence(make, picky, monkeypatch):
    count, looks = 30, []
    workspace = make(
        {"S1/neutral": ["ab"]} | {f"S1/s{k:02}": ["a" * (2 * (k % 7) + 3)] for k in range(count)}
    )
    real = Neutrals._neutrality
    monkeypatch.setattr(Neutrals, "_neutrality", lambda self, item: looks.append(item) or real(self, item))
    go(workspace, picky)
    in_run = len(looks)
    workspace.ledger.unlink()
    looks.clear()
    told(workspace, picky)
    # at most so often for each sequence, however many there are; it was once for each pair of them
    assert count <= in_run <= 8 * count and count <= len(looks) <= 8 * count
