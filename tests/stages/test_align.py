"""align: known motions are found again, wrong landmarks do not matter, and what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from shared_helpers import break_once

from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.landmarks import GROUPS, MIRROR, eye_distance
from mimicme.pipeline.landmarks.files import read_landmarks
from mimicme.pipeline.stage import Task
from mimicme.pipeline.template import Template, save_prepared
from mimicme.stages import align as stage
from mimicme.stages.align import align, on_surface
from mimicme.stages.align.by_landmarks import DOUBTFUL_COST, fit_landmarks
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.align.on_surface import upper_face
from mimicme.stages.align.settings import AlignSettings
from mimicme.stages.ingest.checkpoint import Assumed

SETTINGS = AlignSettings()


@cache
def marks():
    """menpo3d's 68 template landmarks, mm."""
    data = Path(pytest.importorskip("menpo3d").__file__).parent / "data" / "template.ljson"
    return read_landmarks(data.read_bytes(), data.name).points / 1000


@cache
def james():
    data = Path(pytest.importorskip("menpo3d").__file__).parent / "data" / "james.ljson"
    return read_landmarks(data.read_bytes(), data.name).points


@cache
def template():
    """menpo3d's face with the landmarks on its nearest vertices; its texture layout does not matter here."""
    from scipy.spatial import cKDTree

    from mimicme.pipeline.formats.meshio import read_mesh

    data = Path(pytest.importorskip("menpo3d").__file__).parent / "data" / "template.ply"
    mesh = read_mesh(data.read_bytes(), data.name).mesh
    vertices = mesh.vertices / 1000
    nearest = cKDTree(vertices).query(marks())[1]
    corners = np.stack([mesh.faces[np.flatnonzero((mesh.faces == k).any(1))[0]] for k in nearest])
    weights = (corners == nearest[:, None]).astype(float)
    flat = np.zeros((len(vertices), 2))
    return Template(vertices, mesh.faces, flat, mesh.faces, (), corners.astype(np.int64), weights)


def motion(seed, turn_deg=180.0, shift=200.0):
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    matrix = np.eye(4)
    matrix[:3, :3] = on_surface._rotation(
        np.radians(turn_deg) * rng.uniform(-1, 1) * axis / np.linalg.norm(axis)
    )
    matrix[:3, 3] = rng.uniform(-shift, shift, 3)
    return matrix


def apart(a, b):
    return on_surface._difference(a, b, np.array([0.0, 40.0, 90.0]))


@pytest.mark.parametrize("seed", range(5))
def test_a_rigid_motion_is_found_exactly(seed):
    truth = motion(seed)
    fit = fit_landmarks(marks(), transform(truth, marks()))
    np.testing.assert_allclose(fit.pose, truth, atol=1e-6)
    assert fit.trusted.all()
    assert fit.scale == pytest.approx(1)
    assert np.linalg.det(fit.pose[:3, :3]) == pytest.approx(1)


def test_the_pose_follows_the_scan():
    rest = fit_landmarks(marks(), james())
    for seed in range(3):
        moved = motion(seed)
        np.testing.assert_allclose(
            fit_landmarks(marks(), transform(moved, james())).pose, moved @ rest.pose, atol=1e-5
        )


@pytest.mark.parametrize("share", [0.1, 0.2])
@pytest.mark.parametrize("person", [marks, james])
def test_wrong_landmarks_do_not_matter(share, person):
    points = person()
    truth = fit_landmarks(marks(), points).pose
    rng = np.random.default_rng(7)
    for _ in range(10):
        wrong = rng.choice(68, round(68 * share), replace=False)
        off = rng.normal(size=(len(wrong), 3))
        bad = points.copy()
        bad[wrong] += 30 * off / np.linalg.norm(off, axis=1, keepdims=True)
        fit = fit_landmarks(marks(), bad)
        turn, shift = apart(fit.pose, truth)
        assert turn < 1.5
        assert shift < 1.5
        assert fit.trusted[wrong].mean() < 0.1
        assert np.delete(fit.trusted, wrong).mean() > 0.85


