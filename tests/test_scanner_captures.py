"""The command line on captures as BU-3DFE and BU-4DFE ship them, and as STL and VTK: the same as of OBJ."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from bu_files import bnd, bndplus, points_83, wrl
from scanner_dialects import Vtk, binary_stl
from shared_helpers import mimicme_here

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.formats.meshio import MeshFile, read_mesh, write_obj
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks.files import read_points
from mimicme.pipeline.release import Release
from mimicme.pipeline.scan import load_scan

# what the networks find is the same for the same scan; without them the test is quick
SMALL = ("--jobs", 0, "--set", "bake.size=256", "--set", "landmarks.detector=none")
SAME_MM = 0.001

# where each database has the frames of the small captures
BU3DFE = {"neutral/0000": "F0001/F0001_NE00WH_F3D", "surprise/0001": "F0001/F0001_SU03WH_F3D"}
BU4DFE = {f"surprise/000{k}": f"F001/Surprise/00{k}" for k in range(2)}


class Frames:
    """The small captures' frames, to be written elsewhere in another form."""

    def __init__(self, small_captures: Path) -> None:
        self.folder = small_captures / "captures" / "S000"
        self.template = small_captures / "template" / "template.obj"

    def read(self, name: str) -> MeshFile:
        return read_mesh((self.folder / f"{name}.obj").read_bytes(), f"{name}.obj")

    def write(self, root: Path, places: dict[str, str], form: str, marks: str = ".bnd") -> Path:
        """Every frame with its image and its 83 points, in the database's place."""
        for name, place in places.items():
            path = root / f"{place}{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            (image,) = self.folder.glob(f"{name}.[jp][pn]g")
            shutil.copy(image, root / f"{place}{image.suffix}")
            mesh = self.read(name).mesh
            if form == ".obj":
                write_obj(path, mesh, path.stem + image.suffix)
            else:
                path.write_bytes(wrl(mesh, path.stem + image.suffix))
            points = read_points((self.folder / f"{name}.ljson").read_bytes(), "a.ljson")
            written = bndplus(points_83(points, True)) if marks == ".bndplus" else bnd(points_83(points))
            (root / f"{place}{marks}").write_bytes(written)
        return root

    def run(self, captures: Path, workspace: Path, *more: object) -> str:
        """What `init` says."""
        said = mimicme_here("init", workspace, "--captures", captures, "--template", self.template)
        mimicme_here("run", workspace, *SMALL, *more)
        return said.stdout + said.stderr


@pytest.fixture(scope="module")
def frames(small_captures: Path) -> Frames:
    return Frames(small_captures)


def registered(workspace: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((workspace / "register").glob("*/*.h5")):
        with Checkpoint(path) as checkpoint:
            found[f"{path.parent.name}/{path.stem}"] = np.asarray(checkpoint["vertices"])
    return found


def assert_same(one: Path, other: Path) -> None:
    first, second = registered(one), registered(other)
    assert list(first) == list(second) and first
    for item, vertices in first.items():
        assert np.isfinite(vertices).all()
        assert np.linalg.norm(vertices - second[item], axis=-1).max() < SAME_MM


def test_bu3dfe(frames: Frames, tmp_path: Path) -> None:
    captures = frames.write(tmp_path / "wrl", BU3DFE, ".wrl")
    for place in BU3DFE.values():
        raw = captures / f"{place.removesuffix('F3D')}RAW.wrl"
        raw.write_bytes(b"an uncut scan, which is not read")
        raw.with_suffix(".pse").write_bytes(b"its pose")
    said = frames.run(captures, tmp_path / "ws")
    assert "2 of 4 mesh files are named as in bu3dfe" in said and "gender and ethnicity of 1 subject" in said
    assert "1 subject, 2 sequences, 2 frames" in said
    with Release(tmp_path / "ws" / "release.h5") as release:
        assert [(str(s.item), s.expression) for s in release.sequences()] == [
            ("F0001/NE00WH", "neutral"),
            ("F0001/SU03WH", "surprise"),
        ]
        assert release.subjects["F0001"]["gender"] == "female"
        assert release.subjects["F0001"]["ethnicity"] == "White"
        frame = release.frame(1)
        assert frame.ok and frame.texture is not None and frame.texture.std() > 5
        assert (frame.landmark_source == 1).sum() >= 12  # of the 83 points by hand
    frames.run(frames.write(tmp_path / "obj", BU3DFE, ".obj"), tmp_path / "as-obj", "--until", "register")
    assert_same(tmp_path / "ws", tmp_path / "as-obj")


def test_bu4dfe(frames: Frames, tmp_path: Path) -> None:
    for form, marks in ((".wrl", ".bndplus"), (".obj", ".bnd")):
        captures = frames.write(tmp_path / form, BU4DFE, form, marks)
        said = frames.run(captures, tmp_path / f"ws{form}", "--until", "register")
        assert "1 subject, 1 sequence, 2 frames" in said and "gender of 1 subject is read" in said
    assert_same(tmp_path / "ws.wrl", tmp_path / "ws.obj")


@pytest.fixture(scope="module")
def bare(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of the neutral as an OBJ without texture."""
    return bare_workspace(frames, tmp_path_factory.mktemp("bare"), ".obj")


def bare_workspace(frames: Frames, folder: Path, form: str) -> Path:
    mesh = frames.read("neutral/0000").mesh
    path = folder / "captures" / "S000" / "neutral" / f"0000{form}"
    path.parent.mkdir(parents=True)
    shutil.copy(frames.folder / "neutral" / "0000.ljson", path.parent)
    if form == ".obj":
        write_obj(path, Mesh(mesh.vertices, mesh.faces))
    elif form == ".stl":
        path.write_bytes(binary_stl(mesh.vertices, mesh.faces))
    else:
        points = Vtk(binary=True).points("double", mesh.vertices, "f8")
        path.write_bytes(points.cells(mesh.faces.tolist()).data)
    frames.run(folder / "captures", folder / "ws", "--until", "register")
    return folder / "ws"


@pytest.mark.parametrize("form", [".stl", ".vtk"])
def test_geometry_without_a_texture(frames: Frames, bare: Path, tmp_path: Path, form: str) -> None:
    workspace = bare_workspace(frames, tmp_path, form)
    corners = []
    for folder in (workspace, bare):
        with Checkpoint(folder / "ingest" / "S000" / "neutral.h5") as ingested:
            assert ingested.statuses[0].ok and ingested.statuses[0].note == "no-texture"
            assert "no texture" in ingested.statuses[0].message
            scan = load_scan(ingested, 0)
            assert scan.uv is None
            corners.append(scan.vertices[scan.faces])
    np.testing.assert_allclose(*corners, atol=1e-4)
    assert_same(workspace, bare)
