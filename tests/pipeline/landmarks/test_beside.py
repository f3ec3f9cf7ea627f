"""Which file beside a frame is taken for its landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.items import FrameSource
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.beside import read_beside
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.sources import Sources


@pytest.mark.parametrize(
    ("mesh", "beside", "taken"),
    [
        ("0.obj", ("0.ljson",), "0.ljson"),
        ("0.obj", ("0.LJSON",), None),
        ("0.OBJ", ("0.LJSON",), "0.LJSON"),
        ("0.OBJ", ("0.PTS", "0.ljson"), "0.ljson"),
        ("0.OBJ", ("0.Ljson",), None),
    ],
)
def test_capitals_are_read_where_the_mesh_has_them(
    tmp_path: Path, mesh: str, beside: tuple[str, ...], taken: str | None
) -> None:
    (tmp_path / "ends.a").touch()
    if (tmp_path / "ends.A").exists():
        pytest.skip("this file system does not tell capitals apart")
    points = np.arange(204.0).reshape(68, 3)
    for name in beside:
        (tmp_path / name).write_bytes(write_landmarks(Landmarks(points), name.lower()))
    found = read_beside(FrameSource(0, tmp_path / mesh), Sources(tmp_path), "image")
    assert (found.name if found else None) == taken
    if found:
        np.testing.assert_allclose(found.points, points)
