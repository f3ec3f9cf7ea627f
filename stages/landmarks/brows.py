"""Brows where the texture shows them: a dark stroke, from one end to the other.

The networks give every brow about the length that people's have on average, and are off by up to 8 mm at the ends of
longer ones; the forehead has no relief that could put that right later.  What annotators follow is the stroke, and a
picture shows it: near the networks' line the darkest path that bends little, by dynamic programming (Montanari 1971,
"On the optimal detection of curves in noisy pictures"), from the steepest step between dark and skin on one side to
that on the other.  Dark is what the surface's shape does not explain (shade.py): the root of the nose and the socket
lie in shade, and a path goes on into it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.landmarks.shade import unshaded
from mimicme.stages.landmarks.views import DISTANCE_MM, Scene, rays_through, turned

# From a little to the side a brow is seen squarely.
SIDES = (("left_eyebrow", -20.0), ("right_eyebrow", 20.0))
PIXELS_PER_MM = 2.0
SIZE_MM = (60.0, 100.0)  # height and width of the picture of a brow
STEP_MM = 0.5
BEYOND_MM = 12.0  # how far past the networks' ends a brow may go on
ASIDE_MM = 5.0  # how far from their line it may lie
CORE_MM = 2.0  # a brow is dark over this half width
FLANK_MM = (6.0, 9.0)  # and what lies so far above and below it is skin
SMOOTH_MM = 1.0  # along the brow: hairs
# In natural logarithms of brightness; these, like all that follows, were set on ten synthetic neutrals, whose brows
# have 0.3 to 0.7, and on james.  Fair brows have less.
LEAST_CONTRAST = 0.08
LEAST_BELOW = 0.04  # the same, to the darker of what lies above and below
LEAST_SHOWN = 0.5  # of what lies between the networks' ends
SHORTEST_MM = 15.0  # of the networks' line
MOVE_COST = 0.15  # of the path, for each step aside, in shares of the greatest contrast
# A brow ends where what lies `STEP_WIDTH_MM` inwards is darkest beside what lies as far outwards; set on ten people of
# `synth`: 2 to 4 mm do alike, 8 mm leave the ends of short brows 1 mm further out.
STEP_WIDTH_MM = 3.0
INWARDS_MM = 10.0  # from the networks' end, how far the step is looked for
TIE_PER_MM = 0.02  # of the brow's darkness, for each mm from the networks' end: of two like steps the nearer
LEAST_STEP = 0.3  # of what is dark inside; a lesser step is no end
EYE_MM = 2.0  # around an eye's opening: lashes


def follow_brows(scene: Scene, points: Floats, pose: Floats) -> tuple[Floats, Bools]:
    """Landmarks (68, 3) with those of brows on the strokes that the texture shows; and which of them (68,) are.

    A brow that does not stand out from the skin - a fair one, one under hair - stays as it is, and so does an end
    over a hole.

    Args:
        scene: a scan with colours; without, nothing is followed.
        points: (68, 3) mm, scan frame, finite for brows.
        pose: (4, 4) of the head, head -> scan.
    """
    out, followed = points.copy(), np.zeros(N_LANDMARKS, bool)
    for group, yaw in SIDES if scene.textured else ():
        rows = GROUPS[group]
        camera = _camera(points[rows].mean(axis=0), pose, yaw)
        seen = camera.project(points[rows])
        picture, depth = scene.shown(camera)
        skin = ~_eyes(camera, points)
        line = stroke(unshaded(picture, depth, skin, camera.pixels_per_mm), np.isnan(depth), seen)
        if line is None:
            continue
        arc = _arc(seen)
        met, places = _on_scan(scene, camera, _at(line, arc / arc[-1]))
        # through a hole: the far side of the head
        met &= np.linalg.norm(places - points[rows], axis=1) < 2 * BEYOND_MM
        out[rows][met], followed[rows] = places[met], met
    return out, followed


def stroke(brightness: NDArray[np.float32], empty: Bools, points: Floats) -> Floats | None:
    """The line (n, 2) px of a brow, in the order of its points as a detector has them, (5, 2) px; None without one.

    Args:
        brightness: (height, width) of a picture of `PIXELS_PER_MM`, in natural logarithms; see `shade.unshaded`.
        empty: (height, width) True where it shows no scan.
    """
    if not _arc(points)[-1] >= SHORTEST_MM * PIXELS_PER_MM:
        return None
    base, down, between = _course(points)
    margin = round((ASIDE_MM + FLANK_MM[1]) / STEP_MM)
    offsets = np.arange(-margin, margin + 1) * STEP_MM
    at = base[:, None] + (offsets * PIXELS_PER_MM)[None, :, None] * down[:, None]
    missing = _sampled(empty, at) > 0
    band = _smoothed(_sampled(brightness, at), missing)
    core, near, far = (round(x / STEP_MM) for x in (CORE_MM, *FLANK_MM))
    middle = _means(band, -core, core, far)
    above, below = _means(band, -far, -near, far), _means(band, near, far, far)
    whole = _means(missing.astype(np.float32), -far, far, far) < 1e-6
    sides = np.where(whole, np.minimum(above, below) - middle, 0.0)
    path = _ridge(sides)
    rows = np.arange(len(path))
    # the socket below may be as dark as a brow: the skin above alone has half of the weight
    contrast = (sides[rows, path] + (above - middle)[rows, path]) / 2
    # a path along the border of what can be told has been kept from where it belongs
    shown = ndimage.minimum_filter1d(whole, 2 * core + 1, axis=1, mode="nearest")[rows, path]
    inside = rows[between][shown[between]]
    if len(inside) < LEAST_SHOWN * (between.stop - between.start):
        return None
    stands_out = np.median(contrast[inside]) >= LEAST_CONTRAST
    if not stands_out or np.median(sides[inside, path[inside]]) < LEAST_BELOW:
        return None
    dark = np.where(shown, -middle[rows, path], np.nan)
    first, last = (_end(dark, between, outwards) for outwards in (-1, 1))
    line = base + (offsets[far + path] * PIXELS_PER_MM)[:, None] * down
    from_to = np.linspace(first, last, len(line))
    return np.stack([np.interp(from_to, rows, x) for x in line.T], axis=1)


def _end(dark: Floats, between: slice, outwards: int) -> float:
    """Where a stroke ends `outwards` (-1 or 1), on its path; the networks' end where no step is seen.

    Where it goes on for `BEYOND_MM` there is none: that is hair.

    Args:
        dark: (n,) along the path; NaN over holes.
        between: what lies between the networks' ends.
    """
    networks = between.start if outwards < 0 else between.stop - 1
    width = round(STEP_WIDTH_MM / STEP_MM)
    from_, to = (round(reach / STEP_MM) for reach in (INWARDS_MM, BEYOND_MM))
    tie = TIE_PER_MM * STEP_MM * max(float(np.nanmedian(dark[between])), 0.0)
    steps: list[tuple[float, float]] = []
    for off in range(-from_, to + 1):
        places = networks + outwards * (off + np.arange(-width, width))
        if places.min() < 0 or places.max() >= len(dark) or not np.isfinite(dark[places]).all():
            continue
        inside, outside = dark[places[:width]].mean(), dark[places[width:]].mean()
        if inside - max(outside, 0.0) >= LEAST_STEP * inside:
            steps.append((inside - outside - tie * abs(off), networks + outwards * (off - 0.5)))
    return max(steps)[1] if steps else float(networks)


def _eyes(camera: Camera, points: Floats) -> Bools:
    """(height, width) what lies in an eye's opening or within `EYE_MM` of it; points: (68, 3)."""
    cv2 = opencv()
    out = np.zeros(camera.size, np.uint8)
    for group in ("left_eye", "right_eye"):
        eye = camera.project(points[GROUPS[group]])
        if np.isfinite(eye).all():
            cv2.fillPoly(out, [np.rint(eye).astype(np.int32)], 1)
            width = round(2 * EYE_MM * PIXELS_PER_MM)
            cv2.polylines(out, [np.rint(eye).astype(np.int32)], True, 1, width)
    return out > 0


