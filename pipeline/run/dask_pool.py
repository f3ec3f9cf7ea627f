"""Workers of a dask scheduler, on this machine or on many: they may die, come late, or be of another installation.

All must see the same files under the same names.  A worker that computes with other code or other libraries would write
other bytes under the same fingerprints, so each is asked what it has before it is given work, and refused by name.  One
that joins later is asked by the first job that it is given.
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from mimicme.pipeline.errors import ConfigError, MissingDependencyError
from mimicme.pipeline.run.pool import Killed, limit_threads
from mimicme.pipeline.run.worker import following

SCHEDULER_TIMEOUT_S = 30
"""For one answer of the scheduler, or of a worker that is asked what it has."""
ASK_EVERY_S = 60.0
"""How often the scheduler is asked whether it is there while jobs are worked on; its machine may die without a word."""
MOST_SILENCES = 3
"""In a row: a scheduler that has much to do may once be late, and a night is not ended for that."""
MOST_REFUSALS = 20
"""Of one job: where so many workers in a row that may not do it were given it, something else is wrong."""
COMPUTES = ("numpy", "scipy", "numba", "h5py", "opencv-python-headless", "open3d", "Pillow")
"""Libraries whose version may change what is written."""

J = TypeVar("J")
R = TypeVar("R")
_ONE_AT_A_TIME = threading.Lock()

_ASKED = """
def computes_with():
    try:
        from mimicme.pipeline.run.dask_pool import computes_with
        return computes_with()
    except ImportError as error:
        return {"mimicme": f"not there ({error})"}
"""


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


@lru_cache(maxsize=1)
def computes_with() -> dict[str, str]:
    """What of this process may change what is written: versions, and a digest of this program's own code."""
    root = Path(__file__).parents[2]
    code = hashlib.sha256()
    for folder in ("pipeline", "stages"):
        for path in sorted((root / folder).rglob("*.py")):
            code.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    found = {"code of mimicme": code.hexdigest()[:12], "python": platform.python_version()}
    for name in ("mimicme", *COMPUTES):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def differs(theirs: object) -> str:
    """In words, what a worker has otherwise than this process; empty: nothing.

    Args:
        theirs: what it says it has; or what asking it raised.
    """
    if not isinstance(theirs, Mapping):
        return f"it cannot be asked ({type(theirs).__name__}: {theirs})"
    if str(theirs.get("mimicme", "")).startswith("not there"):
        return f"mimicme is {theirs['mimicme']}"
    ours = computes_with()
    said = [
        f"{name} is {theirs.get(name, 'not there')} and not {ours.get(name, 'absent')}"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name)
    ]
    return ", ".join(said)


class Refused:
    """The answer of a worker that may not do a job."""


def checked(ours: Mapping[str, str], work: Callable[[J], R], job: J) -> R | Refused:
    """Run a job in a worker that has what the run has; another says so and touches nothing."""
    return single_threaded(work, job) if computes_with() == dict(ours) else Refused()


