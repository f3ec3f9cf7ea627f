"""The checkpoint index: what a run saves of the checkpoints it has read, and when the next one uses it."""

from __future__ import annotations

import io
import json
import os
import shutil

import pytest
from fake_runs import go, state

from mimicme.pipeline.checkpoint import writing
from mimicme.pipeline.items import Item
from mimicme.pipeline.run import checkpoint_index
from mimicme.pipeline.run.checkpoint_index import CheckpointIndex
from mimicme.pipeline.workspace import Workspace

ODD = {"S1/neutral": ["a", "reject"], "S2/angry": ["note", "ee"]}


@pytest.fixture
def opened(monkeypatch):
    """The checkpoints whose summaries are read from their files, in order."""
    paths = []
    read = checkpoint_index._read_summary

    def noted(path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(checkpoint_index, "_read_summary", noted)
    return paths


def status_of(workspace, fake):
    from mimicme.pipeline.run.status import read_status

    return read_status(Workspace.open(workspace.root, environ={}), fake.STAGES).to_record()


def test_a_second_run_opens_no_checkpoint_and_says_the_same(make, fake, opened):
    workspace = make(ODD)
    first = go(workspace, fake)
    assert len(opened) == 6
    said = status_of(workspace, fake)
    del opened[:]
    second = go(workspace, fake)
    assert opened == []
    assert second.code == first.code == 1
    assert second.stages["read"].frames_rejected == first.stages["read"].frames_rejected == 1
    assert second.stages["read"].findings == first.stages["read"].findings != []
    workspace.checkpoint_index.unlink()
    assert status_of(workspace, fake) == said
    assert len(opened) == 6


def test_another_file_in_its_place_is_read(make, fake, opened):
    workspace = make(ODD)
    go(workspace, fake)
    path = workspace.root / "fit" / "S1" / "neutral.h5"
    path.write_bytes((workspace.root / "fit" / "S2" / "angry.h5").read_bytes())
    del opened[:]
    assert state(workspace, fake)["fit"] == {"S1/neutral": "stale", "S2/angry": "done"}
    assert opened == [path]


@pytest.mark.parametrize(
    "text",
    ["", "another program 7\n", '{}\n["x"]\n', "{first}\n[1, 2]\n", "{first}\n{{}}\n", "{first}\nnull\n"],
)
def test_an_index_that_cannot_be_read_is_none(make, fake, opened, text):
    workspace = make(ODD)
    go(workspace, fake)
    first = workspace.checkpoint_index.read_text().splitlines()[0]
    workspace.checkpoint_index.write_text(text.format(first=first) if "first" in text else text)
    workspace.ledger.unlink()  # it would keep the index from being asked
    del opened[:]
    go(workspace, fake)
    assert len(opened) == 6
    assert len(workspace.checkpoint_index.read_text().splitlines()) == 7


def test_withdrawing_a_subject_deletes_the_index(make, fake):
    workspace = make(ODD)
    go(workspace, fake)
    assert "S2/angry" in workspace.checkpoint_index.read_text()
    workspace.remove_subject("S2", ["read", "fit", "paint"])
    assert not workspace.checkpoint_index.exists()


def test_in_a_block_each_file_is_looked_at_once_and_anew_in_one_within(make, fake, monkeypatch):
    workspace = make(ODD)
    go(workspace, fake)
    path = workspace.checkpoint("read", Item("S1", "neutral"))
    index, looks = CheckpointIndex(workspace.root, workspace.checkpoint_index), []
    signature = checkpoint_index.file_signature
    monkeypatch.setattr(
        checkpoint_index, "file_signature", lambda path: looks.append(path) or signature(path)
    )
    assert index.known(path) is None and not looks
    with index.each_once():
        there, summary = index.look(path)
        assert there and index.read(path) is summary is index.known(path) and looks == [path]
        with index.each_once():
            path.unlink()
            assert index.look(path) == (False, None) and looks == [path, path]
        assert index.look(path) == (True, summary) and looks == [path, path]
    assert index.look(path) == (False, None) and index.known(path) is None


def test_entries_of_removed_checkpoints_are_dropped(make, fake):
    workspace = make(ODD)
    go(workspace, fake)
    for folder in ("read", "fit", "paint"):
        shutil.rmtree(workspace.root / folder / "S2")
    shutil.rmtree(workspace.captures.root / "S2")
    go(workspace, fake)
    assert "S2" not in workspace.checkpoint_index.read_text()
    assert len(workspace.checkpoint_index.read_text().splitlines()) == 4


def test_an_unchanged_index_is_not_written_again(make, fake):
    workspace = make(ODD)
    go(workspace, fake)
    before = workspace.checkpoint_index.stat()
    go(workspace, fake)
    after = workspace.checkpoint_index.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_keeps_its_time_is_another_all_the_same(make, fake, opened):
    workspace = make(ODD)
    go(workspace, fake)
    path = workspace.root / "fit" / "S1" / "neutral.h5"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[:512] = bytes(512)
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    del opened[:]
    assert state(workspace, fake)["fit"]["S1/neutral"] == "stale"
    assert opened == [path]


def test_damage_that_a_later_stage_meets_is_looked_for(make, fake, opened, monkeypatch):
    workspace = make(ODD)
    go(workspace, fake)
    path = workspace.root / "fit" / "S1" / "neutral.h5"
    path.write_bytes(bytes(path.stat().st_size))
    # as if neither times nor size nor inode had changed: what a disk that forgets looks like
    saved = [json.loads(line) for line in workspace.checkpoint_index.read_text().splitlines()[1:]]
    stat = path.stat()
    same = [stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino]
    lines = [json.dumps([n, same if n == "fit/S1/neutral.h5" else s, *rest]) for n, s, *rest in saved]
    first = workspace.checkpoint_index.read_text().splitlines()[0]
    workspace.checkpoint_index.write_text("\n".join([first, *lines]) + "\n")
    failed = go(workspace, fake, sets=["paint.size=4"])
    assert failed.counts("fit") == (0, 2, 0, 0)
    assert failed.counts("paint") == (1, 0, 1, 0)
    healed = go(workspace, fake, sets=["paint.size=4"])
    assert healed.counts("fit") == (1, 1, 0, 0)
    assert healed.counts("paint")[0] == 1


def test_a_disk_that_is_full_costs_the_index_alone(make, fake, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_index.CheckpointIndex, "save", full)
    workspace = make(ODD)
    assert go(workspace, fake).code == 1
    assert not workspace.checkpoint_index.exists()


def test_a_note_that_many_frames_have_is_kept_once(tmp_path):
    """In memory: a note that every frame has would else be kept frame by frame and stage by stage."""
    paths = [tmp_path / "read" / "S1" / name for name in ("a.h5", "b.h5")]
    for path in paths:
        with writing(path, stage="read", item="S1/x", made_by={}) as out:
            out.frames([4, 7])
            for row in range(2):
                out.note(row, "no-texture", "The frame has no texture.")
    file = tmp_path / "heads.jsonl"
    index = checkpoint_index.CheckpointIndex(tmp_path, file)
    for path in paths:
        index.read(path)
    index.save()
    for known in (index, checkpoint_index.CheckpointIndex(tmp_path, file)):
        summaries = [known.read(path) for path in paths]
        assert [list(summary.flagged_frames()) for summary in summaries] == [
            list(summary.frames()) for summary in summaries
        ]
        assert len({id(status) for summary in summaries for status in summary.flagged.values()}) == 1


@pytest.fixture
def of_two(tmp_path):
    """A folder, its index's file, and the checkpoints of two subjects by subject."""
    paths = {who: [tmp_path / "read" / who / name for name in ("a.h5", "b.h5")] for who in ("S1", "S2")}
    for who, own in paths.items():
        for path in own:
            with writing(path, stage="read", item=f"{who}/x", made_by={"at": path.name}) as out:
                out.frames([4, 7])
                out.note(1, "no-texture", "The frame has no texture.")
    return tmp_path, tmp_path / "heads.jsonl", paths


def read_of(index, paths):
    return {path: index.read(path).to_record() for own in paths.values() for path in own}


def test_of_who_is_on_the_shelf_nothing_is_in_memory_and_all_is_known(of_two, opened):
    root, file, paths = of_two
    plain = CheckpointIndex(root, file)
    said = read_of(plain, paths)
    plain.save()
    whole = sorted(file.read_text().splitlines())
    file.unlink()
    del opened[:]
    index = CheckpointIndex(root, file)
    assert read_of(index, paths) == said
    for who, own in paths.items():
        index.shelve(who, own)
    assert not index._entries
    assert read_of(index, paths) == said
    assert {os.path.basename(os.path.dirname(path)) for path in index._entries} == {
        "S2"
    }  # who was asked for last
    assert index.known(paths["S1"][0]).to_record() == said[paths["S1"][0]]
    assert len(opened) == 4
    assert os.listdir(root) == ["read"]
    index.save()
    assert sorted(file.read_text().splitlines()) == whole
    again = CheckpointIndex(root, file)
    assert read_of(again, paths) == said and len(opened) == 4


def test_what_becomes_another_after_it_was_shelved_is_read_and_saved_anew(of_two, opened):
    root, file, paths = of_two
    index = CheckpointIndex(root, file)
    said = read_of(index, paths)
    for who, own in paths.items():
        index.shelve(who, own)
    replaced, gone, put = paths["S1"][0], paths["S1"][1], paths["S2"][0]
    shutil.copyfile(put, replaced)
    gone.unlink()
    del opened[:]
    assert index.read(replaced).to_record() == said[put] and opened == [replaced]
    assert index.read(gone) is None
    shutil.copyfile(replaced, put)
    index.put(put, checkpoint_index.read_entry(put))
    del opened[:]
    index.save()
    again = CheckpointIndex(root, file)
    assert [again.read(path) is None for path in (replaced, gone, put, paths["S2"][1])] == [
        False,
        True,
        False,
        False,
    ]
    assert opened == []
    assert len(file.read_text().splitlines()) == 4


@pytest.mark.parametrize("fails", ["open", "write", "read"])
def test_a_shelf_that_fails_costs_nothing_but_memory_or_a_look(of_two, opened, monkeypatch, fails):
    root, file, paths = of_two
    index = CheckpointIndex(root, file)
    said = read_of(index, paths)

    class Failing(io.FileIO):
        def write(self, data):
            return super().write(data[: len(data) // 2] if fails == "write" else data)

        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    def opens(*_, **__):
        if fails == "open":
            raise OSError(28, "No space left on device")
        return Failing(root / "shelf", "w+")

    monkeypatch.setattr(checkpoint_index.tempfile, "TemporaryFile", opens)
    for who, own in paths.items():
        index.shelve(who, own)
    assert len(index._entries) == (0 if fails == "read" else 4)
    del opened[:]
    assert read_of(index, paths) == said
    assert len(opened) == (4 if fails == "read" else 0)
    index.save()
    assert len(file.read_text().splitlines()) == 5


def test_what_was_left_in_the_file_stays_there(of_two, opened):
    """It is written again line by line: in memory it would be more than a GB."""
    root, file, paths = of_two
    index = CheckpointIndex(root, file)
    said = read_of(index, paths)
    index.save()
    whole = sorted(file.read_text().splitlines())
    later = CheckpointIndex(root, file)
    later.set_aside(["S1"])
    shutil.copyfile(paths["S1"][0], paths["S2"][0])
    assert later.read(paths["S2"][0]).to_record() == said[paths["S1"][0]]
    later.save()
    assert all("S2" in path for path in later._entries)
    now = sorted(file.read_text().splitlines())
    assert len(now) == len(whole) and [line for line in now if "/S1/" in line] == [
        line for line in whole if "/S1/" in line
    ]
    paths["S1"][1].unlink()
    last = CheckpointIndex(root, file)
    last.set_aside(["S1"])
    assert last.read(paths["S2"][0]) is not None
    last.invalidate(paths["S2"][1])
    last.save()
    assert sorted(line.split('"')[1] for line in file.read_text().splitlines()[1:]) == [
        "read/S1/a.h5", "read/S2/a.h5",
    ]  # fmt: skip
