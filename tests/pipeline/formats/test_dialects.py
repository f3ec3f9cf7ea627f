"""The same small mesh as each program writes it: the right mesh, or the right sentence."""

from __future__ import annotations

import tracemalloc

import mesh_dialects
import numpy as np
import pytest
import scanner_dialects
from mesh_dialects import FACES, PAINT, PLACES, UV, Broken, Good

from mimicme.pipeline.formats.meshio import MeshFileError, read_mesh

GOOD = [*mesh_dialects.GOOD, *scanner_dialects.GOOD]
BROKEN = [*mesh_dialects.BROKEN, *scanner_dialects.BROKEN]


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
def test_the_right_mesh(file: Good) -> None:
    found = read_mesh(file.data, file.name, file.beside.__getitem__)
    mesh = found.mesh
    np.testing.assert_allclose(mesh.vertices, PLACES, atol=file.atol)
    assert mesh.faces.tolist() == file.faces.tolist()
    assert (mesh.uv is not None) == file.uv
    if mesh.uv is not None and mesh.uv_faces is not None:
        np.testing.assert_allclose(mesh.uv[mesh.uv_faces], UV[file.faces], atol=1e-5)
    assert (mesh.colors is not None) == file.painted
    if mesh.colors is not None:
        assert mesh.colors.tolist() == PAINT.tolist()
    assert found.textures == file.textures
    assert found.materials == file.materials
    if file.parts is not None:
        assert found.face_material is not None
        assert found.face_material.tolist() == list(file.parts)


@pytest.mark.parametrize("name", scanner_dialects.STLS)
def test_the_right_mesh_of_stl(name: str) -> None:
    """Its vertices are those of the mesh, each once, in the order in which triangles come to them."""
    mesh = read_mesh(scanner_dialects.STLS[name], name).mesh
    order = list(dict.fromkeys(FACES.ravel().tolist()))
    np.testing.assert_allclose(mesh.vertices, PLACES[order], atol=1e-5)
    np.testing.assert_array_equal(np.array(order)[mesh.faces], FACES)
    assert mesh.uv is None and mesh.colors is None


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.name)
def test_the_right_sentence(file: Broken) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MeshFileError) as caught:
            read_mesh(file.data, file.name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == file.code
    assert str(caught.value).startswith(f"{file.name}: ")
    assert file.words in str(caught.value)
    assert peak < (8 << 20) + 4 * len(file.data)  # no count of the file is believed


def test_there_are_enough_of_them() -> None:
    names = [file.name for file in (*GOOD, *BROKEN)]
    assert len(set(names)) == len(names) >= 100
    assert mesh_dialects.FIRST % 2 == 0
