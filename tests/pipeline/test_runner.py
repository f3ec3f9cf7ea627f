"""The runner, with stages that do almost nothing."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest

from mimicme.pipeline.checkpoint import Artefact
from mimicme.pipeline.errors import InputError, MimicmeError, UsageError
from mimicme.pipeline.pool import THREAD_VARIABLES
from mimicme.pipeline.progress import Console
from mimicme.pipeline.runner import RunOptions, run
from mimicme.pipeline.stage import Part
from mimicme.pipeline.status import read_status
from mimicme.pipeline.template import template_source_digest
from mimicme.pipeline.work import execute
from mimicme.pipeline.workspace import Workspace

HERE = Path(__file__).parent
GOOD = {"S1/neutral": ["a", "bb"], "S1/smile": ["ccc"], "S2/angry": ["dd", "ee", "f"], "S2/sad": ["g"]}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("fake_stages")


@pytest.fixture
def make(tmp_path, fake):
    def make(sequences=GOOD, name="one"):
        base = tmp_path / name
        root = fake.captures(base / "captures", sequences)
        (base / "face.obj").write_text("v 0 0 0\n")
        (base / "face.ljson").write_text("{}")
        return Workspace.create(base / "work", captures=root, template=base / "face.obj", stages=fake.STAGES)

    return make


class Result:
    def __init__(self, result, out, err):
        self.code, self.out, self.err, self.result = result.exit_code, out, err, result
        self.stages = {s.stage: s for s in result.stages}

    def counts(self, stage):
        s = self.stages[stage]
        return s.done, s.skipped, s.failed, s.blocked


def go(workspace, fake, stages=None, sets=(), **options):
    """Open the workspace afresh, as a new command would, and run."""
    lines, err = [], io.StringIO()
    opened = Workspace.open(workspace.root, sets=sets, environ={})
    options.setdefault("jobs", 0)
    result = run(opened, RunOptions(**options), stages or fake.STAGES, Console(err, lines.append))
    return Result(result, "\n".join(lines), err.getvalue())


def calls(workspace):
    path = workspace.root.parent / "calls.txt"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return [line.split() for line in text.splitlines()]


def digests(workspace):
    """Of the files as they lie: the release and every artefact."""
    return {
        str(path.relative_to(workspace.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (workspace.release, *sorted(workspace.root.glob("*/*/*.h5")))
    }


def state(workspace, fake):
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    return {s.stage: {i.item: i.state for i in s.items} for s in status.stages}


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


def test_neutral_comes_first_and_is_handed_on(make, fake):
    workspace = make()
    go(workspace, fake)
    fits = [c[1] for c in calls(workspace) if c[0] == "fit"]
    assert set(fits[:2]) == {"S1/neutral", "S2/angry"}  # S2 has none: the first by name
    for name, expected in (("neutral", ""), ("smile", "S1/neutral")):
        with Artefact(workspace.root / "fit" / "S1" / f"{name}.h5") as made:
            assert made.attrs["neutral"] == expected


def agreed(workspace, name="neutral"):
    """The siblings that S1's `agree` was given, and its total."""
    with Artefact(workspace.root / "agree" / "S1" / f"{name}.h5") as made:
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
    with Artefact(workspace.root / "learn" / f"{item}.h5") as made:
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


def test_a_subject_that_refused_teaches_nobody_while_its_artefacts_are_there(make, fake, tmp_path):
    workspace = make(GOOD)
    table = tmp_path / "subjects.csv"
    table.write_text("subject,consent\nS1,yes\nS2,yes\n")
    named = (f"metadata.file={table}",)
    go(workspace, fake, fake.WITH_CORPUS, sets=named)
    assert taught(workspace)[0] == sorted(GOOD)
    table.write_text("subject,consent\nS1,yes\nS2,no\n")
    assert go(workspace, fake, fake.WITH_CORPUS, sets=named).counts("learn") == (len(GOOD), 0, 0, 0)
    assert (workspace.root / "fit/S2/angry.h5").is_file()
    assert taught(workspace) == (["S1/neutral", "S1/smile"], taught(workspace, "S1/neutral")[1])
    assert taught(workspace, "S2/angry") == ([], 0.0)
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

    monkeypatch.setattr("mimicme.pipeline.runner.execute", recorded)
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
    with Artefact(workspace.root / "fit/S1/smile.h5") as made:
        assert made.attrs["neutral"] == ""


