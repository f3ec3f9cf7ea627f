"""Pictures of meshes by ray casting: no display, no GPU, the same bytes every time.

A `Camera` looks at a face; `render` shades what it sees; `error_colors`, `draw_points`, `draw_labels`,
`contact_sheet` and friends put numbers and words on it.  Everything is a pure function from arrays to a
(height, width, 3) uint8 RGB picture.

Pixels: x to the right, y down, the centre of the first pixel at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import Mesh, triangle_normals, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface

Picture = NDArray[np.uint8]
Color = tuple[int, int, int]

BACKGROUND: Color = (250, 250, 252)
INK: Color = (40, 44, 52)
GREY: Color = (200, 200, 204)
NO_DATA: Color = (170, 170, 176)


@dataclass(frozen=True)
class Camera:
    """A camera in the mesh's frame.

    Attributes:
        target: (3,) mm, the point that lands in the middle of the picture.
        axes: (3, 3) rows: the picture's right, the picture's up, and the direction towards the camera.
        pixels_per_mm: scale at the target.
        size: (height, width) in pixels.
        distance_mm: from the target for a pinhole camera; infinity for an orthographic one.
    """

    target: Floats
    axes: Floats
    pixels_per_mm: float
    size: tuple[int, int]
    distance_mm: float = float("inf")

    @property
    def perspective(self) -> bool:
        return bool(np.isfinite(self.distance_mm))

    @property
    def eye(self) -> Floats:
        """(3,) mm, place of a pinhole camera; for an orthographic one, a point far away on its axis."""
        return self.target + (self.distance_mm if self.perspective else 1e6) * self.axes[2]

    def project(self, points: ArrayLike) -> Floats:
        """(..., 3) mm -> (..., 2) pixels.  Points behind a pinhole camera give NaN."""
        local = (np.asarray(points, np.float64) - self.target) @ self.axes.T
        scale: Any = self.pixels_per_mm
        if self.perspective:
            ahead = self.distance_mm - local[..., 2:]
            scale = np.where(
                ahead > 0, self.pixels_per_mm * self.distance_mm / np.where(ahead > 0, ahead, 1), np.nan
            )
        half = np.array([self.size[1], self.size[0]]) / 2
        return np.asarray(half + np.array([1.0, -1.0]) * local[..., :2] * scale)

    def depth(self, points: ArrayLike) -> Floats:
        """(...,) mm towards the camera from the target: larger is nearer."""
        return np.asarray((np.asarray(points, np.float64) - self.target) @ self.axes[2])

    def towards(self, points: Floats) -> Floats:
        """Unit vectors (k, 3) from points (k, 3) to the camera."""
        if not self.perspective:
            return np.broadcast_to(self.axes[2], np.shape(points))
        view = self.eye - points
        return np.asarray(view / np.maximum(np.linalg.norm(view, axis=-1, keepdims=True), 1e-12))

    def rays(self) -> tuple[Floats, Floats]:
        """Origins and directions (height * width, 3) of the rays through the pixel centres, row by row.

        Directions are scaled so that the ray parameter is mm along the camera's axis.
        """
        height, width = self.size
        x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
        plane = np.stack([x.ravel(), -y.ravel()], axis=1) / self.pixels_per_mm @ self.axes[:2]
        if self.perspective:
            return np.broadcast_to(self.eye, plane.shape), plane / self.distance_mm - self.axes[2]
        return self.target + plane + 2000.0 * self.axes[2], np.broadcast_to(-self.axes[2], plane.shape)

    def resized(self, factor: int) -> Camera:
        """The same view with `factor` times as many pixels each way."""
        height, width = self.size
        return replace(
            self, size=(height * factor, width * factor), pixels_per_mm=self.pixels_per_mm * factor
        )


@dataclass(frozen=True)
class Fragments:
    """What each pixel of a camera sees; arrays are (height, width, ...).

    Attributes:
        hit: True where a triangle is seen.
        triangles: int64 index of the triangle, 0 where nothing is hit.
        weights: (..., 3) barycentric weights.
        depth: mm towards the camera from its target, NaN where nothing is hit.
    """

    hit: Bools
    triangles: NDArray[np.int64]
    weights: Floats
    depth: Floats


def look_at(
    points: Floats,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    size: tuple[int, int] = (512, 512),
    *,
    roll_deg: float = 0.0,
    distance_mm: float = float("inf"),
    margin: float = 0.06,
    pixels_per_mm: float | None = None,
    target: Floats | None = None,
) -> Camera:
    """A camera that frames `points` (k, 3) of a face with +y up and +z out of the face.

    Args:
        yaw_deg: positive walks the camera towards +x, the subject's left.
        pitch_deg: positive lifts the camera towards +y.
        size: (height, width) in pixels.
        margin: share of the picture left free on each side.
        pixels_per_mm, target: fix the scale or the centre instead of fitting them; to compare pictures.
    """
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    up = np.cross(towards, right)
    right, up = right * np.cos(roll) + up * np.sin(roll), up * np.cos(roll) - right * np.sin(roll)
    axes = np.stack([right, up, towards])
    known = points[np.isfinite(points @ np.ones(3))]
    if not len(known):
        known = np.zeros((1, 3))
    local = axes @ known.T  # rows are long: the least of each is found several times as fast
    low, high = local.min(axis=1), local.max(axis=1)
    if target is None:
        target = (low + high) / 2 @ axes
    if pixels_per_mm is None:
        span = np.maximum(high - low, 1e-6)
        pixels_per_mm = float((1 - 2 * margin) * min(size[1] / span[0], size[0] / span[1]))
        if np.isfinite(distance_mm):  # nearer parts look larger
            pixels_per_mm *= max(0.2, 1 - span[2] / 2 / distance_mm)
    return Camera(np.asarray(target, np.float64), axes, pixels_per_mm, size, distance_mm)


def facing(mesh: Mesh, camera: Camera) -> Bools:
    """(t,) True for triangles whose front the camera can see."""
    normals, _ = triangle_normals(mesh.vertices, mesh.faces)
    centres = mesh.vertices[mesh.faces].mean(axis=1)
    return np.asarray((normals * camera.towards(centres)).sum(axis=1) > 0)


def seen_by(camera: Camera, points: Floats, surface: Surface, slack_mm: float = 1.0) -> tuple[Floats, Bools]:
    """Where points (k, 3) mm on or near a surface lie in a camera's picture, (k, 2) px, and which it sees, (k,).

    A point is seen when it is inside the picture and nothing of the surface stands before it; within `slack_mm`
    of the point that is the surface it lies on.  NaN points give NaN and False.  For example a release's
    landmarks (canonical frame) in any rendered view, with `Surface(frame.vertices, template.faces)`.
    """
    points = np.asarray(points, np.float64)
    pixels = camera.project(points)
    height, width = camera.size
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels < [width, height])).all(axis=1)
    seen: Bools = np.asarray(inside & np.isfinite(points).all(axis=1))
    index = np.flatnonzero(seen)
    if len(index):
        towards = camera.towards(points[index])
        seen[index] = ~surface.occluded(points[index] + slack_mm * towards, towards)
    return pixels, seen


def trace(
    mesh: Mesh, camera: Camera, *, cull_back: bool = False, surface: Surface | None = None
) -> Fragments:
    """Cast one ray per pixel.

    Args:
        cull_back: look through triangles that face away, as if they were not there (an open face shell seen
            from behind is then invisible).  The surface is built anew for it.
        surface: the mesh made ready before, to trace it from many cameras; not used with `cull_back`.
    """
    height, width = camera.size
    owner: NDArray[np.int64] | None = None
    faces = mesh.faces
    if cull_back:
        owner = np.flatnonzero(facing(mesh, camera))
        faces = mesh.faces[owner]
        surface = None
    if len(faces) == 0:
        empty = np.zeros((height, width))
        return Fragments(
            empty.astype(bool), empty.astype(np.int64), np.zeros((height, width, 3)), empty * np.nan
        )
    origins, directions = camera.rays()
    # Open3D keeps float32: stay near the origin, whatever the scanner's coordinates are
    if surface is None:
        surface = Surface(mesh.vertices - camera.target, faces)
        origins = origins - camera.target
        hits = surface.cast(origins, directions)
    else:
        hits = surface.cast(origins, directions)
    triangles = hits.triangles if owner is None else owner[hits.triangles]
    corners = mesh.vertices[mesh.faces[triangles]]
    depth = np.where(hits.hit, camera.depth(np.einsum("kc,kcx->kx", hits.weights, corners)), np.nan)
    shape = (height, width)
    return Fragments(
        hits.hit.reshape(shape),
        triangles.reshape(shape),
        hits.weights.reshape(*shape, 3),
        depth.reshape(shape),
    )


def sample_image(image: NDArray[Any], uv: Floats) -> Floats:
    """Bilinear samples (..., c) of an image (h, w, c) at uv (..., 2) in [0, 1], v up; clamped at borders."""
    height, width = image.shape[:2]
    x = np.clip(uv[..., 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[..., 1]) * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    upper = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    lower = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def render(
    mesh: Mesh,
    camera: Camera,
    *,
    image: Picture | None = None,
    colors: NDArray[np.uint8] | None = None,
    shading: float | None = None,
    flat: bool = False,
    cull_back: bool = False,
    background: Color = BACKGROUND,
    samples: int = 1,
    surface: Surface | None = None,
    seen: Fragments | None = None,
) -> Picture:
    """A picture of the mesh, (height, width, 3) uint8.

    Args:
        image: texture (h, w, 3) uint8 for the mesh's UVs; None renders colours or grey.
        colors: (n, 3) uint8 per vertex or (t, 3) per triangle (told apart by their number; vertices win); by
            default the mesh's own, else grey.
        shading: 0 shows pure colours, 1 fully shaded ones; by default 0 for textures (they carry their own
            light), 0.6 for colours, 1 for grey.
        flat: shade triangles flat, to see the triangulation.
        cull_back, surface: see `trace`.
        samples: rays per pixel each way; 2 smooths edges.
        seen: what `trace` finds of the mesh from `camera.resized(samples)`, for several pictures of one view.
    """
    if samples > 1:
        fine = render(
            mesh, camera.resized(samples), image=image, colors=colors, shading=shading, flat=flat,
            cull_back=cull_back, background=background, surface=surface, seen=seen,
        )  # fmt: skip
        height, width = camera.size
        blocks = fine.reshape(height, samples, width, samples, 3).mean(axis=(1, 3))
        return np.rint(blocks).astype(np.uint8)
    if seen is None:
        seen = trace(mesh, camera, cull_back=cull_back, surface=surface)
    picture = np.empty((*camera.size, 3), np.uint8)
    picture[:] = background
    triangles, weights = seen.triangles[seen.hit], seen.weights[seen.hit]
    base, amount = _albedo(mesh, triangles, weights, image, colors)
    strength = amount if shading is None else shading
    light = _light(mesh, camera, triangles, weights, flat) if strength > 0 else np.ones(len(triangles))
    shaded = base * (1 - strength + strength * light)[:, None]
    picture[seen.hit] = np.clip(np.rint(shaded), 0, 255).astype(np.uint8)
    return picture


def _albedo(
    mesh: Mesh,
    triangles: NDArray[np.int64],
    weights: Floats,
    image: Picture | None,
    colors: NDArray[np.uint8] | None,
) -> tuple[Floats, float]:
    """Colours (k, 3) of the fragments and how strongly they are shaded by default."""
    if image is not None and mesh.uv is not None and mesh.uv_faces is not None:
        uv = np.einsum("kc,kcx->kx", weights, mesh.uv[mesh.uv_faces[triangles]])
        known = np.isfinite(uv).all(axis=1)  # what no camera saw in colour has no place in the image
        sampled = np.broadcast_to(np.array(GREY, np.float64), (len(triangles), 3)).copy()
        sampled[known] = sample_image(image[..., :3], uv[known])
        return sampled, 0.0
    if colors is None:
        colors = mesh.colors
    if colors is None:
        return np.broadcast_to(np.array(GREY, np.float64), (len(triangles), 3)), 1.0
    if len(colors) == len(mesh.vertices):
        corners = colors[mesh.faces[triangles]].astype(np.float64)
        return np.einsum("kc,kcx->kx", weights, corners), 0.6
    if len(colors) == len(mesh.faces):
        return colors[triangles].astype(np.float64), 0.6
    raise InputError(
        "colours come one per vertex or one per triangle",
        seen=len(colors),
        expected=f"{len(mesh.vertices)} or {len(mesh.faces)}",
    )


def _light(mesh: Mesh, camera: Camera, triangles: NDArray[np.int64], weights: Floats, flat: bool) -> Floats:
    """Brightness (k,): a head light, a key light from above the camera, and darker backs."""
    if flat:
        normals = triangle_normals(mesh.vertices, mesh.faces)[0][triangles]
    else:
        corners = vertex_normals(mesh.vertices, mesh.faces)[mesh.faces[triangles]]
        normals = np.einsum("kc,kcx->kx", weights, corners)
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    local = normals @ camera.axes.T
    back = local[:, 2] < 0
    local = np.where(back[:, None], -local, local)
    key = np.array([-0.45, 0.65, 0.62])
    key = key / np.linalg.norm(key)
    light = 0.18 + 0.42 * local[:, 2] + 0.48 * np.maximum(local @ key, 0)
    return np.asarray(np.where(back, 0.45 * light, light))


# ------------------------------------------------------------------------------------------------ colours


def color_map(steps: int = 256) -> NDArray[np.uint8]:
    """A perceptually ordered map (steps, 3) from dark blue (small) over green to pale yellow (large).

    Lightness rises evenly in OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab/), so that the
    order survives grey print and colour blindness.
    """
    t = np.linspace(0, 1, steps)
    lightness = 0.30 + 0.63 * t
    hue = np.radians(280 - 175 * t)
    chroma = 0.065 + 0.055 * np.sin(np.pi * t)  # inside sRGB all along: no kinks
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    lms = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=1,
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(lms**3 @ to_rgb.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def error_colors(distances_mm: ArrayLike, top_mm: float = 2.0) -> NDArray[np.uint8]:
    """Colours (k, 3) of distances (k,) mm: dark blue at 0, yellow from `top_mm` on; grey where NaN."""
    distances = np.asarray(distances_mm, np.float64)
    table = color_map()
    known = np.isfinite(distances)
    place = np.clip(np.where(known, distances, 0) / max(top_mm, 1e-12), 0, 1)
    colors = table[np.rint(place * (len(table) - 1)).astype(np.int64)]
    colors[~known] = NO_DATA
    return colors


def draw_legend(picture: Picture, top_mm: float = 2.0, unit: str = "mm", width: int = 14) -> Picture:
    """The picture with the scale of `error_colors` drawn along its right border."""
    from PIL import Image, ImageDraw

    height = picture.shape[0]
    size = max(10, round(height / 36))
    label_width = round(3.4 * size)
    panel = np.empty((height, width + label_width, 3), np.uint8)
    panel[:] = BACKGROUND
    top, bottom = round(0.12 * height), round(0.88 * height)
    ramp = color_map(bottom - top)[::-1]
    panel[top:bottom, :width] = ramp[:, None]
    sheet = Image.fromarray(panel)
    draw = ImageDraw.Draw(sheet)
    font = _font(size)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - 1 - share * (bottom - 1 - top)
        draw.line([(width - 4, y), (width + 2, y)], fill=INK)
        draw.text((width + 5, y), f"{share * top_mm:.3g}", fill=INK, font=font, anchor="lm")
    draw.text((2, top - size), unit, fill=INK, font=font, anchor="lm")
    return np.hstack([picture, np.asarray(sheet)])


# ------------------------------------------------------------------------------------------------ drawing


def _font(size: float) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def draw_points(
    picture: Picture,
    points_px: ArrayLike,
    color: Color | Sequence[Color] = (220, 40, 60),
    radius_px: float = 3.0,
    labels: Sequence[str] | None = None,
) -> Picture:
    """The picture with dots (k, 2) px, and words beside them; points that are NaN or outside are left out.

    Args:
        color: one colour, or one per point.
    """
    from PIL import Image, ImageDraw

    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    points = np.asarray(points_px, np.float64).reshape(-1, 2)
    each = np.broadcast_to(np.asarray(color, np.int64), (len(points), 3)).tolist()
    font = _font(max(8.0, 3.2 * radius_px)) if labels is not None else None
    height, width = picture.shape[:2]
    for i, (x, y) in enumerate(points):
        if not (0 <= x < width and 0 <= y < height):  # false for NaN too
            continue
        box = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
        draw.ellipse(box, fill=tuple(each[i]), outline=(255, 255, 255))
        if labels is not None:
            draw.text((x + 1.4 * radius_px, y), labels[i], fill=INK, font=font, anchor="lm")
    return np.asarray(sheet)


def draw_crosses(
    picture: Picture,
    points_px: ArrayLike,
    color: Color,
    radius_px: float = 4.0,
    labels: Sequence[str] | None = None,
) -> Picture:
    """The picture with crosses (k, 2) px, dark about their rims, and words beside them; points that are NaN or outside
    are left out."""
    from PIL import Image, ImageDraw

    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    font = _font(max(12.0, 3.2 * radius_px)) if labels is not None else None
    height, width = picture.shape[:2]
    for i, (x, y) in enumerate(np.asarray(points_px, np.float64).reshape(-1, 2)):
        if not (0 <= x < width and 0 <= y < height):  # false for NaN too
            continue
        if labels is not None:
            draw.text(
                (x + 1.3 * radius_px, y),
                labels[i],
                fill=color,
                font=font,
                anchor="lm",
                stroke_width=2,
                stroke_fill=INK,
            )
        for wide, fill in ((4, INK), (2, color)):
            for rise in (-radius_px, radius_px):
                draw.line((x - radius_px, y - rise, x + radius_px, y + rise), fill=fill, width=wide)
    return np.asarray(sheet)


def draw_line(picture: Picture, points_px: ArrayLike, color: Color) -> Picture:
    """The picture with a smooth line, one pixel wide, through points (k, 2) px."""
    from PIL import Image, ImageDraw

    finer = 4
    height, width = picture.shape[:2]
    mask = Image.new("L", (finer * width, finer * height))
    points = [(finer * float(x), finer * float(y)) for x, y in np.asarray(points_px, np.float64)]
    ImageDraw.Draw(mask).line(points, fill=255, width=finer, joint="curve")
    sheet = Image.fromarray(picture)
    sheet.paste(color, mask=mask.resize((width, height), Image.Resampling.BOX))
    return np.asarray(sheet)


def caption(picture: Picture, text: str, size_px: int = 14) -> Picture:
    """The picture with lines of text below it, cut to its width."""
    from PIL import Image, ImageDraw

    lines = text.split("\n")
    step = round(1.35 * size_px)
    panel = Image.new("RGB", (picture.shape[1], step * len(lines) + 4), BACKGROUND)
    draw = ImageDraw.Draw(panel)
    font = _font(size_px)
    for i, line in enumerate(lines):
        while line and draw.textlength(line, font=font) > picture.shape[1] - 6:
            line = line[:-2].rstrip() + "…" if len(line) > 2 else ""
        draw.text((picture.shape[1] / 2, 2 + step * (i + 0.5)), line, fill=INK, font=font, anchor="mm")
    return np.vstack([picture, np.asarray(panel)])


def contact_sheet(
    pictures: Sequence[Picture],
    captions: Sequence[str] | None = None,
    columns: int = 4,
    *,
    cell: tuple[int, int] | None = None,
    title: str = "",
    gap_px: int = 8,
) -> Picture:
    """Pictures side by side, row by row, each fitted into its cell, with captions.

    Args:
        pictures: (h, w, 3) uint8 each, of any size.
        captions: one per picture.
        columns: pictures in a row.
        cell: (height, width) of a picture; by default the largest there is.
    """
    if not pictures:
        raise InputError("a contact sheet needs a picture")
    if captions is not None and len(captions) != len(pictures):
        raise InputError("one caption per picture", seen=len(captions), expected=len(pictures))
    if cell is None:
        cell = (max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures))
    columns = max(1, min(columns, len(pictures)))
    size = max(11, round(cell[1] / 24))
    cells = [fit(p, cell) for p in pictures]
    if captions is not None:
        rows = max(text.count("\n") for text in captions) + 1
        padded = [text + "\n" * (rows - 1 - text.count("\n")) for text in captions]
        cells = [caption(p, text, size) for p, text in zip(cells, padded, strict=True)]
    height, width = cells[0].shape[:2]
    lines = -(-len(cells) // columns)
    sheet = np.empty(
        (lines * height + (lines + 1) * gap_px, columns * width + (columns + 1) * gap_px, 3), np.uint8
    )
    sheet[:] = BACKGROUND
    for i, picture in enumerate(cells):
        y = gap_px + i // columns * (height + gap_px)
        x = gap_px + i % columns * (width + gap_px)
        sheet[y : y + height, x : x + width] = picture
    if title:
        head = np.empty((4, sheet.shape[1], 3), np.uint8)
        head[:] = BACKGROUND
        sheet = np.vstack([caption(head, title, round(1.3 * size)), sheet])
    return sheet


def fit(picture: Picture, cell: tuple[int, int], background: Color = BACKGROUND) -> Picture:
    """The picture shrunk or centred into (height, width), never enlarged."""
    from PIL import Image

    height, width = picture.shape[:2]
    shrink = min(1.0, cell[0] / height, cell[1] / width)
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
        height, width = picture.shape[:2]
    out = np.empty((*cell, 3), np.uint8)
    out[:] = background
    y, x = (cell[0] - height) // 2, (cell[1] - width) // 2
    out[y : y + height, x : x + width] = picture[..., :3]
    return out


def encode_picture(picture: Picture, kind: str = "png", quality: int = 88) -> bytes:
    """The bytes of a PNG, JPEG or WebP file; without a date, so that the same picture gives the same bytes."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    if kind == "png":
        Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    elif kind in ("jpg", "jpeg"):
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    elif kind == "webp":
        Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=4)
    else:
        raise InputError("pictures are written as png, jpg or webp", seen=kind)
    return buffer.getvalue()


def save_picture(path: Path, picture: Picture) -> None:
    """Write a PNG or JPEG file, as its suffix says; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(picture, path.suffix.lstrip(".").lower()))
