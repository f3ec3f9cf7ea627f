"""A run that is killed at any moment, loses a worker or runs out of room goes on to the same bytes; so does one whose
disk fails, whose checkpoints were spoiled, or that somebody begins a second time meanwhile.

`make test-faults` (some minutes).  KILLS=200 make test-faults: at more moments, of which KILLS_SEED chooses others.

When something is done to a run follows from what it has finished, not from the clock: how quick a machine is, and what
else it does, changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import random
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_helpers import MAIN, mimicme

from mimicme.pipeline.numerics.memory import LEAST_BYTES

KILLS, SEED = int(os.environ.get("KILLS", "6")), int(os.environ.get("KILLS_SEED", "0"))
SMALL = ("--preset", "fast", "--set", "bake.size=256")
PATIENCE_S = 300.0
"""For what takes seconds on a machine that has nothing else to do."""


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
def calm(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """A workspace that was run in peace."""
    workspace = made(tmp_path_factory.mktemp("peace") / "ws", small_captures)
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    return workspace


def heeds_interrupts() -> None:
    # these tests in the background of a shell inherit a SIGINT that is ignored, and would hand that on
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(workspace: Path, *more: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*MAIN, "run", str(workspace), *SMALL, *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        **({"preexec_fn": heeds_interrupts} | options),
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


def finished(workspace: Path) -> dict[Path, tuple[int, int]]:
    """Every checkpoint, and what is another's when it is written anew: which file it is, and when it was written."""
    found = {}
    for path in workspace.glob("*/*/*.h5"):
        about = path.stat()
        found[path] = about.st_ino, about.st_mtime_ns
    return found


def wait_until(process: subprocess.Popen[str], so_far: Callable[[], bool]) -> None:
    """Until a run is so far, or has ended."""
    give_up = time.monotonic() + PATIENCE_S
    while not so_far() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "jobs", "everybody"),
    [
        (signal.SIGKILL, 2, True),
        (signal.SIGKILL, 2, False),
        (signal.SIGINT, 0, False),
        (signal.SIGINT, 2, True),
        (signal.SIGTERM, 2, False),
        (signal.SIGTERM, 2, True),
    ],
)
def test_ended_at_any_moment_it_goes_on_to_the_same_bytes(
    calm: Path,
    tmp_path: Path,
    small_captures: Path,
    number: signal.Signals,
    jobs: int,
    everybody: bool,
) -> None:
    """Each time in a workspace of its own, a little later: SIGKILL to all processes at once, as by the power cord, or
    to the parent alone, whose workers end with it; SIGINT to all, as by Ctrl-C; SIGTERM to one, or to all as by a queue
    whose time is over."""
    ended, most = 0, len(finished(calm))
    for k in range(KILLS):
        workspace = made(tmp_path / f"ws{k}", small_captures)
        process = started(workspace, "--jobs", str(jobs))
        wait_until(process, (workspace / "runs").is_dir)
        wait_until(process, lambda: len(finished(workspace)) >= most * (k + 0.5) / KILLS)  # noqa: B023  (called at once)
        time.sleep(random.Random(k).uniform(0, 1))
        if process.poll() is None:
            (os.killpg if everybody else os.kill)(process.pid, number)
        said, _ = process.communicate(timeout=PATIENCE_S)
        give_up = time.monotonic() + 10
        while (left := [p for p in children(process.pid) if "tracker" not in command_of(p)]) and (
            time.monotonic() < give_up
        ):
            time.sleep(0.1)
        assert not left  # no worker outlives its parent
        # a signal that comes when all is done and Python is leaving ends it as the system does
        too_late = process.returncode == -number and "release.h5: verified" in said
        assert process.returncode in (0, -9, 130) or too_late, said
        assert "Traceback" not in said
        ended += process.returncode != 0 and not too_late
        if number != signal.SIGKILL:
            assert not list(workspace.rglob("*.tmp"))
        mimicme("run", workspace, "--jobs", 2, *SMALL)
        assert digest(workspace / "release.h5") == digest(calm / "release.h5")
        assert not list(workspace.rglob("*.tmp"))
        shutil.rmtree(workspace)
    assert ended >= KILLS / 2  # the machine may be quicker than it was


