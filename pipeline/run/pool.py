"""Worker processes: one BLAS, OpenMP and TBB thread each, and the death of one does not end the others' work.

Work is handed out one piece a worker at a time.  When a worker is killed (out of memory, a crash in C code), the piece
that it was working on is tried again in a fresh one, at last alone; everything else goes on in parallel.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mimicme.pipeline.errors import ConfigError

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
GROWTH_VARIABLE = "LOKY_MAX_MEMORY_LEAK_SIZE"
"""Bytes by which a worker may grow after its first job; loky reads it in the worker as that starts, and ends a worker
between two jobs that grew by more.  A value set in the environment is kept."""
MAX_GROWTH_BYTES = 4 << 30
"""What it is set to.  loky's own 0.3 GB is for leaks; ours grow by what they keep: templates, factorisations."""

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
    """

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]: ...

    def close(self, kill: bool = False) -> None: ...


class InProcessPool:
    """Runs jobs in this process, one after the other."""

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        while queue:
            job = queue.popleft()
            yield job, work(job)

    def close(self, kill: bool = False) -> None:
        pass


@dataclass
class _Running:
    """A job that a worker has: which worker, and from when on it takes too long (`time.monotonic`)."""

    job: Any
    place: int
    ends: float


class LokyPool:
    """Worker processes of loky, each an executor of its own, so that the death of one takes no other with it.

    A job whose worker died is tried again beside the others, and when that worker dies too, once more when nothing
    else runs and it has the machine's memory for itself.  One that takes longer than its limit is ended with its
    worker, and not tried again.

    Args:
        workers: how many.
        limit_s: seconds that a job may take.
    """

    def __init__(self, workers: int, limit_s: Callable[[Any], float] = lambda job: math.inf) -> None:
        self.workers = workers
        self._limit_s = limit_s
        self._executors: dict[int, Any] = {}

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        from concurrent.futures import FIRST_COMPLETED, wait

        running: dict[Any, _Running] = {}
        deaths: dict[int, int] = {}  # of workers, by the identity of the job that they had
        alone: deque[J] = deque()
        while queue or running or alone:
            if not queue and not running:
                queue.append(alone.popleft())
            busy = {one.place for one in running.values()}
            for place in (place for place in range(self.workers) if place not in busy):
                if not queue:
                    break
                ends = (
                    time.monotonic() + self._limit_s(queue[0]) + (0 if place in self._executors else START_S)
                )
                future = self._submit(place, work, queue[0])
                running[future] = _Running(queue.popleft(), place, ends)
            # a finite wait lets Ctrl-C through at once
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                one = running.pop(future)
                if not self._died(future):
                    deaths.pop(id(one.job), None)
                    yield one.job, future.result()
                    continue
                self._end(one.place)
                count = deaths[id(one.job)] = deaths.get(id(one.job), 0) + 1
                if count == 1:
                    queue.appendleft(one.job)
                elif count == 2:
                    alone.append(one.job)
                else:
                    del deaths[id(one.job)]
                    yield one.job, Killed(_how_it_ended(str(future.exception())))
            now = time.monotonic()
            for future in [f for f, one in running.items() if now > one.ends and not f.done()]:
                one = running.pop(future)
                self._end(one.place)
                deaths.pop(id(one.job), None)
                yield one.job, Killed(_too_long(self._limit_s(one.job)))

    def _submit(self, place: int, work: Callable[[J], R], job: J) -> Any:
        """Hand a job to a worker.

        Raises:
            ConfigError: no worker process can be started.
        """
        try:
            return self._start(place).submit(work, job)
        except _broken():  # noqa: B030 - a tuple made at run time, loky is imported late
            self._end(place)
        try:
            return self._start(place).submit(work, job)
        except _broken() as error:  # noqa: B030
            raise ConfigError("worker processes cannot be started", seen=error) from error

    def _died(self, future: Any) -> bool:
        return isinstance(future.exception(), _broken())

    def _start(self, place: int) -> Any:
        if place not in self._executors:
            from loky import ProcessPoolExecutor

            # a worker that grew too large ended between two jobs and another took its place
            warnings.filterwarnings("ignore", "A worker (stopped|was restarted) while some jobs", UserWarning)
            growth = os.environ.get(GROWTH_VARIABLE, str(MAX_GROWTH_BYTES))
            self._executors[place] = ProcessPoolExecutor(
                max_workers=1,
                env=dict.fromkeys(THREAD_VARIABLES, "1") | {GROWTH_VARIABLE: growth},
                initializer=_begin_worker,
                initargs=(os.getpid(),),
            )
        return self._executors[place]

    def _end(self, place: int) -> None:
        """End a worker, whatever it is doing."""
        if place in self._executors:
            self._executors[place].shutdown(wait=True, kill_workers=True)
            del self._executors[place]  # not before: an interrupted end is tried again

    def close(self, kill: bool = False) -> None:
        ends = [
            threading.Thread(target=executor.shutdown, kwargs={"wait": True, "kill_workers": kill})
            for executor in self._executors.values()
        ]
        started = []
        for end in ends:  # all at once, not one after the other
            try:
                end.start()
                started.append(end)
            except RuntimeError:  # no memory for a thread
                end.run()
        for end in started:
            end.join()
        self._executors.clear()  # not before: an interrupted close is tried again


def _broken() -> tuple[type[BaseException], ...]:
    from loky import BrokenProcessPool
    from loky.process_executor import ShutdownExecutorError

    return (BrokenProcessPool, ShutdownExecutorError)


def _too_long(limit_s: float) -> str:
    return (
        f"it took longer than {limit_s:.0f} s and was ended; if it only needs longer, raise run.frame_limit_s"
    )


def _how_it_ended(text: str) -> str:
    """What a broken pool's message says about the way its worker ended."""
    for number in sorted(signal.Signals, key=int):
        if f"{number.name}(" in text or f"{{{-int(number)}}}" in text:
            hint = ", often for want of memory" if number.name == "SIGKILL" else ""
            return f"its worker process was ended by {number.name}{hint}"
    return "its worker process ended without an answer"


def _begin_worker(parent: int) -> None:
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