def test_an_artefact_from_before_a_failure_is_not_used(make, fake):
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


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_worker_is_named_and_the_others_arrive(make, fake, jobs):
    # one that is being worked on beside the culprit is not blamed
    workspace = make(GOOD | {"S1/smile": ["kill"], "S2/sad": ["nap"]})
    result = go(workspace, fake, jobs=jobs)
    assert result.code == 1
    assert result.counts("read") == (3, 0, 1, 0)
    record = json.loads((workspace.root / "failures/read/S1/smile.json").read_text())
    assert record["kind"] == "Killed"
    assert "SIGKILL" in record["message"]
    assert list(workspace.root.rglob(".*.tmp")) == []


def test_worker_that_grew_is_replaced_in_silence(make, fake):
    workspace = make({"S1/0": ["bloated"]} | {f"S1/{n}": ["nap"] for n in range(1, 6)})
    process = child(workspace, jobs=1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len({c[2] for c in calls(workspace)}) > 1  # the worker was replaced
    assert "UserWarning" not in err
    assert "A worker stopped" not in err


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
    assert result.out.count("the frame says reject") == 1
    assert "S2/angry frame 1: read rejected it (bad-words)" in result.out
    assert result.out.count("The frame says note.") == 1
    assert "4 sequences: scale 1 was chosen" in result.err
    assert go(workspace, fake).code == 1  # also when nothing had to be done


def test_findings_are_capped(make, fake):
    workspace = make({"S1/neutral": ["reject"] * 30})
    result = go(workspace, fake)
    assert result.out.count("read rejected it") == 20
    assert "and 10 more: see `mimicme status --failed`" in result.out
    status = read_status(Workspace.open(workspace.root, environ={}), fake.STAGES)
    assert len(status.failed_lines()) == 30


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


def test_unreadable_artefact_is_made_again(make, fake):
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
    # what is current is judged, the neutral among it, and only what was asked for is made again
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
    with pytest.raises(UsageError, match="nothing to do for fit: 'read' is not made yet"):
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
    go(workspace, fake, preset="fast")
    with Artefact(workspace.root / "fit/S1/smile.h5") as made:
        assert made.made_by["settings"]["steps"] == 1
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("[fit]", "[fit]\nsteps = 5"))
    result = go(workspace, fake, preset="fast")
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


def test_template_that_is_named_but_not_there(make, fake):
    workspace = make()
    stages = (fake.READ, replace(fake.FIT, uses_template=True), fake.PAINT, fake.BUNDLE)
    # as `prepare_template` leaves it
    workspace.template.parent.mkdir()
    workspace.template.write_bytes(b"prepared")
    face = workspace.root.parent / "face.obj"
    record = {
        "declared": str(face),
        "source": template_source_digest(str(face)),
        "digest": "0123",
    }
    (workspace.template.parent / "source.json").write_text(json.dumps(record))
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


def test_only_its_own_half_written_files_are_removed(make, fake):
    workspace = make()
    captures = workspace.root / "captures"
    shutil.copytree(workspace.captures.root, captures)
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace(str(workspace.captures.root), str(captures)))
    own = ["read/S1/.smile.h5.12.tmp", "failures/read/S1/.smile.json.3.tmp", ".release.h5.7.tmp"]
    own += ["template/.template.h5.9.tmp", "runs/x/.config.toml.4.tmp"]
    others = ["captures/S1/.smile.obj.12.tmp", "read/S1/.notes.tmp", "notes/.mine.12.tmp", "read/x.12.tmp"]
    for name in (*own, *others):
        path = workspace.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    go(workspace, fake)
    assert [n for n in (*own, *others) if (workspace.root / n).exists()] == others


def test_two_runs_do_not_meet(make, fake):
    workspace = make()
    with workspace.lock():
        assert Workspace.open(workspace.root).running()
        with pytest.raises(UsageError, match="another run"):
            go(workspace, fake)
    assert not Workspace.open(workspace.root).running()
    assert go(workspace, fake).code == 0


