"""Preparing a template: units, axes, landmarks, layouts, files; the embedded one where it is installed."""

from __future__ import annotations

import importlib.util
import itertools
import json

import numpy as np
import pytest
from small import no_layout

from mimicme.pipeline.captures import units
from mimicme.pipeline.errors import CheckpointError, InputError, MissingDependencyError
from mimicme.pipeline.formats.meshio import write_obj
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import IBUG68, Landmarks
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.template import assemble, load_prepared, prepare, save_prepared, template_source_digest
from mimicme.pipeline.template.lip_points import points_on_other_lip

MM = {"mm": 1.0, "cm": 0.1, "m": 0.001, "um": 1000.0, "in": 1 / 25.4}


def head(n: int = 40):
    """A face-like bump in mm with 68 landmarks on it: eyes 62 mm apart, the nose standing out."""
    x, y = np.meshgrid(np.linspace(-80, 80, n + 1), np.linspace(-100, 80, n + 1))
    i = (np.arange(n * n) // n) * (n + 1) + np.arange(n * n) % n
    faces = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])

    def depth(x, y):
        return 60 - (x / 80) ** 2 * 50 - (y / 100) ** 2 * 15 + 25 * np.exp(-(x**2 + y**2) / 200)

    a = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    b = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    jaw = np.linspace(-np.pi, 0, 17)
    parts = [
        np.stack([65 * np.cos(jaw), 85 * np.sin(jaw)], 1),
        np.stack([np.linspace(-50, -15, 5), np.full(5, 50.0)], 1),
        np.stack([np.linspace(15, 50, 5), np.full(5, 50.0)], 1),
        np.stack([np.zeros(4), np.linspace(30, 0, 4)], 1),
        np.stack([np.linspace(-12, 12, 5), np.full(5, -10.0)], 1),
        np.stack([-31 - 12 * np.cos(a), 30 + 5 * np.sin(a)], 1),
        np.stack([31 - 12 * np.cos(a), 30 + 5 * np.sin(a)], 1),
        np.stack([-22 * np.cos(b), -40 + 8 * np.sin(b)], 1),
    ]
    p = np.concatenate(parts)
    vertices = np.stack([x.ravel(), y.ravel(), depth(x, y).ravel()], 1)
    return Mesh(vertices, faces.astype(np.int32)), np.c_[p, depth(*p.T)]


def make(mesh, points, **more):
    return assemble(mesh, points, IBUG68, "test", **more)


def with_uv(mesh, uv=None):
    uv = (mesh.vertices[:, :2] + [80, 100]) / [160, 180] if uv is None else uv
    return Mesh(mesh.vertices, mesh.faces, uv, mesh.faces)


@pytest.mark.parametrize("unit", MM)
def test_every_unit_is_recognised_by_the_eyes(unit):
    mesh, points = head()
    template = make(with_uv(mesh.with_vertices(mesh.vertices * MM[unit])), points * MM[unit])
    assert np.abs(template.vertices - mesh.vertices).max() < 1e-9
    assert template.notes[0].startswith(f"unit: {unit} ")
    assert "62.0 mm" in template.notes[0]


def test_a_face_of_no_size_is_refused():
    mesh, points = head()
    with pytest.raises(InputError, match="eyes"):
        make(mesh.with_vertices(mesh.vertices * 7), points * 7)


@pytest.mark.parametrize("seed", range(4))
def test_other_axes_are_turned_by_right_angles_and_said(seed):
    mesh, points = head()
    axes = [pair for pair in itertools.product(units.AXES, units.AXES) if pair[0][1] != pair[1][1]]
    rotations = [units.rotation_of(*pair) for pair in axes if pair != ("+y", "+z")]
    assert len(rotations) == 23
    turn = rotations[np.random.default_rng(seed).integers(len(rotations))]
    template = make(with_uv(mesh.with_vertices(mesh.vertices @ turn.T)), points @ turn.T)
    assert np.abs(template.vertices - mesh.vertices).max() < 1e-9
    assert "turned" in template.notes[1]


def test_captures_and_template_are_measured_by_one_rule():
    mesh, points = head()
    for size in (0.64, 0.66, 1.35, 1.4):  # of eyes 62 mm apart: within 40 to 85 mm, or not
        marks = points * size
        evidence = units.gather(mesh.with_vertices(mesh.vertices * size), marks)
        if units._unit_of(evidence) is None:
            with pytest.raises(InputError, match="40 to 85 mm"):
                make(mesh.with_vertices(mesh.vertices * size), marks)
        else:
            make(with_uv(mesh.with_vertices(mesh.vertices * size)), marks)


