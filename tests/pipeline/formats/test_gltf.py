"""glTF: what of it decides places, triangles and colours, and what it may not make the reader do."""

from __future__ import annotations

import sys
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from mesh_dialects import FACES, FIRST, PAINT, PLACES, UV, Gltf, made, to_linear

from mimicme.pipeline.errors import FrameRejected, MissingDependencyError
from mimicme.pipeline.formats.gltf import srgb
from mimicme.pipeline.formats.gltf_document import DRACO
from mimicme.pipeline.formats.meshio import MeshFileError, glb_bytes, read_mesh
from mimicme.pipeline.geometry.mesh import Mesh


def parts(one: Gltf, *primitives: dict[str, Any]) -> bytes:
    """The file with these primitives of the first `FIRST` triangles and of the others."""
    index = [one.add(FACES[:FIRST].ravel(), "u2"), one.add(FACES[FIRST:].ravel(), "u2")]
    given = one.part["attributes"]
    one.tree["meshes"][0]["primitives"] = [
        {"attributes": given, "indices": index[k], **more} for k, more in enumerate(primitives)
    ]
    return one.glb()


def test_primitives_that_share_vertices_share_them() -> None:
    mesh = read_mesh(parts(Gltf().fill(), {}, {}), "a.glb").mesh
    np.testing.assert_allclose(mesh.vertices, PLACES, atol=1e-5)
    assert mesh.faces.tolist() == FACES.tolist()


def test_texture_coordinates_that_are_too_few_cost_what_has_none_its_colour_alone() -> None:
    one = Gltf().fill()
    one.part["attributes"]["TEXCOORD_0"] = one.add(np.asarray(UV[:9], np.float32), "f4")
    found = read_mesh(parts(one, {}, {}), "a.glb")
    assert found.mesh.faces.tolist() == FACES.tolist()
    absent = (FACES >= 9).any(axis=1)
    known = np.isfinite(found.mesh.uv[found.mesh.uv_faces]).all(axis=2)
    np.testing.assert_array_equal(known, np.repeat(~absent[:, None], 3, axis=1))
    assert found.uv_absent == absent.sum() > 0


def test_each_material_has_its_own_transformation() -> None:
    one = Gltf().fill().picture()
    shown = {
        "index": 0,
        "extensions": {"KHR_texture_transform": {"scale": [0.5, 0.5], "offset": [0.25, 0.0]}},
    }
    one.tree["materials"].append({"pbrMetallicRoughness": {"baseColorTexture": shown}})
    mesh = read_mesh(parts(one, {"material": 0}, {"material": 1}), "a.glb").mesh
    assert mesh.uv is not None and mesh.uv_faces is not None
    corner = mesh.uv[mesh.uv_faces]
    np.testing.assert_allclose(corner[:FIRST], UV[FACES[:FIRST]], atol=1e-6)
    # v runs down in the file
    changed = np.stack([UV[:, 0] / 2 + 0.25, 1 - (1 - UV[:, 1]) / 2], 1)
    np.testing.assert_allclose(corner[FIRST:], changed[FACES[FIRST:]], atol=1e-6)


def test_a_quarter_turn_is_that_of_the_specification() -> None:
    """Its example: the lower left quadrant of the image, turned clockwise."""
    one = Gltf().fill().picture()
    one.shown["extensions"] = {
        "KHR_texture_transform": {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}
    }
    mesh = read_mesh(one.glb(), "a.glb").mesh
    assert mesh.uv is not None
    assert mesh.uv[:, 0].min() >= 0 and mesh.uv[:, 0].max() <= 0.5
    assert mesh.uv[:, 1].min() >= -1e-6 and mesh.uv[:, 1].max() <= 0.5 + 1e-6