def _camera(target: Floats, pose: Floats, yaw_deg: float) -> Camera:
    height, width = (round(side * PIXELS_PER_MM) for side in SIZE_MM)
    return Camera(target, turned(pose[:3, :3].T, yaw_deg, 0.0), PIXELS_PER_MM, (height, width), DISTANCE_MM)


def _course(points: Floats) -> tuple[Floats, Floats, slice]:
    """Places (n, 2) px every `STEP_MM` along points (5, 2) px and beyond them, the directions (n, 2) that lead down
    from it, and which places lie between the first point and the last."""
    arc = _arc(points)
    beyond = BEYOND_MM * PIXELS_PER_MM
    s = np.arange(-beyond, arc[-1] + beyond, STEP_MM * PIXELS_PER_MM)
    inside = np.clip(s, 0, arc[-1])
    bows = [np.polynomial.Polynomial.fit(arc, x, 2) for x in points.T]
    base = np.stack([bow(inside) + bow.deriv()(inside) * (s - inside) for bow in bows], axis=1)
    along = np.gradient(base, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    down *= np.sign(down[:, 1].sum())
    return base, down, slice(*np.searchsorted(s, [0.0, arc[-1]]).tolist())


def _arc(line: Floats) -> Floats:
    """(n,) length of a line (n, 2) up to each of its points."""
    return np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]


