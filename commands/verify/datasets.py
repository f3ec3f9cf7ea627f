"""One dataset: there, as it is declared, compressed, checksummed, and readable."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h5py
import numpy as np

from mimicme.commands.verify.finding import Finding, first_line, named
from mimicme.pipeline.release import guard, layout


@named("fields")
def check_field(
    group: h5py.Group, name: str, spec: layout.Field, rows: int | None, n_vertices: int, n_landmarks: int
) -> Iterator[Finding]:
    """One dataset: there, of its type and shape, with its unit, compressed and checksummed."""
    where, data = f"{group.name}/{name}", group.get(name)
    if not isinstance(data, h5py.Dataset):
        yield Finding("error", where, "The dataset is missing.")
        return
    if data.dtype != np.dtype(spec.dtype):
        yield Finding("error", where, f"The type is {data.dtype}, expected {np.dtype(spec.dtype)}.")
        return
    tail = layout.dimensions(spec.shape, n_vertices, n_landmarks)
    if data.ndim != 1 + len(tail) or any(t not in (-1, s) for t, s in zip(tail, data.shape[1:], strict=True)):
        yield Finding("error", where, f"The shape is {data.shape}, expected {('rows', *tail)}.")
        return
    if rows is not None and len(data) != rows:
        yield Finding("error", where, f"{len(data)} rows, expected {rows}.")
    unit = guard.attribute(data.id, "unit", data.name)
    if unit != spec.unit:
        yield Finding("error", where, f"The unit is {unit!r}, expected {spec.unit!r}.")
    yield from check_filters(data)


@named("fields")
def check_filters(data: h5py.Dataset) -> Iterator[Finding]:
    """Compressed and checksummed; what is empty can be neither."""
    if not data.size:
        return
    if not data.fletcher32:
        yield Finding("error", data.name, "It has no checksum (fletcher32): damage would go unnoticed.")
    if data.compression is None:
        yield Finding("warning", data.name, "It is not compressed.")


@named("chunks")
def check_chunks(data: h5py.Dataset, alive: Callable[[], None] = lambda: None) -> Iterator[Finding]:
    """Every chunk can be read and fits its checksum.

    Args:
        alive: called once a chunk.
    """
    if not data.size:
        return
    if data.chunks is None:
        try:
            data[()]
        except MemoryError:
            raise
        except guard.TROUBLE as error:
            yield Finding("error", data.name, f"It cannot be read: {first_line(error)}")
        return
    for part in data.iter_chunks():
        alive()
        try:
            data[part]
        except MemoryError:
            raise
        except guard.TROUBLE as error:
            rows = f"{part[0].start} to {part[0].stop - 1}"
            yield Finding("error", f"{data.name} rows {rows}", f"The chunk is damaged: {first_line(error)}")