class DaskPool:
    """Runs jobs on the workers of a dask scheduler.

    A worker that dies costs the items that it had, which others are given.  The scheduler blames each of these for the
    death, also one that only waited there for its turn; so an item that it gives up after three deaths
    (`distributed.scheduler.allowed-failures`) is tried once more when nothing else runs, and has failed when it kills
    then too.

    Args:
        scheduler: its address.
        say: is told of workers that are refused.

    Raises:
        MissingDependencyError: dask is not installed.
        ConfigError: the scheduler does not answer, has no worker, or none that may be used; from `map`: it went away.
    """

    def __init__(self, scheduler: str, say: Callable[[str], None] = lambda _: None) -> None:
        try:
            import threadpoolctl  # noqa: F401 - the workers, which have what is installed here, need it
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError(
                "the dask backend needs a package that is not installed",
                seen=error.name,
                todo="Install it with: pip install 'mimicme[dask]'",
            ) from error
        self._say, self._address = say, scheduler
        self.deaths = 0
        try:
            self._client = Client(scheduler, timeout=SCHEDULER_TIMEOUT_S)
            self._client.wait_for_workers(1, timeout=SCHEDULER_TIMEOUT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(
                "the dask scheduler cannot be used", where="--scheduler", seen=f"{scheduler}: {error}"
            ) from error
        try:
            refused, used = self._refuse()
        except BaseException:
            self.close()
            raise
        if not used:  # they stay: whoever runs the scheduler may look at them
            self.close()
            raise ConfigError(
                "no dask worker can be used",
                where="--scheduler",
                seen="; ".join(refused),
                expected="workers with what is installed here",
                todo="Start them from this environment, or install the same there.",
            )

    def _refuse(self, going: bool = False) -> tuple[list[str], int]:
        """Ask every worker what it has, and send away those that have something else.

        Args:
            going: jobs wait; where all are sent away, they wait for those that come.

        Returns:
            what is said of those; how many are left.
        """
        asked: dict[str, Any] = {"__name__": "__main__"}  # so that it is sent as it is, not by name
        exec(_ASKED, asked)
        try:
            answers, names = self._client.sync(self._answers, asked["computes_with"])
        except (OSError, TimeoutError, CancelledError) as error:
            raise self._gone(error) from error
        wrong = {address: why for address, theirs in answers.items() if (why := differs(theirs))}
        said = [f"worker {names[address]} at {address}: {why}" for address, why in wrong.items()]
        for sentence in said:
            self._say(f"Refused: {sentence}")
        if wrong and (going or len(wrong) < len(answers)):
            with suppress(Exception):  # one that has gone is not in the way either
                self._client.sync(self._send_away, list(wrong))
        return said, len(answers) - len(wrong)

    async def _answers(self, question: Callable[[], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What each worker says, or why it says nothing, by address; and their names.  None is waited for too long."""
        client: Any = self._client
        found = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), SCHEDULER_TIMEOUT_S)
        names = {address: worker.get("name", address) for address, worker in found["workers"].items()}
        asking = {
            address: asyncio.ensure_future(client.run(question, workers=[address], on_error="return"))
            for address in names
        }
        if asking:
            await asyncio.wait(asking.values(), timeout=SCHEDULER_TIMEOUT_S)
        answers: dict[str, Any] = {}
        for address, one in asking.items():
            if not one.done():
                one.cancel()
                answers[address] = TimeoutError(f"no answer in {SCHEDULER_TIMEOUT_S} s")
            elif (error := one.exception()) is not None:
                answers[address] = error
            elif address in one.result():  # else it has gone
                answers[address] = one.result()[address]
        return answers, names

    async def _send_away(self, workers: list[str]) -> None:
        client: Any = self._client
        going = client.retire_workers(workers=workers, close_workers=True, remove=True)
        gone = await asyncio.wait_for(going, SCHEDULER_TIMEOUT_S)
        for address in set(workers) - set(gone):
            # it holds an answer that no other worker can take over: it would stay, and never do the jobs that it was
            # given; what is lost with it others make again
            leaving = client.scheduler.unregister(address=address, stimulus_id="refused by mimicme")
            await asyncio.wait_for(leaving, SCHEDULER_TIMEOUT_S)

    def _gone(self, why: object) -> ConfigError:
        return ConfigError(
            "the dask scheduler went away",
            where="--scheduler",
            seen=f"{self._address}: {why}",
            todo="See to it, then run again: what is done stays.",
        )

    def _finished(self, completed: Any) -> Iterator[Any]:
        """Futures as they are finished; meanwhile the scheduler is asked now and then whether it is there.

        Raises:
            ConfigError: it is not.
        """
        client: Any = self._client
        asked, silences = time.monotonic(), 0
        while not completed.is_empty():
            if completed.has_ready():
                yield next(completed)
            elif time.monotonic() - asked < ASK_EVERY_S:
                time.sleep(0.02)
            else:
                try:
                    client.sync(client.scheduler.identity, n_workers=0, callback_timeout=SCHEDULER_TIMEOUT_S)
                    silences = 0
                except (
                    OSError,
                    TimeoutError,
                    AttributeError,
                ) as error:  # there is none in a client that closed
                    silences += 1
                    if silences == MOST_SILENCES:
                        why = f"no answer in {SCHEDULER_TIMEOUT_S} s, {silences} times in a row"
                        raise self._gone(why) from error
                asked = time.monotonic()

    def map(self, work: Callable[[J], R], queue: deque[J]) -> Iterator[tuple[J, R | Killed]]:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        futures: dict[Any, J] = {}
        refusals: dict[int, int] = {}  # by the identity of the job
        blamed: set[int] = set()  # likewise: those that the scheduler gave up beside others
        alone: deque[J] = deque()
        completed = as_completed([])

        def submit() -> None:
            if alone and not queue and not futures:
                queue.append(alone.popleft())
            while queue:
                # pure=False: the work is done for its files, an equal call must not be answered from a cache
                try:
                    future = self._client.submit(
                        checked,
                        computes_with(),
                        work,
                        queue[0],
                        pure=False,
                        priority=getattr(queue[0], "priority", 0),
                    )
                except (OSError, CancelledError) as error:
                    raise self._gone(error) from error
                futures[future] = queue.popleft()
                completed.add(future)

        submit()
        for future in self._finished(completed):
            job = futures.pop(future)
            try:
                answer = future.result()
            except KilledWorker as error:
                self.deaths += 1
                if id(job) not in blamed:
                    blamed.add(id(job))
                    alone.append(job)
                    future.release()
                    submit()
                    continue
                answer = Killed(f"the workers that tried it died ({type(error).__name__})")
            except CancelledError as error:  # of every job, where the connection was lost for too long
                raise self._gone(getattr(error, "reason", error)) from error
            except ImportError:  # the worker has no mimicme
                answer = Refused()
            future.release()  # a worker that holds nothing can be sent away
            if isinstance(answer, Refused):
                count = refusals[id(job)] = refusals.get(id(job), 0) + 1
                self._refuse(going=True)
                if count < MOST_REFUSALS:
                    queue.appendleft(job)
                    submit()
                    continue
                answer = Killed(f"{count} workers that have something else than this run were given it")
            refusals.pop(id(job), None)
            blamed.discard(id(job))
            goes_on = None if isinstance(answer, Killed) else following(job, answer)
            if goes_on is not None:
                queue.appendleft(goes_on)
            yield job, answer
            submit()

    def close(self, kill: bool = False) -> None:
        if kill:
            with suppress(Exception):
                self._client.cancel(list(self._client.futures.values()), force=True)
        with suppress(Exception):  # the scheduler may be gone, or hang
            self._client.close(timeout=SCHEDULER_TIMEOUT_S)
