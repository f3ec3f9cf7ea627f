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
from mesh_dialects import FACES, GOOD, PLACES, Good
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
        template = release.template
        return Mesh(frame.vertices.astype(float), template.faces, template.uv, template.uv_faces)


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
        known = np.concatenate([truth.vertices[truth.faces], 100 * truth.uv[truth.uv_faces]], axis=2).reshape(
            -1, 5
        )
        shown = np.concatenate([loaded.vertices * unit, 100 * loaded.visual.uv], axis=1)[
            np.unique(loaded.faces)
        ]
        assert (
            KDTree(known).query(shown)[0].max() < 0.02
        )  # each place has a texture coordinate that it has with us
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
        assert (file["template/faces"][:] == truth.faces).all() and file.attrs["units"] == b"mm"


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
    assert np.allclose(cloud.points, points, atol=1e-4)  # point by point
    mio.export_landmark_file(cloud, tmp_path / "a.ljson")  # version 3
    again = read_landmarks((tmp_path / "a.ljson").read_bytes(), "a.ljson").points
    assert np.allclose(again, points, atol=1e-3)


# What each does not read, or reads otherwise than the specification says: what is right says mesh_dialects.
_NO_POLYGONS_AS_QUADS = ("zbrush.obj", "zbrush-ngons.obj", "wrap.obj", "wrap-grouped.obj", "maya.obj")
_STRIPS = ("strips.ply", "strips-little.ply", "strips-big.ply", "strips-rows.ply", "strip.glb")
NOT_TRIMESH = {
    "di4d-mac.obj": "line ends of old Macs",
    "utf-8-bom.obj": "loses the first vertex",
    "indented.obj": "loses what stands behind blanks",
    "polygons.ply": "lists of several lengths",
    "polygons-wedges.ply": "lists of several lengths",
    "quantised.glb": "normalised integers as whole ones",
    "sparse.glb": "no sparse accessors",
    "sparse-of-zeros.glb": "no sparse accessors",
    "fan.glb": "no fans",
    "morph-weights.glb": "no weights of morph targets",
    "outside.gltf": "%20 in a name",
    **dict.fromkeys(_STRIPS, "none of PLY; in glTF with triangles that only join strips"),
}
NOT_OPEN3D = {
    "utf-16.obj": "no UTF-16",
    "indented.obj": "loses what stands behind blanks",
    "quantised.glb": "normalised integers as floats",
    "second-coordinates.glb": "nothing when TEXCOORD_0 is not there first",
    "texture-transform.glb": "nothing when TEXCOORD_2 is there",
    "mirrored-node.glb": "the winding stays",
    "morph-weights.glb": "no weights of morph targets",
    "outside.gltf": "%20 in a name",
    **dict.fromkeys(_NO_POLYGONS_AS_QUADS, "triangles alone"),
    **dict.fromkeys(_STRIPS, "none of PLY; in glTF with triangles that only join strips"),
}
OTHER_COORDINATES = ("second-coordinates.glb", "texture-transform.glb")
"""Files whose material's choice of texture coordinates trimesh does not follow."""


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
def test_every_dialect_is_read_as_others_read_it(tmp_path: Path, file: Good) -> None:
    import open3d

    mesh = read_mesh(file.data, file.name, file.beside.__getitem__).mesh
    path = tmp_path / file.name
    path.write_bytes(file.data)
    for name, data in file.beside.items():
        (tmp_path / name).write_bytes(data)
    if file.name not in NOT_TRIMESH:
        loaded = trimesh.load(path, force="mesh", process=False)
        assert_same(loaded.vertices, loaded.faces, mesh)
        uv = getattr(loaded.visual, "uv", None)
        if mesh.uv is not None and uv is not None and file.name not in OTHER_COORDINATES:
            ours = np.concatenate([mesh.vertices[mesh.faces], mesh.uv[mesh.uv_faces]], axis=2).reshape(-1, 5)
            theirs = np.concatenate([loaded.vertices, uv], axis=1)[loaded.faces].reshape(-1, 5)
            assert KDTree(ours).query(theirs)[0].max() < 1e-4
    if file.name not in NOT_OPEN3D:
        other = open3d.io.read_triangle_mesh(str(path))
        assert_same(np.asarray(other.vertices), np.asarray(other.triangles), mesh)


def test_vertex_colours_of_glb_are_those_that_were_given(tmp_path: Path) -> None:
    """Both write sRGB where glTF wants linear colours."""
    import open3d

    colors = np.random.default_rng(0).integers(0, 256, (len(PLACES), 4)).astype(np.uint8)
    trimesh.Trimesh(PLACES, FACES, vertex_colors=colors, process=False).export(tmp_path / "trimesh.glb")
    made = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(PLACES), open3d.utility.Vector3iVector(FACES.astype(np.int32))
    )
    made.vertex_colors = open3d.utility.Vector3dVector(colors[:, :3] / 255)
    assert open3d.io.write_triangle_mesh(str(tmp_path / "open3d.glb"), made)
    for name in ("trimesh.glb", "open3d.glb"):
        found = read_mesh((tmp_path / name).read_bytes(), name).mesh
        assert found.colors is not None
        assert found.colors.tolist() == colors[:, :3].tolist(), name


@pytest.mark.parametrize("version", [42, 51])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("strips", [False, True])
def test_polygons_that_vtk_writes(tmp_path: Path, version: int, binary: bool, strips: bool) -> None:
    vtk = pytest.importorskip("vtk", reason="comes with menpo3d")
    from vtk.util.numpy_support import vtk_to_numpy

    source = vtk.vtkSphereSource()
    mapped = vtk.vtkTextureMapToSphere()
    mapped.SetInputConnection(source.GetOutputPort())
    mapped.Update()
    surface = mapped.GetOutput()
    colors = vtk.vtkUnsignedCharArray()
    colors.SetNumberOfComponents(3)
    for k in range(surface.GetNumberOfPoints()):
        colors.InsertNextTuple3(k, 2 * k, 255 - k)
    surface.GetPointData().SetScalars(colors)
    stripper = vtk.vtkStripper()
    stripper.SetInputData(surface)
    stripper.Update()
    writer = vtk.vtkPolyDataWriter()
    writer.SetFileName(str(tmp_path / "a.vtk"))
    writer.SetFileVersion(version)
    writer.SetInputData(stripper.GetOutput() if strips else surface)
    (writer.SetFileTypeToBinary if binary else writer.SetFileTypeToASCII)()
    assert writer.Write()
    found = read_mesh((tmp_path / "a.vtk").read_bytes(), "a.vtk").mesh
    places = vtk_to_numpy(surface.GetPoints().GetData())
    faces = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    assert_same(places, faces, found)
    assert found.uv is not None and found.colors is not None
    np.testing.assert_allclose(found.uv, vtk_to_numpy(surface.GetPointData().GetTCoords()), atol=1e-5)
    np.testing.assert_array_equal(found.colors, vtk_to_numpy(colors))


@pytest.mark.parametrize("form", ["stl", "stl_ascii"])
def test_an_stl_that_trimesh_writes(form: str) -> None:
    written = trimesh.Trimesh(PLACES, FACES, process=False).export(file_type=form)
    data = written.encode() if isinstance(written, str) else written
    found = read_mesh(data, "a.stl").mesh
    assert len(found.vertices) == len(PLACES)
    assert_same(PLACES, FACES, found)
