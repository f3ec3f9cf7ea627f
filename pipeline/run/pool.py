"""Worker processes: one BLAS, OpenMP and TBB thread each, and the death of one does not end the others' work.

Work is handed out one piece a worker at a time.  When a worker is killed (out of memory, a crash in C code),
the pieces that were being worked on at that moment - never more than there are workers - are tried again one
by one, each alone in a fresh worker, so that the one that kills its worker is identified; everything else goes
on in parallel.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from mimicme.pipeline.errors import ConfigError, MissingDependencyError

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
SCHEDULER_TIMEOUT_S = 30
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


_ONE_AT_A_TIME = threading.Lock()


def single_threaded(work: Callable[[J], R], job: J) -> R:
    """Run a job in a process that somebody else started, with one thread for every numerical library from then on.

    A process that was started with several threads does one job after the other all the same: caches are made once,
    the memory is that of one worker, and what is written does not depend on what another thread does.  The number of
    threads is not put back.
    """
    from threadpoolctl import threadpool_limits

    with _ONE_AT_A_TIME:
        limit_threads()  # libraries that are loaded later
        threadpool_limits(1)  # those that are loaded already
        return work(job)


class Killed:
    """Stands for the result of a job whose worker died."""

    def __init__(self, why: str) -> None:
        self.why = why


class Pool(Protocol):
    """Runs jobs somewhere and gives each back with its result, as they finish.

    The queue is emptied; what is put into it while results are taken - to its left end, when it should come
    first - is done too.
    """

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]: ...

    def close(self, kill: bool = False) -> None: ...


def make_pool(jobs: int, backend: str = "loky", scheduler: str | None = None) -> Pool:
    """A pool.

    Args:
        jobs: number of worker processes; 0: work in this process (for a debugger; a crash then ends the run).
        backend: `loky` or `dask`.
        scheduler: address of the dask scheduler.

    Raises:
        ConfigError: arguments that do not fit.
        MissingDependencyError: dask is asked for and not installed.
    """
    if backend not in ("loky", "dask"):
        raise ConfigError(
            "there is no such backend", where="--backend", seen=backend, expected="loky or dask"
        )
    if jobs < 0:
        raise ConfigError("the number of jobs cannot be negative", where="--jobs", seen=jobs)
    if backend == "dask":
        if not scheduler:
            raise ConfigError(
                "the dask backend needs --scheduler ADDRESS", expected="as in tcp://127.0.0.1:8786"
            )
        return DaskPool(scheduler)
    if scheduler:
        raise ConfigError("--scheduler goes with --backend dask")
    return InProcessPool() if jobs == 0 else LokyPool(jobs)


class InProcessPool:
    """Runs jobs in this process, one after the other."""

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        while queue:
            job = queue.popleft()
            yield job, work(job)

    def close(self, kill: bool = False) -> None:
        pass


class LokyPool:
    """Runs jobs in worker processes of this machine; they stay alive, with their caches, until `close`."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: Any = None

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        from concurrent.futures import FIRST_COMPLETED, wait

        while queue:
            running: dict[Any, J] = {}
            suspects: list[J] = []
            executor = self._start(self.workers)
            try:
                while queue or running:
                    while queue and len(running) < self.workers:
                        future = executor.submit(work, queue[0])  # may find the pool broken
                        running[future] = queue.popleft()
                    # a finite wait lets Ctrl-C through at once
                    done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        job = running.pop(future)
                        if self._died(future):
                            suspects.append(job)
                        else:
                            yield job, future.result()
                    if suspects:
                        break
            except _broken() as error:  # noqa: B030 - a tuple made at run time, loky is imported late
                if not running and not suspects:
                    raise ConfigError("worker processes cannot be started", seen=error) from error
            if suspects or running:
                for future, job in running.items():
                    # whatever was finished in the same instant is kept
                    if future.done() and not self._died(future):
                        yield job, future.result()
                    else:
                        suspects.append(job)
                self.close(kill=True)
                for job in suspects:
                    yield job, self._retry_alone(work, job)

    def _retry_alone(self, work: Callable[[J], R], job: J) -> R | Killed:
        """Run one job in a worker of its own."""
        try:
            answer: R = self._start(1).submit(work, job).result()
            return answer
        except _broken() as error:  # noqa: B030
            return Killed(_how_it_ended(str(error)))
        finally:
            self.close(kill=True)

    def _died(self, future: Any) -> bool:
        return isinstance(future.exception(), _broken())

    def _start(self, workers: int) -> Any:
        if self._executor is None:
            from loky import ProcessPoolExecutor

            # a worker that grew too large ended between two jobs and another took its place
            warnings.filterwarnings("ignore", "A worker (stopped|was restarted) while some jobs", UserWarning)
            growth = os.environ.get(GROWTH_VARIABLE, str(MAX_GROWTH_BYTES))
            self._executor = ProcessPoolExecutor(
                max_workers=workers,
                env=dict.fromkeys(THREAD_VARIABLES, "1") | {GROWTH_VARIABLE: growth},
                initializer=_begin_worker,
                initargs=(os.getpid(),),
            )
        return self._executor

    def close(self, kill: bool = False) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, kill_workers=kill)
            self._executor = None  # not before: an interrupted close is tried again


class DaskPool:
    """Runs jobs on the workers of a dask scheduler; all must see the same files under the same names.

    Nobody knows how the workers were started, so each job sees to it that it has one thread.
    """

    def __init__(self, scheduler: str) -> None:
        try:
            import threadpoolctl  # noqa: F401 - the workers, which have what is installed here, need it
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError(
                "the dask backend needs a package that is not installed",
                seen=error.name,
                todo="Install it with: pip install 'mimicme[dask]'",
            ) from error
        try:
            self._client = Client(scheduler, timeout=SCHEDULER_TIMEOUT_S)
            self._client.wait_for_workers(1, timeout=SCHEDULER_TIMEOUT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(
                "the dask scheduler cannot be used", where="--scheduler", seen=f"{scheduler}: {error}"
            ) from error

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        futures: dict[Any, J] = {}
        completed = as_completed([])

        def submit() -> None:
            while queue:
                # pure=False: the work is done for its files, an equal call must not be answered from a cache
                future = self._client.submit(single_threaded, work, queue[0], pure=False)
                futures[future] = queue.popleft()
                completed.add(future)

        submit()
        for future in completed:
            job = futures.pop(future)
            try:
                yield job, future.result()
            except KilledWorker as error:
                yield job, Killed(f"the workers that tried it died ({type(error).__name__})")
            submit()

    def close(self, kill: bool = False) -> None:
        if kill:
            with suppress(Exception):
                self._client.cancel(list(self._client.futures.values()), force=True)
        self._client.close()


def _broken() -> tuple[type[BaseException], ...]:
    from loky import BrokenProcessPool
    from loky.process_executor import ShutdownExecutorError

    return (BrokenProcessPool, ShutdownExecutorError)


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
