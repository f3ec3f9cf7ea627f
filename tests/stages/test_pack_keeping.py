"""A release never loses frames to a failure: what is packed anew and what is kept, through the command line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import h5py
import pytest
from shared_helpers import SMALL, mimicme, mimicme_here

from mimicme.commands.verify import has_errors, verify
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release
from mimicme.pipeline.run import runner
from mimicme.pipeline.run.work import Job, Outcome, execute, failed_outcome
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import pack as packing
from mimicme.stages.pack.keeping import Kept, held, keep

KEPT = "release.h5 is kept as it was: it has frames of "


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Iterator[Path]:
    """A workspace of S000: neutral (frame 0) and surprise (frames 0 to 2), worked up."""
    shutil.copytree(small_workspace, tmp_path / "ws")
    yield tmp_path / "ws"
    shutil.rmtree(tmp_path / "ws")


def run(workspace: Path, *more: object, code: int = 0) -> str:
    done = mimicme_here("run", workspace, "--jobs", 0, *SMALL, *more, code=code)
    return done.stdout + done.stderr


def pack(workspace: Path, *more: object, code: int = 0) -> str:
    done = mimicme_here("pack", workspace, "--jobs", 0, *SMALL, *more, code=code)
    return done.stdout + done.stderr


def lose(workspace: Path, stage: str = "register", sequence: str = "surprise") -> None:
    (workspace / stage / "S000" / f"{sequence}.h5").unlink()


def ok_frames(release: Path) -> dict[str, int]:
    """How many frames are ok, by sequence."""
    with Release(release) as opened:
        statuses = opened.index["status"]
        return {str(s.item): int((statuses[s.start : s.stop] == "ok").sum()) for s in opened.sequences()}


ALL_OK = {"S000/neutral": 1, "S000/surprise": 3}


def with_another_person(fakes: ModuleType, release: Path) -> None:
    """Let a release hold S009 too, of whom there are no captures."""
    with h5py.File(release, "r+") as file:
        file.copy("subjects/S000", file["subjects"], name="S009")
        file["subjects/S009"].attrs["ethnicity"] = "a-trace-of-them"
    fakes.reindex(release)
    assert ok_frames(release) == ALL_OK | {"S009/neutral": 1, "S009/surprise": 3}


def test_what_fails_in_a_run_stays_in_the_release(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (workspace / "release.h5").read_bytes()
    lose(workspace)

    def short_of_memory(job: Job) -> Outcome:
        if (job.stage.name, str(job.item)) == ("register", "S000/surprise"):
            return failed_outcome(MemoryError(), time.monotonic())
        return execute(job)

    monkeypatch.setattr(runner, "execute", short_of_memory)
    said = run(workspace, code=1)
    assert KEPT in said and "S000/surprise: 'register' failed" in said
    assert f"`mimicme pack {workspace} --allow-missing --set bake.size=256`" in said
    assert "Exit status 1: 1 failed at register, 1 waiting at" in said and "release.h5 kept as it was" in said
    assert (workspace / "release.h5").read_bytes() == before
    told = mimicme_here("status", workspace, "--failed", *SMALL).stdout
    assert "kept as it was" in told
    record = workspace / "failures" / "pack" / "release" / "release.json"
    assert json.loads(record.read_text())["made_by"] == {}  # of a large database it would be half a gigabyte
    # mended, it is what it was
    monkeypatch.undo()
    assert "is current" in run(workspace)
    assert not record.exists()
    assert (workspace / "release.h5").read_bytes() == before
    assert "kept as it was" not in mimicme_here("status", workspace, "--failed", *SMALL).stdout


def test_a_missing_checkpoint_keeps_the_release_unless_asked_otherwise(workspace: Path) -> None:
    release = workspace / "release.h5"
    before = release.read_bytes()
    lose(workspace)
    assert "S000/surprise: 'register' is not made yet" in pack(workspace, code=1)
    # other settings and another licence wait too
    assert KEPT in pack(workspace, "--set", "pack.vertex_step_um=1", code=1)
    assert release.read_bytes() == before
    pack(workspace, "--allow-missing", code=1)
    assert ok_frames(release) == {"S000/neutral": 1, "S000/surprise": 0}
    # now it has nothing of it that could be lost
    assert KEPT not in pack(workspace, "--set", "pack.vertex_step_um=1", code=1)
    assert ok_frames(release) == {"S000/neutral": 1, "S000/surprise": 0}


def test_what_was_made_with_other_settings_is_not_called_missing(workspace: Path, tmp_path: Path) -> None:
    """The run was given settings, and a plain `pack` is not: `--allow-missing` would pack a release of nothing."""
    release = workspace / "release.h5"
    before = release.read_bytes()
    done = mimicme_here("pack", workspace, "--jobs", 0, "--set", "align.few_landmarks=21", code=1)
    said = done.stdout + done.stderr
    assert KEPT + "2 sequences whose results are out of date: they were made with other settings" in said
    assert "no result now" not in said and "--allow-missing" not in said
    assert f"`mimicme pack {workspace} --set bake.size=256` packs it with the settings" in said
    assert release.read_bytes() == before
    # once more: the newest run is now one that was refused
    told = mimicme_here(
        "pack", workspace, "--jobs", 0, "--dry-run", "--set", "align.few_landmarks=21", code=1
    )
    assert f"`mimicme pack {workspace} --set bake.size=256` packs it" in told.stdout
    assert "is current" in pack(workspace)  # as it says
    # what nobody gave is not told
    shutil.rmtree(workspace / "runs")
    done = mimicme_here("pack", workspace, "--jobs", 0, "--set", "align.few_landmarks=21", code=1)
    said = done.stdout + done.stderr
    assert "Give the settings that it was made with again" in said and "bake.size=256" not in said


def test_a_texture_is_not_lost_either(workspace: Path) -> None:
    lose(workspace, "bake")
    assert "S000/surprise: 'bake' is not made yet" in pack(workspace, code=1)
    pack(workspace, "--allow-missing", code=1)
    assert ok_frames(workspace / "release.h5") == ALL_OK  # without textures, which is noted


def test_what_is_rejected_or_called_bad_leaves_it(workspace: Path) -> None:
    (workspace / "review.csv").write_text(
        "subject,sequence,frame,verdict,reason\nS000,surprise,1,bad,drifted\n"
    )
    pack(workspace)
    assert ok_frames(workspace / "release.h5") == {"S000/neutral": 1, "S000/surprise": 2}


def test_who_must_not_be_in_it_leaves_a_release_that_is_kept(
    workspace: Path, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something of S000 failed, and S009 has withdrawn meanwhile."""
    release = workspace / "release.h5"
    with_another_person(fakes, release)
    with Release(release) as opened:
        before = [opened.frame(row).vertices.tobytes() for row in opened.select(subject="S000")]
    lose(workspace)
    said = pack(workspace, code=1)
    assert KEPT in said and "pack: 1 subject left release.h5" in said and "S009" not in said
    assert b"a-trace-of-them" not in release.read_bytes() and b"S009" not in release.read_bytes()
    assert ok_frames(release) == ALL_OK and not has_errors(verify(release))
    with Release(release) as opened:
        assert [opened.frame(row).vertices.tobytes() for row in opened.select()] == before
    # and where packing fails altogether
    with_another_person(fakes, release)
    monkeypatch.setattr(packing, "ask_for", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert "release.h5 is kept" not in pack(workspace, "--allow-missing", code=1)
    assert b"a-trace-of-them" not in release.read_bytes() and ok_frames(release) == ALL_OK


@pytest.mark.parametrize("shard", ["none", "subject", 1.0])
def test_who_is_not_listed_leaves_and_the_table_counts(
    fakes: ModuleType, tmp_path: Path, shard: object
) -> None:
    release, table = (
        tmp_path / "out" / "release.h5",
        fakes.TABLE.replace(b"31", b"32").replace(b"Ulm", b"Bonn"),
    )
    fakes.packed(release, fakes.inputs(tmp_path / "made"), shard=shard)
    before = release.read_bytes()
    assert keep(release, list, parse_subjects(fakes.TABLE), "left-") == Kept()
    assert release.read_bytes() == before
    assert keep(release, lambda _: ["S001"], parse_subjects(table), "left-") == Kept(1, 1)
    assert not has_errors(verify(release))
    with Release(release) as opened:
        assert list(opened.subjects) == ["S001"] and opened.fingerprint.startswith("left-")
        assert (opened.subjects["S001"]["age"], opened.subjects["S001"]["site"]) == (32, "Bonn")
        assert len(opened) == 4
    files = [path.read_bytes() for path in release.parent.iterdir() if path.suffix == ".h5"]
    assert len(files) == (1 if shard == "none" else 2)
    assert not any(word in data for data in files for word in (b"S002", b"Ulm", b"Bath"))


def test_a_release_elsewhere_keeps_people_of_whom_nothing_is_known_here(
    workspace: Path, fakes: ModuleType, tmp_path: Path
) -> None:
    """It may be another workspace's: only who refuses here leaves it."""
    other, table = tmp_path / "other.h5", tmp_path / "people.csv"
    shutil.copy(workspace / "release.h5", other)
    with_another_person(fakes, other)
    before = other.read_bytes()
    lose(workspace)
    assert "other.h5 is kept" in pack(workspace, "--output", other, code=1)
    assert other.read_bytes() == before
    table.write_text("subject,consent\nS000,yes\nS009,no\n")
    pack(workspace, "--output", other, "--set", f"metadata.file={table}", code=1)
    assert b"a-trace-of-them" not in other.read_bytes() and ok_frames(other) == ALL_OK


def test_a_kept_release_says_of_people_what_the_table_says_now(workspace: Path, tmp_path: Path) -> None:
    release, table = workspace / "release.h5", tmp_path / "people.csv"
    table.write_text("subject,age,consent,may_train\nS000,44,yes,no\n")
    lose(workspace)
    said = pack(workspace, "--set", f"metadata.file={table}", code=1)
    assert KEPT in said and "says of 1 subject what the table of subjects says now" in said
    assert not has_errors(verify(release)) and ok_frames(release) == ALL_OK
    with Release(release) as opened:
        assert opened.subjects["S000"]["age"] == 44 and opened.subjects["S000"]["may_train"] == "no"
    # the same again changes nothing
    before = release.read_bytes()
    assert "says of" not in pack(workspace, "--set", f"metadata.file={table}", code=1)
    assert release.read_bytes() == before


def test_a_release_that_nobody_can_read_is_packed_anew(workspace: Path) -> None:
    release = workspace / "release.h5"
    release.write_bytes(release.read_bytes()[:5000])
    assert held(release, [Item("S000", "surprise")]) == {}
    lose(workspace)
    pack(workspace, code=1)
    assert ok_frames(release) == {"S000/neutral": 1, "S000/surprise": 0}


def test_held_names_the_stages_of_what_has_a_frame_that_is_ok(workspace: Path) -> None:
    found = held(workspace / "release.h5", [Item("S000", "surprise"), Item("S001", "surprise")])
    assert list(found) == [Item("S000", "surprise")]
    assert {"ingest", "register", "bake"} <= found[Item("S000", "surprise")]


def test_who_refuses_leaves_where_nothing_is_left_to_pack(
    workspace: Path, fakes: ModuleType, tmp_path: Path
) -> None:
    release, table = workspace / "release.h5", tmp_path / "people.csv"
    with_another_person(fakes, release)
    table.write_text("subject,consent\nS000,no\n")
    refusing = ("--set", f"metadata.file={table}")
    said = run(workspace, *refusing, code=1)
    assert "no release is written" in said and "2 subjects left release.h5" in said
    assert "older one" not in said and ok_frames(release) == {} and not has_errors(verify(release))
    assert not any(word in release.read_bytes() for word in (b"S000", b"S009", b"a-trace-of-them"))


def test_who_refuses_leaves_where_pack_alone_has_nothing_to_pack(workspace: Path, fakes: ModuleType) -> None:
    """S009 has no captures any more, and nothing is there of S000, of whom the release has nothing either."""
    release = workspace / "release.h5"
    with_another_person(fakes, release)
    keep(release, lambda _: ["S009"], None, "left-")
    for stage in (
        "ingest",
        "landmarks",
        "align",
        "register",
        "repass",
        "refine",
        "bake",
        "project",
        "intensity",
    ):
        shutil.rmtree(workspace / stage / "S000", ignore_errors=True)
    said = pack(workspace, code=2)
    assert "there is nothing to pack" in said and "1 subject left release.h5" in said
    assert ok_frames(release) == {} and b"a-trace-of-them" not in release.read_bytes()


@pytest.mark.parametrize("shard", ["none", "subject"])
def test_one_damaged_place_loses_nobody_elses_frames(fakes: ModuleType, tmp_path: Path, shard: str) -> None:
    """What cannot be read of a sequence counts as there; of the others it is read."""
    release, asked = tmp_path / "out" / "release.h5", [Item("S001", "smile"), Item("S002", "smile")]
    fakes.packed(release, fakes.inputs(tmp_path / "made"), shard=shard)
    whole = held(release, asked)
    assert list(whole) == asked and all(whole.values())
    if shard == "none":
        with h5py.File(release, "r+") as file:
            file["subjects/S002/smile"].attrs["elsewhere"] = file.ref  # nobody reads on there
    else:
        with Release(release) as opened:
            (of,) = [one for one in opened._access().shards if one.subjects == ("S002",)]
        (release.parent / of.name).unlink()
    assert held(release, asked) == {asked[0]: whole[asked[0]], asked[1]: None}


def test_a_release_that_may_be_whole_is_no_release_of_nothing(
    fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, asked = tmp_path / "release.h5", [Item("S001", "smile")]
    fakes.packed(release, fakes.inputs(tmp_path / "made"))
    for number in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES, errno.EAGAIN):

        def failing(*_: object, number: int = number, **__: object) -> h5py.File:
            raise OSError(number, "the system says no")

        with monkeypatch.context() as patched:
            patched.setattr("mimicme.pipeline.checkpoint.h5py.File", failing)
            with pytest.raises(ReleaseError):
                held(release, asked)
    with monkeypatch.context() as patched:
        patched.setattr(Release, "_read", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(ReleaseError, match="fits into memory"):
            held(release, asked)
    assert list(held(release, asked)) == asked
    with h5py.File(release, "r+") as file:
        file.attrs["schema_version"] = "2.0"
    with pytest.raises(ReleaseError, match=r"schema_version '2\.0'"):
        held(release, asked)


def test_people_of_whole_shards_stay_where_another_shard_is_missing(workspace: Path) -> None:
    release = workspace / "release.h5"
    pack(workspace, "--set", "pack.shard=subject")
    (shard,) = workspace.glob("release@*.h5")
    index = release.read_bytes()
    shard.unlink()
    lose(workspace)
    assert KEPT in pack(workspace, "--set", "pack.shard=subject", code=1)
    assert release.read_bytes() == index


def test_a_release_that_is_open_elsewhere_fails_like_any_pack(workspace: Path) -> None:
    """The run goes to its end: the table, the record of the failure, and that somebody may have to leave."""
    release = workspace / "release.h5"
    before = release.read_bytes()
    lose(workspace)
    with h5py.File(release, "r+"):
        done = mimicme("pack", workspace, "--jobs", 0, *SMALL, code=1)  # HDF5 locks between processes
    said = done.stdout + done.stderr
    assert "another program holds this file open for writing" in said and "1 failed at pack" in said
    assert "release.h5 may hold who is left out now, and could not be written without them" in said
    assert (workspace / "failures" / "pack" / "release" / "release.json").is_file()
    assert ok_frames(release) == ALL_OK and len(release.read_bytes()) == len(before)


def test_a_recording_that_was_taken_back_leaves_a_release_that_is_kept(
    workspace: Path, small_captures: Path, tmp_path: Path
) -> None:
    """And frames that are called bad meanwhile wait.  By a relative `--output` it is the workspace's own, too."""
    release, captures = workspace / "release.h5", tmp_path / "captures"
    shutil.copytree(small_captures / "captures", captures)
    text = (workspace / "mimicme.toml").read_text()
    root = next(line for line in text.splitlines() if line.startswith("root = "))
    (workspace / "mimicme.toml").write_text(text.replace(root, f'root = "{captures}"'))
    shutil.rmtree(captures / "S000" / "surprise")
    (workspace / "review.csv").write_text("subject,sequence,frame,verdict,reason\nS000,neutral,0,bad,hair\n")
    lose(workspace, "register", "neutral")
    said = pack(workspace, "--output", os.path.relpath(release), code=1)
    assert KEPT in said and "pack: 1 sequence left release.h5: no longer among the captures." in said
    assert ok_frames(release) == {"S000/neutral": 1} and not has_errors(verify(release))


def test_the_last_line_says_which_recordings_left(workspace: Path, fakes: ModuleType) -> None:
    """A folder that was renamed is another sequence, and the release that is packed has the old one no more."""
    with_another_person(fakes, workspace / "release.h5")
    (workspace / "people.csv").write_text("subject,consent\nS000,yes\nS009,yes\n")
    table = ("--set", f"metadata.file={workspace / 'people.csv'}")
    said = pack(workspace, *table)
    assert ok_frames(workspace / "release.h5") == ALL_OK
    gone = "2 sequences (4 frames) left release.h5, because their captures are not there any more: "
    assert said.count(f"{gone}S009/neutral, S009/surprise.") == 1
    (log,) = sorted((workspace / "runs").iterdir())[-1:]
    assert f"{gone}S009/neutral" in (log / "log.jsonl").read_text()
    assert "left release.h5" not in pack(workspace, *table)
    # whom the list of who has withdrawn keeps out is not named
    with_another_person(fakes, workspace / "release.h5")
    Workspace.open(workspace).remove_subject("S009", ())
    said = pack(workspace, *table, "--set", "pack.vertex_step_um=1")
    assert ok_frames(workspace / "release.h5") == ALL_OK and "S009" not in said


def test_who_refuses_is_not_named_as_gone(workspace: Path, fakes: ModuleType, tmp_path: Path) -> None:
    with_another_person(fakes, workspace / "release.h5")
    table = tmp_path / "people.csv"
    table.write_text("subject,consent\nS000,yes\ns9,withdrawn\n")
    said = pack(workspace, "--set", f"metadata.file={table}")
    assert ok_frames(workspace / "release.h5") == ALL_OK and "any more: " not in said and "S009" not in said


@pytest.mark.parametrize("shard", ["none", "subject", 1.0])
def test_a_sequence_leaves_and_its_person_stays(fakes: ModuleType, tmp_path: Path, shard: object) -> None:
    release, smile = tmp_path / "out" / "release.h5", Item("S001", "smile")
    fakes.packed(release, fakes.inputs(tmp_path / "made"), shard=shard)

    def content() -> dict[str, list[bytes]]:
        with Release(release) as opened:
            return {
                str(s.item): [opened.frame(row).vertices.tobytes() for row in s.rows]
                for s in opened.sequences()
            }

    before, people = content(), dict(Release(release).subjects)
    assert keep(release, list, None, "left-", lambda items: set(items) - {smile}) == Kept(0, 0, 1)
    assert not has_errors(verify(release)) and str(smile) in before
    assert content() == {name: frames for name, frames in before.items() if name != str(smile)}
    assert dict(Release(release).subjects) == people


def test_shards_of_an_interrupted_pack_go_though_nobody_in_the_index_leaves(
    fakes: ModuleType, tmp_path: Path
) -> None:
    release = tmp_path / "out" / "release.h5"
    fakes.packed(release, fakes.inputs(tmp_path / "made"), shard="subject")
    left = release.parent / f"release@S009@{'0' * 16}.h5"
    left.write_bytes(b"who refused since")
    assert keep(release, list, None, "left-") == Kept()
    assert not left.exists() and not has_errors(verify(release))


def test_a_dry_run_says_that_the_release_would_be_kept(workspace: Path) -> None:
    before = (workspace / "release.h5").read_bytes()
    lose(workspace)
    told = pack(workspace, "--dry-run", code=1)
    assert "pack: 0 of 1 would run" in told
    assert "would be kept: " + KEPT in told and "S000/surprise: 'register' is not made yet" in told
    assert f"`mimicme run {workspace} --set bake.size=256` makes what is not there" in told
    assert "pack: 1 of 1 would run" in pack(workspace, "--dry-run", "--allow-missing")
    # a run makes it first
    assert "pack: 1 of 1 would run" in run(workspace, "--dry-run")
    assert (workspace / "release.h5").read_bytes() == before
