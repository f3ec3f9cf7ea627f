"""The release at the end of a run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import h5py
import pytest
from fake_runs import GOOD, go, state

from mimicme.pipeline.errors import UsageError


def test_a_release_of_a_part_holds_what_was_asked_for(make, fake, tmp_path):
    workspace = make()
    for options in ({}, {"first": "bundle"}, {"first": "bundle", "last": "bundle"}):
        part = tmp_path / "part.h5"
        assert go(workspace, fake, only=("S1/smile",), output=part, **options).result.release == part
        with h5py.File(part) as release:
            assert [f"{s}/{n}" for s in release for n in release[s]] == ["S1/smile"]
        part.unlink()


def test_a_release_that_cannot_be_written_where_it_is_wanted_is_told_before_anything_is_done(make, fake):
    workspace = make()
    (workspace.root / "s1.h5").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        go(workspace, fake, output=workspace.root / "s1.h5")
    assert not workspace.runs()


def test_failing_release_is_recorded(make, fake):
    workspace = make()

    def broken(**more):
        raise OSError("no space left")

    stages = (*fake.STAGES[:3], replace(fake.BUNDLE, everything=broken))
    result = go(workspace, fake, stages=stages)
    assert result.code == 1
    assert result.counts("bundle") == (0, 0, 1, 0)
    assert "no space left" in result.out
    assert state(workspace, fake)["bundle"] == {"release": "failed"}
    assert go(workspace, fake).code == 0
    assert state(workspace, fake)["bundle"] == {"release": "done"}


def test_nothing_to_pack(make, fake):
    workspace = make()
    with pytest.raises(UsageError, match="nothing to bundle"):
        go(workspace, fake, first="bundle")


def test_what_was_rejected_before_is_told_beside_what_is_not_complete(make, fake):
    workspace = make(GOOD | {"S2/sad": ["reject", "g"], "S1/smile": ["fail"]})
    assert go(workspace, fake, last="paint").code == 1
    why = go(workspace, fake, first="bundle", last="bundle").why
    assert why == (
        "1 of 4 sequences not complete in the release",
        "1 frame rejected by the stages before",
    )


def test_frames_that_no_stage_looked_at_so_far_are_told_apart_from_rejected_ones(make, fake):
    """A release of what is there holds them without vertices, as it holds what was rejected."""
    workspace = make(GOOD | {"S2/sad": ["reject", "g"], "S1/smile": ["fail"]})
    go(workspace, fake, last="read", only=["S1"])
    go(workspace, fake, last="read", only=["S2/sad"])

    def bundle(**more):
        fake.bundle(**more)
        return SimpleNamespace(ok=0, rejected=8)

    stages = (
        *(replace(s, shapes=True) for s in fake.STAGES[:2]),
        fake.STAGES[2],
        replace(fake.BUNDLE, everything=bundle),
    )
    why = go(workspace, fake, stages, first="bundle", last="bundle").why
    assert why == (
        "4 of 4 sequences not complete in the release",
        "6 of 8 frames rejected in the release are not yet worked on",
        "1 frame rejected by the stages before",
    )
