"""Mesh files: OBJ (with MTL), PLY and binary glTF, in and out.

The formats are in `obj`, `ply` and `glb`; `read_mesh` chooses among them.  Vertices keep the order and number of
the file's `v` lines: nothing is welded or cleaned here (see `cleaning`).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from mimicme.pipeline.formats.glb import glb_bytes, read_glb
from mimicme.pipeline.formats.mesh_file import MeshFile, MeshFileError
from mimicme.pipeline.formats.obj import mtl_bytes, obj_bytes, parse_mtl, read_obj, write_obj
from mimicme.pipeline.formats.ply import ply_bytes, read_ply, write_ply

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
    "read_mesh",
    "read_obj",
    "read_ply",
    "write_obj",
    "write_ply",
]

ENDINGS = (".obj", ".ply", ".glb")


def read_mesh(data: bytes, name: str) -> MeshFile:
    """Read a mesh file of any known format.

    Args:
        data: the whole file.
        name: its name; the ending tells the format unless the content does, and errors name it.

    Raises:
        MeshFileError: see the codes in this module's description.
    """
    if data[:4] == b"glTF":
        return read_glb(data, name)
    if data[:4] in (b"ply\n", b"ply\r"):
        return read_ply(data, name)
    ending = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    if ending == ".ply":
        return read_ply(data, name)
    if ending in (".obj", ""):
        return read_obj(data, name)
    raise MeshFileError(
        "bad-syntax",
        "the format is not known",
        where=name,
        seen=repr(ending),
        expected=".obj, .ply or .glb",
        todo="Convert the capture to OBJ, or correct the layout pattern.",
    )
