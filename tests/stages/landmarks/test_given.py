"""landmarks: files beside frames, in the file's unit and axes; what does not lie on the scan is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.errors import ConfigError, FrameRejected, MissingDependencyError
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.landmarks import GROUPS, IBUG68, MIRROR, Landmarks, Located
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.stage import Task
from mimicme.pipeline.template import Template, save_prepared
from mimicme.stages import landmarks as stage
from mimicme.stages.ingest.checkpoint import Assumed, IngestCheckpoint
from mimicme.stages.landmarks import detection, frame
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
from mimicme.stages.landmarks.given import located, merge, on_scan
from mimicme.stages.landmarks.settings import LandmarksSettings
from mimicme.stages.landmarks.texture_points import on_texture

# a bent sheet of 200 x 200 mm, with 68 points on it
SIDE = 21
X, Y = (a.ravel() for a in np.meshgrid(np.linspace(-100, 100, SIDE), np.linspace(-100, 100, SIDE)))
VERTICES = np.stack([X, Y, 50 - X**2 / 200], axis=1)
_K = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
_A, _B, _C, _D = _K[:-1, :-1].ravel(), _K[:-1, 1:].ravel(), _K[1:, 1:].ravel(), _K[1:, :-1].ravel()
FACES = np.concatenate([np.stack([_A, _B, _C], 1), np.stack([_A, _C, _D], 1)]).astype(np.int32)
_PICKED = np.random.default_rng(0).choice(len(VERTICES), 68, replace=False)
POINTS = VERTICES[_PICKED]
SURFACE = Surface(VERTICES, FACES)
_CORNERS = np.array([FACES[np.flatnonzero((k == FACES).any(axis=1))[0]] for k in _PICKED])
TEMPLATE = Template(
    VERTICES, FACES, np.zeros((len(VERTICES), 2)), FACES, IBUG68, _CORNERS.astype(np.int64),
    (_PICKED[:, None] == _CORNERS).astype(float),
)  # fmt: skip
# scan (mm, y up) -> file (m, z up)
FILE_FROM_SCAN = np.array([[0.001, 0, 0, 0], [0, 0, -0.001, 0], [0, 0.001, 0, 0.2], [0, 0, 0, 1]])


HEIGHT, WIDTH = 100, 200
UV = np.stack([X, Y], axis=1) / 200 + 0.5
PIXELS = UV[_PICKED] * [WIDTH, -HEIGHT] + [-0.5, HEIGHT - 0.5]
TEXTURE = encode(np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def run(
    folder, frames, *, file_from_scan=FILE_FROM_SCAN, settings=None, texture=b"", notes=(), sides="image"
):
    """The stage on frames that all have the sheet as their scan; the checkpoint's path.

    The scans have a texture of encoded bytes, and notes.
    """
    item = Item("S", "smile")
    sources = tuple(FrameSource(k, folder / f"{k:04d}.obj") for k in range(frames))
    with writing(folder / "in.h5", stage="ingest", item=str(item), made_by={}) as out:
        out.frames(range(frames))
        out.array("file_from_scan", file_from_scan)
        for row in range(frames):
            out.put(row, "vertices", VERTICES.astype("f4"), "mm")
            out.put(row, "faces", FACES)
            if texture:
                out.put(row, "uv", UV.astype("f4"), "1")
                out.put(row, "uv_faces", FACES)
                out.put(row, "image", np.frombuffer(texture, np.uint8))
            for note in notes:
                out.note(row, note, "")
    task = Task(
        Sequence(item, "smile", "smile", sources),
        settings or LandmarksSettings(detector="none"),
        Captures(folder, sides=sides),
        {"ingest": folder / "in.h5"},
        None,
        folder / "template.h5",
    )
    save_prepared(TEMPLATE, task.template)
    made = {"stage": "landmarks"}
    with writing(folder / "out.h5", stage="landmarks", item="S", made_by=made, captures_root=folder) as out:
        stage.compute(task, out)
    return folder / "out.h5"


def save(path, points):
    path.write_bytes(write_landmarks(Landmarks(points), path.name))


def test_points_are_brought_into_the_scan_frame(tmp_path):
    save(tmp_path / "0000.ljson", transform(FILE_FROM_SCAN, POINTS))
    with Checkpoint(run(tmp_path, 1)) as found:
        assert found.ok_rows == [0]
        np.testing.assert_allclose(found["points"][0], POINTS, atol=1e-4)
        assert (found["source"][0] == 1).all()
        assert found["confidence"][0].min() > 0.99
        assert found["quality/landmark_distance"][0] < 0.01
        assert next(v for k, v in found.made_by["sources"].items() if k.endswith(".ljson")) != "absent"


def test_files_of_the_frames_before_are_noted(tmp_path, monkeypatch):
    """The scans move 2 mm a frame, the files are those of the frame before: another frame's, and yet near enough."""
    moves = [np.array([0, 0, 2.0 * k]) for k in range(5)]
    for row in range(1, 5):
        save(tmp_path / f"{row:04d}.ljson", POINTS + moves[row - 1])
    load = frame.load_scan
    monkeypatch.setattr(
        frame,
        "load_scan",
        lambda ingest, row: replace(load(ingest, row), vertices=load(ingest, row).vertices + moves[row]),
    )
    with Checkpoint(run(tmp_path, 5, file_from_scan=np.eye(4))) as found:
        assert found.ok_rows == [1, 2, 3, 4]
        assert {found.statuses[row].note for row in found.ok_rows} == {"landmarks-shifted"}
        assert "give each file the name of the scan before it" in found.statuses[1].message


