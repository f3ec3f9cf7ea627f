"""Several runs on one workspace, each over its own subjects."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from dataclasses import replace

import pytest
from fake_runs import ALL_PARTS, GOOD, LONG, calls, cut, digests, fits, go, misbehave, state

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import FrameSource, Item, Sequence, Shard
from mimicme.pipeline.run.shard import assigned, of_shard
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.run.watch import watch
from mimicme.pipeline.workspace import Workspace

FIRST, SECOND = Shard(1, 2), Shard(2, 2)
PEOPLE = GOOD | {
    "S3/neutral": ["a", "b"],
    "S4/neutral": ["reject"],
    "S4/smile": ["x"] * 3,
    "S5/sad": ["note"],
}


def catalogue_of(frames, tmp_path):
    sequences = [
        Sequence(
            Item(subject, "smile"), "smile", "happiness",
            tuple(FrameSource(n, tmp_path / f"{n}.obj") for n in range(count)),
        )
        for subject, count in frames.items()
    ]  # fmt: skip
    return Catalogue(tuple(sequences), {s.item.subject: s.item for s in sequences}, "", ())


def of(workspace, shard):
    """The subjects of a shard."""
    return of_shard(Workspace.open(workspace.root, environ={}).catalogue(), shard)[0].subjects


def test_every_subject_is_in_one_shard_and_frames_are_balanced(tmp_path):
    drawn = random.Random(3)
    frames = {f"S{n:03d}": drawn.randint(3, 60) for n in range(200)}
    catalogue = catalogue_of(frames, tmp_path)
    parts = [of_shard(catalogue, Shard(n, 7))[0] for n in range(1, 8)]
    assert sorted(subject for part in parts for subject in part.subjects) == sorted(frames)
    loads = [part.frame_count for part in parts]
    assert max(loads) - min(loads) <= 3
    assert all(set(part.neutral) == set(part.subjects) for part in parts)
    # whatever the order in which they are listed
    other = replace(catalogue, sequences=tuple(reversed(catalogue.sequences)))
    assert assigned(other, 7) == assigned(catalogue, 7)
    assert len({of_shard(catalogue, Shard(n, 7))[1] for n in range(1, 8)}) == 1
    assert (
        of_shard(catalogue_of(frames | {"S000": 61}, tmp_path), Shard(1, 7))[1]
        != of_shard(catalogue, Shard(1, 7))[1]
    )


def test_more_shards_than_subjects(make, fake):
    workspace = make()
    empty = [n for n in range(1, 6) if not of(workspace, Shard(n, 5))]
    assert len(empty) == 3
    result = go(workspace, fake, shard=Shard(empty[0], 5))
    assert (result.code, calls(workspace)) == (0, [])


def test_shards_make_the_bytes_of_one_run(make, fake):
    one, many = make(PEOPLE, "one"), make(PEOPLE, "many")
    whole = go(one, fake)
    parts = [go(many, fake, shard=shard, jobs=jobs) for shard, jobs in ((SECOND, 1), (FIRST, 0))]
    assert [result.result.release for result in parts] == [None, None]
    assert not many.release.exists()
    # a frame of S4 is rejected: whoever begins the shard again for that gets the same; the whole run tells
    assert [r.code for r in parts] == [0, 0] and {r.result.all_ok for r in parts} == {True, False}
    worked = [c[:2] for c in calls(many)]
    assert sorted(worked) == sorted(c[:2] for c in calls(one))
    assert many.of_shards(many.checkpoint_index) and many.of_shards(many.ledger)
    assert not many.checkpoint_index.exists() and not many.ledger.exists()
    done = go(many, fake)
    assert calls(many) == []
    assert (done.code, done.counts("read")) == (whole.code, (0, 8, 0, 0)) and whole.code == 1
    assert digests(many) == digests(one)
    # what the shards had saved is taken over
    assert not many.of_shards(many.checkpoint_index) and not many.of_shards(many.ledger)
    assert many.checkpoint_index.read_text() and many.ledger.read_text()
    assert go(many, fake).counts("paint") == (0, 8, 0, 0)
    assert list(many.root.glob(".lock-*-of-*")) == []


def test_a_shard_in_which_something_failed_says_so(make, fake):
    workspace = make(PEOPLE | {"S3/smile": ["fail"]})
    codes = {number: go(workspace, fake, shard=Shard(number, 2)).code for number in (1, 2)}
    failing = next(n for n in (1, 2) if "S3" in of(workspace, Shard(n, 2)))
    assert codes == {failing: 1, 3 - failing: 0}


def test_a_whole_run_believes_what_the_shards_saved(make, fake, monkeypatch):
    """Nobody's checkpoints are opened again, and nothing that another run wrote down is lost."""
    from mimicme.pipeline.run import checkpoint_index

    workspace = make(PEOPLE)
    for shard in (FIRST, SECOND):
        go(workspace, fake, shard=shard)
    opened = []
    read = checkpoint_index._read_summary
    monkeypatch.setattr(checkpoint_index, "_read_summary", lambda path: opened.append(path) or read(path))
    go(workspace, fake, last="paint")  # asks for nothing: everybody is settled
    assert not workspace.of_shards(workspace.checkpoint_index)
    assert len(workspace.checkpoint_index.read_text().splitlines()) == 1 + 3 * 8
    assert go(workspace, fake).counts("fit") == (0, 8, 0, 0)
    assert opened == []


