"""Small good files of every kind that is read, for fuzzers to begin with."""

from __future__ import annotations

import json

import numpy as np
import scanner_dialects
from bu_files import bnd, bndplus, points_83
from mesh_dialects import GOOD
from rgbd_files import CENTRE, Ball, color_of, depth_of, npy, png, recipe

from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.rgbd.camera import Camera
from mimicme.pipeline.rgbd.recipe import Depth, Files

TABLE = b"subject,age,gender,ethnicity,consent\nS001,31,f,x,yes\nsub-02,,m,,no\n3,44,,,withdrawn 2021\n"


def points() -> Landmarks:
    rng = np.random.default_rng(0)
    return Landmarks(rng.normal(size=(68, 3)) * 50)


def _face_83() -> np.ndarray:
    """Contours that lie as on a face, with the lips between eyes and chin."""
    places = np.zeros((68, 3))
    for part, x, y, wide, high in (
        (slice(36, 42), -32, 30, 14, 5),
        (slice(42, 48), 32, 30, 14, 5),
        (slice(48, 60), 0, -40, 25, 10),
        (slice(60, 68), 0, -40, 20, 4),
    ):
        around = np.pi - 2 * np.pi * np.arange(part.stop - part.start) / (part.stop - part.start)
        places[part, :2] = np.stack([x + wide * np.cos(around), y + high * np.sin(around)], 1)
    for part, x in ((slice(17, 22), -35), (slice(22, 27), 35)):
        places[part] = [[x + dx, 48 - abs(dx) / 9, 0] for dx in (-20, -10, 0, 10, 20)]
    places[27:36] = [[0, 30 - 6 * k, 8 + 3 * k] for k in range(4)] + [[x, 2, 15] for x in (-12, -6, 0, 6, 12)]
    places[:17] = [[70 * np.cos(a), -80 * np.sin(a), -30] for a in np.pi * (1 - np.arange(17) / 16)]
    return places


BU83 = {"a.bnd": bnd(points_83(_face_83())), "a.bndplus": bndplus(points_83(_face_83(), brows_first=True))}


OBJ = b"""mtllib a.mtl
o face
v 0 0 0
v 10 0 0
v 0 10 0.5
v 10 10 1
vt 0 0
vt 1 0
vt 0 1
vn 0 0 1
usemtl skin
f 1/1/1 2/2/1 3/3/1
f 2/2 4/3 3/1
f -1 -2 -3
"""
ASCII_PLY = b"""ply
format ascii 1.0
comment made by hand
comment TextureFile a.jpg
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
property list uchar float texcoord
end_header
0 0 0 1 2 3
10 0 0 1 2 3
0 10 0 1 2 3
10 10 1 1 2 3
3 0 1 2 6 0 0 1 0 0 1
3 1 3 2 6 1 0 1 1 0 1
"""


def binary_ply() -> bytes:
    head = ASCII_PLY.split(b"end_header\n")[0].replace(b"format ascii", b"format binary_little_endian")
    body = b"".join(np.float32([i, i % 2, 3]).tobytes() + bytes([1, 2, 3]) for i in range(4))
    face = bytes([3]) + np.int32([0, 1, 2]).tobytes() + bytes([6]) + np.float32([0, 0, 1, 0, 0, 1]).tobytes()
    return head + b"end_header\n" + body + 2 * face


def glb() -> bytes:
    place = np.float32([[0, 0, 0], [10, 0, 0], [0, 10, 0.5]]).tobytes() + np.uint16([0, 1, 2, 0]).tobytes()
    text = json.dumps(
        {
            "asset": {"version": "2.0"},
            "buffers": [{"byteLength": len(place)}],
            "bufferViews": [
                {"buffer": 0, "byteLength": 36},
                {"buffer": 0, "byteOffset": 36, "byteLength": 6},
            ],
            "accessors": [
                {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
            ],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
            "nodes": [{"mesh": 0}],
            "scenes": [{"nodes": [0]}],
            "scene": 0,
        }
    ).encode()
    text += b" " * (-len(text) % 4)
    chunks = (
        np.uint32([len(text)]).tobytes()
        + b"JSON"
        + text
        + np.uint32([len(place)]).tobytes()
        + b"BIN\0"
        + place
    )
    return b"glTF" + np.uint32([2, 12 + len(chunks)]).tobytes() + chunks


MESHES = {"a.obj": OBJ, "a.ply": ASCII_PLY, "b.ply": binary_ply(), "a.glb": glb()}
_MORE = (
    "zbrush.obj",
    "strips.ply",
    "strips-rows.ply",
    "polygons-wedges.ply",
    "texture-transform.glb",
    "quantised.glb",
)
_MORE += ("sparse.glb", "strip.glb", "colours-u16.glb", "two-parts.glb", "morph-weights.glb", "inline.gltf")
MESHES |= {file.name: file.data for file in GOOD if file.name in _MORE}
_SCANNERS = (
    "bu4dfe.wrl",
    "tricky.wrl",
    "moved.wrl",
    "two-sets.wrl",
    "painted-1.wrl",
    "inventor-2.wrl",
    "new.vtk",
)
_SCANNERS += ("new-binary.vtk", "painted.vtk", "painted-binary.vtk", "strips.vtk", "int-binary.vtk")
MESHES |= {file.name: file.data for file in scanner_dialects.GOOD if file.name in _SCANNERS}
MESHES |= {name: scanner_dialects.STLS[name] for name in ("ascii.stl", "binary.stl")}

TINY = Camera(48, 36, 45.0, 45.0, 24.0, 17.0, (0.1, -0.2, 0.002, -0.001, 0.05))
RECORDING = {
    "rgbd.toml": recipe('up = "left"', TINY, TINY).encode(),
    "depth/0.png": png(depth_of(Ball(CENTRE), TINY)),
    "color/0.png": encode(color_of(Ball(CENTRE), TINY), "png"),
}
"""A recording of one moment, whose pictures have 48 x 36 pixels."""
DEPTHS = {
    ".png": RECORDING["depth/0.png"],
    ".npy": npy(depth_of(Ball(CENTRE), TINY).astype(np.float32)),
    ".raw": depth_of(Ball(CENTRE), TINY).astype("<f4").tobytes(),
}
TIMES = b"# frame, seconds\n0001, 0.5\n0002; 0.533\n"


def depth_spec(ending: str) -> Depth:
    """What describes a picture of `DEPTHS`."""
    return Depth(Files("", "", ending), TINY, 0.1, "float32" if ending == ".raw" else "")
