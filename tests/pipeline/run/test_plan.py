"""What an item waits for and is given: its subject's neutral, its siblings, all sequences of the workspace."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from fake_runs import GOOD, calls, go

from mimicme.pipeline.checkpoint import Checkpoint, fingerprint
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.run import plan as plan_module
from mimicme.pipeline.run.plan import RELEASE, WITHDRAWN, Plan, difference, frames_record
from mimicme.pipeline.run.work import execute
from mimicme.pipeline.workspace import Workspace


def test_neutral_comes_first_and_is_handed_on(make, fake):
    workspace = make()
    go(workspace, fake)
    fits = [c[1] for c in calls(workspace) if c[0] == "fit"]
    for first, then in (("S1/neutral", "S1/smile"), ("S2/angry", "S2/sad")):  # S2 has none: the first by name
        assert fits.index(first) < fits.index(then)
    for name, expected in (("neutral", ""), ("smile", "S1/neutral")):
        with Checkpoint(workspace.root / "fit" / "S1" / f"{name}.h5") as made:
            assert made.attrs["neutral"] == expected


def agreed(workspace, name="neutral"):
    """The siblings that S1's `agree` was given, and its total."""
    with Checkpoint(workspace.root / "agree" / "S1" / f"{name}.h5") as made:
        return list(made.attrs["siblings"]), float(made.attrs["total"])


FAMILY = GOOD | {"S1/angry": ["dddd"]}


def test_a_subjects_neutral_is_given_all_its_sequences(make, fake):
    workspace = make(FAMILY)
    assert go(workspace, fake, fake.WITH_SUBJECT).code == 0
    names, total = agreed(workspace)
    assert names == ["angry", "smile"]
    assert agreed(workspace, "smile") == ([], total)
    done = [c[1] for c in calls(workspace) if c[0] == "agree"]
    assert done.index("S1/neutral") < min(done.index("S1/angry"), done.index("S1/smile"))
    assert go(workspace, fake, fake.WITH_SUBJECT).counts("agree") == (0, 5, 0, 0)


def test_a_changed_sibling_makes_the_neutral_again_and_then_the_others(make, fake):
    workspace = make(FAMILY)
    go(workspace, fake, fake.WITH_SUBJECT)
    before = agreed(workspace)[1]
    (workspace.captures.root / "S1/smile/0000.obj").write_text("longer words")
    lines = go(workspace, fake, fake.WITH_SUBJECT, dry_run=True).out
    assert "'S1/smile' of its subject comes first" in lines
    result = go(workspace, fake, fake.WITH_SUBJECT)
    assert result.counts("agree") == (3, 2, 0, 0)
    assert agreed(workspace)[1] > before


def test_a_failed_sibling_is_left_out(make, fake):
    workspace = make(FAMILY | {"S1/smile": ["fail"]})
    result = go(workspace, fake, fake.WITH_SUBJECT)
    assert result.counts("agree") == (4, 0, 0, 1)
    assert agreed(workspace)[0] == ["angry"]


def test_only_takes_siblings_as_they_lie_on_the_disk(make, fake):
    workspace = make(FAMILY)
    go(workspace, fake, fake.WITH_SUBJECT, only=("S1/smile",))
    assert agreed(workspace)[0] == ["smile"]
    go(workspace, fake, fake.WITH_SUBJECT)
    assert agreed(workspace)[0] == ["angry", "smile"]
    calls(workspace)
    # nothing changed, so a part of it is no reason to do the neutral again
    assert go(workspace, fake, fake.WITH_SUBJECT, only=("S1/smile",)).counts("agree") == (0, 2, 0, 0)
    assert calls(workspace) == []


def taught(workspace, item="S1/smile"):
    """The sequences that an item's `learn` was given, and their total."""
    with Checkpoint(workspace.root / "learn" / f"{item}.h5") as made:
        return list(made.attrs["taught"]), float(made.attrs["total"])


def test_every_sequence_is_given_all_of_the_workspace(make, fake):
    workspace = make(GOOD)
    assert go(workspace, fake, fake.WITH_CORPUS).code == 0
    assert taught(workspace)[0] == sorted(GOOD)
    assert {taught(workspace, item)[1] for item in GOOD} == {taught(workspace)[1]}
    done = [c[0] for c in calls(workspace) if c[0] in ("fit", "learn")]
    assert done == ["fit"] * len(GOOD) + ["learn"] * len(GOOD)
    assert go(workspace, fake, fake.WITH_CORPUS).counts("learn") == (0, len(GOOD), 0, 0)
    # a part of it learns from all that lies on the disk
    assert go(workspace, fake, fake.WITH_CORPUS, only=("S1/smile",)).counts("learn")[0] == 0


def test_what_one_sequence_teaches_anew_is_learnt_by_all(make, fake):
    workspace = make(GOOD)
    go(workspace, fake, fake.WITH_CORPUS)
    before = taught(workspace, "S2/angry")[1]
    (workspace.captures.root / "S1/smile/0000.obj").write_text("longer words")
    lines = go(workspace, fake, fake.WITH_CORPUS, dry_run=True).out
    assert "'S1/smile' comes first" in lines
    assert go(workspace, fake, fake.WITH_CORPUS).counts("learn") == (len(GOOD), 0, 0, 0)
    assert taught(workspace, "S2/angry")[1] > before