def test_killed_again_and_again_nothing_that_was_finished_is_made_again(
    calm: Path, tmp_path: Path, small_captures: Path
) -> None:
    """One workspace, all processes of its run killed at random moments until it is done; then the next one.

    A run is let go on to between none and two checkpoints more, then for a random part of the time that one takes:
    so it is killed while it starts, works, writes, and packs.  Where that brought nothing, the next one has longer.  It
    works in no worker, one, or two, in turn.
    """
    moments = random.Random(SEED)
    most, right = len(finished(calm)), digest(calm / "release.h5")
    kills = rounds = 0
    with Forks(tmp_path / "said") as forks:
        while kills < KILLS:
            workspace = made(tmp_path / f"ws{rounds}", small_captures)
            before: dict[Path, tuple[int, int]] = {}
            longer = 1.0
            while True:
                began = time.monotonic()
                forks.start("run", str(workspace), *SMALL, "--jobs", str(rounds % 3))
                target = min(len(before) + moments.randrange(3), most)
                while len(finished(workspace)) < target and not forks.ended(0.02):
                    assert time.monotonic() - began < PATIENCE_S
                took = max(time.monotonic() - began, 2.0) / (1 + target - len(before))
                code = forks.end(moments.uniform(0, took * longer))
                said = (tmp_path / "said").read_text()
                assert code in (0, -9) and "Traceback" not in said, said
                now = finished(workspace)
                assert {path: now.get(path) for path in before} == before
                longer = 1.0 if len(now) > len(before) else 1.5 * longer
                before = now
                if code == 0:
                    break
                kills += 1
            assert len(before) == most
            assert digest(workspace / "release.h5") == right
            shutil.rmtree(workspace)
            rounds += 1
            print(f"{kills} kills, {rounds} releases of the same bytes", flush=True)  # pytest -s


