"""A subject without a sequence labelled neutral: the neutral is looked for among all of its frames."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_runs import calls, digests, go
from fake_stages import calmest, log

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.stage import in_order


@pytest.fixture
def looking(fake):
    """The stages, of which the first knows how neutral frames are."""
    first, *others = fake.STAGES
    return SimpleNamespace(STAGES=(replace(first, most_neutral=calmest), *others))


@pytest.fixture
def unlabelled(make):
    """Its calmest frame is the last by name; a subject with a labelled neutral beside it."""
    return make(
        {
            "S1/a_profile": ["reject"],
            "S1/b_smile": ["a long smile", "a longer smile"],
            "S1/c_front": ["calm", "hm"],
            "S2/neutral": ["a very long neutral that is labelled"],
            "S2/smile": ["x"],
        }
    )


def neutral_of(workspace, item):
    with Checkpoint(workspace.checkpoint("fit", Item(*item.split("/")))) as made:
        return made.attrs["neutral"]


def test_the_calmest_is_the_neutral_and_said_why(unlabelled, looking):
    result = go(unlabelled, looking)
    assert neutral_of(unlabelled, "S1/b_smile") == "S1/c_front"
    assert neutral_of(unlabelled, "S1/c_front") == ""
    assert neutral_of(unlabelled, "S2/smile") == "S2/neutral"
    said = "S1: the neutral is 'c_front': no sequence is labelled neutral; the calmest of all is its frame 1"
    assert said in result.err and "S2: the neutral" not in result.err
    assert said in "\n".join(read_status(unlabelled, looking.STAGES).messages)


def test_a_second_run_computes_nothing(unlabelled, looking):
    go(unlabelled, looking)
    calls(unlabelled)
    go(unlabelled, looking)
    assert calls(unlabelled) == []


def test_another_calmest_frame_makes_another_neutral(unlabelled, looking):
    go(unlabelled, looking)
    calls(unlabelled)
    (unlabelled.captures.root / "S1/b_smile/0001.obj").write_text("h")
    go(unlabelled, looking)
    assert neutral_of(unlabelled, "S1/c_front") == "S1/b_smile"
    assert neutral_of(unlabelled, "S1/b_smile") == ""
    assert not any(call[1].startswith("S2") for call in calls(unlabelled))


def test_a_part_of_the_captures_has_the_same_neutral(unlabelled, looking):
    """`--only` looks at all the subject's sequences, and works on no more than it has to."""
    go(unlabelled, looking, only=("S1/b_smile",))
    assert neutral_of(unlabelled, "S1/b_smile") == "S1/c_front"
    made = [(call[0], call[1]) for call in calls(unlabelled)]
    assert {item for stage, item in made if stage == "read"} == {"S1/a_profile", "S1/b_smile", "S1/c_front"}
    assert {item for stage, item in made if stage == "fit"} == {"S1/b_smile", "S1/c_front"}
    assert {item for stage, item in made if stage == "paint"} == {"S1/b_smile"}


def test_without_landmarks_it_is_the_first_by_name(unlabelled, fake):
    go(unlabelled, fake)
    assert neutral_of(unlabelled, "S1/b_smile") == "S1/a_profile"


def test_a_less_calm_sequence_more_leaves_the_others_as_they_are(unlabelled, looking):
    go(unlabelled, looking)
    calls(unlabelled)
    folder = unlabelled.captures.root / "S1/d_more"
    folder.mkdir()
    (folder / "0000.obj").write_text("the longest of all its texts")
    go(unlabelled, looking)
    assert {call[1] for call in calls(unlabelled)} == {"S1/d_more"}


def test_a_checkpoint_that_cannot_be_read_is_no_candidate(unlabelled, fake):
    def damaged(path):
        if path.stem == "c_front":
            raise CheckpointError("the checkpoint cannot be read", where=path)
        return calmest(path)

    first, *others = fake.STAGES
    go(unlabelled, SimpleNamespace(STAGES=(replace(first, most_neutral=damaged), *others)))
    assert neutral_of(unlabelled, "S1/c_front") == "S1/b_smile"