def test_an_open_jaw_is_not_a_wrong_landmark():
    points = marks().copy()
    drop = np.zeros(68)
    drop[3:14] = np.interp(np.abs(np.arange(3, 14) - 8), [0, 5], [35, 8])
    drop[55:60], drop[65:68], drop[[48, 54, 60, 64]] = 30, 30, 14
    points[:, 1] -= drop
    fit = fit_landmarks(marks(), points)
    assert fit.trusted[np.r_[0:17, 48:68]].mean() > 0.9
    turn, shift = apart(fit.pose, np.eye(4))
    assert turn < 3
    assert shift < 2


def test_a_smaller_person_keeps_size_and_trust():
    fit = fit_landmarks(marks(), 0.82 * marks())
    assert fit.trusted.all()
    assert fit.scale == pytest.approx(0.82)
    assert np.linalg.norm(fit.pose[:3, 0]) == pytest.approx(1)


SHORT, LONG, FLAT = (1.0, 0.62, 0.85), (1.0, 1.5, 1.15), (1.0, 0.7, 0.8)


@pytest.mark.parametrize("shape", [SHORT, LONG, FLAT])
@pytest.mark.parametrize("person", [marks, james])
def test_a_short_or_long_face_is_no_contradiction(person, shape):
    """A child's face, or a long one: its right points are trusted, and its head is not turned."""
    truth = motion(3, turn_deg=60)
    points = 0.9 * person() * shape
    fit = fit_landmarks(marks(), transform(truth, points))
    assert fit.trusted.mean() > 0.95
    assert fit.cost < DOUBTFUL_COST
    assert fit.stretch == pytest.approx(shape, rel=0.12)
    upright = fit_landmarks(marks(), person()).pose
    assert apart(fit.pose, truth @ upright)[0] < 3
    found = align(marks(), upper_face(template(), 500), points, None, Surface(points, TRIANGLES), SETTINGS)
    assert found.trusted.mean() > 0.95


TRIANGLES = np.arange(66).reshape(22, 3)


def test_proportions_are_the_templates_where_a_similarity_is_enough():
    assert (fit_landmarks(marks(), james()).stretch == 1).all()
    assert (fit_landmarks(marks(), 0.8 * marks()).stretch == 1).all()


@pytest.mark.parametrize("shape", [SHORT, LONG])
def test_wrong_points_of_a_short_or_long_face_are_still_found(shape):
    rng = np.random.default_rng(3)
    for _ in range(4):
        points = james() * shape
        wrong = rng.choice(68, 10, replace=False)
        off = rng.normal(size=(10, 3))
        points[wrong] += 30 * off / np.linalg.norm(off, axis=1, keepdims=True)
        fit = fit_landmarks(marks(), points)
        assert fit.trusted[wrong].mean() < 0.25
        assert np.delete(fit.trusted, wrong).mean() > 0.85
    assert rejection((james() * shape)[MIRROR]).reason == "landmarks-mirrored"
    assert rejection(james() * shape * [-1, 1, 1]).reason == "landmarks-mirrored"
    assert rejection((james() * shape)[rng.permutation(68)]).reason in ("landmarks-misfit", "landmark-scale")


@pytest.mark.parametrize("by", [2, 3, 5])
def test_an_order_that_has_slipped_is_no_other_face(by):
    assert rejection(np.roll(james(), by, axis=0)).reason == "landmarks-misfit"


def test_five_points_are_enough():
    sparse = np.full((68, 3), np.nan)
    five = [36, 45, 33, 48, 54]
    truth = motion(2)
    sparse[five] = transform(truth, marks())[five]
    turn, shift = apart(fit_landmarks(marks(), sparse).pose, truth)
    assert turn < 1e-3
    assert shift < 1e-3


def rejection(points, settings=SETTINGS):
    far = Surface(np.eye(3) * 1.0, np.array([[0, 1, 2]]))
    with pytest.raises(FrameRejected) as caught:
        align(marks(), upper_face(template(), 500), points, None, far, settings)
    return caught.value


def test_left_and_right_exchanged_is_named():
    straight = np.arange(68)
    for a, b in (("left_eye", "right_eye"), ("left_eyebrow", "right_eyebrow")):
        straight[GROUPS[a]], straight[GROUPS[b]] = np.r_[GROUPS[b]], np.r_[GROUPS[a]]
    for order in (MIRROR, straight):
        error = rejection(james()[order])
        assert error.reason == "landmarks-mirrored"
        assert "sides" in error.todo
    assert rejection(james() * [-1, 1, 1]).reason == "landmarks-mirrored"