def test_of_two_frames_the_scan_of_one_tells_that_its_file_is_the_other_s(tmp_path):
    save(tmp_path / "0000.ljson", POINTS)
    save(tmp_path / "0001.ljson", POINTS + [0, 0, 1.9])
    with Checkpoint(run(tmp_path, 2, file_from_scan=np.eye(4))) as found:
        assert [s.note for s in found.statuses] == ["", "landmarks-shifted"]
        assert "once all its points are moved by 1.9 mm as a whole" in found.statuses[1].message
        np.testing.assert_allclose(found["points"][1], POINTS + [0, 0, 1.9], atol=1e-4)


def test_a_file_of_the_frame_before_that_lies_too_far_off_is_rejected_with_the_shift(tmp_path, monkeypatch):
    """Where the head moves fast the file is refused: the advice is to rename it too, not to raise the bound."""
    at = [0.0, 2.0, 4.0, 6.0, 11.0, 13.0, 13.0]
    moves = [np.array([0, 0, z]) for z in at]
    for row in range(1, 6):
        save(tmp_path / f"{row:04d}.ljson", POINTS + moves[row - 1])
    save(tmp_path / "0006.ljson", POINTS + [0, 0, 203])  # nobody's
    load = frame.load_scan
    monkeypatch.setattr(
        frame,
        "load_scan",
        lambda ingest, row: replace(load(ingest, row), vertices=load(ingest, row).vertices + moves[row]),
    )
    with Checkpoint(run(tmp_path, 7, file_from_scan=np.eye(4))) as found:
        assert found.ok_rows == [1, 2, 3, 5]
        assert [found.statuses[row].reason for row in (4, 6)] == ["landmarks-off-scan"] * 2
        said = found.statuses[4].message
        assert "seen a median distance of" in said
        assert "give each file the name of the scan before it" in said and "max_distance_mm" not in said
        assert "the scan before it" not in found.statuses[6].message


def test_priority_and_what_is_missing_are_remembered(tmp_path):
    moved = POINTS.copy()
    moved[0] += [0, 0, 2]
    save(tmp_path / "0000.pts", moved)
    save(tmp_path / "0000.csv", POINTS)
    save(tmp_path / "0001.csv", POINTS)
    with Checkpoint(run(tmp_path, 3, file_from_scan=np.eye(4))) as found:
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
    with Checkpoint(run(tmp_path, 5, file_from_scan=np.eye(4))) as found:
        reasons = [status.reason for status in found.statuses]
        assert reasons == ["landmarks-off-scan", "landmark-scheme", "landmarks-off-scan", "landmark-file", ""]
        np.testing.assert_allclose(found["refused"][2], POINTS + [0, 0, 300], atol=1e-4)
        assert np.isnan(found["refused"][4]).all() and np.isnan(found["points"][2]).all()
        assert "multiplied by 1000" in found.statuses[0].message
        assert "0001.json" in found.statuses[1].message


def test_a_link_out_of_the_captures_is_not_read(tmp_path):
    (tmp_path / "captures").mkdir()
    save(tmp_path / "secret.ljson", POINTS)
    (tmp_path / "captures" / "0000.ljson").symlink_to(tmp_path / "secret.ljson")
    with Checkpoint(run(tmp_path / "captures", 1)) as found:
        assert found.statuses[0].reason == "unsafe-path"


def test_a_few_points_off_the_scan_are_left_out_and_named(tmp_path):
    points = POINTS.copy()
    points[[4, 30]] += [0, 0, 60]
    points[50] += [0, 0, 8]
    save(tmp_path / "0000.ljson", points)
    with LandmarksCheckpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        status = found.statuses[0]
        assert status.ok
        assert status.note == "landmarks-left-out"
        assert "jaw_04 (4)" in status.message
        assert "nose_3 (30)" in status.message
        assert "None was found in their place: they are absent." in status.message
        assert np.flatnonzero(found["source"][0] == 0).tolist() == [4, 30]
        numbers, places = found.crossed(0, np.arange(68) == 50)
        assert numbers == [4, 30, 50]
        np.testing.assert_allclose(places, points[numbers], atol=1e-4)
        assert np.isnan(found["points"][0][[4, 30]]).all()
        assert found["confidence"][0][4] == 0
        assert 0.6 < found["confidence"][0][50] < 0.9


