"""Packing into shards: which subjects lie together, the same bytes whatever the order, and what a change touches."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest

from mimicme.commands.verify import verify
from mimicme.commands.withdraw import withdraw_release
from mimicme.pipeline.captures.metadata import SubjectTable, parse_subjects
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release
from mimicme.pipeline.run.plan import release_fingerprint
from mimicme.pipeline.run.pool import LokyPool, side_by_side
from mimicme.stages.pack import PackInput, PackSettings
from mimicme.stages.pack.keeping import keep
from mimicme.stages.pack.sharding import planned_bytes, shards_of

PEOPLE = [f"P{k:02d}" for k in range(6)]


@pytest.fixture(scope="module")
def given(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[PackInput]:
    folder = tmp_path_factory.mktemp("sharded")
    return [fakes.checkpoints(folder, fakes.sequence(Item(p, "smile"))) for p in PEOPLE]


def table(**gender: str) -> SubjectTable:
    rows = "".join(f"{p},30,{gender.get(p, 'female')},white,yes\n" for p in PEOPLE)
    return parse_subjects(f"subject,age,gender,ethnicity,consent\n{rows}".encode())


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted(folder.glob("*@*.h5"))}


def backwards(work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterable[Any]:
    return [work(job) for job in reversed(jobs)]


def in_two_processes(work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterable[Any]:
    pool = LokyPool(2)
    with closing(pool):
        yield from side_by_side(pool, work, jobs)


@pytest.mark.parametrize("how", [backwards, in_two_processes])
def test_the_bytes_do_not_depend_on_who_writes(
    fakes: ModuleType, given: list[PackInput], tmp_path: Path, how: Callable[..., Any]
) -> None:
    fakes.packed(tmp_path / "a" / "release.h5", given, table(), shard="subject")
    result = fakes.packed(
        tmp_path / "b" / "release.h5", given[::-1], table(), shard="subject", side_by_side=how
    )
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == len(PEOPLE) + 2
    assert (result.ok, result.rejected) == (18, 0)


def test_a_pack_that_was_interrupted_goes_on(
    fakes: ModuleType, given: list[PackInput], tmp_path: Path
) -> None:
    fakes.packed(tmp_path / "whole" / "release.h5", given, table(), shard="subject")

    def killed(work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterable[Any]:
        for job in jobs[:4]:
            yield work(job)
        raise KeyboardInterrupt

    folder = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        fakes.packed(folder / "release.h5", given, table(), shard="subject", side_by_side=killed)
    assert not (folder / "release.h5").exists()
    before = times(folder)
    assert len(before) == 4
    (folder / f".{next(iter(before))}.99.tmp").write_text("half")
    result = fakes.packed(folder / "release.h5", given, table(), shard="subject")
    assert files(folder) == files(tmp_path / "whole")
    assert {name: at for name, at in times(folder).items() if name in before} == before
    assert (result.ok, result.rejected) == (18, 0)


def test_what_changes_of_a_subject_touches_its_shard_alone(
    fakes: ModuleType, given: list[PackInput], tmp_path: Path
) -> None:
    path = tmp_path / "release.h5"
    fakes.packed(path, given[:5], table(), shard="subject")
    before = times(tmp_path)
    with Release(path) as old:  # in use: goes on reading what it has open
        seen = old.vertices(0)
        fakes.packed(path, given[:5], table(P02="male"), shard="subject")
        assert (old.vertices(0) == seen).all()
    after = times(tmp_path)
    assert len(after) == 5
    assert {n: t for n, t in after.items() if "P02" not in n} == {
        n: t for n, t in before.items() if "P02" not in n
    }
    assert {n for n in after if "P02" in n}.isdisjoint(before)
    assert Release(path).subjects["P02"]["gender"] == "male"
    fakes.packed(path, given, table(P02="male"), shard="subject")  # one more
    assert {n: t for n, t in times(tmp_path).items() if n in after} == after
    fakes.packed(path, given[1:], table(P02="male"), shard="subject")  # one less
    assert sorted(Release(path).subjects) == PEOPLE[1:] and not list(tmp_path.glob("*P00*"))
    assert {n: t for n, t in times(tmp_path).items() if n in after} == {
        n: t for n, t in after.items() if "P00" not in n
    }
    assert verify(path) == []


def test_a_damaged_shard_is_written_again(fakes: ModuleType, given: list[PackInput], tmp_path: Path) -> None:
    path = tmp_path / "release.h5"
    fakes.packed(path, given[:2], table(), shard="subject")
    good = files(tmp_path)
    assert release_fingerprint(path) == "f" * 64
    (shard,) = tmp_path.glob("*P01*")
    shard.write_bytes(good[shard.name][:-100])
    assert release_fingerprint(path) is None  # a run does not take it for the release that it would make
    fakes.packed(path, given[:2], table(), shard="subject")
    assert files(tmp_path) == good
    shard.unlink()
    assert release_fingerprint(path) is None
    fakes.packed(path, given[:2], table(), shard="subject")
    assert files(tmp_path) == good


def test_force_writes_shards_again(fakes: ModuleType, given: list[PackInput], tmp_path: Path) -> None:
    path = tmp_path / "release.h5"
    fakes.packed(path, given[:2], table(), shard="subject")
    good, before = files(tmp_path), times(tmp_path)
    fakes.packed(path, given[:2], table(), shard="subject", force=True)
    assert files(tmp_path) == good
    assert all(at > before[name] for name, at in times(tmp_path).items())


def test_from_one_file_to_shards_and_back(fakes: ModuleType, given: list[PackInput], tmp_path: Path) -> None:
    path = tmp_path / "release.h5"
    for shard in ("none", 2e-4, "subject", "none"):
        fakes.packed(path, given, table(), shard=shard)
        assert verify(path) == []
        count = {"none": 0, "subject": 6}.get(str(shard))
        found = len(list(tmp_path.glob("*@*")))
        assert found == count if count is not None else 1 < found < 6


def test_a_shard_holds_what_a_release_of_one_file_holds(
    fakes: ModuleType, given: list[PackInput], tmp_path: Path
) -> None:
    fakes.packed(tmp_path / "one.h5", given, table())
    fakes.packed(tmp_path / "many.h5", given, table(), shard="subject")
    (path,) = tmp_path.glob("many@P03@*.h5")
    with h5py.File(tmp_path / "one.h5") as one, h5py.File(path) as shard:
        assert sorted(shard) == ["index", "sequence_index", "subjects"] and list(shard["subjects"]) == ["P03"]
        assert one["subjects/P03"].attrs["sha256"] == shard["subjects/P03"].attrs["sha256"]
        assert b"P02" not in path.read_bytes()


def sizes(n: int, each: int = 10**9) -> dict[str, int]:
    return {f"S{k:04d}": each for k in range(n)}


def test_a_shard_is_below_its_size_and_depends_on_its_own(tmp_path: Path) -> None:
    whole = shards_of(sizes(1000), 20.0)
    assert sorted(s for own in whole.values() for s in own) == sorted(sizes(1000))
    assert all(1 <= len(own) <= 20 for own in whole.values())
    assert len(whole) < 2.5 * 1000 / 20
    backwards = dict(reversed(sizes(1000).items()))
    assert shards_of(backwards, 20.0) == whole
    for changed in ({**sizes(1000), "S1000": 10**9}, {s: n for s, n in sizes(1000).items() if s != "S0500"}):
        other = shards_of(changed, 20.0)
        kept = [own for own in whole.values() if own in other.values()]
        assert len(kept) >= len(whole) - 2


def test_one_subject_may_be_larger_than_a_shard() -> None:
    assert shards_of({"A": 5 * 10**9, "B": 1}, 1.0) in (
        {"0": ["A"], "1": ["B"]},
        {"1": ["A"], "0": ["B"]},
    ) or all(len(own) == 1 for own in shards_of({"A": 5 * 10**9, "B": 1}, 1.0).values())
    assert shards_of({"A": 1, "B": 1}, 1.0) == {"all": ["A", "B"]}
    assert shards_of({"B": 1, "A": 1}, "subject") == {"A": ["A"], "B": ["B"]}
    assert planned_bytes(10, 1000, "int16", [7]) == 112_007


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="shard"):
        PackSettings(shard=wrong)


def test_shards_of_another_setting_do_not_stay(
    fakes: ModuleType, given: list[PackInput], tmp_path: Path
) -> None:
    path = tmp_path / "release.h5"
    fakes.packed(path, given, table(), shard="subject")
    shutil.copy(next(tmp_path.glob("*P01*")), tmp_path / "kept.h5")
    before = set(files(tmp_path))
    fakes.packed(path, given, table(), shard="subject", vertices="int16")
    assert set(files(tmp_path)) & before == {"release.h5", "release.h5.sha256", "kept.h5"}


def test_a_link_to_a_release_stays_one(fakes: ModuleType, given: list[PackInput], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "release.h5"
    link.symlink_to(tmp_path / "disk" / "release.h5")
    for n in (3, 2):
        fakes.packed(link, given[:n], table(), shard="subject")
        assert link.is_symlink() and len(list((tmp_path / "disk").glob("*@*"))) == n
        assert not list(tmp_path.glob("*@*")) and verify(link) == []
    withdraw_release(link, "P01")
    assert link.is_symlink() and list(Release(link).subjects) == ["P00"] and verify(link) == []


@pytest.mark.parametrize("shard", ["none", "subject"])
def test_who_leaves_a_linked_release_leaves_the_file_itself(
    fakes: ModuleType, given: list[PackInput], tmp_path: Path, shard: str
) -> None:
    """Whatever takes them out: a pack, a withdrawal, or a release that is kept."""
    (tmp_path / "disk").mkdir()
    link, real = tmp_path / "release.h5", tmp_path / "disk" / "big.h5"
    link.symlink_to(real)

    def pack(n: int) -> None:
        fakes.packed(link, given[:n], table(), shard=shard)

    pack(2)
    for leave in (
        lambda: pack(1),
        lambda: withdraw_release(link, "P01"),
        lambda: keep(link, lambda _: ["P00"], None, "left-"),
    ):
        pack(2)
        link.with_name("release.h5.sha256").write_text(f"{'0' * 64}  release.h5\n")  # of what it was once
        assert list(Release(real).subjects) == ["P00", "P01"]
        leave()
        assert link.is_symlink() and list(Release(real).subjects) == ["P00"]
        assert verify(link) == [] == verify(real)
        assert not any(b"P01" in path.read_bytes() for path in (tmp_path / "disk").iterdir())
        assert [path for path in tmp_path.iterdir() if path.is_file()] == [link]
