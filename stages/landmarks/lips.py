"""Lips where the texture shows them: their outer border from corner to corner, by their colour, and with it, where
the mouth is open, their inner ones (opening.py).

The networks draw the lips of the mouths they have learnt: of wide-open, pursed and crooked ones the lower border is 2
to 3 mm off, and the corners as much.  What annotators follow is the border of the red.  Which colours are lips and
which skin is learnt anew in each picture, by Fisher's linear discriminant (1936) between what lies inside the networks'
lips and what lies around them; it weighs light and shade, which vary on both, little.  A place is then lip or skin to
a degree, and near the networks' line the border is the path with the greatest step in that, a corner the place where
the red ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Singles
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.landmarks.opening import (
    APART,
    BESIDE,
    INNER,
    LOWER_INNER,
    LOWER_OUTER,
    lowered,
    opening_marks,
)
from mimicme.stages.landmarks.strips import (
    OUTER,
    PIXELS_PER_MM,
    BorderSearch,
    border_beside,
    on_scan,
    ramp,
    sampled,
)
from mimicme.stages.landmarks.views import DISTANCE_MM, Scene, turned

# Rows of the mouth's 20 points: its borders from the image's left corner to the right one, and the opening.
UPPER, LOWER = np.arange(0, 7), np.array([0, 11, 10, 9, 8, 7, 6])
CORNERS = ((0, 12, 16), (6, 16, 12))  # outer corner, inner one, the inner one of the other side

AROUND_MM = 14.0  # of the lips, that a picture shows
# What is taken for lips and for skin, in mm from the networks' borders: they are off by 3 mm at times.
INSIDE_MM, OPENING_MM = 1.2, 0.75
OUTSIDE_MM = (2.5, 7.0)
LEAST_PIXELS = 100
BLACK = 8.0  # added to brightness, of 255, before the logarithm
RIDGE = 1e-3  # added to the variance of each colour's logarithm: flat paint
TRIMMED = (
    0.3  # of the step from skin to lips: what lies further on the other's side is another thing (teeth, hair)
)
ROUNDS = 2  # the colours are learnt again inside the lips that were found
BORDER = BorderSearch(step=0.5, aside=7.0, width=1.5, smooth=1.5, bend=4.5, nearer=0.03, move_cost=0.15)
# Of a corner: how far from the networks' it may lie, along the mouth and across it; the step's width; what is taken
# from its size for each mm from the networks' corner.
ALONG_MM, ACROSS_MM, CORNER_STEP_MM, TIE_PER_MM = 8.0, 2.5, 2.0, 0.01
FINE_MM = 0.25
# Of what lies across a corner: where more is a hole, the corner is not seen (ten people of `synth`).
SLIT_SHARE = 0.5
# Lips taper off: the red is too narrow to be told 0.9 mm before the corner on ten people of `synth`, whose lips are
# painted sharply; half of that is given back, since on other lips it may be less.
TAPER_MM = 0.45
INNER_SHARE = 0.5  # of an outer corner's way that the inner one goes with it
# Evidence from none to all of it: of the colours' separation, in standard deviations, and of the step at a point.
# Lips of `synth` have 10 to 15 and 0.6 to 0.9; where lips are rolled in, colours have 1.4.
SEPARATION = (2.0, 4.0)
STEP = (0.25, 0.5)
# A ray that meets the scan so far behind the networks' point, or before it, meets something else than the lip.
MOST_MOVED_MM, MOST_NEARER_MM = 10.0, 20.0
# A lower lip's inner border that the picture shows, so far off the scan, is placed by the lip beside it.
OFF_RIM_MM, RIM_SHOWS = 3.0, 0.5
ON_LIP_MM = 1.0  # outwards of the rim of a mouth that is wide open: there the scan shows the lip


def follow_lips(scene: Scene, points: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Landmarks (68, 3) with those of the lips' outer border, and the mouth's inner corners with it, where the
    texture shows it, and with those of the inner borders where the mouth is open; and by how much evidence (68,) each
    was moved, 0 to 1.

    Args:
        scene: a scan with colours; without, nothing is followed.
        points: (68, 3) mm, scan frame, finite for the mouth.
        pose: (4, 4) of the head, head -> scan.
    """
    out, evidence = points.copy(), np.zeros(N_LANDMARKS)
    if not scene.textured:
        return out, evidence
    rows = np.arange(N_LANDMARKS)[GROUPS["mouth"]]
    camera = _camera(points[rows], pose)
    picture, depth = scene.shown(camera)
    before = camera.project(points[rows])
    down = lowered(depth, before)
    dropped = bool((down != before).any())
    if dropped:
        points = points.copy()
        points[rows] = _lowered(scene, camera, points[rows], down)
        out, before = points.copy(), camera.project(points[rows])
    marks, worth = lip_marks(picture, np.isnan(depth), before)
    marks[APART], worth[APART] = opening_marks(picture, depth, marks)
    met, places = on_scan(scene, camera, marks[OUTER])
    moved = places - points[rows][OUTER]
    # of lips that are pushed out the networks' depth is off by more than a border is ever moved in the picture
    nearer = moved @ camera.axes[2]
    met &= (worth[OUTER] > 0) & (nearer > -MOST_MOVED_MM) & (nearer < MOST_NEARER_MM)
    evidence[rows[OUTER][met]] = worth[OUTER][met]
    out[rows[OUTER][met]] += moved[met]
    # a rim is rolled in: how deep its points lie a picture does not show; a ray meets the tongue as often as the lip
    aside = (marks - before)[APART] / PIXELS_PER_MM
    out[rows[APART]] += aside[:, :1] * camera.axes[0] - aside[:, 1:] * camera.axes[1]
    evidence[rows[APART]] = worth[APART]
    low = rows[LOWER_INNER]
    astray = scene.surface.distance(out[low] - scene.centre) > OFF_RIM_MM
    astray = dropped | (astray & (evidence[low] > RIM_SHOWS))
    out[low] = np.where(astray[:, None], _on_rim(scene, camera, out[rows], marks), out[low])
    for outer, inner, _ in CORNERS:  # over a hole as often as not: it goes with the outer one
        if met[outer]:
            out[rows[inner]] += INNER_SHARE * moved[outer]
    return out, evidence


