"""One program at a time, on one core, with what it cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}


TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a program and all that it started took: CPU and wall seconds, and the peak memory of its largest process.

    `status` is its exit status, None when it ran out of time.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    status: int | None
    output: str


def measured(command: Sequence[str | Path], timeout_s: float = 3600.0, compiled: Path | None = None) -> Cost:
    """Run a program to its end, threads pinned to one; whatever it says is kept.

    Linux: the family is read from /proc every 50 ms, for workers that nobody waits for are in no parent's account.

    Args:
        compiled: where Python keeps modules that it compiled, as it does beside an installed program's; None: as the
            environment says, which may be nowhere.
    """
    environ = {**os.environ, **ONE_THREAD}
    if compiled is not None:
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        environ["PYTHONPYCACHEPREFIX"] = str(compiled)
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
        seconds: dict[int, float] = {}
        peaks: dict[int, float] = {}
        late = False
        while child.poll() is None:
            for pid in _session(child.pid):
                seconds[pid] = max(seconds_of(pid), seconds.get(pid, 0.0))
                peaks[pid] = max(_peak_mb(pid), peaks.get(pid, 0.0))
            if time.monotonic() - began > timeout_s:
                late = True
                child.kill()
                child.wait()
            else:
                time.sleep(0.05)
        wall = time.monotonic() - began
        said.seek(0)
        output = said.read().decode(errors="replace")
    status = None if late else child.returncode
    return Cost(sum(seconds.values()), wall, max(peaks.values(), default=float("nan")), status, output)


def _session(leader: int) -> list[int]:
    """The processes of a session, the leader's own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields and int(fields[3]) == leader:
            found.append(int(folder.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; nothing when the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def seconds_of(pid: int) -> float:
    """CPU seconds of a process so far, its own alone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def _peak_mb(pid: int) -> float:
    """Peak memory of a process so far, MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
