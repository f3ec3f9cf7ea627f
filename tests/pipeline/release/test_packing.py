"""Chunks packed here are those of HDF5's own filters: it reads them, and its checksum is ours."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.pipeline.release.packing import fletcher32, packed

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


@pytest.mark.parametrize("size", [0, 1, 2, 3, 719, 720, 721, 65_537, 3_000_001])
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
