"""Worker processes: one BLAS, OpenMP and TBB thread each, and the death of one does not end the others' work.

Work is handed out one piece a worker at a time; a piece goes on with what follows from it (`worker.following`), and
where pieces are over sooner than their ends are noticed, a worker is given some ahead.  Those are taken back from it
where another one has nothing to do, or its present one takes long.  When a worker is killed (out of memory, a crash in
C code), the piece that it was working on is tried again in a fresh one, at last alone; everything else goes on in
parallel.
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
from collections.abc import Callable, Iterable, Iterator
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Protocol, TypeVar, cast

from mimicme.pipeline.errors import ConfigError, OutputError
from mimicme.pipeline.run.worker import Worker, following

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
LISTEN_S = 0.25
"""So old an answer may grow after which its worker has something to do."""
AHEAD_S = 2 * LISTEN_S
"""So much a worker is given ahead, by the mean of how long jobs take: they differ."""
SHORT_S = 8 * LISTEN_S
"""Where jobs take longer, by the mean, none is given ahead, however many workers there are."""
LATE_S = 2 * SHORT_S
"""Who is at a job, with what follows from it, for longer has none ahead: what it had is taken back."""
NEWEST = 0.1
"""What the newest counts in the mean of how long jobs take."""
MOST_AHEAD = 8
AHEAD_BYTES = (64 << 10) // MOST_AHEAD
"""So many jobs a worker has ahead at most, and none that is larger: together, and with as many that were taken back and
that it has yet to pass over, they have room on their way to it (`worker.SEND_BYTES`), so that this process need not
wait for a worker that hangs."""
_UNKNOWN_S = 1e3
"""Longer than any job that is worth it."""
STOPPED_S = 10.0
"""Two looks at the limits lie `LISTEN_S` apart.  Where they lie further apart than this, everything was stopped in
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
    first - is done too.  What a job says follows from its result (`after`, if it has it) is done right after it, where
    it was done, and given back likewise.  Where all that is ready is handed on at once, a job's `priority`, if it has
    one, stands for its place: the larger, the sooner.

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
            job: J | None = queue.popleft()
            while job is not None:
                result = work(job)
                done, job = job, following(job, result)
                yield done, result

    def close(self, kill: bool = False) -> None:
        pass


