"""landmarks: files beside frames, in the file's unit and axes; what does not lie on the scan is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Artefact, writing
from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.landmark_files import write_landmarks
from mimicme.pipeline.landmarks import GROUPS, Landmarks, Located
from mimicme.pipeline.mesh import transform
from mimicme.pipeline.spatial import Surface
from mimicme.pipeline.stage import Captures, FrameSource, Item, Sequence, Task
from mimicme.stages import landmarks as stage
from mimicme.stages.landmarks import LandmarksSettings, located, merge, on_scan

# a bent sheet of 200 x 200 mm, with 68 points on it
SIDE = 21
X, Y = (a.ravel() for a in np.meshgrid(np.linspace(-100, 100, SIDE), np.linspace(-100, 100, SIDE)))
VERTICES = np.stack([X, Y, 50 - X**2 / 200], axis=1)
_K = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
_A, _B, _C, _D = _K[:-1, :-1].ravel(), _K[:-1, 1:].ravel(), _K[1:, 1:].ravel(), _K[1:, :-1].ravel()
FACES = np.concatenate([np.stack([_A, _B, _C], 1), np.stack([_A, _C, _D], 1)]).astype(np.int32)
POINTS = VERTICES[np.random.default_rng(0).choice(len(VERTICES), 68, replace=False)]
SURFACE = Surface(VERTICES, FACES)
# scan (mm, y up) -> file (m, z up)
FILE_FROM_SCAN = np.array([[0.001, 0, 0, 0], [0, 0, -0.001, 0], [0, 0.001, 0, 0.2], [0, 0, 0, 1]])


def run(folder, frames, *, file_from_scan=FILE_FROM_SCAN, settings=None):
    """The stage on frames that all have the sheet as their scan; the artefact's path."""
    item = Item("S", "smile")
    sources = tuple(FrameSource(k, folder / f"{k:04d}.obj") for k in range(frames))
    with writing(folder / "in.h5", stage="ingest", item=str(item), made_by={}) as out:
        out.frames(range(frames))
        out.array("file_from_scan", file_from_scan)
        for row in range(frames):
            out.put(row, "vertices", VERTICES.astype("f4"), "mm")
            out.put(row, "faces", FACES)
    task = Task(
        Sequence(item, "smile", "smile", sources),
        settings or LandmarksSettings(),
        Captures(folder),
        {"ingest": folder / "in.h5"},
        None,
        folder / "none",
    )
    made = {"stage": "landmarks"}
    with writing(folder / "out.h5", stage="landmarks", item="S", made_by=made, captures_root=folder) as out:
        stage.compute(task, out)
    return folder / "out.h5"


def save(path, points):
    path.write_bytes(write_landmarks(Landmarks(points), path.name))


def test_points_are_brought_into_the_scan_frame(tmp_path):
    save(tmp_path / "0000.ljson", transform(FILE_FROM_SCAN, POINTS))
    with Artefact(run(tmp_path, 1)) as found:
        assert found.ok_rows == [0]
        np.testing.assert_allclose(found["points"][0], POINTS, atol=1e-4)
        assert (found["source"][0] == 1).all()
        assert found["confidence"][0].min() > 0.99
        assert found["quality/landmark_distance"][0] < 0.01
        assert list(found.made_by["sources"].values())[0] != "absent"


def test_priority_and_what_is_missing_are_remembered(tmp_path):
    moved = POINTS.copy()
    moved[0] += [0, 0, 2]
    save(tmp_path / "0000.pts", moved)
    save(tmp_path / "0000.csv", POINTS)
    save(tmp_path / "0001.csv", POINTS)
    with Artefact(run(tmp_path, 3, file_from_scan=np.eye(4))) as found:
        np.testing.assert_allclose(found["points"][0], moved, atol=1e-4)
        np.testing.assert_allclose(found["points"][1], POINTS, atol=1e-4)
        status = found.statuses[2]
        assert (status.ok, status.reason) == (False, "no-landmarks")
        assert ".ljson" in status.message
        seen = found.made_by["sources"]
        assert seen["0000.ljson"] == "absent"  # adding it later is noticed
        assert "0000.csv" not in seen
        assert np.isnan(found["points"][2]).all()