def test_dask_without_address_or_package(make, fake):
    workspace = make()
    with pytest.raises(UsageError, match="--scheduler"):
        go(workspace, fake, backend="dask")


CHILD = """
import sys
sys.path.insert(0, {here!r})
import fake_stages
from mimicme.pipeline.workspace import Workspace
from mimicme.pipeline.runner import RunOptions, run
from mimicme.pipeline.progress import Console
if __name__ == "__main__":
    workspace = Workspace.open({root!r})
    result = run(workspace, RunOptions(jobs={jobs}), fake_stages.STAGES, Console.standard(print))
    sys.exit(result.exit_code)
"""


def child(workspace, jobs=2):
    code = CHILD.format(here=str(HERE), root=str(workspace.root), jobs=jobs)
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip


def hear_interrupts():
    # a test run in the background of a shell inherits a SIGINT that is ignored, and would hand that on
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_and_started_again_gives_the_same_bytes(make, fake):
    clean = make(name="clean")
    go(clean, fake, jobs=1)
    workspace = make(GOOD | {"S2/sad": ["slow"]}, name="killed")
    process = child(workspace)
    wait_for(
        lambda: (
            list(workspace.root.glob("read/S2/.sad*.tmp"))
            and len(list(workspace.root.glob("read/*/*.h5"))) == 3
        )
    )
    workers = {int(c[2]) for c in calls(workspace)}
    status = read_status(Workspace.open(workspace.root), fake.STAGES)
    assert status.running
    assert status.stages[0].states == {"done": 3, "pending": 1}
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(w) for w in workers), 5)  # workers do not outlive their parent
    assert list(workspace.root.rglob(".*.tmp"))
    path = workspace.captures.root / "S2/sad/0000.obj"
    path.write_text("g")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    result = go(workspace, fake, jobs=2)
    assert result.counts("read") == (1, 3, 0, 0)
    assert list(workspace.root.rglob(".*.tmp")) == []
    assert digests(workspace) == digests(clean)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_a_clean_workspace(make, fake, number):
    workspace = make({"S1/a": ["x"], "S1/b": ["slow"], "S1/c": ["slow"]})
    process = child(workspace)
    wait_for(lambda: len(calls_seen(workspace)) >= 3)
    workers = {int(c[2]) for c in calls_seen(workspace)}
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted; run again to continue." in err
    assert "Traceback" not in err
    assert list(workspace.root.rglob(".*.tmp")) == []
    assert not any(alive(w) for w in workers)
    assert (workspace.root / "read/S1/a.h5").is_file()


def calls_seen(workspace):
    path = workspace.root.parent / "calls.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


LONG = {"S1/neutral": ["a"], "S1/long": ["bb"] * 5, "S1/short": ["c"] * 2, "S2/angry": ["dd"] * 3}


@pytest.fixture
def in_parts(make):
    """Captures of which `S1/long` is worked in three parts: of one frame, of two and of two."""

    def in_parts(name="one", frames=2, sequences=LONG):
        workspace = make(sequences, name)
        cut(workspace, frames)
        return workspace

    return in_parts


def cut(workspace, frames):
    path = workspace.root / "mimicme.toml"
    text = re.sub(r"(?m)^(# )?part_frames = .*$", f"part_frames = {frames}", path.read_text())
    path.write_text(text)


def misbehave(workspace, **parts):
    (workspace.root.parent / "misbehave.json").write_text(json.dumps({k[1:]: v for k, v in parts.items()}))


def parts_there(workspace):
    return [p.name for p in sorted(workspace.root.glob("*/*/[!.]*@part*.h5"))]


def fits(workspace, item="S1/long"):
    return [c[0] for c in calls(workspace) if c[0].startswith("fit") and c[1] == item]


ALL_PARTS = ["fit:1of3", "fit:2of3", "fit:3of3"]


def test_the_parts_of_an_item_are_all_its_rows_once():
    for length, count in ((5, 3), (200, 3), (7, 7), (2, 5)):
        rows = [row for number in range(1, count + 1) for row in Part(number, count).rows(length)]
        assert rows == list(range(length))
    assert [len(Part(n, 3).rows(5)) for n in (1, 2, 3)] == [1, 2, 2]


