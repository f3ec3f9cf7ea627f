"""draco: what a stream announces is believed by nobody, and what decoding it takes has an end."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time

import numpy as np
import pytest

from mimicme.pipeline.errors import ShortageError
from mimicme.pipeline.formats import draco
from mimicme.pipeline.formats.draco import announced, decode
from mimicme.pipeline.formats.mesh_file import MAX_TRIANGLES, MAX_VERTICES, MeshFileError

DracoPy = pytest.importorskip("DracoPy")


def grid(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n^2, 3) and triangles of a bent square."""
    x, y = np.meshgrid(np.arange(n, dtype=float), np.arange(n, dtype=float))
    places = np.stack([x, y, np.sin(x)], axis=-1).reshape(-1, 3).astype(np.float32)
    at = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate([np.stack([at, at + 1, at + n], 1), np.stack([at + 1, at + n + 1, at + n], 1)])
    return places, faces.astype(np.uint32)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def stream(**more: object) -> bytes:
    return bytes(DracoPy.encode(*grid(), quantization_bits=14, **more))


def with_counts(data: bytes, first: int, second: int) -> bytes:
    """A stream of version 2.2 whose counts are others."""
    at = 11 + (data[8] == 1)  # edgebreaker: after the kind of its traversal
    rest = at
    for _ in range(2):
        while data[rest] & 128:
            rest += 1
        rest += 1
    return data[:at] + varint(first) + varint(second) + data[rest:]


@pytest.mark.parametrize("level", [0, 1, 7, 10])
def test_what_a_stream_announces(level: int) -> None:
    data = stream(compression_level=level)
    places, faces = grid()
    said = announced(data, "a.glb")
    assert said.triangles == len(faces)
    assert said.vertices == len(places)
    triangles, held = decode(data, [0], "a.glb")
    assert triangles.shape == faces.shape
    assert held[0].shape == places.shape
    np.testing.assert_allclose(
        np.sort(held[0][triangles].sum(axis=1), axis=0), np.sort(places[faces].sum(axis=1), axis=0), atol=2e-2
    )


def test_attributes_that_are_not_wanted_are_not_there() -> None:
    places, faces = grid()
    data = bytes(DracoPy.encode(places, faces, tex_coord=places[:, :2].astype(np.float64)))
    ids = [int(a["unique_id"]) for a in DracoPy.decode(data).attributes]
    assert len(ids) == 2
    assert decode(data, ids[1:], "a")[1].keys() == {ids[1]}
    assert decode(data, [77], "a")[1] == {}


@pytest.mark.parametrize("counts", [(MAX_VERTICES + 1, 9), (9, MAX_TRIANGLES + 1), (1 << 62, 1 << 62)])
def test_more_than_is_read_is_refused_before_a_process_is_begun(
    counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draco.subprocess, "run", lambda *a, **k: pytest.fail("begun"))
    with pytest.raises(MeshFileError) as caught:
        decode(with_counts(stream(), *counts), [0], "a.glb")
    assert caught.value.reason == "too-large"
    with pytest.raises(MeshFileError, match="more than they hold"):
        decode(with_counts(stream(), 9, MAX_TRIANGLES), [0], "a.glb")


def test_what_asks_for_more_memory_than_it_announces_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stream whose attributes have hundreds of components would."""
    monkeypatch.setattr(draco, "BASE_BYTES", 150 << 20)
    monkeypatch.setattr(draco, "LEAST_BYTES", 0)
    places, faces = grid(700)
    data = bytes(DracoPy.encode(places, faces, quantization_bits=14))
    monkeypatch.setattr(draco, "announced", lambda data, name: draco.Announced(1, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MeshFileError) as caught:
        decode(data, [0], "a.glb")
    assert caught.value.reason == "bad-syntax"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_what_has_no_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draco, "BASE_S", 1)
    monkeypatch.setattr(draco, "_PROGRAM", draco._PROGRAM.replace("import DracoPy", "while True: pass"))
    began = time.monotonic()
    with pytest.raises(MeshFileError, match="not decoded after 1 CPU seconds"):
        decode(stream(), [0], "a.glb")
    assert time.monotonic() - began < 120


def test_a_process_that_the_system_ends_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame is not rejected: another run reads it."""
    die = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    monkeypatch.setattr(draco, "_PROGRAM", draco._PROGRAM.replace("import DracoPy", die))
    with pytest.raises(ShortageError, match="killed"):
        decode(stream(), [0], "a.glb")


