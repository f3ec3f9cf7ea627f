"""Packing into shards, and publishing, killed at thirty moments each: started again, they give the same files."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from shared_helpers import MAIN

from mimicme.commands.publish import PublishSettings, publish
from mimicme.commands.publish.texts import Title
from mimicme.commands.verify import has_errors, verify
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.items import Item

MOMENTS = 30
PEOPLE = [f"Q{k:03d}" for k in range(24)]
TABLE = "subject,consent\n" + "".join(f"{person},yes\n" for person in PEOPLE)

PACK = """
import pickle, sys, time
from contextlib import closing
sys.path.insert(0, {tests!r})
import fakes
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.run.pool import LokyPool, side_by_side
from pathlib import Path

def several(work, jobs):
    pool = LokyPool(2)
    try:
        yield from side_by_side(pool, work, jobs)
    finally:
        pool.close()

given = pickle.loads(Path({given!r}).read_bytes())
print("begins", flush=True)
fakes.packed(Path({output!r}), given, parse_subjects({table!r}.encode()), shard="subject", side_by_side=several)
print("ends", flush=True)
"""


@pytest.fixture(scope="module")
def given(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    made = [fakes.checkpoints(folder, fakes.sequence(Item(person, "smile"))) for person in PEOPLE]
    (folder / "given.pickle").write_bytes(pickle.dumps(made))
    return folder / "given.pickle"


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def there(folder: Path) -> list[Path]:
    """What lies in a folder, half-written files among it."""
    return list(folder.iterdir()) if folder.exists() else []


def run(
    command: list[str], first: str, after_s: float | None, until: Callable[[], bool] | None = None
) -> float:
    """Run a command, killed with all its children so long after its first line, and after what it waits for; returns
    how long it took from its first line."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout is not None
    if first:
        assert process.stdout.readline().strip() == first
    began = time.monotonic()
    while until is not None and not until() and process.poll() is None:
        time.sleep(0.005)
    if after_s is not None:
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if after_s is None:
        assert process.returncode == 0
    return time.monotonic() - began


def test_a_pack_that_is_killed(given: Path, tmp_path: Path) -> None:
    def command(folder: Path) -> list[str]:
        tests = str(Path(__file__).parents[1])
        said = {"tests": tests, "given": str(given), "output": str(folder / "release.h5"), "table": TABLE}
        return [sys.executable, "-c", PACK.format(**said)]

    run(command(tmp_path / "whole"), "begins", None)
    expected = files(tmp_path / "whole")
    assert len(expected) == len(PEOPLE) + 2
    assert not has_errors(verify(tmp_path / "whole" / "release.h5"))
    unfinished = 0
    # by how far it has come, and not by time: that changes with what else the machine does
    for moment, files_there in enumerate(np.linspace(0, len(expected), MOMENTS).round().astype(int).tolist()):
        folder = tmp_path / f"{moment:02d}"
        # alternately at once, and in the middle of the next file
        run(command(folder), "begins", 0.01 * (moment % 2), lambda: len(there(folder)) >= files_there)  # noqa: B023
        unfinished += not folder.exists() or files(folder) != expected
        run(command(folder), "begins", None)
        assert files(folder) == expected, f"killed with {files_there} of {len(expected)} files there"
        assert len(there(folder)) == len(expected)
    assert unfinished > MOMENTS // 2


def test_a_publication_that_is_killed(fakes: ModuleType, given: Path, tmp_path: Path) -> None:
    source = tmp_path / "lab" / "release.h5"
    fakes.packed(source, pickle.loads(given.read_bytes()), parse_subjects(TABLE.encode()), shard="subject")
    title = Title("Faces", ("Doe, Jane",), "1.0", "", "none")
    publish(source, tmp_path / "whole", title, PublishSettings(key=tmp_path / "key"))
    expected = files(tmp_path / "whole")

    def command(folder: Path) -> list[str]:
        options = [
            "--title",
            "Faces",
            "--author",
            "Doe, Jane",
            "--licence",
            "none",
            "--key",
            str(tmp_path / "key"),
        ]
        return [*map(str, MAIN), "publish", str(source), str(folder), *options]

    timed = tmp_path / "timed"
    whole = run(command(timed), "", None, timed.exists)
    assert files(timed) == expected
    unfinished = 0
    for moment, share in enumerate(np.linspace(0.0, 1.0, MOMENTS)):
        folder = tmp_path / f"{moment:02d}"
        run(command(folder), "", share * whole * 0.6, folder.exists)  # the last of it is verifying
        unfinished += files(folder) != expected if folder.exists() else 1
        run(command(folder), "", None)
        assert files(folder) == expected, f"killed after {share:.2f} of {whole:.2f} s"
        assert len(list(folder.iterdir())) == len(expected)
    assert unfinished >= 5
