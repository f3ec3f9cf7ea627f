"""Consent withdrawn: no byte of the subject is left, the others are as they were, and it does not come
back."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from mimicme.commands.model.build import BuildSettings, build
from mimicme.commands.verify import has_errors, verify
from mimicme.commands.withdraw import withdraw, withdraw_release, withdraw_workspace
from mimicme.pipeline.checkpoint import writing
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.model_file import read_model
from mimicme.pipeline.release import Release, shards
from mimicme.pipeline.run.plan import RELEASE, WITHDRAWN
from mimicme.pipeline.workspace import Workspace

QUICK = BuildSettings(texture=0, group_minimum=0, prune=0)


@pytest.fixture
def path(fakes: ModuleType, tmp_path: Path) -> Path:
    fakes.packed(tmp_path / "release.h5", fakes.inputs(tmp_path / "made"))
    return tmp_path / "release.h5"


def chunks(path: Path, name: str) -> list[bytes]:
    """A dataset's chunks as they lie in the file."""
    data = path.read_bytes()
    with h5py.File(path) as file:
        found = file[name].id
        places = [found.get_chunk_info(k) for k in range(found.get_num_chunks())]
    return [data[p.byte_offset : p.byte_offset + p.size] for p in places]


def test_its_bytes_are_gone_from_a_release(path: Path) -> None:
    with Release(path) as release:
        before = [release.frame(row) for row in release.select(subject="S002")]
        mark = release.fingerprint
    traces = [b"S001", b"Ulm", b"large-residual", *chunks(path, "subjects/S001/smile/vertices")]
    assert len(traces) == 5
    assert all(t in path.read_bytes() for t in (traces[0], traces[1], *traces[3:]))
    gone = withdraw_release(path, "S001")
    assert (gone.sequences, gone.frames) == (2, 4)
    assert not any(t in path.read_bytes() for t in traces)
    assert verify(path) == []
    with Release(path) as release:
        assert list(release.subjects) == ["S002"]
        assert release.index["row"].tolist() == [0, 1]
        assert release.index["frame"].tolist() == [5, 7]
        assert release.fingerprint != mark and release.fingerprint.startswith(WITHDRAWN)
        for old, new in zip(before, release, strict=True):
            np.testing.assert_array_equal(old.vertices, new.vertices)
            np.testing.assert_array_equal(old.texture, new.texture)
            assert (old.number, old.quality, old.message) == (new.number, new.quality, new.message)
    assert [p.name for p in sorted(path.parent.iterdir()) if p.is_file()] == [
        "release.h5",
        "release.h5.sha256",
    ]


def test_the_last_subject_may_go_too(path: Path) -> None:
    withdraw_release(path, "S001")
    withdraw_release(path, "S002")
    assert verify(path) == []
    with Release(path) as release:
        assert len(release) == 0
        assert release.sequences() == []
        assert release.select(subject="S*").tolist() == []


