"""Maps of a surface quantised to 16-bit pictures: which there are, and the scale and offset of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.arrays import Singles

Deep = NDArray[np.uint16]
TOP = 65535


class Kind(NamedTuple):
    """A map's channels and the unit of its values."""

    channels: int
    unit: str


MAPS = {"normal": Kind(3, "1"), "position": Kind(3, "mm"), "displacement": Kind(1, "mm")}


@dataclass(frozen=True)
class Coding:
    """value = offset + scale * number, per channel.

    Attributes:
        unit: of the values.  scale: of one step.  offset: value of number 0, one a channel.
    """

    unit: str
    scale: float
    offset: tuple[float, ...]

    def numbers(self, values: ArrayLike) -> Deep:
        """(..., channels) values as the nearest numbers; beyond the range the last one."""
        steps = (np.asarray(values, np.float32) - np.array(self.offset, np.float32)) / np.float32(self.scale)
        return np.asarray(np.rint(np.clip(steps, 0, TOP)), np.uint16)

    def values(self, numbers: NDArray[np.uint16]) -> Singles:
        """(..., channels) numbers, or (h, w) of a single channel, as values (same shape)."""
        offset = np.array(self.offset if len(self.offset) > 1 else self.offset[0], np.float32)
        return np.asarray(numbers * np.float32(self.scale) + offset, np.float32)


def write_coding(attributes: MutableMapping[str, Any], coding: Coding, prefix: str = "") -> None:
    """Store what a map's numbers mean; a bake's checkpoint has them at its root, after the map's name and `_`."""
    attributes[f"{prefix}unit"] = coding.unit
    attributes[f"{prefix}value_scale"] = float(coding.scale)
    attributes[f"{prefix}value_offset"] = np.asarray(coding.offset, np.float64)


def read_coding(attributes: Mapping[str, Any], prefix: str = "") -> Coding:
    """What `write_coding` stored.

    Raises:
        KeyError, ValueError, TypeError: it is not there, or no numbers.
    """
    offset = np.asarray(attributes[f"{prefix}value_offset"], np.float64).ravel()
    return Coding(
        str(attributes[f"{prefix}unit"]), float(attributes[f"{prefix}value_scale"]), tuple(offset.tolist())
    )