def test_another_unit_another_scheme_another_frame_are_rejected(tmp_path):
    save(tmp_path / "0000.ljson", POINTS / 1000)
    (tmp_path / "0001.json").write_text(json.dumps([[1, 2, 3]] * 66))
    save(tmp_path / "0002.ljson", POINTS + [0, 0, 300])
    (tmp_path / "0003.ljson").write_text("{")
    save(tmp_path / "0004.ljson", POINTS)
    with Artefact(run(tmp_path, 5, file_from_scan=np.eye(4))) as found:
        reasons = [status.reason for status in found.statuses]
        assert reasons == ["landmarks-off-scan", "landmark-scheme", "landmarks-off-scan", "landmark-file", ""]
        assert "multiplied by 1000" in found.statuses[0].message
        assert "0001.json" in found.statuses[1].message


def test_a_link_out_of_the_captures_is_not_read(tmp_path):
    (tmp_path / "captures").mkdir()
    save(tmp_path / "secret.ljson", POINTS)
    (tmp_path / "captures" / "0000.ljson").symlink_to(tmp_path / "secret.ljson")
    with Artefact(run(tmp_path / "captures", 1)) as found:
        assert found.statuses[0].reason == "unsafe-path"


def test_a_few_points_off_the_scan_are_left_out_and_named(tmp_path):
    points = POINTS.copy()
    points[[4, 30]] += [0, 0, 60]
    points[50] += [0, 0, 8]
    save(tmp_path / "0000.ljson", points)
    with Artefact(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        status = found.statuses[0]
        assert status.ok
        assert status.note == "landmarks-left-out"
        assert "jaw_04" in status.message
        assert "nose_3" in status.message
        assert np.flatnonzero(found["source"][0] == 0).tolist() == [4, 30]
        assert np.isnan(found["points"][0][[4, 30]]).all()
        assert found["confidence"][0][4] == 0
        assert 0.6 < found["confidence"][0][50] < 0.9


def test_points_in_millimetres_beside_a_scan_in_metres_are_explained():
    with pytest.raises(FrameRejected) as caught:
        on_scan(transform(np.linalg.inv(FILE_FROM_SCAN), POINTS), SURFACE, 15.0, POINTS)
    assert caught.value.reason == "landmarks-off-scan"
    assert "millimetres" in caught.value.todo


def test_sides_of_the_subject(tmp_path):
    save(tmp_path / "0000.ljson", POINTS)
    settings = LandmarksSettings(sides="subject")
    with Artefact(run(tmp_path, 1, file_from_scan=np.eye(4), settings=settings)) as found:
        there = found["points"][0][GROUPS["right_eye"]]
        np.testing.assert_allclose(there, POINTS[GROUPS["left_eye"]], atol=1e-4)


class Finder:
    """A detector that finds every point 1 mm above the sheet."""

    name = "finder"

    def detect(self, scan, image):
        points = POINTS + [0, 0, 1.0]
        return Located(points, np.full(68, 2, np.uint8), np.full(68, 0.4, np.float32))


def test_points_by_hand_win_over_detected_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "detector", lambda settings: Finder())
    half = POINTS.copy()
    half[20:] = np.nan
    save(tmp_path / "0000.ljson", half)
    with Artefact(run(tmp_path, 2, file_from_scan=np.eye(4))) as found:
        assert found.ok_rows == [0, 1]
        assert (found["source"][0] == np.r_[np.ones(20), np.full(48, 2)]).all()
        np.testing.assert_allclose(found["points"][0][:20], POINTS[:20], atol=1e-4)
        np.testing.assert_allclose(found["points"][0][20:], POINTS[20:] + [0, 0, 1], atol=1e-4)
        assert (found["source"][1] == 2).all()
        assert found.attrs["detector"] == "finder"


def test_nothing_is_a_rejection():
    with pytest.raises(FrameRejected) as caught:
        merge(None, None)
    assert caught.value.reason == "no-landmarks"


def test_confidence_falls_with_the_distance():
    found, left_out = located(POINTS, np.linspace(0, 10, 68), 10.0)
    assert (np.diff(found.confidence) < 0).all()
    assert found.confidence[0] == 1
    assert found.confidence[-1] == pytest.approx(0.5)
    assert left_out == []


def test_settings_are_checked():
    for bad in ({"sides": "both"}, {"max_distance_mm": 0}):
        with pytest.raises(ConfigError):
            LandmarksSettings(**bad)
