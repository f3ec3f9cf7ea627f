"""project: landmarks of a registered sheet on a scanned sheet, where every answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from shared_helpers import break_once

from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.errors import ConfigError, InputError
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.stage import Task
from mimicme.pipeline.template import Template, save_prepared
from mimicme.stages import project as stage
from mimicme.stages.project import Given, ProjectSettings, Registered, Scan, landmark_triangles, project

SETTINGS = ProjectSettings()


def sheet(side, lift=0.0):
    """A flat sheet of 200 x 200 mm facing +z."""
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-100, 100, side), np.linspace(-100, 100, side)))
    k = np.arange(side * side).reshape(side, side)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return np.stack([x, y, np.full(len(x), lift)], axis=1), faces


def make_template():
    vertices, faces = sheet(31)
    rng = np.random.default_rng(1)
    inside = np.flatnonzero((np.abs(vertices[faces].mean(1)[:, :2]) < 80).all(1))
    triangles = rng.choice(inside, 68, replace=False)
    corners = faces[triangles].astype(np.int64)
    weights = rng.dirichlet([2, 2, 2], 68)
    turn = rng.integers(0, 3, 68)  # corners may be listed from any of the three
    index = (np.arange(3) + turn[:, None]) % 3
    corners, weights = np.take_along_axis(corners, index, 1), np.take_along_axis(weights, index, 1)
    uv = vertices[:, :2] / 200 + 0.5
    # texture coordinates with an order of their own
    order = rng.permutation(len(uv))
    back = np.argsort(order)
    return Template(vertices, faces, uv[order], back[faces].astype(np.int32), IBUG68, corners, weights)


TEMPLATE = make_template()
MARKS = TEMPLATE.landmarks()
NOTHING = np.full((68, 3), np.nan)
POSE = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, -30], [0, 0, 0, 1.0]])


def run(scan, pose=POSE, given=NOTHING, source=0, confidence=1.0):
    source, confidence = np.full(68, source, np.uint8), np.full(68, confidence)
    mesh = Registered(TEMPLATE, TEMPLATE.vertices)
    return project(mesh, pose, scan, Given(given, source, confidence), SETTINGS)


def scan_of(lift, keep=None, side=41):
    vertices, faces = sheet(side, lift)
    if keep is not None:
        faces = faces[keep(vertices[faces].mean(1))]
    return Scan(transform(POSE, vertices), faces)


def test_landmarks_land_straight_below():
    found = run(scan_of(1.5))
    np.testing.assert_allclose(found.landmarks, MARKS + [0, 0, 1.5], atol=1e-4)
    np.testing.assert_allclose(found.distance, 1.5, atol=1e-4)
    assert (found.source == 3).all()
    np.testing.assert_allclose(found.confidence, 1 - 1.5 / 5, atol=1e-4)
    np.testing.assert_allclose(found.uv, MARKS[:, :2] / 200 + 0.5, atol=1e-9)


def test_the_pose_of_the_head_does_not_matter():
    vertices, faces = sheet(41, 1.5)
    turned = np.array([[0, 0, 1, 100], [0, 1, 0, -50], [-1, 0, 0, 3], [0, 0, 0, 1.0]])
    a = run(scan_of(1.5))
    b = run(Scan(transform(turned, vertices), faces), pose=turned)
    np.testing.assert_allclose(a.landmarks, b.landmarks, atol=1e-3)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-3)


def test_nothing_is_invented_where_the_scan_is_far_or_faces_away():
    assert (run(scan_of(5.1)).source == 0).all()
    vertices, faces = sheet(41, 1.0)
    away = run(Scan(transform(POSE, vertices), faces[:, ::-1].copy()))
    for found in (run(scan_of(5.1)), away):
        assert (found.source == 0).all()
        assert np.isnan(found.landmarks).all()
        assert np.isnan(found.uv).all()
        assert np.isnan(found.distance).all()
        assert (found.confidence == 0).all()


def test_a_hole_has_no_landmark_and_its_rim_gives_none():
    found = run(scan_of(0.5, keep=lambda c: c[:, 0] > -55))  # the sheet ends there
    inside = MARKS[:, 0] > -54.5
    beside = MARKS[:, 0] < -57.0  # up to 5 mm beside the rim, within the distance limit
    assert (beside & (MARKS[:, 0] > -59.9)).any()
    assert (found.source[inside] == 3).all()
    assert (found.source[beside] == 0).all()


def test_the_nearer_sheet_that_faces_the_same_way_is_taken():
    front, faces = sheet(41, 2.0)
    back, _ = sheet(41, -1.0)
    both = np.concatenate([front, back])
    found = run(Scan(transform(POSE, both), np.concatenate([faces, faces[:, ::-1] + len(front)])))
    np.testing.assert_allclose(found.landmarks[:, 2], 2.0, atol=1e-4)


@pytest.mark.parametrize(("source", "down"), [(1, 0.0), (2, -1.0)])
def test_given_points_win_and_keep_their_source(source, down):
    """One by hand stays where it was put, even off the scan; a found one is put onto it."""
    given = NOTHING.copy()
    place = MARKS[:10] + [3.0, -2.0, 2.5]  # above the scan at 1.5
    given[:10] = transform(POSE, place)
    given[10] = transform(POSE, MARKS[10] + [0, 0, 40])  # nowhere near the scan
    found = run(scan_of(1.5), given=given, source=source, confidence=0.8)
    assert (found.source[:10] == source).all()
    assert found.source[10] == (1 if source == 1 else 3)
    assert (found.source[11:] == 3).all()
    np.testing.assert_allclose(found.landmarks[:10], place + [0, 0, down], atol=1e-4)
    np.testing.assert_allclose(found.confidence[:10], 0.8 * (1 - 1.0 / 5), atol=1e-4)
    if source == 1:
        np.testing.assert_allclose(found.landmarks[10], MARKS[10] + [0, 0, 40], atol=1e-4)
        np.testing.assert_allclose(found.confidence[10], 0.8 * 0.05, atol=1e-4)
    np.testing.assert_allclose(found.distance[:10], 1.5, atol=1e-4)  # still of the registered mesh
    np.testing.assert_allclose(found.uv[:10], place[:, :2] / 200 + 0.5, atol=1e-5)


def test_landmark_triangles_know_their_texture_coordinates():
    triangles, weights = landmark_triangles(TEMPLATE)
    corners = TEMPLATE.vertices[TEMPLATE.faces[triangles]]
    np.testing.assert_allclose(np.einsum("lk,lkx->lx", weights, corners), MARKS)
    broken = TEMPLATE.landmark_vertices.copy()
    broken[5] = [0, 400, 900]
    with pytest.raises(InputError):
        landmark_triangles(
            Template(
                TEMPLATE.vertices, TEMPLATE.faces, TEMPLATE.uv, TEMPLATE.uv_faces, IBUG68, broken,
                TEMPLATE.landmark_weights,
            )
        )  # fmt: skip


def made_task(tmp_path):
    """Checkpoints of two frames, and the task that projects them."""
    item = Item("S", "smile")
    paths = {name: tmp_path / f"{name}.h5" for name in ("ingest", "landmarks", "align", "refine")}
    vertices, faces = sheet(41, 1.0)
    points = transform(POSE, MARKS + [2.0, 0, 1.0])
    with writing(paths["ingest"], stage="ingest", item="S", made_by={}) as out:
        out.frames([0, 1])
        for row in (0, 1):
            out.put(row, "vertices", transform(POSE, vertices).astype("f4"), "mm")
            out.put(row, "faces", faces)
    with writing(paths["landmarks"], stage="landmarks", item="S", made_by={}) as out:
        out.frames([0, 1])
        out.rows("points", (68, 3), "f4", "mm")[:] = points
        out.rows("source", (68,), "u1")[:] = 1
        out.rows("confidence", (68,), "f4", "1")[:] = 1
    with writing(paths["align"], stage="align", item="S", made_by={}) as out:
        out.frames([0, 1])
        out.rows("landmark_ok", (68,), "?")[:] = np.arange(68) < 30
    with writing(paths["refine"], stage="refine", item="S", made_by={}) as out:
        out.frames([0, 1])
        out.rows("vertices", (len(TEMPLATE.vertices), 3), "f4", "mm")[:] = TEMPLATE.vertices
        out.rows("pose", (4, 4), "f8", "mm")[:] = POSE
    save_prepared(TEMPLATE, tmp_path / "template.h5")
    frames = tuple(FrameSource(k, tmp_path / f"{k}.obj") for k in (0, 1))
    sequence = Sequence(item, "smile", "smile", frames)
    return Task(sequence, SETTINGS, Captures(tmp_path), paths, None, tmp_path / "template.h5")


def test_one_frames_numbers_reject_that_frame_alone(tmp_path, monkeypatch):
    task = made_task(tmp_path)
    break_once(monkeypatch, stage, "project", "Singular matrix")
    with writing(tmp_path / "out.h5", stage="project", item="S", made_by={}) as out:
        stage.compute(task, out)
    with Checkpoint(tmp_path / "out.h5") as found:
        assert [s.reason for s in found.statuses] == ["numerical-failure", ""]
        assert "Singular matrix" in found.statuses[0].message
        assert np.isnan(found["landmarks"][0]).all()
        assert np.isfinite(found["landmarks"][1]).all()


def test_the_stage_reads_and_writes_its_checkpoints(tmp_path):
    task = made_task(tmp_path)
    with writing(tmp_path / "out.h5", stage="project", item="S", made_by={}) as out:
        stage.compute(task, out)
    with Checkpoint(tmp_path / "out.h5") as found:
        assert found.ok_rows == [0, 1]
        for row in (0, 1):
            assert found["landmark_source"][row].tolist() == [1] * 30 + [3] * 38
            np.testing.assert_allclose(found["landmarks"][row][:30], MARKS[:30] + [2, 0, 1], atol=1e-3)
            np.testing.assert_allclose(found["landmarks"][row][30:], MARKS[30:] + [0, 0, 1], atol=1e-3)
        assert found["quality/landmarks_projected"][0] == 68
        assert (found["landmark_visible"][:] == 1).all()  # a flat sheet, and no view from behind
        assert found["quality/landmark_gap"][0] == pytest.approx(1, abs=1e-3)


def test_what_faces_away_or_is_hidden_is_not_visible():
    folded = TEMPLATE.vertices.copy()
    ridge = np.abs(folded[:, 0]) < 10
    folded[ridge, 2] = 60  # a wall along y through the middle
    marks = np.einsum("lk,lkx->lx", TEMPLATE.landmark_weights, folded[TEMPLATE.landmark_vertices])
    flat = marks[:, 2] == 0
    mesh = stage.Registered(TEMPLATE, folded)
    left = mesh.visible_from([(60.0, 0.0)])[0]
    # at 60 degrees the wall's shadow is 60 * tan(60) = 104 mm long: all of the other half
    assert not left[flat & (marks[:, 0] < -14)].any()
    assert left[flat & (marks[:, 0] > 14)].all()
    assert mesh.visible_from([(0.0, 0.0)])[0][flat].all()
    assert not stage.Registered(TEMPLATE, TEMPLATE.vertices).visible_from([(180.0, 0.0)]).any()


def test_settings_are_checked():
    for bad in ({"max_distance_mm": 0}, {"max_angle_deg": 120}, {"max_gap_mm": -1}):
        with pytest.raises(ConfigError):
            ProjectSettings(**bad)
