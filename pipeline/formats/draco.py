"""Meshes compressed with Draco, decoded in a process of their own.

Its decoder takes what memory the counts in a stream ask for, however short the stream is: a few hundred bytes can ask
for a hundred gigabytes, and damaged ones have crashed it.  So the counts at the head of a stream are read first
(`announced`), and the rest is decoded by a child process that may have so much memory and time and no more, which costs
about 0.2 seconds of start; whatever becomes of that, who asked goes on.

The stream: https://google.github.io/draco/spec, sections 3 to 5.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import MissingDependencyError, ShortageError
from mimicme.pipeline.formats.mesh_file import MAX_TRIANGLES, MAX_VERTICES, fail

BASE_BYTES = 1 << 30
"""Address space that Python, numpy and the decoder take before they decode anything (0.1 GB measured on Linux)."""
BYTES_A_TRIANGLE, BYTES_A_VERTEX = 150, 200
"""What decoding may take beside that, by what a stream announces.  Grids of 0.2 and 1.6 million triangles with texture
coordinates and colours took 78 to 148 bytes a triangle, all in all."""
TRIANGLES_A_BYTE = 100
"""More than that nobody compresses: those grids had 0.1 to 0.3, with places alone one."""
LEAST_BYTES = 256 << 20
BASE_S = 60
"""CPU seconds that decoding may take at least; a million triangles take 0.1."""
TRIANGLES_A_S = 50_000
MOST_COMPONENTS = 4
_MESH, _SEQUENTIAL, _EDGEBREAKER = 1, 0, 1
_METADATA_FLAG = 0x8000
_VARINTS = 0x202
"""Version (2.2) from which on counts are written with a variable length."""


class Announced(NamedTuple):
    """What the head of a stream says it holds."""

    vertices: int
    triangles: int


def announced(data: bytes, name: str) -> Announced:
    """The counts of a mesh in a Draco stream, which nothing has been decoded of.

    Args:
        data: the stream; name: of the file, for errors.

    Raises:
        MeshFileError: `bad-syntax`: it is no such stream; `too-large`: it announces more than is read.
    """
    stream = io.BytesIO(data)
    try:
        if stream.read(5) != b"DRACO":
            raise ValueError("it does not begin with DRACO")
        major, minor, kind, method = stream.read(4)
        flags = int.from_bytes(_exactly(stream, 2), "little")
        version = major << 8 | minor
        if kind != _MESH or method not in (_SEQUENTIAL, _EDGEBREAKER):
            raise ValueError(f"it holds no mesh: kind {kind}, method {method}")
        if version >= 0x103 and flags & _METADATA_FLAG:
            _skip_metadata(stream)
        if method == _SEQUENTIAL:
            triangles, vertices = _count(stream, version), _count(stream, version)
        else:
            _exactly(stream, 1)
            if version < _VARINTS:
                _count(stream, version)
            vertices, triangles = _count(stream, version), _count(stream, version)
    except (ValueError, OverflowError) as error:  # a length of 2^63 bytes fits no integer of the system
        raise fail("bad-syntax", "the file's Draco data are damaged", name, seen=error) from error
    seen = f"{vertices:,} vertices, {triangles:,} triangles"
    if vertices > MAX_VERTICES or triangles > MAX_TRIANGLES:
        raise fail("too-large", "the mesh is too large", name, seen=seen)
    if max(vertices, triangles) > TRIANGLES_A_BYTE * len(data):
        seen += f" in {len(data):,} bytes"
        raise fail("bad-syntax", "the file's Draco data announce more than they hold", name, seen=seen)
    return Announced(vertices, triangles)


def _exactly(stream: io.BytesIO, count: int) -> bytes:
    read = stream.read(count)
    if len(read) < count:
        raise ValueError("it is cut short")
    return read


def _varint(stream: io.BytesIO) -> int:
    """LEB128."""
    value = shift = 0
    while True:
        byte = _exactly(stream, 1)[0]
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value
        shift += 7
        if shift > 63:
            raise ValueError("a count has no end")


def _count(stream: io.BytesIO, version: int) -> int:
    return _varint(stream) if version >= _VARINTS else int.from_bytes(_exactly(stream, 4), "little")


def _skip_metadata(stream: io.BytesIO) -> None:
    """Names and values that nobody asks for."""
    for _ in range(_varint(stream)):  # of attributes
        _varint(stream)
        _skip_entries(stream)
    _skip_entries(stream)


def _skip_entries(stream: io.BytesIO) -> None:
    """A set of entries, and those that lie in it, each led by its name."""
    waiting, named = 1, False
    while waiting:
        if named:
            _exactly(stream, _exactly(stream, 1)[0])
        for _ in range(_varint(stream)):
            _exactly(stream, _exactly(stream, 1)[0])
            _exactly(stream, _varint(stream))
        waiting += _varint(stream) - 1
        named = True


def decode(
    data: bytes, wanted: Collection[int], name: str
) -> tuple[NDArray[np.int64], dict[int, NDArray[Any]]]:
    """Triangles (t, 3) and the attributes (n, 1 to 4) with these unique ids, as far as they are there.

    Args:
        data: the stream; name: of the file, for errors.

    Raises:
        MeshFileError: `bad-syntax`, `too-large`.
        MissingDependencyError: DracoPy is not installed.
        ShortageError: the process could not be started, did not get the memory that it may take, or was ended by the
            system: memory or processes were short.
    """
    if importlib.util.find_spec("DracoPy") is None:
        raise _not_installed(name)
    said = announced(data, name)
    memory = BYTES_A_TRIANGLE * said.triangles + BYTES_A_VERTEX * said.vertices
    seconds = BASE_S + said.triangles // TRIANGLES_A_S
    words = [BASE_BYTES + LEAST_BYTES + memory, seconds, *sorted(set(wanted))]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *map(str, words)],
            input=data,
            capture_output=True,
            cwd=os.sep,  # where nobody's captures lie: Python looks for modules there first
            env=os.environ | {"PYTHONSAFEPATH": "1"} | dict.fromkeys(_THREADS, "1"),
            start_new_session=True,  # Ctrl-C is for the run: a frame that it cut short would seem to be damaged
        )
    except OSError as error:
        raise ShortageError(
            f"The process that decodes Draco cannot be started ({error}); run again."
        ) from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise _said_of(done.returncode, last or f"status {done.returncode}", seconds, name)
    stream = io.BytesIO(done.stdout)
    faces = np.load(stream, allow_pickle=False).astype(np.int64).reshape(-1, 3)
    attributes: dict[int, NDArray[Any]] = {}
    with contextlib.suppress(EOFError):
        while stream.tell() < len(done.stdout):
            number = int(np.load(stream, allow_pickle=False))
            attributes[number] = np.load(stream, allow_pickle=False)
    return faces, attributes


def _said_of(status: int, last: str, seconds: int, name: str) -> Exception:
    """What the end of the decoder's process says.

    Args:
        status: its return code.
        last: line that it wrote.
        seconds: that it was given.
        name: of the file.
    """
    again = "run again, with fewer --jobs"
    if status == -signal.SIGKILL:
        return ShortageError(f"The process that decodes Draco was killed, often for want of memory; {again}.")
    if status == -signal.SIGXCPU:
        last = f"not decoded after {seconds} CPU seconds"
    elif status == _NOT_LOADED:  # the parent has found it
        return ShortageError(
            f"DracoPy is installed and was not loaded, often for want of memory ({last}); {again}. "
            "If that does not help, install it anew."
        )
    elif status >= 0 and status != _REFUSED:  # Python itself did not get as far as the file
        return ShortageError(f"There was not enough memory to decode Draco ({last}); {again}.")
    return fail("bad-syntax", "the file's Draco data are damaged", name, seen=last)


def _not_installed(name: str) -> MissingDependencyError:
    return MissingDependencyError(
        "the file is compressed, and the package that reads it is not installed",
        where=name,
        seen="KHR_draco_mesh_compression",
        todo="Install it with: pip install 'mimicme[draco]', or export it without compression.",
    )


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NOT_LOADED, _REFUSED, _SHORT = 3, 4, 5
_PROGRAM = f"""
import sys
try:
    import resource
