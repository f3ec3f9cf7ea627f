"""project: the landmarks of every registered frame, on the scan's surface and in texture space.

Reads   ingest: the cleaned scan; landmarks: points, source, confidence; align: landmark_ok; refine:
        vertices, pose; the template.
Writes  landmarks (F, 68, 3) f4, canonical frame, mm, on the scan's surface, NaN where the scan has none;
        landmark_source (F, 68) u1: 0 none, 1 manual, 2 detected, 3 projected; landmark_confidence (F, 68) f4;
        landmark_distance (F, 68) f4, mm: registered mesh's landmark to the scan; landmark_uv (F, 68, 2) f4;
        landmark_visible (F, views, 68) u1: 1 where a standard view sees the registered mesh's landmark;
        quality/landmarks_projected (F,) f4: landmarks found on the scan, of 68; quality/landmark_gap (F,) f4:
        median of landmark_distance, mm.
Fails   a frame with `numerical-failure`, when its numbers broke the computation.  A landmark without scan
        below it is absent, and counted.

The template's landmarks are barycentric coordinates in its triangles, and so known on the registered mesh.  Each is
projected onto the scan: the closest point, or the first hit along the normal, whichever is nearer and faces the same
way.  Where the closest point is on the boundary of a hole, there is no data and the landmark is absent.  A point given
by hand wins over the projected one, and stays where it was put; one that was found and that align trusted wins too, and
is projected onto the scan.

Which of the registered mesh's landmarks a view sees is stored for `landmarks.STANDARD_VIEWS`; for a view of one's own:
`Registered.visible_from`, and `pipeline.drawing.render.seen_by` for their places in its picture.

Confidence, in [0, 1].  Projected: (1 - distance / max_distance_mm) times the cosine between the normals of
the two surfaces.  Given: what the landmarks stage says of it, times (1 - its distance to the scan /
max_distance_mm), of a point by hand never less than 0.05.  0 where absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing.render import look_at, seen_by
from mimicme.pipeline.errors import ConfigError, FrameRejected, InputError
from mimicme.pipeline.geometry.mesh import (
    boundary_vertices,
    inverse,
    transform,
    triangle_normals,
    vertex_normals,
)
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import MANUAL, N_LANDMARKS, NONE, PROJECTED, STANDARD_VIEWS
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import Template
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint
from mimicme.stages.project.checkpoint import ProjectCheckpoint, ProjectWriter
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter


MOST_OFF = 0.95
"""Share of the distance limit beyond which a point by hand is not doubted any more: it is there, after all."""


@dataclass(frozen=True)
class ProjectSettings:
    """Settings of the project stage.

    Attributes:
        max_distance_mm: largest distance of the scan from a landmark of the registered mesh; one farther is absent.
        max_angle_deg: largest angle between the normals of registered mesh and scan at a landmark; one beyond is
            absent.
        max_gap_mm: how far sideways the boundary of a hole may lie before a landmark counts as inside the hole.
    """

    max_distance_mm: float = 5.0
    max_angle_deg: float = 60.0
    max_gap_mm: float = 2.0

    def __post_init__(self) -> None:
        if not self.max_distance_mm > 0 or not self.max_gap_mm >= 0:
            raise ConfigError("the distances of [project] are lengths in mm")
        if not 0 < self.max_angle_deg <= 90:
            raise ConfigError("`max_angle_deg` is an angle", seen=self.max_angle_deg, expected="0 to 90")


class OnScan(NamedTuple):
    """Points projected onto a scan: found (k,); points (k, 3) mm; distances (k,) mm; cosine (k,) between the
    normals.

    NaN (cosine 0) where nothing was found.
    """

    found: Bools
    points: Floats
    distances: Floats
    cosine: Floats


class Scan:
    """A scan with what projection asks of it: closest points, normals, and its boundary; (n, 3) mm, (t, 3)."""

    def __init__(self, vertices: Floats, faces: NDArray[np.int32]) -> None:
        self.surface = Surface(vertices, faces)
        self.normals, _ = triangle_normals(self.surface.vertices, self.surface.faces)
        self.boundary = boundary_vertices(self.surface.faces, len(vertices))

    def project(self, points: Floats, normals: Floats | None, settings: ProjectSettings) -> OnScan:
        """Project points (k, 3) onto the scan; with normals (k, 3) only where it faces the same way within the
        limit.

        Without normals the closest point counts, whichever way it faces.
        """
        k = len(points)
        limit, least = settings.max_distance_mm, np.cos(np.radians(settings.max_angle_deg))
        best = OnScan(np.zeros(k, bool), np.full((k, 3), np.nan), np.full(k, np.nan), np.zeros(k))
        near = self.surface.closest(points)
        ok = (near.distances <= limit) & ~self._beside(
            points, near.points, near.triangles, near.weights, settings
        )
        self._take(best, ok, near.points, near.triangles, points, normals, least)
        if normals is None:
            return best
        for side in (1.0, -1.0):
            hits = self.surface.cast(points, side * normals)
            reached = hits.hit & (hits.distances <= limit)
            corners = self.surface.vertices[self.surface.faces[hits.triangles]]
            place = np.einsum("kc,kcx->kx", hits.weights, corners)
            self._take(best, reached, place, hits.triangles, points, normals, least)
        return best

    def _take(
        self,
        best: OnScan,
        ok: Bools,
        place: Floats,
        triangles: NDArray[np.int64],
        points: Floats,
        normals: Floats | None,
        least: float,
    ) -> None:
        """Write candidates into `best` where they are valid and nearer."""
        cosine = np.ones(len(points)) if normals is None else (normals * self.normals[triangles]).sum(1)
        distance = np.linalg.norm(place - points, axis=1)
        better = ok & (cosine >= least) & ~(best.distances <= distance)
        best.found[better] = True
        best.points[better] = place[better]
        best.distances[better] = distance[better]
        best.cosine[better] = cosine[better]

    def _beside(
        self,
        points: Floats,
        place: Floats,
        triangles: NDArray[np.int64],
        weights: Floats,
        settings: ProjectSettings,
    ) -> Bools:
        """(k,) True where the closest point is on the boundary and the query lies beside it, not above it."""
        corner = self.surface.faces[triangles]
        # on an edge whose two ends are on the boundary, or at such a corner
        on_boundary = np.where(weights > 1e-3, self.boundary[corner], True).all(axis=1)
        off = points - place
        n = self.normals[triangles]
        aside = np.linalg.norm(off - (off * n).sum(1, keepdims=True) * n, axis=1)
        return np.asarray(on_boundary & (aside > settings.max_gap_mm))


def landmark_triangles(template: Template) -> tuple[NDArray[np.int64], Floats]:
    """The triangle (L,) of `template.faces` each landmark lies in, and its weights (L, 3) in that row's
    order.

    Raises:
        InputError: a landmark's three vertices are not the corners of one triangle.
    """
    n = len(template.vertices)

    def key(rows: NDArray[Any]) -> NDArray[np.int64]:
        a, b, c = np.sort(rows.astype(np.int64), axis=1).T
        return np.asarray(a * n + b) * n + c

    keys = key(template.faces)
    order = np.argsort(keys, kind="stable")
    wanted = key(template.landmark_vertices)
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    triangles = order[at]
    if (keys[triangles] != wanted).any():
        first = int(np.flatnonzero(keys[triangles] != wanted)[0])
        raise InputError(
            "a landmark of the template does not lie in one of its triangles",
            where=f"template {template.name}, {template.landmark_names[first]}",
        )
    same = template.faces[triangles][:, :, None] == template.landmark_vertices[:, None, :]
    return triangles, np.einsum("lij,lj->li", same.astype(float), template.landmark_weights)


def uv_at(template: Template, triangles: NDArray[np.int64], weights: Floats) -> Floats:
    """(k, 2) texture coordinates of points in the template's triangles."""
    return np.einsum("kc,kcx->kx", weights, template.uv[template.uv_faces[triangles]])


