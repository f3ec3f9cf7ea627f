"""A thousand hostile releases: verify and the reader end with a clean error, in a second and a gigabyte.

`make test-fuzz` (FUZZ_RELEASES=10000 for more, FUZZ_SEED=7 for others).
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import hostile
from hostile_run import Outcome, run

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
    bad = [o for o in outcomes if not o.clean]
    print(
        f"{len(outcomes)} files, {len(bad)} bad; found broken {sum(o.broken for o in outcomes)}; "
        f"HDF5 itself failed on {sum(o.killed for o in outcomes)}; "
        f"slowest {max(o.seconds for o in outcomes):.1f} s, most memory {max(o.megabytes for o in outcomes):.0f} MB"
    )
    assert not bad, "\n\n".join(f"{o.what}\n{o.seconds:.1f} s, {o.megabytes:.0f} MB\n{o.said}" for o in bad)
