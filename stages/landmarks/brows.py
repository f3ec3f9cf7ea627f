"""Brows where the texture shows them: a dark stroke, from one end to the other.

The networks give every brow about the length that people's have on average, and are off by up to 8 mm at the ends of
longer ones; the forehead has no relief that could put that right later.  What annotators follow is the stroke, and a
picture shows it: near the networks' line the darkest path that bends little, by dynamic programming (Montanari 1971,
"On the optimal detection of curves in noisy pictures"), from the steepest step between dark and skin on one side to
that on the other.  Dark is what the surface's shape does not explain (shade.py): the root of the nose and the socket
lie in shade, and a path goes on into it.  What shade is left has the hue of skin, where hair is greyer: it does not
count either.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mimicme.pipeline.arrays import Bools, Floats, Singles
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.stages.landmarks.shade import hue_of, unshaded
from mimicme.stages.landmarks.strips import (
    arc_length,
    at_shares,
    means,
    on_scan,
    ramp,
    ridge,
    sampled,
    smoothed,
)
from mimicme.stages.landmarks.views import DISTANCE_MM, Scene, turned

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
# Evidence from none to all of it: of the contrast, and of that to the darker of what lies above and below.
CONTRAST = (0.08, 0.16)
BELOW = (0.04, 0.08)
LEAST_SHOWN = 0.5  # of what lies between the networks' ends
SHORTEST_MM = 15.0  # of the networks' line
MOVE_COST = 0.15  # of the path, for each step aside, in shares of the greatest contrast
# A brow ends where what lies `STEP_WIDTH_MM` inwards is darkest beside what lies as far outwards; set on ten people of
# `synth`: 2 to 4 mm do alike, 8 mm leave the ends of short brows 1 mm further out.
STEP_WIDTH_MM = 3.0
INWARDS_MM = 10.0  # from the networks' end, how far the step is looked for
TIE_PER_MM = 0.02  # of the brow's darkness, for each mm from the networks' end: of two like steps the nearer
STEP = (0.2, 0.4)  # from none to all of the evidence, in shares of what is dark inside
# What ends is a brow, and what follows is none: from no evidence to all of it by how dark they are, in shares of its
# middle.  Beside a hole that hid the end, the next best step was one between two patches of skin 10 to 18 mm beyond it,
# or between two tufts (`synth`).
INSIDE_DARK, OUTSIDE_DARK = (0.3, 0.5), (0.7, 0.5)
# Of steps that differ by so much, in shares of the middle's darkness, the lesser counts a third: noise decides between
# them.  Where the greatest alone counts an end moves by 10 mm where a pixel does.
ALIKE = 0.05
# From a hole, from no evidence to all of it: beside one the path leaves the brow for where it can be told, and what it
# meets on its way looks like an end.
CLEAR_MM = (1.0, 3.0)
UNSEEN_END = 0.3  # what the points of an end that is not seen are worth, beside those of one that is
# Two brows' inner ends that lie so differently beyond the networks': the one farther from these is shade beside the
# nose or a wrinkle (reasoned, not tuned: people's differ by 1 to 3 mm).  Outer ends differ by more, and are left alone.
UNLIKE_MM = (3.0, 5.0)
FARTHER_MM = (0.0, 1.0)
# Of the arch through a stroke's path: what is so near to it counts; so far from it, and farther, the path has gone
# astray.  Reasoned: strokes are uneven by half a millimetre, and those with a hook at their outer end leave a parabola
# by one.
ARCH_MM, ASTRAY_MM, ARCH_ROUNDS, LEAST_ARCH = 1.0, 2.0, 8, 12
EYE_MM = 2.0  # around an eye's opening: lashes
# Hair, by hue; reasoned, not tuned.  Skin's own hue is that of what is hardly darker than skin (natural logarithms).
SKIN_DARK = 0.1
HAIR_HUE = (0.0, 0.5)  # from shade to hair, in shares of how far the hue of hair as dark is from skin's
# From nothing said to all of it, in standard deviations of skin's hue: by which a place as dark as this has to be
# unlike skin, and by which the brow's middle has to be; without any hair that is less than one.
HUE_NOISES, LINE_NOISES = (2.0, 4.0), (1.0, 2.0)
LEAST_NOISE = 0.01  # of skin's hue: less is a drawing's


class Stroke(NamedTuple):
    """A brow: its line (n, 2) px, in the order of the detector's points, the evidence for it, and that its first and
    last end are where they seem to be, 0 to 1, and how far, mm, they lie beyond the detector's."""

    line: Floats
    evidence: float
    ends: tuple[float, float]
    beyond: tuple[float, float]

    def worth(self, shares: Floats) -> Floats:
        """(k,) evidence for places at shares (k,) of its length: an end that is hidden leaves open where they lie."""
        first, last = (UNSEEN_END + (1 - UNSEEN_END) * seen for seen in self.ends)
        return self.evidence * (first + (last - first) * shares)

    def believed(self, other: Stroke, inner: int) -> tuple[float, float]:
        """By how much, 0 to 1, its first and last end may be taken where they seem to be; the one beside the nose,
        number `inner` (0 or 1), only where the other brow's, in a mirror, lies much alike."""
        here, there = self.beyond[inner], other.beyond[1 - inner]
        unlike = ramp(abs(here - there), UNLIKE_MM) * ramp(abs(here) - abs(there), FARTHER_MM)
        alike = 1 - float(unlike) * other.ends[1 - inner]
        return (alike, 1.0) if inner == 0 else (1.0, alike)