def test_landmarks_in_no_order_of_a_face_are_refused():
    mesh, points = head()
    points[48:68] = points[36:48].mean(0)  # the mouth between the eyes
    with pytest.raises(InputError, match="eyes and mouth"):
        make(mesh, points)


def test_a_tilted_face_stays_tilted():
    mesh, points = head()
    a = np.radians(20)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    template = make(with_uv(mesh.with_vertices(mesh.vertices @ turn.T)), points @ turn.T)
    assert (template.vertices == mesh.vertices @ turn.T).all()


def test_a_mirrored_face_is_refused():
    mesh, points = head()
    with pytest.raises(InputError, match="mirrored"):
        make(mesh.with_vertices(mesh.vertices * [-1, 1, 1]), points * [-1, 1, 1])


def test_landmarks_are_carried_by_triangles():
    mesh, points = head()
    template = make(with_uv(mesh), points)
    assert np.abs(template.landmarks() - points).max() < 2
    assert np.abs(template.landmark_weights.sum(1) - 1).max() < 1e-12
    assert template.landmark_weights.min() >= 0
    moved = template.landmarks(template.vertices * 2 + 1)
    assert np.abs(moved - (template.landmarks() * 2 + 1)).max() < 1e-9


def test_landmarks_of_another_mesh_are_refused():
    mesh, points = head()
    with pytest.raises(InputError, match="do not lie"):
        make(mesh, points + [0, 0, 300])


def test_a_vertex_that_is_no_number_is_refused_though_no_triangle_has_it(tmp_path):
    """Left out, it would give those after it other numbers than the file's."""
    mesh, points = head()
    lone = Mesh(np.insert(mesh.vertices, 5, np.nan, axis=0), mesh.faces + (mesh.faces >= 5).astype(np.int32))
    write_obj(tmp_path / "head.obj", lone)
    (tmp_path / "head.ljson").write_bytes(write_landmarks(Landmarks(points), "head.ljson"))
    with pytest.raises(InputError, match="1 of 1,682 vertices are not finite numbers") as refused:
        prepare(tmp_path / "head.obj")
    assert "vertex 6: [nan, nan, nan]" in str(refused.value)


def test_an_absent_landmark_is_named():
    mesh, points = head()
    points[40] = np.nan
    with pytest.raises(InputError, match=IBUG68[40]):
        make(mesh, points)


def test_clockwise_triangles_are_turned_round():
    mesh, points = head()
    template = make(Mesh(mesh.vertices, mesh.faces[:, ::-1]), points)
    corner = template.vertices[template.faces]
    assert np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2].min() > 0
    assert any("turned round" in note for note in template.notes)
    assert np.abs(template.landmarks() - points).max() < 2


def test_a_layout_is_made_where_there_is_none():
    mesh, points = head()
    template = make(mesh, points)
    assert "0 flipped triangles, 0 border crossings" in template.notes[-1]
    eyes = np.array(
        [
            np.einsum("lk,lkx->lx", template.landmark_weights, template.uv[template.landmark_vertices])[k]
            for k in (36, 45, 8)
        ]
    )
    assert eyes[0, 0] < eyes[1, 0]  # the subject's left is on the right, as one sees a face
    assert abs(eyes[0, 1] - eyes[1, 1]) < 0.01
    assert eyes[2, 1] < eyes[0, 1]  # the chin is below


def test_udim_tiles_are_laid_side_by_side():
    mesh, points = head()
    uv = (mesh.vertices[:, :2] + [80, 100]) / [160, 180] * 0.98 + 0.01
    faces = mesh.faces
    other = mesh.vertices[faces].mean(1)[:, 0] > 0
    both = np.concatenate([uv, uv + [1, 0]])
    uv_faces = faces + len(uv) * other[:, None].astype(np.int32)
    template = make(Mesh(mesh.vertices, faces, both, uv_faces.astype(np.int32)), points)
    assert template.uv.min() >= 0
    assert template.uv.max() <= 1
    assert template.uv[template.uv_faces[~other]].max(axis=(0, 1))[0] <= 0.5
    assert template.uv[template.uv_faces[other]].min(axis=(0, 1))[0] >= 0.5
    assert "1001, 1002" in template.notes[-1]


