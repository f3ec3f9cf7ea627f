"""Mouth and lids of scans without colours, by the shape of the surface alone.

The networks have learnt pictures of people.  On a shaded surface they end a closed mouth where the light fades and not
where the lips part, and draw lids nearly shut, since the dark of an eye is not there.  What annotators follow on such a
scan is its relief: the crease where the lips meet, from corner to corner, or the rim of the hole between them; and the
step from a lid down to the eyeball.  Both are read from the depth of a picture, straightened along the networks' line:
from the curvature of its profiles across the line a path is found by dynamic programming (`strips.ridge`).  It says
how much evidence there is; where there is none the networks' points stay, and the frame is told to be unsure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from mimicme.pipeline.arrays import Bools, Floats, Longs, Singles
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS, PARTS
from mimicme.stages.landmarks.strips import arc_length, means, ramp, ridge, sampled, unit_normals
from mimicme.stages.landmarks.views import DISTANCE_MM, Scene, rays_through, turned

PIXELS_PER_MM = 2.5
STEP_MM = 0.5
# Standard deviations of the smoothing of depth, across a line and along it: a crease of the lips is 1 to 2 mm wide.
ACROSS_MM, ALONG_MM = 0.8, 1.5
BEND_MM = 4.0  # half the length over which a line's direction is averaged
MOVE_COST = 0.8  # see `strips.ridge`
NEARER_PER_MM = 0.04  # taken from the curvature, 1/mm, for each mm from the networks' line
MOST_MOVED_MM = 14.0

# ---- mouth: rows of its 20 points
UPPER_INNER, LOWER_INNER = np.array([13, 14, 15]), np.array([19, 18, 17])
OUTER = np.arange(12)
CORNERS = ((0, 12), (6, 16))  # outer, inner
UPPER_OUTER, LOWER_OUTER = np.arange(1, 6), np.arange(11, 6, -1)
MOUTH_MM = (24.0, 20.0)  # what a picture shows beside the networks' mouth and above and below it
# How far past the networks' corners a mouth may go on, how far from their line it may lie, and the lips of an open one.
BEYOND_MM, ASIDE_MM, RIMS_MM = 12.0, 9.0, 18.0
BEYOND_ASIDE_MM = 5.0  # the same beyond their corners, at last
# More than this, 1/mm, is a crease without doubt, and so is a narrow hole: lips of `synth` have about 1, of real scans
# 0.25 to 0.5.
SHARP = 1.0
# The mouth ends where its crease has so much of the curvature that it has in the middle: at the corners that six people
# of `synth` were made with it has 0.5 to 0.9.
END_SHARE = 0.5
MOST_SHARE = 1.2  # of it counts at most: what is sharper is a spike of the scanner's
SLIT = (0.12, 0.25)  # 1/mm, in the middle: evidence from none to all of it; skin has up to 0.1
# The upper lip overhangs: where lips meet lies so far above where the surface bends most (`synth`).
ABOVE_MM = 0.7
# The border of the red is a ridge, as a rule: how far aside it is looked for, how far outside of it annotators draw
# the border (`synth`, whose lips have 0.2 to 0.3), and its curvature, 1/mm, from no evidence to all of it.
BORDER_MM, BORDER_OUT_MM = 4.0, 0.75
BORDER_MOVE_COST, BORDER_NEARER_PER_MM = 0.3, 0.02
BORDER = (0.1, 0.2)
OPEN_MM = 3.0  # a hole between the lips that is higher shows their inner borders
WITH_CORNERS = 2.0
OUTER_SHARE = 0.5  # of the corners' way along the mouth, that the outer borders go with them
RIM_MM = 2.0  # how far beyond a hole between the lips their outer corner lies (`synth`)
INNER_MM = (2.0, 4.0)  # from an outer corner to the inner one

# ---- eyes
EYES = (("left_eye", -12.0), ("right_eye", 12.0))  # from a little to the side a lid is seen squarely
EYE_MM = (64.0, 48.0)  # width and height of the picture of an eye
# From the image's left corner to the right one; down is 1; how far outwards of the networks' line the rim may lie, mm:
# above it, not as far as the fold above a lid.
LIDS = (((0, 1, 2, 3), -1.0, 4.0), ((0, 5, 4, 3), 1.0, 8.0))
# A lid is a step: concave where it meets the eyeball, convex at its rim.  Of the networks' opening, which is too
# narrow or right, it lies outwards.
INWARDS_MM = 1.0
LID_MM = 2.0  # what lies so far inwards is compared with what lies as far outwards
LID_MOVE_COST = 0.3
LID_NEARER_PER_MM = 0.02
# Of an eye that is a hole: how far its ends may lie from the networks', its rims from the middle; the share of the
# eye's length, and the height, mm, from which on it is one; a rim further inside of the networks' lid is the eyeball's.
CORNER_MM, RIM_ASIDE_MM = 4.0, 9.0
LEAST_HOLE, LEAST_RIM_MM, EYEBALL_MM = 0.6, 2.0, 4.5
LID_STEP = (0.06, 0.15)  # 1/mm: evidence from none to all of it

UNSHOWN = 0.25  # mean evidence of the mouth, or the eyes, below which a bare scan's relief does not show them
# The same of brows and eyes by the shape of the upper face: 16 neutral and surprised faces of `synth` have 0.93 and
# more.  Reasoned: none of them, nor of the other makers' people, is so far off that it could teach a bound.
UNLIKE = 0.6


class Strip(NamedTuple):
    """A depth picture straightened along a line.

    Attributes:
        base: (n, 2) px, the line every `STEP_MM`; across: (n, 2) its unit normals, downwards.
        offsets: (m,) mm, of the columns, along the normals.
        pixels: (n, m, 2) px.
        curvature: (n, m) 1/mm of the profiles across the line: concave is positive.
        missing: (n, m) True over holes.
    """

    base: Floats
    across: Floats
    offsets: Floats
    pixels: Floats
    curvature: Singles
    missing: Bools

    def sampled(self, picture: NDArray[np.float32]) -> Singles:
        """(n, m) values of a picture."""
        return sampled(picture, self.pixels)

    def rows_of(self, pixels: Floats) -> Longs:
        """(k,) rows of the line nearest to places (k, 2) px."""
        return np.asarray(np.linalg.norm(pixels[:, None] - self.base, axis=2).argmin(axis=1))

    def at(self, rows: Longs | Floats, offsets: Floats) -> Floats:
        """(k, 2) px of places in rows (k,), at offsets (k,) mm."""
        every = np.arange(len(self.base))
        base, across = (
            np.stack([np.interp(rows, every, x) for x in a.T], axis=1) for a in (self.base, self.across)
        )
        return base + (offsets * PIXELS_PER_MM)[:, None] * across


def straightened(depth: NDArray[np.float32], line: Floats, beyond_mm: float, aside_mm: float) -> Strip | None:
    """The strip beside a line and its straight continuations; None of a line without a length.

    Args:
        depth: (height, width) mm towards the camera, NaN over holes, of `PIXELS_PER_MM`.
        line: (k, 2) px from the image's left to its right.
        beyond_mm: how far it goes on at its ends; aside_mm: how far the strip reaches to either side.
    """
    arc = arc_length(line)
    if not np.diff(arc).min() > 0 or arc[-1] < 8 * PIXELS_PER_MM * STEP_MM:
        return None
    beyond = beyond_mm * PIXELS_PER_MM
    s = np.arange(-beyond, arc[-1] + beyond + 1e-9, STEP_MM * PIXELS_PER_MM)
    curve = PchipInterpolator(arc, line)
    third = arc[-1] / 3
    base = curve(np.clip(s, 0, arc[-1]))
    for end, inner, past in ((0.0, third, -s), (arc[-1], arc[-1] - third, s - arc[-1])):
        out = curve(end) - curve(inner)
        base = base + np.maximum(past, 0)[:, None] * out / max(float(np.linalg.norm(out)), 1e-9)
    across = unit_normals(base, round(BEND_MM / STEP_MM))
    margin = round(aside_mm / STEP_MM)
    offsets: Floats = np.arange(-margin, margin + 1, dtype=np.float64) * STEP_MM
    pixels = base[:, None] + (offsets * PIXELS_PER_MM)[None, :, None] * across[:, None]
    missing = sampled(np.isnan(depth), pixels) > 0
    return Strip(
        base,
        across,
        offsets,
        pixels,
        curvature_across(sampled(np.nan_to_num(depth), pixels), missing),
        missing,
    )


def slope_across(depth: Singles, missing: Bools) -> Singles:
    """(n, m) slope of the rows of depths (n, m) mm that are `STEP_MM` apart, rising is positive, smoothed by
    `ACROSS_MM` and `ALONG_MM` over what is not missing."""
    cv2 = opencv()
    there = 1 - missing.astype(np.float32)
    blurred, share = (
        cv2.GaussianBlur(
            x, (0, 0), sigmaX=ACROSS_MM / STEP_MM, sigmaY=ALONG_MM / STEP_MM, borderType=cv2.BORDER_REPLICATE
        )
        for x in (np.where(missing, 0, depth).astype(np.float32), there)
    )
    return np.asarray(np.gradient(blurred / np.maximum(share, 1e-3), STEP_MM, axis=1))


def curvature_across(depth: Singles, missing: Bools) -> Singles:
    """(n, m) curvature, 1/mm, of the rows of depths (n, m) mm, concave positive; see `slope_across`.

    Divided by the cosine of the slope once and not thrice: the crease lies on the slope below an upper lip.
    """
    slope = slope_across(depth, missing)
    return np.asarray(np.gradient(slope, STEP_MM, axis=1) / np.sqrt(1 + slope**2), np.float32)


# ------------------------------------------------------------------------------------------------ on a scan


Reading = tuple[NDArray[np.float32], Floats, Floats]
"""Depth of a picture as of `Scene.depths`; where on it a part's points (k, 2) px are; the evidence (k,) for that."""


