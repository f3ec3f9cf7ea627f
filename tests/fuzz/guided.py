"""A coverage-guided fuzzer for one reader: `python guided.py TARGET CORPUS [libFuzzer options]`.

A reader may return, or raise a `MimicmeError` whose sentence says what is wrong; everything else - another exception, a
warning, a hang (-timeout), memory over `MEMORY`, a crash - ends it with a status and leaves the input behind.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.append(str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["mimicme"]):
    from mimicme.pipeline.captures.expressions import read_mapping
    from mimicme.pipeline.captures.metadata import read_subjects
    from mimicme.pipeline.errors import MimicmeError
    from mimicme.pipeline.formats.image import decode
    from mimicme.pipeline.formats.meshio import parse_mtl, read_mesh
    from mimicme.pipeline.landmarks.files import read_points
    from mimicme.pipeline.rgbd.depth_image import read_depth
    from mimicme.pipeline.rgbd.recipe import read_recipe, read_times

from fuzz_seeds import depth_spec  # noqa: E402

SCRATCH = Path(tempfile.mkdtemp(prefix="mimicme-fuzz-"))


def _as_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def target(data: bytes) -> object:
        path = SCRATCH / name
        path.write_bytes(data)
        return read(path)

    return target


TARGETS: dict[str, Callable[[bytes], object]] = {
    "obj": lambda data: read_mesh(data, "a.obj"),
    "ply": lambda data: read_mesh(b"ply\n" + data, "a.ply"),
    "glb": lambda data: read_mesh(b"glTF" + data, "a.glb"),
    "wrl": lambda data: read_mesh(b"#VRML V" + data, "a.wrl"),
    "vtk": lambda data: read_mesh(b"# vtk DataFile" + data, "a.vtk"),
    "stl": lambda data: read_mesh(data, "a.stl"),
    "mtl": lambda data: parse_mtl(data, "a.mtl"),
    "image": lambda data: decode(data, max_pixels=1 << 20),
    "rgbd": lambda data: read_recipe(data),
    "times": lambda data: read_times(data, "times.csv"),
    **{
        ending: (lambda data, ending=ending: read_depth(data, depth_spec(f".{ending}"), "0"))
        for ending in ("npy", "png")
    },
    **{
        ending: (lambda data, name=f"a.{ending}": read_points(data, name))
        for ending in ("ljson", "pts", "pp", "csv", "json", "lm3", "bnd", "bndplus")
    },
    "subjects": _as_file(read_subjects, "subjects.csv"),
    "expressions": _as_file(read_mapping, "expressions.csv"),
}


MEMORY = 2 << 30
"""Bytes on top of what the program itself has, for a file of some kilobytes."""


def main(name: str, options: list[str]) -> None:
    target = TARGETS[name]
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, own + MEMORY))
    warnings.simplefilter("error")

    def once(data: bytes) -> None:
        try:
            target(data)
        except MimicmeError as error:
            if len(str(error)) < 20:
                raise AssertionError(f"says too little: {error}") from error

    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
