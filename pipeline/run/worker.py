"""One worker process, from both ends: the parent hands it jobs and takes their answers, one after the other.

loky starts the process, so that it neither imports the program's main module again nor inherits the parent's files.
Jobs and answers go through an unnamed pair of sockets that the process inherits: nobody else can connect to it, and
where either end is gone the other one sees it at once.

A process that is woken from sleep for every answer takes several times as long over it as one that finds several.  So
an answer is said at once, and a bell is rung only where the worker has nothing more to do: the parent sleeps until
somebody rings, or some time has passed, and then takes what there is.

A worker begins a job only with the job's ticket, a byte in a second pair of sockets.  Its parent can read that end too:
whoever reads a ticket first has it, so that a job that was given ahead is either begun or taken back, never both.  The
job itself stays on its way, and the worker passes over it.
"""

from __future__ import annotations

import contextlib
import gc
import io
import math
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
SEND_BYTES = 1 << 18
"""That may be on their way to a worker."""
_TICKETS = 256
"""Numbers of jobs, over and over: a byte.  A worker has far fewer, with those that it has yet to pass over."""
END_S = 10.0
"""What a worker without a job may take to end before it is killed."""


_NOTHING_NEW = pickle.dumps([], pickle.HIGHEST_PROTOCOL)


class _Pickler(pickle.Pickler):
    """Writes down what a worker has already as its place among what it was sent."""

    def __init__(self, stream: io.BytesIO, places: Mapping[int, int]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._places = places

    def reducer_override(self, one: object) -> Any:
        # unlike `persistent_id`, this is not asked of every string, number and dict
        place = self._places.get(id(one))
        return NotImplemented if place is None else (_kept, (place,))


_KEPT: list[Any] = []
"""Of a worker process: what it was sent for many jobs."""


def _kept(place: int) -> Any:
    return _KEPT[place]


@dataclass(frozen=True)
class Answer:
    """What a worker says of a job.

    Attributes:
        result: of the work.
        error: that it raised; None: none.
        unread: why the job could not even be read; empty: it was.
        leaving: it grew too large and ends now.
        seconds: since the job was begun, with all that followed from it so far.
    """

    result: Any = None
    error: BaseException | None = None
    unread: str = ""
    leaving: bool = False
    seconds: float = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        # there is one for every item, and what `dataclass` writes takes several times as long
        return Answer, (self.result, self.error, self.unread, self.leaving, self.seconds)


def following(job: Any, result: Any) -> Any:
    """What a worker does after a job without being told: what the job says follows from its result (`after`); else
    None.  Both ends ask this, and need no word about it."""
    after = getattr(job, "after", None)
    return None if after is None else after(result)


class Worker:
    """The parent's end of a worker process, which is started with `start`.

    Attributes:
        jobs: what it was given and has not said to be over, in order; the first is what it is at, as far as its answers
            were taken.
    """

    def __init__(self) -> None:
        self.jobs: deque[Any] = deque()
        self._process: Any = None
        # what it was sent for all jobs; kept, so that no other object has its identity
        self._sent: list[Any] = []
        self._connection: Connection | None = None
        self._bell: Connection | None = None
        self._tickets: socket.socket | None = None
        self._unused: socket.socket | None = None  # the worker's end of them
        self._given = 0
        self._since = 0.0

    @property
    def busy(self) -> bool:
        """Whether it was given a job whose answer was not taken."""
        return bool(self.jobs)

    def at_it_s(self) -> float:
        """Seconds since it was over with what it did before its present job, as far as its answers were taken, or was
        given that one; what follows from the job is counted with it.  0 where it has none."""
        return time.monotonic() - self._since if self.jobs else 0.0

    def start(self, environ: Mapping[str, str]) -> None:
        """Start the process.

        Args:
            environ: what it has in its environment besides the parent's.

        Raises:
            OSError: the system has no room for another one.
        """
        from loky.backend import get_context

        self._connection, theirs = Pipe()
        self._bell, rope = Pipe(duplex=False)
        self._tickets, self._unused = socket.socketpair()
        with theirs, rope:  # the process has its own copies: it alone holds those ends
            self._process = get_context("loky").Process(
                target=serve,
                args=(theirs, rope, self._unused, os.getpid()),
                env=dict(environ),
                daemon=True,
            )
            self._process.start()
        # room for jobs ahead, which nobody waits to be read; some systems have little by themselves
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)

    @property
    def says(self) -> Connection:
        """For `selectors`: can be read when there is an answer, or the process is gone."""
        assert self._connection is not None
        return self._connection

    @property
    def rings(self) -> Connection:
        """Likewise: when there is an answer after which it has nothing to do, or the process is gone."""
        assert self._bell is not None
        return self._bell

    def heard(self) -> None:
        """Its bell was; it can ring again."""
        with contextlib.suppress(EOFError, OSError):
            self.rings.recv_bytes()

    def give(self, work: Callable[[Any], Any], job: Any, most: float = math.inf) -> bool:
        """Hand it a job, which it does when it is over with those that it has, unless it is taken back before.

        One that is gone gives no answer, which `answer` finds.

        Args:
            work: what is done with the job.
            job: what it has `shared` with others, if it says so, is sent once, and so is then `work`.  These must be
                instances of classes, not str, int or dict: they are told by identity.
            most: bytes that may be sent.

        Returns:
            whether they were enough; otherwise nothing is handed out.
        """
        assert self._connection is not None and self._tickets is not None
        new, data = self._message(work, job)
        if len(data) > most:
            return False
        self._sent += new
        if not self.jobs:
            self._since = time.monotonic()
        self.jobs.append(job)
        self._given = (self._given + 1) % _TICKETS
        with contextlib.suppress(OSError):
            # first: a worker that waits for it has yet to read what it passes over, and makes room for this one
            self._tickets.send(bytes((self._given,)))
            self._connection.send_bytes(data)
        return True

    def take_back(self) -> list[Any]:
        """The jobs that it has not begun, in order; it does not do them.  The first of all its jobs stays with it."""
        assert self._tickets is not None and self._unused is not None
        try:
            # all in one: those that the worker reads meanwhile are of jobs before these
            tickets = self._unused.recv(_TICKETS, socket.MSG_DONTWAIT)
        except OSError:
            return []
        if len(tickets) == len(self.jobs):
            self._tickets.send(tickets[:1])
            tickets = tickets[1:]
        return [self.jobs.pop() for _ in tickets][::-1]

    def _message(self, work: Callable[[Any], Any], job: Any) -> tuple[list[Any], bytes]:
        """The objects that `serve` is to keep, and what it reads: these, and after them the work and the job."""
        from loky.backend.reduction import dumps

        shared = getattr(job, "shared", ())
        if not shared:
            # by value what no module has under its name, as a function of a stage that somebody adds
            return [], _NOTHING_NEW + dumps((work, job), protocol=pickle.HIGHEST_PROTOCOL)
        known = {id(one) for one in self._sent}
        new = list({id(one): one for one in (work, *shared) if id(one) not in known}.values())
        head = dumps(new, protocol=pickle.HIGHEST_PROTOCOL) if new else _NOTHING_NEW
        stream = io.BytesIO()
        stream.write(head)
        places = {id(one): place for place, one in enumerate([*self._sent, *new])}
        _Pickler(stream, places).dump((work, job))
        return new, stream.getvalue()

    def answered(self) -> bool:
        """Whether `answer` would not wait: there is one, or the process is gone."""
        assert self._connection is not None
        try:
            return self._connection.poll()
        except (EOFError, OSError):
            return True

    def answer(self) -> Answer | None:
        """The answer to the first of its jobs, waited for; None: the process is gone."""
        assert self._connection is not None
        try:
            data = self._connection.recv_bytes()
        except (EOFError, OSError):
            return None
        found: Answer = pickle.loads(data)
        job = self.jobs.popleft()
        if found.error is None and not found.unread:
            goes_on = following(job, found.result)
            if goes_on is not None:
                self.jobs.appendleft(goes_on)
                return found
        self._since = time.monotonic()
        return found

    def how_it_ended(self) -> int | None:
        """Exit code of a process that is gone; its signal's number, negative, where one ended it; None: not known."""
        self._process.join(END_S)
        code: int | None = self._process.exitcode
        return code

    def let_go(self) -> None:
        """Tell it that there are no more jobs: it ends after the one that it is at."""
        for end in (self._connection, self._bell, self._tickets, self._unused):
            if end is not None:
                end.close()

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