def test_a_sequence_that_failed_teaches_nothing(make, fake):
    workspace = make(GOOD | {"S1/smile": ["fail"]})
    assert go(workspace, fake, fake.WITH_CORPUS).counts("learn") == (len(GOOD) - 1, 0, 0, 1)
    assert taught(workspace, "S2/angry")[0] == sorted(set(GOOD) - {"S1/smile"})


def test_a_subject_that_refused_teaches_nobody_while_its_checkpoints_are_there(make, fake, tmp_path):
    workspace = make(GOOD)
    table = tmp_path / "subjects.csv"
    table.write_text("subject,consent\nS1,yes\nS2,yes\n")
    named = (f"metadata.file={table}",)
    go(workspace, fake, fake.WITH_CORPUS, sets=named)
    assert taught(workspace)[0] == sorted(GOOD)
    calls(workspace)
    table.write_text("subject,consent\nS1,yes\nS2,no\n")
    assert go(workspace, fake, fake.WITH_CORPUS, sets=named).counts("learn") == (2, 0, 0, 0)
    assert sorted(c[:2] for c in calls(workspace)) == [["learn", "S1/neutral"], ["learn", "S1/smile"]]
    assert (workspace.root / "fit/S2/angry.h5").is_file()
    assert taught(workspace) == (["S1/neutral", "S1/smile"], taught(workspace, "S1/neutral")[1])
    # what it would have been had the subject never been there
    without = make({item: texts for item, texts in GOOD.items() if item[:2] == "S1"}, "without")
    go(without, fake, fake.WITH_CORPUS)
    assert taught(workspace) == taught(without)


def test_a_table_that_cannot_be_read_does_not_let_everyone_teach(make, fake, tmp_path):
    workspace = make(GOOD)
    with pytest.raises(InputError, match="cannot be read"):
        go(workspace, fake, fake.WITH_CORPUS, sets=(f"metadata.file={tmp_path / 'gone.csv'}",))
    assert not list((workspace.root / "learn").glob("*/*.h5"))


def test_jobs_carry_where_all_sequences_are_listed_and_not_the_list(make, fake, monkeypatch):
    size = {}

    def recorded(job):
        if job.stage.name == "learn":
            assert job.task.corpus.is_file()
            size.setdefault(len(job.task.load_corpus().inputs), len(pickle.dumps(job.task)))
        return execute(job)

    monkeypatch.setattr("mimicme.pipeline.run.runner.execute", recorded)
    workspaces = [make(GOOD, "one"), make(GOOD | {f"S3/{k:03d}": ["a"] for k in range(40)}, "two")]
    for workspace in workspaces:
        assert go(workspace, fake, fake.WITH_CORPUS).code == 0
        assert not list((workspace.root / "learn").glob(".*"))
    assert set(size) == {4, 44}
    assert size[44] < size[4] + 100


def test_only_learns_from_all_that_lies_on_the_disk(make, fake):
    """Of subjects that this run is not about, too, whose neutral is not the first of them by name."""
    everyone = {"S1/neutral": ["a", "bb"], "S1/smile": ["ccc"], "S2/angry": ["dd"], "S2/neutral": ["g"]}
    workspace = make(everyone)
    go(workspace, fake, fake.WITH_CORPUS, last="fit")
    go(workspace, fake, fake.WITH_CORPUS, only=("S1/smile",), last="learn")
    assert taught(workspace)[0] == sorted(everyone)
    assert go(workspace, fake, fake.WITH_CORPUS).counts("learn") == (3, 1, 0, 0)


def test_switched_off_no_sequence_waits_for_another(make, fake):
    off = ("learn.enabled=false",)
    workspace = make(GOOD)
    go(workspace, fake, fake.WITH_CORPUS, sets=off)
    assert taught(workspace)[0] == []
    (workspace.captures.root / "S1/smile/0000.obj").write_text("longer words")
    assert go(workspace, fake, fake.WITH_CORPUS, sets=off).counts("learn") == (1, len(GOOD) - 1, 0, 0)


def test_an_older_workspace_is_not_computed_anew(make, fake):
    """How a fingerprint is taken of what makes a checkpoint: another way would make every lab's nights anew."""
    workspace = make()
    go(workspace, fake)
    prints = {}
    for name in ("read/S1/smile", "fit/S1/neutral", "fit/S1/smile", "paint/S2/sad"):
        with Checkpoint(workspace.root / f"{name}.h5") as made:
            prints[name] = made.fingerprint[:16]
    assert prints == {
        "read/S1/smile": "70de2c1c78fb9c84",
        "fit/S1/neutral": "6fe2efbf804ad8c1",
        "fit/S1/smile": "64fce21235e19892",
        "paint/S2/sad": "57cdadc74965be50",
    }


