"""Flipped bytes: each is found by verify, or every value of the release reads unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mimicme.commands.verify import has_errors, verify
from mimicme.pipeline.release import Release


@dataclass(frozen=True)
class Flip:
    """One flipped byte: where, whether in a chunk; whether verify found it, and whether any value reads otherwise."""

    at: int
    mask: int
    in_chunk: bool
    found: bool
    changed: bool

    @property
    def safe(self) -> bool:
        return self.found or not self.changed


def chunk_bytes(path: Path) -> np.ndarray:
    """(size,) bool: the bytes of a release that lie in a chunk of a dataset, which has a checksum."""
    inside = np.zeros(path.stat().st_size, bool)

    def look(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and node.chunks:
            node.id.chunk_iter(
                lambda c: inside.__setitem__(slice(c.byte_offset, c.byte_offset + c.size), True)
            )

    with h5py.File(path) as file:
        file.visititems(look)
    return inside


def values(path: Path) -> dict[str, bytes]:
    """Everything that can be read out of a release, by name."""
    found: dict[str, bytes] = {}

    def put(name: str, value: Any) -> None:
        array = np.asarray(value)
        found[name] = array.tobytes() if array.dtype != object else repr(value).encode()

    with Release(path) as release:
        put("index", release.index)
        found["attributes"] = repr(sorted(release.attributes.items())).encode()
        found["subjects"] = repr(release.subjects).encode()
        template = release.template
        for name in ("vertices", "faces", "uv", "uv_faces", "landmark_vertices", "landmark_weights"):
            put(f"template {name}", getattr(template, name))
        found["template"] = repr((template.name, template.digest, template.landmark_names)).encode()
        for name, mask in template.masks.items():
            put(f"mask {name}", mask)
        for info in release.sequences():
            known = (info.name, info.expression, info.fps, info.start, info.stop, dict(info.attributes))
            found[str(info.item)] = repr(known).encode() + info.file_from_scan.tobytes()
            found[f"{info.item} units"] = repr(release.units(info.item)).encode()
        for row in range(len(release)):
            frame = release.frame(row, images=False)
            for name, value in vars(frame).items():
                put(f"{row} {name}", value if isinstance(value, np.ndarray) else repr(value))
            for name in ("texture", "coverage", *release.maps(row)):
                found[f"{row} {name}"] = repr(release.image_bytes(row, name)).encode()
            found[f"{row} maps"] = repr(release.maps(row)).encode()
    return found


def flips(good: Path, scratch: Path, count: int, seed: int, index: Path | None = None) -> list[Flip]:
    """Flip bytes one at a time, every second one outside all chunks.

    Args:
        scratch: where the spoiled copies are written, one over the other.
        index: of the release that the file is a part of, beside the scratch; None: the file is the release.
    """
    release = scratch if index is None else index
    rng = np.random.default_rng(seed)
    inside = chunk_bytes(good)
    places = (np.flatnonzero(~inside), np.flatnonzero(inside))
    data = good.read_bytes()
    scratch.write_bytes(data)
    before = values(release)
    assert not has_errors(verify(release, every_image=True))
    done = []
    for k in range(count):
        at, mask = int(rng.choice(places[k % 2])), int(rng.integers(1, 256))
        spoiled = bytearray(data)
        spoiled[at] ^= mask
        scratch.write_bytes(spoiled)
        found = has_errors(verify(release, every_image=True))
        try:
            changed = not found and values(release) != before
        except Exception:  # whatever it is, the values cannot be read any more
            changed = True
        done.append(Flip(at, mask, k % 2 == 1, found, changed))
    return done
