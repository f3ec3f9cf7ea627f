"""Polygons survive: OBJ in, triangles between, OBJ out, also wound the other way round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mimicme.pipeline.formats.meshio import obj_bytes, read_mesh
from mimicme.pipeline.geometry.orientation import reversed_mesh

TEXT = b"""v 0 0 0
v 1 0 0
v 2 0 0
v 2 1 0
v 1 1 0
v 0 1 0
v 1 2 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 5/3 6/4
f 2 3 4 7 5
f 6 5 7
"""


def faces_of(data):
    return [
        [int(word.split("/")[0]) for word in line.split()[1:]]
        for line in data.decode().splitlines()
        if line.startswith("f ")
    ]


def test_polygons_come_out_as_they_went_in():
    read = read_mesh(TEXT, "x.obj")
    assert read.polygons.tolist() == [0, 0, 1, 1, 1, 2] and len(read.mesh.faces) == 6
    out = obj_bytes(read.mesh, polygons=read.polygons)
    assert faces_of(out) == faces_of(TEXT)
    assert b"f 1/1 2/2 5/3 6/4" in out


def test_turned_round_they_are_the_same_polygons():
    read = read_mesh(TEXT, "x.obj")
    out = faces_of(obj_bytes(reversed_mesh(read.mesh), polygons=read.polygons))
    for before, after in zip(faces_of(TEXT), out, strict=True):
        start = after.index(before[0])
        assert [before[0], *before[:0:-1]] == after[start:] + after[:start]


def test_triangles_alone_are_no_polygons():
    read = read_mesh(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "x.obj")
    assert read.polygons is None


def test_triangles_that_share_no_corner_stay_triangles():
    read = read_mesh(TEXT, "x.obj")
    faces = read.mesh.faces.copy()
    faces[1] = np.roll(faces[1], 1)
    assert len(faces_of(obj_bytes(read.mesh))) == 6
    assert len(faces_of(obj_bytes(replace(read.mesh, faces=faces), polygons=read.polygons))) == 6