FORKS = """
import json, os, sys, traceback
from mimicme.cli import main
from mimicme import stages
from mimicme.pipeline.geometry.spatial import open3d
from mimicme.pipeline.run import runner
from mimicme.stages.register import track

stages.STAGES, open3d()
for line in sys.stdin:
    said, *arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        sys.argv = ["mimicme", *arguments]
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """Commands as children of one process that has imported the program: what a kill costs is then what is made again,
    and not Python's start.  One at a time, each the leader of a session, which its workers belong to.

    Args:
        said: file of what they print.
    """

    def __init__(self, said: Path) -> None:
        self._said, self._pid = said, 0
        words = [sys.executable, "-c", FORKS]
        self._server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            self.end(0)
        self._server.communicate(timeout=PATIENCE_S)

    def start(self, *arguments: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps([str(self._said), *arguments]).encode() + b"\n")
        self._server.stdin.flush()
        self._pid = self._line()

    def ended(self, after_s: float) -> bool:
        """Whether it has, so many seconds later at the latest."""
        return bool(select.select([self._server.stdout], [], [], after_s)[0])

    def end(self, after_s: float) -> int:
        """Exit code of a command, which is killed with all its processes after so many seconds."""
        if not self.ended(after_s):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        self._pid = 0
        return self._line()

    def _line(self) -> int:
        assert self._server.stdout is not None
        found = b""  # without a buffer, which `ended` would not see
        while not found.endswith(b"\n"):
            byte = os.read(self._server.stdout.fileno(), 1)
            assert byte, "the process that starts the commands is gone"
            found += byte
        return int(found)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_dies_costs_its_item_and_no_more(
    calm: Path, tmp_path: Path, small_captures: Path, number: signal.Signals
) -> None:
    workspace = made(tmp_path / "ws", small_captures)
    process = started(workspace, "--jobs", "2")
    wait_until(process, (workspace / "refine").is_dir)
    workers = [
        pid for pid in children(process.pid) if "loky" in command_of(pid) and "tracker" not in command_of(pid)
    ]
    assert workers
    os.kill(workers[-1], number)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (0, 1), said
    assert "Traceback" not in said
    stages = {s["stage"]: s for s in json.loads(mimicme("status", workspace, "--json").stdout)["stages"]}
    for earlier in ("ingest", "landmarks", "align", "register"):
        assert stages[earlier]["items"]["done"] == 2
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_no_room_is_said_and_leaves_no_half_a_file(
    calm: Path, tmp_path: Path, small_captures: Path, share: float
) -> None:
    """No file may grow over a share of the largest, which fails as a full disk does: in the middle of writing."""
    limit = int(share * max(path.stat().st_size for path in calm.rglob("*") if path.is_file()))
    workspace = made(tmp_path / "ws", small_captures)

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = started(workspace, "--jobs", "0", preexec_fn=small_files)
    said, _ = process.communicate(timeout=PATIENCE_S)
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


def test_a_run_that_nobody_hears_goes_on(calm: Path, tmp_path: Path, small_captures: Path) -> None:
    """The reader of its pipe is gone, as `tee` that was ended, or a terminal that was closed under `nohup`."""
    workspace = made(tmp_path / "ws", small_captures)
    process = started(workspace, "--jobs", "1")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=PATIENCE_S) == 0
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


def test_a_worker_that_hangs_is_ended_at_its_limit_and_costs_its_item_alone(
    calm: Path, tmp_path: Path, small_captures: Path
) -> None:
    """One that is stopped for good stands for what waits on a disk that does not answer."""
    workspace = made(tmp_path / "ws", small_captures)
    process = started(workspace, "--jobs", "2", "--set", "run.frame_limit_s=30")
    at_work: list[int] = []

    def somebody_registers() -> bool:
        at_work[:] = [int(path.name.split(".")[-2]) for path in workspace.glob("register/*/.*.tmp")]
        return bool(at_work)

    wait_until(process, somebody_registers)
    assert at_work
    os.kill(at_work[0], signal.SIGSTOP)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "run.frame_limit_s" in mimicme("status", workspace, "--failed").stdout
    stages = {s["stage"]: s for s in json.loads(mimicme("status", workspace, "--json").stdout)["stages"]}
    for earlier in ("ingest", "landmarks", "align"):
        assert stages[earlier]["items"]["done"] == 2
    assert not Path(f"/proc/{at_work[0]}").exists()
    assert not list(workspace.rglob("*.tmp"))
    # where the neutral hung, its person's others went on without it, and are made again once it is there
    before = {
        path: stat
        for path, stat in finished(workspace).items()
        if path.relative_to(workspace).parts[0] in ("ingest", "landmarks", "align")
    }
    assert len(before) == 6
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    now = finished(workspace)
    assert {path: now.get(path) for path in before} == before
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


UPGRADED = """
import sys
from dataclasses import replace
from mimicme import stages

newer = sys.argv.pop(1)
stages.STAGES = tuple(replace(s, version=s.version + (s.name == newer)) for s in stages.STAGES)
from mimicme.cli import main

