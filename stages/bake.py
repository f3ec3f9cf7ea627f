"""bake: the scan's colours in the template's texture layout, one texture and one coverage mask a frame.

Reads: ingest (scans, images), refine (vertices, pose).
Writes: per frame `texture` and `coverage` (encoded bytes); attrs texture_format, texture_size;
quality/coverage. A frame whose scan carries neither image nor colours keeps its row, gets the note
`no-texture` and no arrays.
Fails: a frame with `numerical-failure`, when its numbers broke the computation.

How a texture is made: pipeline/texture.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.image import Pixels
from mimicme.pipeline.mesh import transform
from mimicme.pipeline.raster import MAX_SIZE
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.texture import TextureOptions, bake

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import ArtefactWriter

FORMATS = ("png", "jpeg", "webp")


@dataclass(frozen=True)
class BakeSettings(TextureOptions):
    """Settings of the bake: those of `TextureOptions`, of which `size` is 256 to 8192, and

    Attributes:
        format: `png` (lossless), `jpeg` or `webp`.
        quality: 1 to 100, for jpeg and webp.
        match_exposure: give all textures of a subject the exposure and white balance of its neutral's, by one factor
            per channel, which is kept (quality/gain_red, gain_green, gain_blue).
    """

    format: str = "png"
    quality: int = 95
    match_exposure: bool = False

    def __post_init__(self) -> None:
        if not 256 <= self.size <= MAX_SIZE:
            raise ConfigError("bake.size is out of range", seen=self.size, expected=f"256 to {MAX_SIZE}")
        if self.format not in FORMATS:
            raise ConfigError("bake.format is not known", seen=repr(self.format), expected=", ".join(FORMATS))
        if not 1 <= self.quality <= 100:
            raise ConfigError("bake.quality is out of range", seen=self.quality, expected="1 to 100")
        if not 0 < self.max_distance_mm <= 100:
            raise ConfigError(
                "bake.max_distance_mm is out of range",
                seen=self.max_distance_mm,
                expected="above 0, at most 100",
            )
        if not 0 <= self.min_grazing_deg <= 80:
            raise ConfigError(
                "bake.min_grazing_deg is out of range", seen=self.min_grazing_deg, expected="0 to 80"
            )
        if not 0 < self.max_normal_angle_deg <= 90:
            raise ConfigError(
                "bake.max_normal_angle_deg is out of range",
                seen=self.max_normal_angle_deg,
                expected="above 0, at most 90",
            )


def exposed(texture: Pixels, gain: NDArray[np.float32]) -> Pixels:
    """A texture (h, w, 3) with its channels multiplied by `gain` (3,)."""
    steps = np.arange(256)[:, None] * gain[None, :].astype(np.float64)
    table = np.rint(np.clip(steps, 0, 255)).astype(np.uint8)
    return np.stack([table[texture[..., k], k] for k in range(3)], axis=-1)


def compute(task: Task, out: ArtefactWriter) -> None:
    """Bake every registered frame of a sequence."""
    from mimicme.pipeline import image as images
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_image, load_scan

    settings: BakeSettings = task.settings
    template = task.load_template()
    with task.input("ingest") as ingest, task.input("refine") as refined:
        rows = out.continue_from(refined)
        out.attrs["texture_format"] = settings.format
        out.attrs["texture_size"] = settings.size
        coverage = out.rows("quality/coverage", (), "f4", "1")
        colours = ("red", "green", "blue") if settings.match_exposure and "gain" in refined else ()
        kept = [out.rows(f"quality/gain_{colour}", (), "f4", "1") for colour in colours]
        for row in rows:
            scan = load_scan(ingest, row)
            pose = np.asarray(refined["pose"][row], np.float64)
            vertices = transform(pose, np.asarray(refined["vertices"][row], np.float64))
            try:
                image = load_image(ingest, row) if scan.uv is not None else None
            except FrameRejected as error:  # a broken image costs the texture, not the geometry
                out.note(row, "no-texture", f"The texture could not be read: {error}")
                continue
            try:
                with frame_numerics():
                    baked = bake(scan, image, vertices, template, settings)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            if baked is None:
                out.note(row, "no-texture", "The scan has neither a texture nor vertex colours.")
                continue
            coverage[row] = baked.share
            if kept and np.isfinite(gain := refined["gain"][row]).all():
                baked = baked._replace(texture=exposed(baked.texture, gain))
                for figure, factor in zip(kept, gain, strict=True):
                    figure[row] = factor
            encoded = images.encode(baked.texture, settings.format, settings.quality)
            mask = images.encode(baked.coverage, "png")
            out.put(row, "texture", np.frombuffer(encoded, np.uint8))
            out.put(row, "coverage", np.frombuffer(mask, np.uint8))


STAGE = Stage(
    name="bake",
    version=3,
    settings=BakeSettings,
    needs=("ingest", "refine"),
    compute=compute,
    settings_by_preset={"fast": {"size": 512}, "best": {"size": 2048}},
    memory="0.55 GB at 1024 texels, 0.7 GB at 2048, 2.1 GB at 8192, and 12 bytes a pixel of the image",
)
