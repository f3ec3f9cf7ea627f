"""A folder with one mesh, what else a test puts there, and the texture that is found for the mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.formats import image
from mimicme.pipeline.formats.meshio import obj_bytes, read_mesh
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.items import FrameSource
from mimicme.pipeline.sources import Sources
from mimicme.stages.ingest.textures import find_texture


def sheet(side: int = 9, wide: float = 1.0) -> Mesh:
    """A flat sheet whose texture coordinates are its x and y, x from 0 to `wide`."""
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side)))
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(np.stack([u, v, 0 * u], 1), faces, np.stack([wide * u, v], 1), faces.copy())


@dataclass
class Found:
    """What became of the texture; `notes`: code -> sentence."""

    mesh: Mesh
    pixels: np.ndarray | None
    notes: dict[str, str]
    sources: Sources

    def colors(self) -> np.ndarray:
        """(t, 3) of the image at each triangle's middle."""
        assert self.pixels is not None and self.mesh.uv is not None
        height, width = self.pixels.shape[:2]
        middle = self.mesh.uv[self.mesh.uv_faces].mean(axis=1)
        return self.pixels[((1 - middle[:, 1]) * height).astype(int), (middle[:, 0] * width).astype(int)]


class Folder:
    """`captures/S1/smile`, with the mesh `0000.obj`."""

    def __init__(self, base: Path) -> None:
        self.root = base / "captures"
        self.path = self.root / "S1" / "smile"
        self.path.mkdir(parents=True)

    def write(self, name: str | bytes, data: bytes | str | np.ndarray) -> Path:
        path = self.path / (name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, np.ndarray):
            data = image.encode(data)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def names(self, written: str | bytes, mesh: Mesh | None = None) -> None:
        """A mesh whose material file writes `map_Kd` and these bytes."""
        raw = written.encode() if isinstance(written, str) else written
        self.write("0000.obj", obj_bytes(mesh or sheet(), material_file="0000.mtl"))
        self.write("0000.mtl", b"newmtl texture\nmap_Kd " + raw + b"\n")

    def find(self, name: str = "0000.obj", max_pixels: int = 10_000) -> Found:
        path = self.path / name
        sources = Sources(self.root)
        found = read_mesh(path.read_bytes(), name)
        material = found.face_material
        if material is None:
            material = np.full(len(found.mesh.faces), -1, np.int32)
        mesh, data, notes = find_texture(FrameSource(0, path), found, material, sources, max_pixels)
        pixels = None if data is None else image.decode(data, 1 << 40)
        return Found(mesh, pixels, dict(notes), sources)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def wide_sheet() -> Mesh:
    """Two squares of texture coordinates wide: from 0 to 2, half of the triangles in each."""
    return sheet(wide=2.0)
