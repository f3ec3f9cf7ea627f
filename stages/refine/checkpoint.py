"""What refine leaves of a sequence: the names in its checkpoint, for writer and reader.

vertices, pose      as registration leaves them
gain                (F, 3) f4: factors on red, green and blue that give a frame the reference's exposure
quality/drift, drift_p95, drift_before (F,) f4 texels at 1024; slid (F,) f4 mm, mean length of the displacement
quality/expected_error, expected_error_low, expected_error_high (F,) f4 mm, in place of what registration says
reference/vertices (V, 3) f4 mm, texture (s, s, 3) u1, coverage (s, s) u1: of the subject, with its neutral
reference/expected_error () f8 mm: what registration expects of the one frame that the reference is made of
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.stages.register.checkpoint import EXPECTED, RegisteredCheckpoint, RegisteredWriter

if TYPE_CHECKING:
    from mimicme.pipeline.formats.image import Pixels

_GAIN, _REFERENCE = "gain", "reference"
DRIFT = "drift"
FIGURES = {DRIFT: "texels", "drift_p95": "texels", "drift_before": "texels", "slid": "mm"}
"""Names and units; texels are of a texture of 1024."""


class ReferenceTexture(NamedTuple):
    """A subject's reference: vertices (V, 3) canonical frame, mm; texture (s, s, 3) and coverage (s, s) u1; what
    registration expects of the error of the frame that it is made of, mm, NaN where that is not known."""

    vertices: Floats
    texture: Pixels
    coverage: Pixels
    expected_mm: float


class RefineCheckpoint(RegisteredCheckpoint):
    """Reads what refine left."""

    stage = "refine"
    explained = MappingProxyType(
        {
            "drift": "median length of the optical flow from the subject's reference texture, as refined; "
            "texels at 1024",
            "drift_p95": "95th percentile of the length of the same optical flow, as refined; texels at 1024",
            "drift_before": "median length of the same optical flow before refinement, as registered; texels at 1024",
            "slid": "mean distance of the refined vertices from the registered ones, nearly all of it along the "
            "surface",
            **{name: RegisteredCheckpoint.explained[name] for name in EXPECTED},
        }
    )

    @property
    def has_gains(self) -> bool:
        return _GAIN in self

    def gain(self, row: int) -> NDArray[np.float32]:
        """(3,) factors on red, green and blue; NaN where they are not known."""
        return np.asarray(self[_GAIN][row], np.float32)

    @property
    def reference(self) -> ReferenceTexture | None:
        """The subject's reference, which its neutral has; None when it could make none."""
        if _REFERENCE not in self:
            return None
        group = self[_REFERENCE]
        return ReferenceTexture(
            group["vertices"][:].astype(np.float64),
            group["texture"][:],
            group["coverage"][:],
            float(group["expected_error"][()]) if "expected_error" in group else np.nan,
        )


class RefineWriter(RegisteredWriter):
    """Writes what refine leaves."""

    def reference(self, reference: ReferenceTexture) -> None:
        self._out.array(f"{_REFERENCE}/vertices", reference.vertices.astype(np.float32), "mm")
        self._out.array(f"{_REFERENCE}/texture", reference.texture)
        self._out.array(f"{_REFERENCE}/coverage", reference.coverage)
        self._out.array(f"{_REFERENCE}/expected_error", reference.expected_mm, "mm")

    def begin_figures(self) -> None:
        """Make room for gains and figures; call before `refined` and `expected`."""
        units = FIGURES | dict.fromkeys(EXPECTED, "mm")
        self._figures = {name: self._out.figure(name, unit) for name, unit in units.items()}
        self._gains = self._out.rows(_GAIN, (3,), np.float32, "1")

    def expected(self, row: int, expected_mm: Floats) -> None:
        """Write of one frame what its correspondence error is likely to be, (3,) mm: `EXPECTED`."""
        for name, value in zip(EXPECTED, expected_mm, strict=True):
            self._figures[name][row] = value

    def refined(self, row: int, vertices: NDArray[np.floating], gain: Floats, **figures: float) -> None:
        """Write one refined frame: vertices (V, 3) canonical frame, mm; gain (3,); `FIGURES` by name."""
        self.vertices[row], self._gains[row] = vertices, gain
        for name in FIGURES:
            self._figures[name][row] = figures[name]