def _lowered(scene: Scene, camera: Camera, mouth: Floats, marks: Floats) -> Floats:
    """A mouth (20, 3) mm with its lower lip at marks (20, 2) px, its outer border on the scan: a jaw that drops goes
    back as well."""
    out = _aside(camera, mouth, marks)
    met, places = on_scan(scene, camera, marks[LOWER_OUTER])
    met &= np.abs((places - out[LOWER_OUTER]) @ camera.axes[2]) < MOST_NEARER_MM
    out[LOWER_OUTER[met]] = places[met]
    out[LOWER_INNER] = _on_rim(scene, camera, out, marks)
    return out


def _on_rim(scene: Scene, camera: Camera, mouth: Floats, marks: Floats) -> Floats:
    """The lower lip's inner points (3, 3) mm of a mouth (20, 3) mm, at marks (20, 2) px, as near to the camera as the
    lip is beside them, or, where that is not seen, its outer border: before an opening a ray tells nothing, and the
    networks have such a rim as much as 20 mm before it."""
    outwards = marks[BESIDE] - marks[LOWER_INNER]
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    met, places = on_scan(scene, camera, marks[LOWER_INNER] + ON_LIP_MM * PIXELS_PER_MM * outwards)
    towards = camera.axes[2]
    border = mouth[BESIDE] @ towards
    met &= np.abs(places @ towards - border) < MOST_MOVED_MM
    depth = np.where(met, places @ towards, border)
    inner = mouth[LOWER_INNER]
    return _aside(camera, inner + (depth - inner @ towards)[:, None] * towards, marks[LOWER_INNER])


