"""Other programs open what we write, and we read what they write: the same vertices, triangles and texture coordinates.

`make test-interop` installs them: trimesh and meshio; Open3D, menpo and SciPy are there anyway.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import meshio
import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree
from shared_helpers import mimicme

from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks.files import read_landmarks
from mimicme.pipeline.release import Release

SMALL = ("--set", "bake.size=256")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """The neutral alone: one frame to a release."""
    folder = tmp_path_factory.mktemp("interop")
    shutil.copytree(
        small_captures / "captures" / "S000" / "neutral", folder / "captures" / "S000" / "neutral"
    )
    template = small_captures / "template" / "template.obj"
    mimicme("init", folder / "ws", "--captures", folder / "captures", "--template", template)
    mimicme("run", folder / "ws", "--jobs", 0, *SMALL)
    return folder / "ws"


@pytest.fixture(scope="module")
def truth(workspace: Path) -> Mesh:
    with Release(workspace / "release.h5") as release:
        frame = release.frame(0)
        return Mesh(frame.vertices.astype(float), release.template.faces)


def assert_same(vertices: np.ndarray, faces: np.ndarray, mesh: Mesh, atol: float = 1e-3) -> None:
    """Corner by corner, in whatever order: programs split, merge and sort vertices."""
    corners, known = (
        np.asarray(v, float)[np.asarray(f, int)] for v, f in ((vertices, faces), (mesh.vertices, mesh.faces))
    )
    assert len(corners) == len(known)
    turned = np.concatenate([np.roll(known, k, axis=1) for k in range(3)]).reshape(
        -1, 9
    )  # which corner is first is free
    distance, nearest = KDTree(turned).query(corners.reshape(-1, 9))
    assert distance.max() < 5 * atol
    assert len(set((nearest % len(known)).tolist())) == len(known)


@pytest.mark.parametrize("kind", ["obj", "ply", "glb"])
def test_exports_are_opened_by_other_programs(
    workspace: Path, truth: Mesh, tmp_path: Path, kind: str
) -> None:
    import open3d

    mimicme("export", workspace / "release.h5", "--format", kind, tmp_path)
    path = next(tmp_path.rglob(f"*.{kind}"))
    unit = 1000 if kind == "glb" else 1  # glTF's unit is the metre
    loaded = trimesh.load(path, force="mesh", process=False)
    assert_same(loaded.vertices * unit, loaded.faces, truth)
    if kind != "ply":  # trimesh does not read texture coordinates of corners
        assert len(loaded.visual.uv) == len(loaded.vertices)
    other = open3d.io.read_triangle_mesh(str(path))
    assert_same(np.asarray(other.vertices) * unit, np.asarray(other.triangles), truth)
    if kind == "obj":  # meshio reads no PLY whose triangles have a list of texture coordinates
        other = meshio.read(path)
        assert_same(other.points, other.cells_dict["triangle"], truth)


def test_npz_is_plain(workspace: Path, truth: Mesh, tmp_path: Path) -> None:
    mimicme("export", workspace / "release.h5", "--format", "npz", tmp_path)
    with np.load(next(tmp_path.rglob("*.npz")), allow_pickle=False) as file:
        assert np.allclose(file["vertices"][0], truth.vertices, atol=1e-4)


def test_the_release_needs_nothing_but_hdf5(workspace: Path, truth: Mesh) -> None:
    """By the names in docs/release-format.md."""
    with h5py.File(workspace / "release.h5", "r") as file:
        subject, sequence, row = (file["index"][0][name] for name in ("subject", "sequence", "row"))
        group = file[f"subjects/{subject.decode()}/{sequence.decode()}"]
        assert np.allclose(group["vertices"][row], truth.vertices, atol=1e-4)
        assert (file["template/faces"][:] == truth.faces).all() and file.attrs["units"] == "mm"


def by_trimesh(mesh: Mesh, path: Path, **options: object) -> None:
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path, **options)


def by_meshio(mesh: Mesh, path: Path, **options: object) -> None:
    meshio.write(path, meshio.Mesh(mesh.vertices, [("triangle", mesh.faces.astype(int))]), **options)


def by_open3d(mesh: Mesh, path: Path, **options: object) -> None:
    import open3d

    made = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(mesh.vertices),
        open3d.utility.Vector3iVector(mesh.faces.astype(np.int32)),
    )
    assert open3d.io.write_triangle_mesh(str(path), made, **options)


WRITERS = {
    "trimesh-obj": (by_trimesh, "a.obj", {}),
    "trimesh-ply": (by_trimesh, "a.ply", {}),
    "trimesh-ply-ascii": (by_trimesh, "a.ply", {"encoding": "ascii"}),
    "trimesh-glb": (by_trimesh, "a.glb", {}),
    "meshio-obj": (by_meshio, "a.obj", {}),
    "meshio-ply": (by_meshio, "a.ply", {"binary": True}),
    "meshio-ply-ascii": (by_meshio, "a.ply", {"binary": False}),
    "open3d-obj": (by_open3d, "a.obj", {}),
    "open3d-ply": (by_open3d, "a.ply", {}),
    "open3d-ply-ascii": (by_open3d, "a.ply", {"write_ascii": True}),
    "open3d-glb": (by_open3d, "a.glb", {}),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_we_read_what_other_programs_write(truth: Mesh, tmp_path: Path, writer: str) -> None:
    write, name, options = WRITERS[writer]
    write(truth, tmp_path / name, **options)
    mesh = read_mesh((tmp_path / name).read_bytes(), name).mesh
    assert_same(mesh.vertices, mesh.faces, truth)


def test_landmarks_are_menpos(workspace: Path, small_captures: Path, tmp_path: Path) -> None:
    import menpo.io as mio
    from menpo.base import MenpoDeprecationWarning

    given = next((small_captures / "captures" / "S000" / "neutral").glob("*.ljson"))
    points = read_landmarks(given.read_bytes(), given.name).points
    with pytest.warns(MenpoDeprecationWarning):  # that the file is of version 2
        opened = mio.import_landmark_file(given)
    cloud = opened if hasattr(opened, "points") else next(iter(opened.values()))
    assert np.allclose(np.sort(cloud.points, axis=0), np.sort(points, axis=0), atol=1e-4)
    mio.export_landmark_file(cloud, tmp_path / "a.ljson")  # version 3
    again = read_landmarks((tmp_path / "a.ljson").read_bytes(), "a.ljson").points
    assert np.allclose(np.sort(again, axis=0), np.sort(points, axis=0), atol=1e-3)
