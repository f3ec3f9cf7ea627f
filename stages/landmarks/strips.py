"""Strips of a picture beside a line, straightened, and the path through one that has most evidence for what it bends.

The path is found by dynamic programming (Montanari 1971, "On the optimal detection of curves in noisy pictures").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from mimicme.pipeline.arrays import Bools, Floats, Longs, Singles
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.numerics.compiled import compiled
from mimicme.stages.landmarks.views import Scene, rays_through

OUTER = np.arange(12)
"""Of the mouth's 20 points: the lips' outer border all around."""
PIXELS_PER_MM = 2.5
"""Of the pictures of a mouth."""


def ramp(value: float | Floats, bounds: tuple[float, float]) -> Floats:
    """Evidence from 0 at the first bound to 1 at the second: what switches lets a point jump from frame to frame."""
    share = (np.asarray(value, np.float64) - bounds[0]) / (bounds[1] - bounds[0])
    return np.minimum(np.maximum(share, 0.0), 1.0)


def arc_length(line: Floats) -> Floats:
    """(n,) length of a line (n, 2) up to each of its points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def at_shares(line: Floats, shares: Floats) -> Floats:
    """(k, 2) places on a line (n, 2) at shares (k,) of its length."""
    arc = arc_length(line)
    return np.stack([np.interp(shares * arc[-1], arc, x) for x in line.T], axis=1)


