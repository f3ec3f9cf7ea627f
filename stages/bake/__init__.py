"""bake: the scan's colours in the template's texture layout, one texture and one coverage mask a frame.

Reads: ingest (scans, images), refine (vertices, pose, gain); for sequences other than the subject's neutral, this
stage's checkpoint of the neutral, whose texture fills what this sequence's scans do not show.
Writes: per frame `texture` and `coverage` (encoded bytes), and the maps that `maps` names (16-bit PNG; what their
numbers mean: attrs <map>_unit, <map>_value_scale, <map>_value_offset); of the neutral's frames `opened`, which says
whether their lips are open (`pipeline/texture/hollows.py`); attrs texture_format, texture_size;
quality/coverage, texture_contrast, skin_share, eye_skin_share and texture_sharpness, on request gain_red, gain_green,
gain_blue and light_0 to light_8. A frame whose scan carries no image that can be read gets its texture from the scan's
vertex colours, and the note `vertex-colours`; without these it keeps its row, gets the note `no-texture`, no texture,
and a coverage only with maps.
A texture that hardly shows a face is noted as `texture-empty` or `not-skin`, one with much less detail than the
subject's others as `texture-blurred`; a whole sequence that is much less or much more sharp than the subject's neutral
has `texture-unlike-neutral` on its first frame.
Fails: a frame with `numerical-failure`, when its numbers broke the computation.

How a texture is made: pipeline/texture/baking.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.formats.image import Pixels
from mimicme.pipeline.formats.map_coding import MAPS
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import TemplateKey
from mimicme.pipeline.texture.baking import Baked, FillSource, TextureOptions, bake_source, open_source
from mimicme.pipeline.texture.hollows import opened
from mimicme.pipeline.texture.raster import MAX_SIZE
from mimicme.stages.bake.checkpoint import COVERAGE, TEXTURE, BakeCheckpoint, BakeWriter
from mimicme.stages.bake.skin import BLURRED, Skin, blur_note, blurred, notes, unlike_neutral_note
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.refine.checkpoint import RefineCheckpoint
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.texture.surface_maps import SurfaceMaps

FORMATS = ("png", "jpeg", "webp")


@dataclass(frozen=True)
class BakeSettings(TextureOptions):
    """Settings of the bake: those of `TextureOptions`, and

    Attributes:
        size: side length of the texture, 256 to 8192 (texels).
        format: file format of the texture: `png` (lossless), `jpeg` or `webp`.
        quality: quality of jpeg and webp, 1 to 100 (no unit).
        match_exposure: whether all textures of a subject get the exposure and white balance of its neutral's, by
            one factor per channel, which is kept (quality/gain_red, gain_green, gain_blue).
        neutral_fill: whether the texture of the subject's neutral is the fill source of the subject's other sequences,
            what it was filled with itself included, so that what nobody sees is the same in all; needs `fill`.
        maps: further maps of each frame, of `normal`, `position` and `displacement`, with commas between; empty:
            none.
    """

    border_mm: float = 1.5
    format: str = "png"
    quality: int = 95
    match_exposure: bool = False
    neutral_fill: bool = True
    maps: str = ""

    @property
    def map_names(self) -> tuple[str, ...]:
        """`maps`, each once, in the order of `map_coding.MAPS`."""
        given = {name.strip() for name in self.maps.split(",")}
        return tuple(name for name in MAPS if name in given)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(
                "the texture format is not known",
                where="bake.format",
                seen=repr(self.format),
                expected=", ".join(FORMATS),
            )
        unknown = {name.strip() for name in self.maps.split(",")} - {*MAPS, ""}
        if unknown:
            raise ConfigError(
                "no such map can be made",
                where="bake.maps",
                seen=", ".join(map(repr, sorted(unknown))),
                expected=f"{', '.join(MAPS)}, with commas between",
            )
        for name, good, expected in (
            ("size", 256 <= self.size <= MAX_SIZE, f"256 to {MAX_SIZE}"),
            ("quality", 1 <= self.quality <= 100, "1 to 100"),
            ("max_distance_mm", 0 < self.max_distance_mm <= 100, "above 0, at most 100"),
            ("min_grazing_deg", 0 <= self.min_grazing_deg <= 80, "0 to 80"),
            ("max_normal_angle_deg", 0 < self.max_normal_angle_deg <= 90, "above 0, at most 90"),
            ("border_mm", 0 <= self.border_mm <= 20, "0 to 20"),
            ("min_confidence", 0 <= self.min_confidence < 1, "0 to below 1"),
        ):
            if not good:
                raise ConfigError(
                    "a setting is out of range",
                    where=f"bake.{name}",
                    seen=getattr(self, name),
                    expected=expected,
                )


def gain_applied(texture: Pixels, gain: NDArray[np.float32]) -> Pixels:
    """A texture (h, w, 3) with its channels multiplied by `gain` (3,)."""
    steps = np.arange(256)[:, None] * gain[None, :].astype(np.float64)
    table = np.rint(np.clip(steps, 0, 255)).astype(np.uint8)
    return np.stack([table[texture[..., k], k] for k in range(3)], axis=-1)


@lru_cache(maxsize=2)
def _skin(key: TemplateKey) -> Skin:
    """What no frame changes, once per worker."""
    return Skin(key.template)


class _SequenceBaker:
    """What every frame of a sequence is baked with, and where its figures go."""

    def __init__(
        self,
        task: Task[BakeSettings],
        out: CheckpointWriter,
        ingest: IngestCheckpoint,
        registered: RegisteredCheckpoint,
        refined: RefineCheckpoint,
    ) -> None:
        from mimicme.pipeline.texture.delighting import TERMS
        from mimicme.pipeline.texture.surface_maps import coding

        self.settings = task.settings
        self.template = task.load_template()
        self.skin = _skin(TemplateKey(self.template))
        self.out, self.ingest, self.registered, self.refined = out, ingest, registered, refined
        self.fill_source, self.neutral_sharpness = _fill_source(task), _neutral_sharpness(task)
        self.sharpness: dict[int, float] = {}
        self.lends = task.neutral is None and self.settings.fill and self.settings.neutral_fill
        self.codings = {
            name: coding(name, self.template, self.settings.max_distance_mm)
            for name in self.settings.map_names
        }
        self.matched = self.settings.match_exposure and refined.has_gains
        lights = TERMS if self.settings.even_lighting else 0
        self.writer = BakeWriter(
            out, self.codings, self.settings.format, self.settings.size, self.matched, lights
        )

    def bake(self, row: int) -> tuple[Baked, SurfaceMaps | None, bool] | None:
        """A frame's texture and maps, and whether it has colour; None when there is nothing to make.

        Raises:
            FrameRejected: the frame's numbers broke the computation.
        """
        from mimicme.pipeline.checkpoint import frame_numerics
        from mimicme.pipeline.scan import load_colored
        from mimicme.pipeline.texture.open_sources import OPEN_SOURCES
        from mimicme.pipeline.texture.scan_source import Source
        from mimicme.pipeline.texture.surface_maps import SurfaceMaps

        # `refine` has just opened it, unless it had no image or another worker did
        kept = OPEN_SOURCES.take(self.ingest.path, row, self.settings.min_grazing_deg)
        scan, image, broken = load_colored(self.ingest, row) if kept is None else (None, None, "")
        why = (
            f"The texture could not be read: {broken}"
            if broken
            else "The scan has no image that can be used."
        )
        pose, vertices = self.registered.pose(row), self.registered.vertices(row)
        skin = self.registered.skin(row)
        with frame_numerics():
            if kept is not None:
                source: Source | None = kept.with_border(self.settings.border_mm)
            else:
                assert scan is not None
                source = open_source(scan, image, self.settings)
            colored = source is not None
            if source is not None and source.image is None:
                self.out.note(row, "vertex-colours", f"{why} The texture is made of its vertex colours.")
            if source is None:
                self.out.note(row, "no-texture", f"{why} It has no vertex colours either.")
                if not self.codings:
                    return None
                assert scan is not None
                source = Source(replace(scan, colors=None), None, border_mm=self.settings.border_mm)
            maps = None
            if self.codings:
                size = self.settings.size
                maps = SurfaceMaps(self.codings, vertices, pose, self.template, source, size)
            placed = transform(pose, vertices)
            baked = bake_source(
                source,
                placed,
                self.template,
                self.settings,
                maps,
                self.fill_source,
                skin,
                self.skin.bearded,
                self.skin.beyond,
                vertices,
            )
            if colored:
                self._lend(row, vertices)
        return baked, maps, colored

    def _lend(self, row: int, vertices: Floats) -> None:
        """Write what frames of the subject have to know of one that may lend them its texture: whether its lips are
        open."""
        if self.lends and (shade := opened(self.template, vertices)) is not None:
            self.writer.opened(row, shade)

    def put(self, row: int, baked: Baked, maps: SurfaceMaps | None, colored: bool) -> None:
        """Write what `bake` made."""
        from mimicme.pipeline.formats import image as images

        self.writer.covered(row, baked.share)
        self.writer.image(row, COVERAGE, images.encode(baked.coverage, "png"))
        if maps is not None:
            for name in self.codings:
                self.writer.image(row, name, images.encode_deep(maps.picture(name)))
        if not colored:
            return
        shown = self.skin.look(baked.texture, baked.coverage, self.registered.skin(row))
        self.writer.shown(row, *shown)
        self.sharpness[row] = shown.sharpness
        for code, sentence in notes(shown):
            self.out.note(row, code, sentence)
        texture = baked.texture
        if self.matched and np.isfinite(gain := self.refined.gain(row)).all():
            texture = gain_applied(texture, gain)
            self.writer.gain(row, gain)
        if baked.light is not None:
            self.writer.light(row, baked.light)
        encoded = images.encode(texture, self.settings.format, self.settings.quality)
        self.writer.image(row, TEXTURE, encoded)

    def note_blurred(self) -> None:
        """Note frames whose texture has much less detail than the subject's usual ones, once all are baked; and on the
        first of them what is to be said of all."""
        blur = blurred(np.array(list(self.sharpness.values()), np.float64), self.neutral_sharpness)
        for row, share in zip(self.sharpness, blur.shares.tolist(), strict=True):
            if share < BLURRED:
                self.out.note(row, *blur_note(share))
        unlike = unlike_neutral_note(blur)
        if unlike is not None:
            self.out.note(next(iter(self.sharpness)), *unlike)


def _neutral_sharpness(task: Task[BakeSettings]) -> Floats:
    """(n,) of the frames of the subject's neutral sequence; none of that sequence itself."""
    if task.neutral is None:
        return np.zeros(0)
    with BakeCheckpoint(task.neutral) as neutral:
        return neutral.sharpness


