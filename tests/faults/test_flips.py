"""Three hundred flipped bytes in a small release, half of them where no chunk lies, without the digest beside it.

FLIPS=3000 make test-faults for more, FLIPS_SEED=7 for others.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import ModuleType

from flips import Flip, flips


def test_a_flipped_byte_is_found_or_changes_no_value(fakes: ModuleType, tmp_path: Path) -> None:
    count, seed = int(os.environ.get("FLIPS", "300")), int(os.environ.get("FLIPS_SEED", "0"))
    for name, settings in (("float32", {}), ("int16", {"vertices": "int16"})):
        good = tmp_path / f"{name}.h5"
        fakes.packed(good, fakes.inputs(tmp_path, maps=("normal",)), **settings)
        told(name, flips(good, tmp_path / "spoiled.h5", count, seed))


def test_a_flipped_byte_of_an_index_or_a_shard(fakes: ModuleType, tmp_path: Path) -> None:
    """Of the index without the digest beside it."""
    count, seed = int(os.environ.get("FLIPS", "300")) // 2, int(os.environ.get("FLIPS_SEED", "0"))
    good = tmp_path / "good" / "release.h5"
    fakes.packed(good, fakes.inputs(tmp_path, maps=("normal",)), shard="subject")
    for file in (good, next(good.parent.glob("release@S001@*.h5"))):
        folder = tmp_path / f"spoiled {file.name}"
        shutil.copytree(good.parent, folder)
        (folder / "release.h5.sha256").unlink()
        told(file.name, flips(file, folder / file.name, count, seed, folder / "release.h5"))


def told(name: str, done: list[Flip]) -> None:
    outside = [flip for flip in done if not flip.in_chunk]
    print(
        f"{name}: {sum(f.found for f in outside)} of {len(outside)} flips outside chunks found, "
        f"{sum(f.found for f in done) - sum(f.found for f in outside)} of {len(done) - len(outside)} inside; "
        f"the others change nothing: {all(f.safe for f in done)}"
    )
    assert [flip for flip in done if not flip.safe] == []
    assert all(flip.found for flip in done if flip.in_chunk)