def test_another_template_makes_anew_what_uses_it_and_nothing_else(make, fake):
    opened = Workspace.open(make().root, environ={})

    def printed(stage, template):
        plan = Plan(opened, opened.config(fake.STAGES), fake.STAGES, opened.catalogue(), template)
        return fingerprint(plan.record(stage, plan.catalogue.sequences[0], {}, None, {}, None))

    for uses in (True, False):
        stage = replace(fake.FIT, uses_template=uses)
        assert (printed(stage, "a" * 64) != printed(stage, "b" * 64)) is uses
    assert difference({"template": "a"}, {"template": "b"}) == "the template changed"


def test_times_in_names_make_a_sequence_anew_and_plain_numbers_do_not(tmp_path):
    captures = Captures(tmp_path)
    plain = Sequence(
        Item("S1", "x"), "x", "x", tuple(FrameSource(k, tmp_path / f"{k}.obj") for k in range(2))
    )
    assert frames_record(captures, plain) == [[0, "0.obj"], [1, "1.obj"]]
    timed = replace(
        plain, frames=tuple(replace(f, time_s=f.number / 25) for f in plain.frames), named_fps=25.0
    )
    other = replace(timed, frames=(timed.frames[0], replace(timed.frames[1], time_s=0.05)))
    records = [frames_record(captures, s) for s in (plain, timed, other, replace(timed, named_fps=20.0))]
    assert len({fingerprint({"frames": record}) for record in records}) == 4
    for record in records[1:]:
        said = difference({"frames": records[0]}, {"frames": record})
        assert said == "the times in the files' names are read otherwise"
    fewer = frames_record(captures, replace(timed, frames=timed.frames[:1]))
    assert difference({"frames": records[1]}, {"frames": fewer}) == "the capture files on disk are others"


def test_other_files_in_a_folder_are_a_plain_sentence(make, fake, monkeypatch):
    workspace = make()
    opened = Workspace.open(workspace.root, environ={})
    plan = Plan(opened, opened.config(fake.STAGES), fake.STAGES, opened.catalogue(), None)
    for key, folder in (("S1/smile//*.bmp/*.jpg", "'S1/smile'"), (".//*.bmp", "the capture folder")):
        monkeypatch.setattr(
            "mimicme.pipeline.run.plan.read_record", lambda _, key=key: ({}, {key: "0" * 64}, "{}")
        )
        said = plan._changed_source(Path("any.h5"))
        assert said == f"the images, or other files beside the meshes, in {folder} are not the same as before"


def test_a_plan_asks_for_the_settings_of_a_stage_once(make, fake, monkeypatch):
    workspace = make({f"S{k}/neutral": ["a"] for k in range(5)})
    asked = []
    record = plan_module.settings_record
    monkeypatch.setattr(
        plan_module, "settings_record", lambda settings: asked.append(settings) or record(settings)
    )
    opened = Workspace.open(workspace.root, environ={})
    plan = Plan(opened, opened.config(fake.STAGES), fake.STAGES, opened.catalogue(), None)
    plan.determine_all_states()
    assert len(asked) == len(fake.STAGES)


def of_release(workspace, fake, **more):
    """The state of the release and why, as a new command sees it."""
    opened = Workspace.open(workspace.root, environ={}, **more)
    plan = Plan(opened, opened.config(fake.STAGES), fake.STAGES, opened.catalogue(), None)
    plan.determine_all_states()
    found = plan.states["bundle", RELEASE]
    return found.state, found.reason


def left(workspace):
    """Let a subject leave the release, as far as it is told of."""
    with h5py.File(workspace.release, "r+") as file:
        file.attrs["fingerprint"] = WITHDRAWN + "0123"


def test_a_release_that_somebody_left_can_be_used_where_nothing_else_changed(make, fake):
    workspace = make()
    go(workspace, fake)
    assert of_release(workspace, fake) == ("done", "")
    left(workspace)
    state, why = of_release(workspace, fake)
    assert state == "stale" and why.startswith("a subject withdrew") and "can be used as it is" in why
    (workspace.root / "review.csv").write_text(
        "subject,sequence,frame,verdict,reason\nS1,smile,0,bad,blurred\n"
    )
    assert "1 frame called bad" in of_release(workspace, fake)[1]


@pytest.mark.parametrize("what", ["a checkpoint", "a setting", "the table"])
def test_a_release_that_somebody_left_may_have_changed_otherwise(make, fake, what):
    workspace = make()
    table = workspace.root.parent / "subjects.csv"
    table.write_text("subject,age\nS1,30\nS2,30\n")
    file = workspace.root / "mimicme.toml"
    before, section, after = file.read_text().partition("[metadata]\n")
    file.write_text(before + section + after.replace('file = ""', f'file = "{table}"', 1))
    go(workspace, fake)
    left(workspace)
    assert "can be used as it is" in of_release(workspace, fake)[1]
    more = {}
    time.sleep(0.02)  # beyond the tick of the clock of files
    if what == "a checkpoint":
        go(workspace, fake, first="paint", last="paint", force=True)
    elif what == "a setting":
        more["sets"] = ["bundle.level=3"]
    else:
        table.write_text("subject,age\nS1,31\nS2,30\n")
    state, why = of_release(workspace, fake, **more)
    assert state == "stale" and why.startswith("a subject withdrew")
    assert "may have changed" in why and "can be used" not in why
