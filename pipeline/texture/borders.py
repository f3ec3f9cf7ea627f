"""Which texels lie beside a jump of the scan's depth: the scan shows another surface there, or what lies behind.

Between neighbouring texels the depth of the scan along the registered normal changes by little more than the step
between them, as steep as the scan may be.  Where it changes by `JUMP_MM` more, the two have found different surfaces:
hair and the cheek below, a nostril's floor and its wing, the far cheek and the nose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Ints, Singles
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.texture.correspondence import Target
from mimicme.pipeline.texture.scan_source import dot

JUMP_MM = 2.0
# rise of a scan that is no jump, mm of depth a mm along the registered surface
STEEPEST = 2.0
# a larger texture's jumps are widened on a grid of this size: memory and time then do not grow with its area
GRID = 1024
# depths are kept as whole numbers up to this; 0: none was found
STEPS = 127
# sizes of texels are kept as whole numbers, the median's being this
MIDDLE = 32


class DepthJumps:
    """Depths of the scan, filled in while a texture is baked.

    Args:
        size: texels a side; border_mm: how far from a jump a texel must lie.
    """

    def __init__(self, target: Target, size: int, border_mm: float) -> None:
        self.size, self.border_mm, self.far = size, border_mm, target.far
        self.depth = np.zeros(size * size, np.uint8)
        self.spacing = np.zeros(size * size, np.uint8)
        c, uv = target.corners, target.uv_corners.astype(np.float32) * np.float32(size)
        mm = [c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]]
        aa, ab, bb = dot(mm[0], mm[0]), dot(mm[0], mm[1]), dot(mm[1], mm[1])
        texel = [uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]]
        det = texel[0][:, 0] * texel[1][:, 1] - texel[0][:, 1] * texel[1][:, 0]
        with np.errstate(all="ignore"):
            # the root of mm2 a texel
            step = np.sqrt(np.sqrt(np.maximum(aa * bb - ab * ab, 0)) / np.abs(det))
        known = np.isfinite(step) & (step > 0)
        self.middle = float(np.median(step[known])) if known.any() else 1.0
        self.codes = np.clip(np.nan_to_num(step / self.middle * MIDDLE, posinf=255), 1, 255).astype(np.uint8)

    def add(self, at: NDArray[np.int64], triangles: Ints, depth: Singles) -> None:
        """Depths (k,), mm, found at texels `at` (k,) of the template's `triangles` (k,)."""
        code = np.rint(depth * np.float32(STEPS / self.far))
        self.depth[at] = np.clip(code, -STEPS, STEPS) + (STEPS + 1)
        self.spacing[at] = self.codes[triangles]

    def beside(self) -> Bools:
        """(size, size) texels within `border_mm` of a jump."""
        edge = self._jumps()
        near = np.zeros_like(edge)
        if edge.any():
            spacing = self._reduced(self.spacing.reshape(self.size, self.size))
            step = np.float32(self.middle / MIDDLE * self._times)
            # where texels are smallest, most of them are near
            most = self.border_mm / (int(spacing.min(initial=255, where=spacing > 0)) * step)
            box = _around(edge, int(most) + 1)
            away = opencv().distanceTransform((~edge[box]).astype(np.uint8), opencv().DIST_L2, 3)
            which = np.nonzero(away <= most)
            near[box][which] = away[which] * spacing[box][which] * step <= self.border_mm
        return np.asarray(self._enlarged(near) & (self.depth.reshape(self.size, self.size) > 0))

    @property
    def _times(self) -> int:
        """Texels of the texture a texel of the grid, each way."""
        return -(-self.size // GRID)

    def _jumps(self) -> Bools:
        """(grid, grid) texels with a jump to one of their neighbours."""
        n, per_mm = self.size, STEPS / self.far
        depth, spacing = self.depth.reshape(n, n), self.spacing.reshape(n, n)
        jump = np.zeros((n, n), bool)
        rows = max(1, (1 << 20) // n)
        allowed = np.rint((JUMP_MM + STEEPEST * self.middle / MIDDLE * np.arange(256)) * per_mm)
        allowed = np.minimum(allowed, 255).astype(np.int16)
        for first in range(0, n, rows):
            part = depth[first : first + rows + 1].astype(np.int16)
            limit = allowed[spacing[first : first + rows + 1]]
            for a, b in (
                (np.s_[:, :-1], np.s_[:, 1:]),
                (np.s_[:-1], np.s_[1:]),
            ):
                far = (np.abs(part[a] - part[b]) > limit[a]) & (part[a] > 0) & (part[b] > 0)
                jump[first : first + rows + 1][a] |= far
                jump[first : first + rows + 1][b] |= far
        return self._reduced(jump)

    def _reduced(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The largest of the grid's texels."""
        times = self._times
        if times == 1:
            return plane
        grid = -(-self.size // times)
        out = np.zeros((grid, grid), plane.dtype)
        for row in range(times):
            for column in range(times):
                each = plane[row::times, column::times]
                view = out[: each.shape[0], : each.shape[1]]
                np.maximum(view, each, out=view)
        return out

    def _enlarged(self, grid: Bools) -> Bools:
        """(size, size) of a plane of the grid."""
        times = self._times
        if times == 1:
            return grid
        return np.asarray(grid.repeat(times, 0).repeat(times, 1)[: self.size, : self.size])


def _around(mask: Bools, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the box around what is set in a mask, wider by `margin`."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    return slice(top, rows[-1] + margin + 1), slice(left, columns[-1] + margin + 1)