def test_a_coordinate_on_the_border_of_two_tiles_lies_in_both():
    mesh, points = head()
    # cut where the grid has a column of vertices at u = 1 that both tiles share
    uv = np.stack([2 * (mesh.vertices[:, 0] - mesh.vertices[:, 0].min()) / np.ptp(mesh.vertices[:, 0]),
                   (mesh.vertices[:, 1] - mesh.vertices[:, 1].min()) / np.ptp(mesh.vertices[:, 1])], 1)  # fmt: skip
    right = uv[mesh.faces].mean(1)[:, 0] > 1
    border = np.intersect1d(mesh.faces[right], mesh.faces[~right])
    assert len(border) > 10
    uv[border, 0] = 1
    template = make(with_uv(mesh, uv), points)
    assert "2 UDIM tile(s) (1001, 1002) laid 2 x 2" in template.notes[-1]
    given, laid = uv[template.faces], template.uv[template.uv_faces]
    # every triangle keeps its shape, at half the size, in its tile
    np.testing.assert_allclose(laid - laid[:, :1], (given - given[:, :1]) / 2, atol=1e-12)
    middle = laid.mean(1)[:, 0]
    side = given.mean(1)[:, 0] > 1
    assert (middle[side] > 0.5).all()
    assert (middle[~side] < 0.5).all()


def test_a_layout_that_runs_out_of_the_square_is_shrunk_not_folded():
    mesh, points = head()
    uv = mesh.vertices[:, :2] / 70 + [0.3, 0.1]
    template = make(with_uv(mesh, uv), points)
    assert "no UDIM layout" in template.notes[-1]
    assert template.uv.min() == 0
    assert template.uv.max() == pytest.approx(1)
    scale = 1 / np.ptp(uv, axis=0).max()
    np.testing.assert_allclose(template.uv, (uv - uv.min(0)) * scale, atol=1e-12)


def write(folder, scale=1.0):
    mesh, points = head(20)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices * scale]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces]
    (folder / "face.obj").write_text("\n".join(lines) + "\n")
    rows = "\n".join(f"{x} {y} {z}" for x, y, z in points * scale)
    (folder / "face.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    return folder / "face.obj"


def test_a_file_with_landmarks_and_masks_beside_it(tmp_path):
    path = write(tmp_path)
    before = template_source_digest(path)
    plain = prepare(path)
    assert plain.name == "face"
    assert len(plain.vertices) == 21 * 21
    assert not plain.masks
    mask = np.linspace(0, 1, 21 * 21)
    np.savez(tmp_path / "face.masks.npz", nose=mask)
    masked = prepare(path)
    assert (masked.masks["nose"] == mask).all()
    assert masked.digest != plain.digest
    assert template_source_digest(path) != before
    np.savez(tmp_path / "face.masks.npz", nose=mask[:5])
    with pytest.raises(InputError, match="nose"):
        prepare(path)


def test_quads_of_a_file_are_remembered(tmp_path):
    path = write(tmp_path)
    plain = prepare(path)
    assert plain.polygons is None
    lines = path.read_text().splitlines(keepends=True)
    halves = [line.split()[1:] for line in lines if line.startswith("f ")]
    n = len(halves) // 2
    quads = [
        f"f {' '.join([*first, second[2]])}\n" for first, second in zip(halves[:n], halves[n:], strict=True)
    ]
    path.write_text("".join([*(line for line in lines if not line.startswith("f ")), *quads]))
    template = prepare(path)
    assert template.polygons.tolist() == np.repeat(np.arange(n), 2).tolist()
    assert sorted(map(tuple, template.faces.tolist())) == sorted(map(tuple, plain.faces.tolist()))
    assert f"faces: {n} polygons, cut into {2 * n} triangles" in template.notes
    save_prepared(template, tmp_path / "t.h5")
    assert (load_prepared(tmp_path / "t.h5").polygons == template.polygons).all()


def test_missing_files_say_what_to_write(tmp_path):
    with pytest.raises(InputError, match="not there"):
        prepare(tmp_path / "no.obj")
    path = write(tmp_path)
    (tmp_path / "face.pts").unlink()
    with pytest.raises(InputError, match=r"face\.ljson"):
        prepare(path)


def test_a_broken_mesh_is_an_input_error(tmp_path):
    path = write(tmp_path)
    path.write_text("v 1 2\nf 1 2 3\n")
    with pytest.raises(InputError):
        prepare(path)


def test_saving_is_deterministic_and_complete(tmp_path):
    mesh, points = head(10)
    template = make(with_uv(mesh), points, masks={"b": np.ones(121), "a": np.zeros(121)})
    first, second = tmp_path / "a" / "t.h5", tmp_path / "b.h5"
    save_prepared(template, first)
    save_prepared(template, second)
    assert first.read_bytes() == second.read_bytes()
    loaded = load_prepared(first)
    for name in ("vertices", "faces", "uv", "uv_faces", "landmark_vertices", "landmark_weights"):
        assert getattr(loaded, name).tobytes() == getattr(template, name).tobytes()
        assert getattr(loaded, name).dtype == getattr(template, name).dtype
    assert loaded.landmark_names == IBUG68
    assert (loaded.name, loaded.digest, loaded.notes) == (template.name, template.digest, template.notes)
    assert sorted(loaded.masks) == ["a", "b"]
    assert load_prepared(first) is loaded
    moved = make(with_uv(mesh.with_vertices(mesh.vertices + [1, 0, 0])), points + [1, 0, 0])
    assert moved.digest != template.digest
    save_prepared(moved, first)
    assert load_prepared(first).digest == moved.digest


def test_a_foreign_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not there"):
        load_prepared(tmp_path / "none.h5")
    (tmp_path / "x.h5").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        load_prepared(tmp_path / "x.h5")


def test_without_menpo3d_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="make install"):
        template_source_digest("menpo3d")