def test_another_scans_points_near_the_scan_are_rejected():
    """None lies over `max_distance_mm` off: they are no others of which the rest could be kept."""
    off = np.random.default_rng(3).uniform(-9.0, 9.0, size=68)
    points = POINTS + off[:, None] * [0, 0, 1]
    assert 2.5 < np.median(SURFACE.distance(points)) < 5 and SURFACE.distance(points).max() < 15.0
    with pytest.raises(FrameRejected) as caught:
        on_scan(points, SURFACE, 15.0, points)
    assert caught.value.reason == "landmarks-off-scan"
    for said in ("another scan's", "at most 2.5 mm", "landmarks.max_distance_mm"):
        assert said in str(caught.value)
    on_scan(points, SURFACE, 40.0, points)  # the way out that it names


def test_points_beyond_the_borders_of_a_scan_are_no_sign_of_another():
    """Two thirds of a careful file's points lie where the scan has none, up to 15 mm past its border."""
    points = POINTS[np.abs(POINTS[:, 0]) <= 50][:30].copy()
    inner = np.abs(VERTICES[FACES][:, :, 0]).max(axis=1) < 61
    beyond = np.stack([np.full(20, 72.0), np.linspace(-90, 90, 20), np.full(20, 50 - 72**2 / 200)], axis=1)
    both = np.concatenate([points[:10], beyond])
    surface = Surface(VERTICES, FACES[inner])
    distances = on_scan(both, surface, 40.0)
    assert np.median(distances) > 40.0 / 6 and distances[:10].max() < 0.01
    careless = both + np.r_[np.full(10, 30.0), np.zeros(20)][:, None] * [0, 0, 1]
    with pytest.raises(FrameRejected, match="over its surface"):
        on_scan(careless, surface, 40.0)


def test_points_in_millimetres_beside_a_scan_in_metres_are_explained():
    with pytest.raises(FrameRejected) as caught:
        on_scan(transform(np.linalg.inv(FILE_FROM_SCAN), POINTS), SURFACE, 15.0, POINTS)
    assert caught.value.reason == "landmarks-off-scan"
    assert "millimetres" in caught.value.todo


def test_an_array_mirrored_in_z_is_refused(tmp_path):
    np.save(tmp_path / "0000.npy", POINTS * [1, 1, -1])
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        assert found.statuses[0].reason == "landmarks-mirrored"
        assert "with z negated" in found.statuses[0].message


def test_sides_of_the_subject(tmp_path):
    save(tmp_path / "0000.ljson", POINTS)
    made = run(tmp_path, 1, file_from_scan=np.eye(4), sides="subject")
    with Checkpoint(made) as found:
        there = found["points"][0][GROUPS["right_eye"]]
        np.testing.assert_allclose(there, POINTS[GROUPS["left_eye"]], atol=1e-4)


class Finder:
    """A detector that finds every point 1 mm above the sheet."""

    name = "finder"

    def detect(self, scan, image, near=None):
        points = POINTS + [0, 0, 1.0]
        return Located(points, np.full(68, 2, np.uint8), np.full(68, 0.4, np.float32))


@pytest.mark.parametrize(
    ("sign", "how"), [(1.0, "as the file says"), (-1.0, "the other way than the file says")]
)
def test_points_of_slicer_are_taken_with_the_signs_that_lie_on_the_scan(tmp_path, sign, how):
    points = transform(FILE_FROM_SCAN, POINTS) * [sign, sign, 1.0]
    controls = [{"label": f"F-{k + 1}", "position": p} for k, p in enumerate(points.tolist())]
    text = json.dumps({"markups": [{"coordinateSystem": "LPS", "controlPoints": controls}]})
    (tmp_path / "0000.mrk.json").write_text(text)
    with Checkpoint(run(tmp_path, 1)) as found:
        np.testing.assert_allclose(found["points"][0], POINTS, atol=1e-3)
        status = found.statuses[0]
        assert status.note == "landmarks-axes"
        assert f"0000.mrk.json (LPS or RAS) were taken {how}: its points lie" in status.message


def test_arrays_are_read_where_they_are_landmarks(tmp_path):
    np.save(tmp_path / "0000.npy", POINTS)
    np.save(tmp_path / "0001.npy", np.zeros((4, 4)))  # a camera: no landmark file
    save(tmp_path / "0001.bnd", POINTS)
    np.save(tmp_path / "0002.npy", np.zeros((400, 400)))
    with Checkpoint(run(tmp_path, 3, file_from_scan=np.eye(4))) as found:
        for row in range(2):
            np.testing.assert_allclose(found["points"][row], POINTS, atol=1e-4)
        assert found.statuses[2].reason == "no-landmarks"
        assert found.made_by["sources"]["0002.npy"] == "unread"