def _aside(camera: Camera, points: Floats, marks: Floats) -> Floats:
    """Points (k, 3) mm moved across the view to marks (k, 2) px."""
    aside = (marks - camera.project(points)) / PIXELS_PER_MM
    return np.asarray(points + aside[:, :1] * camera.axes[0] - aside[:, 1:] * camera.axes[1])


def lip_marks(picture: NDArray[np.float32], empty: Bools, marks: Floats) -> tuple[Floats, Floats]:
    """The mouth's points (20, 2) px, in iBUG's order, those of its outer border on that of the lips' colour, and by
    how much evidence (20,), 0 to 1, they were moved there from where they were.

    Args:
        picture: (height, width, 3) RGB in [0, 255], of `PIXELS_PER_MM`.
        empty: (height, width) True where it shows no scan.
        marks: (20, 2) px as a detector has them.
    """
    found, worth = marks.copy(), np.zeros(len(marks))
    light = np.log(picture.astype(np.float64) + BLACK)
    for _ in range(ROUNDS):
        lips = _lips_in(light, empty, found)
        if lips is None:
            return marks, np.zeros(len(marks))
        found, worth = _outlined(lips, empty, marks)
    return marks + worth[:, None] * (found - marks), worth


class Lips(NamedTuple):
    """Share (height, width) of lip in each pixel, about 0 on skin and 1 on lips; separation of the two, in standard
    deviations."""

    share: Singles
    separation: float


def lips_of(picture: NDArray[np.float32], empty: Bools, marks: Floats) -> Lips | None:
    """What is lip and what is skin in a picture, by colours alone; None where too little of either is seen.

    Args:
        picture, empty, marks: see `lip_marks`.
    """
    return _lips_in(np.log(picture.astype(np.float64) + BLACK), empty, marks)


def _lips_in(colours: Floats, empty: Bools, marks: Floats) -> Lips | None:
    """See `lips_of`; colours: (height, width, 3) their natural logarithms."""
    cv2 = opencv()

    def area(rows: NDArray[np.int64], wider_mm: float) -> Bools:
        mask = np.zeros(empty.shape, np.uint8)
        corners = [np.rint(marks[rows]).astype(np.int32)]
        cv2.fillPoly(mask, corners, 1)
        cv2.polylines(mask, corners, True, 1)  # a closed mouth has an opening of no area
        size = 2 * round(abs(wider_mm) * PIXELS_PER_MM) + 1
        ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        return np.asarray((cv2.dilate if wider_mm > 0 else cv2.erode)(mask, ball) > 0)

    near, far = OUTSIDE_MM
    lip = area(OUTER, -INSIDE_MM) & ~area(INNER, OPENING_MM) & ~empty
    skin = area(OUTER, far) & ~area(OUTER, near) & ~empty
    if min(lip.sum(), skin.sum()) < LEAST_PIXELS:
        return None
    on_lips, on_skin = colours[lip], colours[skin]
    one, other = on_lips, on_skin
    for _ in range(3):
        spread = (len(one) * np.cov(one.T) + len(other) * np.cov(other.T)) / (len(one) + len(other))
        axis = np.linalg.solve(spread + RIDGE * np.eye(3), one.mean(axis=0) - other.mean(axis=0))
        lips, skins = on_lips @ axis, on_skin @ axis
        middle, base = float(np.median(lips)), float(np.median(skins))
        step = middle - base
        one, other = on_lips[lips > base + TRIMMED * step], on_skin[skins < middle - TRIMMED * step]
        if not step > 0 or min(len(one), len(other)) < LEAST_PIXELS:
            return None
    noise = [np.percentile(np.abs(x - m), 68) for x, m in ((lips, middle), (skins, base))]
    separation = step / max(float(np.sqrt(np.mean(np.square(noise)))), 1e-9)
    return Lips(np.clip((colours @ axis - base) / step, -0.5, 1.0).astype(np.float32), separation)


