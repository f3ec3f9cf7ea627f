"""The runner, with stages that do almost nothing."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import replace

import h5py
import pytest
from fake_runs import GOOD, calls, digests, go, state

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import MimicmeError, OutputError, UsageError
from mimicme.pipeline.items import Shard
from mimicme.pipeline.numerics.memory import not_enough
from mimicme.pipeline.run import runner, work
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex
from mimicme.pipeline.run.runner import _decisions
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.run.work import sentence_of
from mimicme.pipeline.template import template_source_digest
from mimicme.pipeline.workspace import Workspace


def test_a_run_makes_everything_and_a_second_one_nothing(make, fake):
    workspace = make()
    first = go(workspace, fake)
    assert first.code == 0
    assert first.counts("read") == (4, 0, 0, 0)
    assert first.stages["read"].frames_ok == 7
    assert workspace.release.is_file()
    assert len(calls(workspace)) == 12
    before = digests(workspace)
    second = go(workspace, fake)
    assert second.code == 0
    assert [second.counts(s) for s in ("read", "fit", "paint", "bundle")] == [(0, 4, 0, 0)] * 3 + [
        (0, 1, 0, 0)
    ]
    assert calls(workspace) == []
    assert digests(workspace) == before


def test_number_of_jobs_does_not_change_bytes(make, fake):
    made = []
    for name, jobs in (("one", 1), ("two", 2)):
        workspace = make(name=name)
        assert go(workspace, fake, jobs=jobs).code == 0
        lines = calls(workspace)
        assert {line[3] for line in lines} == {"1"}
        assert str(os.getpid()) not in {line[2] for line in lines}
        assert len({line[2] for line in lines}) <= jobs
        made.append(digests(workspace))
    assert made[0] == made[1]
    assert len(made[0]) == 13


def test_changed_setting_redoes_what_depends_on_it(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    dry = go(workspace, fake, sets=["paint.size=4"], dry_run=True)
    assert "paint: 4 of 4 would run" in dry.out
    assert "setting 'size' changed from 8 to 4" in dry.out
    assert "fit: 0 of 4 would run" in dry.out
    assert "bundle: 1 of 1 would run" in dry.out
    assert calls(workspace) == []
    again = go(workspace, fake, sets=["paint.size=4"])
    assert {c[0] for c in calls(workspace)} == {"paint"}
    assert again.counts("bundle") == (1, 0, 0, 0)
    back = go(workspace, fake, sets=["fit.steps=4"])
    assert {c[0] for c in calls(workspace)} == {"fit", "paint"}
    assert back.counts("read") == (0, 4, 0, 0)


def test_dry_run_writes_nothing(make, fake):
    workspace = make()
    before = sorted(workspace.root.rglob("*"))
    dry = go(workspace, fake, dry_run=True)
    assert dry.code == 0
    assert "read: 4 of 4 would run" in dry.out
    assert "'read' is not made yet" in dry.out
    assert sorted(workspace.root.rglob("*")) == before


def test_same_result_upstream_stops_the_redoing(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    again = go(workspace, fake, first="read", last="read", force=True)
    assert again.counts("read") == (4, 0, 0, 0)
    calls(workspace)
    assert go(workspace, fake).counts("fit") == (0, 4, 0, 0)
    assert calls(workspace) == []


def test_changed_capture_redoes_its_sequence_and_a_touched_one_nothing(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    root = workspace.captures.root
    os.utime(root / "S1/smile/0000.obj")
    go(workspace, fake, last="paint")
    assert calls(workspace) == []
    (root / "S1/smile/0000.obj").write_text("xxx")
    dry = go(workspace, fake, dry_run=True, last="paint")
    assert "the capture file 'S1/smile/0000.obj' changed" in dry.out
    go(workspace, fake)
    assert {c[1] for c in calls(workspace)} == {"S1/smile"}
    (root / "S1/smile/0000.note").write_text("now it is there")
    go(workspace, fake, last="read")
    assert {c[1] for c in calls(workspace)} == {"S1/smile"}


def test_changed_neutral_redoes_its_subject(make, fake):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    (workspace.captures.root / "S1/neutral/0000.obj").write_text("other")
    go(workspace, fake)
    made = [(c[0], c[1]) for c in calls(workspace)]
    assert ("fit", "S1/smile") in made
    assert ("read", "S1/smile") not in made
    assert not any(item.startswith("S2") for _, item in made)


def test_failure_is_recorded_and_the_others_arrive(make, fake):
    workspace = make(GOOD | {"S1/smile": ["fail"], "S2/sad": ["bug"]})
    result = go(workspace, fake, jobs=2)
    assert result.code == 1
    assert result.counts("read") == (2, 0, 2, 0)
    assert result.counts("fit") == (2, 0, 0, 2)
    record = json.loads((workspace.root / "failures/read/S2/sad.json").read_text())
    assert record["kind"] == "ZeroDivisionError"
    assert "fake_stages.py" in record["traceback"]
    assert "S1/smile: read failed: 0000.obj: this capture cannot be used." in result.out
    assert state(workspace, fake)["read"]["S1/smile"] == "failed"
    assert state(workspace, fake)["paint"]["S1/smile"] == "blocked"
    assert workspace.release.is_file()
    # mended, it is done and its record goes
    (workspace.captures.root / "S1/smile/0000.obj").write_text("fine")
    assert go(workspace, fake).counts("read") == (1, 2, 1, 0)
    assert not (workspace.root / "failures/read/S1/smile.json").exists()
    assert state(workspace, fake)["paint"]["S1/smile"] == "done"


def test_failed_neutral_does_not_hold_up_its_subject(make, fake):
    workspace = make(GOOD | {"S1/neutral": ["fail"]})
    result = go(workspace, fake)
    assert result.counts("fit") == (3, 0, 0, 1)
    with Checkpoint(workspace.root / "fit/S1/smile.h5") as made:
        assert made.attrs["neutral"] == ""


def test_a_checkpoint_from_before_a_failure_is_not_used(make, fake):
    workspace = make()
    go(workspace, fake)
    path = workspace.captures.root / "S1/smile/0000.obj"
    path.write_text("fail")
    assert go(workspace, fake).counts("fit") == (0, 3, 0, 1)
    assert state(workspace, fake)["fit"]["S1/smile"] == "blocked"
    path.write_text("ccc")  # as it was: nothing has to be made again
    calls(workspace)
    assert go(workspace, fake).code == 0
    assert calls(workspace) == []
    assert not (workspace.root / "failures/read/S1/smile.json").exists()


def test_missing_package_ends_the_run(make, fake):
    workspace = make(GOOD | {"S1/smile": ["lacking"]})
    with pytest.raises(UsageError, match="a package is missing"):
        go(workspace, fake, jobs=1)
    assert not (workspace.root / "failures").exists()


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


def test_each_wording_of_a_decision_is_told_with_its_sequences():
    told = [("unit", f"mm: the eyes are {k} apart", f"S{k}/a") for k in range(60, 66)]
    assert _decisions(told, 6) == [
        "every sequence: mm: the eyes are 60 apart (one of them; the others have other numbers)"
    ]
    told[5:] = [("unit", "mm: declared", "S65/a"), ("up", "+y: as most", "S60/a")]
    assert _decisions(told, 6) == [
        "5 of 6 sequences (S60/a, S61/a, S62/a, S63/a and 1 more): mm: the eyes are 60 apart "
        "(one of them; the others have other numbers)",
        "1 of 6 sequences (S65/a): mm: declared",
        "1 of 6 sequences (S60/a): +y: as most",
    ]
    told = [("side", f"left: {letter}", f"S1/{letter}") for letter in "abcdefg"]
    assert _decisions(told, 7)[2:] == [
        "1 of 7 sequences (S1/c): left: c",
        "4 of 7 sequences (S1/d, S1/e, S1/f, S1/g): decided otherwise, in 4 more ways, which the report tells",
    ]


def test_a_rate_that_names_tell_is_said_where_sequences_are_first_worked_on(make, fake):
    workspace = make({"S1/neutral": ["a"] * 4})
    for k, path in enumerate(sorted((workspace.captures.root / "S1" / "neutral").iterdir())):
        path.rename(path.with_name(f"{1 + k / 25:.2f}.obj"))
    rate = "fps: 25 from the frames' times."
    assert go(workspace, fake).err.count(rate) == 1
    assert rate not in go(workspace, fake, first="fit").err
    assert rate not in "\n".join(
        read_status(Workspace.open(workspace.root, environ={}), fake.STAGES).messages
    )


def test_what_is_said_of_many_frames_is_said_once(make, fake):
    workspace = make({"S1/neutral": ["reject"] * 30})
    result = go(workspace, fake)
    assert result.out.count("read rejected them") == 1
    assert (
        "30 frames (S1/neutral frame 0, S1/neutral frame 1, S1/neutral frame 2 and 27 more): read"
        in result.out
    )
    assert re.search(r"each of these 30: `mimicme status \S+/work --failed --each`", result.out)
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    assert len(status.failed_lines()) == 1
    assert len(status.failed_lines(each=True)) == 30


def test_what_waits_for_one_failure_is_a_line(make, fake):
    workspace = make({"S1/neutral": ["fail"], "S1/smile": ["a"], "S2/sad": ["fail"]})
    go(workspace, fake)
    lines = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES).failed_lines()
    assert [line for line in lines if "wait" in line] == [
        "2 sequences (S1/neutral, S2/sad): fit to paint wait: 'read' failed"
    ]
    assert len([line for line in lines if "failed: " in line]) == 1


def test_status_tells_what_is_there(make, fake):
    workspace = make()
    assert set(state(workspace, fake)["fit"].values()) == {"pending"}
    go(workspace, fake, last="fit")
    assert set(state(workspace, fake)["fit"].values()) == {"done"}
    assert set(state(workspace, fake)["paint"].values()) == {"pending"}
    go(workspace, fake)
    assert state(workspace, fake)["bundle"] == {"release": "done"}
    changed = read_status(Workspace.open(workspace.root, environ={}, sets=["read.scale=2"]), fake.STAGES)
    assert [s.states["stale"] for s in changed.stages] == [4, 4, 4, 1]
    assert "setting 'scale' changed from 1.0 to 2.0" in "\n".join(changed.lines())
    json.dumps(changed.to_record(), allow_nan=False)


def test_unreadable_checkpoint_is_made_again(make, fake):
    workspace = make()
    go(workspace, fake)
    before = digests(workspace)
    path = workspace.root / "read/S1/smile.h5"
    path.write_bytes(path.read_bytes()[:100])
    assert state(workspace, fake)["read"]["S1/smile"] == "stale"
    result = go(workspace, fake)
    assert result.counts("read") == (1, 3, 0, 0)
    assert digests(workspace) == before


def test_only_selects_and_brings_the_neutral(make, fake):
    workspace = make()
    result = go(workspace, fake, only=("S1/smile",))
    assert {c[1] for c in calls(workspace)} == {"S1/neutral", "S1/smile"}
    assert not workspace.release.exists()
    assert "No release is packed" in result.err
    with pytest.raises(UsageError, match="no sequence matches 'S9'"):
        go(workspace, fake, only=("S9",))


def test_only_takes_names_as_folders_have_them(make, fake):
    workspace = make({"Proband 7/lächeln": ["smile"], "Proband 7/neutral": ["calm"], "S2/neutral": ["calm"]})
    go(workspace, fake, only=("Proband 7/läch*",), last="read")
    assert {c[1] for c in calls(workspace)} == {"Proband_7/lacheln"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"first": "paint", "last": "paint"}, {"paint": ["S1/smile"]}),
        ({"first": "paint"}, {"paint": ["S1/smile"]}),
        ({"first": "fit", "last": "fit"}, {"fit": ["S1/neutral", "S1/smile"]}),
        ({"first": "read", "last": "read"}, {"read": ["S1/smile"]}),
        (
            {},
            {
                "read": ["S1/neutral", "S1/smile"],
                "fit": ["S1/neutral", "S1/smile"],
                "paint": ["S1/smile"],
            },
        ),
    ],
)
def test_only_from_any_stage_on(make, fake, options, expected):
    workspace = make()
    go(workspace, fake)
    calls(workspace)
    # the states of what is current are determined, the neutral's too, and only what was asked for is made again
    dry = go(workspace, fake, only=("S1/smile",), force=True, dry_run=True, **options)
    assert dry.code == 0
    assert go(workspace, fake, only=("S1/smile",), force=True, **options).code == 0
    done = {}
    for stage, item, *_ in calls(workspace):
        done.setdefault(stage, []).append(item)
    assert done == expected
    for stage, items in expected.items():
        assert f"{stage}: {len(items)} of {len(items)} would run" in dry.out


def test_a_release_of_a_part_holds_what_was_asked_for(make, fake, tmp_path):
    workspace = make()
    for options in ({}, {"first": "bundle"}, {"first": "bundle", "last": "bundle"}):
        part = tmp_path / "part.h5"
        assert go(workspace, fake, only=("S1/smile",), output=part, **options).result.release == part
        with h5py.File(part) as release:
            assert [f"{s}/{n}" for s in release for n in release[s]] == ["S1/smile"]
        part.unlink()


def test_a_stage_alone_does_not_build_on_what_is_out_of_date(make, fake):
    workspace = make()
    with pytest.raises(UsageError, match="fit cannot run: 'read' is not made yet"):
        go(workspace, fake, first="fit", last="fit")
    go(workspace, fake)
    with pytest.raises(UsageError, match="'read' is out of date"):
        go(workspace, fake, first="fit", last="fit", sets=["read.scale=2"])
    with pytest.raises(UsageError, match="Did you mean 'paint'"):
        go(workspace, fake, first="pant")
    with pytest.raises(UsageError, match="'paint' comes after 'fit'"):
        go(workspace, fake, first="paint", last="fit")


def test_preset_lies_under_the_file(make, fake):
    workspace = make()
    go(workspace, fake, sets=["run.preset=fast"])
    with Checkpoint(workspace.root / "fit/S1/smile.h5") as made:
        assert made.made_by["settings"]["steps"] == 1
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("[fit]", "[fit]\nsteps = 5"))
    result = go(workspace, fake, sets=["run.preset=fast"])
    assert "steps = 5  # mimicme.toml" in (result.result.folder / "config.toml").read_text()


def test_new_version_of_a_stage_redoes_it(make, fake):
    workspace = make()
    go(workspace, fake)
    newer = (fake.READ, fake.FIT, replace(fake.PAINT, version=2), fake.BUNDLE)
    dry = go(workspace, fake, stages=newer, dry_run=True)
    assert "the stage's version changed from 1 to 2" in dry.out


def test_log_has_a_line_per_item(make, fake):
    workspace = make(GOOD | {"S2/sad": ["fail"]})
    folder = go(workspace, fake).result.folder
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    items = [line for line in lines if line["event"] == "item"]
    assert len(items) == 10
    assert lines[0]["event"] == "begin"
    assert lines[-1] == lines[-1] | {"event": "end", "exit_code": 1}
    assert json.loads((folder / "versions.json").read_text())["packages"]["numpy"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OutputError("there is no room", todo="Make some."), 2, "there is no room. Make some"),
        (KeyError("S1"), 1, "KeyError: 'S1'"),
        (MemoryError(), 1, not_enough().rstrip(".")),
    ],
)
def test_what_ends_a_run_is_in_its_log_whatever_it_is(make, fake, monkeypatch, error, status, said):
    workspace = make()

    def fails(*_):
        raise error

    monkeypatch.setattr(runner._Run, "_settle", fails)
    with pytest.raises(type(error)) as raised:
        go(workspace, fake)
    assert raised.value is error
    last = json.loads((workspace.runs()[-1] / "log.jsonl").read_text().splitlines()[-1])
    assert last == last | {"event": "error", "message": sentence_of(error), "exit_code": status}
    (told,) = read_status(Workspace.open(workspace.root), fake.STAGES).unfinished
    assert told.how == "error" and told.sentence.endswith(f"UTC: {said}")


def test_the_log_of_a_run_of_a_part_says_of_which(make, fake, tmp_path):
    workspace = make()

    def begun(**options):
        go(workspace, fake, **options)
        record = json.loads((workspace.runs()[-1] / "log.jsonl").read_text().splitlines()[0])
        return {name: record[name] for name in ("shard", "first", "last", "only", "output") if name in record}

    assert begun() == {}
    assert begun(only=("S1/*", "S2"), last="fit") == {"only": ["S1/*", "S2"], "last": "fit"}
    assert begun(first="paint", output=tmp_path / "r.h5") == {"first": "paint", "output": True}
    assert begun(shard=Shard(1, 2)) == {"shard": "1/2"}


@pytest.mark.parametrize("absent", [False, True])
def test_want_of_memory_while_a_checkpoint_is_looked_at_fails_its_item_alone(make, fake, monkeypatch, absent):
    workspace, real = make(), work.read_entry

    def short(path):
        if path.parts[-3:] == ("fit", "S1", "smile.h5") and path.exists() != absent:
            raise MemoryError
        return real(path)

    monkeypatch.setattr(work, "read_entry", short)
    result = go(workspace, fake)
    assert result.code == 1 and result.stages["fit"].failed == 1 and result.stages["read"].failed == 0
    assert f"S1/smile: fit failed: {not_enough()}" in result.out
    monkeypatch.undo()
    assert go(workspace, fake).code == 0


def test_retargeted_link_in_the_captures_redoes_its_sequence(make, fake):
    workspace = make()
    root = workspace.captures.root
    for name, text in (("one", "x"), ("two", "y")):
        path = root / f"S1/smile/{name}.txt"
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    link = root / "S1/smile/0000.obj"
    link.unlink()
    link.symlink_to("one.txt")
    go(workspace, fake)
    calls(workspace)
    link.unlink()
    link.symlink_to("two.txt")
    assert "the capture file 'S1/smile/0000.obj' changed" in go(workspace, fake, dry_run=True).out
    go(workspace, fake)
    assert {c[1] for c in calls(workspace) if c[0] == "read"} == {"S1/smile"}


def with_template(workspace, fake):
    """Stages one of which takes the template, which is there as `prepare_template` leaves it."""
    workspace.template.parent.mkdir()
    workspace.template.write_bytes(b"prepared")
    face = workspace.root.parent / "face.obj"
    record = {
        "declared": str(face),
        "source": template_source_digest(str(face)),
        "digest": "0123",
    }
    (workspace.template.parent / "source.json").write_text(json.dumps(record))
    return fake.READ, replace(fake.FIT, uses_template=True), fake.PAINT, fake.BUNDLE


def test_template_that_is_named_but_not_there(make, fake):
    workspace = make()
    stages = with_template(workspace, fake)
    face = workspace.root.parent / "face.obj"
    assert go(workspace, fake, last="paint", stages=stages).code == 0
    calls(workspace)
    face.unlink()  # moved away: what was prepared from it is still good
    assert go(workspace, fake, last="paint", stages=stages).code == 0
    assert calls(workspace) == []
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("face.obj", "fcae.obj"))
    for more in ({}, {"dry_run": True}):
        with pytest.raises(MimicmeError, match=r"fcae\.obj"):
            go(workspace, fake, last="paint", stages=stages, **more)


def test_two_runs_do_not_meet(make, fake):
    workspace = make()
    with workspace.lock():
        assert Workspace.open(workspace.root).running_process() is not None
        with pytest.raises(UsageError, match="another run") as refused:
            go(workspace, fake)
        assert f"process {os.getpid()} on {platform.node()}" in str(refused.value)
    assert Workspace.open(workspace.root).running_process() is None
    assert go(workspace, fake).code == 0


@pytest.mark.parametrize("shard", [None, Shard(1, 1)])
def test_who_withdraws_while_a_run_begins_is_not_made_again(make, fake, monkeypatch, shard):
    """Between the catalogue, which still lists them, and the lock."""
    workspace = make()
    names = [stage.name for stage in fake.STAGES]
    go(workspace, fake)
    calls(workspace)
    real = runner.Selection.make

    def withdraw_first(*args):
        with workspace.lock():
            workspace.remove_subject("S2", names)
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(runner.Selection, "make", withdraw_first)
        with pytest.raises(UsageError, match="somebody withdrew.*Run it again") as refused:
            go(workspace, fake, shard=shard)
    assert "S2" not in str(refused.value)
    assert calls(workspace) == []
    assert workspace.folders_of("S2", names) == []
    assert go(workspace, fake, shard=shard).counts("read") == (0, 2, 0, 0)
    assert workspace.folders_of("S2", names) == []


def test_an_index_that_cannot_be_saved_costs_a_run_nothing(make, fake, monkeypatch):
    """It saves time alone; a full disk must not hide what the run did."""

    def full(self):
        raise OutputError("there is no room")

    monkeypatch.setattr(CheckpointIndex, "save", full)
    assert go(make(), fake).code == 0


def test_a_release_that_cannot_be_written_where_it_is_wanted_is_told_before_anything_is_done(make, fake):
    workspace = make()
    (workspace.root / "s1.h5").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        go(workspace, fake, output=workspace.root / "s1.h5")
    assert not workspace.runs()


def test_failing_release_is_recorded(make, fake):
    workspace = make()

    def broken(**more):
        raise OSError("no space left")

    stages = (*fake.STAGES[:3], replace(fake.BUNDLE, everything=broken))
    result = go(workspace, fake, stages=stages)
    assert result.code == 1
    assert result.counts("bundle") == (0, 0, 1, 0)
    assert "no space left" in result.out
    assert state(workspace, fake)["bundle"] == {"release": "failed"}
    assert go(workspace, fake).code == 0
    assert state(workspace, fake)["bundle"] == {"release": "done"}


def test_nothing_to_pack(make, fake):
    workspace = make()
    with pytest.raises(UsageError, match="nothing to bundle"):
        go(workspace, fake, first="bundle")


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


def test_what_was_rejected_before_is_told_beside_what_is_not_complete(make, fake):
    workspace = make(GOOD | {"S2/sad": ["reject", "g"], "S1/smile": ["fail"]})
    assert go(workspace, fake, last="paint").code == 1
    why = go(workspace, fake, first="bundle", last="bundle").why
    assert why == (
        "1 of 4 sequences not complete in the release",
        "1 frame rejected by the stages before",
    )


def test_a_flipped_byte_of_an_input_is_told_and_made_again_by_the_next_run(make, fake):
    """What says what made it is whole, so that it counts as current until somebody reads the data."""
    workspace = make()
    go(workspace, fake)
    before = digests(workspace)
    path = workspace.root / "fit" / "S1" / "smile.h5"
    with h5py.File(path) as file:
        chunk = file["value"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 2] ^= 1
    path.write_bytes(data)
    for name in ("smile", "neutral"):
        (workspace.root / "paint" / "S1" / f"{name}.h5").unlink()
    fake_paint, read = fake.PAINT, []

    def paint(task, out):
        with Checkpoint(task.inputs["fit"]) as fitted:
            read.append(fitted["value"][:])
        fake_paint.compute(task, out)

    stages = tuple(replace(s, compute=paint) if s is fake_paint else s for s in fake.STAGES)
    calls(workspace)
    first = go(workspace, fake, stages)
    assert first.code == 1 and first.counts("paint") == (1, 2, 1, 0)
    assert f"{path}: this checkpoint was damaged, and is removed" in first.out + first.err
    assert not path.exists()
    calls(workspace)
    second = go(workspace, fake, stages)
    assert second.code == 0
    assert [words[:2] for words in calls(workspace)] == [["fit", "S1/smile"], ["paint", "S1/smile"]]
    assert digests(workspace) == before and len(read) == 2


def test_too_little_memory_refuses_what_is_to_be_made_again(make, fake, monkeypatch):
    """What then failed would be missing in a release that had it."""
    workspace = make()
    stages = with_template(workspace, fake)
    go(workspace, fake, last="paint", stages=stages)
    before = {path: path.read_bytes() for path in workspace.root.glob("*/*/*.h5")}

    def too_little():
        raise UsageError("no process may have the memory here")

    monkeypatch.setattr(runner, "refuse_too_little", too_little)
    assert go(workspace, fake, last="paint", stages=stages).code == 0  # nothing is to be made
    with pytest.raises(UsageError, match="no process may have the memory here"):
        go(workspace, fake, last="paint", stages=stages, sets=["fit.steps=5"])
    assert {path: path.read_bytes() for path in workspace.root.glob("*/*/*.h5")} == before
