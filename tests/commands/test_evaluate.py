"""The measures against closed forms: a known error gives exactly that figure, no less and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mimicme.commands import evaluate as room
from mimicme.commands.evaluate import Truth, evaluate, format_table
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.formats.meshio import obj_bytes
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import write_ljson

F = 5
PICKED = np.arange(68) % 49  # the template vertex under each landmark of the made-up truth


def flat(side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A flat sheet of 10 mm squares in the plane z = 0, normals along +z."""
    x, y = (a.ravel() * 10.0 for a in np.meshgrid(np.arange(side), np.arange(side)))
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + side + 1, corner + side
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return np.stack([x, y, 0 * x], 1), faces


def truth(frames: int = F) -> Truth:
    """The sheet rises by 10 mm to the apex while the head turns."""
    vertices, _ = flat()
    amount = np.sin(np.pi * np.arange(frames) / max(frames - 1, 1)) ** 2 if frames > 1 else np.zeros(1)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for k in range(frames):
        a = np.radians(4.0 * k)
        poses[k, :3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
        poses[k, :3, 3] = k, 2 * k, 0
    still = vertices + 10 * amount[:, None, None] * [0, 0, 1]
    moved = np.stack([transform(m, v) for m, v in zip(poses, still, strict=True)])
    n = len(vertices)
    picked = np.arange(68) % n
    return Truth(
        Item("S001", "smile"),
        moved,
        np.ones((frames, n), bool),
        np.ones(n, bool),
        moved[:, picked],
        np.ones((frames, n), bool),
        poses,
        amount,
    )


def measure(vertices: np.ndarray, known: Truth, frame: int = 0) -> dict[str, float]:
    _, faces = flat()
    return room.frame_measures(vertices, known, frame, faces, known.vertices[frame], np.arange(68))


def test_the_truth_itself_is_without_error() -> None:
    known = truth()
    row = measure(known.vertices[0], known)
    assert set(row) == set(room.FRAME_MEASURES)
    assert max(row.values()) < 1e-5
    exact = dict(enumerate(known.vertices))
    found = room.sequence_measures(exact, dict(enumerate(known.head_pose)), known)
    assert found["amplitude"] == pytest.approx(1)
    assert max(found[n] for n in ("jitter", "pose_deg", "pose_mm")) < 1e-5


@pytest.mark.parametrize(
    ("shift", "corr", "along", "s2m"),
    [((0, 0, 2), 2, 0, 2), ((3, 0, 0), 3, 3, 0), ((3, 0, 4), 5, 3, 4)],
    ids=["across", "along", "both"],
)
def test_a_known_shift(shift: tuple[float, ...], corr: float, along: float, s2m: float) -> None:
    known = truth()
    row = measure(known.vertices[0] + shift, known)
    assert row["corr"] == pytest.approx(corr)
    assert row["corr_p95"] == pytest.approx(corr)
    assert row["along"] == pytest.approx(along, abs=1e-6)
    assert row["s2m_median"] == pytest.approx(s2m, abs=1e-5)
    assert row["lm"] == pytest.approx(corr)
    assert row["bad_pct"] == 0


def test_only_core_vertices_with_data_count() -> None:
    known = truth()
    half = np.arange(len(known.core)) % 2 == 0
    moved = known.vertices[0] + np.where(half, 0, 9.0)[:, None] * [1, 0, 0]
    assert measure(moved, replace(known, core=half))["corr"] == 0
    assert measure(moved, replace(known, valid=np.tile(half, (F, 1))))["corr"] == 0
    assert measure(moved, replace(known, core=~half))["corr"] == pytest.approx(9)
    assert measure(moved, known)["corr"] == pytest.approx(4.5)


def test_flipped_and_collapsed_triangles_are_counted() -> None:
    known = truth()
    _, faces = flat()
    assert measure(known.vertices[0] * [-1, 1, 1], known)["bad_pct"] == 100
    collapsed = known.vertices[0].copy()
    a, b, c = faces[0]
    collapsed[a] = (collapsed[b] + collapsed[c]) / 2
    assert 0 < measure(collapsed, known)["bad_pct"] < 5
    assert measure(known.vertices[0] * 0.5, known)["bad_pct"] == 0


def test_jitter_of_a_zigzag_and_of_a_drift() -> None:
    known = truth()
    zigzag = {k: v + [(-1) ** k * 0.5, 0, 0] for k, v in enumerate(known.vertices)}
    assert room.jitter(zigzag, known) == pytest.approx(2)  # |0.5 - 2 * (-0.5) + 0.5|
    drift = {k: v + [k, 0, 0] for k, v in enumerate(known.vertices)}
    assert room.jitter(drift, known) == pytest.approx(0, abs=1e-9)
    del zigzag[2]
    assert room.jitter(zigzag, known) is None


def test_amplitude_of_half_the_motion() -> None:
    known = truth()
    back = [np.linalg.inv(m) for m in known.head_pose]
    still = [transform(m, v) for m, v in zip(back, known.vertices, strict=True)]
    half = {
        k: transform(m, still[0] + 0.5 * (s - still[0]))
        for k, (m, s) in enumerate(zip(known.head_pose, still, strict=True))
    }
    assert room.amplitude(half, known) == pytest.approx(0.5)
    assert room.amplitude({0: half[0]}, known) is None
    assert room.amplitude(half, replace(known, core=np.zeros_like(known.core))) is None


def test_head_motion_off_by_a_known_turn() -> None:
    known = truth()
    a = np.radians(3)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    poses = {k: m if k == 0 else m @ turn for k, m in enumerate(known.head_pose)}
    degrees, shift = room.head_motion(poses, known)
    bridge = known.landmarks[0, 27]
    assert degrees == pytest.approx(3)
    assert shift == pytest.approx(np.linalg.norm(transform(turn, bridge) - bridge))
    offset = {k: m @ turn for k, m in enumerate(known.head_pose)}  # a constant offset is no motion
    assert room.head_motion(offset, known) == pytest.approx((0, 0), abs=1e-5)
    assert room.head_motion({1: poses[1]}, known) == (None, None)


@pytest.fixture(scope="module")
def scored(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A release of the fake sheet, 1 mm too far along +x in the file's unit, and its truth."""
    folder = tmp_path_factory.mktemp("evaluate")
    fakes.packed(folder / "release.h5", fakes.inputs(folder))
    shape = fakes.template()
    (folder / "template").mkdir()
    (folder / "template" / "template.obj").write_bytes(obj_bytes(shape.mesh))
    landmarks = Landmarks(shape.vertices[PICKED])
    (folder / "template" / "template.ljson").write_bytes(write_ljson(landmarks))
    for item, numbers in (
        (fakes.SMILE, range(3)),
        (Item("S001", "neutral"), range(1)),
        (Item("S9", "pain"), [0]),
    ):
        n, v = len(list(numbers)), len(shape.vertices)
        true = []
        for row in range(n):
            canonical = fakes.registered(item, row, shape).astype(float)
            true.append(0.1 * transform(fakes.pose_of(row), canonical) - [1, 0, 0])
            capture = folder / "captures" / str(item) / f"{row:04d}.obj"
            capture.parent.mkdir(parents=True, exist_ok=True)
            capture.write_bytes(obj_bytes(Mesh(true[row] + [1, 0, 0], shape.faces), decimals=9))
        path = folder / "truth" / item.subject / f"{item.sequence}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            vertices=np.array(true, "f4"),
            valid=np.ones((n, v), bool),
            core=np.ones(v, bool),
            landmarks=np.array(true)[:, PICKED],
            region=np.ones((n, v + 3), bool),
            head_pose=np.tile(np.eye(4), (n, 1, 1)),
            amount=np.array([0.0, 0.5, 1.0])[:n],
        )
    return folder / "release.h5", folder


def test_a_release_is_compared_in_the_files_frame(scored: tuple[Path, Path]) -> None:
    result = evaluate(*scored)
    assert result["frames"] == 3
    assert result["rejected"] == ["S001/smile/0001"]
    assert result["missing"] == ["S9/pain/0000"]
    assert set(result["sequences"]) == {"neutral", "smile"}
    for row in (result["all"], result["sequences"]["smile"], result["expressions"], result["apex"]):
        assert row["corr"] == pytest.approx(1, abs=1e-5)
        assert row["lm"] == pytest.approx(1, abs=1e-5)
        assert row["s2m_median"] == pytest.approx(0, abs=1e-5)
    assert "jitter" not in result["all"]  # the middle frame is rejected


def test_the_table_shows_every_measure(scored: tuple[Path, Path]) -> None:
    text = format_table(evaluate(*scored))
    head, *lines = text.splitlines()
    assert head.split() == ["sequence", *room.MEASURES]
    assert [line.split()[0] for line in lines[:5]] == ["neutral", "smile", "EXPRESSIONS", "APEX", "ALL"]
    assert "1 frames rejected: S001/smile/0001" in text
    assert "1 frames missing: S9/pain/0000" in text


def test_what_is_no_truth_is_said(scored: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no truth"):
        evaluate(scored[0], tmp_path)
    (tmp_path / "truth" / "S001").mkdir(parents=True)
    (tmp_path / "truth" / "S001" / "smile.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(scored[0], tmp_path)
