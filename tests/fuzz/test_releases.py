"""A thousand hostile releases: verify and the reader end with a clean error, in a second and a gigabyte.

`make test-fuzz` (FUZZ_RELEASES=10000 for more, FUZZ_SEED=7 for others).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import h5py
import hostile
from hostile_run import Outcome, run

from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import digest, guard, shards

RELEASES = int(os.environ.get("FUZZ_RELEASES", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))


def test_hostile_releases_end_with_a_clean_error(fakes: ModuleType, tmp_path: Path) -> None:
    good = tmp_path / "good.h5"
    fakes.packed(good, fakes.inputs(tmp_path, maps=("normal",)))
    places = hostile.headers(good.read_bytes())
    outcomes: list[Outcome] = []
    for seed in range(SEED, SEED + RELEASES):
        path = tmp_path / "hostile.h5"
        done = hostile.make(good, path, seed, places)
        outcomes.append(run(path, f"seed {seed}: {done}"))
    judge(outcomes)


def test_hostile_shards_end_with_a_clean_error(fakes: ModuleType, tmp_path: Path) -> None:
    """The index is spoiled, or a shard of which the index then says size and digest as they are."""
    folder = tmp_path / "release"
    fakes.packed(folder / "release.h5", fakes.inputs(tmp_path, maps=("normal",)), shard="subject")
    index, own = folder / "release.h5", next(folder.glob("release@S001@*.h5"))
    whole = {path: path.read_bytes() for path in (index, own)}
    held = shards.of_file(index)
    assert held is not None
    places = {path: hostile.headers(data) for path, data in whole.items()}
    outcomes: list[Outcome] = []
    for seed in range(SEED, SEED + RELEASES // 2):
        for path, data in whole.items():
            path.write_bytes(data)
        digest.beside(index).unlink(missing_ok=True)
        spoiled = (index, own)[seed // 4 % 2]
        good = tmp_path / "good.h5"
        good.write_bytes(whole[spoiled])
        done = hostile.make(good, spoiled, seed, places[spoiled])
        if spoiled == own:
            renamed(index, own, held)
        outcomes.append(run(index, f"seed {seed} {spoiled.name}: {done}"))
    judge(outcomes)


def renamed(index: Path, own: Path, held: tuple[shards.Shard, ...]) -> None:
    """Let an index say of a shard what it is now."""
    try:
        with guard.opened(own) as file:
            said = digest.stored(guard.rooted(file), "/")
    except ReleaseError:
        said = ""
    now = [
        replace(one, bytes=own.stat().st_size, sha256=digest.of_file(own), digest=said or one.digest)
        if one.name == own.name
        else one
        for one in held
    ]
    with h5py.File(index, "r+", libver="v110") as file:
        for name in shards.TABLES:
            del file[name]
        shards.write(file["/"], now, 4)
        digest.seal_root(file["/"])


def judge(outcomes: list[Outcome]) -> None:
    bad = [o for o in outcomes if not o.clean]
    print(
        f"{len(outcomes)} files, {len(bad)} bad; found broken {sum(o.broken for o in outcomes)}; "
        f"HDF5 itself failed on {sum(o.killed for o in outcomes)}; "
        f"slowest {max(o.seconds for o in outcomes):.1f} s, most memory {max(o.megabytes for o in outcomes):.0f} MB"
    )
    assert not bad, "\n\n".join(f"{o.what}\n{o.seconds:.1f} s, {o.megabytes:.0f} MB\n{o.said}" for o in bad)