main()
"""


def test_an_upgrade_that_is_killed_makes_again_what_the_new_program_makes_otherwise(
    calm: Path, tmp_path: Path
) -> None:
    """The program of tomorrow, one of whose stages has another version; then that of today once more."""
    workspace = tmp_path / "ws"
    shutil.copytree(calm, workspace)
    mimicme("run", workspace, *SMALL)  # the copies have other times and inodes: everything is looked at once
    old, right = finished(workspace), digest(calm / "release.h5")
    newer = [sys.executable, "-c", UPGRADED, "bake"]
    run = ["run", str(workspace), *SMALL, "--jobs", "0"]
    planned = subprocess.run([*newer, *run, "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert "bake: 2 of 2 would run" in planned and "the stage's version changed from" in planned
    assert "refine: 0 of 2 would run" in planned

    def made_anew() -> list[Path]:
        now = finished(workspace)
        return [path for path in now if now[path] != old.get(path)]

    process = subprocess.Popen([*newer, *run], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(process, lambda: bool(made_anew()))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = finished(workspace)
    first = set(made_anew())
    subprocess.run([*newer, *run], capture_output=True, check=True)
    now = finished(workspace)
    assert {path: now[path] for path in first} == {path: before[path] for path in first}
    assert {path.parent.parent.name for path in made_anew()}.isdisjoint(
        {"ingest", "landmarks", "align", "refine"}
    )
    mimicme("verify", workspace / "release.h5")
    mimicme(*run)
    assert digest(workspace / "release.h5") == right


def test_captures_that_go_away_are_told_and_come_back(
    calm: Path, tmp_path: Path, small_captures: Path
) -> None:
    """A network folder that is not mounted: nothing that was made is lost or made again."""
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


def work_done(said: str) -> dict[str, tuple[int, int]]:
    """How many items each stage made and skipped, by the table that a run prints."""
    rows = [line.split() for line in said.splitlines()]
    return {row[0]: (int(row[1]), int(row[2])) for row in rows if len(row) > 6 and row[1].isdigit()}


def test_too_little_memory_is_said_and_loses_nothing(
    calm: Path, tmp_path: Path, small_captures: Path
) -> None:
    """No process may have more than so much address space (`ulimit -v`): from too little to start to nearly enough."""
    workspace = made(tmp_path / "ws", small_captures)
    codes = []
    for megabytes, jobs in ((600, 1), (1360, 0), (1610, 1), (1610, 0), (1700, 1), (1750, 1)):

        def little_memory(limit: int = megabytes << 20) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        process = started(workspace, "--jobs", str(jobs), preexec_fn=little_memory)
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in said
        assert not list(workspace.rglob("*.tmp"))
        if megabytes << 20 < LEAST_BYTES:
            assert process.returncode == 2, said
            assert f"seen {megabytes:,} MB of address space, expected 1,600 MB" in said
            assert not (workspace / "ingest").exists()
            continue
        assert process.returncode in (0, 1), said
        assert "rejected them" not in said  # no frame is lost for want of memory
        assert process.returncode == 0 or "not enough memory" in said or "worker process was ended" in said
        codes.append(process.returncode)
    assert 1 in codes
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


def test_a_second_run_is_refused_and_told_who_works(calm: Path, tmp_path: Path, small_captures: Path) -> None:
    workspace = made(tmp_path / "ws", small_captures)
    first = started(workspace, "--jobs", "1")
    wait_until(first, (workspace / "ingest").is_dir)
    said = mimicme("run", workspace, *SMALL, code=2).stderr
    assert f"process {first.pid} on {platform.node()}" in said and "Traceback" not in said
    assert json.loads(mimicme("status", workspace, "--json").stdout)["running"]
    out, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, out
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


SPOILED = {
    "cut short": lambda path, calm: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path, calm: os.truncate(path, 0),
    "its head overwritten": lambda path, calm: overwritten(path, 0, bytes(512)),
    "another sequence's": lambda path, calm: shutil.copy(path.with_name("neutral.h5"), path),
    "another stage's": lambda path, calm: shutil.copy(calm / "ingest" / "S000" / "surprise.h5", path),
    "a release": lambda path, calm: shutil.copy(calm / "release.h5", path),
    "a text": lambda path, calm: path.write_text("not HDF5"),
}


def overwritten(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as handle:
        handle.seek(offset)
        handle.write(data)


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_checkpoint_is_found_and_made_again_alone(calm: Path, tmp_path: Path, how: str) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(calm, workspace)
    mimicme("run", workspace, *SMALL)  # the copies have other times and inodes: everything is looked at once
    path = workspace / "align" / "S000" / "surprise.h5"
    SPOILED[how](path, calm)
    assert "align: 1 of 2 would run" in mimicme("run", workspace, "--dry-run", *SMALL).stdout
    done = work_done(mimicme("run", workspace, "--jobs", 0, *SMALL).stdout)
    # the same bytes come out of it, so that nothing after it is made again
    assert {stage: count for stage, (count, _) in done.items() if count} == {"align": 1}
    assert digest(path) == digest(calm / "align" / "S000" / "surprise.h5")
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


FLAKY = """
import errno, io, os, sys
from mimicme.pipeline import whole_hdf5

