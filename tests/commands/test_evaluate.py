"""The measures against closed forms: a known error gives exactly that figure, no less and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

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
from mimicme.pipeline.release import Release

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
    near = room.feature_vertices(known, faces)
    return room.frame_measures(vertices, known, frame, faces, known.vertices[frame], np.arange(68), near)


def test_the_truth_itself_is_without_error() -> None:
    known = truth()
    row = measure(known.vertices[0], known)
    assert set(row) == {*room.SURFACE_MEASURES, "feature", "feature_lips", "feature_lids", "feature_brows"}
    assert max(row.values()) < 1e-5
    exact = dict(enumerate(known.vertices))
    found = room.sequence_measures(exact, dict(enumerate(known.head_pose)), known)
    assert found["amplitude"] == pytest.approx(1)
    assert max(found[n] for n in ("jitter", "pose_deg", "pose_mm")) < 1e-5


@pytest.mark.parametrize(
    ("shift", "corr", "along", "s2m"),
    [((0, 0, 2), 2, 0, 2), ((1, 0, 0), 1, 1, 0), ((3, 0, 0), 3, 3, 0), ((3, 0, 4), 5, 3, 4)],
    ids=["across", "along", "further along", "both"],
)
def test_a_known_shift(shift: tuple[float, ...], corr: float, along: float, s2m: float) -> None:
    known = truth()
    row = measure(known.vertices[0] + shift, known)
    assert row["corr"] == pytest.approx(corr)
    assert row["corr_p95"] == pytest.approx(corr)
    for name in ("along", "feature", "feature_lips", "feature_lids", "feature_brows"):
        assert row[name] == pytest.approx(along, abs=1e-6)
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


STEP, SIDE = 2.0, 76  # mm; vertices a side of the sheet below


def sheet(drop: Any = None) -> tuple[Truth, np.ndarray]:
    """A flat sheet 150 mm wide with the landmarks of a face on it; without the triangles that have a corner in
    `drop` (V,)."""
    vertices, faces = flat(SIDE)
    vertices *= STEP / 10
    if drop is not None:
        faces = faces[~drop(vertices)[faces].any(axis=1)]
    marks = np.zeros((68, 3))
    marks[:17] = np.linspace([20, 90, 0], [130, 90, 0], 17)
    for first, last, start, stop in (
        (17, 21, (35, 125), (65, 125)), (22, 26, (85, 125), (115, 125)),  # brows
        (27, 30, (75, 105), (75, 80)), (31, 35, (67, 70), (83, 70)),  # nose
        (48, 54, (55, 45), (95, 45)), (55, 59, (90, 35), (60, 35)),  # lips
        (60, 64, (60, 40), (90, 40)), (65, 67, (85, 40), (65, 40)),
        (36, 39, (40, 105), (60, 105)), (40, 41, (55, 101), (45, 101)),  # lids
        (42, 45, (90, 105), (110, 105)), (46, 47, (105, 101), (95, 101)),
    ):  # fmt: skip
        marks[first : last + 1, :2] = np.linspace(start, stop, last + 1 - first)
    n = len(vertices)
    one = np.ones((1, n), bool)
    return Truth(
        Item("S001", "smile"), vertices[None], one, one[0], marks[None], one, np.eye(4)[None], np.zeros(1)
    ), faces


def to_polylines(points: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
    """(n,) distance of points (n, 3) to the segments of lines (m, 3)."""
    found = np.full(len(points), np.inf)
    for line in lines:
        for a, b in zip(line[:-1], line[1:], strict=True):
            at = np.clip((points - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
            found = np.minimum(found, np.linalg.norm(points - (a + at[:, None] * (b - a)), axis=1))
    return found


def test_a_vertex_near_the_lines_is_near_a_feature() -> None:
    known, faces = sheet()
    marks = known.landmarks[0]
    lines = {
        "feature_lips": [
            marks[[48, 49, 50, 51, 52, 53, 54]],
            marks[[48, 59, 58, 57, 56, 55, 54]],
            marks[[60, 61, 62, 63, 64, 65, 66, 67, 60]],
        ],
        "feature_lids": [marks[[36, 37, 38, 39, 40, 41, 36]], marks[[42, 43, 44, 45, 46, 47, 42]]],
        "feature_brows": [marks[17:22], marks[22:27]],
    }
    near = room.feature_vertices(known, faces)
    every = np.zeros(len(known.core), bool)
    for name, of in lines.items():
        distance = to_polylines(known.vertices[0], of)
        unsure = np.abs(distance - room.FEATURE_MM) < 0.05  # the lines are sampled
        assert np.array_equal(near[name][~unsure], (distance < room.FEATURE_MM)[~unsure])
        every |= near[name]
    assert np.array_equal(near["feature"], every)
    assert not near["feature_nose"].any()
    assert 0.05 < every.mean() < 0.3
    small = replace(known, core=known.vertices[0][:, 0] < 75)
    assert np.array_equal(room.feature_vertices(small, faces)["feature"], every & small.core)


def test_only_what_moves_near_a_feature_counts() -> None:
    known, faces = sheet()
    near = room.feature_vertices(known, faces)

    def moved(where: np.ndarray) -> dict[str, float]:
        vertices = known.vertices[0] + where[:, None] * [1.0, 0, 0]
        return room.frame_measures(vertices, known, 0, faces, known.vertices[0], np.arange(68), near)

    elsewhere = moved(~near["feature"])
    assert elsewhere["along"] == pytest.approx(1 - near["feature"].mean())
    assert elsewhere["feature"] == 0
    lips = moved(near["feature_lips"])
    assert (lips["feature_lips"], lips["feature_lids"], lips["feature_brows"]) == pytest.approx((1, 0, 0))
    assert lips["feature"] == pytest.approx(near["feature_lips"].sum() / near["feature"].sum())
    assert "feature_nose" not in lips  # a flat sheet has no crease there
    unseen = replace(known, valid=~near["feature"][None])
    row = room.frame_measures(known.vertices[0], unseen, 0, faces, known.vertices[0], np.arange(68), near)
    assert not [name for name in row if name.startswith("feature")]


def folded(known: Truth, at: float, left: float = 0, right: float = np.inf) -> Truth:
    """The sheet with a fold of 90 degrees along y = `at`, between two x."""
    x, y, _ = known.vertices[0].T
    height = np.where((x >= left) & (x <= right), np.maximum(5 - np.abs(y - at), 0), 0)
    return replace(known, vertices=np.stack([x, y, height], axis=1)[None])


def test_a_crease_is_a_feature_of_the_region_it_is_near() -> None:
    known, faces = sheet()
    flat_sets = room.feature_vertices(known, faces)
    far = folded(known, 10)
    sets = room.feature_vertices(far, faces)
    fold = np.abs(far.vertices[0][:, 1] - 10) < 1
    assert sets["feature"][fold].all() and not flat_sets["feature"][fold].any()
    assert not sets["feature_lips"][fold].any() and not sets["feature_nose"].any()  # it is far from both
    at_nose = room.feature_vertices(folded(known, 70, 65, 85), faces)
    x, y, _ = known.vertices[0].T
    assert at_nose["feature_nose"][(np.abs(y - 70) < 1) & (x > 66) & (x < 84)].all()
    assert not at_nose["feature_nose"][np.hypot(x - 75, y - 70) > 30].any()
    assert np.array_equal(at_nose["feature_lids"], flat_sets["feature_lids"])


def test_a_single_vertex_out_of_place_is_no_crease() -> None:
    known, faces = sheet()
    spiked = known.vertices.copy()
    spiked[0, np.argmin(np.linalg.norm(spiked[0] - [76, 10, 0], axis=1)), 2] = 1.0
    assert room.mean_curvature(spiked[0], faces).max() > room.CREASE_PER_MM
    sets = room.feature_vertices(replace(known, vertices=spiked), faces)
    assert np.array_equal(sets["feature"], room.feature_vertices(known, faces)["feature"])


def test_the_borders_of_holes_are_features_and_the_outer_border_is_none() -> None:
    whole, _ = sheet()
    # a nostril, further than 6 mm from every line
    known, faces = sheet(lambda v: np.linalg.norm(v - [75, 66, 0], axis=1) < 3)
    sets = room.feature_vertices(known, faces)
    x, y, _ = known.vertices[0].T
    from_hole = np.hypot(x - 75, y - 66)
    assert sets["feature_nose"][from_hole < 6].all() and not sets["feature_nose"][from_hole > 14].any()
    x, y, _ = whole.vertices[0].T
    assert not sets["feature"][(x < 5) | (x > 145) | (y < 5) | (y > 145)].any()


def test_the_lines_of_the_truth_come_before_its_landmarks() -> None:
    known, faces = sheet()
    brow = np.linspace([20, 140, 0], [60, 140, 0], 5)
    given = replace(known, lines={"brows": np.stack([brow, brow + [70, 0, 0]])[None]})
    sets, before = room.feature_vertices(given, faces), room.feature_vertices(known, faces)
    inside = to_polylines(known.vertices[0], [brow, brow + [70, 0, 0]]) < room.FEATURE_MM - 0.05
    assert sets["feature_brows"][inside].all()
    assert not sets["feature_brows"][before["feature_brows"]].any()
    assert np.array_equal(sets["feature_lips"], before["feature_lips"])


def test_features_are_those_of_the_most_neutral_frame() -> None:
    known, faces = sheet()
    raised = folded(known, 10)
    two = replace(
        known,
        vertices=np.concatenate([raised.vertices, known.vertices]),
        landmarks=np.tile(known.landmarks, (2, 1, 1)),
        amount=np.array([1.0, 0.0]),
    )
    neutral = room.feature_vertices(two, faces)["feature"]
    assert np.array_equal(neutral, room.feature_vertices(known, faces)["feature"])


@pytest.mark.parametrize("radius", [3.0, 30.0])
def test_mean_curvature_of_a_plane_a_cylinder_and_a_sphere(radius: float) -> None:
    side = 61
    plane, faces = flat(side)
    u, v = (np.radians(a) for a in (plane[:, :2] / (side - 1) / 10 * 60 - 30).T)
    cylinder = radius * np.stack([np.sin(u), v, np.cos(u)], axis=1)
    ball = radius * np.stack([np.sin(u) * np.cos(v), np.sin(v), np.cos(u) * np.cos(v)], axis=1)
    x, y = plane[:, 0], plane[:, 1]
    inside = (x > 0) & (y > 0) & (x < x.max()) & (y < y.max())
    for vertices, expected in ((plane, 0.0), (cylinder, 1 / (2 * radius)), (ball, 1 / radius)):
        found = room.mean_curvature(vertices, faces)
        assert found[inside] == pytest.approx(expected, rel=0.01, abs=1e-9)
        assert not found[~inside].any()


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
    blocks = [block.splitlines() for block in text.split("\n\n")]
    assert len(blocks) == 3
    for (head, *lines), names in zip(blocks, room.TABLE_BLOCKS, strict=False):
        assert head.split() == ["sequence", *names]
        assert [line.split()[0] for line in lines] == ["neutral", "smile", "EXPRESSIONS", "APEX", "ALL"]
        assert {len(line) for line in (head, *lines)} == {len(head)} and len(head) < 140
    assert sorted(name for block in room.TABLE_BLOCKS for name in block) == sorted(room.MEASURES)
    assert "1 frames rejected: S001/smile/0001" in text
    assert "1 frames missing: S9/pain/0000" in text


class WithLight(Release):
    """A release whose figures of quality say how much light is between the lips: 2, 3, ... mm^2 by row."""

    def values(self, item: Item, name: str) -> np.ndarray:
        table = super().values(item, name)
        if name != "quality":
            return table
        wider = np.zeros(len(table), [*table.dtype.descr, ("mouth_light", "f4")])
        for column in table.dtype.names or ():
            wider[column] = table[column]
        wider["mouth_light"] = 2 + np.arange(len(table))
        return wider


def test_light_between_lips_counts_where_they_are_truly_closed(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    path, folder = scored
    with WithLight(path) as release:
        assert room.CLOSED_LIGHT not in evaluate(release, folder)["all"]  # that truth does not say
    other = tmp_path / "truth" / "S001"
    other.mkdir(parents=True)
    for name in ("captures", "template"):
        (tmp_path / name).symlink_to(folder / name)
    with np.load(folder / "truth" / "S001" / "smile.npz") as known:
        arrays = dict(known)

    def light(closed: list[bool], opened: Release) -> float | None:
        np.savez(other / "smile.npz", **arrays, lips_closed=np.array(closed))
        found = evaluate(opened, tmp_path)["sequences"]["smile"].get(room.CLOSED_LIGHT)
        return None if found is None else float(found)

    with WithLight(path) as release:
        assert light([True, True, True], release) == pytest.approx(3)  # of 2 and 4: one is rejected
        assert light([False, False, True], release) == pytest.approx(4)
        assert light([False, True, False], release) is None
    with Release(path) as release:
        assert light([True, True, True], release) is None  # it has no such figure


def test_the_truth_of_the_second_maker_is_read_with_what_it_has_besides(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    with np.load(scored[1] / "truth" / "S001" / "smile.npz") as known:
        arrays = dict(known)
    (tmp_path / "S001").mkdir()
    lids = np.arange(3 * 4 * 5 * 3, dtype="f4").reshape(3, 4, 5, 3)
    np.savez(tmp_path / "S001" / "smile.npz", **arrays, lids=lids, lips_closed=np.array([True, False, True]))
    found = room.read_truth(tmp_path / "S001" / "smile.npz")
    assert found.lips_closed is not None and found.lips_closed.tolist() == [True, False, True]
    assert list(found.lines) == ["lids"] and np.array_equal(found.lines["lids"], lids)
    before = room.read_truth(scored[1] / "truth" / "S001" / "smile.npz")
    assert before.lips_closed is None and not before.lines


def test_what_is_no_truth_is_said(scored: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no truth"):
        evaluate(scored[0], tmp_path)
    (tmp_path / "truth" / "S001").mkdir(parents=True)
    (tmp_path / "truth" / "S001" / "smile.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(scored[0], tmp_path)