class Registered:
    """A registered mesh and its landmarks, canonical frame, mm; its search tree is built once.

    Args:
        vertices: (V, 3).
    """

    def __init__(self, template: Template, vertices: Floats) -> None:
        self.template = template
        self.middle = vertices.mean(axis=0)  # Open3D keeps float32
        self.vertices = vertices - self.middle
        self.surface = Surface(self.vertices, template.faces)
        self.landmarks = template.landmarks(vertices)
        corner_normals = vertex_normals(vertices, template.faces)[template.landmark_vertices]
        normals = np.einsum("lk,lkx->lx", template.landmark_weights, corner_normals)
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)

    def uv_at(self, points: Floats) -> Floats:
        """(k, 2) texture coordinates of the mesh's closest points to points (k, 3)."""
        found = self.surface.closest(points - self.middle)
        return uv_at(self.template, found.triangles, found.weights)

    def visible_from(self, views: Sequence[tuple[float, float]] = STANDARD_VIEWS) -> Bools:
        """(views, L) True where a landmark is seen: it faces the view and nothing stands before it.

        Args:
            views: (yaw, pitch) in degrees, as `render.look_at` has them.
        """
        places = self.landmarks - self.middle
        seen = np.zeros((len(views), len(places)), bool)
        for row, (yaw, pitch) in enumerate(views):
            camera = look_at(self.vertices, yaw, pitch)
            seen[row] = seen_by(camera, places, self.surface)[1] & (self.normals @ camera.axes[2] > 0)
        return seen