def test_a_shard_that_is_begun_again_goes_on(make, fake):
    workspace = make(PEOPLE)
    first = go(workspace, fake, shard=FIRST, last="read")
    again = go(workspace, fake, shard=FIRST)
    made = first.counts("read")[0]
    assert again.counts("read") == (0, made, 0, 0)
    assert again.counts("paint")[0] == made
    log = [json.loads(line) for line in (again.result.folder / "log.jsonl").read_text().splitlines()]
    assert log[0]["shard"] == "1/2"
    # another number of shards knows what was made as well
    assert sum(go(workspace, fake, shard=Shard(n, 3)).counts("read")[1] for n in (1, 2, 3)) == made


def test_what_another_shard_is_writing_stays(make, fake):
    workspace = make(LONG)
    cut(workspace, 2)
    mine = of(workspace, FIRST)
    shard = FIRST if "S2" in mine else SECOND  # without S1, whose parts are
    misbehave(workspace, _2="fail")
    go(workspace, fake, shard=Shard(3 - shard.number, 2))
    assert fits(workspace) == ALL_PARTS
    theirs = workspace.root / "fit" / "S1"
    parts = sorted(theirs.glob("*@part*.h5"))
    assert len(parts) == 2
    written = [theirs / ".long.h5.77.tmp", workspace.root / ".heads.jsonl.77.tmp"]
    own = workspace.root / "fit" / "S2" / ".angry.h5.77.tmp"
    own.parent.mkdir(exist_ok=True)
    for path in (*written, own):
        path.write_bytes(b"")
    assert go(workspace, fake, shard=shard).code == 0
    assert sorted(theirs.glob("*@part*.h5")) == parts
    assert all(path.exists() for path in written) and not own.exists()
    misbehave(workspace)
    go(workspace, fake)
    assert not any(path.exists() for path in (*written, *parts))


def test_who_may_run_beside_whom(make, fake):
    workspace = make(PEOPLE)
    sees = of_shard(workspace.catalogue(), FIRST)[1]
    with workspace.lock(FIRST, sees):
        assert workspace.running_process().endswith("(shard 1/2)")
        go(workspace, fake, shard=SECOND, last="read")
        for refused, words in (
            ({"shard": FIRST}, "shard 1/2 of this workspace is being worked on"),
            ({}, "another run is working on this workspace.*shard 1/2: process"),
            ({"shard": Shard(2, 3)}, "shard 2/3 would overlap with shard 1/2"),
        ):
            with pytest.raises(UsageError, match=words):
                go(workspace, fake, **refused)
        fake.captures(workspace.captures.root, {"S9/neutral": ["new"]})
        with pytest.raises(UsageError, match="would divide the subjects otherwise than shard 1/2"):
            go(workspace, fake, shard=SECOND)
    go(workspace, fake, shard=SECOND)
    with (
        workspace.lock(),
        pytest.raises(UsageError, match="another run is working on this workspace.*process"),
    ):
        go(workspace, fake, shard=FIRST)
    assert workspace.running_process() is None


def test_shards_that_run_together_have_one_template(make, fake):
    """There is one prepared template: another shard does not replace it under one that runs."""
    workspace = make()
    stages = (fake.READ, replace(fake.FIT, uses_template=True), fake.PAINT, fake.BUNDLE)
    workspace.template.parent.mkdir()
    workspace.template.write_bytes(b"prepared")
    face = workspace.root.parent / "face.obj"
    source = workspace.template_source_digest()
    record = {"declared": str(face), "source": source, "digest": "0123"}
    (workspace.template.parent / "source.json").write_text(json.dumps(record))
    other = face.with_name("other.obj")
    other.write_text("v 1 1 1\n")
    other.with_suffix(".ljson").write_text("{}")
    elsewhere = [f"template.file={other}"]
    sees = of_shard(workspace.catalogue(), FIRST)[1]
    with workspace.lock(FIRST, sees, source):
        assert go(workspace, fake, stages=stages, shard=SECOND, last="paint").code == 0
        with pytest.raises(UsageError, match="shard 2/2 has another template than shard 1/2"):
            go(workspace, fake, stages=stages, shard=SECOND, sets=elsewhere)
        go(workspace, fake, stages=stages, shard=SECOND, sets=elsewhere, last="read")  # which uses none
        face.write_text("v 2 2 2\n")
        with pytest.raises(UsageError, match="or with other content of this one"):
            go(workspace, fake, stages=stages, shard=SECOND)
        assert workspace.template.read_bytes() == b"prepared"
        face.unlink()  # moved away: what was prepared from it is still good
        assert go(workspace, fake, stages=stages, shard=SECOND, last="paint").code == 0
    assert json.loads((workspace.template.parent / "source.json").read_text()) == record


