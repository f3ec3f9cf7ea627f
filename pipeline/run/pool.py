"""Worker processes: one BLAS, OpenMP and TBB thread each, and the death of one does not end the others' work.

Work is handed out one piece a worker at a time.  When a worker is killed (out of memory, a crash in C code), the piece
that it was working on is tried again in a fresh one, at last alone; everything else goes on in parallel.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Protocol, TypeVar, cast

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.run.worker import Worker

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TBB_NUM_THREADS",
)
START_S = 60.0
"""What a worker may take to start, besides the limit of its first job."""
STOPPED_S = 10.0
"""Two looks at the limits lie half a second apart.  Where they lie further apart than this, everything was stopped in
between (Ctrl-Z, a scheduler), or nobody took results; the jobs get that time on top."""

J = TypeVar("J")
R = TypeVar("R")


def limit_threads() -> None:
    """Limit every numerical library of this process and its children to one thread.

    Takes effect in libraries that are loaded later, so it is called before numpy is imported.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"


def silence_warnings() -> None:
    """Silence the warnings of libraries in this process and its children; `python -W default` shows them.

    What is wrong with a frame is said by mimicme itself, with the frame's name.
    """
    if not sys.warnoptions and "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"


class Killed:
    """Stands for the result of a job whose worker died."""

    def __init__(self, why: str) -> None:
        self.why = why


class Pool(Protocol):
    """Runs jobs somewhere and gives each back with its result, as they finish.

    The queue is emptied; what is put into it while results are taken - to its left end, when it should come
    first - is done too.  Where all that is ready is handed on at once, a job's `priority`, if it has one, stands for
    its place: the larger, the sooner.

    Attributes:
        deaths: of workers over a job, also over one that another did then; each may have left a file unfinished.
    """

    deaths: int

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]: ...

    def close(self, kill: bool = False) -> None: ...


class InProcessPool:
    """Runs jobs in this process, one after the other."""

    deaths = 0

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        while queue:
            job = queue.popleft()
            yield job, work(job)

    def close(self, kill: bool = False) -> None:
        pass


@dataclass
class _Running:
    """A job that a worker has, and from when on it takes too long (`time.monotonic`)."""

    job: Any
    ends: float


class LokyPool:
    """Worker processes, which loky starts; the death of one takes no other with it.

    A job whose worker died is tried again beside the others, and when that worker dies too, once more when nothing
    else runs and it has the machine's memory for itself.  One that takes longer than its limit is ended with its
    worker, and not tried again.

    Args:
        workers: how many.
        limit_s: seconds that a job may take.
    """

    def __init__(self, workers: int, limit_s: Callable[[Any], float] = lambda job: math.inf) -> None:
        self.workers = workers
        self.deaths = 0
        self._limit_s = limit_s
        self._alive: list[Worker] = []
        self._left: list[Worker] = []
        """Those whose job nobody asks for any more, or that end by themselves."""

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        running: dict[Worker, _Running] = {}
        deaths: dict[int, int] = {}  # of workers, by the identity of the job that they had
        alone: deque[J] = deque()
        with DefaultSelector() as selector:
            for worker in self._alive:
                selector.register(worker, EVENT_READ)

            def hand_out() -> None:
                while queue and len(running) < self.workers:
                    self._hand_out(work, queue.popleft(), running, selector)

            def gone(worker: Worker, kill: bool = True) -> J:
                """What it worked on; another worker takes its place."""
                selector.unregister(worker)
                self.deaths += kill
                if kill:
                    worker.end(kill=True)  # before it is forgotten: an interrupted end is tried again
                else:
                    worker.let_go()
                    self._left.append(worker)
                self._alive.remove(worker)
                return running.pop(worker).job

            looked = time.monotonic()
            try:
                while queue or running or alone:
                    if not queue and not running:
                        queue.append(alone.popleft())
                    hand_out()
                    # a finite wait, to look at the limits
                    for key, _ in selector.select(0.5):
                        worker = cast(Worker, key.fileobj)
                        answer = worker.answer()
                        if worker not in running:  # it had nothing to do, and died
                            selector.unregister(worker)
                            worker.end(kill=True)
                            self._alive.remove(worker)
                            continue
                        if answer is not None and not answer.unread:
                            job = gone(worker, kill=False) if answer.leaving else running.pop(worker).job
                            deaths.pop(id(job), None)
                            if answer.error is not None:
                                raise answer.error
                            yield job, answer.result
                        else:
                            why = _how_it_ended(worker.how_it_ended()) if answer is None else answer.unread
                            job = gone(worker)
                            count = deaths[id(job)] = deaths.get(id(job), 0) + 1
                            if count == 1:
                                queue.appendleft(job)
                            elif count == 2:
                                alone.append(job)
                            else:
                                del deaths[id(job)]
                                yield job, Killed(why)
                        hand_out()  # at once: what goes on from this one finds in this worker what it left there
                    now = time.monotonic()
                    if now - looked > STOPPED_S:
                        for one in running.values():
                            one.ends += now - looked
                    looked = now
                    for worker in [late for late, one in running.items() if now > one.ends]:
                        # the consumer may have been busy since it answered, or since another one was looked at
                        if worker not in running or worker.answered():
                            continue
                        job = gone(worker)
                        deaths.pop(id(job), None)
                        yield job, Killed(_too_long(self._limit_s(job)))
            finally:
                for worker in running:  # nobody asks for their answers any more
                    self._alive.remove(worker)
                    self._left.append(worker)

    def _hand_out(
        self, work: Callable[[J], R], job: J, running: dict[Worker, _Running], selector: DefaultSelector
    ) -> None:
        """Give a job to a worker that has none; the last one that had one, or a new one.

        Raises:
            ConfigError: no worker process can be started.
        """
        ends = time.monotonic() + self._limit_s(job)
        worker = next((worker for worker in self._alive if not worker.busy), None)
        if worker is None:
            worker = self._start()
            selector.register(worker, EVENT_READ)
            ends += START_S
        running[worker] = _Running(job, ends)
        worker.give(work, job)

    def _start(self) -> Worker:
        worker = Worker()
        self._alive.append(worker)  # before there is a process: an interruption meanwhile finds it
        try:
            worker.start(dict.fromkeys(THREAD_VARIABLES, "1"))
        except OSError as error:
            self._alive.remove(worker)
            raise ConfigError("worker processes cannot be started", seen=error) from error
        return worker

    def close(self, kill: bool = False) -> None:
        workers = [*self._alive, *self._left]
        for worker in workers:  # all at once, not one after the other
            worker.let_go()
        for worker in workers:
            worker.end(kill)
        self._alive, self._left = [], []  # not before: an interrupted close is tried again


def _too_long(limit_s: float) -> str:
    return (
        f"it took longer than {limit_s:.0f} s and was ended; if it only needs longer, raise run.frame_limit_s"
    )


_WANT_OF_MEMORY = ("SIGKILL", "SIGABRT", "SIGSEGV", "SIGBUS")
"""By which the system ends what takes too much, and libraries themselves when they find none."""


def _how_it_ended(code: int | None) -> str:
    """What the exit code of a worker says about the way it ended."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            hint = ", often for want of memory" if name in _WANT_OF_MEMORY else ""
            return f"its worker process was ended by {name}{hint}"
    return (
        "its worker process was ended by a library, often for want of memory"
        if code
        else "its worker process ended without an answer"
    )