@pytest.mark.parametrize("sign", [1, -1])
def test_left_and_right_exchanged_is_named_where_the_fit_alone_would_pass(sign):
    """Without the ends of jaw, brows and eyes a mirrored face agrees with itself well enough."""
    points = (marks() if sign < 0 else marks()[MIRROR]) * [sign, 1, 1]
    points[[*range(6), *range(11, 19), 25, 26, 36, 45]] = np.nan
    fit = fit_landmarks(marks(), points)
    assert fit.cost < SETTINGS.max_disagreement and fit.trusted.sum() > 0.5 * 50
    error = rejection(points)
    assert error.reason == "landmarks-mirrored"
    assert "mm off the scan" in error.seen and 'mirrored = "yes"' in error.todo and ".npy" in error.todo


def test_a_wrong_order_of_points_on_the_scan_is_told_from_points_elsewhere():
    face = template()
    points = np.roll(face.landmarks(), 3, axis=0)
    with pytest.raises(FrameRejected) as caught:
        align(marks(), upper_face(face, 500), points, None, Surface(face.vertices, face.faces), SETTINGS)
    assert caught.value.reason == "landmarks-misfit"
    assert caught.value.todo.startswith("They lie on the scan, so look at their order")
    assert "belong to this frame" in rejection(points).todo


@pytest.mark.parametrize("factor", [0.001, 0.1, 25.4, 1000.0])
def test_a_wrong_unit_is_named(factor):
    error = rejection(james() * factor)
    assert error.reason == "landmark-scale"
    assert "scale" in error.what
    assert float(error.what.rsplit(" ", 1)[1]) == pytest.approx(1.1 * factor, rel=0.05)


def test_a_shuffled_order_is_refused():
    data = Path(pytest.importorskip("menpo3d").__file__).parent / "data" / "james.ljson"
    bare = json.loads(data.read_text())["groups"]["LJSON"]["landmarks"]["points"]
    assert rejection(np.array(bare, float)).reason in ("landmarks-misfit", "landmark-scale")
    order = np.random.default_rng(0).permutation(68)
    assert rejection(james()[order]).reason in ("landmarks-misfit", "landmark-scale")


def test_too_few_landmarks():
    few = np.full((68, 3), np.nan)
    few[:3] = marks()[:3]
    assert rejection(few).reason == "too-few-landmarks"
    line = np.full((68, 3), np.nan)
    line[27:36] = np.arange(9)[:, None] * [0, 0, 1.0]
    assert rejection(line).reason == "too-few-landmarks"


def test_the_upper_face_has_no_mouth_jaw_or_eyeball():
    face = upper_face(template(), 1500)
    assert 1000 < len(face.points) < 3100
    assert face.points[:, 1].min() > marks()[31:36, 1].min() - 1
    for eye in ("left_eye", "right_eye"):
        centre = marks()[GROUPS[eye]].mean(0)
        assert np.linalg.norm(face.points - centre, axis=1).min() > 0.3 * eye_distance(marks())
    assert face.weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("seed", [1, 4])