def test_a_part_without_image_has_no_texture_coordinates() -> None:
    one = Gltf().fill().picture()
    one.tree["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}})
    found = read_mesh(parts(one, {"material": 0}, {"material": 1}), "a.glb")
    assert found.mesh.uv is not None and found.mesh.uv_faces is not None
    corner = found.mesh.uv[found.mesh.uv_faces]
    np.testing.assert_allclose(corner[:FIRST], UV[FACES[:FIRST]], atol=1e-6)
    assert np.isnan(corner[FIRST:]).all()
    assert found.face_material is not None
    assert found.face_material.tolist() == [0] * FIRST + [-1] * (len(FACES) - FIRST)


def test_vertex_colours_are_linear_and_multiplied_by_the_material() -> None:
    one = Gltf().fill(uv=None)
    one.tree["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 1, 1, 1]}}]
    one.part["material"] = 0
    linear = to_linear(PAINT.astype(float))
    one.part["attributes"]["COLOR_0"] = one.add(linear, "f4")
    colors = read_mesh(one.glb(), "a.glb").mesh.colors
    assert colors is not None
    assert np.abs(colors.astype(int) - srgb(linear * [0.5, 1, 1])).max() <= 1
    assert srgb(np.array([0.0, 0.5, 1.0])).tolist() == [0, 188, 255]
    assert srgb(to_linear(np.arange(256.0))).tolist() == list(range(256))


def test_colours_of_eight_bits_are_taken_as_they_are_and_of_sixteen_as_linear() -> None:
    shades = np.rint(np.linspace(0, 255, 48)).reshape(16, 3)
    for kind, values in (("u1", shades), ("u2", np.rint(to_linear(shades) * 65535))):

        def paint(one: Gltf, kind: str = kind, values: np.ndarray = values) -> None:
            full = np.full(16, 255 if kind == "u1" else 65535)
            one.part["attributes"]["COLOR_0"] = one.add(np.c_[values, full], kind, normalized=True)

        colors = read_mesh(made(paint, uv=None), "a.glb").mesh.colors
        assert colors is not None
        assert np.abs(colors - shades).max() <= (0 if kind == "u1" else 1)


@pytest.mark.parametrize("generator", ["https://github.com/mikedh/trimesh", "Open3D"])
def test_colours_of_programs_that_write_srgb(generator: str) -> None:
    """tests/interop has theirs."""

    def paint(one: Gltf) -> None:
        one.part["attributes"]["COLOR_0"] = one.add(PAINT / 255, "f4")
        one.tree["asset"]["generator"] = generator

    colors = read_mesh(made(paint, uv=None), "a.glb").mesh.colors
    assert colors is not None
    assert colors.tolist() == PAINT.tolist()


def test_a_file_beside_is_asked_of_the_caller_alone() -> None:
    def refuse(name: str) -> bytes:
        raise FrameRejected("unsafe-path", f"not {name}")

    data = Gltf().fill().gltf("../../etc%2Fpasswd")
    with pytest.raises(FrameRejected, match="etc/passwd") as caught:
        read_mesh(data, "a.gltf", refuse)
    assert caught.value.reason == "unsafe-path"
    with pytest.raises(MeshFileError, match="shorter|more data"):
        read_mesh(Gltf().fill().gltf("a.bin"), "a.gltf", lambda name: b"short")


def test_meshes_repeated_too_often_are_refused_before_memory_is_taken() -> None:
    one = Gltf().fill(places=np.zeros((60_000, 3)), uv=None)
    one.tree["nodes"] = [{"mesh": 0}] * 400
    one.tree["scenes"] = [{"nodes": list(range(400))}]
    data = one.glb()
    tracemalloc.start()
    with pytest.raises(MeshFileError) as caught:
        read_mesh(data, "a.glb")
    assert caught.value.reason == "too-large"
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_targets_named_too_often_are_refused_before_they_are_added_up() -> None:
    one = Gltf().fill(places=np.zeros((60_000, 3)), uv=None)
    target = one.add(np.zeros((60_000, 3)), "f4")
    one.part["targets"] = [{"POSITION": target}] * 20_000
    one.tree["meshes"][0]["weights"] = [0.001] * 20_000
    began = time.process_time()
    with pytest.raises(MeshFileError, match="vertices moved by targets") as caught:
        read_mesh(one.glb(), "a.glb")
    assert caught.value.reason == "too-large"
    assert time.process_time() - began < 5  # adding them up takes half a minute
    one.tree["meshes"][0]["weights"] = [0.0] * 20_000
    assert len(read_mesh(one.glb(), "a.glb").mesh.vertices) == 60_000


def test_draco_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    packed = {"extensions": {DRACO: {"bufferView": 0, "attributes": {"POSITION": 0}}}}
    with pytest.raises(MissingDependencyError, match=r"KHR_draco.*mimicme\[draco\]"):
        read_mesh(made(lambda one: one.part.update(packed)), "a.glb")


def test_draco() -> None:
    draco = pytest.importorskip("DracoPy")
    down = UV * [1, -1] + [0, 1]
    data = draco.encode(PLACES.astype("f4"), FACES.astype("u4"), quantization_bits=16, tex_coord=down)
    which = {int(a["attribute_type"]): int(a["unique_id"]) for a in draco.decode(data).attributes}

    def pack(one: Gltf) -> None:
        packed = {"bufferView": one.view(data), "attributes": {"POSITION": which[0], "TEXCOORD_0": which[3]}}
        one.part["extensions"] = {DRACO: packed}
        one.tree["extensionsRequired"] = [DRACO]
        for accessor in one.tree["accessors"]:
            del accessor["bufferView"]

    mesh = read_mesh(made(pack), "a.glb").mesh
    assert mesh.uv is not None and mesh.uv_faces is not None
    ours = np.concatenate([mesh.vertices[mesh.faces] / 100, mesh.uv[mesh.uv_faces]], axis=2)
    true = np.concatenate([PLACES[FACES] / 100, UV[FACES]], axis=2)
    turned = np.concatenate([np.roll(true, k, axis=1) for k in range(3)]).reshape(-1, 15)
    apart = np.abs(ours.reshape(-1, 1, 15) - turned[None]).max(axis=2)
    assert apart.min(axis=1).max() < 2e-3
    assert len(set((apart.argmin(axis=1) % len(FACES)).tolist())) == len(FACES) == len(mesh.faces)
    with pytest.raises(MeshFileError, match="Draco"):
        read_mesh(
            made(lambda one: (pack(one), one.buffer.__setitem__(slice(-len(data), None), b"x" * len(data)))),
            "a",
        )


def test_a_mesh_far_from_the_origin_keeps_its_detail() -> None:
    far = Mesh(PLACES + [1e6, 1e6, -1e6], FACES.astype(np.int32))
    np.testing.assert_allclose(read_mesh(glb_bytes(far), "a.glb").mesh.vertices, far.vertices, atol=1e-5)
    near = Mesh(PLACES, FACES.astype(np.int32))
    assert b"translation" not in glb_bytes(near)


def with_images(count: int, size: int, step: int) -> bytes:
    """A file whose materials have an image each, of `size` bytes of one block, each beginning `step` further on."""
    one = Gltf().fill().picture()
    block = one.view(b"i" * (size + count * step))
    start = one.tree["bufferViews"][block]["byteOffset"]
    one.tree["bufferViews"] += [
        {"buffer": 0, "byteOffset": start + k * step, "byteLength": size} for k in range(count)
    ]
    one.tree["images"] = [{"bufferView": block + 1 + k, "mimeType": "image/png"} for k in range(count)]
    one.tree["textures"] = [{"source": k} for k in range(count)]
    one.tree["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": k}}} for k in range(count)
    ]
    index = one.add(FACES.ravel(), "u2")
    given = one.part["attributes"]
    one.tree["meshes"][0]["primitives"] = [
        {"attributes": given, "indices": index, "material": k} for k in range(count)
    ]
    return one.glb()


