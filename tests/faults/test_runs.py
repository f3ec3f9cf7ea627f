"""A run that is killed at any moment, loses a worker or runs out of room goes on to the same bytes.

`make test-faults` (some minutes).  KILLS=100 make test-faults: at more moments.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from shared_helpers import MAIN, mimicme

KILLS = int(os.environ.get("KILLS", "6"))
SMALL = ("--set", "bake.size=256")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def made(workspace: Path, synthetic: Path) -> Path:
    template, table = synthetic / "template" / "template.obj", synthetic / "subjects.csv"
    mimicme(
        "init", workspace, "--captures", synthetic / "captures", "--template", template, "--metadata", table
    )
    return workspace


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> tuple[Path, float]:
    """A workspace that was run in peace, and how many seconds that took."""
    workspace = made(tmp_path_factory.mktemp("peace") / "ws", small_captures)
    began = time.monotonic()
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    return workspace, time.monotonic() - began


def started(workspace: Path, *more: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*MAIN, "run", str(workspace), *SMALL, *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options,
    )  # fmt: skip


def children(leader: int) -> list[int]:
    """Processes of a session but its leader."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(path.parent.name), path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if int(rest[3]) == leader and pid != leader and rest[0] != "Z":
            found.append(pid)
    return found


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGKILL, 2), (signal.SIGINT, 0), (signal.SIGTERM, 2)])
def test_ended_at_any_moment_it_goes_on_to_the_same_bytes(
    undisturbed: tuple[Path, float], tmp_path: Path, small_captures: Path, number: signal.Signals, jobs: int
) -> None:
    """Each time in a workspace of its own, a little later; SIGKILL to all processes at once, as by the power cord."""
    calm, seconds = undisturbed
    ended = 0
    for k in range(KILLS):
        workspace = made(tmp_path / f"ws{k}", small_captures)
        process = started(workspace, "--jobs", str(jobs))
        time.sleep(seconds * (0.1 + 0.85 * k / KILLS))
        if process.poll() is None:
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode in (0, -9, 130), said
        assert "Traceback" not in said
        ended += process.returncode != 0
        if number != signal.SIGKILL:
            assert not list(workspace.rglob("*.tmp"))
        mimicme("run", workspace, "--jobs", 2, *SMALL)
        assert digest(workspace / "release.h5") == digest(calm / "release.h5")
        assert not list(workspace.rglob("*.tmp"))
        shutil.rmtree(workspace)
    assert ended >= KILLS / 2  # the machine may be quicker than it was


def test_a_worker_that_dies_costs_its_item_and_no_more(
    undisturbed: tuple[Path, float], tmp_path: Path, small_captures: Path
) -> None:
    calm, _ = undisturbed
    workspace = made(tmp_path / "ws", small_captures)
    process = started(workspace, "--jobs", "2")
    give_up = time.monotonic() + 120
    while not (workspace / "refine").is_dir() and time.monotonic() < give_up and process.poll() is None:
        time.sleep(0.02)
    workers = [
        pid for pid in children(process.pid) if "loky" in command_of(pid) and "tracker" not in command_of(pid)
    ]
    assert workers
    os.kill(workers[-1], signal.SIGKILL)
    said, _ = process.communicate(timeout=240)
    assert process.returncode in (0, 1), said
    assert "Traceback" not in said
    stages = {s["stage"]: s for s in json.loads(mimicme("status", workspace, "--json").stdout)["stages"]}
    for earlier in ("ingest", "landmarks", "align", "register"):
        assert stages[earlier]["items"]["done"] == 2
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_no_room_is_said_and_leaves_no_half_a_file(
    undisturbed: tuple[Path, float], tmp_path: Path, small_captures: Path, share: float
) -> None:
    """No file may grow over a share of the largest, which fails as a full disk does: in the middle of writing."""
    calm, _ = undisturbed
    limit = int(share * max(path.stat().st_size for path in calm.rglob("*") if path.is_file()))
    workspace = made(tmp_path / "ws", small_captures)

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = started(workspace, "--jobs", "0", preexec_fn=small_files)
    said, _ = process.communicate(timeout=240)
    assert process.returncode in (1, 2), said
    assert "Traceback" not in said
    assert not list(workspace.rglob("*.tmp"))
    if (workspace / "release.h5").exists():  # of what there was room for
        mimicme("verify", workspace / "release.h5")
    assert "Make room on that disk" in said
    failed = json.loads(mimicme("status", workspace, "--json").stdout)
    assert failed["frames"] == 4
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


def test_captures_that_go_away_are_told_and_come_back(
    undisturbed: tuple[Path, float], tmp_path: Path, small_captures: Path
) -> None:
    """A network folder that is not mounted: nothing that was made is lost or made again."""
    calm, _ = undisturbed
    own = tmp_path / "captures"
    shutil.copytree(small_captures, own)
    workspace = made(tmp_path / "ws", own)
    mimicme("run", workspace, "--until", "align", *SMALL)
    away = own.rename(tmp_path / "elsewhere")
    said = mimicme("run", workspace, *SMALL, code=2)
    assert str(own / "captures") in said.stderr and "Traceback" not in said.stderr
    away.rename(own)
    done = mimicme("run", workspace, "--jobs", 2, *SMALL)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["align", "0", "2", "0"] in [row[:4] for row in rows]
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")
