"""Real dask workers, each a process of its own: killed, late, without the program, or with another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque

import pytest
from fake_runs import GOOD, HERE, calls, calls_seen, digests, go, wait_for

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.run import dask_pool

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mimicme":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
OTHER = """
from mimicme.pipeline.run import dask_pool
other = dask_pool.computes_with() | {"code of mimicme": "0123456789ab"}
dask_pool.computes_with = lambda: other
"""
ENDS_WITH_US = """
import os, signal, threading, time
def watch(parent=os.getppid()):
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
"""
"""Tests that are killed close nothing."""
SCHEDULER = """
from distributed.cli.dask_scheduler import main
main()
"""
WORKER = """
from distributed.cli.dask_worker import main
main()
"""


class Cluster:
    """A scheduler and workers, each in a process of its own."""

    def __init__(self, folder):
        self._file, self._log = folder / "scheduler.json", open(folder / "dask.log", "ab")  # noqa: SIM115
        self._processes, self.closed = [], False
        try:
            self._begin(folder)
        except BaseException:
            self.close()  # no fixture has it yet
            raise

    def _begin(self, folder):
        options = ["--port", "0", "--no-dashboard", "--host", "127.0.0.1"]
        self._start("-c", ENDS_WITH_US + SCHEDULER, *options, "--scheduler-file", self._file)
        wait_for(self._written, 60)
        self.address = json.loads(self._file.read_text())["address"]

    def _written(self):
        """Whether the scheduler has written its file to the end."""
        with contextlib.suppress(OSError, ValueError):
            return bool(json.loads(self._file.read_text()))
        return False

    def worker(self, name, first=""):
        """Start one; it joins when it is ready."""
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--name", name]
        return self._start("-c", ENDS_WITH_US + first + WORKER, self.address, *options)

    def _start(self, *words):
        path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
        environ = os.environ | {"PYTHONPATH": path, "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1h"}
        assert not self.closed  # by a thread that outlives its test
        process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=self._log, stderr=self._log, env=environ
        )
        self._processes.append(process)
        return process

    def workers(self):
        from distributed import Client

        with Client(self.address) as client:
            return {worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}

    def joined(self, *names):
        wait_for(lambda: self.workers() == set(names), 60)

    @property
    def scheduler(self):
        return self._processes[0]

    def close(self):
        """End all, and start no more."""
        self.closed = True
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._log.close()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


def when(condition, act):
    """Do something as soon as something is so, while the run goes on."""

    def wait():
        wait_for(condition, 60)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_of_two_workers_one_is_killed_and_the_bytes_are_those_of_loky(make, fake, cluster):
    words = GOOD | {"S2/sad": ["nap"] * 4}
    here, there = make(words, "loky"), make(words, "dask")
    assert go(here, fake, jobs=2).code == 0
    cluster.worker("one")
    cluster.worker("two")
    cluster.joined("one", "two")
    killed = []

    def working():
        killed[:] = [int(c[2]) for c in calls_seen(there) if c[:2] == ["read", "S2/sad"]][:1]
        return bool(killed)

    thread = when(working, lambda: os.kill(killed[0], signal.SIGKILL))
    result = go(there, fake, backend="dask", scheduler=cluster.address)
    thread.join()
    assert result.code == 0, result.out
    assert digests(there) == digests(here)
    workers = [int(c[2]) for c in calls(there) if c[:2] == ["read", "S2/sad"]]
    assert workers[0] == killed[0] and workers[-1] != killed[0]
    assert cluster.workers() <= {"one", "two"} and len(cluster.workers()) == 1


def test_a_worker_that_joins_late_goes_on_where_the_only_one_died(make, fake, cluster):
    workspace = make(GOOD | {"S1/smile": ["nap"] * 4})
    first = cluster.worker("first")
    cluster.joined("first")

    def replace():
        first.send_signal(signal.SIGKILL)
        first.wait()
        cluster.worker("late")

    thread = when(lambda: any(c[1] == "S1/smile" for c in calls_seen(workspace)), replace)
    assert go(workspace, fake, backend="dask", scheduler=cluster.address).code == 0
    thread.join()
    assert len({c[2] for c in calls(workspace)}) == 2


@pytest.mark.parametrize(
    ("first", "said"), [(WITHOUT, "mimicme is not there"), (OTHER, "code of mimicme is 0123456789ab")]
)
def test_a_worker_with_something_else_is_refused_by_name(make, fake, cluster, first, said):
    workspace = make()
    cluster.worker("strange", first)
    cluster.joined("strange")
    with pytest.raises(ConfigError, match="no dask worker can be used") as raised:
        go(workspace, fake, backend="dask", scheduler=cluster.address)
    assert "worker strange at tcp://" in str(raised.value) and said in str(raised.value)
    good = cluster.worker("good")
    cluster.joined("strange", "good")
    result = go(workspace, fake, backend="dask", scheduler=cluster.address)
    assert result.code == 0
    assert {int(c[2]) for c in calls(workspace)} == {good.pid}
    assert "Refused: worker strange at tcp://" in result.err and said in result.err
    assert cluster.workers() == {"good"}


@pytest.mark.parametrize("first", [WITHOUT, OTHER], ids=["without", "other"])
def test_a_strange_one_that_joins_late_does_nothing(make, fake, cluster, first):
    """It is the only one left when it is given a job."""
    workspace = make(GOOD | {"S1/smile": ["nap"] * 8})
    last: list[int] = []
    good = cluster.worker("good")
    cluster.joined("good")

    def exchange():
        strange = cluster.worker("strange", first)
        # one without the program may have joined and ended before anybody looks
        wait_for(lambda: strange.poll() is not None or "strange" in cluster.workers(), 60)
        good.kill()
        good.wait()
        last.append(cluster.worker("last").pid)

    thread = when(lambda: calls_seen(workspace), exchange)
    result = go(workspace, fake, backend="dask", scheduler=cluster.address)
    thread.join()
    assert result.code == 0, result.out
    assert {int(c[2]) for c in calls(workspace)} == {good.pid, *last}
    # one without the program may end over the first thing that it is sent, before it can be asked
    assert first == WITHOUT or "Refused: worker strange at tcp://" in result.err


def test_a_strange_one_that_holds_an_answer_is_sent_away(cluster):
    """dask keeps a worker whose answers no other can take over, and what it was given would wait for ever."""
    good = cluster.worker("good")
    cluster.joined("good")
    said = []
    pool = dask_pool.DaskPool(cluster.address, said.append)
    good.kill()
    good.wait()
    cluster.worker("strange", OTHER)
    cluster.joined("strange")
    held = pool._client.submit(int, "1")
    assert held.result() == 1
    assert pool._refuse(going=True)[1] == 0
    wait_for(lambda: not cluster.workers(), 60)
    cluster.worker("last")
    assert list(pool.map(int, deque(["2"]))) == [("2", 2)]
    assert len(said) == 1
    pool.close()


def test_a_scheduler_that_dies_ends_the_run_with_a_sentence(make, fake, cluster, monkeypatch):
    monkeypatch.setattr(dask_pool, "SCHEDULER_TIMEOUT_S", 3)
    workspace = make(GOOD | {"S1/smile": ["nap"] * 8})
    cluster.worker("good")
    cluster.joined("good")
    thread = when(lambda: calls_seen(workspace), cluster.scheduler.kill)
    with pytest.raises(ConfigError, match="the dask scheduler went away") as raised:
        go(workspace, fake, backend="dask", scheduler=cluster.address)
    thread.join()
    assert "run again" in str(raised.value)
    log = (max((workspace.root / "runs").iterdir()) / "log.jsonl").read_text().splitlines()
    last = json.loads(log[-1])
    assert last["event"] == "error" and "the dask scheduler went away" in last["message"]
    calls(workspace)
    assert go(workspace, fake).code == 0


def test_a_scheduler_that_hangs_ends_the_run(make, fake, cluster, monkeypatch):
    monkeypatch.setattr(dask_pool, "SCHEDULER_TIMEOUT_S", 2)
    monkeypatch.setattr(dask_pool, "ASK_EVERY_S", 0.2)
    workspace = make(GOOD | {"S1/smile": ["nap"] * 8})
    cluster.worker("good")
    cluster.joined("good")
    thread = when(lambda: calls_seen(workspace), lambda: cluster.scheduler.send_signal(signal.SIGSTOP))
    with pytest.raises(ConfigError, match="no answer in 2 s, 3 times in a row"):
        go(workspace, fake, backend="dask", scheduler=cluster.address)
    thread.join()


def test_a_worker_that_hangs_is_refused_by_name(make, fake, cluster, monkeypatch):
    monkeypatch.setattr(dask_pool, "SCHEDULER_TIMEOUT_S", 5)
    workspace = make()
    good, hangs = cluster.worker("good"), cluster.worker("hangs")
    cluster.joined("good", "hangs")
    hangs.send_signal(signal.SIGSTOP)
    result = go(workspace, fake, backend="dask", scheduler=cluster.address)
    assert result.code == 0
    assert {int(c[2]) for c in calls(workspace)} == {good.pid}
    assert "Refused: worker hangs at tcp://" in result.err and "no answer in 5 s" in result.err


def test_what_differs_is_said():
    ours = dask_pool.computes_with()
    assert dask_pool.differs(dict(ours)) == ""
    assert dask_pool.differs(ours | {"numpy": "1.0"}) == f"numpy is 1.0 and not {ours['numpy']}"
    assert "cannot be asked" in dask_pool.differs(ValueError("no"))
