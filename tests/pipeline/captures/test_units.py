"""Unit and axes: every one is recognised, with landmarks and without, and what fits none is an error."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.captures import units
from mimicme.pipeline.errors import ConfigError, FrameRejected, InputError
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import GROUPS, NOSE_TIP


def face(size_mm: float = 1.0) -> tuple[Mesh, np.ndarray]:
    """An open shell like a face, 220 mm high, looking along +z, and landmarks, 63 mm between the eyes."""
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25)))
    places = np.stack([80 * u, 110 * v, 90 * (1 - 0.8 * u * u - 0.3 * v * v)], axis=1) * size_mm
    i = np.arange(625).reshape(25, 25)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    marks = np.full((68, 3), np.nan)
    marks[GROUPS["left_eye"]] = [-31.5, 30, 70]  # the image's left: x < 0
    marks[GROUPS["right_eye"]] = [31.5, 30, 70]
    marks[GROUPS["mouth"]] = [0, -40, 80]
    marks[NOSE_TIP] = [0, -5, 110]
    return Mesh(places, faces), marks * size_mm


def evidence(
    factor: float = 1.0, landmarks: bool = True, rotation: np.ndarray | None = None
) -> units.Evidence:
    mesh, marks = face()
    turn = np.eye(3) if rotation is None else rotation
    mesh = mesh.with_vertices(mesh.vertices @ turn.T * factor)
    return units.gather(mesh, marks @ turn.T * factor if landmarks else None)


@pytest.mark.parametrize(("unit", "mm"), units.UNITS_MM.items())
def test_every_unit_by_the_eyes(unit: str, mm: float) -> None:
    for person in (0.75, 1.0, 1.25):
        decision = units.decide_unit([evidence(person / mm)])
        assert (decision.unit, decision.unit_mm) == (unit, mm)
        assert "eyes" in decision.sentence


@pytest.mark.parametrize("unit", units.SEEN_BY_EXTENT)
def test_units_by_the_extent(unit: str) -> None:
    for size in (0.6, 1.0, 3.0):
        decision = units.decide_unit([evidence(size / units.UNITS_MM[unit], landmarks=False)])
        assert decision.unit == unit
        assert "no landmarks" in decision.sentence


@pytest.mark.parametrize("landmarks", [True, False])
def test_arbitrary_units_are_an_error_with_the_way_out(landmarks: bool) -> None:
    with pytest.raises(InputError, match="--unit NUMBER") as caught:
        units.decide_unit([evidence(8.55 / 400, landmarks)], where="S1/smile")  # a bust 8.55 wide
    assert "S1/smile" in str(caught.value)
    if landmarks:
        assert f"{400 / 8.55:.4g}" in str(caught.value)
    else:
        assert "face alone, that is about" in str(caught.value)


@pytest.mark.parametrize(("unit", "size"), [("mm", 1700.0), ("m", 1.7)])
def test_more_than_a_head_is_named_as_such(unit: str, size: float) -> None:
    """A whole person, or a wall behind the head: the advice is the unit, not a factor that makes a head of it all."""
    with pytest.raises(InputError, match="a whole person") as caught:
        units.decide_unit([replace(evidence(landmarks=False), extent=size)])
    assert f'unit = "{unit}" under [captures] in mimicme.toml, or `--unit {unit}` when' in str(caught.value)
    assert units.decide_unit([replace(evidence(landmarks=False), extent=size)], unit).unit == unit


def test_landmarks_in_a_wrong_order_are_told_from_a_wrong_unit() -> None:
    """The eyes are 14 apart on a scan that measures 200."""
    wrong = replace(evidence(1.0), extent=200.0, eyes=14.0)
    with pytest.raises(InputError) as caught:
        units.decide_unit([wrong])
    told = str(caught.value)
    assert "eyes 14 apart by the landmark files, on a scan of 200" in told
    assert "by itself is a head in mm" in told and "another order than iBUG-68" in told


def test_the_size_of_a_scan_without_a_face() -> None:
    small, usual, large = (units.head_size(extent, 10.0) for extent in (12.0, 22.0, 60.0))
    assert small.seen == "a scan that measures 120 mm, with 10 mm for a unit of its file"
    assert "small for a head" in small.todo and "--unit 16.7" in small.todo and "is cut off" in small.todo
    assert "is cut off" not in units.head_size(2.0, 10.0).todo
    assert usual.todo == ""
    assert "large for a head" in large.todo and "--unit 3.33" in large.todo


def test_declared_units() -> None:
    assert units.decide_unit([evidence(0.1)], "mm").unit_mm == 1.0
    decision = units.decide_unit([evidence(8.55 / 220)], "25.73")
    assert (decision.unit, decision.unit_mm) == ("25.73", 25.73)
    for bad in ("furlong", "-1", "0", "nan", "inf", ""):
        with pytest.raises(ConfigError):
            units.decide_unit([], bad)


def test_the_majority_decides_and_the_other_frame_is_refused() -> None:
    for landmarks in (True, False):
        frames = [evidence(1.0, landmarks), evidence(0.001, landmarks), evidence(1.02, landmarks)]
        decision = units.decide_unit(frames)
        assert decision.unit == "mm"
        for good in (frames[0], frames[2]):
            units.check_frame(good, frames, decision)
        with pytest.raises(FrameRejected) as caught:
            units.check_frame(frames[1], frames, decision)
        assert caught.value.reason == "unit-mismatch"


def test_inches_in_a_sequence_of_centimetres_are_seen_with_landmarks() -> None:
    frames = [evidence(0.1), evidence(0.1), evidence(1 / 25.4)]
    with pytest.raises(FrameRejected, match="another size"):
        units.check_frame(frames[2], frames, units.decide_unit(frames))


@pytest.mark.parametrize("scale", [1.3, 1 / 1.3, 1.2])
def test_a_frame_in_another_scale_is_refused_where_scan_and_landmarks_say_so(scale: float) -> None:
    frames = [evidence(1.0), evidence(scale), evidence(1.0)]
    decision = units.decide_unit(frames)
    with pytest.raises(FrameRejected, match=f"another scale .* {scale:.2f} times the sequence's") as caught:
        units.check_frame(frames[1], frames, decision)
    assert caught.value.reason == "unit-mismatch"
    units.check_frame(frames[0], frames, decision)
    # landmarks that are wide, or a scan of which less is seen, are no other scale
    units.check_frame(replace(frames[0], eyes=frames[0].eyes * scale), frames, decision)
    units.check_frame(replace(frames[0], extent=frames[0].extent * scale), frames, decision)


def test_a_half_seen_face_is_no_other_unit() -> None:
    whole, half = evidence(1.0), evidence(0.5, landmarks=False)
    units.check_frame(half, [whole, half], units.decide_unit([whole, half]))


def test_a_wrong_declared_unit_is_refused() -> None:
    metres = evidence(0.001)
    with pytest.raises(FrameRejected, match=r"Correct `unit` in \[captures\] of mimicme.toml"):
        units.check_frame(metres, [metres], units.decide_unit([metres], "mm"))


def test_landmarks_of_something_else_are_left_out_of_account() -> None:
    mesh, marks = face()
    assert np.isnan(units.gather(mesh, marks * 1000).eyes)
    assert units.decide_unit([units.gather(mesh, marks * 1000)]).unit == "mm"


def test_outliers_do_not_change_the_extent() -> None:
    mesh, _ = face()
    mesh.vertices[0] = 1e6
    assert units.gather(mesh).extent < 230


def axis_rotations() -> list[np.ndarray]:
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                turns.append(matrix)
    return turns


@pytest.mark.parametrize("turn", axis_rotations())
def test_all_24_orientations_with_landmarks(turn: np.ndarray) -> None:
    nod = np.array([[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]])
    decision = units.decide_axes([evidence(rotation=turn @ nod)])
    assert np.allclose(decision.rotation @ turn, np.eye(3))
    assert not decision.mirrored
    assert (
        units.decide_axes([evidence(rotation=turn)], decision.up).rotation.tolist()
        == decision.rotation.tolist()
    )


def test_mirrored_axes_are_said() -> None:
    decision = units.decide_axes([evidence(rotation=np.diag([-1.0, 1, 1]))])
    assert decision.doubtful and not decision.mirrored
    assert "mirror" in decision.sentence
    assert np.isclose(np.linalg.det(decision.rotation), 1)


def test_axes_without_landmarks() -> None:
    up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up, z forward -> z up, -y forward
    assumed = units.decide_axes([evidence(landmarks=False)])
    assert assumed.up == "+y"
    assert "assumed" in assumed.sentence
    for declared in ("+z", "z", "auto"):
        decision = units.decide_axes([evidence(landmarks=False, rotation=up)], declared)
        assert decision.up == "+z"
        assert np.allclose(decision.rotation @ up, np.eye(3))
    assert units.decide_axes([]).rotation.tolist() == np.eye(3).tolist()
    for axis in units.AXES:
        rotation = units.decide_axes([], axis).rotation
        assert np.isclose(np.linalg.det(rotation), 1)
    with pytest.raises(ConfigError):
        units.decide_axes([], "up")


def test_file_from_scan_goes_back() -> None:
    turn = axis_rotations()[7]
    far = evidence(0.001, rotation=turn)
    unit, axes = units.decide_unit([far]), units.decide_axes([far])
    matrix = units.file_from_scan(unit, axes, [far])
    assert (matrix[:3, 3] == 0).all()
    mesh, _ = face()
    in_file = mesh.vertices @ turn.T * 0.001
    assert np.allclose(units.to_scan(matrix, in_file), mesh.vertices)


def test_a_capture_far_from_its_origin_is_moved_near() -> None:
    mesh, marks = face()
    away = np.array([3e6, 0, -2e6])
    seen = [units.gather(mesh.with_vertices(mesh.vertices + away), marks + away)]
    matrix = units.file_from_scan(units.decide_unit(seen), units.decide_axes(seen), seen)
    assert np.abs(units.to_scan(matrix, mesh.vertices + away)).max() < 300


def test_a_few_points_tell_the_axes_but_not_the_unit(small_face):
    """Outer eye corners lie 90 mm apart: taken for eye centres they would make a wrong unit of a right one."""
    few = np.full((68, 3), np.nan)
    few[[36, 45, 30, 48, 54]] = small_face.landmarks()[[36, 45, 30, 48, 54]]
    turned = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # z up
    mesh = small_face.mesh.with_vertices(small_face.vertices @ turned.T)
    found = units.gather(mesh, few @ turned.T)
    assert np.isnan(found.eyes)
    assert units.decide_unit([found]).unit == "mm"
    assert units.decide_axes([found]).up == "+z"


@pytest.mark.parametrize(
    ("backwards", "inward", "declared", "mirrored", "doubtful"),
    [
        (True, True, "auto", True, False),
        (True, False, "auto", False, True),
        (False, True, "auto", False, False),
        (True, False, "yes", True, False),
        (True, True, "no", False, True),
    ],
)
def test_a_mirror_image_is_mirrored_back_where_two_witnesses_say_so(
    backwards: bool, inward: bool, declared: str, mirrored: bool, doubtful: bool
) -> None:
    seen = replace(evidence(rotation=np.diag([-1.0 if backwards else 1.0, 1, 1])), inward=inward)
    decision = units.decide_axes([seen], mirrored=declared)
    assert (decision.mirrored, decision.doubtful) == (mirrored, doubtful)
    assert np.linalg.det(decision.rotation) == pytest.approx(-1 if mirrored else 1)
    assert ("mirrored back" in decision.sentence) == mirrored
    bare = replace(seen, axes=None)
    assert units.decide_axes([bare], mirrored=declared).mirrored == (declared == "yes")
