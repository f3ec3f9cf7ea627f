"""What the viewer draws, as arrays: the template once, then frame by frame mesh, scan, errors, texture, landmarks.

Everything is in the canonical frame; vertices are whole numbers of `STEP_MM` from the template's middle.  Errors are
distances: of each registered vertex to the scan's surface, and of each scan vertex to the registered one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.view.payload import Part, pack
from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.geometry.mesh import Mesh, inverse, transform
from mimicme.pipeline.geometry.spatial import Surface, open3d
from mimicme.pipeline.template import Template

STEP_MM = 0.02
ERROR_STEP_MM = 0.02
NO_ERROR = 255
"""Stands for no error: nothing is compared, or it is further away than a face's error can be."""
NOT_OF_THE_FACE_MM = 10.0
SCAN_VERTICES = 20_000
TEXTURE_QUALITY = 85
BARE = (190, 190, 190)
_NO_COLOR = 128


@dataclass(frozen=True)
class FrameData:
    """What there is of one frame.

    Attributes:
        vertices: (V, 3) registered, canonical frame, mm; None where it is rejected.
        scan: the ingested scan, scan frame, mm; image: its texture (h, w, 3) uint8.
        pose: (4, 4) canonical -> scan; None: the scan is drawn as it lies.
        texture: (h, w, 3) uint8 in the template's UV.
        landmarks: (68, 3) canonical frame, mm, NaN where absent; sources (68,): see `pipeline.landmarks`.
        given: (68, 3) scan frame, mm, NaN where absent: the points that the frame was aligned and registered with, or
            that a correction has since; given_sources (68,).  None: they cannot be corrected here.
        missing: why something is not there, as sentences.
    """

    vertices: Floats | None = None
    scan: Mesh | None = None
    image: NDArray[np.uint8] | None = None
    pose: Floats | None = None
    texture: NDArray[np.uint8] | None = None
    landmarks: Floats | None = None
    sources: NDArray[np.uint8] | None = None
    given: Floats | None = None
    given_sources: NDArray[np.uint8] | None = None
    missing: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class ShapeGroup:
    """Shapes that a mesh is moved by, each by a slider.

    Attributes:
        title: over the sliders.
        names: (K,) words; notes: (K,) what else is said of each, may be empty.
        least, most: of a slider, which begins at 0; unit: of its number, '' for a weight.
        drawn: whether weights drawn from the normal distribution make somebody who could be.
        deltas: (K, V, 3) differences to the mesh at 1, mm.
    """

    title: str
    names: tuple[str, ...]
    notes: tuple[str, ...]
    least: float
    most: float
    unit: str
    drawn: bool
    deltas: Singles