class Given(NamedTuple):
    """What the landmarks stage has of one frame: points (68, 3), scan frame, mm, NaN where there is none that is
    trusted; source and confidence (68,)."""

    points: Floats
    source: NDArray[np.uint8]
    confidence: Floats


class Projected(NamedTuple):
    """One frame's rows, as the module describes them."""

    landmarks: Floats
    source: NDArray[np.uint8]
    confidence: Floats
    distance: Floats
    uv: Floats


def project(mesh: Registered, pose: Floats, scan: Scan, given: Given, settings: ProjectSettings) -> Projected:
    """Landmarks of one registered frame; pose: (4, 4) canonical -> scan."""
    limit = settings.max_distance_mm
    down = scan.project(transform(pose, mesh.landmarks), mesh.normals @ pose[:3, :3].T, settings)
    points = down.points.copy()
    source = np.where(down.found, PROJECTED, NONE).astype(np.uint8)
    confidence = np.where(down.found, (1 - np.nan_to_num(down.distances) / limit) * down.cosine, 0.0)
    uv = uv_at(mesh.template, *landmark_triangles(mesh.template))
    canonical_from_scan = inverse(pose)
    hand = np.flatnonzero(np.isfinite(given.points).all(axis=1))
    if len(hand):
        snapped = scan.project(given.points[hand], None, settings)
        manual = given.source[hand] == MANUAL
        keep = snapped.found | manual
        placed = np.where(manual[:, None], given.points[hand], snapped.points)[keep]
        off = np.minimum(np.where(snapped.found, snapped.distances, np.inf)[keep], MOST_OFF * limit)
        hand = hand[keep]
        points[hand] = placed
        source[hand] = given.source[hand]
        confidence[hand] = given.confidence[hand] * (1 - off / limit)
        if len(hand):
            uv[hand] = mesh.uv_at(transform(canonical_from_scan, points[hand]))
    uv[source == NONE] = np.nan
    canonical = transform(canonical_from_scan, points)
    return Projected(canonical, source, np.clip(confidence, 0, 1), down.distances, uv)


def compute(task: Task[ProjectSettings], out: CheckpointWriter) -> None:
    """The stage: see the module."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_scan

    settings = task.settings
    template = task.load_template()
    with (
        task.input(IngestCheckpoint) as ingest,
        task.input(LandmarksCheckpoint) as landmarks,
        task.input(AlignCheckpoint) as align,
        RegisteredCheckpoint.latest(task.inputs) as registered,
    ):
        rows = out.continue_from(registered)
        writer = ProjectWriter(out)
        for row in rows:
            scan = load_scan(ingest, row)
            given = Given(
                np.where(align.trusted(row)[:, None], landmarks.points(row), np.nan),
                landmarks.source(row),
                landmarks.confidence(row).astype(np.float64),
            )
            try:
                with frame_numerics():
                    mesh = Registered(template, registered.vertices(row))
                    seen = mesh.visible_from()
                    on = Scan(scan.vertices, scan.faces)
                    found = project(mesh, registered.pose(row), on, given, settings)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            there, near = found.source != NONE, found.distance[np.isfinite(found.distance)]
            writer.frame(row, *found, seen, int(there.sum()), float(np.median(near)) if len(near) else np.nan)
            on_scan = there & ~((found.source == MANUAL) & ~np.isfinite(found.distance))
            if 2 * on_scan.sum() < N_LANDMARKS:
                out.note(
                    row,
                    "few-landmarks-on-scan",
                    f"Only {on_scan.sum()} of {N_LANDMARKS} landmarks lie on the scan: look at this frame.",
                )


STAGE = Stage(
    name="project",
    version=6,
    settings=ProjectSettings,
    needs=("ingest", "landmarks", "align", "refine"),
    compute=compute,
    reader=ProjectCheckpoint,
    memory="0.4 GB a worker: the template, one scan and their search trees.",
)