def _fill_source(task: Task[BakeSettings]) -> FillSource | None:
    """The texture of the neutral's best covered frame, to fill holes from; None without one, and when the settings do
    not ask for it."""
    from mimicme.pipeline.formats.image import decode, decode_gray

    if task.neutral is None or not (task.settings.fill and task.settings.neutral_fill):
        return None
    with BakeCheckpoint(task.neutral) as neutral:
        rows = [row for row in neutral.ok_rows if neutral.has(row, TEXTURE)]
        if not rows:
            return None
        best = max(rows, key=lambda row: neutral.covered(row))
        pixels = MAX_SIZE * MAX_SIZE
        return FillSource(
            decode(neutral.image_bytes(best, TEXTURE), pixels),
            decode_gray(neutral.image_bytes(best, COVERAGE), pixels),
            neutral.opened(best),
        )


def compute(task: Task[BakeSettings], out: CheckpointWriter) -> None:
    """Bake every registered frame of a sequence."""
    with (
        task.input(IngestCheckpoint) as ingest,
        RegisteredCheckpoint.latest(task.inputs) as registered,
        task.input(RefineCheckpoint) as refined,
    ):
        rows = out.continue_from(registered)
        baker = _SequenceBaker(task, out, ingest, registered, refined)
        for row in rows:
            try:
                made = baker.bake(row)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            if made is not None:
                baker.put(row, *made)
        baker.note_blurred()


def _takes_mb(settings: BakeSettings, vertices: int) -> float:
    """`Stage.takes`, measured at 1024 texels (105 MB) and, of resident memory, at 8192 (1.6 GB more)."""
    return 80.0 + 25.0 * (settings.size / 1024) ** 2


STAGE = Stage(
    name="bake",
    version=17,
    settings=BakeSettings,
    needs=("ingest", "refine"),
    compute=compute,
    reader=BakeCheckpoint,
    scope="neutral",
    settings_by_preset={"fast": {"size": 512}, "best": {"size": 2048}},
    memory="0.8 GB at 1024 texels, 0.95 GB at 2048, 2.4 GB at 8192 (3.5 GB with all maps), scans left open by "
    "refine in it; and 12 bytes a pixel of the image",
    takes=_takes_mb,
)
