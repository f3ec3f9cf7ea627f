"""Chunks packed here are those of HDF5's own filters: it reads them, and its checksum is ours."""

from __future__ import annotations

import tracemalloc
import zlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.pipeline.release import packing
from mimicme.pipeline.release.packing import fletcher32, packed, unpacked

FILTERS = {"compression": "gzip", "shuffle": True, "fletcher32": True}


@pytest.mark.parametrize("kind", ["<f4", "<i4", "<i2", "|u1"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (1, 40_000)])
def test_hdf5_reads_what_is_packed(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=shape) * 90).astype(kind)
    for given in (values, np.zeros_like(values), np.sort(values, axis=1)):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset("a", shape, kind, chunks=shape, **FILTERS)
            data.id.write_direct_chunk((0, 0), packed(given, 4))
        with h5py.File(tmp_path / "a.h5") as file:
            np.testing.assert_array_equal(file["a"][:], given)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 511, 512, 513, 719, 720, 721, 65_537, 3_000_001])
def test_the_checksum_is_hdf5s(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(size)
    for data in (rng.bytes(size), bytes(size), b"\xff" * size):
        expected = fletcher32(data)
        if not size:
            assert expected == 0
            continue
        with h5py.File(tmp_path / "a.h5", "w") as file:
            made = file.create_dataset("a", (size,), "u1", chunks=(size,), fletcher32=True)
            made[:] = np.frombuffer(data, np.uint8)
            file.flush()
            assert made.id.read_direct_chunk((0,))[1][-4:] == expected.to_bytes(4, "little")


def test_the_checksum_of_the_largest_chunk_does_not_run_over() -> None:
    # of n words w: w n, and w n (n + 1) / 2, modulo 65535; the second is more than 64 bits hold
    n, word = (64 << 20) // 2, 0xFFFE
    low, high = word * n % 65535, word * n * (n + 1) // 2 % 65535
    assert word * n * (n + 1) // 2 > 1 << 64
    assert fletcher32(b"\xff\xfe" * n) == high << 16 | low


@pytest.fixture(params=["zlib", "zlib-ng"] if find_spec("zlib_ng") else ["zlib"])
def inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of what may unpack, of what is installed (`make test-interop` has both)."""
    if request.param == "zlib-ng":
        module = import_module("zlib_ng.zlib_ng")
        monkeypatch.setattr(packing, "_inflater", lambda: (module, True))
    else:
        monkeypatch.setattr(packing, "_inflater", lambda: (zlib, False))
    return str(request.param)


@pytest.mark.usefixtures("inflater")
@pytest.mark.parametrize("kind", ["<f4", "<i4", "<i2", "<u2"])
@pytest.mark.parametrize("count", [1, 7, 40_000])
def test_what_is_packed_is_unpacked(kind: str, count: int) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=count) * 90).astype(kind)
    for given in (values, np.zeros_like(values), np.sort(values)):
        found = unpacked(packed(given, 4), given.dtype, count)
        assert found is not None
        assert found.dtype == given.dtype
        np.testing.assert_array_equal(found, given)
        found[0] = 1  # it is the caller's own


@pytest.mark.usefixtures("inflater")
def test_what_hdf5_packs_is_unpacked(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(1, 5_000)).astype("<f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=values, chunks=values.shape, **FILTERS)
        mask, chunk = data.id.read_direct_chunk((0, 0))
    assert mask == 0
    np.testing.assert_array_equal(unpacked(chunk, values.dtype, values.size), values[0])


@pytest.mark.usefixtures("inflater")
def test_what_is_no_chunk_is_not_unpacked() -> None:
    values = np.random.default_rng(1).normal(size=3000).astype("<f4")
    chunk = packed(values, 4)

    def summed(stream: bytes) -> bytes:
        return stream + fletcher32(stream).to_bytes(4, "little")

    stream = chunk[:-4]
    assert unpacked(summed(stream), values.dtype, 3000) is not None
    bad = [b"", chunk[:3], chunk[:-1], chunk + b"\0", summed(stream[:-4]), summed(stream[:-1] + b"\0")]
    bad += [summed(b"no gzip at all"), summed(zlib.compress(bytes(1 << 24))), summed(zlib.compress(b""))]
    for spoiled in bad:
        assert unpacked(spoiled, values.dtype, 3000) is None
    for at in range(0, len(chunk), 997):
        flipped = bytearray(chunk)
        flipped[at] ^= 1
        assert unpacked(bytes(flipped), values.dtype, 3000) is None
    assert unpacked(chunk, values.dtype, 2999) is None
    assert unpacked(chunk, values.dtype, 3001) is None
    assert unpacked(chunk, np.dtype(">f4"), 3000) is None
    assert unpacked(chunk, np.dtype("<f8"), 1500) is None


@pytest.mark.usefixtures("inflater")
def test_no_more_is_unpacked_than_the_numbers_take() -> None:
    stream = zlib.compress(bytes(1 << 28), 9)
    chunk = stream + fletcher32(stream).to_bytes(4, "little")
    tracemalloc.start()
    assert unpacked(chunk, np.dtype("<f4"), 1000) is None
    assert tracemalloc.get_traced_memory()[1] < 4 * len(chunk)
    tracemalloc.stop()


def test_a_flipped_byte_is_still_found(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(1, 3000)).astype("f4")
    chunk = packed(values, 4)
    for at in range(0, len(chunk), 997):
        spoiled = bytearray(chunk)
        spoiled[at] ^= 1
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset("a", values.shape, "f4", chunks=values.shape, **FILTERS)
            data.id.write_direct_chunk((0, 0), bytes(spoiled))
            with pytest.raises(OSError, match="checksum|Fletcher|fletcher|filter"):
                data[:]
        assert chunk[at] != spoiled[at]


def test_noise_is_stored_and_the_rest_is_packed() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 60_000).astype("<u2")  # a plane of noise, and one of zeros
    assert 60_000 < len(packed(noise, 4)) < 61_000
    assert len(packed(np.zeros(60_000, "<f4"), 4)) < 2_000
