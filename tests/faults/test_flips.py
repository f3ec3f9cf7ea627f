"""Three hundred flipped bytes in a small release, half of them where no chunk lies, without the digest beside it.

FLIPS=3000 make test-faults for more, FLIPS_SEED=7 for others.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

from flips import flips


def test_a_flipped_byte_is_found_or_changes_no_value(fakes: ModuleType, tmp_path: Path) -> None:
    count, seed = int(os.environ.get("FLIPS", "300")), int(os.environ.get("FLIPS_SEED", "0"))
    for name, settings in (("float32", {}), ("int16", {"vertices": "int16"})):
        good = tmp_path / f"{name}.h5"
        fakes.packed(good, fakes.inputs(tmp_path, maps=("normal",)), **settings)
        done = flips(good, tmp_path / "spoiled.h5", count, seed)
        outside = [flip for flip in done if not flip.in_chunk]
        print(
            f"{name}: {sum(f.found for f in outside)} of {len(outside)} flips outside chunks found, "
            f"{sum(f.found for f in done) - sum(f.found for f in outside)} of {len(done) - len(outside)} inside; "
            f"the others change nothing: {all(f.safe for f in done)}"
        )
        assert [flip for flip in done if not flip.safe] == []
        assert all(flip.found for flip in done if flip.in_chunk)