def test_the_surface_corrects_noisy_landmarks(seed):
    t = template()
    truth = motion(seed, turn_deg=60)
    rng = np.random.default_rng(seed)
    # the open jaw moves mouth and chin; the skull's part of the scan stays
    scan = t.vertices.copy()
    chin = scan[:, 1] < marks()[48:68, 1].mean()
    scan[chin, 1] -= 20
    surface = Surface(transform(truth, scan), t.faces)
    points = transform(truth, t.landmarks()) + rng.normal(scale=4, size=(68, 3))
    face = upper_face(t, SETTINGS.samples)
    rough = fit_landmarks(t.landmarks(), points).pose
    fine = align(t.landmarks(), face, points, None, surface, replace(SETTINGS, few_landmarks=69))
    before, after = apart(rough, truth), apart(fine.pose, truth)
    assert after[0] < min(0.3, before[0])
    assert after[1] < min(0.3, before[1])
    assert before[1] > 0.3
    assert fine.surface_residual < 0.15
    assert fine.refined
    np.testing.assert_allclose(fine.pose[:3, :3] @ fine.pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert 2 < fine.landmark_residual < 12


def test_refinement_never_worsens():
    t = template()
    face = upper_face(t, 500)
    far = Surface(np.eye(3) * 10.0 + 1000, np.array([[0, 1, 2]]))
    found = align(t.landmarks(), face, t.landmarks(), None, far, replace(SETTINGS, few_landmarks=69))
    assert not found.refined
    np.testing.assert_allclose(found.pose, np.eye(4), atol=1e-6)


def test_the_surface_of_another_person_turns_no_head_that_landmarks_hold():
    """A face of which one side is the flatter: the surfaces lie closest with the template turned."""
    t = template()
    scan = t.vertices.copy()
    scan[:, 2] += 0.05 * scan[:, 0]
    surface, face = Surface(scan, t.faces), upper_face(t, 500)
    five = np.full((68, 3), np.nan)
    five[[36, 45, 30, 48, 54]] = marks()[[36, 45, 30, 48, 54]]
    alone = align(marks(), face, five, None, surface, SETTINGS)
    held = align(marks(), face, marks(), None, surface, SETTINGS)
    assert alone.refined and apart(alone.pose, np.eye(4))[0] > 0.5
    assert not held.refined and apart(held.pose, np.eye(4))[0] < 1e-3
    assert alone.surface_residual < held.surface_residual


def test_settings_are_checked():
    for bad in (
        {"min_landmarks": 2},
        {"min_agreeing": 2},
        {"min_scale": 1.2},
        {"rounds": 0},
        {"few_landmarks": -1},
    ):
        with pytest.raises(ConfigError):
            AlignSettings(**bad)


def a_task(tmp_path, points, settings, source=1):
    """Frames whose scan is the template, with landmarks (F, 68, 3)."""
    item, paths = Item("S", "smile"), {name: tmp_path / f"{name}.h5" for name in ("ingest", "landmarks")}
    t, rows = template(), range(len(points))
    with writing(paths["ingest"], stage="ingest", item="S", made_by={}) as out:
        out.frames(list(rows))
        for row in rows:
            out.put(row, "vertices", t.vertices.astype("f4"), "mm")
            out.put(row, "faces", t.faces)
        out.array("file_from_scan", np.eye(4))
    with writing(paths["landmarks"], stage="landmarks", item="S", made_by={}) as out:
        out.frames(list(rows))
        out.rows("points", (68, 3), "f4", "mm")[:] = points
        out.rows("confidence", (68,), "f4", "1")[:] = np.isfinite(points).all(axis=2)
        out.rows("source", (68,), "u1")[:] = np.where(np.isfinite(points).all(axis=2), source, 0)
    save_prepared(t, tmp_path / "template.h5")
    frames = tuple(FrameSource(k, tmp_path / f"{k}.obj") for k in rows)
    return Task(
        Sequence(item, "smile", "smile", frames), settings, Captures(tmp_path), paths, None,
        tmp_path / "template.h5",
    )  # fmt: skip


def test_a_point_by_hand_is_doubted_and_used_all_the_same(tmp_path):
    points = template().landmarks()[None].repeat(2, axis=0)
    points[1, 30] += [20.0, 15.0, 0.0]
    for source, code in ((1, "landmarks-doubted"), (2, "landmarks-distrusted")):
        task = a_task(tmp_path / code, points, AlignSettings(refine=False), source)
        with writing(tmp_path / code / "align.h5", stage="align", item="S", made_by={}) as out:
            stage.compute(task, out)
        with Checkpoint(tmp_path / code / "align.h5") as found:
            assert [s.note for s in found.statuses] == ["", code]
            assert found["landmark_ok"][1].sum() == (68 if source == 1 else 67)
            assert "nose_3 (30)" in found.statuses[1].message
            np.testing.assert_allclose(found["pose"][1], np.eye(4), atol=1e-3)
        with AlignCheckpoint(tmp_path / code / "align.h5") as align:
            assert [np.flatnonzero(align.doubted(row)).tolist() for row in (0, 1)] == [[], [30]]


def test_of_landmarks_that_fit_no_face_all_are_doubted(tmp_path):
    points = template().landmarks()[None].repeat(2, axis=0)
    points[1] = np.random.default_rng(3).permutation(points[1])
    task = a_task(tmp_path, points, AlignSettings(refine=False))
    with writing(tmp_path / "align.h5", stage="align", item="S", made_by={}) as out:
        stage.compute(task, out)
    with AlignCheckpoint(tmp_path / "align.h5") as align:
        assert [s.reason for s in align.statuses] == ["", "landmarks-misfit"]
        assert align.doubted(1).all() and not align.doubted(0).any()


def test_where_an_older_version_did_not_say_nothing_is_doubted(tmp_path):
    with writing(tmp_path / "align.h5", stage="align", item="S", made_by={}) as out:
        out.frames([0])
    with AlignCheckpoint(tmp_path / "align.h5") as align:
        assert not align.doubted(0).any()


def test_one_frames_numbers_reject_that_frame_alone(tmp_path, monkeypatch):
    task = a_task(tmp_path, np.stack([template().landmarks()] * 2), AlignSettings(refine=False))
    break_once(monkeypatch, stage, "fit_landmarks", "SVD did not converge")
    with writing(tmp_path / "align.h5", stage="align", item="S", made_by={}) as out:
        stage.compute(task, out)
    with Checkpoint(tmp_path / "align.h5") as found:
        assert [s.reason for s in found.statuses] == ["numerical-failure", ""]
        assert "SVD did not converge" in found.statuses[0].message
        assert np.isnan(found["pose"][0]).all()
        np.testing.assert_allclose(found["pose"][1], np.eye(4), atol=1e-4)


def test_a_note_where_the_surface_was_asked_for_and_did_not_help(tmp_path, monkeypatch):
    """68 points need no surface; nor do 20 of the inner ones; 19 do, and points of the jaw are no substitute."""
    points = np.stack([template().landmarks()] * 4)
    points[1, 37:] = np.nan  # 20 inner ones, and the jaw
    points[2, 36:] = np.nan  # 19
    points[3, :17] = points[3, 36:] = np.nan
    useless = lambda pose, *a: (pose, 1.0, 1.0, False)  # noqa: E731
    monkeypatch.setattr(stage, "refine", useless)
    with writing(tmp_path / "align.h5", stage="align", item="S", made_by={}) as out:
        stage.compute(a_task(tmp_path, points, AlignSettings()), out)
    with Checkpoint(tmp_path / "align.h5") as found:
        assert ["pose-by-landmarks" in s.note for s in found.statuses] == [False, False, True, True]


def test_no_size_is_told_by_eyes_of_which_the_scan_shows_a_part(tmp_path, monkeypatch):
    """The middle of half an eye is not the eye's: half a face told 48 mm and a unit that fits nobody."""
    monkeypatch.setattr(stage.IngestCheckpoint, "assumed", Assumed(None, True))
    told = {}
    for name, absent in (("whole", []), ("parts", [36, 37, 41, 44, 45, 46])):
        points = template().landmarks()[None].copy()
        points[0, absent] = np.nan
        assert (eye_distance(points[0]) < 50) == (name == "parts")
        task = a_task(tmp_path / name, points, AlignSettings(refine=False), 2)
        with writing(tmp_path / f"{name}.h5", stage="align", item="S", made_by={}) as out:
            stage.compute(task, out)
        with Checkpoint(tmp_path / f"{name}.h5") as found:
            assert found.statuses[0].ok
            told[name] = str(found.attrs.get("size_decision", ""))
    assert told == {"whole": "", "parts": ""}
    # four corners are whole eyes, and small ones are told
    points = template().landmarks()
    points[[37, 38, 40, 41, 43, 44, 46, 47]] = np.nan
    assert stage.whole_eyes_apart(points) == eye_distance(points) > 50


def test_axes_and_size_are_told_as_they_turn_out() -> None:
    """What ingest assumed without landmarks is corrected by where the heads lie, and by how far eyes are apart."""
    assumed = Assumed("+y", True)
    lying = np.eye(4)
    lying[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # up is +z in the scan, out of the face is -y
    said = stage.turned_out(assumed, np.eye(4), [lying, lying], [63.0, 62.0])
    assert said.up == "+z" and "along -y" in said.axes and not said.size
    in_metres = np.diag([1e-3, 1e-3, 1e-3, 1])
    small = stage.turned_out(assumed, in_metres, [np.eye(4)], [45.0, np.nan])
    assert not small.up and "45 mm" in small.size and "--unit 1400`" in small.size
    assert not any(stage.turned_out(Assumed(None, False), np.eye(4), [lying], [45.0]))
    assert not any(stage.turned_out(assumed, np.eye(4), [], []))
