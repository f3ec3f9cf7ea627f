"""verify in a process of its own, with limits: a file can be made so that HDF5 itself ends, hangs or grows on it.

What looks at the file says what it finds line by line, as JSON, and a sign of life between; who asked waits as long as
there are any.  When it ends otherwise than by saying so, that is a finding too.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO

from mimicme.commands.verify import Alias, Finding, verify
from mimicme.commands.verify.finding import LEVELS, Level
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.numerics.memory import address_space_mb, ask_for, not_enough

MEMORY_BYTES = 2 << 30
"""On top of what the program itself takes; one texture of 8192 takes one when it is decoded."""
LEAST_BYTES = 160 << 20
"""Where not even so much can be had, HDF5's death would be taken for the file's fault."""
SILENCE_S = 300.0
"""What is done between two signs of life - a frame, an image, a block of the file - takes a fraction of that."""
_PULSE_S = 0.2
_ALIVE, _DONE, _BUSY = "alive", "done", "busy"
_SAID = 4
"""Words of a line: its kind, and what a finding says besides."""


def verify_apart(
    path: str | Path,
    every_image: bool = False,
    memory_bytes: int = MEMORY_BYTES,
    silence_s: float = SILENCE_S,
    absent: str = "",
    alias: Alias | None = None,
    but: Collection[str] = (),
) -> list[Finding]:
    """Check a whole release as `verify`, in a process of its own.

    Args:
        memory_bytes: that it may take; where the system knows no such limit it has none.
        absent, alias, but: as of `verify`.
        silence_s: seconds without a sign of life after which it is ended.

    Raises:
        ReleaseError: another program holds the file open, so that nothing can be said about it.
    """
    command = [sys.executable, "-m", __name__]
    asked = {
        "path": str(Path(path).absolute()),
        "every_image": every_image,
        "memory_bytes": memory_bytes,
        "absent": absent,
        "alias": None if alias is None else (alias.name, alias.mark),
        "but": list(but),
    }
    # no threads: each would set address space aside
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    findings: list[Finding] = []
    with (
        tempfile.TemporaryFile() as complaint,
        tempfile.TemporaryFile() as question,
        subprocess.Popen(
            command,
            stdin=_written(question, json.dumps(asked)),
            stdout=subprocess.PIPE,
            stderr=complaint,
            env=surroundings,
        ) as child,
    ):
        assert child.stdout is not None
        try:
            for kind, *said in _lines(child.stdout, silence_s):
                if kind == _DONE:
                    return findings
                if kind == _BUSY:
                    raise ReleaseError(*said[:1], where=path, todo=said[1])
                if kind != _ALIVE:
                    level: Level = next((one for one in LEVELS if one == kind), "error")
                    findings.append(Finding(level, *said))
            code = child.wait(timeout=silence_s)
            if code > 0:
                said_last = _last_line(complaint)
                failed = f"verify itself failed ({said_last}); nothing is said of the file."
                if "MemoryError" in said_last:
                    most = f"{memory_bytes >> 20:,} MB"
                    failed = f"verify needs more than the {most} it may take; nothing is said of the rest."
                    if address_space_mb() is not None:
                        failed = f"{not_enough()} Nothing is said of the rest."
                return [*findings, Finding("unknown", "/", failed, "file")]
            why = f"signal {-code}"
        except (TimeoutError, subprocess.TimeoutExpired):
            why = f"no sign of life for {silence_s:.0f} s"
        finally:
            child.kill()
    message = f"HDF5 cannot be made to read this file ({why}): it is damaged, or made to do harm."
    return [*findings, Finding("error", "/", message, "file")]


def _written(stream: IO[bytes], text: str) -> IO[bytes]:
    """A file with a text in it, to be read from its beginning; an argument of a program cannot be that long."""
    stream.write(text.encode())
    stream.flush()
    stream.seek(0)
    return stream


def _last_line(stream: IO[bytes]) -> str:
    """The last line that was complained, shortened."""
    stream.seek(0)
    lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def _lines(stream: IO[bytes], silence_s: float) -> Iterator[list[str]]:
    """What is said, line by line.

    Raises:
        TimeoutError: nothing was, for so long.
    """
    heard: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        with contextlib.suppress(ValueError, OSError):  # it is closed from the other side
            for line in stream:
                heard.put(line)
        heard.put(b"")

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            line = heard.get(timeout=silence_s)
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            return
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, list) and len(said) == _SAID and all(isinstance(one, str) for one in said):
            yield said


def _tell(*said: str) -> None:
    sys.stdout.write(json.dumps([*said, *[""] * (_SAID - len(said))]) + "\n")
    sys.stdout.flush()


def _limit(memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:
        return
    own = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if _has_proc()
        else 1 << 30
    )
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (own + memory_bytes, own + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _has_proc() -> bool:
    return Path("/proc/self/statm").is_file()


def _main(
    path: str,
    every_image: bool,
    memory_bytes: int,
    absent: str,
    alias: Sequence[str] | None,
    but: Sequence[str],
) -> None:
    import mimicme.pipeline.formats.image  # noqa: F401  before the limit: what is needed is loaded

    ask_for(min(memory_bytes, LEAST_BYTES), "verify")
    _limit(memory_bytes)
    told = 0.0

    def alive() -> None:
        nonlocal told
        if (now := time.monotonic()) >= told + _PULSE_S:
            told = now
            _tell(_ALIVE)

    try:
        findings = verify(
            path,
            every_image,
            alive=alive,
            absent=absent,
            alias=None if alias is None else Alias(*alias),
            but=frozenset(but),
        )
    except ReleaseError as error:
        _tell(_BUSY, error.what, error.todo or "")
        return
    for finding in findings:
        _tell(finding.level, finding.where, finding.message, finding.check)
    _tell(_DONE)


if __name__ == "__main__":
    _main(**json.load(sys.stdin))
