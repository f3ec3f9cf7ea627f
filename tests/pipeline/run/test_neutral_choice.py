"""A subject without a sequence labelled neutral: the neutral is looked for among all of its frames."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_runs import calls, go

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.status import read_status


def calmest(path):
    """The shorter a capture's text, the calmer it is."""
    with Checkpoint(path) as made:
        values = made["value"][:]
        if not np.isfinite(values).any():
            return None
        return float(np.nanmin(values)), f"frame {int(np.nanargmin(values))}"


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
