"""A release of an index and shards: the reader sees no difference, and what is not there, or is another's, is told."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from mimicme.commands.export import export
from mimicme.commands.verify import has_errors, verify
from mimicme.pipeline.errors import ReleaseError, UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release, access, digest, guard, layout, shards
from mimicme.pipeline.release.frames import ReleaseFrames


@pytest.fixture(scope="module")
def made(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    given = fakes.inputs(folder, maps=("normal",))
    fakes.packed(folder / "one" / "release.h5", given)
    fakes.packed(folder / "many" / "release.h5", given, shard="subject")
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "many", tmp_path / "many")
    return tmp_path / "many" / "release.h5"


def shard(index: Path, subject: str) -> Path:
    (found,) = index.parent.glob(f"release@{subject}@*.h5")
    return found


def same(a: object, b: object) -> bool:
    return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f"))


def test_a_reader_sees_no_difference(made: Path) -> None:
    one, many = Release(made / "one" / "release.h5"), Release(made / "many" / "release.h5")
    assert same(one.index, many.index) and one.subjects == many.subjects
    assert {k: v for k, v in one.attributes.items() if k != digest.NAME} == {
        k: v for k, v in many.attributes.items() if k != digest.NAME
    }
    assert [(s.item, s.rows, s.fps, dict(s.attributes)) for s in one.sequences()] == [
        (s.item, s.rows, s.fps, dict(s.attributes)) for s in many.sequences()
    ]
    for a, b in zip(one, many, strict=True):
        assert all(
            same(getattr(a, name), getattr(b, name)) for name in ("vertices", "pose", "landmarks", "texture")
        )
        assert (a.message, a.note, a.number) == (b.message, b.note, b.number)
    assert same(one.surface_map(0, "normal"), many.surface_map(0, "normal"))
    assert one.figures() == many.figures() and same(one.select(status="ok"), many.select(status="ok"))
    fields = ("vertices", "texture", "expression", "s2m_median")
    for a, b in zip(one.as_arrays(fields=fields), many.as_arrays(fields=fields), strict=True):
        assert all(same(a[name], b[name]) for name in a)
    with ReleaseFrames([one.path]) as of_one, ReleaseFrames([many.path]) as of_many:
        assert same(of_one.neutral("S001").vertices, of_many.neutral("S001").vertices)
        assert same(of_one.neutral("S002").vertices, of_many.neutral("S002").vertices)
    handed = pickle.loads(pickle.dumps(many))
    assert same(handed.vertices(0), one.vertices(0))


def test_files_of_an_export_are_the_same(made: Path, tmp_path: Path) -> None:
    for name in ("one", "many"):
        export(made / name / "release.h5", tmp_path / name, "obj")
    paths = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert paths and paths == sorted(
        p.relative_to(tmp_path / "many") for p in (tmp_path / "many").rglob("*.*")
    )
    assert all((tmp_path / "one" / p).read_bytes() == (tmp_path / "many" / p).read_bytes() for p in paths)


def test_it_is_verified_shard_by_shard(made: Path, copy: Path) -> None:
    assert verify(copy) == []
    said = digest.beside(copy).read_text().splitlines()
    assert len(said) == 3
    assert {line.split("  ")[1]: line.split("  ")[0] for line in said} == {
        p.name: digest.of_file(p) for p in copy.parent.glob("*.h5")
    }
    alone = verify(shard(copy, "S001"))
    assert len(alone) == 1 and "shard" in alone[0].message


def test_a_shard_is_no_release_of_its_own(copy: Path) -> None:
    with pytest.raises(ReleaseError, match="a shard of a release"):
        _ = Release(shard(copy, "S001")).index


def test_a_missing_shard_is_told_by_name_and_others_are_read(copy: Path) -> None:
    lost = shard(copy, "S002")
    lost.unlink()
    release = Release(copy)
    rows = release.select(subject="S002")
    assert len(rows) == 2  # the index knows them
    for read in (
        release.vertices,
        release.texture,
        release.frame,
        lambda row: release.field(row, "landmarks"),
    ):
        with pytest.raises(ReleaseError, match=lost.name):
            read(int(rows[0]))
    with pytest.raises(ReleaseError, match=lost.name):
        release.values(Item("S002", "smile"), "vertices")
    assert np.isfinite(release.vertices(int(release.select(subject="S001", status="ok")[0]))).all()
    found = [f for f in verify(copy) if f.level == "error"]
    assert [f.where for f in found] == [f"/shards/{lost.name}"] and "missing" in found[0].message


def link_out(index: Path, path: Path) -> None:
    target = index.parent.parent / "elsewhere.h5"
    path.rename(target)
    path.symlink_to(target)


def another_of_the_same_size(index: Path, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        text = guard.attribute(file["/"].id, "sha256", "/")
        guard.put_text(file.attrs, "sha256", text[::-1])


def shorter(index: Path, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [(link_out, "no plain file"), (another_of_the_same_size, "not the one"), (shorter, "not the one")],
)
def test_a_shard_that_is_another_is_refused(
    copy: Path, change: Callable[[Path, Path], None], said: str
) -> None:
    path = shard(copy, "S001")
    change(copy, path)
    release = Release(copy)
    with pytest.raises(ReleaseError, match=said) as caught:
        release.vertices(0)
    assert path.name in str(caught.value)
    assert any(said in f.message for f in verify(copy))


def retold(index: Path, **changed: object) -> None:
    """An index that names its first shard otherwise."""
    with h5py.File(index, "r+") as file:
        table = file[shards.TABLE][:]
        kinds = [(n, "S80" if n == "name" else table.dtype[n]) for n in table.dtype.names]
        table = table.astype(kinds)
        for name, value in changed.items():
            table[name][0] = value
        del file[shards.TABLE]
        layout.write_table(file, shards.TABLE, table, 4)
        digest.seal_root(file["/"])


@pytest.mark.parametrize(
    "name",
    ["../release@S001.h5", "/etc/passwd", "a/b.h5", "..", ".hidden.h5", "x.h5\n", "a\\b.h5", "release.txt"],
)
def test_a_shards_name_carries_no_path(copy: Path, name: str) -> None:
    retold(copy, name=name.encode())
    release = Release(copy)
    with pytest.raises(ReleaseError, match="none of a plain file"):
        release.vertices(0)
    found = verify(copy)
    assert has_errors(found) and any("none of a plain file" in f.message for f in found)


def test_an_index_cannot_be_its_own_shard(copy: Path) -> None:
    retold(copy, name=b"release.h5", bytes=copy.stat().st_size)
    retold(copy, bytes=copy.stat().st_size)
    with pytest.raises(ReleaseError, match="not the one"):
        Release(copy).vertices(0)
    assert has_errors(verify(copy))


def test_two_subjects_swapped_in_the_index_are_found(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        people = file[shards.SUBJECT_TABLE][:]
        people["shard"] = people["shard"][::-1].copy()
        file[shards.SUBJECT_TABLE][...] = people
        digest.seal_root(file["/"])
    with pytest.raises(ReleaseError, match="missing"):
        Release(copy).vertices(0)
    assert has_errors(verify(copy))


def test_what_the_index_says_of_a_subject_is_what_its_shard_says(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        guard.put(file["subjects/S001"].attrs, "gender", "male")
        digest.seal_root(file["/"])
    digest.beside(copy).unlink()
    assert any("'gender' is 'male' in the index" in f.message for f in verify(copy))


@pytest.mark.parametrize("name", ["subjects/S001/smile/vertices", "subjects/S001/smile/quality", "index"])
def test_a_flipped_byte_is_found_in_its_shard(copy: Path, name: str) -> None:
    path = shard(copy, "S001")
    with h5py.File(path) as file:
        place = file[name].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 1
    path.write_bytes(data)
    found = verify(copy)
    assert any(f.where.startswith(f"{path.name}:/{name}") for f in found), found
    assert any(f.where == f"/shards/{path.name}" and "sha256" in f.message for f in found)


def test_an_index_that_holds_sequences_itself_is_found(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file["subjects/S001"].create_group("smile")
        digest.seal_root(file["/"])
    assert any("lie in its shards" in f.message for f in verify(copy))


def test_few_shards_stay_open_and_threads_read_on(
    made: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "KEEP_SHARDS", 1)
    # a copy: files of `made` may still be open in other tests' releases
    release = Release(copy, keep_open=1)
    expected = [Release(made / "one" / "release.h5").vertices(row) for row in range(len(release))]
    wrong: list[int] = []

    def read(seed: int) -> None:
        for row in np.random.default_rng(seed).integers(0, len(expected), 60).tolist():
            if not same(release.vertices(row), expected[row]):
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(release._access()._open) == 1
    files = (
        [os.readlink(p) for p in Path("/proc/self/fd").iterdir() if p.exists()]
        if os.path.isdir("/proc")
        else []
    )
    assert sum(str(copy.parent) in f for f in files) <= 2
    release.close()


def test_the_room_of_a_release_is_that_of_all_its_files(copy: Path) -> None:
    held = Release(copy)._access().held_bytes
    assert held == sum(p.stat().st_size for p in copy.parent.glob("*.h5"))


def test_only_shards_of_this_release_are_removed(copy: Path) -> None:
    folder = copy.parent
    others = [
        "release.v2@S001@0123456789abcdef.h5",
        "release@S001.h5",
        "old@S001@0123456789abcdef.h5",
        ".old.h5.12.tmp",
    ]
    for name in others:
        (folder / name).write_text("x")
    stale = ["release@S009@0123456789abcdef.h5", ".release@S009@0123456789abcdef.h5.77.tmp"]
    stale += [".release.h5.12.tmp", ".release.h5.sha256.12.tmp"]
    for name in stale:
        (folder / name).write_text("x")
    known = shards.of_file(copy)
    assert known is not None
    gone = shards.remove_others(copy, [one.name for one in known])
    assert sorted(p.name for p in gone) == sorted(stale)
    assert all((folder / name).exists() for name in others)
    assert verify(copy) == []


def test_a_name_that_shards_cannot_have(fakes: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain name"):
        fakes.packed(tmp_path / "my release.h5", fakes.inputs(tmp_path), shard="subject")
