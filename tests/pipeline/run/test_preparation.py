"""Memory that is asked for, and the template, before the stages."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from fake_runs import calls, go

from mimicme.pipeline.errors import MimicmeError, UsageError
from mimicme.pipeline.run import preparation
from mimicme.pipeline.template import template_source_digest


def with_template(workspace, fake):
    """Stages one of which takes the template, which is there as `prepare_template` leaves it."""
    workspace.template.parent.mkdir()
    workspace.template.write_bytes(b"prepared")
    face = workspace.root.parent / "face.obj"
    record = {
        "declared": str(face),
        "source": template_source_digest(str(face)),
        "digest": "0123",
    }
    (workspace.template.parent / "source.json").write_text(json.dumps(record))
    return fake.READ, replace(fake.FIT, uses_template=True), fake.PAINT, fake.BUNDLE


def test_template_that_is_named_but_not_there(make, fake):
    workspace = make()
    stages = with_template(workspace, fake)
    face = workspace.root.parent / "face.obj"
    assert go(workspace, fake, last="paint", stages=stages).code == 0
    calls(workspace)
    face.unlink()  # moved away: what was prepared from it is still good
    assert go(workspace, fake, last="paint", stages=stages).code == 0
    assert calls(workspace) == []
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace("face.obj", "fcae.obj"))
    for more in ({}, {"dry_run": True}):
        with pytest.raises(MimicmeError, match=r"fcae\.obj"):
            go(workspace, fake, last="paint", stages=stages, **more)


def test_a_template_that_is_large_for_the_memory_is_told_before_the_night(make, fake, monkeypatch):
    workspace = make()
    read, fit, paint, bundle = with_template(workspace, fake)
    with h5py.File(workspace.template, "w") as file:
        file["vertices"] = np.zeros((50_000, 3), np.float32)
    stages = (
        read,
        replace(fit, takes=lambda settings, vertices: settings.steps * vertices / 1000),
        replace(paint, takes=lambda settings, vertices: settings.size),
        bundle,
    )
    said = {}
    for limit in (None, 1700, 1800):
        monkeypatch.setattr(preparation, "address_space_mb", lambda limit=limit: limit)
        for steps in (2, 3):
            more = {"stages": stages, "sets": [f"fit.steps={steps}"], "last": "paint", "force": True}
            said[limit, steps] = "address space here, and 'fit' takes" in go(workspace, fake, **more).err
    assert said == {
        (None, 2): False,
        (None, 3): False,
        (1700, 2): False,  # 1,600 and 100 MB
        (1700, 3): True,
        (1800, 2): False,
        (1800, 3): False,
    }
    calls(workspace)
    monkeypatch.setattr(preparation, "address_space_mb", lambda: 1700)
    again = go(workspace, fake, stages=stages, sets=["fit.steps=3"], last="paint")
    assert calls(workspace) == [] and "address space" not in again.err  # nothing is to be made


def test_memory_is_told_of_the_stages_that_run(make, fake, monkeypatch):
    """Where only a later one is made anew, an earlier one that takes more runs nowhere."""
    workspace = make()
    read, fit, paint, bundle = with_template(workspace, fake)
    with h5py.File(workspace.template, "w") as file:
        file["vertices"] = np.zeros((50_000, 3), np.float32)
    fit = replace(fit, takes=lambda settings, vertices: 300.0)
    stages = read, fit, replace(paint, takes=lambda settings, vertices: 50.0 * settings.size), bundle
    monkeypatch.setattr(preparation, "address_space_mb", lambda: 1700)  # 1,600 and 100 MB

    def told(size):
        said = go(workspace, fake, stages=stages, sets=[f"paint.size={size}"], last="paint").err
        return [
            name for name in ("fit", "paint") for _ in range(said.count(f"space here, and '{name}' takes"))
        ]

    assert told(1) == ["fit"]
    assert told(2) == []
    assert told(3) == ["paint"]
    # S2, which has more frames, comes first
    shutil.rmtree(workspace.root / "fit/S1")
    assert told(4) == ["fit", "paint"]  # of S2 paint alone; then of S1 fit, which takes more
    shutil.rmtree(workspace.root / "fit/S2")
    assert told(5) == ["fit"]  # and paint takes less


def test_too_little_memory_refuses_what_is_to_be_made_again(make, fake, monkeypatch):
    """What then failed would be missing in a release that had it."""
    workspace = make()
    stages = with_template(workspace, fake)
    go(workspace, fake, last="paint", stages=stages)
    before = {path: path.read_bytes() for path in workspace.root.glob("*/*/*.h5")}

    def too_little():
        raise UsageError("no process may have the memory here")

    monkeypatch.setattr(preparation, "refuse_too_little", too_little)
    assert go(workspace, fake, last="paint", stages=stages).code == 0  # nothing is to be made
    with pytest.raises(UsageError, match="no process may have the memory here"):
        go(workspace, fake, last="paint", stages=stages, sets=["fit.steps=5"])
    assert {path: path.read_bytes() for path in workspace.root.glob("*/*/*.h5")} == before


def test_for_nobody_no_template_is_prepared(make, fake, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation.Preparation, "template", lambda _: pytest.fail("asked for"))
    table = tmp_path / "subjects.csv"
    table.write_text("subject,consent\nS1,no\nS2,no\n")
    workspace = make()
    stages = (fake.READ, replace(fake.FIT, uses_template=True), fake.PAINT, fake.BUNDLE)
    result = go(workspace, fake, stages, sets=(f"metadata.file={table}",))
    assert result.code == 1 and "nobody is left in it" in result.err


def test_who_ends_a_run_before_it_began_is_told_to_give_the_same_command(make, fake, monkeypatch):
    """`status` knows nothing of such a run."""

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation.Preparation, "template", interrupted)
    workspace = make()
    result = go(workspace, fake)
    assert result.code == 130
    assert "Interrupted before any sequence was begun: give the same command again." in result.err
    assert "mimicme status" not in result.err and not workspace.runs()
