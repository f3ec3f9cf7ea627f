"""How a release is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.release.encoding import ENCODINGS

BAKED = "baked"
TEXTURE_FORMATS = ("png", "jpeg", "webp")


@dataclass(frozen=True)
class PackSettings:
    """How the release is written.

    Attributes:
        compression_level: gzip level, 1 to 9 (no unit). On registered faces level 4 writes 47 MB/s and level 6 44
            MB/s for 0.1 % less; reading does not depend on it.
        vertex_step_um: step that registered vertices are rounded to, or the power of two below it; 0 keeps them bit
            by bit. 1 um, a hundredth of a scanner's noise, saves a third of the geometry.
        vertices: how vertices are stored (no unit): `float32` bit by bit; `int32um` and `int16` as whole numbers of 1
            and of 10 um from the template's, off by at most 0.55 and 5.05 um. The page on the release has sizes and
            speeds.
        textures: how textures are stored (no unit): `baked` as `bake` left them, or encoded again as `png`, `jpeg:95`
            or `webp:95`, the number being the quality. What is of that format already is copied.
        shard: GB that a file has at most, where one subject has not more: the release is then an index and shards
            beside it; or `subject`: a shard a subject; or `none`: one file. What is done to a subject changes its shard
            alone.
    """

    compression_level: int = 4
    vertex_step_um: float = 0.0
    vertices: str = "float32"
    textures: str = "baked"
    shard: Literal["none", "subject"] | float = "none"

    def __post_init__(self) -> None:
        if not 1 <= self.compression_level <= 9:
            raise ConfigError(
                "pack.compression_level is out of range", seen=self.compression_level, expected="1 to 9"
            )
        if not 0 <= self.vertex_step_um <= 1000:
            raise ConfigError(
                "pack.vertex_step_um is out of range", seen=self.vertex_step_um, expected="0 to 1000"
            )
        if self.vertices not in ENCODINGS:
            raise ConfigError(
                "pack.vertices is not known", seen=repr(self.vertices), expected=" or ".join(ENCODINGS)
            )
        if not isinstance(self.shard, str) and not 0 < self.shard <= 1_000_000:
            raise ConfigError("pack.shard is out of range", seen=self.shard, expected="more than 0 GB")
        if self.textures != BAKED:
            name, quality = self.texture_coding
            if (
                name not in TEXTURE_FORMATS
                or not 1 <= quality <= 100
                or (name == "png") == (":" in self.textures)
            ):
                raise ConfigError(
                    "pack.textures is not known",
                    seen=repr(self.textures),
                    expected=f"{BAKED}, png, jpeg:QUALITY or webp:QUALITY, with a quality of 1 to 100",
                )

    @property
    def texture_coding(self) -> tuple[str, int]:
        """Format and quality of `textures`; quality 0 where none can be read."""
        name, colon, quality = self.textures.partition(":")
        return name, (int(quality) if quality.isdigit() else 0) if colon else 95