def follow_brows(scene: Scene, points: Floats, pose: Floats) -> tuple[Floats, Floats]:
    """Landmarks (68, 3) with those of brows on the strokes that the texture shows; and by how much evidence (68,) each
    shows it, 0 to 1.

    A brow that does not stand out from the skin - a fair one, one under hair - stays as it is; one that hardly does
    goes a part of the way.  An end over a hole goes where the other brow ends, and where none of them is seen it stays.
    So does an inner one that lies unlike the other brow's.

    Args:
        scene: a scan with colours; without, nothing is followed.
        points: (68, 3) mm, scan frame, finite for brows.
        pose: (4, 4) of the head, head -> scan.
    """
    out, evidence = points.copy(), np.zeros(N_LANDMARKS)
    sides, strokes = [], []
    for group, yaw in SIDES if scene.textured else ():
        rows = GROUPS[group]
        camera = _camera(points[rows].mean(axis=0), pose, yaw)
        seen = camera.project(points[rows])
        picture, depth = scene.shown(camera)
        skin = ~_eyes(camera, points)
        side = unshaded(picture, depth, skin, camera.pixels_per_mm), np.isnan(depth), seen, hue_of(picture)
        sides.append((rows, camera, side))
        strokes.append(stroke(*side))
    for (rows, camera, side), brow, other in zip(sides, strokes, strokes[::-1], strict=True):
        if brow is None:
            continue
        inner = (
            1 if rows == GROUPS["left_eyebrow"] else 0
        )  # iBUG's left is the image's; both run from left to right
        if other is not None:
            believed = brow.believed(other, inner)
            if min(brow.ends + believed) < 1:  # what is hidden is looked up at the other brow
                brow = stroke(*side, other.beyond[::-1], believed)
        if brow is None:
            continue
        seen = side[2]
        arc = arc_length(seen)
        shares = arc / arc[-1]
        met, places = on_scan(scene, camera, at_shares(brow.line, shares))
        # through a hole: the far side of the head
        met &= np.linalg.norm(places - points[rows], axis=1) < 2 * BEYOND_MM
        evidence[rows] = brow.worth(shares) * met
        out[rows][met] += brow.evidence * (places - points[rows])[met]
    return out, evidence


