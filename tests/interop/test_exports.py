"""Exports in trimesh, Open3D, pygltflib and the glTF-Validator: the release's places, texture coordinates and colours.

The validator runs where node and its package are; `make test-interop` installs what it can, and the test says what is
missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import sequence_release as known
import trimesh

from mimicme.commands.export import export
from mimicme.pipeline.formats.image import decode

FORMATS = ("obj", "ply", "glb")
ROW = 2


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known.written(tmp_path_factory.mktemp("release") / "release.h5", known.face())


@pytest.fixture(scope="module")
def folder(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sequence in every format."""
    made = tmp_path_factory.mktemp("exports")
    for format in FORMATS:
        export(release, made / format, format)
    export(release, made / "colors", "ply", colors=True)
    export(release, made / "animation", "glb", animation=True)
    return made


def still(folder: Path, format: str) -> Path:
    return folder / format / "P01/smile" / f"{10 + ROW:04d}.{format}"


def corners(vertices: Any, faces: Any, format: str) -> np.ndarray:
    """(t, 3, 3) mm."""
    return np.asarray(vertices, float)[np.asarray(faces, int)] * (1000 if format == "glb" else 1)


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, np.ndarray]:
    """Places (t, 3, 3) mm and texture coordinates (t, 3, 2) of the corners, triangle by triangle."""
    template = known.face()
    return known.moved(template, ROW)[template.faces].astype(float), template.uv[template.uv_faces]


@pytest.mark.parametrize("format", FORMATS)
def test_trimesh_has_places_coordinates_and_texture(
    folder: Path, expected: tuple[np.ndarray, np.ndarray], format: str
) -> None:
    mesh = trimesh.load(still(folder, format), force="mesh", process=False)
    np.testing.assert_allclose(corners(mesh.vertices, mesh.faces, format), expected[0], atol=1e-3)
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], expected[1], atol=1e-5)
    material = mesh.visual.material
    image = material.baseColorTexture if format == "glb" else material.image
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), known.texture_of(ROW))
    if format != "obj":  # of which it makes the vertices anew
        np.testing.assert_allclose(
            mesh.vertices[:49] * (1000 if format == "glb" else 1),
            known.moved(known.face(), ROW),
            atol=1e-3,
        )


@pytest.mark.parametrize("format", ["obj", "glb"])
def test_open3d_has_places_coordinates_and_texture(
    folder: Path, expected: tuple[np.ndarray, np.ndarray], format: str
) -> None:
    import open3d

    mesh = open3d.io.read_triangle_mesh(str(still(folder, format)), enable_post_processing=False)
    np.testing.assert_allclose(corners(mesh.vertices, mesh.triangles, format), expected[0], atol=1e-3)
    np.testing.assert_allclose(np.asarray(mesh.triangle_uvs).reshape(-1, 3, 2), expected[1], atol=1e-5)
    # its images begin with the row of v = 0
    images = [np.asarray(image)[::-1] for image in mesh.textures if not image.is_empty()]
    (used,) = np.unique(np.asarray(mesh.triangle_material_ids))
    assert not mesh.textures[used].is_empty()
    np.testing.assert_array_equal(images[0][..., :3], known.texture_of(ROW))


def test_open3d_shows_a_plys_colours(folder: Path, expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Of texture coordinates in PLY it knows nothing."""
    import open3d

    path = folder / "colors/P01/smile" / f"{10 + ROW:04d}.ply"
    mesh = open3d.io.read_triangle_mesh(str(path))
    np.testing.assert_allclose(corners(mesh.vertices, mesh.triangles, "ply"), expected[0], atol=1e-3)
    assert not mesh.has_triangle_uvs()
    found = 255 * np.asarray(mesh.vertex_colors)
    loaded = trimesh.load(still(folder, "ply"), process=False)
    sampled = loaded.visual.material.to_color(loaded.visual.uv)[:, :3].astype(float)
    assert found.shape == sampled.shape
    # trimesh takes the nearest texel: of noise they differ, and go together
    assert np.corrcoef(found[:49].ravel(), sampled[:49].ravel())[0, 1] > 0.5


def gltf_array(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    accessor = file.accessors[index]
    view = file.bufferViews[accessor.bufferView]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor.type]
    kind = {pygltflib.FLOAT: "<f4", pygltflib.UNSIGNED_INT: "<u4"}[accessor.componentType]
    start = view.byteOffset + (accessor.byteOffset or 0)
    return np.frombuffer(file.binary_blob(), kind, width * accessor.count, start).reshape(-1, width)


def test_pygltflib_plays_an_animation(folder: Path) -> None:
    file = pygltflib.GLTF2().load(str(folder / "animation/P01/smile.glb"))
    (node,), (mesh,), (animation,) = file.nodes, file.meshes, file.animations
    (primitive,), (sampler,) = mesh.primitives, animation.samplers
    places = gltf_array(file, primitive.attributes.POSITION).astype(float)
    targets = np.stack([gltf_array(file, target["POSITION"]) for target in primitive.targets]).astype(float)
    times, weights = gltf_array(file, sampler.input)[:, 0], gltf_array(file, sampler.output)
    np.testing.assert_allclose(times, known.TIMES, atol=1e-6)
    template = known.face()
    for row, weight in enumerate(weights.reshape(len(times), -1)):
        shown = places + np.einsum("k,kvx->vx", weight, targets)
        np.testing.assert_allclose(shown[:49], known.moved(template, row), atol=1e-4)
    assert (node.name, node.extras["expression"]) == ("P01/smile", "happiness")
    assert mesh.extras["targetNames"] == ["0010", "0012", "0013"]
    view = file.bufferViews[file.images[0].bufferView]
    image = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    np.testing.assert_array_equal(decode(image), known.texture_of(1))  # the least expression


@pytest.mark.parametrize("program", ["trimesh", "open3d"])
def test_where_nothing_is_played_an_animation_is_its_textures_frame(folder: Path, program: str) -> None:
    path, template = folder / "animation/P01/smile.glb", known.face()
    if program == "trimesh":
        mesh = trimesh.load(path, force="mesh", process=False)
        vertices, faces = mesh.vertices, mesh.faces
    else:
        import open3d

        mesh = open3d.io.read_triangle_mesh(str(path), enable_post_processing=False)
        vertices, faces = mesh.vertices, mesh.triangles
    known_corners = known.moved(template, 1)[template.faces].astype(float)
    np.testing.assert_allclose(corners(vertices, faces, "glb"), known_corners, atol=1e-3)


def test_the_gltf_validator_finds_nothing(folder: Path) -> None:
    node, package = shutil.which("node"), Path(sys.prefix) / "node_modules" / "gltf-validator"
    if node is None:
        pytest.skip(
            "node is not here (Debian: apt-get install nodejs npm), and the glTF-Validator runs in it"
        )
    if not package.is_dir():
        pytest.skip(
            "the npm package gltf-validator is not here; `make test-interop` installs it where npm can"
        )
    files = sorted(folder.rglob("*.glb"))
    script = Path(__file__).with_name("gltf_validator.js")
    done = subprocess.run(
        [node, script, package, *files], capture_output=True, text=True, check=True, timeout=100
    )
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == len(files) == 5
    for report in reports:
        assert report["issues"]["messages"] == [], report["file"]
        counts = [report["issues"][f"num{kind}"] for kind in ("Errors", "Warnings", "Infos", "Hints")]
        assert counts == [0, 0, 0, 0], report["file"]
    assert sorted(report["info"]["animationCount"] for report in reports) == [0, 0, 0, 0, 1]
