"""Strips: a frame as scan, registered mesh, error, texture and landmarks side by side, in one small picture; below them
its lids, lips and ears (close_ups.py).

And the film of a sequence: its textures one after the other, in the template's layout, where nothing should move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mimicme.commands.frames import read_frame
from mimicme.commands.report.close_ups import Seen, close_ups
from mimicme.commands.report.ranking import badness
from mimicme.commands.report.records import FrameRecord, ItemRecord, of_sequences
from mimicme.pipeline.drawing.frame_rows import FrameRows
from mimicme.pipeline.drawing.palette import ERROR_TOP_MM
from mimicme.pipeline.errors import MimicmeError
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import INNER
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from mimicme.pipeline.drawing.pictures import FrameView
    from mimicme.pipeline.drawing.render import Picture
    from mimicme.pipeline.template import Template

TILES = ("scan", "registered mesh", "error", "texture", "landmarks")
_SCAN, _MESH, _ERROR, _TEXTURE, _LANDMARKS = TILES
TILE = (168, 192)
"""Height and width of each, px."""
SAMPLES = 2
"""Rays per pixel each way."""
MAX_BYTES = 16_000
FILM_PX = 192
FILM_BYTES = 4_000
"""Of the film, at most for each frame; with `MAX_BYTES` of its strip, a frame has at most 20 KB."""
FILM_MS = 400
MARGIN = 0.08
"""Of the film's size, around what it shows."""
QUALITIES = (80, 70, 60, 50, 40, 30, 20, 10)
"""Of WebP, which shows as much in two thirds of what JPEG takes; the first that is small enough is taken."""


def read_view(workspace: Workspace, item: Item, number: int, stages: Iterable[Stage]) -> FrameView:
    """What there is to draw of a frame, from whatever stages have run."""
    flow = of_sequences(stages)
    paths = {s.name: workspace.checkpoint(s.name, item) for s in flow}
    return read_frame({name: path for name, path in paths.items() if path.is_file()}, number, flow)


