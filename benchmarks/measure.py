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


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of a program and all that it started, and its own peak memory; `status` is its exit status,
    None when it ran out of time."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    status: int | None
    output: str


def measured(command: Sequence[str | Path], timeout_s: float = 3600.0) -> Cost:
    """Run a program to its end, threads pinned to one; whatever it says is kept."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ONE_THREAD},
        )
        late = False
        peak_mb = 0.0
        while True:
            peak_mb = max(peak_mb, _peak_mb(child.pid))
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - began > timeout_s and not late:
                child.kill()
                late = True
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(
            status
        )  # it has been waited for: Popen must not do it again
        wall = time.monotonic() - began
        said.seek(0)
        output = said.read().decode(errors="replace")
    return Cost(
        usage.ru_utime + usage.ru_stime,
        wall,
        peak_mb or usage.ru_maxrss / 1024,
        None if late else child.returncode,
        output,
    )


def _peak_mb(pid: int) -> float:
    """Peak memory so far, MB; 0 where the system does not tell.  (ru_maxrss would count the parent before exec.)"""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