def test_a_process_that_cannot_be_started_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: object, **more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(draco.subprocess, "run", run)
    with pytest.raises(ShortageError, match="cannot be started"):
        decode(stream(), [0], "a.glb")


@pytest.mark.parametrize("error", ["ImportError('numpy.core failed')", "MemoryError"])
def test_a_package_that_is_there_and_was_not_loaded_is_not_missing(
    error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the whole run."""
    monkeypatch.setattr(draco, "_PROGRAM", draco._PROGRAM.replace("import DracoPy", f"raise {error}"))
    with pytest.raises(ShortageError, match=r"is installed and was not loaded.*Error"):
        decode(stream(), [0], "a.glb")


def test_python_that_does_not_start_says_nothing_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draco, "_PROGRAM", "raise SystemExit(1)")
    with pytest.raises(ShortageError):
        decode(stream(), [0], "a.glb")


@pytest.mark.parametrize(("there", "raised"), [(True, MeshFileError), (False, ShortageError)])
def test_want_of_memory_is_the_files_fault_where_what_it_may_take_is_there(
    there: bool, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`there`: the process is given all that it may take; otherwise less, as on a machine that has no more."""
    program = draco._PROGRAM.replace("mesh = DracoPy.decode", "raise MemoryError\n    mesh = DracoPy.decode")
    if not there:
        limited = "memory = min(memory, 1 << 30)\n    for what, soft, hard in ("
        program = program.replace("for what, soft, hard in (", limited)
    monkeypatch.setattr(draco, "_PROGRAM", program)
    with pytest.raises(raised):
        decode(stream(), [0], "a.glb")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DRACO",
        b"DRACX" + bytes(40),
        b"DRACO\x02\x02\x00\x00\x00\x00",
        b"DRACO\x02\x02\x01\x00\x00\x00\xff\xff",
    ],
)
def test_what_is_no_mesh_is_damaged(data: bytes) -> None:
    with pytest.raises(MeshFileError) as caught:
        announced(data, "a.glb")
    assert caught.value.reason == "bad-syntax"


def test_metadata_are_passed_over() -> None:
    data = stream()
    entry = b"\x04name" + varint(3) + b"abc"
    told = varint(1) + varint(0) + varint(1) + entry + varint(0) + varint(1) + entry + varint(0)
    with_them = data[:9] + b"\x00\x80" + told + data[11:]
    assert announced(with_them, "a") == announced(data, "a")
    inner = (
        varint(0)
        + varint(2)
        + b"".join(name + varint(1) + entry + varint(0) for name in (b"\x01a", b"\x01b"))
    )
    nested = data[:9] + b"\x00\x80" + varint(0) + inner + data[11:]
    assert announced(nested, "a") == announced(data, "a")
    assert (
        len(decode(with_them, [0], "a")[0])
        == len(decode(nested, [0], "a")[0])
        == announced(data, "a").triangles
    )
    with pytest.raises(MeshFileError, match="cut short"):
        announced(data[:9] + b"\x00\x80" + varint(1 << 60), "a")
    # a value whose length fits no integer of the system
    longest = varint(1) + varint(0) + varint(1) + b"\x00" + varint((1 << 64) - 1)
    with pytest.raises(MeshFileError) as caught:
        announced(data[:9] + b"\x00\x80" + longest, "a")
    assert caught.value.reason == "bad-syntax"
