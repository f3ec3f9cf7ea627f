"""Depth first: people pass through the stages one after the other, and no item begins before what it waits for."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
from fake_runs import GOOD, calls, digests, go

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.run import flow as flow_module
from mimicme.pipeline.run import runner
from mimicme.pipeline.run.flow import legs
from mimicme.pipeline.run.forecast import records_of
from mimicme.pipeline.run.runlog import read_costs

MANY = {
    f"S{person}/{name}": ["a" * (1 + person)] * (1 + k)
    for person in range(6)
    for k, name in enumerate(("neutral", "smile", "wide"))
}
"""Six people, each with a neutral and two more sequences."""


def order(workspace):
    return [(call[0], call[1]) for call in calls(workspace)]


def test_a_person_is_finished_before_the_next_but_one_begins(make, fake):
    workspace = make(MANY)
    go(workspace, fake, jobs=0)
    made = order(workspace)
    people = [item.split("/")[0] for _, item in made]
    last = {person: len(people) - 1 - people[::-1].index(person) for person in people}
    first = {person: people.index(person) for person in people}
    ready = runner.READY_FOR_A_WORKER
    begun = sorted(first, key=first.__getitem__)
    assert begun[0] == "S0"  # as many frames as the others, and the first by name
    # what begins waits until few jobs are ready, so that at most two people are on their way
    assert ready < 6 and all(last[a] < first[c] for a, c in zip(begun, begun[2:], strict=False))
    assert made.index(("paint", "S0/neutral")) < made.index(("read", "S2/wide"))


@pytest.mark.parametrize("jobs", [0, 2])
@pytest.mark.parametrize("stages", ["STAGES", "WITH_SUBJECT"])
def test_nothing_begins_before_what_it_waits_for(make, fake, jobs, stages):
    workspace = make(MANY)
    flow = getattr(fake, stages)
    result = go(workspace, fake, flow, jobs=jobs)
    assert result.code == 0
    made = order(workspace)
    assert len(made) == len(set(made)) == 18 * (len(flow) - 1)
    place = {what: k for k, what in enumerate(made)}
    for stage in flow[:-1]:
        for item in MANY:
            person = item.split("/")[0]
            own = place[stage.name, item]
            assert all(place[need, item] < own for need in stage.needs)
            if stage.scope in ("neutral", "subject") and not item.endswith("neutral"):
                assert place[stage.name, f"{person}/neutral"] < own
            if stage.scope == "subject" and item.endswith("neutral"):
                assert all(place[n, f"{person}/{s}"] < own for n in stage.needs for s in ("smile", "wide"))


def test_what_an_items_end_costs_does_not_grow_with_its_subject(make, fake, monkeypatch):
    looked: list[int] = []
    waits = flow_module._Person._waits

    def counted(person, place, item, *made):
        looked[-1] += 1
        return waits(person, place, item, *made)

    monkeypatch.setattr(flow_module._Person, "_waits", counted)
    for count in (8, 32):
        looked.append(0)
        sequences = {"S0/neutral": ["a"]} | {f"S0/e{k:02d}": ["a"] for k in range(1, count)}
        result = go(make(sequences, name=str(count)), fake, fake.WITH_SUBJECT, jobs=0)
        assert result.code == 0
    assert looked[1] < 4.5 * looked[0]


def test_what_waits_for_all_sequences_begins_when_all_are_there(make, fake):
    workspace = make(MANY)
    result = go(workspace, fake, fake.WITH_CORPUS, jobs=2)
    assert result.code == 0
    made = order(workspace)
    names = [stage for stage, _ in made]
    first = names.index("learn")
    assert {item for stage, item in made[:first] if stage == "fit"} == set(MANY)
    last = len(names) - 1 - names[::-1].index("learn")
    assert "paint" not in names[:last]


def test_legs_are_cut_at_what_waits_for_everything():
    names = ["read", "learn", "agree", "paint"]
    assert list(legs(names, lambda name: name == "learn")) == [("read",), ("learn",), ("agree", "paint")]
    assert list(legs(names, lambda name: False)) == [tuple(names)]
    assert list(legs(names[:2], lambda name: True)) == [("read",), ("learn",)]


def test_a_sequence_that_fails_stops_neither_its_person_nor_the_others(make, fake):
    workspace = make(MANY | {"S3/smile": ["fail"]})
    result = go(workspace, fake, jobs=2)
    assert result.counts("read") == (17, 0, 1, 0) and result.counts("paint") == (17, 0, 0, 1)
    assert json.loads((workspace.root / "failures/read/S3/smile.json").read_text())["item"] == "S3/smile"


def test_any_number_of_jobs_makes_the_same_bytes(make, fake):
    made = []
    for jobs in (0, 1, 3):
        workspace = make(MANY, name=str(jobs))
        go(workspace, fake, fake.WITH_SUBJECT, jobs=jobs)
        made.append(digests(workspace))
    assert made[0] == made[1] == made[2]


def numbers_of_workers(workspace):
    found = {}
    for stage, item, worker, _ in calls(workspace):
        found.setdefault(item, {})[stage] = worker
    return found


def test_what_waits_for_nothing_else_is_made_by_the_same_worker(make, fake):
    workspace = make(MANY)
    assert go(workspace, fake, jobs=2).code == 0
    made = numbers_of_workers(workspace)
    assert all(workers["fit"] == workers["paint"] for workers in made.values())
    assert len({workers["fit"] for workers in made.values()}) == 2


@pytest.mark.parametrize("jobs", [0, 2])
@pytest.mark.parametrize("stages", ["STAGES", "WITH_SUBJECT", "WITH_CORPUS"])
def test_stretches_change_no_byte(make, fake, monkeypatch, jobs, stages):
    """The records of what goes along are those that would have been made when its turn comes."""
    made = []
    words = MANY | {"S1/smile": ["reject", "note"], "S4/neutral": ["fail"]}
    for name, follower in (("alone", lambda *_: None), ("stretches", flow_module.Plan.follower)):
        with monkeypatch.context() as patched:
            patched.setattr(flow_module.Plan, "follower", follower)
            workspace = make(words, name=name)
            result = go(workspace, fake, getattr(fake, stages), jobs=jobs)
        made.append((digests(workspace), [result.counts(s.name) for s in getattr(fake, stages)]))
        calls(workspace)
        go(workspace, fake, getattr(fake, stages))
        assert {call[1] for call in calls(workspace)} == {"S4/neutral"}  # nothing else is out of date
    assert made[0] == made[1]


@pytest.mark.parametrize("jobs", [0, 2])
def test_what_does_not_need_what_failed_is_made_all_the_same(make, fake, jobs):
    def picky(task, out):
        if task.sequence.item.sequence == "smile" and not (task.captures.root.parent / "mild").exists():
            raise InputError("it does not please")
        agree(task, out)

    agree = fake.AGREE.compute
    picky_one = replace(fake.AGREE, scope="sequence", compute=picky)
    workspace, stages = make(MANY), (fake.READ, fake.FIT, picky_one, fake.PAINT, fake.BUNDLE)
    result = go(workspace, fake, stages, jobs=jobs)
    assert result.counts("agree") == (12, 0, 6, 0)
    assert result.counts("paint") == (18, 0, 0, 0)
    made = order(workspace)
    assert len(made) == len(set(made))
    # mended, it is made, and what is there already is not
    (workspace.captures.root.parent / "mild").touch()
    assert go(workspace, fake, stages, jobs=jobs).counts("paint") == (0, 18, 0, 0)
    assert {stage for stage, _ in order(workspace)} == {"agree"}


def test_what_is_there_does_not_go_along(make, fake):
    workspace = make(MANY)
    go(workspace, fake)
    before = digests(workspace)
    calls(workspace)
    (workspace.root / "fit/S1/smile.h5").unlink()
    go(workspace, fake)
    # the same as before: what was made from it is current
    assert order(workspace) == [("fit", "S1/smile")]
    go(workspace, fake, force=True)
    assert len(order(workspace)) == 54
    assert digests(workspace) == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_what_a_worker_made_and_did_not_say_is_not_made_again(make, fake):
    """It dies between the two."""
    workspace = make(GOOD)

    def dies(task, out):
        from mimicme.pipeline.run import work

        mark, real = task.captures.root.parent / "died", work.read_entry

        def once(path):
            if path.parts[-3] == "fit" and path.name == "smile.h5" and path.exists() and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path)

        fit(task, out)
        work.read_entry = once

    fit = fake.FIT.compute
    stages = tuple(replace(s, compute=dies) if s is fake.FIT else s for s in fake.STAGES)
    assert go(workspace, fake, stages, jobs=1).code == 0
    assert (workspace.root.parent / "died").exists()
    made = order(workspace)
    assert len(made) == len(set(made)) == 12
    # nobody knows what it took
    costs = read_costs(workspace.runs())
    assert ("fit", "S1/smile") not in costs and len(costs) == 12 - 1
    (line,) = (
        r for r in records_of(workspace.runs()[-1]) if (r.get("stage"), r.get("item")) == ("fit", "S1/smile")
    )
    assert line["outcome"] == "done" and not {"seconds", "cpu_s", "peak_mb"} & set(line)
