"""What a person says of frames counts, through the real command line; and taken back, everything is as it was."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from shared_helpers import SMALL, mimicme_here

from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
from mimicme.pipeline.release import Release

HEAD = "subject,sequence,frame,verdict,reason\n"


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Iterator[Path]:
    """A workspace of S000: neutral (frame 0) and surprise (frames 0 to 2), worked up."""
    shutil.copytree(small_workspace, tmp_path / "ws")
    yield tmp_path / "ws"
    shutil.rmtree(tmp_path / "ws")


def digests(workspace: Path) -> dict[str, str]:
    """Of the release and every checkpoint."""
    paths = [workspace / "release.h5", *sorted(workspace.glob("*/S000/*.h5"))]
    return {str(p.relative_to(workspace)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def run(workspace: Path, *more: object, code: int = 0) -> str:
    return mimicme_here("run", workspace, "--jobs", 0, *SMALL, *more, code=code).stdout


def assert_as_before_up_to_register(before: dict[str, str], workspace: Path) -> None:
    """What follows is made of that and of nothing else."""
    run(workspace, "--until", "register")
    stages = ("ingest", "landmarks", "align", "register")
    again = {name: digest for name, digest in digests(workspace).items() if name.startswith(stages)}
    assert len(again) == 8 and again.items() <= before.items()


def would_run(workspace: Path) -> str:
    return mimicme_here("run", workspace, "--dry-run", *SMALL).stdout


def made(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name, digest in after.items() if before[name] != digest}


def test_a_bad_frame_is_gone_from_the_release_and_comes_back(workspace: Path) -> None:
    before = digests(workspace)
    review = workspace / "review.csv"
    review.write_text(HEAD + "S000,surprise,1,bad,drifted cheek\nS000,surprise,2,good,\n")
    said = would_run(workspace)
    assert "register: 0 of 2 would run" in said and "pack: 1 of 1 would run" in said
    assert "what review.csv says changed: 1 frame called bad now" in said
    status = mimicme_here("status", workspace, *SMALL).stdout
    assert "review: 2 of 4 frames looked at, 1 called bad; landmarks of 0 corrected" in status
    assert json.loads(mimicme_here("status", workspace, "--json", *SMALL).stdout)["review"]["bad"] == 1
    failed = mimicme_here("status", workspace, "--failed", *SMALL).stdout
    assert "S000/surprise frame 1: called bad in review.csv: drifted cheek" in failed
    run(workspace)
    assert made(before, digests(workspace)) == {"release.h5"}
    with Release(workspace / "release.h5") as release:
        frame = release.frame(2)
        assert (frame.sequence, frame.number) == ("surprise", 1)
        assert not frame.ok and frame.reason == "review" and "drifted cheek" in frame.message
        assert np.isnan(frame.vertices).all() and frame.texture is None
        assert [release.frame(k).ok for k in range(4)] == [True, True, False, True]
    mimicme_here("verify", workspace / "release.h5")
    # in other words: packed again, and nothing else
    review.write_text(review.read_text().replace("drifted", "swollen"))
    assert "1 frame called bad now" in would_run(workspace)
    review.write_text(HEAD)
    assert "0 frames called bad now" in would_run(workspace)
    run(workspace)
    assert digests(workspace) == before


def test_a_bad_frame_is_not_the_neutral(workspace: Path) -> None:
    before = digests(workspace)
    review = workspace / "review.csv"
    review.write_text(HEAD + "S000,neutral,*,bad,half a face\n")
    assert "review.csv calls frame 0 bad now" in would_run(workspace)
    said = mimicme_here("run", workspace, "--jobs", 0, *SMALL)
    assert "S000: the neutral is 'surprise'" in said.stderr
    with Release(workspace / "release.h5") as release:
        assert [release.frame(k).ok for k in range(4)] == [False, True, True, True]
        assert release.frame(0).reason == "review" and "half a face" in release.frame(0).message
    why = "every frame of 'neutral', labelled neutral, was called bad in review.csv"
    assert f"S000: the neutral is 'surprise': {why}" in said.stderr
    # no fault of a run, wherever it begins
    for command in ("register", "pack"):
        told = mimicme_here(command, workspace, "--jobs", 0, *SMALL)
        assert "rejected by the stages before" not in told.stderr
    mimicme_here("register", workspace, "--jobs", 0, "--only", "S000/neutral", *SMALL)
    changed = made(before, digests(workspace))
    assert {"align/S000/neutral.h5", "register/S000/surprise.h5", "release.h5"} <= changed
    assert not any(name.startswith(("ingest", "landmarks", "align/S000/surprise")) for name in changed)
    review.unlink()
    assert_as_before_up_to_register(before, workspace)


def test_corrected_landmarks_outrank_the_file_beside_the_frame(workspace: Path, small_captures: Path) -> None:
    before = digests(workspace)
    beside = small_captures / "captures" / "S000" / "surprise" / "0001.ljson"
    points = read_landmarks(beside.read_bytes(), beside.name).points
    points[30] += (4.0, 0.0, 0.0)
    correction = workspace / "corrections" / "S000" / "surprise" / "1.ljson"
    correction.parent.mkdir(parents=True)
    correction.write_bytes(write_landmarks(Landmarks(points), correction.name))
    said = would_run(workspace)
    assert "the corrected landmarks of frame 1 changed [S000/surprise]" in said
    assert "ingest: 0 of 2 would run" in said and "landmarks: 1 of 2 would run" in said
    assert "landmarks of 1 corrected" in mimicme_here("status", workspace, *SMALL).stdout
    with Release(workspace / "release.h5") as release:
        old = release.frame(2)
    run(workspace)
    with Release(workspace / "release.h5") as release:
        new = release.frame(2)
    moved = np.linalg.norm(new.vertices - old.vertices, axis=1)
    assert new.ok and 0.3 < moved.max() < 8
    changed = made(before, digests(workspace))
    flow = ("landmarks", "align", "register", "refine", "bake", "project")
    assert {f"{stage}/S000/surprise.h5" for stage in flow} | {"release.h5"} <= changed
    # the neutral's registration stays; its frames' reference is made of those of all sequences
    stays = ("ingest", "landmarks", "align", "register")
    assert not {f"{stage}/S000/neutral.h5" for stage in stays} & changed
    shutil.rmtree(workspace / "corrections")
    assert_as_before_up_to_register(before, workspace)


def test_what_is_wrong_ends_the_command_before_anything_is_done(workspace: Path) -> None:
    before = digests(workspace)
    (workspace / "review.csv").write_text(HEAD + "S000,surprise,1,awful,\n")
    for command in ("run", "status", "report"):
        said = mimicme_here(command, workspace, code=2).stderr
        assert "review.csv line 2: the verdict is not known; seen 'awful'" in said
    assert digests(workspace) == before


def test_a_verdict_on_nothing_is_said_by_every_command_until_it_is_mended(
    workspace: Path, tmp_path: Path
) -> None:
    (workspace / "review.csv").write_text(HEAD + "S000,surprise,16.0,bad,\n")
    sentence = "review.csv line 2 counts for nothing: there is no frame 16 in 'S000/surprise'"
    said = run(workspace)
    assert said.index(sentence) > said.index("pack")  # at the end, where it is seen
    assert sentence in mimicme_here("status", workspace, *SMALL).stdout
    assert sentence in mimicme_here("status", workspace, "--failed", *SMALL).stdout
    assert sentence in mimicme_here("report", workspace).stderr
    assert sentence in mimicme_here("view", workspace, "--output", tmp_path / "v.html").stderr
    assert sentence in mimicme_here("landmarks", workspace, "--review").stderr
    (workspace / "review.csv").write_text(HEAD + "S000,surprise,1.0,bad,\n")
    assert (
        "counts for nothing" not in run(workspace)
        and "1 called bad" in mimicme_here("status", workspace, *SMALL).stdout
    )


def test_a_withdrawn_subject_is_gone_from_the_review_too(workspace: Path) -> None:
    (workspace / "review.csv").write_text(HEAD + "S000,surprise,1,bad,S000 blinks\nS001,smile,1,good,\n")
    correction = workspace / "corrections" / "S000" / "surprise" / "1.ljson"
    correction.parent.mkdir(parents=True)
    correction.write_text("{}")
    mimicme_here("withdraw", workspace, "S000")
    assert not (workspace / "corrections" / "S000").exists()
    with (workspace / "review.csv").open() as handle:
        assert [row["subject"] for row in csv.DictReader(handle)] == ["S001"]
