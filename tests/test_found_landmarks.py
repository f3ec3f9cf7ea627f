"""The real command line on captures without any landmark file: found, looked at, corrected by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from shared_helpers import SMALL, mimicme, mimicme_here

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import MissingDependencyError
from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import IBUG68, Landmarks, detector_weights
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
from mimicme.pipeline.release import Release


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """The synthetic captures without their landmark files."""
    folder = tmp_path_factory.mktemp("unmarked")
    shutil.copytree(small_captures / "captures", folder / "captures")
    for path in (folder / "captures").rglob("*.ljson"):
        path.unlink()
    return folder / "captures"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_captures: Path, unmarked: Path) -> Path:
    try:
        detector_weights.find()
    except MissingDependencyError as error:
        pytest.skip(str(error))  # without `make install`
    folder = tmp_path_factory.mktemp("found") / "ws"
    template = small_captures / "template" / "template.obj"
    mimicme_here("init", folder, "--captures", unmarked, "--template", template)
    mimicme("run", folder, "--jobs", 0, *SMALL)
    return folder


def test_captures_without_landmarks_become_a_release(workspace: Path, small_captures: Path) -> None:
    with Release(workspace / "release.h5") as release:
        frames = [release.frame(row) for row in range(4)]
        assert all(frame.ok for frame in frames)
        for frame in frames:
            assert (frame.landmark_source[17:] == 2).mean() > 0.8  # detected
            assert (frame.landmark_source[:6] == 3).mean() > 0.5  # the outline comes from the registered mesh
            assert 0.2 < frame.landmark_confidence[17:].mean() < 1
    done = mimicme_here("evaluate", workspace / "release.h5", "--truth", small_captures, "--json")
    figures = json.loads(done.stdout)["all"]
    # a band of 30 % around today's, so that a gain is seen too
    today = {"corr": 2.22, "s2m_median": 0.154, "lm": 1.66, "jitter": 1.67}
    assert {name: figures[name] for name in today} == pytest.approx(today, rel=0.3)


def test_a_whole_run_has_the_same_bytes_in_one_process_and_in_workers(
    workspace: Path, tmp_path: Path
) -> None:
    other = tmp_path / "ws"
    shutil.copytree(workspace, other, ignore=shutil.ignore_patterns("landmarks", "release.h5"))
    mimicme("landmarks", other, "--jobs", 1)
    for path in (workspace / "landmarks").rglob("*.h5"):
        assert path.read_bytes() == (other / path.relative_to(workspace)).read_bytes()


def test_looked_at_exported_corrected_and_used(workspace: Path, unmarked: Path, tmp_path: Path) -> None:
    one = mimicme_here("landmarks", workspace, "--review", "--per-subject", 1)
    assert "\n1 of 4 frames shown: --per-subject N shows more" in f"\n{one.stderr}"
    reviewed = mimicme_here("landmarks", workspace, "--review", "--per-subject", 4)
    assert "\n4 of 4 frames shown\n" in f"\n{reviewed.stderr}"
    said = reviewed.stdout.split()
    assert [Path(p).name for p in said] == ["landmarks.csv", "landmarks-01.png"]
    rows = Path(said[0]).read_text().splitlines()
    assert rows[0].startswith("subject,sequence,frame,confidence") and len(rows) == 5
    worth = [float(row.split(",")[3]) for row in rows[1:]]
    assert worth == sorted(worth)

    mimicme_here("landmarks", workspace, "--export", "pp", "--export-to", tmp_path, "--only", "*/neutral")
    files = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.pp")]
    assert files == ["S000/neutral/0000.pp"]
    mimicme_here(
        "landmarks", workspace, "--export", "pp", "--export-to", tmp_path, code=2
    )  # nothing is overwritten
    with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
        before = found["points"][0].astype(float)
    exported = read_landmarks((tmp_path / files[0]).read_bytes(), "0000.pp").points
    few = np.full((68, 3), np.nan)
    few[[36, 45, 30, 48, 54]] = exported[[36, 45, 30, 48, 54]] + [0, 0, 1.0]
    beside = unmarked / "S000" / "neutral" / "0000.pp"
    beside.write_bytes(write_landmarks(Landmarks(few), beside.name))
    try:
        mimicme_here("run", workspace, "--until", "landmarks", "--jobs", 0)
        with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
            assert np.flatnonzero(found["source"][0] == 1).tolist() == [30, 36, 45, 48, 54]
            np.testing.assert_allclose(found["points"][0][30], before[30] + [0, 0, 1], atol=0.01)
            others = np.flatnonzero(found["source"][0] == 2)
            assert len(others) > 30
            apart = np.linalg.norm(found["points"][0][others] - before[others], axis=1)
            assert np.nanmedian(apart) < 1.0
    finally:
        beside.unlink()


def test_of_an_exported_file_what_was_moved_is_by_hand_and_the_rest_is_as_found(
    workspace: Path, unmarked: Path, tmp_path: Path
) -> None:
    mimicme_here("landmarks", workspace, "--export", "ljson", "--export-to", tmp_path, "--only", "*/neutral")
    with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
        before = {name: found[name][0] for name in ("points", "source", "confidence")}
    beside = unmarked / "S000" / "neutral"
    exported = tmp_path / "S000" / "neutral"
    points = read_landmarks((exported / "0000.ljson").read_bytes(), "0000.ljson").points
    points[30] += [0, 0, 1.0]
    (exported / "0000.ljson").write_bytes(write_landmarks(Landmarks(points), "0000.ljson"))
    for name in ("0000.ljson", "0000.found"):
        shutil.copy(exported / name, beside)
    try:
        mimicme_here("run", workspace, "--until", "landmarks", "--jobs", 0)
        with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
            source = before["source"].copy()
            source[30] = 1
            assert found["source"][0].tolist() == source.tolist()
            rest = np.arange(68) != 30
            np.testing.assert_allclose(found["points"][0][rest], before["points"][rest], atol=0.01)
            np.testing.assert_allclose(found["confidence"][0][rest], before["confidence"][rest])
        points_of_no_size = [[10**400, 0, 0]] * 68
        (beside / "0000.found").write_text(
            json.dumps({"points": points_of_no_size, "confidence": [0.5] * 68})
        )
        mimicme_here("run", workspace, "--until", "landmarks", "--jobs", 0, code=1)
        failed = mimicme_here("status", workspace, "--failed").stdout
        assert "0000.found" in failed and "landmark-file" in failed
        (beside / "0000.found").unlink()
        mimicme_here("run", workspace, "--until", "landmarks", "--jobs", 0)
        with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
            assert (found["source"][0] == np.where(source > 0, 1, 0)).mean() > 0.9
    finally:
        for name in ("0000.ljson", "0000.found"):
            (beside / name).unlink(missing_ok=True)


@pytest.mark.parametrize("place", ["beside the frame", "corrections"])
def test_the_subjects_own_left_stays_so_from_export_to_run(
    workspace: Path, unmarked: Path, tmp_path: Path, place: str
) -> None:
    own = ("--set", "captures.sides=subject")
    only = ("--only", "*/neutral")
    mimicme_here(
        "run", workspace, "--until", "landmarks", "--jobs", 0
    )  # as found, whatever was corrected before
    mimicme_here("landmarks", workspace, "--export", "ljson", "--export-to", tmp_path, *only, *own)
    with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
        before = found["points"][0]
    exported = tmp_path / "S000" / "neutral"
    content = json.loads((exported / "0000.ljson").read_text())
    groups = {group["label"]: group["mask"] for group in content["labels"]}
    points = np.array(content["landmarks"]["points"], float)
    # +x is to the subject's left
    assert np.nanmean(points[groups["left_eye"], 0]) > np.nanmean(points[groups["right_eye"], 0]) + 30
    folder = unmarked / "S000" / "neutral"
    stem = "0000"
    if place == "corrections":
        folder, stem = workspace / "corrections" / "S000" / "neutral", "0"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for suffix in (".ljson", ".found"):
            shutil.copy(exported / f"0000{suffix}", folder / f"{stem}{suffix}")
        mimicme_here("run", workspace, "--until", "landmarks", "--jobs", 0, *only, *own)
        with Checkpoint(workspace / "landmarks" / "S000" / "neutral.h5") as found:
            assert found.statuses[0].ok
            np.testing.assert_allclose(found["points"][0], before, atol=0.02)
    finally:
        for suffix in (".ljson", ".found"):
            (folder / f"{stem}{suffix}").unlink(missing_ok=True)
        mimicme_here("run", workspace, "--until", "landmarks", "--jobs", 0)


def test_the_model_may_be_named_and_must_be_the_right_one(workspace: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"no model")
    done = mimicme_here("landmarks", workspace, "--force", "--jobs", 0, "--detector-model", wrong, code=2)
    assert "SHA-256" in done.stdout + done.stderr
    mimicme_here(
        "run", workspace, "--until", "landmarks", "--jobs", 0, "--detector-model", detector_weights.find()
    )


def test_pixels_of_the_texture_are_landmarks(tmp_path: Path, small_captures: Path, unmarked: Path) -> None:
    """A lab's own 2D points: the given landmarks, written as pixels of the frame's texture."""
    folder = tmp_path / "captures" / "S000" / "neutral"
    shutil.copytree(unmarked / "S000" / "neutral", folder)
    (frame,) = folder.glob("*.obj")
    mesh = read_mesh(frame.read_bytes(), frame.name).mesh
    marks = small_captures / "captures" / "S000" / "neutral" / f"{frame.stem}.ljson"
    on_scan = Surface(mesh.vertices, mesh.faces).closest(
        read_landmarks(marks.read_bytes(), marks.name).points
    )
    assert mesh.uv is not None and mesh.uv_faces is not None
    uv = np.einsum("kc,kcx->kx", on_scan.weights, mesh.uv[mesh.uv_faces[on_scan.triangles]])
    (picture,) = (p for p in folder.iterdir() if p.suffix in (".jpg", ".png"))
    height, width = image.decode(picture.read_bytes(), image.MAX_PIXELS).shape[:2]
    rows = [
        f"{x:.4f} {y:.4f}" for x, y in zip(uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5, strict=True)
    ]
    rows[40] = f"{-3 * width} 0"  # beside the texture
    frame.with_suffix(".pts").write_text("\n".join(["version: 1", "n_points: 68", "{", *rows, "}", ""]))
    template = small_captures / "template" / "template.obj"
    mimicme_here("init", tmp_path / "ws", "--captures", tmp_path / "captures", "--template", template)
    mimicme_here(
        "run", tmp_path / "ws", "--until", "landmarks", "--jobs", 1, "--set", "landmarks.detector=none"
    )
    with Checkpoint(tmp_path / "ws" / "landmarks" / "S000" / "neutral.h5") as found:
        with Checkpoint(tmp_path / "ws" / "ingest" / "S000" / "neutral.h5") as ingest:
            expected = transform(np.linalg.inv(ingest["file_from_scan"][()]), on_scan.points)
        there = np.arange(68) != 40
        np.testing.assert_allclose(found["points"][0][there], expected[there], atol=0.1)
        assert (found["source"][0] == np.where(there, 1, 0)).all()
        assert found.statuses[0].note == "landmarks-left-out" and IBUG68[40] in found.statuses[0].message
