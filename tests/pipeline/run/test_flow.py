"""Depth first: people pass through the stages one after the other, and no item begins before what it waits for."""

from __future__ import annotations

import json

import pytest
from fake_runs import calls, digests, go

from mimicme.pipeline.run import flow as flow_module
from mimicme.pipeline.run import runner
from mimicme.pipeline.run.flow import legs

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

    def counted(person, place, item):
        looked[-1] += 1
        return waits(person, place, item)

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
