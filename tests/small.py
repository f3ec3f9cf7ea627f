"""A small face for tests that need a real one: the embedded template, thinned out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.formats.meshio import read_mesh, write_obj
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.spatial import open3d
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
from mimicme.pipeline.template import embedded_data, face_layout


@contextmanager
def no_layout() -> Iterator[None]:
    """Templates that are prepared here get no texture layout, which takes most of the time of a fine one."""

    def none(
        vertices: np.ndarray, faces: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, str]:
        return np.zeros((3, 2)), np.zeros((len(faces), 3), np.int32), "none"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_layout, "face_layout", none)
        yield


def write_small_template(folder: Path, triangles: int = 4200) -> Path:
    """An OBJ of about half as many vertices, in mm, with its 68 landmarks beside it."""
    data = embedded_data()
    full = read_mesh((data / "template.ply").read_bytes(), "template.ply").mesh
    marks = read_landmarks((data / "template.ljson").read_bytes(), "template.ljson").points
    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(full.vertices / 1000), o3d.utility.Vector3iVector(full.faces)
    )
    thin = mesh.simplify_quadric_decimation(triangles, boundary_weight=2.0)
    path = folder / "small.obj"
    write_obj(path, Mesh(np.asarray(thin.vertices), np.asarray(thin.triangles).astype(np.int32)))
    path.with_suffix(".ljson").write_bytes(write_landmarks(Landmarks(marks / 1000), "small.ljson"))
    return path
