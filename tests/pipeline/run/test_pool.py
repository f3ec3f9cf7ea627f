"""Workers: those that die or grow, and those of dask."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_runs import GOOD, HERE, Steps, calls, child, digests, go

from mimicme.pipeline.errors import UsageError, raise_if_memory
from mimicme.pipeline.run import pool
from mimicme.pipeline.run.pool import THREAD_VARIABLES
from mimicme.pipeline.run.work import Job
from mimicme.pipeline.run.worker import GROWTH_VARIABLE


def test_parts_of_a_release_are_written_by_workers_without_a_limit(make, fake):
    """They are no jobs of a stage: what a frame may take says nothing of them."""
    lengths = []

    def bundle(*, side_by_side, **more):
        lengths.extend(side_by_side(len, ["a", "bb", "ccc"]))
        fake.bundle(**more)

    workspace = make()
    result = go(
        workspace, fake, stages=(*fake.STAGES[:3], replace(fake.BUNDLE, everything=bundle)), jobs=1,
        sets=["run.frame_limit_s=100"],
    )  # fmt: skip
    assert (result.code, sorted(lengths)) == (0, [1, 2, 3])
    assert workspace.release.is_file()


def step(job):
    with open(job.file, "a") as handle:
        handle.write(job.names[0])
    if job.names[0] in job.kills:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.names[0], os.getpid()


@pytest.fixture
def pools():
    """Makes a pool of workers."""
    made = []

    def make(*options):
        made.append(pool.LokyPool(*options))
        return made[-1]

    yield make
    for one in made:
        one.close(kill=True)


def test_what_follows_from_a_job_is_done_by_the_same_worker(pools, tmp_path):
    jobs = [Steps(name, str(tmp_path / name)) for name in ("abc", "def", "ghi", "jkl")]
    found = [(job.names, result) for job, result in pools(2).map(step, deque(jobs))]
    assert sorted(names for names, _ in found) == sorted(
        name[k:] for name in ("abc", "def", "ghi", "jkl") for k in range(3)
    )
    assert all(names[0] == name for names, (name, _) in found)
    by_stretch = {job.names: {pid for names, (_, pid) in found if names in job.names} for job in jobs}
    assert all(len(pids) == 1 for pids in by_stretch.values())
    here = [(job.names, result) for job, result in pool.InProcessPool().map(step, deque(jobs[:1]))]
    assert here == [("abc", ("a", os.getpid())), ("bc", ("b", os.getpid())), ("c", ("c", os.getpid()))]


def test_a_worker_that_dies_loses_the_one_that_it_was_at(pools, tmp_path):
    """What it did before is not done again, and what follows has not failed before it was tried."""
    file = tmp_path / "done"
    found = [
        (job.names, result) for job, result in pools(1).map(step, deque([Steps("abcd", str(file), "c")]))
    ]
    assert [names for names, _ in found] == ["abcd", "bcd", "cd"]
    assert isinstance(found[-1][1], pool.Killed)
    assert file.read_text() == "abccc"


def test_nobody_waits_for_the_end_of_what_follows(pools, tmp_path):
    """The second step ends when the result of the first has been used."""
    gate = tmp_path / "gate"

    def wait(job):
        end = time.monotonic() + 30
        while job.names == "b" and not gate.exists() and time.monotonic() < end:
            time.sleep(0.01)
        return gate.exists()

    found = []
    for job, result in pools(1).map(wait, deque([Steps("ab")])):
        found.append((job.names, result))
        gate.touch()
    assert found == [("ab", False), ("b", True)]


def test_each_step_has_a_limit_of_its_own(pools):
    workers = pools(1, lambda job: 60.0 if job.names == "e" else 4.0)

    def slowly(job):
        time.sleep({"e": 0.0, "h": 30.0}.get(job.names[0], 1.2))
        return job.names[0]

    def results(*stretches):
        return [result for _, result in workers.map(slowly, deque(Steps(names) for names in stretches))]

    assert results("e") == ["e"]  # it has started, and read what is to be done
    *found, last = results("abcdh")
    assert found == ["a", "b", "c", "d"]
    assert "longer than 4 s" in last.why


def test_short_jobs_are_given_ahead_and_large_ones_are_not(pools, monkeypatch):
    most = []
    give = pool.Worker.give

    def counted(worker, *args):
        given = give(worker, *args)
        most.append(len(worker.jobs) - 1)
        return given

    monkeypatch.setattr(pool.Worker, "give", counted)
    workers = pools(1)
    found = [result for _, result in workers.map(len, deque(["x" * k for k in range(300)]))]
    assert found == list(range(300))
    assert max(most) == pool.MOST_AHEAD  # they take no time
    assert most[-1] == 0  # and not the last ones: another may have nothing to do
    most.clear()
    large = ["x" * (pool.AHEAD_BYTES + k) for k in range(20)]
    assert [len(job) for job, _ in workers.map(len, deque(large))] == [len(job) for job in large]
    assert max(most) == 0


@dataclass(frozen=True)
class Long:
    """What stands for work: one job that takes long, until a gate is there, and others that take `after_s`."""

    folder: Path
    after_s: float

    def __call__(self, name):
        with (self.folder / "done").open("a") as stream:
            stream.write(name + "\n")
        end = time.monotonic() + 60
        while name == "long" and not (self.folder / "gate").exists() and time.monotonic() < end:
            time.sleep(0.05)
        if name.startswith("after"):
            time.sleep(self.after_s)


@pytest.fixture
def taken(monkeypatch):
    """What was taken back, in a list that fills."""
    names = []
    take_back = pool.Worker.take_back

    def noted(worker):
        back = take_back(worker)
        names.extend(back)
        return back

    monkeypatch.setattr(pool.Worker, "take_back", noted)
    return names


@pytest.mark.parametrize("limit", [6.0, 120.0])
def test_who_has_nothing_to_do_takes_what_lies_ahead_of_others(pools, tmp_path, taken, limit):
    """Whether the job before hangs until its limit, or ends by itself."""
    workers = pools(2, lambda job: limit if job == "long" else 120.0)
    names = [*(f"before{k}" for k in range(120)), "long", *(f"after{k}" for k in range(24))]
    found = {}
    for name, result in workers.map(Long(tmp_path, 0.02), deque(names)):
        found[name] = result
        if limit == 120.0 and len(found) == len(names) - 1:
            (tmp_path / "gate").touch()
    assert list(found)[-1] == "long"  # nothing waited for it
    assert isinstance(found["long"], pool.Killed) == (limit == 6.0)
    assert [name for name, result in found.items() if result is not None] == ["long"] * (limit == 6.0)
    assert taken and all(name.startswith("after") for name in taken)
    assert Counter((tmp_path / "done").read_text().split()) == Counter(names)  # each once


def test_a_job_does_not_lose_its_place_behind_one_that_takes_long(pools, tmp_path, taken, monkeypatch):
    """Though the others have enough to do without it."""
    monkeypatch.setattr(pool, "LATE_S", 0.5)
    names = [*(f"before{k}" for k in range(120)), "long", *(f"after{k}" for k in range(100))]
    found = []
    for name, _ in pools(2).map(Long(tmp_path, 0.04), deque(names)):
        found.append(name)
        if len(found) == len(names) - 1:
            (tmp_path / "gate").touch()
    early = taken[: pool.MOST_AHEAD // 2]
    assert early and max(found.index(name) for name in early) < len(names) - 30
    assert found[-1] == "long"
    assert Counter((tmp_path / "done").read_text().split()) == Counter(names)


def test_what_a_worker_had_ahead_when_it_died_is_done_once(pools, tmp_path):
    file = tmp_path / "done"
    names = [chr(k) for k in range(ord("A"), ord("A") + 200)]
    workers = pools(1)
    found = {
        job.names: result
        for job, result in workers.map(step, deque([Steps(n, str(file), names[150]) for n in names]))
    }
    assert sorted(found) == names
    assert [n for n, result in found.items() if isinstance(result, pool.Killed)] == [names[150]]
    assert Counter(file.read_text()) == Counter(names) + Counter({names[150]: 2})


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_worker_is_named_and_the_others_arrive(make, fake, jobs):
    # one that is being worked on beside the culprit is not blamed
    workspace = make(GOOD | {"S1/smile": ["kill"], "S2/sad": ["nap"]})
    result = go(workspace, fake, jobs=jobs)
    assert result.code == 1
    assert result.counts("read") == (3, 0, 1, 0)
    record = json.loads((workspace.root / "failures/read/S1/smile.json").read_text())
    assert record["kind"] == "Killed"
    assert "SIGKILL" in record["message"]
    assert list(workspace.root.rglob(".*.tmp")) == []


def test_a_worker_that_dies_takes_no_other_with_it(make, fake):
    """What is worked on beside it is worked once; it itself is tried beside the others, and once more alone."""
    workspace = make({"S1/smile": ["kill"], "S2/sad": ["nap"] * 3, "S2/glad": ["nap"] * 3})
    result = go(workspace, fake, jobs=3, last="read")
    assert result.counts("read") == (2, 0, 1, 0)
    made = calls(workspace)
    assert [len([c for c in made if c[1] == item]) for item in ("S1/smile", "S2/sad", "S2/glad")] == [3, 1, 1]
    assert made[-1][1] == "S1/smile"


def test_what_a_worker_left_unfinished_goes_also_where_another_then_did_the_work(make, fake):
    workspace = make(GOOD | {"S1/smile": ["kill once"]})
    result = go(workspace, fake, jobs=1)
    assert result.code == 0
    assert [c[1] for c in calls(workspace) if c[0] == "read"].count("S1/smile") == 2
    assert list(workspace.root.rglob(".*.tmp")) == []


def test_an_item_that_hangs_is_ended_at_its_limit(make, fake):
    # behind two longer ones: by then its worker has started
    workspace = make(GOOD | {"S1/smile": ["slow"]})
    began = time.monotonic()
    result = go(workspace, fake, jobs=1, sets=["run.frame_limit_s=5"])
    assert time.monotonic() - began < 30
    assert result.code == 1
    assert result.counts("read") == (3, 0, 1, 0)
    record = json.loads((workspace.root / "failures/read/S1/smile.json").read_text())
    assert "longer than 5 s" in record["message"] and "run.frame_limit_s" in record["message"]
    assert [c[1] for c in calls(workspace) if c[0] == "read"].count("S1/smile") == 1
    assert list(workspace.root.rglob(".*.tmp")) == []
    # the limit changes no result: nothing is made again because of it
    (workspace.captures.root / "S1/smile/0000.obj").write_text("fine")
    assert go(workspace, fake).counts("read") == (1, 3, 0, 0)


def test_what_has_answered_is_not_too_late():
    """Its answer waits while another one's result is being used, until after its limit."""
    workers = pool.LokyPool(2, lambda job: 1.0)
    try:
        for _ in workers.map(len, deque(["a", "b"])):  # both have started
            pass
        found = {}
        for job, result in workers.map(time.sleep, deque([0.01, 0.1, 0.11])):
            found[job] = result
            time.sleep(1.5)
        assert found == {0.01: None, 0.1: None, 0.11: None}
    finally:
        workers.close(kill=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_time_in_which_everything_was_stopped_does_not_count(monkeypatch):
    """As by Ctrl-Z, or by a scheduler that suspends a job."""
    monkeypatch.setattr(pool, "STOPPED_S", 1.0)
    workers = pool.LokyPool(1, lambda job: 2.0)
    try:
        assert [result for _, result in workers.map(len, deque(["a"]))] == [1]
        pid = workers._alive[0]._process.pid
        select = pool.DefaultSelector.select
        stopped = []

        def stop_once(self, timeout=None):
            if not stopped:
                stopped.append(pid)
                os.kill(pid, signal.SIGSTOP)
                time.sleep(3)  # this process too
                os.kill(pid, signal.SIGCONT)
                return []
            return select(self, timeout)

        monkeypatch.setattr(pool.DefaultSelector, "select", stop_once)
        assert list(workers.map(time.sleep, deque([1.0]))) == [(1.0, None)]
        ((_, late),) = workers.map(time.sleep, deque([30.0]))
        assert "longer than 2 s" in late.why
    finally:
        workers.close(kill=True)


@pytest.mark.parametrize(
    ("frames", "siblings", "limit", "expected"),
    [(3, 0, 10.0, 30.0), (3, 2, 10.0, 90.0), (0, 0, 10.0, 10.0), (3, 0, 0.0, math.inf)],
)
def test_the_limit_of_an_item_follows_its_frames(frames, siblings, limit, expected):
    task = SimpleNamespace(
        sequence=SimpleNamespace(frames=[None] * frames),
        siblings=dict.fromkeys(range(siblings)),
        part=None,
        parts=(),
        corpus=None,
    )
    assert Job(None, task, None, {}).limit_s(limit) == expected


@pytest.mark.parametrize("allowed", ["30e6", None])
def test_worker_that_grew_is_replaced_in_silence(make, fake, monkeypatch, allowed):
    monkeypatch.delenv(GROWTH_VARIABLE, raising=False)
    if allowed is not None:
        monkeypatch.setenv(GROWTH_VARIABLE, allowed)
    # the first is what growth is measured from
    workspace = make({"S1/0": ["x"], "S1/1": ["bloated"]} | {f"S1/{n}": ["nap"] for n in range(2, 6)})
    process = child(workspace, jobs=1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    # ours may keep more than that: what it keeps is why it works on quickly
    assert (len({c[2] for c in calls(workspace)}) > 1) == (allowed is not None)
    assert "UserWarning" not in err
    assert "A worker" not in err


def test_dask_without_address_or_package(make, fake):
    workspace = make()
    with pytest.raises(UsageError, match="--scheduler"):
        go(workspace, fake, backend="dask")


def test_dask_gives_the_same_bytes(in_parts, fake):
    distributed = pytest.importorskip("distributed")
    here = in_parts("one")
    go(here, fake, jobs=1)
    there = in_parts("two")
    many = dict.fromkeys(THREAD_VARIABLES, "2") | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with distributed.LocalCluster(1, threads_per_worker=2, env=many, dashboard_address=None) as cluster:
        assert go(there, fake, backend="dask", scheduler=cluster.scheduler_address).code == 0
    assert {c[3] for c in calls(there)} == {"1"}
    assert digests(there) == digests(here)


@pytest.mark.parametrize(("workers", "deaths"), [(2, 1), (1, 0)])
def test_a_dask_worker_that_is_killed_costs_its_own_item_alone(make, fake, workers, deaths):
    """Real worker processes; the item that kills whoever works on it is named, the others arrive, also one that waited
    in the same worker, which the scheduler blames as well."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    clean = make(GOOD, "clean")
    go(clean, fake, jobs=1)
    workspace = make(GOOD | {"S2/sad": ["kill"]}, "killed")
    environ = {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": deaths}),
        distributed.LocalCluster(
            workers, threads_per_worker=1, env=environ, dashboard_address=None
        ) as cluster,
    ):
        result = go(workspace, fake, backend="dask", scheduler=cluster.scheduler_address)
    assert result.code == 1
    assert result.counts("read") == (3, 0, 1, 0)
    assert "S2/sad: read failed" in result.out and "died" in result.out
    here, there = digests(clean), digests(workspace)
    assert {n: d for n, d in there.items() if n.endswith(".h5") and "/" in n} == {
        n: d for n, d in here.items() if n.endswith(".h5") and "/" in n and "S2/sad" not in n
    }


def test_dask_that_is_not_installed(make, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="pip install"):
        go(make(), fake, backend="dask", scheduler="tcp://127.0.0.1:8786")


def test_a_library_that_memory_does_not_hold_is_not_missing():
    with pytest.raises(MemoryError):
        raise_if_memory(ImportError("libOpen3D.so: failed to map segment from shared object"))
    with pytest.raises(MemoryError):
        raise_if_memory(OSError(12, "Cannot allocate memory"))
    raise_if_memory(ImportError("libGL.so.1: cannot open shared object file"))
