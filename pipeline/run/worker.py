"""One worker process, from both ends: the parent hands it a job and takes its answer, one after the other.

loky starts the process, so that it neither imports the program's main module again nor inherits the parent's files.
Jobs and answers go through an unnamed pair of sockets that the process inherits: nobody else can connect to it, and
where either end is gone the other one sees it at once.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mimicme.pipeline.numerics.memory import for_want_of_memory, not_enough

GROWTH_VARIABLE = "LOKY_MAX_MEMORY_LEAK_SIZE"
"""Bytes by which a worker may grow after its first job; one that grew by more ends between two jobs, and another takes
its place.  A value set in the environment is kept.  The name is loky's, whose executors look at the same."""
MAX_GROWTH_BYTES = 4 << 30
"""What it is set to.  loky's own 0.3 GB is for leaks; ours grow by what they keep: templates, factorisations."""
END_S = 10.0
"""What a worker without a job may take to end before it is killed."""


_NOTHING_NEW = pickle.dumps([], pickle.HIGHEST_PROTOCOL)


class _Pickler(pickle.Pickler):
    """Writes down what a worker has already as its place among what it was sent."""

    def __init__(self, stream: io.BytesIO, places: Mapping[int, int]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._places = places

    def persistent_id(self, one: object) -> int | None:
        return self._places.get(id(one))


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote."""

    def __init__(self, stream: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(stream)
        self._kept = kept

    def persistent_load(self, place: int) -> Any:
        return self._kept[place]


@dataclass(frozen=True)
class Answer:
    """What a worker says of a job.

    Attributes:
        result: of the work.
        error: that it raised; None: none.
        unread: why the job could not even be read; empty: it was.
        leaving: it grew too large and ends now.
    """

    result: Any = None
    error: BaseException | None = None
    unread: str = ""
    leaving: bool = False


class Worker:
    """The parent's end of a worker process, which is started with `start`.

    Attributes:
        busy: it was given a job whose answer was not taken.
    """

    def __init__(self) -> None:
        self.busy = False
        self._process: Any = None
        # what it was sent for all jobs; kept, so that no other object has its identity
        self._sent: list[Any] = []
        self._connection: Connection | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        """Start the process.

        Args:
            environ: what it has in its environment besides the parent's.

        Raises:
            OSError: the system has no room for another one.
        """
        from loky.backend import get_context

        self._connection, theirs = Pipe()
        with theirs:  # the process has its own copy: it alone holds that end
            self._process = get_context("loky").Process(
                target=serve, args=(theirs, os.getpid()), env=dict(environ), daemon=True
            )
            self._process.start()

    def fileno(self) -> int:
        """For `selectors`: can be read when there is an answer, or the process is gone."""
        assert self._connection is not None
        return self._connection.fileno()

    def give(self, work: Callable[[Any], Any], job: Any) -> None:
        """Hand it a job.  One that is gone gives no answer, which `answer` finds.

        Args:
            work: what is done with the job.
            job: what it has `shared` with others, if it says so, is sent once, and so is then `work`.
        """
        assert self._connection is not None
        self.busy = True
        data = self._message(work, job)
        with contextlib.suppress(OSError):
            self._connection.send_bytes(data)

    def _message(self, work: Callable[[Any], Any], job: Any) -> bytes:
        """What `serve` reads: the objects that it is to keep, and after them the work and the job."""
        from loky.backend.reduction import dumps

        shared = getattr(job, "shared", ())
        if not shared:
            # by value what no module has under its name, as a function of a stage that somebody adds
            return _NOTHING_NEW + dumps((work, job), protocol=pickle.HIGHEST_PROTOCOL)
        known = {id(one) for one in self._sent}
        new = [one for one in (work, *shared) if id(one) not in known]
        head = dumps(new, protocol=pickle.HIGHEST_PROTOCOL) if new else _NOTHING_NEW
        self._sent += new
        stream = io.BytesIO()
        stream.write(head)
        _Pickler(stream, {id(one): place for place, one in enumerate(self._sent)}).dump((work, job))
        return stream.getvalue()

    def answered(self) -> bool:
        """Whether `answer` would not wait: there is one, or the process is gone."""
        assert self._connection is not None
        try:
            return self._connection.poll()
        except (EOFError, OSError):
            return True

    def answer(self) -> Answer | None:
        """The answer to its job, waited for; None: the process is gone."""
        assert self._connection is not None
        try:
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            return None
        self.busy = False
        found: Answer = pickle.loads(data)
        return found

    def how_it_ended(self) -> int | None:
        """Exit code of a process that is gone; its signal's number, negative, where one ended it; None: not known."""
        self._process.join(END_S)
        code: int | None = self._process.exitcode
        return code

    def let_go(self) -> None:
        """Tell it that there are no more jobs: it ends after the one that it has."""
        if self._connection is not None:
            self._connection.close()

    def end(self, kill: bool) -> None:
        """Wait until the process is gone, after `let_go`.

        Args:
            kill: whatever it is doing; otherwise only one that has no job and does not end.
        """
        self.let_go()
        if self._process is None or self._process.pid is None:
            return
        if not kill:
            self._process.join(None if self.busy else END_S)
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.join()


def serve(connection: Connection, parent: int) -> None:
    """Do the jobs that come, until there are no more.  Runs in the worker process.

    Args:
        connection: the worker's end.
        parent: process id of the other end.
    """
    _begin(parent)
    growth = _Growth(float(os.environ.get(GROWTH_VARIABLE, MAX_GROWTH_BYTES)))
    kept: list[Any] = []  # what many jobs share
    with connection, contextlib.suppress(EOFError, OSError):  # the parent has let go, or is gone
        while True:
            stream = io.BytesIO(connection.recv_bytes())
            try:
                kept += pickle.load(stream)
                work, job = _Unpickler(stream, kept).load()
            except Exception as error:  # no memory for a library, say: another process may have it
                connection.send_bytes(pickle.dumps(Answer(unread=_unread(error))))
                return
            try:
                answer = Answer(work(job))
            except Exception as error:
                error.add_note(f"In a worker process:\n{traceback.format_exc()}")
                answer = Answer(error=error)
            del work, job
            leaving = growth.too_large()
            connection.send_bytes(_pickled(Answer(answer.result, answer.error, leaving=leaving)))
            if leaving:
                return


def _unread(error: Exception) -> str:
    if for_want_of_memory(error):
        said = not_enough().rstrip(".")
        return said[:1].lower() + said[1:]
    return f"no worker process can read what it is to do ({type(error).__name__}: {error})"


def _pickled(answer: Answer) -> bytes:
    try:
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # a result or an exception that cannot be sent is an error of this program
        said = RuntimeError(f"the answer of a worker cannot be sent: {error!r}")
        return pickle.dumps(Answer(error=said, leaving=answer.leaving), pickle.HIGHEST_PROTOCOL)


def _begin(parent: int) -> None:
    """Ctrl-C is the parent's to handle; a worker whose parent is gone goes too, its file unfinished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "win32":
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


class _Growth:
    """Whether this process grew by more than it may since its first job.

    Args:
        most: bytes.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._first: int | None = None

    def too_large(self) -> bool:
        """To be asked after each job."""
        now = _resident_bytes()
        if now is None:
            return False
        if self._first is None:
            gc.collect()
            self._first = _resident_bytes()
            return False
        if now - self._first < self._most:
            return False
        gc.collect()
        after = _resident_bytes()
        return after is not None and after - self._first >= self._most


def _resident_bytes() -> int | None:
    """Memory that this process holds; where no file says it (macOS), the most that it ever held."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