def with_slit():
    """A head whose mouth is a slit along y = -40 between x = -20 and 20, with lips 0.2 mm apart, and its landmarks; the
    middle of the lower lip's inner rim a little nearer to the upper lip."""
    mesh, points = head(80)
    vertices, faces = mesh.vertices.copy(), mesh.faces.copy()
    row = np.unique(vertices[:, 1])
    at = row[np.abs(row + 40).argmin()]
    on = np.flatnonzero((vertices[:, 1] == at) & (np.abs(vertices[:, 0]) < 19))
    double = np.arange(len(vertices), len(vertices) + len(on))
    vertices = np.concatenate([vertices, vertices[on] - [0, 0.2, 0]])
    below = vertices[faces].mean(axis=1)[:, 1] < at
    for old, new in zip(on, double, strict=True):
        faces[below[:, None] & (faces == old)] = new
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    points[48:60] = np.c_[-22 * np.cos(around), at + 8 * np.sin(around), points[48:60, 2]]
    points[61:64] = np.c_[[-6, 0, 6], np.full(3, at), np.zeros(3)]
    points[65:68] = np.c_[[6, 0, -6], np.full(3, at - 0.2), np.zeros(3)]
    points[66, 1] = at - 0.05
    points[61:68, 2] = mesh.vertices[on, 2].mean()
    return Mesh(vertices, faces), points, on, double


def test_a_point_of_the_lower_lip_lies_on_the_lower_lip():
    mesh, points, upper, lower = with_slit()
    with no_layout():
        template = make(mesh, points)
    said = [note for note in template.notes if "other lip" in note]
    assert len(said) == 1
    assert "66" in said[0]
    opened = template.vertices.copy()
    opened[lower] -= [0, 10, 0]
    moved = (template.landmarks(opened) - template.landmarks())[:, 1]
    np.testing.assert_allclose(moved[[61, 62, 63, 65, 66, 67]], [0, 0, 0, -10, -10, -10], atol=0.5)


@pytest.mark.parametrize(("upper", "lower"), [(8, 8), (3, 8), (2, 6), (8, 3)])
def test_lips_of_one_piece_are_left_alone(upper, lower):
    """Where one of them is thin as well, and the way to its outer rim is the shorter one from both."""
    mesh, points = head(160)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    high = np.where(np.sin(around) > 0, upper, lower)
    points[48:60, :2] = np.c_[-22 * np.cos(around), -40 + high * np.sin(around)]
    points[60:68, :2] = np.c_[[-15, -6, 0, 6, 15, 6, 0, -6], np.full(8, -40.0)]
    x, y = points[48:68, :2].T
    points[48:68, 2] = 60 - (x / 80) ** 2 * 50 - (y / 100) ** 2 * 15 + 25 * np.exp(-(x**2 + y**2) / 200)
    with no_layout():
        template = make(mesh, points)
    assert not [note for note in template.notes if "other lip" in note]
    assert np.linalg.norm(template.landmarks()[48:68] - points[48:68], axis=1).max() < 0.1


@pytest.mark.skipif(importlib.util.find_spec("menpo3d") is None, reason="menpo3d is not installed")
def test_the_embedded_template_is_in_micrometres_and_keeps_every_vertex():
    with no_layout():  # it has its own benchmark
        template = prepare("menpo3d")
    assert template.vertices.shape == (53349, 3)
    assert template.notes[0].startswith("unit: um")
    assert 55 < np.linalg.norm(template.landmarks()[42:48].mean(0) - template.landmarks()[36:42].mean(0)) < 70
    brows, chin, nose = template.landmarks()[17:27], template.landmarks()[8], template.landmarks()[30]
    assert brows[:, 1].min() > nose[1] > chin[1]
    assert template.landmarks()[36, 0] < 0 < template.landmarks()[45, 0]
    assert json.dumps(template.notes)
    # each point of the inner lips goes where its own lip goes
    assert "landmarks: 66 lay on the other lip" in " ".join(template.notes)
    corners = template.landmark_vertices
    assert not points_on_other_lip(template.vertices, template.faces, corners, 61.0)