def test_status_and_watch_while_shards_run(make, fake, capsys):
    workspace = make(PEOPLE)
    go(workspace, fake, shard=FIRST)
    with workspace.lock(SECOND), workspace.lock(FIRST):
        assert "2 shards are worked on" in workspace.running_process()
        found = state(workspace, fake)["paint"]
        assert {item.split("/")[0] for item, how in found.items() if how == "done"} == set(
            of(workspace, FIRST)
        )
        assert watch(workspace, wait=lambda _: None) in (0, 1)  # where the rejected frame is
    assert "The run has ended" in capsys.readouterr().out


def test_status_tells_who_works_on_which_shard(make, fake):
    workspace, here = make(PEOPLE), f"process {os.getpid()} on "
    with workspace.lock(FIRST):
        status = read_status(workspace, fake.STAGES)
        head, one, *_ = status.lines()
        assert head.endswith("1 of 2 shards is worked on; nobody works on shard 2")
        assert one.startswith(f"  shard 1/2: {here}")
        with workspace.lock(SECOND):
            head, _, two, *_ = read_status(workspace, fake.STAGES).lines()
            assert head.endswith("2 of 2 shards are worked on") and two.startswith("  shard 2/2: process ")
    ((shard, process),) = [(run["shard"], run["process"]) for run in status.to_record()["runs"]]
    assert shard == "1/2" and process.startswith(here)
    with workspace.lock():
        assert f"a run is going on ({here}" in read_status(workspace, fake.STAGES).lines()[0]
    assert read_status(workspace, fake.STAGES).lines()[0].endswith("no run is going on")


def test_a_shard_says_its_settings_once_with_what_follows_it(make, fake):
    """`run` says of settings of the command line that they are not kept; a shard's last line has them."""
    workspace = make(PEOPLE)
    said = go(workspace, fake, sets=("run.frame_limit_s=7",), shard=FIRST).err
    assert said.count("frame_limit_s=7") == 1 and "--set run.frame_limit_s=7` once" in said


def test_what_no_shard_does(make, fake, tmp_path):
    workspace = make()
    for options, words in (
        ({"output": tmp_path / "r.h5"}, "no shard writes a release"),
        ({"first": "bundle"}, "no shard writes a release"),
        ({"only": ("S1",)}, "--only names a part"),
    ):
        with pytest.raises(UsageError, match=words):
            go(workspace, fake, shard=FIRST, **options)
    with pytest.raises(UsageError, match="'learn' learns from all subjects.*--until fit"):
        go(workspace, fake, stages=fake.WITH_CORPUS, shard=FIRST)
    assert calls(workspace) == []
    for shard in (FIRST, SECOND):
        assert go(workspace, fake, stages=fake.WITH_CORPUS, shard=shard, last="fit").code == 0
    assert go(workspace, fake, stages=fake.WITH_CORPUS).counts("learn") == (4, 0, 0, 0)


def test_the_run_that_a_shard_names_has_its_settings(make, fake):
    """Without them it would make everything anew, with others."""
    workspace = make()
    sets = ["run.preset=fast", "paint.size=4", "captures.consent_missing=include"]
    told = go(workspace, fake, shard=FIRST, sets=sets[:2]).err
    command = f"mimicme run {workspace.root} --set run.preset=fast --set paint.size=4"
    assert f"run `{command}` once" in told and "of consent" not in told
    told = go(workspace, fake, shard=FIRST, sets=sets).err
    assert f"run `{command}` once" in told and "what this one was given of consent" in told


def test_a_dry_run_of_a_shard_writes_nothing(make, fake):
    workspace = make()
    result = go(workspace, fake, shard=FIRST, dry_run=True)
    count = len([s for s in workspace.sequences() if s.item.subject in of(workspace, FIRST)])
    assert f"read: {count} of {count} would run" in result.out
    assert "bundle" not in result.out
    assert not list(workspace.root.glob(".lock*"))


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_shard_without_anybody_is_no_trouble(make, fake, dry_run):
    """There may be more shards than subjects."""
    workspace = make()
    result = go(workspace, fake, shard=Shard(3, 3), dry_run=dry_run)
    assert not of(workspace, Shard(3, 3)) and result.code == 0
    assert "Shard 3/3: 0 subjects, 0 sequences, 0 frames." in result.err
    assert "left out" not in result.out and ("read: 0 of 0 would run" in result.out) is dry_run


def test_the_template_is_prepared_by_one(make):
    workspace, said = make(), []
    with workspace.template_lock():
        waiting = threading.Thread(target=lambda: said.append(_waited(workspace, said)))
        waiting.start()
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.01)
        assert said == ["waits"]
    waiting.join(20)
    assert said == ["waits", "held"]


def _waited(workspace, said):
    with workspace.template_lock(lambda: said.append("waits")):
        return "held"