class Scene:
    """Packs the frames of one template for the browser.

    Args:
        texture_size: side of the textures, texels; larger ones are made smaller.
        scans: whether scans are drawn, thinned out.
    """

    def __init__(self, template: Template, texture_size: int = 512, scans: bool = True) -> None:
        self.template, self.texture_size, self.scans = template, texture_size, scans
        self.middle = (template.vertices.min(0) + template.vertices.max(0)) / 2
        self._rest = self._steps(template.vertices)

    def _steps(self, points: Floats) -> NDArray[np.int16]:
        """Points (n, 3), mm, as whole numbers of `STEP_MM` from the middle."""
        return np.clip(np.rint((points - self.middle) / STEP_MM), -32767, 32767).astype(np.int16)

    def template_payload(self) -> bytes:
        """The template: `rest` (V, 3), and what is drawn of it: `vertex` (R,) which vertex and `uv` (R, 2) u2, in
        65535ths, where of the texture each corner shows; `faces` (T, 3) of these."""
        template = self.template
        pairs = template.faces.astype(np.int64) * len(template.uv) + template.uv_faces
        corners, faces = np.unique(pairs, return_inverse=True)
        uv = np.clip(template.uv[corners % len(template.uv)], 0, 1)
        parts = {
            "rest": Part(self._rest, planes=True),
            "vertex": Part((corners // len(template.uv)).astype(np.uint32), True, True),
            "uv": Part(np.rint(uv * 65535).astype(np.uint16), planes=True),
            "faces": Part(faces.reshape(-1, 3).astype(np.uint32), True, True),
        }
        extent = float(np.linalg.norm(np.ptp(template.vertices, axis=0)))
        return pack(parts, {"step_mm": STEP_MM, "extent_mm": round(extent, 3)})

    def shapes_payload(self, groups: Sequence[ShapeGroup]) -> bytes:
        """Shapes of all groups, one after the other: `deltas` (K, 3, V) i2, of each shape in its own step of
        `steps_mm` (K,)."""
        deltas = np.concatenate([group.deltas for group in groups]).transpose(0, 2, 1)
        steps = np.maximum(np.abs(deltas).max(axis=(1, 2), initial=0.0) / 32767, STEP_MM).astype(np.float64)
        whole = np.rint(deltas / steps[:, None, None]).astype(np.int16)
        return pack({"deltas": Part(whole, True, True)}, {"steps_mm": steps.tolist()})

    def frame_payload(self, frame: FrameData) -> bytes:
        """One frame: of these what there is: `mesh` (V, 3) u2, differences from `rest`; `errors` (V,) u1;
        `picture`, a JPEG file; `landmarks` and `given` (68, 3) f4, 0 where absent, with `sources` and `given_sources`
        (68,) u1; `scan` (n, 3) i2, `scan_faces` (t, 3) u4, `scan_colors` (n, 3) u1, `scan_errors` (n,) u1."""
        parts: dict[str, Part] = {}
        canonical = None
        if frame.scan is not None:
            canonical = transform(self.shown_from_scan(frame), frame.scan.vertices)
        if frame.vertices is not None:
            steps = self._steps(frame.vertices).view(np.uint16) - self._rest.view(np.uint16)
            parts["mesh"] = Part(steps, planes=True)
            if frame.scan is not None and canonical is not None:
                surface = Surface(canonical, frame.scan.faces)
                parts["errors"] = Part(_error_steps(surface.distance(frame.vertices)))
        if frame.texture is not None:
            parts["picture"] = Part(np.frombuffer(self._texture(frame.texture), np.uint8))
        if frame.landmarks is not None:
            parts |= self._marks("landmarks", "sources", frame.landmarks, frame.sources)
        if frame.given is not None and frame.scan is not None:
            given = transform(self.shown_from_scan(frame), frame.given)
            parts |= self._marks("given", "given_sources", given, frame.given_sources)
        if self.scans and frame.scan is not None and canonical is not None:
            parts |= self._scan(frame, canonical)
        return pack(parts, {"missing": list(frame.missing)})

    def shown_from_scan(self, frame: FrameData) -> Floats:
        """(4, 4) scan frame -> what is shown: the canonical frame; without a pose the scan's middle in its middle."""
        if frame.pose is not None:
            return inverse(frame.pose)
        shift = np.eye(4)
        if frame.scan is not None:
            vertices = frame.scan.vertices
            shift[:3, 3] = self.middle - (vertices.min(0) + vertices.max(0)) / 2
        return shift

    def _marks(
        self, name: str, name_of_sources: str, points: Floats, sources: NDArray[np.uint8] | None
    ) -> dict[str, Part]:
        """Points (68, 3) from the middle, 0 where absent, and their sources, which are 0 there alone."""
        there = np.asarray(np.isfinite(points).all(axis=1))
        marks = np.where(there[:, None], points - self.middle, 0.0).astype(np.float32)
        known = np.ones(len(marks), np.uint8) if sources is None else np.maximum(sources, 1)
        return {name: Part(marks), name_of_sources: Part(np.where(there, known, 0).astype(np.uint8))}

    def _texture(self, texture: NDArray[np.uint8]) -> bytes:
        from PIL import Image

        picture = Image.fromarray(texture)
        if max(picture.size) > self.texture_size:
            share = self.texture_size / max(picture.size)
            size = tuple(max(1, round(side * share)) for side in picture.size)
            picture = picture.resize((size[0], size[1]), Image.Resampling.BOX)
        return encode(np.asarray(picture), "jpeg", TEXTURE_QUALITY)

    def _scan(self, frame: FrameData, canonical: Floats) -> dict[str, Part]:
        assert frame.scan is not None
        thin = thinned(frame.scan.with_vertices(canonical), vertex_colors(frame.scan, frame.image))
        parts = {
            "scan": Part(self._steps(thin.vertices), True, True),
            "scan_faces": Part(thin.faces.astype(np.uint32), True, True),
        }
        if thin.colors is not None:
            parts["scan_colors"] = Part(thin.colors)
        if frame.vertices is not None:
            distance = Surface(frame.vertices, self.template.faces).distance(thin.vertices)
            parts["scan_errors"] = Part(_error_steps(distance))
        return parts


def _error_steps(distance_mm: Floats) -> NDArray[np.uint8]:
    """Distances as whole numbers of `ERROR_STEP_MM`, at most 254."""
    steps = np.minimum(np.rint(distance_mm / ERROR_STEP_MM), NO_ERROR - 1)
    known = np.isfinite(distance_mm) & (distance_mm <= NOT_OF_THE_FACE_MM)
    return np.where(known, steps, NO_ERROR).astype(np.uint8)


def vertex_colors(scan: Mesh, image: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """(n, 3) colours of a scan's vertices: of one of the places in its image that each has, else its own; grey where it
    has none; None where nothing has a colour."""
    if image is None or scan.uv is None or scan.uv_faces is None:
        return scan.colors
    place = np.full(len(scan.vertices), -1, np.int64)
    place[scan.faces.reshape(-1)] = scan.uv_faces.reshape(-1)
    uv = np.where(place[:, None] >= 0, scan.uv[place], np.nan)
    known = np.asarray(np.isfinite(uv).all(axis=1))
    height, width = image.shape[:2]
    across, up = np.where(known[:, None], uv, 0.0).T
    columns = np.clip((across * width).astype(int), 0, width - 1)
    rows = np.clip(((1 - up) * height).astype(int), 0, height - 1)
    return np.where(known[:, None], image[rows, columns], np.uint8(_NO_COLOR)).astype(np.uint8)


def thinned(scan: Mesh, colors: NDArray[np.uint8] | None, count: int = SCAN_VERTICES) -> Mesh:
    """A scan with about `count` vertices at most, and its vertices' colours (quadric decimation)."""
    if len(scan.vertices) <= count:
        return Mesh(scan.vertices, scan.faces, colors=colors)
    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(scan.vertices), o3d.utility.Vector3iVector(scan.faces.astype(np.int32))
    )
    if colors is not None:
        mesh.vertex_colors = o3d.utility.Vector3dVector(colors / 255.0)
    thin: Any = mesh.simplify_quadric_decimation(int(len(scan.faces) * count / len(scan.vertices)))
    made = None if colors is None else np.rint(np.asarray(thin.vertex_colors) * 255).clip(0, 255)
    return Mesh(
        np.asarray(thin.vertices),
        np.asarray(thin.triangles).astype(np.int32),
        colors=None if made is None else made.astype(np.uint8),
    )