fail_at, short = int(sys.argv.pop(1)), bool(int(sys.argv.pop(1)))
written = 0


class Flaky(io.FileIO):
    def write(self, data):
        global written
        written += 1
        if written == fail_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(data[: max(1, len(data) // 2)] if short else data)


whole_hdf5.open = lambda path, mode, buffering: Flaky(path, mode.replace("b", ""))
from mimicme.cli import main

main()
"""


def flaky(fail_at: int, short: bool, *command: object, code: int) -> str:
    """A command under whose HDF5 files write(2) fails once, or takes half of what it is given each time."""
    words = [sys.executable, "-c", FLAKY, str(fail_at), str(int(short)), *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


def test_writes_that_take_a_part_of_it_make_the_same_bytes(
    calm: Path, tmp_path: Path, small_captures: Path
) -> None:
    workspace = made(tmp_path / "ws", small_captures)
    flaky(-1, True, "run", workspace, "--jobs", 0, *SMALL, code=0)
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


@pytest.mark.parametrize("fail_at", [30, 200, 400])
def test_a_write_that_fails_costs_its_file_and_no_more(
    calm: Path, tmp_path: Path, small_captures: Path, fail_at: int
) -> None:
    workspace = made(tmp_path / "ws", small_captures)
    mimicme("run", workspace, "--until", "align", "--jobs", 0, *SMALL)  # the template is ready
    shutil.rmtree(workspace / "ingest")
    said = flaky(fail_at, False, "run", workspace, "--jobs", 0, *SMALL, code=1)
    assert os.strerror(errno.EIO) in said and "then run again" in said
    assert not list(workspace.rglob("*.tmp"))
    mimicme("run", workspace, "--jobs", 2, *SMALL)
    assert digest(workspace / "release.h5") == digest(calm / "release.h5")


IN_A_SMALL_DISK = """
set -eu
mount -t tmpfs -o size=$1 tmpfs "$2"
cp -r "$3" "$2/ws"
{run} > "$4/full" 2>&1 && echo 0 > "$4/full.code" || echo $? > "$4/full.code"
find "$2" -name '*.tmp' > "$4/left"
mount -o remount,ro "$2"
{run} > "$4/read-only" 2>&1 && echo 0 > "$4/read-only.code" || echo $? > "$4/read-only.code"
mount -o remount,rw,size=1g "$2"
{run} > "$4/again" 2>&1
sha256sum < "$2/ws/release.h5" > "$4/digest"
"""


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_full_and_a_read_only_disk_are_said_and_lose_nothing(
    calm: Path, tmp_path: Path, small_captures: Path, share: float
) -> None:
    """A disk in memory, in a namespace of its own, which holds a share of what the workspace needs."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a disk of their own (unshare --user --mount)")
    need = sum(path.stat().st_size for path in calm.rglob("*") if path.is_file())
    workspace = made(tmp_path / "ws", small_captures)
    disk, told = tmp_path / "disk", tmp_path / "told"
    disk.mkdir()
    told.mkdir()
    main = " ".join(shlex.quote(word) for word in MAIN)
    script = IN_A_SMALL_DISK.format(run=f'{main} run "$2/ws" --jobs 0 {" ".join(SMALL)}')
    size = str(int(share * need))
    done = subprocess.run(
        [*alone, "sh", "-c", script, "sh", size, disk, workspace, told],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    said = {path.name: path.read_text() for path in told.iterdir()}
    assert done.returncode == 0, (done.stderr, said)
    assert said["full.code"].strip() in ("1", "2"), said["full"]
    assert "Make room on that disk" in said["full"]
    assert said["left"] == ""
    assert said["read-only.code"].strip() == "2"
    assert "cannot be written" in said["read-only"]
    assert not any("Traceback" in text for text in said.values())
    assert said["digest"].split()[0] == digest(calm / "release.h5")