def _outlined(lips: Lips, empty: Bools, marks: Floats) -> tuple[Floats, Floats]:
    """The mouth's points (20, 2) px on the border of what is lip, and the evidence (20,) that they lie there."""
    found, worth = marks.copy(), np.zeros(len(marks))
    sure = ramp(lips.separation, SEPARATION)
    for outer, inner, other in CORNERS:
        found[outer], end = _corner(lips.share, empty, marks[outer], (marks[inner] + marks[other]) / 2)
        worth[outer] = sure * ramp(end, STEP)
    ends = marks + worth[:, None] * (found - marks)
    for rows, outwards in ((UPPER, -1.0), (LOWER, 1.0)):
        inside = rows[1:-1]
        found[inside], steps = border_beside(ends[rows], lips.share, empty, outwards, BORDER, PIXELS_PER_MM)
        worth[inside] = sure * ramp(steps, STEP)
    for outer, inner, _ in CORNERS:
        found[inner], worth[inner] = marks[inner] + found[outer] - marks[outer], worth[outer]
    return found, worth


def _corner(share: Singles, empty: Bools, corner: Floats, middle: Floats) -> tuple[Floats, float]:
    """Where the red ends at a corner (2,) px of a mouth with a middle (2,) px, and the step in the share of lip there.

    Along the mouth; across it the widest share counts, for the slit is dark.
    """
    out = corner - middle
    length = float(np.linalg.norm(out))
    if not length > 0:
        return corner, 0.0
    out /= length
    across = np.array([-out[1], out[0]])
    width = round(CORNER_STEP_MM / FINE_MM)
    reach = np.arange(-ALONG_MM - CORNER_STEP_MM, ALONG_MM + CORNER_STEP_MM + FINE_MM / 2, FINE_MM)
    beside = np.arange(-ACROSS_MM, ACROSS_MM + FINE_MM / 2, FINE_MM)
    offsets = reach[:, None, None] * out + beside[None, :, None] * across
    pixels = corner + PIXELS_PER_MM * offsets
    strip = np.clip(sampled(opencv().GaussianBlur(share, (0, 0), 0.4 * PIXELS_PER_MM), pixels), 0, 1)
    # lips that meet have a slit between them, which goes on beyond the corner as a line
    hole = np.mean(sampled(empty, pixels) > 0, axis=1) > SLIT_SHARE
    total = np.r_[0.0, np.cumsum(strip.max(axis=1))]
    at = np.arange(width, len(reach) - width)
    inside, outside = (total[at] - total[at - width]) / width, (total[at + width] - total[at]) / width
    seen = ~np.array([hole[k : k + width].any() for k in at])  # skin, and no hole, where the red has ended
    score = np.where(seen, inside - outside - TIE_PER_MM * np.abs(reach[at]), -np.inf)
    best = int(score.argmax())
    if not np.isfinite(score[best]):
        return corner, 0.0
    end = at[best]
    last = strip[max(0, end - 4) : end]
    aside = float((last * beside).sum() / max(float(last.sum()), 1e-9))
    place = corner + PIXELS_PER_MM * ((reach[end] + TAPER_MM) * out + aside * across)
    return place, float(inside[best] - outside[best])


def _camera(mouth: Floats, pose: Floats) -> Camera:
    """A camera straight before a mouth (20, 3) mm that shows it and what is around."""
    axes = turned(pose[:3, :3].T, 0.0, 0.0)
    flat = mouth @ axes[:2].T
    low, high = flat.min(axis=0), flat.max(axis=0)
    width, height = np.clip(high - low + 2 * AROUND_MM, 40.0, 130.0)
    target = ((low + high) / 2) @ axes[:2] + (mouth @ axes[2]).mean() * axes[2]
    size = (round(height * PIXELS_PER_MM), round(width * PIXELS_PER_MM))
    return Camera(np.asarray(target), axes, PIXELS_PER_MM, size, DISTANCE_MM)