def test_points_by_hand_win_over_detected_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "detector", lambda task: Finder())
    half = POINTS.copy()
    half[20:] = np.nan
    save(tmp_path / "0000.ljson", half)
    with Checkpoint(run(tmp_path, 2, file_from_scan=np.eye(4))) as found:
        assert found.ok_rows == [0, 1]
        assert (found["source"][0] == np.r_[np.ones(20), np.full(48, 2)]).all()
        np.testing.assert_allclose(found["points"][0][:20], POINTS[:20], atol=1e-4)
        np.testing.assert_allclose(found["points"][0][20:], POINTS[20:] + [0, 0, 1], atol=1e-4)
        assert (found["source"][1] == 2).all()
        assert found.attrs["detector"] == "finder"


def test_where_the_points_come_from_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "detector", lambda task: Finder())
    for number in range(2):
        save(tmp_path / f"{number:04d}.ljson", POINTS)
    with Checkpoint(run(tmp_path, 5, file_from_scan=np.eye(4))) as found:
        assert found.attrs["origin_tally"] == "2 from files beside them, 3 found"
    half = POINTS.copy()
    half[20:] = np.nan
    save(tmp_path / "0001.ljson", half)
    (tmp_path / "0004.ljson").write_text("nonsense")
    with Checkpoint(run(tmp_path, 5, file_from_scan=np.eye(4))) as found:
        assert found.attrs["origin_tally"] == "1 from files beside them, 2 found, 1 from files and found"


def save_pixels(path, pixels):
    path.write_text("\n".join(f"{x!r} {y!r}" for x, y in pixels.tolist()))


def test_what_is_left_out_is_found_instead(tmp_path, monkeypatch):
    """An inner point off the scan, and a pixel that shows nothing: one rule for both."""
    monkeypatch.setattr(detection, "detector", lambda task: Finder())
    points, pixels = POINTS.copy(), PIXELS.copy()
    points[40] += [0, 0, 60]
    pixels[40] = [1e38, 0]
    save(tmp_path / "0000.ljson", points)
    save_pixels(tmp_path / "0001.pts", pixels)
    with Checkpoint(run(tmp_path, 2, file_from_scan=np.eye(4), texture=TEXTURE)) as found:
        by_hand = np.arange(68) != 40
        for row in range(2):
            assert (found["source"][row] == np.where(by_hand, 1, 2)).all()
            np.testing.assert_allclose(found["points"][row][by_hand], POINTS[by_hand], atol=1e-4)
            np.testing.assert_allclose(found["points"][row][40], POINTS[40] + [0, 0, 1], atol=1e-4)
            assert found["confidence"][row][40] == pytest.approx(0.4)
            assert found.statuses[row].note == "landmarks-left-out"
            assert IBUG68[40] in found.statuses[row].message
            said = found.statuses[row].message
            assert "1 landmark lies over 15 mm off" in said and " was left out" in said
            assert "A found one stands in its place." in said
        assert found["quality/landmark_distance"][0] < 0.01
        assert np.isnan(found["quality/landmark_distance"][1])  # a pixel has no distance


def test_pixels_with_other_axes_are_told_apart(tmp_path):
    """The sheet is the same from both sides: two ways to turn it over fit, and both are told."""
    save_pixels(tmp_path / "0000.pts", np.stack([PIXELS[:, 0], HEIGHT - 1 - PIXELS[:, 1]], axis=1))
    save_pixels(tmp_path / "0001.pts", PIXELS[np.random.default_rng(2).permutation(68)])  # no face either way
    with Checkpoint(run(tmp_path, 2, texture=TEXTURE)) as found:
        assert [s.reason for s in found.statuses] == ["landmarks-displaced", ""]
        said = found.statuses[0].message
        assert "Several ways fit" in said and "x and 99 - y (0 mm)" in said and "199 - x and y (0 mm)" in said


def test_left_and_right_exchanged_are_left_to_the_pose():
    """On a nearly symmetric face in the middle of its image x from the right fits nearly as well."""
    marks = POINTS[:, :2] * 0.8
    marks = (marks + marks[MIRROR] * [-1, 1]) / 2 + np.random.default_rng(4).normal(0, 2, (68, 2))
    marks = np.c_[marks, 50 - marks[:, 0] ** 2 / 200]
    pixels = (marks[:, :2] / 200 + 0.5) * [WIDTH, -HEIGHT] + [-0.5, HEIGHT - 0.5]
    sheet = Mesh(VERTICES, FACES, UV, FACES)
    points, _ = on_texture(pixels[MIRROR], sheet, (HEIGHT, WIDTH), False, marks)
    np.testing.assert_allclose(points, marks[MIRROR], atol=0.5)
    with pytest.raises(FrameRejected, match=r"199 - x and y"):
        on_texture(pixels * [-1, 1] + [WIDTH - 1, 0], sheet, (HEIGHT, WIDTH), False, marks)