def test_each_checkpoint_is_opened_once(unlabelled, fake):
    opened = []

    def counted(path):
        opened.append(path)
        return calmest(path)

    first, *others = fake.STAGES
    stages = SimpleNamespace(STAGES=(replace(first, most_neutral=counted), *others))
    go(unlabelled, stages)
    opened.clear()
    go(unlabelled, stages)
    assert len(opened) == len(set(opened)) == 3


def judge(task, out):
    """Goes on from what was read, as the stage does that looks for neutrals."""
    log(task, "judge")
    with Checkpoint(task.inputs["read"]) as before:
        rows = out.continue_from(before)
        values = out.rows("value", (), "f8")
        for row in rows:
            values[row] = before["value"][row]


@pytest.fixture
def judging(fake):
    """The stages, of which the second looks for neutrals."""
    first, *others = fake.STAGES
    second = replace(
        fake.PAINT,
        name="judge",
        needs=("read",),
        compute=judge,
        most_neutral=calmest,
        settings=fake.AgreeSettings,
    )
    return SimpleNamespace(STAGES=in_order((first, second, *others)))


def called_bad(workspace, *lines):
    text = "".join(f"{line}\n" for line in ("subject,sequence,frame,verdict,reason", *lines))
    (workspace.root / "review.csv").write_text(text)


def test_a_frame_called_bad_is_not_the_neutral(unlabelled, judging):
    go(unlabelled, judging)
    assert neutral_of(unlabelled, "S1/b_smile") == "S1/c_front"
    before = digests(unlabelled)
    calls(unlabelled)
    called_bad(unlabelled, "S1,c_front,*,bad,half a face")
    dry = go(unlabelled, judging, dry_run=True)
    assert "would run: review.csv calls frames 0, 1 bad now [S1/c_front]" in dry.out
    go(unlabelled, judging)
    assert neutral_of(unlabelled, "S1/c_front") == "S1/b_smile"
    assert not any(call[1].startswith("S2") or call[0] == "read" for call in calls(unlabelled))
    go(unlabelled, judging)
    assert calls(unlabelled) == []
    called_bad(unlabelled)
    go(unlabelled, judging)
    assert digests(unlabelled) == before


def test_a_labelled_neutral_that_is_bad_as_a_whole_is_none(make, judging):
    workspace = make({"S1/neutral": ["n"], "S1/smile": ["a smile"], "S1/wide": ["a wider smile"]})
    called_bad(workspace, "S1,neutral,0,bad,")
    result = go(workspace, judging)
    assert neutral_of(workspace, "S1/wide") == "S1/smile" == neutral_of(workspace, "S1/neutral")
    assert (
        "S1: the neutral is 'smile': every frame of 'neutral', labelled neutral, was called bad" in result.err
    )
    assert "no sequence is labelled neutral" not in result.err


def test_a_bad_frame_of_another_sequence_changes_the_release_alone(make, judging):
    workspace = make({"S1/neutral": ["n"], "S1/smile": ["a smile", "b"]})
    go(workspace, judging)
    before = digests(workspace)
    calls(workspace)
    called_bad(workspace, "S1,smile,1,bad,cut")
    go(workspace, judging)
    assert calls(workspace) == []
    assert {name for name, digest in digests(workspace).items() if digest != before[name]} == {"release.h5"}


def test_a_sequence_bad_as_a_whole_lends_its_subject_nothing(make, fake):
    workspace = make({"S1/neutral": ["n"], "S1/smile": ["a smile", "b"], "S1/wide": ["c"]})
    stages = SimpleNamespace(STAGES=fake.WITH_SUBJECT)
    called_bad(workspace, "S1,smile,*,bad,cut", "S1,wide,1,bad,there is none")
    go(workspace, stages)
    with Checkpoint(workspace.checkpoint("agree", Item("S1", "neutral"))) as made:
        assert list(made.attrs["siblings"]) == ["wide"]
