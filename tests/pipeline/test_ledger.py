"""What a run writes down of the artefacts it has read, and when the next one believes it."""

from __future__ import annotations

import pytest
from fake_runs import go, state

from mimicme.pipeline import ledger
from mimicme.pipeline.workspace import Workspace

ODD = {"S1/neutral": ["a", "reject"], "S2/angry": ["note", "ee"]}


@pytest.fixture
def opened(monkeypatch):
    """The artefacts whose heads are read from their files, in order."""
    paths = []
    read = ledger._read_head

    def noted(path):
        paths.append(path)
        return read(path)

    monkeypatch.setattr(ledger, "_read_head", noted)
    return paths


def status_of(workspace, fake):
    from mimicme.pipeline.status import read_status

    return read_status(Workspace.open(workspace.root, environ={}), fake.STAGES).to_record()


def test_a_second_run_opens_no_artefact_and_says_the_same(make, fake, opened):
    workspace = make(ODD)
    first = go(workspace, fake)
    assert len(opened) == 6
    said = status_of(workspace, fake)
    del opened[:]
    second = go(workspace, fake)
    assert opened == []
    assert second.code == first.code == 1
    assert second.stages["read"].frames_rejected == first.stages["read"].frames_rejected == 1
    assert second.stages["read"].findings == first.stages["read"].findings != []
    workspace.notebook.unlink()
    assert status_of(workspace, fake) == said
    assert len(opened) == 6


def test_another_file_in_its_place_is_read(make, fake, opened):
    workspace = make(ODD)
    go(workspace, fake)
    path = workspace.root / "fit" / "S1" / "neutral.h5"
    path.write_bytes((workspace.root / "fit" / "S2" / "angry.h5").read_bytes())
    del opened[:]
    assert state(workspace, fake)["fit"] == {"S1/neutral": "stale", "S2/angry": "done"}
    assert opened == [path]


@pytest.mark.parametrize(
    "text",
    ["", "another program 7\n", '{}\n["x"]\n', "{first}\n[1, 2]\n", "{first}\n{{}}\n", "{first}\nnull\n"],
)
def test_a_notebook_that_cannot_be_read_is_none(make, fake, opened, text):
    workspace = make(ODD)
    go(workspace, fake)
    first = workspace.notebook.read_text().splitlines()[0]
    workspace.notebook.write_text(text.format(first=first) if "first" in text else text)
    del opened[:]
    go(workspace, fake)
    assert len(opened) == 6
    assert len(workspace.notebook.read_text().splitlines()) == 7


def test_what_is_gone_is_forgotten(make, fake):
    workspace = make(ODD)
    go(workspace, fake)
    assert "S2/angry" in workspace.notebook.read_text()
    workspace.forget("S2", ["read", "fit", "paint"])
    assert not workspace.notebook.exists()
    go(workspace, fake)
    assert "S2" not in workspace.notebook.read_text()
    assert len(workspace.notebook.read_text().splitlines()) == 4