class Beside(Finder):
    """Finds the points in places (68, 2) mm of the sheet, one array a frame, with a confidence each."""

    def __init__(self, places, confidence):
        self.places, self.confidence, self.asked = places, confidence, 0

    def detect(self, scan, image, near=None):
        k = self.asked
        self.asked += 1
        points = SURFACE.closest(np.c_[self.places[k], POINTS[:, 2]]).points
        sure = np.broadcast_to(np.float32(self.confidence[k]), 68)
        return Located(points, np.full(68, 2, np.uint8), sure)


def compared(folder, monkeypatch, pixels, places, confidence):
    """Statuses of frames with pixels, compared with what is found in places with a confidence."""
    finder = Beside(places, confidence)
    monkeypatch.setattr(detection, "detector", lambda task: finder)
    for row, these in enumerate(pixels):
        save_pixels(folder / f"{row:04d}.pts", these)
    with Checkpoint(run(folder, len(pixels), texture=TEXTURE)) as found:
        assert finder.asked == len(pixels)
        for row, status in enumerate(found.statuses):
            assert not status.ok or (found["source"][row] == 1).all()  # whole files keep their points
        assert found.attrs["detector"] == ""  # none of its points is used
        return found.statuses


FLAT = POINTS[:, :2]


def test_pixels_that_are_all_shifted_are_refused(tmp_path, monkeypatch):
    """2 mm a pixel down; what is found lies elsewhere on the sheet by so many mm in every frame."""
    turn = np.random.default_rng(3).uniform(0, 2 * np.pi, (68, 1))
    around = 12 * np.concatenate([np.cos(turn), np.sin(turn)], axis=1)
    places = [FLAT, FLAT - [0, 12], FLAT + around, FLAT - [2, 1]]
    said = compared(tmp_path, monkeypatch, [PIXELS] * 4, places, [0.4] * 4)
    assert [s.reason for s in said] == ["", "landmarks-displaced", "", ""]
    assert "all lie 6 px above where they are found, 12 mm" in said[1].message
    assert [s.note for s in said] == [""] * 4


def test_pixels_are_compared_with_what_is_surely_there(tmp_path, monkeypatch):
    """Shifted from what is unsure, from a few sure points among many unsure ones, from what lies elsewhere."""
    half = np.where(np.arange(68) < 17 + 7, 0.9, 0.05)
    places = [FLAT * 0.7 - [0, 12], FLAT - [0, 12], FLAT - [0, 34]]
    said = compared(tmp_path, monkeypatch, [PIXELS * 0.5, PIXELS, PIXELS], places, [0.05, half, 0.9])
    assert [s.note for s in said] == ["landmarks-not-compared"] * 3
    assert ["confidence" in s.message for s in said] == [True, True, False]
    assert "lies elsewhere" in said[2].message


def test_pixels_of_an_image_of_another_size_are_refused(tmp_path, monkeypatch):
    small = (PIXELS + 0.5) * 0.5 - 0.5
    said = compared(tmp_path, monkeypatch, [small, PIXELS], [FLAT, FLAT * 0.95], [0.4, 0.4])
    assert [s.reason for s in said] == ["landmarks-displaced", ""]
    assert "pixels of an image 0.5 times as large" in said[0].message and "px left" not in said[0].message


def test_pixels_that_nothing_is_found_for_are_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "detector", lambda task: Blind())
    save_pixels(tmp_path / "0000.pts", PIXELS)
    with Checkpoint(run(tmp_path, 1, texture=TEXTURE)) as found:
        assert found.statuses[0].note == "landmarks-not-compared"
        assert "no face is found" in found.statuses[0].message


def test_without_a_detector_whole_pixels_are_taken_as_they_are(tmp_path, monkeypatch):
    tried = []

    def missing(task):
        tried.append(task)
        raise MissingDependencyError("the weights are not installed")

    monkeypatch.setattr(detection, "detector", missing)
    save_pixels(tmp_path / "0000.pts", PIXELS)
    save_pixels(tmp_path / "0001.pts", PIXELS)
    with Checkpoint(run(tmp_path, 2, texture=TEXTURE)) as found:
        assert all(s.ok and s.note == "landmarks-not-compared" for s in found.statuses)
        assert "is not installed" in found.statuses[0].message
        assert (found["source"][()] == 1).all()
        assert len(tried) == 1
    save_pixels(tmp_path / "0000.pts", np.where(np.arange(68)[:, None] == 40, np.nan, PIXELS))
    with pytest.raises(MissingDependencyError):
        run(tmp_path, 1, texture=TEXTURE)


def test_a_detector_that_is_broken_is_told(tmp_path, monkeypatch):
    """Weights that are wrong, or a library that is there and cannot be loaded."""
    save_pixels(tmp_path / "0000.pts", PIXELS)
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="not the model"):
        run(tmp_path, 1, texture=TEXTURE, settings=LandmarksSettings(detector_model=str(wrong)))

    def broken(task):
        raise MissingDependencyError("OpenCV cannot be loaded") from ImportError("libGL.so.1")

    monkeypatch.setattr(detection, "detector", broken)
    with pytest.raises(MissingDependencyError):
        run(tmp_path, 1, texture=TEXTURE)