def test_parts_are_made_longest_sequence_first_and_joined_at_once(in_parts, fake):
    workspace = in_parts()
    result = go(workspace, fake)
    assert result.code == 0 and result.counts("fit") == (4, 0, 0, 0)
    assert result.stages["fit"].frames_ok == 11
    lines = calls(workspace)
    # S2/angry and S1/neutral are neutrals: never cut, and before all others
    assert [c[0] + " " + c[1] for c in lines if c[0].startswith("fit")] == [
        "fit S2/angry", "fit S1/neutral", *(f"{part} S1/long" for part in ALL_PARTS), "fit S1/long", "fit S1/short",
    ]  # fmt: skip
    assert parts_there(workspace) == []
    with (
        Artefact(workspace.root / "fit/S1/long.h5") as joined,
        Artefact(workspace.root / "fit/S1/short.h5") as one,
    ):
        assert joined.numbers.tolist() == [0, 1, 2, 3, 4]
        assert joined["value"][:].tolist() == [one["value"][0] + 3] * 5
    log = [json.loads(line) for line in (result.result.folder / "log.jsonl").read_text().splitlines()]
    assert [r["part"] for r in log if r["event"] == "part"] == [f"part {n} of 3" for n in (1, 2, 3)]
    assert go(workspace, fake).counts("fit") == (0, 4, 0, 0)
    assert calls(workspace) == []


def test_parts_are_the_same_bytes_with_any_number_of_jobs(in_parts, fake):
    made = []
    for jobs in (0, 1, 2):
        workspace = in_parts(str(jobs))
        assert go(workspace, fake, jobs=jobs).code == 0
        assert sorted(fits(workspace)) == ["fit", *ALL_PARTS]
        made.append(digests(workspace))
    assert made[0] == made[1] == made[2]


def test_progress_counts_the_frames_of_parts_once(in_parts, fake):
    shown = []

    class Recorder(Console):
        def draw(self, text, now=False):
            shown.append(text)

    workspace = in_parts()
    run(Workspace.open(workspace.root, environ={}), RunOptions(jobs=0, last="fit"), fake.STAGES, Recorder())
    drawn = [text for text in shown if text.startswith("fit: ")]
    neutrals, others = drawn[:5], drawn[5:]
    # once when it begins, once for the frames of each job, once for each item
    assert ["left" in text for text in neutrals] == [False, True, True, False, False]
    # the three parts, nothing for their joining, the item; then the other sequence, the last 2 of 7 frames
    assert ["left" in text for text in others] == [False, True, True, True, True, True, False, False]
    assert others[-1] == "fit: 2/2, 0 failed, 0 skipped"


def test_killed_among_its_parts_a_run_goes_on_with_the_others(in_parts, fake):
    clean = in_parts("clean")
    go(clean, fake)
    workspace = in_parts("killed")
    misbehave(workspace, p3="hang")
    process = child(workspace, jobs=2)
    wait_for(lambda: len(parts_there(workspace)) >= 2)
    status = read_status(Workspace.open(workspace.root), fake.STAGES)
    assert {i.item: i.state for i in status.stages[1].items}["S1/long"] == "pending"
    assert len(status.stages[1].items) == 4
    process.kill()
    process.communicate()
    assert parts_there(workspace) == ["long@part-0001-of-0003.h5", "long@part-0002-of-0003.h5"]
    assert not (workspace.root / "fit/S1/long.h5").exists()
    calls(workspace)
    misbehave(workspace)
    assert go(workspace, fake, jobs=2).code == 0
    assert fits(workspace) == ["fit:3of3", "fit"]
    assert list(workspace.root.rglob(".*.tmp")) == []
    assert digests(workspace) == digests(clean)


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_part_that_fails_fails_its_item_and_no_other(in_parts, fake, jobs):
    workspace = in_parts()
    misbehave(workspace, p1="fail", p3="fail")
    result = go(workspace, fake, jobs=jobs)
    assert (
        result.code == 1 and result.counts("fit") == (3, 0, 1, 0) and result.counts("paint") == (3, 0, 0, 1)
    )
    assert "S1/long: fit failed: part 1 of 3 does not please" in result.out
    log = [json.loads(line) for line in (result.result.folder / "log.jsonl").read_text().splitlines()]
    told = {r["part"]: r.get("message") for r in log if r["event"] == "part"}
    assert told["part 2 of 3"] is None and "part 3 of 3 does not please" in told["part 3 of 3"]
    record = json.loads((workspace.root / "failures/fit/S1/long.json").read_text())
    assert record["kind"] == "InputError" and "part" not in record["made_by"]
    assert parts_there(workspace) == ["long@part-0002-of-0003.h5"]
    assert state(workspace, fake)["fit"] == {
        "S1/long": "failed", "S1/neutral": "done", "S1/short": "done", "S2/angry": "done",
    }  # fmt: skip
    calls(workspace)
    misbehave(workspace)
    assert go(workspace, fake, jobs=jobs).code == 0
    assert sorted(fits(workspace)) == ["fit", "fit:1of3", "fit:3of3"]
    assert parts_there(workspace) == []
    assert not (workspace.root / "failures/fit/S1/long.json").exists()


