"""Mesh files: OBJ (with MTL), PLY and glTF, in and out; VRML, VTK and STL, in.

The formats are in `obj`, `ply`, `gltf`, `vrml`, `vtk_legacy`, `stl` (reading) and `glb` (writing); `read_mesh` chooses
among them.  Vertices keep the order and number of the file's: nothing is welded or cleaned here (see `cleaning`), but
for STL, whose triangles have no vertices in common.  `read_scan` leaves out vertices that are no place.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from mimicme.pipeline.formats.glb import glb_bytes
from mimicme.pipeline.formats.gltf import read_glb, read_gltf
from mimicme.pipeline.formats.gltf_document import Beside
from mimicme.pipeline.formats.mesh_file import (
    MeshFile,
    MeshFileError,
    check_content,
    check_vertices,
    fail,
    without_absent,
)
from mimicme.pipeline.formats.obj import mtl_bytes, obj_bytes, parse_mtl, read_obj, write_obj
from mimicme.pipeline.formats.ply import ply_bytes, read_ply, write_ply
from mimicme.pipeline.formats.stl import read_stl
from mimicme.pipeline.formats.vrml import BEGINNINGS, read_vrml
from mimicme.pipeline.formats.vtk_legacy import BEGINNING, read_vtk

__all__ = [
    "ENDINGS",
    "MeshFile",
    "MeshFileError",
    "glb_bytes",
    "mtl_bytes",
    "obj_bytes",
    "parse_mtl",
    "ply_bytes",
    "read_glb",
    "read_gltf",
    "read_mesh",
    "read_obj",
    "read_ply",
    "read_scan",
    "read_stl",
    "read_vrml",
    "read_vtk",
    "write_obj",
    "write_ply",
]

ENDINGS = (".obj", ".ply", ".glb", ".gltf", ".wrl", ".vrml", ".vtk", ".stl")

_READERS = {".wrl": read_vrml, ".vrml": read_vrml, ".vtk": read_vtk, ".stl": read_stl}
_NO_MESH = {
    b"\x1f\x8b": "compressed with gzip",
    b"PK\x03\x04": "a zip archive",
    b"version https://git-lfs": "a Git LFS pointer, the mesh itself was not fetched",
    b"\x00\x05\x16\x07": "the resource fork of a Mac's file",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}


def read_mesh(data: bytes, name: str, beside: Beside | None = None) -> MeshFile:
    """Read a mesh file of any known format, every vertex of it, in its order.

    Args:
        data: the whole file.
        name: its name; the ending tells the format unless the content does, and errors name it.
        beside: reads a file that lies beside it by the name written in it, confined by the caller; None: no other
            file is read.

    Raises:
        MeshFileError: see the codes in `mesh_file`; `nan-vertices` also of a vertex that no triangle has: without it
            the others would have other numbers than in the file, by which a template's vertices are known.
        MissingDependencyError: it is compressed with Draco, and DracoPy is not installed.
    """
    found = _read(data, name, beside)
    check_vertices(found.mesh.vertices, name)
    return found


def read_scan(data: bytes, name: str, beside: Beside | None = None) -> MeshFile:
    """Read a capture, whose vertices have no meaning by their number: those that are no place, and that no triangle
    has, are left out.  Otherwise as `read_mesh`."""
    return without_absent(_read(data, name, beside))


def _read(data: bytes, name: str, beside: Beside | None) -> MeshFile:
    # what is no number warns of nothing: it is refused, or is no place in an image
    with np.errstate(all="ignore"):
        return _in_its_format(data, name, beside)


def _in_its_format(data: bytes, name: str, beside: Beside | None) -> MeshFile:
    check_content(data, name)
    for begin, what in _NO_MESH.items():
        if data.startswith(begin):
            todo = "Put the mesh itself in its place."
            raise fail("bad-syntax", "the file is no mesh", name, seen=what, todo=todo)
    ending = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    if data[:4] == b"glTF":
        return read_glb(data, name, beside)
    if data[:4] in (b"ply\n", b"ply\r", b"ply "):
        return read_ply(data, name)
    if data.removeprefix(b"\xef\xbb\xbf").startswith(BEGINNINGS):
        return read_vrml(data, name)
    if data.startswith(BEGINNING):
        return read_vtk(data, name)
    if ending in (".glb", ".gltf"):
        is_text = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"
        return (read_gltf if is_text else read_glb)(data, name, beside)
    if ending == ".ply":
        return read_ply(data, name)
    if ending in (".obj", ""):
        return read_obj(data, name)
    if ending in _READERS:
        return _READERS[ending](data, name)
    raise MeshFileError(
        "bad-syntax",
        "the format is not known",
        where=name,
        seen=repr(ending),
        expected=f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}",
        todo="Convert the capture to OBJ, or correct the layout pattern.",
    )
