"""What is noted of an item that is over."""

from __future__ import annotations

import json

import pytest
from fake_runs import GOOD, go, state

from mimicme.pipeline.numerics.memory import not_enough
from mimicme.pipeline.run import work


def test_failure_is_recorded_and_the_others_arrive(make, fake):
    workspace = make(GOOD | {"S1/smile": ["fail"], "S2/sad": ["bug"]})
    result = go(workspace, fake, jobs=2)
    assert result.code == 1
    assert result.counts("read") == (2, 0, 2, 0)
    assert result.counts("fit") == (2, 0, 0, 2)
    record = json.loads((workspace.root / "failures/read/S2/sad.json").read_text())
    assert record["kind"] == "ZeroDivisionError"
    assert "fake_stages.py" in record["traceback"]
    assert "S1/smile: read failed: 0000.obj: this capture cannot be used." in result.out
    assert state(workspace, fake)["read"]["S1/smile"] == "failed"
    assert state(workspace, fake)["paint"]["S1/smile"] == "blocked"
    assert workspace.release.is_file()
    # mended, it is done and its record goes
    (workspace.captures.root / "S1/smile/0000.obj").write_text("fine")
    assert go(workspace, fake).counts("read") == (1, 2, 1, 0)
    assert not (workspace.root / "failures/read/S1/smile.json").exists()
    assert state(workspace, fake)["paint"]["S1/smile"] == "done"


@pytest.mark.parametrize("absent", [False, True])
def test_want_of_memory_while_a_checkpoint_is_looked_at_fails_its_item_alone(make, fake, monkeypatch, absent):
    workspace, real = make(), work.read_entry

    def short(path):
        if path.parts[-3:] == ("fit", "S1", "smile.h5") and path.exists() != absent:
            raise MemoryError
        return real(path)

    monkeypatch.setattr(work, "read_entry", short)
    result = go(workspace, fake)
    assert result.code == 1 and result.stages["fit"].failed == 1 and result.stages["read"].failed == 0
    assert f"S1/smile: fit failed: {not_enough()}" in result.out
    monkeypatch.undo()
    assert go(workspace, fake).code == 0
