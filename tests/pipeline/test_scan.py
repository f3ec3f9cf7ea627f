"""A scan in a checkpoint: as it was, quick to read, checksummed, and the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mimicme.pipeline.checkpoint import CHUNK_BYTES, Checkpoint, even_chunk_shape, writing
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.scan import load_image_bytes, load_scan, vertex_colors, write_scan

ARRAYS = ("vertices", "faces", "uv", "uv_faces", "colors", "image")


def large_scan() -> tuple[Mesh, bytes]:
    """So large that every array but the colours has several chunks."""
    rng = np.random.default_rng(0)
    n, t = CHUNK_BYTES // 12 + 2, CHUNK_BYTES // 12 + 3
    mesh = Mesh(
        rng.normal(size=(n, 3)).astype(np.float32).astype(np.float64),
        rng.integers(0, n, (t, 3)).astype(np.int32),
        rng.random((2 * n, 2)).astype(np.float32).astype(np.float64),
        rng.integers(0, 2 * n, (t, 3)).astype(np.int32),
        rng.integers(0, 256, (n, 3)).astype(np.uint8),
    )
    return mesh, rng.integers(0, 256, CHUNK_BYTES + 7).astype(np.uint8).tobytes()


def write(path: Path, mesh: Mesh, image: bytes | None) -> Path:
    with writing(path, stage="ingest", item="a/b", made_by={}) as out:
        out.frames([0])
        write_scan(out, 0, mesh, image)
    return path


def test_a_scan_comes_back_as_it_was(tmp_path: Path) -> None:
    mesh, image = large_scan()
    with Checkpoint(write(tmp_path / "a.h5", mesh, image)) as made:
        back = load_scan(made, 0)
        assert load_image_bytes(made, 0) == image
    for name in ("vertices", "faces", "uv", "uv_faces", "colors"):
        np.testing.assert_array_equal(getattr(back, name), getattr(mesh, name), name)


def test_a_scan_is_not_compressed_and_takes_the_room_of_its_arrays(tmp_path: Path) -> None:
    """Undoing gzip took nine tenths of the time of reading it; a last chunk that is nearly empty would double it."""
    with h5py.File(write(tmp_path / "a.h5", *large_scan())) as file:
        for name in ARRAYS:
            data = file[f"frames/000000/{name}"]
            assert data.compression is None, name
            assert data.fletcher32, name
            assert data.nbytes <= data.id.get_storage_size() < data.nbytes + 100, name


@pytest.mark.parametrize("name", ARRAYS)
def test_a_flipped_byte_of_a_scan_is_an_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5", *large_scan())
    with h5py.File(path) as file:
        stored = file[f"frames/000000/{name}"].id
        chunk = stored.get_chunk_info(stored.get_num_chunks() - 1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)
    with Checkpoint(path) as made, pytest.raises(OSError, match="checksum|filter"):
        load_image_bytes(made, 0) if name == "image" else load_scan(made, 0)


def test_the_same_scan_gives_the_same_bytes(tmp_path: Path) -> None:
    scan = large_scan()
    write(tmp_path / "a.h5", *scan)
    _ = [np.full(CHUNK_BYTES, 255, np.uint8) for _ in range(9)]  # what lay in memory before does not matter
    assert write(tmp_path / "b.h5", *scan).read_bytes() == (tmp_path / "a.h5").read_bytes()


@pytest.mark.parametrize(
    ("rows", "row_bytes", "chunks"),
    [
        (1, 12, [1]),
        (CHUNK_BYTES, 1, [CHUNK_BYTES]),
        (CHUNK_BYTES + 1, 1, [CHUNK_BYTES // 2 + 1] * 2),
        (3, CHUNK_BYTES + 1, [1] * 3),
    ],
)
def test_chunks_are_as_long_as_each_other(rows: int, row_bytes: int, chunks: list[int]) -> None:
    (length, width) = even_chunk_shape((rows, row_bytes), 1)
    assert width == row_bytes
    assert [length] * -(-rows // length) == chunks


def test_at_the_edge_of_its_part_of_an_image_a_vertex_has_none_of_the_next_ones_colour():
    """Two photographs side by side, dark and bright; a triangle of each ends where they meet."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    points = np.zeros((6, 3))
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    uv = np.array([[0.5, 0.1], [0.5, 0.9], [0.1, 0.5], [0.5, 0.1], [0.5, 0.9], [0.9, 0.5]])
    found = vertex_colors(Mesh(points, faces, uv, faces), pixels)
    assert (found[:3] == 0).all() and (found[3:] == 200).all()


def test_a_vertex_has_the_colour_of_its_place_in_the_image_or_its_own_or_none() -> None:
    pixels = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    points, faces = np.eye(4, 3), np.array([[0, 1, 2]], np.int32)
    uv = np.array([[0.0, 1.0], [1.0, 1.0], [0.3, 0.1]])
    found = vertex_colors(Mesh(points, faces, uv, faces), pixels)
    assert found is not None
    np.testing.assert_array_equal(found[:3], [pixels[0, 0], pixels[0, 7], pixels[3, 2]])
    assert np.isnan(found[3]).all()  # of no triangle
    lost = vertex_colors(Mesh(points, faces, np.full((3, 2), np.nan), faces), pixels)
    assert lost is not None
    assert np.isnan(lost).all()
    own = np.full((4, 3), 7, np.uint8)
    np.testing.assert_array_equal(vertex_colors(Mesh(points, faces, colors=own), None), own)
    assert vertex_colors(Mesh(points, faces, uv, faces), None) is None
