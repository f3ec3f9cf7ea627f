"""What bake leaves of a sequence: the names in its checkpoint, for writer and reader.

frames/<row>/texture    encoded image, in the format of attrs texture_format; absent where a frame has no colour
frames/<row>/coverage   PNG, 255 where the scan was seen
frames/<row>/opened     (V,) f4, of a neutral with colour: how bright its hollows are, `hollows.opened`
frames/<row>/normal, position, displacement     16-bit PNG, what `maps` asked for (formats/map_coding.py)
quality/coverage, texture_contrast, skin_share, eye_skin_share, texture_sharpness, gain_red, gain_green, gain_blue,
        light_0 ... (F,) f4
attrs                   texture_format, texture_size; <map>_unit, <map>_value_scale, <map>_value_offset
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import QUALITY, Checkpoint
from mimicme.pipeline.formats.map_coding import MAPS, Coding, read_coding, write_coding

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

TEXTURE, COVERAGE, OPENED = "texture", "coverage", "opened"
CONTRAST, SKIN, EYE_SKIN = "texture_contrast", "skin_share", "eye_skin_share"
SHARPNESS = "texture_sharpness"
_FORMAT, _SIZE = "texture_format", "texture_size"
_COLOURS = ("red", "green", "blue")
_HARMONICS = ("1", "x", "y", "z", "xy", "yz", "xz", "x^2-y^2", "3z^2-1")
"""Of `delighting.harmonics`, in their order."""
_GAINS = tuple(f"gain_{colour}" for colour in _COLOURS)
_LIGHTS = tuple(f"light_{k}" for k in range(len(_HARMONICS)))


class BakeCheckpoint(Checkpoint):
    """Reads what bake left: images by their name, encoded."""

    stage = "bake"
    explained = MappingProxyType(
        {
            COVERAGE: "share of the UV layout's texels that the scan covers",
            CONTRAST: "5th to 95th percentile of the brightness of the face's core in the texture, of the whole range",
            SKIN: "share of the face's core, without eyes, brows, nostrils and lips, whose colour is near their median",
            EYE_SKIN: "the same of what lies within 34 mm of the middle of an eye",
            SHARPNESS: "detail of about 1 mm in the face's core: root mean square of the smoothed Laplacian of the log "
            "of brightness",
            **{
                name: f"factor on {colour} that gives the texture its reference's exposure and white balance"
                for name, colour in zip(_GAINS, _COLOURS, strict=True)
            },
            **{
                name: f"lighting taken out: coefficient of {term} of the smoothed normal, scan frame, in the log of "
                "brightness"
                for name, term in zip(_LIGHTS, _HARMONICS, strict=True)
            },
        }
    )

    @property
    def texture_format(self) -> str:
        """Format of the textures' files: `png`, `jpeg` or `webp`."""
        # `webp-lossless` and `jpg` are webp and jpeg files
        return str(self.attrs.get(_FORMAT, "")).lower().partition("-")[0].replace("jpg", "jpeg")

    @property
    def codings(self) -> dict[str, Coding]:
        """What the numbers of each map mean, of the maps that were made."""
        return {name: read_coding(self.attrs, f"{name}_") for name in MAPS if f"{name}_unit" in self.attrs}

    def image_bytes(self, row: int, name: str) -> bytes:
        """An encoded image of one frame."""
        return self.get(row, name).tobytes()

    def image_size(self, row: int, name: str) -> int:
        """Bytes of an encoded image, without reading it; 0 when there is none."""
        return int(self[f"frames/{row:06d}/{name}"].size) if self.has(row, name) else 0

    def opened(self, row: int) -> Floats | None:
        """(V,) `hollows.opened` of one frame's mesh; None where it was not written, as of frames that lend nothing."""
        return np.asarray(self.get(row, OPENED), np.float64) if self.has(row, OPENED) else None

    def covered(self, row: int) -> float:
        """Share of the texture that the scan covers."""
        return float(self[f"{QUALITY}/{COVERAGE}"][row])

    @property
    def sharpness(self) -> Floats:
        """(n,) of the frames that are good, NaN where it is not known."""
        return np.asarray(self[f"{QUALITY}/{SHARPNESS}"], np.float64)[self.ok_rows]


class BakeWriter:
    """Writes what bake leaves, after `CheckpointWriter.continue_from`.

    Args:
        codings: of the maps that are made.
        gains: whether textures are brought to the reference's exposure.
        lights: number of terms of the lighting that is taken out.
    """

    def __init__(
        self,
        out: CheckpointWriter,
        codings: Mapping[str, Coding],
        texture_format: str,
        size: int,
        gains: bool,
        lights: int,
    ) -> None:
        self._out = out
        for name, code in codings.items():
            write_coding(out.attrs, code, f"{name}_")
        out.attrs[_FORMAT], out.attrs[_SIZE] = texture_format, size
        self._coverage = out.figure(COVERAGE, "1")
        self._contrast, self._skin = out.figure(CONTRAST, "1"), out.figure(SKIN, "1")
        self._eye_skin, self._sharpness = out.figure(EYE_SKIN, "1"), out.figure(SHARPNESS, "1")
        self._gains = [out.figure(name, "1") for name in _GAINS] if gains else []
        self._lights = [out.figure(name, "1") for name in _LIGHTS[:lights]]

    def image(self, row: int, name: str, encoded: bytes) -> None:
        """Write an encoded image of one frame: `TEXTURE`, `COVERAGE` or one of `MAPS`."""
        self._out.put(row, name, np.frombuffer(encoded, np.uint8))

    def opened(self, row: int, shade: Floats) -> None:
        """Write (V,) `hollows.opened` of one frame's mesh."""
        self._out.put(row, OPENED, shade.astype(np.float32), "1")

    def covered(self, row: int, share: float) -> None:
        self._coverage[row] = share

    def shown(self, row: int, contrast: float, skin: float, eye_skin: float, sharpness: float) -> None:
        """Write what the texture shows, see `skin.Shown`."""
        self._contrast[row], self._skin[row], self._eye_skin[row] = contrast, skin, eye_skin
        self._sharpness[row] = sharpness

    def gain(self, row: int, gain: NDArray[np.float32]) -> None:
        """Write the factors on red, green and blue that the texture was multiplied with."""
        self._fill(self._gains, row, gain)

    def light(self, row: int, light: ArrayLike) -> None:
        """Write the terms of the lighting that was taken out."""
        self._fill(self._lights, row, np.asarray(light))

    @staticmethod
    def _fill(figures: Iterable[NDArray[np.float32]], row: int, values: NDArray[np.floating]) -> None:
        for figure, value in zip(figures, values, strict=True):
            figure[row] = value