class _Listener:
    """Hears workers: who has nothing more to do at once, and what the others say when it is asked for."""

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._words, self._bells = DefaultSelector(), DefaultSelector()
        for worker in workers:
            self.add(worker)

    def add(self, worker: Worker) -> None:
        self._words.register(worker.says, EVENT_READ, worker)
        self._bells.register(worker.rings, EVENT_READ, worker)

    def remove(self, worker: Worker) -> None:
        self._words.unregister(worker.says)
        self._bells.unregister(worker.rings)

    def listen(self, to_every_word: bool) -> list[Worker]:
        """Who has said something, or is gone; waited for, though not for long.

        Args:
            to_every_word: whether whatever is said ends the wait, and not only who has nothing more to do.
        """
        said = self._words.select(0)
        if not said:
            (self._words if to_every_word else self._bells).select(LISTEN_S)
            said = self._words.select(0)
        for key, _ in self._bells.select(0):
            cast(Worker, key.data).heard()
        return [cast(Worker, key.data) for key, _ in said]

    def close(self) -> None:
        self._words.close()
        self._bells.close()


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
        self._job_s = _UNKNOWN_S
        """What a job takes of late, with what follows from it; see `_room_ahead`."""
        self._alive: list[Worker] = []
        self._left: list[Worker] = []
        """Those whose job nobody asks for any more, or that end by themselves."""

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        ends: dict[Worker, float] = {}  # of who is at work: when its job takes too long (`time.monotonic`)
        deaths: dict[int, int] = {}  # of workers, by the identity of the job that they were at
        alone: deque[J] = deque()
        listener = _Listener(self._alive)
        self._job_s = _UNKNOWN_S  # these may be other jobs

        def hand_out() -> None:
            while queue:
                ahead = None
                if len(ends) >= self.workers:
                    ahead = self._room_ahead(len(queue))
                    if ahead is None:
                        return
                if not self._hand_out(work, queue[0], ends, listener, ahead):
                    return
                queue.popleft()

        def gone(worker: Worker, kill: bool = True) -> list[J]:
            """What it was given and is not over with; another worker takes its place."""
            listener.remove(worker)
            self.deaths += kill
            if kill:
                worker.end(kill=True)  # before it is forgotten: an interrupted end is tried again
            else:
                worker.let_go()
                self._left.append(worker)
            self._alive.remove(worker)
            del ends[worker]
            left = list(worker.jobs)
            worker.jobs.clear()
            return left

        looked = time.monotonic()
        try:
            while queue or ends or alone:
                if not queue and not ends:
                    queue.append(alone.popleft())
                hand_out()
                # where somebody has nothing to do, whatever is said may give it something
                for worker in listener.listen(to_every_word=len(ends) < self.workers):
                    if worker not in ends:  # it had nothing to do, and died
                        listener.remove(worker)
                        worker.end(kill=True)
                        self._alive.remove(worker)
                        continue
                    job, count = worker.jobs[0], len(worker.jobs)
                    answer = worker.answer()
                    if answer is not None and not answer.unread:
                        deaths.pop(id(job), None)
                        if len(worker.jobs) < count:  # nothing follows from it
                            self._job_s += NEWEST * (answer.seconds - self._job_s)
                        if answer.leaving:
                            queue.extendleft(reversed(gone(worker, kill=False)))
                        elif worker.busy:
                            ends[worker] = time.monotonic() + self._limit_s(worker.jobs[0])
                        else:
                            del ends[worker]
                        if answer.error is not None:
                            raise answer.error
                        yield job, answer.result
                    else:
                        why = _how_it_ended(worker.how_it_ended()) if answer is None else answer.unread
                        # what it had ahead is not to blame
                        queue.extendleft(reversed(gone(worker)[0 if answer else 1 :]))
                        count = deaths[id(job)] = deaths.get(id(job), 0) + 1
                        if count == 1:
                            queue.appendleft(job)
                        elif count == 2:
                            alone.append(job)
                        else:
                            del deaths[id(job)]
                            yield job, Killed(why)
                    hand_out()  # at once: what goes on from this one finds in this worker what it left there
                self._take_back(queue, idle=len(ends) < self.workers)
                now = time.monotonic()
                if now - looked > STOPPED_S:
                    for worker in ends:
                        ends[worker] += now - looked
                looked = now
                for worker in [late for late, end in ends.items() if now > end]:
                    # the consumer may have been busy since it answered, or since another one was looked at
                    if worker not in ends or worker.answered():
                        continue
                    job, *ahead = gone(worker)
                    queue.extendleft(reversed(ahead))
                    deaths.pop(id(job), None)
                    yield job, Killed(_too_long(self._limit_s(job)))
        finally:
            listener.close()
            for worker in ends:  # nobody asks for their answers any more
                self._alive.remove(worker)
                self._left.append(worker)

    def _hand_out(
        self,
        work: Callable[[J], R],
        job: J,
        ends: dict[Worker, float],
        listener: _Listener,
        ahead: Worker | None,
    ) -> bool:
        """Give a job to a worker that has none, or a new one.

        Args:
            ahead: who is given it though it has one; None: nobody.

        Returns:
            whether it was given away.

        Raises:
            ConfigError: no worker process can be started.
        """
        if ahead is not None:
            given = ahead.give(work, job, AHEAD_BYTES)
            if not given:
                self._job_s = _UNKNOWN_S  # large jobs are long ones; a while later it may be tried again
            return given
        limit = time.monotonic() + self._limit_s(job)
        worker = next((worker for worker in self._alive if not worker.busy), None)
        if worker is None:
            worker = self._start()
            listener.add(worker)
            limit += START_S
        ends[worker] = limit
        return worker.give(work, job)

    def _room_ahead(self, ready: int) -> Worker | None:
        """Who is to be given a job though it has one; None: nobody.

        Somebody is where several workers are over with theirs in `LISTEN_S`, so that this process need not be woken for
        each.  Not with the last that are ready, which would only be taken back; nor who is long at a job.

        Args:
            ready: jobs that nobody has.
        """
        if ready <= self.workers or self._job_s > min(self.workers * LISTEN_S, SHORT_S):
            return None
        in_time = [worker for worker in self._alive if worker.at_it_s() < LATE_S]
        worker = min(in_time, key=lambda worker: len(worker.jobs), default=None)
        if worker is None:
            return None
        ahead = len(worker.jobs) - 1
        return worker if ahead < MOST_AHEAD and ahead * self._job_s < AHEAD_S else None

    def _take_back(self, queue: deque[J], idle: bool) -> None:
        """Put to the left of the queue what lies ahead of workers that are long at a job; where it would stay empty, of
        the one that is at it for longest.

        Args:
            idle: whether a worker has nothing to do.
        """
        having = sorted(
            (worker for worker in self._alive if len(worker.jobs) > 1), key=Worker.at_it_s, reverse=True
        )
        for worker in having:
            # what it has answered, and nobody has looked at, is not what it is at
            late = worker.at_it_s() > LATE_S and not worker.answered()
            if late or (idle and not queue):
                queue.extendleft(reversed(worker.take_back()))

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


def side_by_side(pool: Pool, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
    """The results of jobs, as they finish.

    Raises:
        OutputError: a worker died over one.
    """
    with contextlib.closing(as_generator(pool.map(work, deque(jobs)))) as outcomes:
        for _, result in outcomes:
            if isinstance(result, Killed):
                raise OutputError("a worker died while it wrote a part of the release", seen=result.why)
            yield result


def as_generator(outcomes: Iterator[Any]) -> Any:
    """As a generator, so that it can be closed."""
    yield from outcomes