def _at(line: Floats, shares: Floats) -> Floats:
    """(k, 2) places on a line (n, 2) at shares (k,) of its length."""
    arc = _arc(line)
    return np.stack([np.interp(shares * arc[-1], arc, x) for x in line.T], axis=1)


def _sampled(picture: NDArray[Any], at: Floats) -> NDArray[np.float32]:
    """Values of a picture (height, width) at (n, m, 2) px."""
    cv2 = opencv()
    x, y = (np.ascontiguousarray(at[..., k] - 0.5, np.float32) for k in (0, 1))
    sampled = cv2.remap(picture.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled)


def _smoothed(band: NDArray[np.float32], missing: Bools) -> NDArray[np.float32]:
    """A band (n, m) smoothed along the brow, over what is not missing (n, m); 0 where nothing is near."""
    there = 1 - missing.astype(np.float32)
    blurred, share = (
        opencv().GaussianBlur(x, (0, 0), sigmaX=0.01, sigmaY=SMOOTH_MM / STEP_MM)
        for x in (band * there, there)
    )
    return np.asarray(blurred / np.maximum(share, 1e-3), np.float32)


def _means(band: NDArray[np.float32], first: int, last: int, margin: int) -> Floats:
    """(n, m - 2 margin) means of a band (n, m) over the columns from `first` to `last` beside each."""
    total = np.cumsum(np.pad(band.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    count = band.shape[1] - 2 * margin
    low, high = margin + first, margin + last + 1
    return np.asarray((total[:, high : high + count] - total[:, low : low + count]) / (last - first + 1))


def _ridge(contrast: Floats) -> NDArray[np.int64]:
    """(n,) column in each row of the path through (n, m) that has most contrast for what it bends."""
    count, width = contrast.shape
    columns = np.arange(width)
    cost = MOVE_COST * max(float(np.percentile(contrast, 95)), 0.0) * np.abs(columns[:, None] - columns)
    best, origin = contrast[0], np.zeros((count, width), np.int64)
    for k in range(1, count):
        ways = best[None, :] - cost
        origin[k] = ways.argmax(axis=1)
        best = ways.max(axis=1) + contrast[k]
    path = np.empty(count, np.int64)
    path[-1] = best.argmax()
    for k in range(count - 1, 0, -1):
        path[k - 1] = origin[k, path[k]]
    return path


def _on_scan(scene: Scene, camera: Camera, pixels: Floats) -> tuple[Bools, Floats]:
    """Which of the rays through pixels (k, 2) meet the scan, and where, (k, 3) mm."""
    origins, rays = rays_through(camera, pixels)
    hits = scene.surface.cast(origins - scene.centre, rays)
    corners = scene.vertices[scene.mesh.faces[hits.triangles]]
    front = np.einsum("kx,kx->k", scene.normals[hits.triangles], rays) < 0
    return hits.hit & front, np.einsum("kc,kcx->kx", hits.weights, corners) + scene.centre