def choose_frames(record: ItemRecord, most: int) -> list[FrameRecord]:
    """The frames of a sequence that are drawn, in order: all of a short one; of a longer one those that are rejected or
    worst by `ranking.badness`, two thirds of `most` at the most, and others evenly between."""
    frames = record.frames
    if len(frames) <= most:
        return list(frames)
    worst = sorted(frames, key=lambda f: (f.ok, -badness(f).score, f.number))[: max(1, 2 * most // 3)]
    chosen = {f.row for f in worst}
    for place in range(most):
        if len(chosen) >= most:
            break
        chosen.add(round(place * (len(frames) - 1) / max(most - 1, 1)))
    return [f for f in frames if f.row in chosen][:most]


def draw_strip(
    workspace: Workspace, template: Template, item: Item, frame: FrameRecord, stages: Iterable[Stage]
) -> bytes:
    """A frame as a WebP file of `TILES` side by side and close-ups below, of at most `MAX_BYTES`; a card stands for
    what cannot be drawn."""
    from mimicme.pipeline.drawing.pictures import attempt, card
    from mimicme.pipeline.drawing.render import encode_picture

    wide = (TILE[0], TILE[1] * len(TILES))

    def draw() -> Picture:
        view = read_view(workspace, item, frame.number, stages)
        tiles, below = _tiles(view, template)
        words = frame.message or frame.reason or f"{frame.stage} is the last stage that ran"
        why = " ".join(view.missing) or "nothing to show"
        missing = card((why if tiles else words)[:160], TILE)
        above = np.hstack([tiles.get(name, missing) for name in TILES])
        return above if below is None else np.vstack([above, below])

    picture = attempt(f"{item} frame {frame.number}", draw, wide)
    for quality in QUALITIES:
        encoded = encode_picture(picture, "webp", quality)
        if len(encoded) <= MAX_BYTES:
            break
    return encoded


def _tiles(view: FrameView, template: Template) -> tuple[dict[str, Picture], Picture | None]:
    """The pictures that there is something to show for, and the close-ups of a registered frame; each surface is
    made ready once."""
    from mimicme.pipeline.drawing import pictures
    from mimicme.pipeline.drawing.render import error_colors, look_at, render, trace
    from mimicme.pipeline.geometry.mesh import Mesh
    from mimicme.pipeline.geometry.spatial import Surface

    near: Seen | None = None
    found: dict[str, Picture] = {}
    scan = view.canonical_scan
    camera = pictures.face_camera(template, TILE)
    if scan is not None and view.pose is None:  # not brought into the template's frame
        camera = look_at(scan.vertices, 0.0, 0.0, TILE)
    mesh = solid = None
    if view.registered is not None:
        mesh = Mesh(view.registered, template.faces, template.uv, template.uv_faces)
        solid = Surface(mesh.vertices, mesh.faces)
        seen = trace(mesh, camera.resized(SAMPLES), surface=solid)
        found[_MESH] = render(mesh, camera, samples=SAMPLES, seen=seen)
        if view.texture is not None:
            found[_TEXTURE] = render(mesh, camera, image=view.texture, samples=SAMPLES, seen=seen)
    if scan is not None:
        bare = Mesh(scan.vertices, scan.faces)
        near = Seen(scan, Surface(scan.vertices, scan.faces), view.image)
        seen = trace(bare, camera.resized(SAMPLES), surface=near.surface)
        found[_SCAN] = render(scan, camera, image=view.image, samples=SAMPLES, seen=seen)
        if view.landmarks is not None or view.crossed is not None:
            grey = render(bare, camera, samples=SAMPLES, seen=seen)
            found[_LANDMARKS] = pictures.marked(grey, view, camera)
        if solid is not None:
            distance = solid.distance(scan.vertices)
            distance = np.where(distance > pictures.NOT_OF_THE_FACE_MM, np.nan, distance)
            shown = error_colors(distance, ERROR_TOP_MM)
            found[_ERROR] = render(bare, camera, colors=shown, shading=0.35, samples=SAMPLES, seen=seen)
    if mesh is None or solid is None:
        return found, None
    return found, close_ups(template, Seen(mesh, solid), near if view.pose is not None else None)


def draw_film(
    workspace: Workspace, template: Template, item: Item, frames: Sequence[FrameRecord]
) -> bytes | None:
    """The textures of frames as an animated WebP of at most `FILM_BYTES` a frame, about brows, eyes, nose and mouth.

    None where fewer than two have a texture: nothing is compared then.
    """
    import io

    from PIL import Image, ImageDraw

    path = workspace.checkpoint("bake", item)
    if not path.is_file():
        return None
    pictures = []
    for frame in frames:
        texture = _texture(path, frame.number) if frame.ok else None
        if texture is None:
            continue
        size = len(texture)
        left, top, right, bottom = (round(size * side) for side in face_in_layout(template))
        shown = Image.fromarray(np.ascontiguousarray(texture[top:bottom, left:right]))
        shown.thumbnail((FILM_PX, FILM_PX), Image.Resampling.BOX)
        ImageDraw.Draw(shown).text(
            (3, 1), str(frame.number), fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0)
        )
        pictures.append(shown)
    if len(pictures) < 2:
        return None
    for quality in QUALITIES:
        file = io.BytesIO()
        pictures[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=pictures[1:],
            duration=FILM_MS,
            loop=0,
            quality=quality,
            method=2,
        )
        if file.tell() <= FILM_BYTES * len(pictures):
            break
    return file.getvalue()


def _texture(path: Path, number: int) -> Picture | None:
    """The baked texture of a frame; None where it has none that can be read."""
    from mimicme.pipeline.formats.image import ImageFileError, decode
    from mimicme.stages.bake.checkpoint import TEXTURE, BakeCheckpoint

    try:
        with FrameRows({BakeCheckpoint.stage: path}, number) as rows:
            baked = rows.left_by(BakeCheckpoint)
            if baked is None or not baked[0].has(baked[1], TEXTURE):
                return None
            return decode(baked[0].image_bytes(baked[1], TEXTURE))
    except (ImageFileError, MimicmeError, OSError, KeyError, ValueError):  # its strip says what is wrong
        return None


def face_in_layout(template: Template) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of brows, eyes, nose and mouth in a template's texture, as shares of its side."""
    corner = np.zeros(len(template.vertices), np.int64)
    corner[template.faces.ravel()] = template.uv_faces.ravel()
    places = template.uv[corner[template.landmark_vertices[INNER].ravel()]]
    low, high = places.min(axis=0) - MARGIN, places.max(axis=0) + MARGIN
    (left, under), (right, over) = np.clip(low, 0, 1), np.clip(high, 0, 1)
    return float(left), float(1 - over), float(right), float(1 - under)