def test_withdrawal_does_not_depend_on_the_clock(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    withdraw_release(path, "S002")
    withdraw_release(other, "S002")
    assert path.read_bytes() == other.read_bytes()


def test_a_subject_that_is_not_there(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(UsageError, match="S003"):
        withdraw_release(path, "S003")
    assert path.read_bytes() == before


@pytest.fixture
def sharded(fakes: ModuleType, tmp_path: Path) -> Path:
    """Three people, each in a shard."""
    folder = tmp_path / "sharded"
    given = [
        fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile")))
        for p in ("S001", "S002", "Z003")
    ]
    fakes.packed(folder / "release.h5", given, shard="subject")
    return folder / "release.h5"


def test_who_leaves_a_release_of_shards_leaves_the_others_as_they_are(sharded: Path) -> None:
    before = {p.name: p.read_bytes() for p in sharded.parent.iterdir()}
    own = next(name for name in before if "Z003" in name)
    with h5py.File(sharded.parent / own) as file:
        places = [file["subjects/Z003/smile/vertices"].id.get_chunk_info(k) for k in range(3)]
    traces = [b"Z003", *(before[own][p.byte_offset : p.byte_offset + p.size] for p in places)]
    with Release(sharded) as release:
        stay = [release.vertices(int(row)) for row in release.select(subject="S00*")]
    gone = withdraw_release(sharded, "Z003")
    assert (gone.sequences, gone.frames) == (1, 3)
    after = {p.name: p.read_bytes() for p in sharded.parent.iterdir()}
    assert set(before) - set(after) == {own} and not set(after) - set(before)
    assert {n: d for n, d in after.items() if "@" in n} == {n: before[n] for n in after if "@" in n}
    assert len(after["release.h5"]) < len(before["release.h5"])
    assert not any(trace in data for data in after.values() for trace in traces)
    assert not any("Z003" in name for name in after)
    assert verify(sharded) == []
    with Release(sharded) as release:
        assert list(release.subjects) == ["S001", "S002"]
        assert all((a == release.vertices(row)).all() for row, a in enumerate(stay))
    withdraw_release(sharded, "S001")
    withdraw_release(sharded, "S002")
    assert verify(sharded) == [] and len(Release(sharded)) == 0


def test_who_leaves_a_shard_of_several_changes_that_one_alone(fakes: ModuleType, tmp_path: Path) -> None:
    people = [f"S{k:03d}" for k in range(8)]
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in people]
    path = tmp_path / "r" / "release.h5"
    fakes.packed(path, given, shard=2e-4)
    known = shards.of_file(path)
    assert known and len(known) > 1
    own = next(one for one in known if len(one.subjects) > 1)
    leaving, staying = own.subjects[0], own.subjects[1:]
    before = {p.name: p.read_bytes() for p in path.parent.glob("*@*")}
    with Release(path) as release:
        rows = {s: release.vertices(int(release.select(subject=s)[0])) for s in staying}
    # of a pack that was interrupted: it may hold the subject
    (path.parent / "release@0@0123456789abcdef.h5").write_bytes(before[own.name])
    withdraw_release(path, leaving)
    after = {p.name: p.read_bytes() for p in path.parent.glob("*@*")}
    assert set(before) - set(after) == {own.name} and len(set(after) - set(before)) == 1
    assert all(after[name] == before[name] for name in set(after) & set(before))
    assert not any(leaving.encode() in data for data in after.values())
    assert not has_errors(verify(path))
    with Release(path) as release:
        assert sorted(release.subjects) == sorted(set(people) - {leaving})
        for subject, vertices in rows.items():
            assert (release.vertices(int(release.select(subject=subject)[0])) == vertices).all()


def test_withdrawal_where_a_shard_is_missing(sharded: Path) -> None:
    (other,) = sharded.parent.glob("*S002*")
    other.unlink()
    withdraw_release(sharded, "Z003")  # what the index says of the others is enough
    assert list(Release(sharded).subjects) == ["S001", "S002"]
    assert not list(sharded.parent.glob("*Z003*"))


def test_an_index_that_cannot_be_read_loses_no_shard(sharded: Path) -> None:
    before = sorted(p.name for p in sharded.parent.iterdir())
    sharded.write_bytes(b"no HDF5")
    with pytest.raises(ReleaseError):
        withdraw_release(sharded, "S001")
    assert sorted(p.name for p in sharded.parent.iterdir()) == before


@pytest.fixture
def workspace(fakes: ModuleType, tmp_path: Path) -> Workspace:
    for item in (fakes.SMILE, fakes.OTHER):
        folder = tmp_path / "captures" / item.subject / item.sequence
        folder.mkdir(parents=True)
        (folder / "0000.obj").write_text("v 0 0 0\n")
    root = tmp_path / "workspace"
    made = Workspace.create(
        root, captures=tmp_path / "captures", layout="{subject}/{sequence}/{frame}.obj", template="menpo3d"
    )
    fakes.packed(made.release, fakes.inputs(root))
    made.failure("bake", fakes.SMILE).parent.mkdir(parents=True)
    made.failure("bake", fakes.SMILE).write_text('{"item": "S001/smile"}')
    run = root / "runs" / "20240101T000000Z"
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text('{"item": "S001/smile"}\n{"item": "S002/smile"}\n')
    made.report_folder.mkdir()
    (made.report_folder / "S001.html").write_text("S001")
    made.public_report_folder.mkdir()
    (made.public_report_folder / "report.html").write_text("2 subjects")
    (root / "register" / "S001" / ".smile.h5.99.tmp").write_text("half")
    return made


def test_it_is_gone_from_a_workspace_and_stays_gone(workspace: Workspace, tmp_path: Path) -> None:
    assert len(workspace.sequences()) == 2
    gone = withdraw_workspace(workspace.root, "S001")
    assert gone.frames == 4
    assert any(p.name == "smile.json" for p in gone.files)
    left = [p for p in workspace.root.rglob("*") if p.is_file()]
    assert [p for p in left if "S001" in p.as_posix().removeprefix(str(tmp_path))] == []
    assert [p for p in left if b"S001" in p.read_bytes()] == []
    assert any(p.parts[-2:] == ("S002", "smile.h5") for p in left)
    opened = Workspace.open(workspace.root)
    assert [s.item.subject for s in opened.sequences()] == ["S002"]
    assert not opened.public_report_folder.exists()
    assert (tmp_path / "captures" / "S001").is_dir()
    assert any("raw captures" in m for m in gone.messages)
    assert any("next run packs it once more" in m for m in gone.messages)
    assert verify(opened.release) == []


def refuse(workspace: Workspace, subject: str) -> Path:
    """Name a table of subjects that refuses one."""
    table = workspace.root.parent / "subjects.csv"
    table.write_text(f"subject,consent\n{subject},no\n")
    settings = workspace.root / "mimicme.toml"
    before, section, after = settings.read_text().partition("[metadata]\n")
    assert 'file = ""' in after
    settings.write_text(before + section + after.replace('file = ""', f'file = "{table}"', 1))
    assert subject not in Workspace.open(workspace.root).catalogue().subjects
    return table


def test_what_was_made_of_who_refused_since_is_removed(workspace: Workspace) -> None:
    table = refuse(workspace, "S001")
    table.unlink()  # a table that is lost keeps nobody from leaving
    assert withdraw_workspace(workspace.root, "S001").frames == 4
    assert not list(workspace.root.glob("*/S001"))
    with Release(workspace.release) as release:
        assert list(release.subjects) == ["S002"]


def test_who_refused_before_anything_was_made_may_withdraw_too(workspace: Workspace) -> None:
    new = workspace.captures.root / "S003" / "smile" / "0000.obj"
    new.parent.mkdir(parents=True)
    new.write_text("v 0 0 0\n")
    table = refuse(workspace, "S003")
    assert withdraw_workspace(workspace.root, "S003").files != ()  # the report, which is of everyone
    table.write_text("subject,consent\nS001,yes\nS002,yes\nS003,yes\n")
    assert Workspace.open(workspace.root).catalogue().subjects == ("S001", "S002")
    with pytest.raises(UsageError, match="knows no subject 'S004'"):
        withdraw_workspace(workspace.root, "S004")


def learned(path: Path, corpus: str | None) -> None:
    """A checkpoint of the stage that learns from all sequences."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path, stage="repass", item="S002/smile", made_by={"corpus": corpus}) as out:
        out.frames([5, 7])


def test_what_the_subject_taught_the_others_must_be_made_again(workspace: Workspace) -> None:
    learned(workspace.checkpoint("repass", Item("S002", "smile")), "0123")
    said = withdraw_workspace(workspace.root, "S001").messages
    assert [m for m in said if "`repass` learned from everyone: `mimicme run` makes" in m]
    assert not [m for m in said if "no other stage has anything to do" in m]
    assert [m for m in said if "written elsewhere" in m and "`mimicme withdraw RELEASE S001`" in m]


def test_a_release_whose_faces_learned_from_the_subject_is_not_whole(workspace: Workspace) -> None:
    """Also where the checkpoints that were made so are gone."""
    with h5py.File(workspace.release, "r+") as file:
        file.attrs["config"] = json.dumps({"stages": {"repass": {"settings": {"enabled": True}}}})
    said = withdraw_workspace(workspace.root, "S001").messages
    assert [m for m in said if "`repass` shaped the faces that are left" in m]
    assert not [m for m in said if "no other stage has anything to do" in m]


def test_a_suggested_command_can_be_pasted(workspace: Workspace) -> None:
    (workspace.root / "ingest" / "S_1").mkdir(parents=True)
    said = withdraw_workspace(workspace.root, "S 1").messages
    assert [m for m in said if "`mimicme withdraw RELEASE 'S 1'`" in m]


def test_nobody_learned_where_that_stage_is_off(workspace: Workspace) -> None:
    learned(workspace.checkpoint("repass", Item("S002", "smile")), None)
    said = withdraw_workspace(workspace.root, "S001").messages
    assert not [m for m in said if "repass" in m]
    assert [m for m in said if "written elsewhere" in m]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_release_says_that_its_faces_learned_from_each_other(path: Path, enabled: bool) -> None:
    settings = {"stages": {"repass": {"version": 1, "settings": {"enabled": enabled}}}}
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = json.dumps(settings)
    said = withdraw_release(path, "S001").messages
    assert bool([m for m in said if "'S001' may have been among them" in m and "pack" in m]) is enabled


def test_failures_of_others_that_name_the_subject_go(workspace: Workspace) -> None:
    told, other = (workspace.failure("repass", Item("S002", s)) for s in ("smile", "neutral"))
    told.parent.mkdir(parents=True)
    told.write_text('{"item": "S002/smile", "traceback": "OSError: register/S001/smile.h5"}')
    other.write_text('{"item": "S002/neutral", "traceback": "OSError: register/S0011/smile.h5"}')
    gone = withdraw_workspace(workspace.root, "S001")
    assert told in gone.files
    assert not told.exists()
    assert other.exists()


def test_raw_captures_inside_the_workspace_stay(workspace: Workspace, tmp_path: Path) -> None:
    shutil.move(tmp_path / "captures", workspace.root / "captures")
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace(str(tmp_path / "captures"), str(workspace.root / "captures")))
    captures = [workspace.root / "captures" / f"{s}/smile/0000.obj" for s in ("S001", "S002")]
    other = workspace.root / "notes" / "S001" / "mine.txt"
    other.parent.mkdir(parents=True)
    other.write_text("nothing that mimicme made")
    gone = withdraw_workspace(workspace.root, "S001")
    assert all(p.is_file() for p in (*captures, other))
    assert not workspace.checkpoint("register", Item("S001", "smile")).exists()
    assert not any(p.is_relative_to(workspace.root / "captures") for p in gone.files)


def test_record_of_a_failed_release_goes(workspace: Workspace) -> None:
    record = workspace.failure("pack", RELEASE)
    record.parent.mkdir(parents=True)
    record.write_text('{"message": "S001 is odd", "made_by": {"items": {"S001/smile": {}}}}')
    log = workspace.runs()[0] / "log.jsonl"
    log.write_text('{"item": "release/release", "message": "S001 is odd"}\n{"message": "S0011 is well"}\n')
    assert record in withdraw_workspace(workspace.root, "S001").files
    assert not record.exists()
    assert log.read_text() == '{"message": "S0011 is well"}\n'


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_damaged_release_does_not_stop_it(workspace: Workspace, size: int) -> None:
    data = workspace.release.read_bytes()
    workspace.release.write_bytes(data[:size])
    with pytest.raises(UsageError, match="S009"):
        withdraw_workspace(workspace.root, "S009")
    assert workspace.release.is_file()
    gone = withdraw_workspace(workspace.root, "S001")
    assert not workspace.release.exists()
    assert workspace.release in gone.files
    assert any("could not be read and was deleted" in m for m in gone.messages)
    assert not workspace.checkpoint("register", Item("S001", "smile")).exists()


def test_a_damaged_release_that_is_linked_to_goes_itself(workspace: Workspace, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "big.h5"
    real.parent.mkdir()
    real.write_bytes(b"not a release, and S001 may be in it")
    workspace.release.unlink()
    workspace.release.symlink_to(real)
    withdraw(workspace.root, "S001")
    assert not real.exists() and not workspace.release.is_symlink()


def test_release_that_is_found_damaged_while_copying_goes_too(workspace: Workspace) -> None:
    with h5py.File(workspace.release, "r+") as file:
        del file["template/vertices"]
    gone = withdraw_workspace(workspace.root, "S001")
    assert not workspace.release.exists()
    assert any("could not be read and was deleted" in m for m in gone.messages)
    assert not list(workspace.root.glob(".release*"))


def test_twice_does_no_harm(workspace: Workspace) -> None:
    withdraw(workspace.root, "S001")
    before = workspace.release.read_bytes()
    withdraw(workspace.root, "S001")
    assert workspace.release.read_bytes() == before


def test_a_workspace_that_knows_no_such_subject(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="S009"):
        withdraw_workspace(workspace.root, "S009")
    assert workspace.release.is_file()


def test_who_has_withdrawn_stays_out_under_another_spelling(workspace: Workspace) -> None:
    with pytest.raises(
        UsageError, match="spelled here; seen 's1', expected 'S001'"
    ):  # nothing is undone again
        withdraw_workspace(workspace.root, "s1")
    assert list(workspace.root.glob("*/S001"))
    withdraw_workspace(workspace.root, "S001")
    assert not list(workspace.root.glob("*/S001"))
    with Release(workspace.release) as release:
        assert list(release.subjects) == ["S002"]
    (workspace.captures.root / "S001").rename(workspace.captures.root / "s-01")
    opened = Workspace.open(workspace.root)
    assert opened.catalogue().subjects == ("S002",)
    assert not any("s-01" in message for message in opened.catalogue().messages)


def test_a_release_that_is_held_open_is_not_taken_for_damaged(workspace: Workspace) -> None:
    code = f"import h5py; f = h5py.File({str(workspace.release)!r}, 'r+'); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ReleaseError, match="another program holds this file open"):
            withdraw_workspace(workspace.root, "S001")
        other.stdin.write(b"\n")
    assert workspace.release.is_file()


def test_shards_of_a_pack_that_was_interrupted_go(fakes: ModuleType, workspace: Workspace) -> None:
    fakes.packed(workspace.release, fakes.inputs(workspace.root / "again"), shard="subject")
    (own,) = workspace.root.glob("*@S001@*.h5")
    workspace.release.unlink()
    gone = withdraw_workspace(workspace.root, "S001")
    assert own in gone.files and not list(workspace.root.glob("*@*.h5"))


def test_who_withdrew_is_kept_out_by_a_key(workspace: Workspace) -> None:
    withdraw_workspace(workspace.root, "S001")
    listed, key = (workspace.root / name for name in ("withdrawn.txt", "withdrawn.key"))
    plain = [
        hashlib.sha256(text.encode()).hexdigest()
        for text in ("mimicme withdrawn S001", "mimicme withdrawn person S1", "S001")
    ]
    lines = listed.read_text().split()
    assert len(lines) == 3 and not any(one in line for one in plain for line in lines)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) > 32
    before = key.read_bytes()
    withdraw_workspace(workspace.root, "S002")
    assert key.read_bytes() == before and listed.read_text().split()[:3] == lines
    opened = Workspace.open(workspace.root)
    assert opened.is_withdrawn("S001") and opened.is_withdrawn("s1") and not opened.is_withdrawn("S003")
    for damaged in (b"", b"\n", b"another key", before[:-2], before[:-2] + b"x\n"):
        key.write_bytes(damaged)
        with pytest.raises(UsageError, match="key"):
            Workspace.open(workspace.root).is_withdrawn("S001")
    key.write_bytes(before.strip() + b"\r\n")
    assert Workspace.open(workspace.root).is_withdrawn("S001")
    key.unlink()
    with pytest.raises(UsageError, match="key to the list of who withdrew is missing"):
        Workspace.open(workspace.root).sequences()
    with pytest.raises(UsageError, match="key"):
        withdraw_workspace(workspace.root, "S002")


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("")])
def test_a_list_that_is_lost_lets_nobody_back(workspace: Workspace, damage) -> None:
    withdraw_workspace(workspace.root, "S001")
    damage(workspace.root / "withdrawn.txt")
    with pytest.raises(UsageError, match="list of who withdrew is missing"):
        Workspace.open(workspace.root).sequences()
    (workspace.root / "withdrawn.key").unlink()  # what the error says of a list that cannot be found again
    assert Workspace.open(workspace.root).sequences()


def test_withdrawing_again_removes_the_shard_that_an_interrupted_withdrawal_left(
    workspace: Workspace,
) -> None:
    """The index was written already, and names the person no more."""
    withdraw_workspace(workspace.root, "S001")
    assert workspace.release.exists()
    left = workspace.root / "release@S001@0123456789abcdef.h5"
    left.write_bytes(b"S001's shard")
    withdraw_workspace(workspace.root, "S001")
    assert not left.exists() and workspace.release.exists()


def test_who_withdrew_before_there_was_a_key_stays_out(workspace: Workspace) -> None:
    plain = hashlib.sha256(b"mimicme withdrawn S001").hexdigest()
    (workspace.root / "withdrawn.txt").write_text(f"{plain}\n")
    assert [s.item.subject for s in Workspace.open(workspace.root).sequences()] == ["S002"]
    withdraw_workspace(workspace.root, "S002")
    opened = Workspace.open(workspace.root)
    assert opened.is_withdrawn("S001") and opened.is_withdrawn("S002") and not opened.sequences()


@pytest.fixture
def modelled(known_module: ModuleType, tmp_path: Path) -> Path:
    """A release with a model and an export beside, and another copy elsewhere."""
    path = tmp_path / "lab" / "release.h5"
    path.parent.mkdir()
    known_module.write_known_release(path, subjects=4, texture=False)
    build([path], path.parent / "face.h5", QUICK)
    other = tmp_path / "elsewhere"
    (other / "obj" / "S001" / "pout").mkdir(parents=True)
    (other / "obj" / "S001" / "pout" / "000.obj").write_text("v 0 0 0")
    (other / "obj" / "S0010").mkdir()
    shutil.copy(path, other / "old.h5")
    shutil.copy(path.parent / "face.h5", other / "copy.h5")
    return path


def test_models_of_who_withdraws_are_marked_and_copies_are_named(modelled: Path, tmp_path: Path) -> None:
    done = withdraw(modelled, "S001", [tmp_path / "elsewhere"])
    models = [modelled.parent / "face.h5", tmp_path / "elsewhere" / "copy.h5"]
    assert sorted(done.stale) == sorted(models)
    for model in models:
        with pytest.raises(UsageError, match="must not be used any more"):
            read_model(model)
        assert b"S001" not in read_attribute(model)
        assert len(read_model(model, stale_too=True).subjects) == 4
        assert any(str(model) in m and "build it again" in m for m in done.messages)
    assert any("old.h5' holds 'S001' too: `mimicme withdraw" in m for m in done.messages)
    exported = [m for m in done.messages if "export" in m]
    assert len(exported) == 1 and str(tmp_path / "elsewhere" / "obj" / "S001") in exported[0]
    again = withdraw(tmp_path / "elsewhere" / "old.h5", "S001", [tmp_path / "lab"])
    assert set(again.stale) == set(models)
    assert not has_errors(verify(modelled, absent="S001"))


def read_attribute(model: Path) -> bytes:
    with h5py.File(model) as file:
        return str(file.attrs["stale"]).encode()


def test_a_model_of_others_stays_in_use(modelled: Path, known_module: ModuleType, tmp_path: Path) -> None:
    with Release(modelled) as release:
        assert "S003" in release.subjects
    withdraw_release(modelled, "S003")
    build([modelled], modelled.parent / "face.h5", QUICK, overwrite=True)
    shutil.copy(tmp_path / "elsewhere" / "old.h5", modelled)
    assert withdraw(modelled, "S003").stale == ()
    assert len(read_model(modelled.parent / "face.h5").subjects) == 3


def test_withdrawing_from_a_model_marks_it(modelled: Path) -> None:
    model = modelled.parent / "face.h5"
    with pytest.raises(UsageError, match="built from 'S002'.*marked"):
        withdraw(model, "S002")
    with pytest.raises(UsageError, match="must not be used"):
        read_model(model)


def test_a_place_that_is_not_there_is_no_place_without_copies(modelled: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there"):
        withdraw(modelled, "S001", [tmp_path / "nowhere"])


def test_models_elsewhere_and_what_models_made_are_said(workspace: Workspace, path: Path) -> None:
    said = withdraw(workspace.root, "S001").messages
    (models,) = [m for m in said if "Models that `mimicme model build` wrote elsewhere" in m]
    assert f"`mimicme withdraw {workspace.root} S001 --also DIR` marks those" in models
    (made,) = [m for m in said if "transfer, personal" in m]
    assert "samples" in made and "delete it by hand" in made
    (models,) = [m for m in withdraw(path, "S001").messages if "model build` wrote elsewhere" in m]
    assert "`mimicme withdraw MODEL S001` marks one" in models  # the release does not know them any more


def test_reports_that_are_deleted_are_named(workspace: Workspace) -> None:
    folders = [workspace.report_folder, workspace.public_report_folder]
    (report,) = [
        m for m in withdraw_workspace(workspace.root, "S001").messages if m.startswith("The report in")
    ]
    assert all(f"'{folder}'" in report for folder in folders) and "deleted" in report
    assert not any(m.startswith("The report in") for m in withdraw_workspace(workspace.root, "S001").messages)


@pytest.fixture
def second(fakes: ModuleType, workspace: Workspace, tmp_path: Path) -> Workspace:
    """Another workspace of the same captures, with a shard of each subject."""
    root = tmp_path / "ws 2"
    captures = workspace.captures.root
    made = Workspace.create(
        root, captures=captures, layout="{subject}/{sequence}/{frame}.obj", template="menpo3d"
    )
    fakes.packed(made.release, fakes.inputs(root), shard="subject")
    made.report_folder.mkdir()
    (made.report_folder / "S001.html").write_text("S001")
    (root / "exported" / "S001").mkdir(parents=True)
    return made


def test_of_another_workspace_the_workspace_is_named(
    workspace: Workspace, second: Workspace, tmp_path: Path
) -> None:
    """Taken out of its release alone they would be back with its next run."""
    said = [m for m in withdraw(workspace.root, "S001", [tmp_path]).messages if str(second.root) in m]
    advice = f"`mimicme withdraw '{second.root}' S001`"
    assert len(said) == 2 and advice in said[0]
    assert said[1].startswith(f"'{second.root / 'exported' / 'S001'}' is named after")
    (alone,) = [m for m in withdraw(workspace.root, "S001", [second.release]).messages if "ws 2" in m]
    assert advice in alone
    withdraw(second.root, "S001")
    said = [m for m in withdraw(workspace.root, "S001", [tmp_path]).messages if str(second.root) in m]
    assert len(said) == 1 and "exported" in said[0]


def test_raw_captures_are_no_export(workspace: Workspace, tmp_path: Path) -> None:
    for target in (workspace.release, workspace.root):
        said = withdraw(target, "S001", [tmp_path]).messages
        assert not [m for m in said if "an export or a copy" in m]
        mine = f"'{workspace.captures.root / 'S001'}' is named after 'S001': raw captures, of the workspace"
        assert len([m for m in said if m.startswith(mine)]) == 1


def test_a_release_that_a_workspace_packs_leads_to_it(workspace: Workspace, path: Path) -> None:
    said = withdraw(workspace.release, "S001").messages
    (back,) = [m for m in said if "its next run would pack them again" in m]
    assert f"`mimicme withdraw {workspace.root} S001`" in back
    assert not [m for m in withdraw(path, "S001").messages if "next run" in m]


def test_a_workspace_that_cannot_be_read_may_hold_the_subject(
    workspace: Workspace, second: Workspace, tmp_path: Path
) -> None:
    (second.root / "mimicme.toml").write_text("[captures\n")
    said = [m for m in withdraw(workspace.root, "S001", [tmp_path]).messages if str(second.root) in m]
    assert said[0].startswith(f"The workspace '{second.root}' cannot be read, and may hold 'S001'")
    assert not [m for m in said if "an export or a copy" in m]