def followed(
    points: Floats, pose: Floats, parts: Iterable[tuple[str, float, Callable[[Camera, Floats], Reading]]]
) -> tuple[Floats, Floats]:
    """Landmarks (68, 3) moved to where pictures of single parts of the face have them, and the evidence (68,) for it,
    0 to 1; a point goes a share of the way as great as its evidence, and none that is too long.

    Args:
        points: (68, 3) mm, scan frame, finite for these parts.
        pose: (4, 4) of the head, head -> scan.
        parts: group of `landmarks.GROUPS`, yaw of its camera in degrees, and what reads the camera's picture, given
            the points (k, 2) px.
    """
    out, evidence = points.copy(), np.zeros(N_LANDMARKS)
    rows = np.arange(N_LANDMARKS)
    for group, yaw, read in parts:
        part = rows[GROUPS[group]]
        camera = camera_before(points[part], pose, yaw, None if group == "mouth" else EYE_MM)
        depth, found, worth = read(camera, camera.project(points[part]))
        if not worth.any():
            continue
        moved = lifted_at(camera, depth, found) - points[part]
        fine = (worth > 0) & (np.linalg.norm(moved, axis=1) < MOST_MOVED_MM)
        evidence[part] = worth * fine
        out[part] += evidence[part][:, None] * np.where(fine[:, None], moved, 0.0)
    return out, evidence


