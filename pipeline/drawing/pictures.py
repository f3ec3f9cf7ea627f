"""The pictures of one registered frame: scan, landmarks, registered mesh, error in colour, texture.

Everything is drawn in the canonical frame, so that the pictures of two frames can be compared.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.palette import CROSSED, LANDMARKS
from mimicme.pipeline.drawing.render import (
    NO_DATA,
    Camera,
    Picture,
    draw_crosses,
    draw_legend,
    draw_points,
    error_colors,
    look_at,
    render,
)
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template import Template

CAPTIONS = (
    "scan",
    "landmarks on the scan",
    "registered mesh",
    "registered, from the side",
    "scan to registered mesh",
    "registered, baked texture",
    "texture",
)
# further away, a scan vertex shows hair or clothes and no error
NOT_OF_THE_FACE_MM = 10.0


@dataclass(frozen=True)
class FrameView:
    """What is known of one frame.

    Attributes:
        scan: ingested scan, scan frame, mm; image: its texture (h, w, 3) uint8 or None.
        registered: (V, 3) mm, canonical frame; None when the frame is rejected.
        pose: (4, 4) canonical -> scan; None when the frame is rejected.
        landmarks: (68, 3) canonical frame, NaN where absent; landmark_source: (68,) uint8; None without.
        crossed: (k, 3) same frame, landmarks that disagree with the others, and those that a file has and were not
            used; None without.
        texture: (h, w, 3) uint8 in the template's UV, or None.
        missing: why something is not there, as sentences.
    """

    scan: Mesh | None = None
    image: Picture | None = None
    registered: Floats | None = None
    pose: Floats | None = None
    landmarks: Floats | None = None
    landmark_source: NDArray[np.uint8] | None = None
    crossed: Floats | None = None
    texture: Picture | None = None
    missing: tuple[str, ...] = ()

    @property
    def canonical_scan(self) -> Mesh | None:
        """The scan brought into the canonical frame; as it is when there is no pose."""
        if self.scan is None or self.pose is None:
            return self.scan
        inverse = np.linalg.inv(np.asarray(self.pose, np.float64))
        return self.scan.with_vertices(transform(inverse, self.scan.vertices))


def scan_errors(view: FrameView, template: Template) -> Floats:
    """(n,) mm, distance of each scan vertex to the registered surface; NaN for what is not of the face."""
    scan = view.canonical_scan
    if scan is None or view.registered is None:
        return np.zeros(0)
    distances = Surface(view.registered, template.faces).distance(scan.vertices)
    return np.where(distances > NOT_OF_THE_FACE_MM, np.nan, distances)


def face_camera(template: Template, size: tuple[int, int], yaw_deg: float = 0.0) -> Camera:
    """A camera that frames the template's face; the same for every frame of a workspace."""
    return look_at(template.vertices, yaw_deg, 0.0, size, margin=0.04)


def draw_frame(
    view: FrameView,
    template: Template,
    size: tuple[int, int] = (420, 360),
    top_mm: float = 1.0,
    only: Collection[str] = CAPTIONS,
) -> dict[str, Picture]:
    """The pictures of a frame by caption (`CAPTIONS`), as many as there is something to show for.

    Args:
        size: (height, width) of each.
        top_mm: distance at the top of the colour scale.
        only: captions of the pictures to draw.
    """
    camera, aside = face_camera(template, size), face_camera(template, size, 40.0)
    scan, registered, texture = view.canonical_scan, view.registered, view.texture
    if scan is not None and view.pose is None:  # rejected: not brought into the template's frame
        camera = look_at(scan.vertices, 0.0, 0.0, size)
    makers: dict[str, Callable[[], Picture]] = {}
    if scan is not None:
        bare = Mesh(scan.vertices, scan.faces)
        makers["scan"] = lambda: render(scan, camera, image=view.image, samples=2)
        makers["landmarks on the scan"] = lambda: marked(render(bare, camera, samples=2), view, camera)
    if registered is not None:
        mesh = Mesh(registered, template.faces, template.uv, template.uv_faces)
        makers["registered mesh"] = lambda: render(mesh, camera, samples=2)
        makers["registered, from the side"] = lambda: render(mesh, aside, samples=2)
        if scan is not None:
            makers["scan to registered mesh"] = lambda: _errors(bare, view, template, camera, top_mm)
        if texture is not None:
            makers["registered, baked texture"] = lambda: render(mesh, aside, image=texture, samples=2)
    if texture is not None:
        makers["texture"] = lambda: texture
    return {caption: make() for caption, make in makers.items() if caption in only}


def marked(picture: Picture, view: FrameView, camera: Camera) -> Picture:
    """A picture of the scan with the frame's landmarks, and crosses over what is doubted or was not used of them."""
    radius = max(2.0, camera.size[0] / 190)
    if view.landmarks is not None:
        sources = view.landmark_source
        if sources is None:
            sources = np.ones(len(view.landmarks), np.uint8)
        colors = [LANDMARKS[min(int(s), 3)] for s in sources]
        picture = draw_points(picture, camera.project(view.landmarks), colors, radius)
    if view.crossed is not None:
        picture = draw_crosses(picture, camera.project(view.crossed), CROSSED, 1.5 * radius)
    return picture


def _errors(scan: Mesh, view: FrameView, template: Template, camera: Camera, top_mm: float) -> Picture:
    colors = error_colors(scan_errors(view, template), top_mm)
    return draw_legend(render(scan, camera, colors=colors, shading=0.35, samples=2), top_mm)


def attempt(name: str, draw: Callable[[], Picture], size: tuple[int, int] = (420, 360)) -> Picture:
    """The picture; or, when drawing fails, a card that says so.  A picture never stops a report."""
    try:
        return draw()
    except Exception as error:  # whatever it is, the report goes on
        return card(f"{name}\n{type(error).__name__}: {error}"[:160], size)


def card(text: str, size: tuple[int, int] = (420, 360)) -> Picture:
    """Words in place of a picture."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("RGB", (size[1], size[0]), NO_DATA)
    draw = ImageDraw.Draw(sheet)
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, max(8, size[1] // 8)) or [""]]
    draw.multiline_text((10, 10), "\n".join(lines), fill=(30, 30, 30), font=ImageFont.load_default(13))
    return np.asarray(sheet)
