"""An array job in small: shards as processes of their own, side by side, through the command line."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from shared_helpers import MAIN, mimicme, mimicme_here

SMALL = ("--preset", "fast", "--set", "bake.size=256", "--set", "pack.shard=subject", "--jobs", "0")


def digests(workspace: Path) -> dict[str, str]:
    paths = [*workspace.glob("*/*/*.h5"), *workspace.glob("release*.h5"), *workspace.glob("template/*.h5")]
    return {str(path.relative_to(workspace)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_an_array_job_makes_the_release_of_one_machine(tmp_path: Path, small_captures: Path) -> None:
    """Two shards begin together, before the template is there; a whole run packs what they made and makes nothing."""
    captures = tmp_path / "captures"
    for name in ("S000", "S001", "S002"):
        shutil.copytree(small_captures / "captures" / "S000" / "neutral", captures / name / "neutral")
    template = small_captures / "template" / "template.obj"
    for name in ("one", "many"):
        mimicme_here("init", tmp_path / name, "--captures", captures, "--template", template)
    mimicme_here("run", tmp_path / "one", *SMALL)
    shards = [
        subprocess.Popen(
            [*MAIN, "run", str(tmp_path / "many"), "--shard", f"{number}/2", *SMALL],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in (1, 2)
    ]  # fmt: skip
    told = [process.communicate(timeout=300)[0] for process in shards]
    assert [process.returncode for process in shards] == [0, 0], told
    for number, said in enumerate(told, 1):
        assert f"Shard {number}/2 is over" in said and "Traceback" not in said
    assert sum("prepared in" in said for said in told) == 1  # the template, by one of them
    assert not (tmp_path / "many" / "release.h5").exists()
    done = mimicme_here("run", tmp_path / "many", *SMALL)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["register", "0", "3", "0"] in [row[:4] for row in rows], done.stdout
    assert digests(tmp_path / "many") == digests(tmp_path / "one")
    refused = mimicme("run", tmp_path / "many", "--shard", "3/2", code=2)
    assert "no part 3 of 2" in refused.stderr
