"""Arrays for a browser: a header in JSON and the arrays behind it, gzip over all; view.js unpacks them.

    u32 little endian, length of the header; the header, padded with blanks to a multiple of four; the arrays, each
    padded with zeros likewise.

Integers whose neighbours are alike are stored as differences, their low bytes apart from their high ones: gzip makes a
third less of them so.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 6


@dataclass(frozen=True)
class Part:
    """One array.

    Attributes:
        data: any shape of u1, u2, i2, u4 or f4.
        differences: each number is stored as its difference from the one before it, modulo the type's range.
        planes: bytes of one significance are stored together.
    """

    data: NDArray[Any]
    differences: bool = False
    planes: bool = False

    def encoded(self) -> bytes:
        flat = np.ascontiguousarray(self.data).astype(self.data.dtype.newbyteorder("<")).reshape(-1)
        if self.differences:
            unsigned = flat.view(f"<u{flat.dtype.itemsize}")
            flat = np.diff(unsigned, prepend=unsigned.dtype.type(0))
        if self.planes and flat.dtype.itemsize > 1:
            return flat.view(np.uint8).reshape(-1, flat.dtype.itemsize).T.tobytes()
        return flat.tobytes()

    def described(self, offset: int) -> dict[str, Any]:
        """For the header."""
        return {
            "type": self.data.dtype.str[1:],
            "shape": list(self.data.shape),
            "offset": offset,
            "differences": self.differences,
            "planes": self.planes,
        }


def pack(parts: Mapping[str, Part], about: Mapping[str, Any]) -> bytes:
    """The arrays by name and whatever else JSON can say of them; the same bytes for the same content."""
    described: dict[str, Any] = {}
    body: list[bytes] = []
    offset = 0
    for name, part in parts.items():
        data = part.encoded()
        described[name] = part.described(offset)
        body += [data, b"\0" * (-len(data) % 4)]
        offset += len(data) + len(body[-1])
    header = json.dumps({"about": dict(about), "parts": described}, allow_nan=False).encode()
    header += b" " * (-len(header) % 4)
    return gzip.compress(
        b"".join([len(header).to_bytes(4, "little"), header, *body]), compresslevel=LEVEL, mtime=0
    )


def unpack(packed: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What `pack` was given."""
    data = gzip.decompress(packed)
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    return {
        name: _decoded(data[4 + length + spec["offset"] :], spec) for name, spec in header["parts"].items()
    }, header["about"]


def _decoded(data: bytes, spec: Mapping[str, Any]) -> NDArray[Any]:
    kind = np.dtype(f"<{spec['type']}")
    count = int(np.prod(spec["shape"], dtype=np.int64))
    raw = np.frombuffer(data, np.uint8, count * kind.itemsize)
    if spec["planes"] and kind.itemsize > 1:
        raw = np.ascontiguousarray(raw.reshape(kind.itemsize, -1).T).reshape(-1)
    flat = raw.view(kind)
    if spec["differences"]:
        unsigned = raw.view(f"<u{kind.itemsize}")
        flat = np.cumsum(unsigned, dtype=unsigned.dtype).view(kind)
    return flat.reshape(spec["shape"])