def test_a_scan_is_read_once_a_frame(tmp_path, monkeypatch):
    from mimicme.pipeline import scan

    read, load = [], scan.load_scan
    for module in (scan, frame):
        monkeypatch.setattr(module, "load_scan", lambda ingest, row: read.append(row) or load(ingest, row))
    compared(tmp_path, monkeypatch, [PIXELS], [FLAT], [0.4])
    assert read == [0]


def test_of_the_texture_the_size_is_enough(tmp_path):
    save_pixels(tmp_path / "0000.pts", PIXELS)
    with Checkpoint(run(tmp_path, 1, texture=TEXTURE[: len(TEXTURE) // 2])) as found:
        np.testing.assert_allclose(found["points"][0], POINTS, atol=1e-4)


@pytest.mark.parametrize("note", ["textures-joined", "more"])
def test_pixels_of_several_images_are_refused(tmp_path, note):
    save_pixels(tmp_path / "0000.pts", PIXELS)
    with Checkpoint(run(tmp_path, 1, texture=TEXTURE, notes=["unused-vertices", note])) as found:
        assert found.statuses[0].reason == "landmark-scheme"
        assert "several images" in found.statuses[0].message


class Blind(Finder):
    """A detector that sees no face."""

    def detect(self, scan, image, near=None):
        raise FrameRejected("no-face", "no face is found on the scan")


def test_a_few_points_by_hand_stand_alone_when_nothing_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "detector", lambda task: Blind())
    few = np.full((68, 3), np.nan)
    few[[36, 45, 30, 48, 54]] = POINTS[[36, 45, 30, 48, 54]]
    save(tmp_path / "0000.ljson", few)
    with Checkpoint(run(tmp_path, 2, file_from_scan=np.eye(4))) as found:
        assert found.ok_rows == [0]
        assert np.flatnonzero(found["source"][0]).tolist() == [30, 36, 45, 48, 54]
        assert found.statuses[0].note == "landmarks-by-hand-only"
        assert found.statuses[1].reason == "no-face"
        told = found.statuses[1].message
        assert (
            "measures 200 mm, with 1 mm for a unit" in told
            and "150 to 400 mm" in told
            and "--unit" not in told
        )


@pytest.mark.parametrize(
    ("file_from_scan", "told"),
    [(np.diag([2.0, 2.0, 2.0, 1]), "0.5 mm for a unit"), (FILE_FROM_SCAN, "1000 mm for a unit")],
)
def test_without_a_face_an_unusual_size_is_told_with_the_unit_to_try(
    tmp_path, monkeypatch, file_from_scan, told
):
    """The sheet is 200 mm; here the least that is usual is 250."""
    monkeypatch.setattr("mimicme.pipeline.captures.units.USUAL_EXTENT_MM", (250.0, 400.0))
    monkeypatch.setattr(detection, "detector", lambda task: Blind())
    with Checkpoint(run(tmp_path, 1, file_from_scan=file_from_scan)) as found:
        status = found.statuses[0]
        unit_mm = 1 / np.linalg.norm(np.asarray(file_from_scan)[:3, 0])
        assert status.reason == "no-face" and told in status.message and "It is small" in status.message
        assert f"`--unit {unit_mm:.3g}`" in status.message


def test_without_a_face_an_axis_that_nothing_told_is_said(tmp_path, monkeypatch):
    """Half a face alone says of no axis that it is up; the other sequences of the captures may."""
    monkeypatch.setattr(detection, "detector", lambda task: Blind())
    for up in ("+z", None):
        monkeypatch.setattr(IngestCheckpoint, "assumed", Assumed(up, False))
        with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
            told = found.statuses[0].message
            assert ("+z taken for up, as nothing told" in told) is (up is not None)
            assert ('set up = "AXIS" under [captures]' in told) is (up is not None)


def test_a_texture_that_hides_the_face_costs_no_frame(tmp_path, monkeypatch):
    """An image upside down, or another frame's: the bare surface is looked at, and it is noted."""

    class Misled(Finder):
        def detect(self, scan, image, near=None):
            if image is not None:
                raise FrameRejected("no-face", "no face is found on the scan")
            return super().detect(scan, image)

    monkeypatch.setattr(detection, "detector", lambda task: Misled())
    loaded = detection.load_colored
    image = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(
        detection, "load_colored", lambda *a: (loaded(*a)[0], image if a[1] == 1 else None, None)
    )
    with Checkpoint(run(tmp_path, 2, file_from_scan=np.eye(4))) as found:
        assert [s.ok for s in found.statuses] == [True, True]
        assert [s.note for s in found.statuses] == ["", "face-without-texture"]
        assert (found["source"][1] == 2).any()


def test_colours_that_are_no_skins_cost_no_frame(tmp_path, monkeypatch):
    """White, or a map of curvature: where the vertices' colours show no face, the bare surface is looked at."""

    class Misled(Finder):
        def detect(self, scan, image, near=None):
            if scan.colors is not None:
                raise FrameRejected("no-face", "no face is found on the scan")
            return super().detect(scan, image)

    monkeypatch.setattr(detection, "detector", lambda task: Misled())
    loaded = detection.load_colored

    def white(*arguments):
        scan, image, why = loaded(*arguments)
        return replace(scan, colors=np.full((len(scan.vertices), 3), 255, np.uint8)), image, why

    monkeypatch.setattr(detection, "load_colored", white)
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        (status,) = found.statuses
        assert status.ok and status.note == "face-without-texture"
        assert "colours of the vertices" in status.message
        assert (found["source"][0] == 2).any()


def with_an_image(monkeypatch):
    """Scans have texture coordinates, all in the upper half, and an image."""
    loaded, image = detection.load_colored, np.zeros((4, 4, 3), np.uint8)

    def colored(*arguments):
        scan = loaded(*arguments)[0]
        uv = np.tile([[0.5, 0.9]], (len(scan.vertices), 1))
        return replace(scan, uv=uv, uv_faces=scan.faces), image, None

    monkeypatch.setattr(detection, "load_colored", colored)


@pytest.mark.parametrize(("away_mm", "refused"), [(0.0, True), (60.0, False)])
def test_a_texture_upside_down_is_refused_where_the_turned_one_shows_the_same_face(
    tmp_path, monkeypatch, away_mm, refused
):
    class Turned(Finder):
        """Sees a face in the image only where v runs downwards."""

        def detect(self, scan, image, near=None):
            if image is not None and scan.uv[0, 1] > 0.5:
                raise FrameRejected("no-face", "no face is found on the scan")
            found = super().detect(scan, None)
            return Located(found.points + (0 if image is None else away_mm), found.source, found.confidence)

    monkeypatch.setattr(detection, "detector", lambda task: Turned())
    with_an_image(monkeypatch)
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        (status,) = found.statuses
        if refused:
            assert status.reason == "texture-upside-down" and 'texture_v = "flipped"' in status.message
        else:
            assert status.ok and status.note == "face-without-texture"


@pytest.mark.parametrize(("scan_too", "shows"), [(False, True), (False, False), (True, True)])
def test_a_face_that_stands_on_its_head_in_the_texture_alone(tmp_path, monkeypatch, scan_too, shows):
    """Found in the texture upside down, where the surface has it upright: it is the texture that is wrong, in every
    frame.  Of a head that does stand so this is asked once."""
    asked = []

    class OnItsHead(Finder):
        def detect(self, scan, image, near=None):
            asked.append((image is not None, near is not None))
            found = replace(super().detect(scan, None), pose=np.eye(4))
            eyes_first = np.r_[36:48, 0:36, 48:68]
            upwards = np.argsort(found.points[:, 1])
            found.points[eyes_first] = found.points[upwards[::-1]]
            flipped = found.points.copy()
            flipped[eyes_first] = found.points[eyes_first[::-1]]
            if not scan_too and (image is None or (scan.uv[0, 1] < 0.5 and shows)):
                return found
            return replace(found, points=flipped, pose=np.diag([-1.0, -1.0, 1.0, 1.0]))

    monkeypatch.setattr(detection, "detector", lambda task: OnItsHead())
    with_an_image(monkeypatch)
    with Checkpoint(run(tmp_path, 3, file_from_scan=np.eye(4))) as found:
        assert len(found.statuses) == 3
        for row, status in enumerate(found.statuses):
            if scan_too:
                assert status.ok and "face-without-texture" not in status.note
            elif shows:
                assert status.reason == "texture-upside-down" and 'texture_v = "flipped"' in status.message
            else:
                assert status.ok and status.note == "face-without-texture"
                eyes, lips = found["points"][row][36:48, 1], found["points"][row][48:68, 1]
                assert eyes.mean() > lips.mean()
    if scan_too:
        assert asked == [(True, False), (False, False), (True, True), (True, True)]


def test_without_an_image_nothing_is_upside_down(tmp_path, monkeypatch):
    """A scan with texture coordinates and colours of its vertices, and no image: there is nothing to turn."""
    searched = []

    class Misled(Finder):
        """Sees the face in the bare surface, and with any colours when it is told where to look."""

        def detect(self, scan, image, near=None):
            searched.append(scan.colors is not None)
            if scan.colors is not None and near is None:
                raise FrameRejected("no-face", "no face is found on the scan")
            return replace(super().detect(scan, image), pose=np.eye(4))

    monkeypatch.setattr(detection, "detector", lambda task: Misled())
    loaded = detection.load_colored

    def white(*arguments):
        scan, _, why = loaded(*arguments)
        colors = np.full((len(scan.vertices), 3), 255, np.uint8)
        uv = np.tile([[0.5, 0.9]], (len(scan.vertices), 1))
        return replace(scan, uv=uv, uv_faces=scan.faces, colors=colors), None, why

    monkeypatch.setattr(detection, "load_colored", white)
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        (status,) = found.statuses
        assert status.ok and status.note == "face-without-texture", status
        assert searched == [True, False]


def test_a_texture_upside_down_is_refused_whoever_gave_some_points(tmp_path, monkeypatch):
    def upside_down(self, *arguments):
        raise FrameRejected("texture-upside-down", "the texture is upside down")

    monkeypatch.setattr(detection.Finder, "detect", upside_down)
    few = np.full((68, 3), np.nan)
    few[[36, 45, 30, 48, 54]] = POINTS[[36, 45, 30, 48, 54]]
    save(tmp_path / "0000.ljson", few)
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        assert found.statuses[0].reason == "texture-upside-down"


def test_points_by_hand_say_where_the_head_is_and_where_it_is_not(tmp_path, monkeypatch):
    seen = []

    class Elsewhere(Finder):
        def detect(self, scan, image, near=None):
            seen.append(near)
            found = super().detect(scan, image)
            return Located(found.points + [0, 90.0, 0], found.source, found.confidence, pose=np.eye(4))

    monkeypatch.setattr(detection, "detector", lambda task: Elsewhere())
    few = np.full((68, 3), np.nan)
    few[[36, 45, 30, 48, 54]] = POINTS[[36, 45, 30, 48, 54]]
    save(tmp_path / "0000.ljson", few)
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        # the scan is the template itself: its head stands upright, between its eyes and nose base
        eyes, base = POINTS[[36, 39, 42, 45]].mean(axis=0), POINTS[[31, 33, 35]].mean(axis=0)
        np.testing.assert_allclose(seen[0][:3, :3], np.eye(3), atol=1e-3)
        np.testing.assert_allclose(seen[0][:3, 3], (eyes + base) / 2, atol=1e-2)
        assert found["source"][0].sum() == 5  # what was found 90 mm away is not believed
        assert "elsewhere" in found.statuses[0].message


def test_a_whole_file_is_never_detected_on(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "detector", lambda task: pytest.fail("the detector was asked"))
    save(tmp_path / "0000.ljson", np.where(np.arange(68)[:, None] < 17, np.nan, POINTS))
    with Checkpoint(run(tmp_path, 1, file_from_scan=np.eye(4))) as found:
        assert found["source"][0].sum() == 51


def test_a_point_that_jumps_is_detected_again(tmp_path, monkeypatch):
    """Frame 2 is seen wrongly from its neighbour's pose, and rightly afresh; frame 5 is wrong whatever one does."""
    asked = []

    class Jumpy(Finder):
        def detect(self, scan, image, near=None):
            asked.append(near is None)
            points = POINTS + [0, 0, 1.0]
            first = len(asked) <= 7
            if (first and len(asked) in (3, 6)) or (not first and len(asked) == 9):
                points[40] = points[40] + [0, 14.0, 0]
            return Located(points, np.full(68, 2, np.uint8), np.full(68, 0.5, np.float32), pose=np.eye(4))

    monkeypatch.setattr(detection, "detector", lambda task: Jumpy())
    with Checkpoint(run(tmp_path, 7, file_from_scan=np.eye(4))) as found:
        assert asked == [True] + [False] * 6 + [True, True]
        np.testing.assert_allclose(found["points"][2][40], POINTS[40] + [0, 0, 1], atol=1e-3)
        assert [s.note for s in found.statuses] == [""] * 5 + ["landmarks-jump", ""]
        assert found["confidence"][5][40] == pytest.approx(0.15)
        assert found["confidence"][2][40] == pytest.approx(0.5)
        assert (np.delete(found["confidence"][5], 40) == 0.5).all()


def test_a_detector_of_ones_own(tmp_path, monkeypatch):
    module = tmp_path / "ourlab.py"
    module.write_text(
        "import numpy as np\nfrom mimicme.pipeline.landmarks import Located\n"
        "class Own:\n    name = 'ours'\n"
        "    def detect(self, scan, image, near=None):\n"
        "        return Located(scan.vertices[:68], np.full(68, 2, np.uint8), np.ones(68, np.float32))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Checkpoint(run(tmp_path, 1, settings=LandmarksSettings(detector="ourlab:Own"))) as found:
        assert found.attrs["detector"] == "ours"
        np.testing.assert_allclose(found["points"][0], VERTICES[:68], atol=1e-4)
    with pytest.raises(ConfigError, match="ourlab:Nobody"):
        run(tmp_path, 1, settings=LandmarksSettings(detector="ourlab:Nobody"))


def test_where_the_weights_lie_is_not_recorded():
    from mimicme.pipeline.config import settings_record

    record = settings_record(LandmarksSettings(detector_model="/somewhere/face.task"))
    assert "detector_model" not in record and record["detector"] == "mediapipe"


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
    for bad in ({"sides": "both"}, {"max_distance_mm": 0}, {"detector": "dlib"}):
        with pytest.raises(ConfigError):
            LandmarksSettings(**bad)