except ImportError:  # Windows has none
    pass
else:
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    for what, soft, hard in (
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_CPU, seconds, seconds + 5),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        most = resource.getrlimit(what)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        try:
            resource.setrlimit(what, (soft, hard))
        except (OSError, ValueError):  # macOS refuses one on memory
            pass
def leave(error, status):
    print(f"{{type(error).__name__}}: {{error}}".replace("\\n", " ")[:200], file=sys.stderr)
    sys.exit(status)
def promised():  # whether what it may take is there: if so, it is the stream that asks for more
    try:
        import mmap
        held = 0
        try:
            with open("/proc/self/statm") as file:
                held = int(file.read().split()[0]) * mmap.PAGESIZE
        except FileNotFoundError:  # macOS has none
            pass
        left = int(sys.argv[1]) - held - (16 << 20)
        if left > 0:
            mmap.mmap(-1, left, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError, ImportError, AttributeError, ValueError):
        return False
    return True
try:
    import DracoPy
    import numpy
except (ImportError, MemoryError) as error:
    leave(error, {_NOT_LOADED})
try:
    mesh = DracoPy.decode(sys.stdin.buffer.read())
    told = [numpy.ascontiguousarray(mesh.faces)]
    for attribute in mesh.attributes:
        if str(attribute["unique_id"]) in sys.argv[3:]:
            values = numpy.ascontiguousarray(attribute["data"])
            if values.ndim > 2 or (values.ndim == 2 and values.shape[1] > {MOST_COMPONENTS}):
                raise ValueError(f"an attribute has the shape {{values.shape}}")
            told += [numpy.array(int(attribute["unique_id"])), values]
    for array in told:
        numpy.save(sys.stdout.buffer, array, allow_pickle=False)
    sys.stdout.buffer.flush()
except MemoryError as error:
    leave(error, {_REFUSED} if promised() else {_SHORT})
except BaseException as error:
    leave(error, {_REFUSED})
"""
