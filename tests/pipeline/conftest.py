"""Workspaces for runs of stages that do almost nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from mimicme.pipeline.workspace import Workspace

# tests, and the workers of their runs, import the modules beside this one by their plain names
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def fake():
    """The stages that do almost nothing."""
    return importlib.import_module("fake_stages")


@pytest.fixture
def make(tmp_path, fake):
    """Makes a workspace of captures: `subject/sequence` -> the text of each frame."""
    from fake_runs import GOOD

    def make(sequences=GOOD, name="one", layout=""):
        base = tmp_path / name
        root = fake.captures(base / "captures", sequences)
        (base / "face.obj").write_text("v 0 0 0\n")
        (base / "face.ljson").write_text("{}")
        face = base / "face.obj"
        return Workspace.create(
            base / "work", captures=root, template=face, stages=fake.STAGES, layout=layout
        )

    return make


@pytest.fixture
def in_parts(make):
    """Makes one whose `S1/long` is worked in three parts: of one frame, of two and of two."""
    from fake_runs import LONG, cut

    def in_parts(name="one", frames=2, sequences=LONG):
        workspace = make(sequences, name)
        cut(workspace, frames)
        return workspace

    return in_parts