def follow_creases(scene: Scene, points: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Landmarks (68, 3) with those of mouth and lids where the relief shows them, and the evidence (68,) that it does,
    0 to 1.

    Args:
        scene: a scan without colours; with them nothing is followed.
        points, pose: see `followed`.
    """

    def read(marks_of: Callable[..., tuple[Floats, Floats]], camera: Camera, marks: Floats) -> Reading:
        depth = scene.depths(camera)
        unseen = np.isnan(depth).all()
        return depth, *((marks, np.zeros(len(marks))) if unseen else marks_of(depth, marks))

    lids = [(group, yaw, partial(read, lid_marks)) for group, yaw in EYES]
    parts = [] if scene.textured else [("mouth", 0.0, partial(read, mouth_marks)), *lids]
    return followed(points, pose, parts)


def unshown_parts(evidence: Floats, by_shape: Floats) -> tuple[str, ...]:
    """Which parts of a face, of `landmarks.PARTS`, a surface without colours does not show, neither by its relief, with
    the evidence (68,), nor by its shape as a whole, with that (68,)."""
    rows = np.arange(N_LANDMARKS)
    parts = {part: np.concatenate([rows[GROUPS[g]] for g in groups]) for part, groups in PARTS.items()}
    return tuple(
        part
        for part, points in parts.items()
        if evidence[points].mean() < UNSHOWN and by_shape[points].mean() < UNLIKE
    )


def camera_before(part: Floats, pose: Floats, yaw_deg: float, size_mm: tuple[float, float] | None) -> Camera:
    """A camera straight before points (k, 3) mm; size_mm: None: as wide as they and what is around."""
    axes = turned(pose[:3, :3].T, yaw_deg, 0.0)
    flat = part @ axes[:2].T
    low, high = flat.min(axis=0), flat.max(axis=0)
    width, height = np.clip(high - low + 2 * np.array(MOUTH_MM), 40.0, 150.0) if size_mm is None else size_mm
    target = ((low + high) / 2) @ axes[:2] + (part @ axes[2]).mean() * axes[2]
    size = (round(height * PIXELS_PER_MM), round(width * PIXELS_PER_MM))
    return Camera(np.asarray(target), axes, PIXELS_PER_MM, size, DISTANCE_MM)


def lifted_at(camera: Camera, depth: NDArray[np.float32], pixels: Floats) -> Floats:
    """(k, 3) mm of picture points (k, 2), at the depth of the nearest pixel that shows the scan."""
    nearest = ndimage.distance_transform_edt(np.isnan(depth), return_distances=False, return_indices=True)
    column, row = (
        np.clip(np.floor(x).astype(int), 0, n - 1) for x, n in zip(pixels.T, depth.shape[::-1], strict=True)
    )
    at = depth[tuple(nearest[:, row, column])].astype(np.float64)
    origins, rays = rays_through(camera, pixels)
    return np.asarray(origins + ((at - camera.depth(origins)) / (rays @ camera.axes[2]))[:, None] * rays)


# ------------------------------------------------------------------------------------------------ mouth


def mouth_marks(depth: NDArray[np.float32], marks: Floats) -> tuple[Floats, Floats]:
    """The mouth's points (20, 2) px, in iBUG's order, on the crease between the lips or the rim of the hole there, and
    the evidence (20,), 0 to 1.

    Args:
        depth: see `straightened`; marks: (20, 2) px as a detector has them.
    """
    found, worth = marks.copy(), np.zeros(len(marks))
    middle = (marks[UPPER_INNER] + marks[LOWER_INNER]) / 2
    strip = straightened(depth, np.concatenate([marks[:1], middle, marks[6:7]]), BEYOND_MM, RIMS_MM)
    if strip is None:
        return found, worth
    opening = strip.sampled(_holes_within(np.isnan(depth), marks[OUTER])) > 0.5
    crease = np.where(strip.missing, 0.0, np.clip(strip.curvature, 0, SHARP)).astype(np.float64)
    crease[opening] = SHARP
    n = len(crease)
    rows = np.arange(n)
    past = round(BEYOND_MM / STEP_MM)
    inside = slice(past + (n - 2 * past) // 4, n - past - (n - 2 * past) // 4)
    # as wide as the networks may be off between their corners, and narrower beyond: beside a mouth there is no crease
    beyond = np.maximum(past - rows, rows - (n - 1 - past)) * STEP_MM
    width = np.clip(ASIDE_MM - beyond, BEYOND_ASIDE_MM, ASIDE_MM)
    far = np.abs(strip.offsets)
    level = SHARP
    for _ in range(2):  # a spike of the scanner's counts no more than the crease itself
        near = np.minimum(crease, MOST_SHARE * level) - NEARER_PER_MM * level * far
        path = ridge(np.where(far <= width[:, None], near, -SHARP), MOVE_COST)
        profile = crease[rows, path]
        level = float(np.median(profile[inside]))
        if not level > SLIT[0]:
            return found, worth
    sure = float(ramp(level, SLIT))
    ends = _ends(np.minimum(profile / level, MOST_SHARE) - END_SHARE, (inside.start + inside.stop) // 2)
    top, bottom = _rims(opening, path)
    lip = strip.offsets[path] - np.where(opening[rows, path], 0.0, ABOVE_MM)
    is_open = float(np.median((bottom - top)[inside])) * STEP_MM > OPEN_MM
    first, last = (past if ends[0] is None else ends[0]), (n - 1 - past if ends[1] is None else ends[1])
    # what lies between the corners goes with them
    at = strip.rows_of(marks)
    aside = np.clip(2 * (at - past) / (n - 1 - 2 * past) - 1, -1, 1)
    moved = at + np.where(aside < 0, first - past, last - (n - 1 - past)) * np.abs(aside) ** WITH_CORNERS
    for (outer, inner), end, inwards in zip(CORNERS, ends, (1, -1), strict=True):
        if end is None:
            continue
        apart = float(np.linalg.norm(marks[inner] - marks[outer])) / PIXELS_PER_MM
        # the end of a hole is that of the opening, lips go on
        both = (
            end
            + np.array([-inwards * RIM_MM, 0.0] if is_open else [0.0, inwards * np.clip(apart, *INNER_MM)])
            / STEP_MM
        )
        found[[outer, inner]] = strip.at(both, np.interp(both, rows, lip))
        worth[[outer, inner]] = sure
    last_column = len(strip.offsets) - 1
    for part, edge in ((UPPER_INNER, top), (LOWER_INNER, bottom)):
        at_row = np.clip(np.rint(moved[part]).astype(int), 0, n - 1)
        offsets = strip.offsets[edge[at_row]] if is_open else np.interp(moved[part], rows, lip)
        found[part] = strip.at(moved[part], offsets)
        worth[part] = sure * ((edge[at_row] > 0) & (edge[at_row] < last_column))  # else the rim is not seen
    zero = np.zeros(1)
    for part, outwards in ((UPPER_OUTER, -1.0), (LOWER_OUTER, 1.0)):
        for k in part:
            found[k] += OUTER_SHARE * (strip.at(moved[k : k + 1], zero) - strip.at(at[k : k + 1], zero))[0]
        border = np.concatenate([found[:1], found[part], found[6:7]])
        found[part], ridged = _border(depth, border, outwards)
        worth[part] = sure * ridged
    return found, worth


def _border(depth: NDArray[np.float32], line: Floats, outwards: float) -> tuple[Floats, Floats]:
    """Places (n - 2, 2) px on the ridge beside a line (n, 2) from corner to corner, but for its ends, and the evidence
    (n - 2,) that there is one.

    Args:
        outwards: 1 where lips lie above the line, -1 where below.
    """
    strip = straightened(depth, line, 0.0, BORDER_MM)
    if strip is None:
        return line[1:-1], np.zeros(len(line) - 2)
    convex = np.where(strip.missing, 0.0, -strip.curvature).astype(np.float64)
    path = ridge(np.maximum(convex - BORDER_NEARER_PER_MM * np.abs(strip.offsets), 0), BORDER_MOVE_COST)
    rows = np.arange(len(path))
    at = strip.rows_of(line[1:-1])
    places = strip.at(
        at, np.interp(at, rows, ndimage.uniform_filter1d(strip.offsets[path], 5)) + outwards * BORDER_OUT_MM
    )
    strength = convex[rows, path]
    return places, np.array([ramp(float(np.median(strength[max(0, k - 3) : k + 4])), BORDER) for k in at])


def _holes_within(empty: Bools, outline: Floats) -> NDArray[np.float32]:
    """(height, width) 1 in holes that reach into an outline (k, 2) px of lips or lids; others are the scanner's."""
    cv2 = opencv()
    area = np.zeros(empty.shape, np.uint8)
    cv2.fillPoly(area, [np.rint(outline).astype(np.int32)], 1)
    parts, count = ndimage.label(empty)
    inside = np.zeros(count + 1, np.float32)
    inside[np.unique(parts[area > 0])] = 1
    inside[0] = 0
    return np.asarray(inside[parts])


def _rims(missing: Bools, path: Longs) -> tuple[Longs, Longs]:
    """The columns (n,) between which a path's row (n, m) shows no scan; both the path's own where it shows one."""
    top, bottom = path.copy(), path.copy()
    for k, (row, column) in enumerate(zip(missing, path, strict=True)):
        if row[column]:
            above, below = np.flatnonzero(~row[:column]), np.flatnonzero(~row[column:])
            top[k] = above[-1] if len(above) else 0
            bottom[k] = column + below[0] if len(below) else len(row) - 1
    return top, bottom


def _ends(excess: Floats, middle: int) -> list[int | None]:
    """Where a crease ends before and behind the middle, None where it goes on as far as is seen.

    Args:
        excess: (n,) its curvature, less that of an end.  An end is where the sum from the middle is greatest: a gap
            where a spike hides the crease does not end it, and a spike beside the mouth does not go on with it.
    """
    before, behind = np.cumsum(excess[middle::-1]), np.cumsum(excess[middle:])
    first, last = middle - int(before.argmax()), middle + int(behind.argmax())
    return [first if first > 0 else None, last if last < len(excess) - 1 else None]


# ------------------------------------------------------------------------------------------------ lids


def lid_marks(depth: NDArray[np.float32], marks: Floats) -> tuple[Floats, Floats]:
    """An eye's points (6, 2) px, in iBUG's order, those of its lids on the step down to the eyeball or, where the scan
    has none, all on the rim of the hole; and the evidence (6,), 0 to 1.

    Args:
        depth: see `straightened`; marks: (6, 2) px as a detector has them.
    """
    found, worth = marks.copy(), np.zeros(len(marks))
    for order, outwards, most_mm in LIDS:
        inner = list(order[1:3])
        found[inner], worth[inner] = _lid(depth, marks[list(order)], outwards, most_mm)
    _on_rim(depth, marks, found, worth)
    return found, worth


def _lid(depth: NDArray[np.float32], line: Floats, outwards: float, most_mm: float) -> tuple[Floats, Floats]:
    """Places (2, 2) px of a lid on its step beside a line (4, 2) px, but for its ends, and the evidence (2,); see
    `LIDS`."""
    strip = straightened(depth, line, 0.0, most_mm + LID_MM + STEP_MM)
    if strip is None:
        return line[1:3], np.zeros(2)
    width = round(LID_MM / STEP_MM)
    above, below = (means(strip.curvature, *ends, width) for ends in ((-width, -1), (1, width)))
    offsets = strip.offsets[width:-width]
    steps = outwards * (above - below) - LID_NEARER_PER_MM * np.abs(offsets)
    steps[means(strip.missing.astype(np.float32), -width, width, width) > 1e-6] = 0.0
    out = outwards * offsets
    steps[:, (out < -INWARDS_MM) | (out > most_mm)] = -SHARP
    path = ridge(steps, LID_MOVE_COST)
    rows = np.arange(len(path))
    at = strip.rows_of(line[1:3])
    step = steps[rows, path]
    sure = [ramp(float(np.median(step[max(0, k - 4) : k + 5])), LID_STEP) for k in at]
    return strip.at(at, np.interp(at, rows, offsets[path])), np.array(sure)


def _on_rim(depth: NDArray[np.float32], marks: Floats, found: Floats, worth: Floats) -> None:
    """Put an eye's points where its hole ends, where there is one as long as the eye; see `lid_marks`."""
    holes = _holes_within(np.isnan(depth), marks)
    if not holes.any():
        return
    middle = [(marks[k] + marks[j]) / 2 for k, j in ((1, 5), (2, 4))]
    strip = straightened(depth, np.stack([marks[0], *middle, marks[3]]), CORNER_MM, RIM_ASIDE_MM)
    if strip is None:
        return
    hole = strip.sampled(holes) > 0.5
    column = len(strip.offsets) // 2
    near = round(1.0 / STEP_MM)
    rows = np.flatnonzero(hole[:, column - near : column + near + 1].any(axis=1))
    past = round(CORNER_MM / STEP_MM)
    length = len(hole) - 2 * past
    if len(rows) < LEAST_HOLE * length:
        return
    for k, row in ((0, rows[0]), (3, rows[-1])):
        if 0 < row < len(hole) - 1:
            found[k], worth[k] = strip.at(np.array([row]), np.zeros(1))[0], 1.0
    for order, outwards, _ in LIDS:
        for k in order[1:3]:
            row = int(strip.rows_of(marks[k : k + 1])[0])
            there = np.flatnonzero(hole[row])
            if len(there) * STEP_MM < LEAST_RIM_MM:
                continue
            rim = there[-1] if outwards > 0 else there[0]
            lid = float((marks[k] - strip.base[row]) @ strip.across[row]) / PIXELS_PER_MM
            seen = 0 < rim < len(strip.offsets) - 1
            if seen and outwards * (strip.offsets[rim] - lid) > -EYEBALL_MM:  # else a hole in the eyeball
                found[k], worth[k] = strip.at(np.array([row]), strip.offsets[rim : rim + 1])[0], 1.0