def unit_normals(base: Floats, bend: int) -> Floats:
    """(n, 2) unit normals of a line (n, 2), a quarter turn from its direction, averaged over `bend` places either way:
    to the right of the way in a picture whose y goes down."""
    window = np.hanning(2 * bend + 1)
    along = np.stack(
        [
            np.convolve(np.pad(x, len(window) // 2, mode="edge"), window, "valid")
            for x in np.gradient(base, axis=0).T
        ],
        axis=1,
    )
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


class BorderSearch(NamedTuple):
    """How a border is looked for beside a line, mm.

    Attributes:
        step: between places; aside: how far from the line it may lie; width: what lies so far inwards is compared with
            what lies as far outwards; smooth: along it; bend: half the length over which its direction is averaged.
        nearer: taken from a step for each mm from the line; move_cost: see `ridge`.
    """

    step: float
    aside: float
    width: float
    smooth: float
    bend: float
    nearer: float
    move_cost: float


def border_beside(
    line: Floats,
    share: Singles,
    missing: Bools,
    outwards: float,
    search: BorderSearch,
    pixels_per_mm: float,
    allowed: Bools | None = None,
) -> tuple[Floats, Floats]:
    """Places (n - 2, 2) px where a share ends, beside the points (n, 2) of a line but for its ends, and the step
    (n - 2,) in it there.

    Args:
        share: (height, width) of a picture, more inside; missing: (height, width) True where it is not known: beside
            that no border is found.
        outwards: 1 where outside lies to the right of the way along the line, as y goes down, -1 to the left.
        allowed: (height, width) where the border may lie.
    """
    arc = arc_length(line)
    at = np.arange(0.0, arc[-1], search.step * pixels_per_mm)
    if not np.diff(arc).min() > 0 or len(at) < 8:
        return line[1:-1], np.zeros(len(line) - 2)
    base = PchipInterpolator(arc, line)(at)
    normals = outwards * unit_normals(base, round(search.bend / search.step))
    width = round(search.width / search.step)
    margin = round(search.aside / search.step) + width
    offsets = np.arange(-margin, margin + 1) * search.step * pixels_per_mm
    pixels = base[:, None] + offsets[None, :, None] * normals[:, None]
    unknown = sampled(missing, pixels) > 0
    strip = smoothed(sampled(share, pixels), unknown, search.smooth / search.step)
    steps = means(strip, -width, -1, width) - means(strip, 1, width, width)
    steps -= search.nearer * np.abs(offsets[width:-width]) / pixels_per_mm
    steps[means(unknown.astype(np.float32), -width, width, width) > 1e-6] = 0.0
    if allowed is not None:
        steps[sampled(allowed, pixels[:, width:-width]) < 0.5] = 0.0
    path = ridge(steps, search.move_cost)
    rows = np.arange(len(path))
    places = base + offsets[width + path][:, None] * normals
    near = np.clip(np.rint(arc[1:-1] / (search.step * pixels_per_mm)).astype(int), 0, len(path) - 1)
    shown = steps[rows, path]
    around = [slice(max(0, k - 3), k + 4) for k in near]
    return places[near], np.array([np.median(shown[part]) for part in around])


def sampled(picture: NDArray[Any], at: Floats) -> Singles:
    """(n, m) values of a picture (height, width) at (n, m, 2) px; beyond its border those of the border."""
    cv2 = opencv()
    x, y = (np.ascontiguousarray(at[..., k] - 0.5, np.float32) for k in (0, 1))
    shown = np.ascontiguousarray(picture, np.float32)
    return np.asarray(cv2.remap(shown, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def smoothed(strip: Singles, missing: Bools, rows: float) -> Singles:
    """A strip (n, m) smoothed along its line by `rows` (standard deviation), over what is not missing (n, m); 0 where
    nothing is near."""
    there = 1 - missing.astype(np.float32)
    blurred, share = (
        opencv().GaussianBlur(x, (0, 0), sigmaX=0.01, sigmaY=rows) for x in (strip * there, there)
    )
    return np.asarray(blurred / np.maximum(share, 1e-3), np.float32)


def means(strip: Singles, first: int, last: int, margin: int) -> Floats:
    """(n, m - 2 margin) means of a strip (n, m) over the columns from `first` to `last` beside each."""
    total = np.zeros((len(strip), strip.shape[1] + 1))
    np.cumsum(strip, axis=1, dtype=np.float64, out=total[:, 1:])
    count = strip.shape[1] - 2 * margin
    low, high = margin + first, margin + last + 1
    return np.asarray((total[:, high : high + count] - total[:, low : low + count]) / (last - first + 1))


def ridge(evidence: Floats, move_cost: float) -> Longs:
    """(n,) column in each row of the path through evidence (n, m) that has most of it for what it bends.

    Args:
        move_cost: of each column aside from one row to the next, in shares of the greatest evidence (95th percentile).
    """
    path = np.empty(len(evidence), np.int64)
    aside = move_cost * max(float(np.percentile(evidence, 95)), 0.0)
    _best_path(np.ascontiguousarray(evidence, np.float64), aside, path)
    return path


@compiled("void(f8[:, ::1], f8, i8[::1])")
def _best_path(evidence: Floats, aside: float, path: Longs) -> None:
    """Fill the columns (n,) of the path through evidence (n, m) with the greatest sum, less `aside` for each column
    from one row to the next (dynamic programming); of equal ones the first."""
    count, width = evidence.shape
    best, now = evidence[0].copy(), np.empty(width)
    origin = np.zeros((count, width), np.int64)
    for k in range(1, count):
        for to in range(width):
            most = best[0] - aside * to
            for column in range(1, width):
                way = best[column] - aside * abs(to - column)
                if way > most:
                    most, origin[k, to] = way, column
            now[to] = most + evidence[k, to]
        best[:] = now
    path[count - 1] = best.argmax()
    for k in range(count - 1, 0, -1):
        path[k - 1] = origin[k, path[k]]


def on_scan(scene: Scene, camera: Camera, pixels: Floats) -> tuple[Bools, Floats]:
    """Which of the rays through pixels (k, 2) meet the front of the scan, and where, (k, 3) mm."""
    origins, rays = rays_through(camera, pixels)
    hits = scene.surface.cast(origins - scene.centre, rays)
    corners = scene.vertices[scene.mesh.faces[hits.triangles]]
    front = np.einsum("kx,kx->k", scene.normals[hits.triangles], rays) < 0
    return hits.hit & front, np.einsum("kc,kcx->kx", hits.weights, corners) + scene.centre