def test_an_image_of_many_materials_is_held_once() -> None:
    data = with_images(40, 1 << 20, 0)
    tracemalloc.start()
    found = read_mesh(data, "a.glb")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert found.embedded_images == (b"i" * (1 << 20),) and found.textures == ("",)
    assert found.face_material is not None and set(found.face_material.tolist()) == {0}


def test_images_that_overlap_are_refused_before_memory_is_taken() -> None:
    data = with_images(40, 1 << 20, 1)
    tracemalloc.start()
    with pytest.raises(MeshFileError, match="images overlap"):
        read_mesh(data, "a.glb")
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_an_animation_is_told_by_its_moments() -> None:
    one = Gltf().fill()
    assert read_mesh(one.glb(), "a.glb").moments == 0
    times, turns = one.add(np.arange(5) / 60, "f4"), one.add(np.zeros((5, 3)), "f4")
    one.tree["animations"] = [
        {
            "samplers": [{"input": times, "output": turns}],
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
        }
    ]
    found = read_mesh(one.glb(), "a.glb")
    assert found.moments == 5
    np.testing.assert_allclose(found.mesh.vertices, PLACES, atol=1e-5)


MOVED = {"sampler": 0, "target": {"node": 0, "path": "translation"}}
DAMAGED_ANIMATIONS = {
    "empty": [{}],
    "no list": {},
    "nothing": None,
    "no animation": [7],
    "no channel": [{"channels": [None], "samplers": []}],
    "no target": [{"channels": [{"sampler": 0}], "samplers": [{"input": 0, "output": 0}]}],
    "no samplers": [{"channels": [MOVED]}],
    "no such sampler": [{"channels": [{**MOVED, "sampler": 7}], "samplers": [{"input": 0, "output": 0}]}],
    "no input": [{"channels": [MOVED], "samplers": [{}]}],
    "no such accessor": [{"channels": [MOVED], "samplers": [{"input": 99, "output": 0}]}],
    "no index": [{"channels": [MOVED], "samplers": [{"input": "x", "output": 0}]}],
}


@pytest.mark.parametrize("damage", DAMAGED_ANIMATIONS)
def test_a_damaged_animation_costs_the_mesh_nothing(damage: str) -> None:
    one = Gltf().fill()
    one.tree["animations"] = DAMAGED_ANIMATIONS[damage]
    found = read_mesh(one.glb(), "a.glb")
    assert found.moments == 0
    np.testing.assert_allclose(found.mesh.vertices, PLACES, atol=1e-5)


def test_beside_a_damaged_channel_the_others_are_counted() -> None:
    one = Gltf().fill()
    times = one.add(np.arange(5) / 60, "f4")
    channels = [{**MOVED, "sampler": 7}, MOVED, {}]
    one.tree["animations"] = [{"samplers": [{"input": times, "output": times}], "channels": channels}, {}]
    assert read_mesh(one.glb(), "a.glb").moments == 5