def stroke(
    brightness: NDArray[np.float32],
    empty: Bools,
    points: Floats,
    hue: NDArray[np.float32] | None = None,
    beyond: tuple[float, float] = (0.0, 0.0),
    believed: tuple[float, float] = (1.0, 1.0),
) -> Stroke | None:
    """The stroke of a brow; None where none stands out.

    Args:
        hue: (height, width, 2) of the picture, see `shade.hue_of`; by it shade is told from hair.
        beyond: mm, how far beyond the detector's the other brow's ends lie: where these do that are not seen here.
        believed: by how much, 0 to 1, its first and last end may be taken where they seem to be.
        points: (5, 2) px as a detector has them.
        brightness: (height, width) of a picture of `PIXELS_PER_MM`, in natural logarithms; see `shade.unshaded`.
        empty: (height, width) True where it shows no scan.
    """
    if not arc_length(points)[-1] >= SHORTEST_MM * PIXELS_PER_MM:
        return None
    base, down, between = _course(points)
    margin = round((ASIDE_MM + FLANK_MM[1]) / STEP_MM)
    offsets = np.arange(-margin, margin + 1) * STEP_MM
    at = base[:, None] + (offsets * PIXELS_PER_MM)[None, :, None] * down[:, None]
    missing = sampled(empty, at) > 0
    band = smoothed(sampled(brightness, at), missing, SMOOTH_MM / STEP_MM)
    path = _darkest(band, missing)
    if hue is not None:
        colors = [smoothed(sampled(x, at), missing, SMOOTH_MM / STEP_MM) for x in np.moveaxis(hue, -1, 0)]
        band = _hair(band, np.stack(colors, axis=-1), missing, path, between)
        path = _darkest(band, missing)
    core, far = round(CORE_MM / STEP_MM), round(FLANK_MM[1] / STEP_MM)
    middle, above, sides, whole = _beside(band, missing)
    rows = np.arange(len(path))
    # the socket below may be as dark as a brow: the skin above alone has half of the weight
    contrast = (sides[rows, path] + (above - middle)[rows, path]) / 2
    # a path along the border of what can be told has been kept from where it belongs
    shown = ndimage.minimum_filter1d(whole, 2 * core + 1, axis=1, mode="nearest")[rows, path]
    inside = rows[between][shown[between]]
    if len(inside) < LEAST_SHOWN * (between.stop - between.start):
        return None
    evidence = min(
        ramp(float(np.median(contrast[inside])), CONTRAST),
        ramp(float(np.median(sides[inside, path[inside]])), BELOW),
    )
    if not evidence > 0:
        return None
    there = means(missing.astype(np.float32), -core, core, far)[rows, path] < 1e-6
    dark = np.where(there, -middle[rows, path], np.nan)
    (first, starts), (last, ends) = (
        _end(dark, between, outwards, by, sure)
        for outwards, by, sure in zip((-1, 1), beyond, believed, strict=True)
    )
    outside = (between.start - first) * STEP_MM, (last - between.stop + 1) * STEP_MM
    arch = _arch(offsets[far + path].astype(np.float64), sides[rows, path], first, last)
    line = base + (arch * PIXELS_PER_MM)[:, None] * down
    from_to = np.linspace(first, last, len(line))
    return Stroke(
        np.stack([np.interp(from_to, rows, x) for x in line.T], axis=1),
        float(evidence),
        (starts, ends),
        outside,
    )


def _arch(offsets: Floats, weights: Floats, first: float, last: float) -> Floats:
    """(n,) mm aside of the detector's line: a path without where it leaves the brow.

    Beside a hole, or where shade runs into it, a path goes astray for a few millimetres.  An arch, a parabola, is drawn
    through it by the weights of Geman and McClure (1987) for what lies off, and what is `ASTRAY_MM` from it or more is
    brought back to it, by degrees.

    Args:
        offsets: (n,) mm, of the path; weights: (n,) how much each place stands out; first, last: the stroke's ends.
    """
    rows = np.arange(len(offsets))
    use = (rows >= first) & (rows <= last) & (weights > 0)
    if use.sum() < LEAST_ARCH:
        return offsets
    x = np.clip(2 * (rows - first) / max(last - first, 1.0) - 1, -1, 1)
    terms = np.polynomial.legendre.legvander(x, 2)
    worth, off = weights.copy(), np.zeros(len(offsets))
    for _ in range(ARCH_ROUNDS):
        root = np.sqrt(worth[use])[:, None]
        arch, *_ = np.linalg.lstsq(terms[use] * root, offsets[use] * root[:, 0], rcond=None)
        off = offsets - terms @ arch
        worth = weights / (1 + (off / ARCH_MM) ** 2) ** 2
    return np.asarray(offsets - off + off / (1 + (off / ASTRAY_MM) ** 4))


def _beside(band: Singles, missing: Bools) -> tuple[Floats, Floats, Floats, Bools]:
    """Of a strip (n, m): the means (n, k) over a brow's half width to either side of each place, and above it; how much
    darker it is than the darker of what lies above and below; and where nothing of that is missing (n, k)."""
    core, near, far = (round(x / STEP_MM) for x in (CORE_MM, *FLANK_MM))
    middle = means(band, -core, core, far)
    above, below = means(band, -far, -near, far), means(band, near, far, far)
    whole = means(missing.astype(np.float32), -far, far, far) < 1e-6
    return middle, above, np.where(whole, np.minimum(above, below) - middle, 0.0), whole


def _darkest(band: Singles, missing: Bools) -> NDArray[np.int64]:
    """(n,) the path through a strip (n, m) that is darkest beside what lies above and below; columns of `_beside`."""
    return ridge(_beside(band, missing)[2], MOVE_COST)