def test_a_worker_killed_in_a_part_fails_its_item_and_no_other(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p2="kill")
    result = go(workspace, fake, jobs=2)
    assert result.counts("fit") == (3, 0, 1, 0)
    record = json.loads((workspace.root / "failures/fit/S1/long.json").read_text())
    assert record["kind"] == "Killed" and "SIGKILL" in record["message"]
    assert len(parts_there(workspace)) == 2
    assert list(workspace.root.rglob(".*.tmp")) == []


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ({"frames": 2, "sets": ["fit.steps=7"]}, ["fit:1of3", "fit:2of3", "fit:3of3", "fit"]),
        ({"frames": 3}, ["fit:1of2", "fit:2of2", "fit"]),
        ({"frames": 0}, ["fit"]),
        ({"frames": 2, "force": True}, ["fit:1of3", "fit:2of3", "fit:3of3", "fit"]),
        ({"frames": 2}, ["fit:3of3", "fit"]),
    ],
)
def test_only_current_parts_are_joined_and_others_removed(in_parts, fake, changed, made):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    assert len(parts_there(workspace)) == 2
    calls(workspace)
    misbehave(workspace)
    cut(workspace, changed["frames"])
    options = {k: v for k, v in changed.items() if k != "frames"}
    assert go(workspace, fake, last="fit", **options).code == 0
    assert fits(workspace) == made
    assert parts_there(workspace) == []


def test_parts_beside_a_whole_artefact_are_removed(in_parts, fake):
    """Of a run that was killed between the last join and the removal."""
    workspace = in_parts()
    go(workspace, fake)
    whole = workspace.root / "fit/S1/long.h5"
    shutil.copy(whole, whole.with_name("long@part-0001-of-0003.h5"))
    assert go(workspace, fake).counts("fit") == (0, 4, 0, 0)
    assert parts_there(workspace) == [] and whole.exists()


