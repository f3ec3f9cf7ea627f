"""A hostile file is read in a child of its own, with limits; what became of it."""

from __future__ import annotations

import os
import resource
import signal
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from mimicme.commands.verify import has_errors, verify
from mimicme.commands.verify.apart import verify_apart
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.release import Release

MEMORY = 1 << 30
SECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """What verify and the reader made of a file.

    Attributes:
        clean: both ended, with findings or a `MimicmeError`, within the limits.
        broken: verify found errors.
        killed: HDF5 itself ended the process; clean then says whether `verify_apart` makes a finding of that.
    """

    what: str
    clean: bool
    broken: bool
    said: str
    seconds: float
    megabytes: float
    killed: bool = False


def run(path: Path, what: str) -> Outcome:
    """Verify and read a file in a child, under limits of memory and time."""
    receive, send = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receive)
        status = 3
        try:
            status = _read(path, send)
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status, used = os.wait4(child, 0)
    seconds = time.monotonic() - started
    ended = os.WIFEXITED(status)
    code = os.WEXITSTATUS(status) if ended else -os.WTERMSIG(status)
    megabytes = used.ru_maxrss / 1024
    clean = ended and code in (0, 1) and seconds <= SECONDS and megabytes <= MEMORY / 1e6
    if ended:
        return Outcome(what, clean, code == 1, said, seconds, megabytes)
    started = time.monotonic()
    findings = verify_apart(path, every_image=True, memory_bytes=MEMORY)
    seconds = time.monotonic() - started
    clean = has_errors(findings) and seconds <= SECONDS and megabytes <= MEMORY / 1e6
    return Outcome(what, clean, True, f"signal {-code}: {findings}", seconds, megabytes, killed=True)


def _read(path: Path, send: int) -> int:
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS + 5)
    try:
        findings = verify(path, every_image=True)
        _use(path)
    except BaseException:  # whatever it is, it is not clean
        os.write(send, traceback.format_exc()[-3000:].encode(errors="replace"))
        return 2
    os.write(send, "\n".join(map(str, findings))[:3000].encode(errors="replace"))
    return 1 if has_errors(findings) else 0


def _use(path: Path) -> None:
    """Read what a user would: all that can be read, or an error that says why not."""
    release = Release(path)
    for look in (
        lambda: release.template,
        lambda: release.subjects,
        lambda: release.attributes,
        lambda: [dict(info.attributes) for info in release.sequences()],
        lambda: [release.values(info.item, "landmarks") for info in release.sequences()],
        lambda: release.select(age=(1, 99), gender="f*", landmarks="projected"),
    ):
        try:
            look()
        except MimicmeError as error:
            str(error)
    try:
        rows = range(min(len(release), 50))
    except MimicmeError as error:
        str(error)
        return
    for row in rows:
        try:
            release.frame(row)
            release.surface_map(row, "normal")
        except MimicmeError as error:
            str(error)