def _hair(band: Singles, hue: Singles, missing: Bools, path: NDArray[np.int64], between: slice) -> Singles:
    """A strip (n, m) without what is dark and has the hue of skin: shade that the surface's shape does not explain.

    Shade leaves skin's hue as it is, or redder (the dichromatic model of Shafer 1985, light reflected from skin to
    skin); hair is greyer or yellower, the more the darker.  How much this brow's is, the middle of its darkest line
    shows, or that of least red: the darkest may lie in shade from end to end.  What has not another hue than skin says
    nothing: all stays as it is.

    Args:
        band: natural logarithm of brightness, about 0 on skin.
        hue: (n, m, 2) see `shade.hue_of`.
        path: (n,) of `_darkest`; between: what lies between the networks' ends.
    """
    skin = (np.abs(band) < SKIN_DARK) & ~missing
    skin[: between.start] = skin[between.stop :] = False
    if skin.sum() < band.shape[1]:
        return band
    unlike = hue - np.median(hue[skin], axis=0).astype(np.float32)
    out = band
    most = 0.0
    for line in (path, _darkest(hue[..., 0], missing)):
        dark = -_in_the_middle(band, line, between)
        axis = np.array([_in_the_middle(unlike[..., k], line, between) for k in (0, 1)])
        axis[0] = min(axis[0], 0.0)  # redder: shade may be, too
        size = float(np.linalg.norm(axis))
        if not (dark > SKIN_DARK and size > 0):
            continue
        along = unlike @ (axis / size)
        noise = max(1.4826 * float(np.median(np.abs(along[skin]))), LEAST_NOISE)
        sure = float(ramp(size / noise, LINE_NOISES))
        if not sure > most:
            continue
        most = sure
        expected = np.maximum(-band, 0.0) * size / dark  # of hair as dark as each place
        hair = ramp(along / np.maximum(expected, 1e-6), HAIR_HUE)
        told = sure * ramp(expected / noise, HUE_NOISES)
        out = np.where(band < 0, band * (1 - told * (1 - hair)), band).astype(np.float32)
    return out


def _in_the_middle(strip: Singles, path: NDArray[np.int64], between: slice) -> float:
    """The median, between the networks' ends, of a strip's means (n, m) over a brow's half width beside a path."""
    core, far = round(CORE_MM / STEP_MM), round(FLANK_MM[1] / STEP_MM)
    rows = np.arange(between.start, between.stop)
    return float(np.median(means(strip, -core, core, far)[rows, path[rows]]))


def _end(dark: Floats, between: slice, outwards: int, beyond: float, believed: float) -> tuple[float, float]:
    """Where a stroke ends `outwards` (-1 or 1), on its path, and the evidence for that, 0 to 1: it is where the steps
    are, as far as these say so, and else `beyond`, mm, the networks' end.

    Where it goes on for `BEYOND_MM` there is none: that is hair.

    Args:
        dark: (n,) along the path; NaN over holes.
        between: what lies between the networks' ends.
        believed: what the steps' evidence is worth, 0 to 1.
    """
    networks = between.start if outwards < 0 else between.stop - 1
    width = round(STEP_WIDTH_MM / STEP_MM)
    from_, to = (round(reach / STEP_MM) for reach in (INWARDS_MM, BEYOND_MM))
    usual = float(np.nanmedian(dark[between]))
    clear = _away_from_nan(dark)
    elsewhere = float(np.clip(networks + outwards * beyond / STEP_MM, 0, len(dark) - 1))
    off = np.arange(-from_, to + 1)
    # (k, 2 width) places beside each step, from inside to outside
    places = networks + outwards * (off[:, None] + np.arange(-width, width))
    fine = (places.min(axis=1) >= 0) & (places.max(axis=1) < len(dark))
    off, places = off[fine], places[fine]
    nearest = clear[places].min(axis=1)
    off, places, nearest = off[nearest > 0], places[nearest > 0], nearest[nearest > 0]
    if not usual > 0 or not len(off):
        return elsewhere, 0.0
    inside, outside = (dark[part].mean(axis=1) / usual for part in (places[:, :width], places[:, width:]))
    seen_by = np.minimum.reduce(
        [
            ramp(inside, INSIDE_DARK),
            ramp(outside, OUTSIDE_DARK),
            ramp((inside - np.maximum(outside, 0.0)) / np.maximum(inside, 1e-3), STEP),
            ramp(nearest - STEP_MM, CLEAR_MM),
        ]
    )
    heights = inside - outside - TIE_PER_MM * STEP_MM * np.abs(off)
    ends = networks + outwards * (off - 0.5)
    weights = np.exp((seen_by * heights - (seen_by * heights).max()) / ALIKE)
    evidence = believed * float((weights * seen_by).max() / weights.max())
    return elsewhere + evidence * (float(weights @ ends / weights.sum()) - elsewhere), evidence


def _away_from_nan(values: Floats) -> Floats:
    """(n,) mm from each place to the next that is not a number, `STEP_MM` apart; 0 there, the whole way where none
    is."""
    known = np.isfinite(values)
    if known.all():
        return np.full(len(values), len(values) * STEP_MM)
    return np.asarray(ndimage.distance_transform_edt(known, sampling=STEP_MM))


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
    arc = arc_length(points)
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