def test_a_damaged_part_is_made_again(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    (workspace.root / "fit/S1/long@part-0001-of-0003.h5").write_bytes(b"torn")
    calls(workspace)
    misbehave(workspace)
    assert go(workspace, fake).code == 0
    assert fits(workspace) == ["fit:1of3", "fit:3of3", "fit"]


def test_an_item_whose_parts_cannot_be_counted_is_made_in_one_piece(in_parts, fake):
    """What a damaged input raises in the parent must not end the run."""

    def broken(task):
        raise RuntimeError("the file's tree is torn")

    workspace = in_parts()
    stages = tuple(replace(s, parts=broken) if s.name == "fit" else s for s in fake.STAGES)
    assert go(workspace, fake, stages).code == 0
    assert fits(workspace) == ["fit"]


def test_no_name_of_a_sequence_is_taken_for_a_part(in_parts, fake):
    odd = "long@part-0001-of-0003"
    workspace = in_parts(sequences=LONG | {f"S1/{odd}": ["e"]})
    assert go(workspace, fake).code == 0
    assert (workspace.root / "fit/S1/long_part-0001-of-0003.h5").is_file()
    assert go(workspace, fake).counts("fit") == (0, 5, 0, 0)


def test_the_parts_of_a_withdrawn_subject_are_gone(in_parts, fake):
    workspace = in_parts()
    misbehave(workspace, p3="fail")
    go(workspace, fake)
    removed = Workspace.open(workspace.root).forget("S1", [s.name for s in fake.STAGES])
    assert {p.name for p in removed} >= {"long@part-0001-of-0003.h5", "long@part-0002-of-0003.h5"}
    assert parts_there(workspace) == []


def test_a_stage_that_reads_raw_files_has_no_parts(fake):
    with pytest.raises(ValueError, match="parts"):
        replace(fake.READ, parts=fake.parts)
    with pytest.raises(ValueError, match="parts"):
        replace(fake.BUNDLE, parts=fake.parts)


def test_workspace_refuses_what_is_not_one(tmp_path, make, fake):
    with pytest.raises(UsageError, match="not a workspace"):
        Workspace.open(tmp_path)
    workspace = make()
    captures = workspace.captures.root
    with pytest.raises(UsageError, match="already"):
        Workspace.create(workspace.root, captures=captures)
    with pytest.raises(UsageError, match="keeps its own files"):
        Workspace.create(tmp_path / "one", captures=captures, stages=[replace(fake.READ, name="captures")])


def test_withdrawn_subject_is_gone_and_stays_away(make, fake):
    workspace = make()
    go(workspace, fake)
    removed = Workspace.open(workspace.root).forget("S1", [s.name for s in fake.STAGES])
    assert len(removed) == 6
    assert go(workspace, fake).counts("read") == (0, 2, 0, 0)
    texts = [
        p.read_text(errors="replace") for p in workspace.root.rglob("*") if p.is_file() and p.suffix != ".h5"
    ]
    assert not any("S1/" in text for text in texts if "captures" not in text)
    assert [s.item.subject for s in Workspace.open(workspace.root).catalogue()] == ["S2", "S2"]


def test_failing_release_is_recorded(make, fake):
    workspace = make()

    def broken(**more):
        raise OSError("no space left")

    stages = (*fake.STAGES[:3], replace(fake.BUNDLE, compute=broken))
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


class Future:
    def __init__(self, answer):
        self.answer = answer

    def result(self):
        return self.answer


class Client:
    """Of a scheduler whose only worker is this process."""

    futures = {}  # noqa: RUF012

    def __init__(self, address, timeout):
        self.address = address

    def wait_for_workers(self, count, timeout):
        assert count == 1

    def submit(self, function, *arguments, pure):
        assert not pure
        return Future(function(*arguments))

    def close(self):
        pass


class AsCompleted(list):
    """A list takes more at its end while it is gone through."""

    add = list.append


def test_dask_workers_have_one_thread(make, fake, monkeypatch):
    limits = []
    scheduler = SimpleNamespace(KilledWorker=ZeroDivisionError)
    distributed = SimpleNamespace(Client=Client, as_completed=AsCompleted, scheduler=scheduler)
    monkeypatch.setitem(sys.modules, "distributed", distributed)
    monkeypatch.setitem(sys.modules, "distributed.scheduler", scheduler)
    monkeypatch.setitem(sys.modules, "threadpoolctl", SimpleNamespace(threadpool_limits=limits.append))
    for name in THREAD_VARIABLES:  # a worker that was started with another number
        monkeypatch.setenv(name, "2")
    workspace = make()
    assert go(workspace, fake, backend="dask", scheduler="tcp://127.0.0.1:8786").code == 0
    assert limits == [1] * 12
    assert {c[3] for c in calls(workspace)} == {"1"}


def test_dask_gives_the_same_bytes(in_parts, fake):
    distributed = pytest.importorskip("distributed")
    here = in_parts("one")
    go(here, fake, jobs=1)
    there = in_parts("two")
    many = dict.fromkeys(THREAD_VARIABLES, "2") | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with distributed.LocalCluster(1, threads_per_worker=2, env=many, dashboard_address=None) as cluster:
        assert go(there, fake, backend="dask", scheduler=cluster.scheduler_address).code == 0
    assert {c[3] for c in calls(there)} == {"1"}
    assert digests(there) == digests(here)


def test_dask_that_is_not_installed(make, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="pip install"):
        go(make(), fake, backend="dask", scheduler="tcp://127.0.0.1:8786")