def serve(connection: Connection, bell: Connection, tickets: socket.socket, parent: int) -> None:
    """Do the jobs that come, and what follows from them, until there are no more.  Runs in the worker process.

    Args:
        connection, bell, tickets: the worker's ends.
        parent: process id of the other end.
    """
    _begin(parent)
    growth = _Growth(float(os.environ.get(GROWTH_VARIABLE, MAX_GROWTH_BYTES)))
    job: Any = None
    ticket = b""  # of the job that it does next
    number = 0  # of the job that was read last

    # the parent has let go, or is gone
    with connection, bell, tickets, contextlib.suppress(EOFError, OSError):
        while True:
            if job is None:
                stream = io.BytesIO(connection.recv_bytes())
                number = (number + 1) % _TICKETS
                ticket = ticket or tickets.recv(1)
                if not ticket:
                    return
                try:
                    _KEPT.extend(pickle.load(stream))
                    if ticket[0] != number:  # it was taken back; what it brought is there for others
                        continue
                    ticket = b""
                    work, job = pickle.load(stream)
                except Exception as error:  # no memory for a library, say: another process may have it
                    connection.send_bytes(_pickled(Answer(unread=_unread(error))))
                    bell.send_bytes(b"")
                    return
                began = time.monotonic()
            try:
                answer = Answer(work(job))
                job = following(job, answer.result)
            except Exception as error:
                error.add_note(f"In a worker process:\n{traceback.format_exc()}")
                answer, job = Answer(error=error), None
            answer = replace(answer, leaving=growth.too_large(), seconds=time.monotonic() - began)
            connection.send_bytes(_pickled(answer))
            if job is None and not answer.leaving:
                with contextlib.suppress(BlockingIOError):
                    ticket = tickets.recv(1, socket.MSG_DONTWAIT)
            if answer.leaving or (job is None and not ticket):
                bell.send_bytes(b"")
            if answer.leaving:
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
        return pickle.dumps(replace(answer, result=None, error=said), pickle.HIGHEST_PROTOCOL)


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
