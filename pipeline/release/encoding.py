"""How a frame's vertices are stored: single precision, or whole numbers of steps from the template's vertices.

    vertices = template + step * number

A whole number of micrometres is a hundredth of a scanner's noise, and packs to half of single precision, whose last
bits are noise that no packing can make smaller.  What a step costs is stated as `bound_mm`, is stored with the
dataset, and holds for every coordinate: a frame is decoded again before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Singles
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release.layout import Field

ATTRIBUTES = ("encoding", "value_scale", "relative_to", "max_error_mm")


class OutOfReachError(ReleaseError):
    """A vertex lies further from the template's own than the whole numbers reach."""


@dataclass(frozen=True)
class Encoding:
    """One way to store vertices.

    Attributes:
        name: as the setting and the dataset's attribute say it.
        dtype: of the numbers.
        step_mm: of one; 0 for single precision as it is.
        bound_mm: what a coordinate can be off by; half a step, and the rounding of single precision at a head's size.
    """

    name: str
    dtype: str
    step_mm: float = 0.0
    bound_mm: float = 0.0

    @property
    def is_float(self) -> bool:
        return self.step_mm == 0

    @property
    def nothing(self) -> int:
        """The number that stands for NaN, and for a row that was never written."""
        return int(np.iinfo(self.dtype).min)

    @property
    def reach_mm(self) -> float:
        """How far a vertex may lie from the template's own, along an axis."""
        return float("inf") if self.is_float else float(np.iinfo(self.dtype).max * self.step_mm)

    @property
    def field(self) -> Field:
        """The dataset that holds them."""
        fill = np.nan if self.is_float else self.nothing
        return Field(self.dtype, ("V", 3), "mm", fill)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the dataset says of it beside its unit; nothing for single precision."""
        if self.is_float:
            return {}
        values = (self.name, self.step_mm, "template", self.bound_mm)
        return dict(zip(ATTRIBUTES, values, strict=True))

    def encode(self, vertices: NDArray[Any], template: Singles) -> NDArray[Any]:
        """(V, 3) mm as they are stored.

        Args:
            template: (V, 3) float32, as the release has it.

        Raises:
            OutOfReachError: a vertex is too far from the template's, or not to be kept within `bound_mm`.
        """
        given = np.asarray(vertices, np.float32)
        if self.is_float:
            return given
        steps = np.rint((given.astype(np.float64) - template) / self.step_mm)
        furthest = float(np.abs(steps).max(initial=0))
        if not furthest <= np.iinfo(self.dtype).max:
            at = int(np.abs(steps).max(axis=1).argmax())
            raise OutOfReachError(
                f"vertex {at} lies further from the template's than '{self.name}' reaches",
                seen=f"{furthest * self.step_mm:,.1f} mm",
                expected=f"at most {self.reach_mm:,.1f} mm",
            )
        numbers = steps.astype(self.dtype)
        off = float(np.abs(self.decode(numbers, template).astype(np.float64) - given).max(initial=0))
        if off > self.bound_mm:
            raise OutOfReachError(
                f"the vertices are too far out for '{self.name}' to keep them",
                seen=f"{off * 1000:.3g} um off",
                expected=f"at most {self.bound_mm * 1000:.3g} um",
            )
        return numbers

    def decode(self, numbers: NDArray[Any], template: Singles) -> Singles:
        """(..., V, 3) float32 mm of what is stored; NaN where `nothing` stands."""
        if self.is_float:
            return np.asarray(numbers, np.float32)
        vertices = np.multiply(numbers, np.float32(self.step_mm), dtype=np.float32)
        vertices += template
        first = numbers[..., 0, 0] if numbers.shape[-2] else numbers
        if np.any(first == self.nothing):  # of a frame either all or none
            vertices[numbers == self.nothing] = np.nan
        return vertices


FLOAT32 = Encoding("float32", "<f4")
INT32UM = Encoding("int32um", "<i4", 0.001, 0.00055)
INT16 = Encoding("int16", "<i2", 0.01, 0.00505)
ENCODINGS: Mapping[str, Encoding] = {e.name: e for e in (FLOAT32, INT32UM, INT16)}


def of_attributes(attributes: Mapping[str, Any], place: str) -> Encoding:
    """The encoding that a dataset of vertices says it has.

    Raises:
        ReleaseError: it is not known, or its numbers mean something else.
    """
    name = attributes.get("encoding", FLOAT32.name)
    known = ENCODINGS.get(name) if isinstance(name, str) else None
    if known is None:
        raise ReleaseError(
            f"the encoding of '{place}' is not known",
            where=place,
            seen=repr(name),
            expected=", ".join(ENCODINGS),
        )
    said = {key: attributes.get(key) for key in known.attributes}
    if said != known.attributes:
        raise ReleaseError(
            f"'{place}' does not say what its encoding means",
            where=place,
            seen=said,
            expected=known.attributes,
        )
    return known
