"""Lids of scans with colours where they are not what networks know: of an eye that the scanner left out, and shut ones.

Scanners reconstruct no lashes and often no eyeball, and the eye is a hole.  Narrow holes are painted over in the
networks' pictures, and then they take the upper half of the paint for the whole eye: lower lids came out 7 mm too high.
Such a hole's rim is where the scan's lids end, whatever was painted.  And a closed eye is drawn by them as one in the
middle of the lid, narrow or, when the other one is open, as open as that, up to 10 mm above the line where the lids
meet.  That an eye is closed its colour tells, which is skin's; that line is dark, with lashes, and lies in a crease of
the surface.  A scanner's holes about lashes hide both: then an eye is closed that shows much less of what is no skin
than the person's other one, and its lids meet where shut lids mostly do.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mimicme.pipeline.arrays import Bools, Floats, Longs
from mimicme.pipeline.drawing.render import Camera
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.texture.eye_hue import eye_share
from mimicme.stages.landmarks.creases import (
    EYE_MM,
    EYES,
    PIXELS_PER_MM,
    STEP_MM,
    Reading,
    camera_before,
    followed,
    straightened,
)
from mimicme.stages.landmarks.opening import LEAST_PIXELS, distance_from
from mimicme.stages.landmarks.strips import means, ramp, ridge, smoothed
from mimicme.stages.landmarks.views import Scene

# Of a hole, from surely no eye to surely one: its length in shares of the networks' eye, too short and too long; its
# height in shares of its length; its area in shares of the rectangle around it, of which an almond has 0.6; how far
# its middle lies along the eye from the networks', above it and below it, mm: they see the paint over it.
SHORT, LONG, TALL, FULL = (0.55, 0.7), (1.5, 1.3), (0.85, 0.7), (0.35, 0.45)
ASIDE_MM, HIGHER_MM, LOWER_MM = (8.0, 6.0), (7.0, 5.0), (13.0, 11.0)
LEAST_AREA = 0.03  # in shares of the square of the networks' eye's length; what is smaller is not looked at
# Evidence for a hole that an eye which looks closed beside it does not question, and that is believed nothing then: at
# holes beside closed eyes MakeHuman's have 0.37 (`synth`).
SURE_HOLE = (0.4, 0.6)
RIM_DEGREE, RIM_ROUNDS = 3, 20  # of the polynomial that a rim is, over its columns
INWARDS = 0.3  # the quantile: more lies outwards of a rim than inwards
FRAYED_MM = (1.2, 0.5)  # off it in the median: from no evidence to all of it
END_MM = 1.2  # over which an end is averaged
SLIT_MM = 1.0  # what is lower is a slit
FURTHER_MM = (4.0, 2.0)  # of a hole's end beyond the networks' corner: from surely none to a corner
BLACK = 8.0  # added to brightness, of 255, before the logarithm
# Of an eye that the networks draw so high, mm, from surely not closed to surely closed, where too little of it shows to
# tell by colour.
CLOSED_MM = (3.5, 2.5)
# What lies in the networks' eye and is unlike the skin around it by so many standard deviations; the share of it from
# surely not closed to surely closed (`synth` with its own template and with MakeHuman's: 0.7 to 1 of open eyes, 0 to
# 0.46 of closed ones, with a slit of white).
UNLIKE, OPEN_SHARE = 3.0, (0.6, 0.4)
# A scanner's holes about shut lashes are unlike skin, too.  What is, over the eye's height as the networks draw it, in
# that of the other eye, where that is surely open: shut eyes of 5 winks of both have 0.03 to 0.53, open ones of 10
# neutrals 0.72 and more.
OPEN_BESIDE, SHARE_BESIDE = 0.7, (0.66, 0.56)
# That decides of an eye of whose opening so much is unlike skin, from surely open to in doubt: of shut eyes of 6 winks
# 0.67 at most is, of 3 eyes half-way to a wink (`synth`) 0.78 and more, of 16 of the 20 open ones of the neutrals 0.83.
IN_DOUBT = (0.76, 0.68)
# Of so low an eye the opening that is drawn is lashes and shade as well as iris.  What lies where an open eye would be
# tells: how far that reaches above and below the line between the corners, in shares of its length (people's eyes are
# open by 0.2 to 0.35 of it), how much larger it is where skin begins, and where that is learnt:
# mm above, shares below and along it.
OPEN_ABOVE, OPEN_BELOW, AROUND_OPEN = 0.14, 0.09, 1.9
LEARNT_ABOVE_MM, LEARNT_BELOW, LEARNT_ALONG = 2.0, 0.6, 0.6
# The share of that place that has an eye's hue, from an eye that is surely there to surely none, of one
# that looks closed, and of a low one whose colour is unlike the skin around.  Reasoned, not tuned.
THERE, ABSENT, LEAST_SEEN = (0.6, 0.45), (0.35, 0.2), 0.5
LID_INSIDE_MM, AROUND_MM = 0.4, (2.0, 6.0)  # of the networks' eye; the skin around it
# Where the lids' line may lie beside the middle between the networks' lids: above, below.  They draw a closed eye on
# the upper lid, and above that comes the fold in the socket.
ABOVE_MM, BELOW_MM = 1.0, 7.0
CORE_MM, FLANK_MM = (
    0.5,
    (1.0, 2.5),
)  # the line is dark over this half width beside what lies so far to either side
SMOOTH_MM = 1.0  # along the line
DARK, CREASE = 0.15, 0.3  # natural logarithm of brightness, 1/mm: what counts as much as the other
LINE = (0.8, 1.4)  # of both together: evidence from none to all of it
UNSHOWN_SHARE = 0.3  # what lids are worth of an eye that is closed and shows no such line
# They meet so far below the line between the corners, a third and two thirds along it, in shares of its length: the
# lower lid of the embedded template lies at 0.13, MakeHuman's shut lids meet at 0.15.
SAG = 0.14
# How closed an eye is, from which on, and to which, lids go there without a line; and how far they go so for them to be
# called a guess.  Reasoned, not tuned: what is likelier open is not moved on no more than a guess, and lids that move
# by less than half of the way are rather as they were found.
SURELY_CLOSED, GUESSED = (0.5, 1.0), 0.5
# Holes in an eye, in shares of it, from none that hide its line to such as do.  Reasoned: the line is a tenth of what
# is drawn of a shut eye.
HIDDEN = (0.05, 0.15)
MOVE_COST, NEARER_PER_MM = 0.2, 0.02
CORNERS, LIDS, UPPER = [0, 3], [1, 2, 4, 5], [1, 2]


class Lids(NamedTuple):
    """Lids that were followed.

    Attributes:
        points: (68, 3) landmarks, mm: those of eyes that are holes on their rims, those of closed ones on the line
            between the lids, or where such lids mostly meet.
        evidence: (68,) 0 to 1, that the scan shows it.
        share: (68,) what points are worth without such evidence, 1 but for lids of closed eyes.
        guessed: groups of `landmarks.GROUPS` of eyes that are closed and do not show where their lids meet.
    """

    points: Floats
    evidence: Floats
    share: Floats
    guessed: tuple[str, ...]


def follow_lids(scene: Scene, points: Floats, pose: Floats) -> Lids:
    """Landmarks (68, 3) with lids where the scan has them, or mostly has where it does not show them.

    A point goes a share of the way as great as the evidence for a hole, or for a closed eye.

    Args:
        scene: a scan with colours; without, nothing is followed (see creases.py).
        points: (68, 3) mm, scan frame, finite for eyes.
        pose: (4, 4) of the head, head -> scan.
    """
    if not scene.textured:
        return Lids(points.copy(), np.zeros(N_LANDMARKS), np.ones(N_LANDMARKS), ())
    share, line = np.ones(N_LANDMARKS), np.ones(N_LANDMARKS)
    rows = np.arange(N_LANDMARKS)
    guessed: list[str] = []
    shown: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    looks: dict[str, Look] = {}
    for group, yaw in EYES:
        part = points[GROUPS[group]]
        camera = camera_before(part, pose, yaw, EYE_MM)
        shown[group] = picture, depth = scene.shown(camera)
        looks[group] = look_of(picture, np.isnan(depth), camera.project(part))
    beside = dict(zip(looks, reversed(looks.values()), strict=True))

    def read(group: str, camera: Camera, marks: Floats) -> Reading:
        picture, depth = shown[group]
        if np.isnan(depth).all():
            return depth, marks, np.zeros(len(marks))
        lids = rows[GROUPS[group]][LIDS]
        found, worth = hole_lids(np.isnan(depth), marks)
        closed = closed_share(looks[group], beside[group])
        shut, clear = closed_lids(picture, depth, marks, closed)
        # skin where the networks draw the eye: a hole that is hardly an eye's is none
        closed *= 1 - float(ramp(float(worth.max()), SURE_HOLE))
        worth *= 1 - closed
        if closed > worth.max():
            unshown = float(ramp(closed, SURELY_CLOSED)) * (1 - clear)
            # shut lids that no hole hides show their line; hair before an eye leaves it as open as it is
            moved = closed * clear + unshown * float(ramp(looks[group].empty, HIDDEN))
            found, worth = shut, np.zeros(len(marks))
            worth[LIDS] = moved
            line[lids] = closed * clear / max(moved, 1e-12)
            if unshown > GUESSED:
                guessed.append(group)
        share[lids] = 1 - closed * (1 - UNSHOWN_SHARE)
        return depth, found, worth

    found, moved = followed(points, pose, [(group, yaw, partial(read, group)) for group, yaw in EYES])
    return Lids(found, moved * line, share, tuple(guessed))


def hole_lids(empty: Bools, marks: Floats) -> tuple[Floats, Floats]:
    """An eye's points (6, 2) px, in iBUG's order, on the rim of the hole that the eye is, and the evidence (6,) for it,
    0 to 1; none where no hole has the size and the place of an eye.

    Args:
        empty: (height, width) True where no scan is seen, of `creases.PIXELS_PER_MM`; marks: (6, 2) px as a detector
            has them.
    """
    found, worth = marks.copy(), np.zeros(len(marks))
    axis = marks[3] - marks[0]
    length = float(np.linalg.norm(axis))
    if not length > 0:
        return found, worth
    frame = np.stack([axis, [-axis[1], axis[0]]]) / length  # along the eye, and downwards
    hole, sure = _eye_hole(empty, marks[0], frame, length)
    if hole is None:
        return found, worth
    start, top, bottom = _runs(hole)
    # a slit goes on beyond a corner
    high = np.flatnonzero(bottom - top > SLIT_MM * PIXELS_PER_MM)
    if len(high) < 4:
        return found, worth
    top, upper_off = _rim(top[high], high, -1.0)
    bottom, lower_off = _rim(bottom[high], high, 1.0)
    ends = np.array([high[0], high[-1] + 1]) + float(start)
    # an end far beyond the networks' corner is that of another hole, which this one runs into
    at_end = ramp(np.array([-1, 1]) * (ends - [0.0, length]) / PIXELS_PER_MM, FURTHER_MM)
    from_, to = at_end * ends + (1 - at_end) * [0.0, length]
    shares = np.clip((marks - marks[0]) @ frame[0] / length, 0, 1)
    x = from_ + shares * (to - from_)
    # a hole goes on beyond the corners: along the eye the networks are right, across it the paint misleads them
    x[CORNERS] = [0.0, length]
    column = np.clip(x - 0.5 - start, high[0], high[-1])
    y = np.where(
        np.isin(np.arange(len(marks)), UPPER), *(np.interp(column, high, rim) for rim in (top, bottom))
    )
    width = round(END_MM * PIXELS_PER_MM)
    for k, part in ((0, slice(0, width)), (3, slice(-width, None))):
        y[k] = (top[part] + bottom[part]).mean() / 2
    upper_sure, lower_sure = ramp(np.array([upper_off, lower_off]) / PIXELS_PER_MM, FRAYED_MM)
    worth[:] = sure * np.where(np.isin(np.arange(len(marks)), UPPER), upper_sure, lower_sure)
    worth[CORNERS] = sure * min(upper_sure, lower_sure) * at_end
    return np.stack([x, y], axis=1) @ frame + marks[0], worth


def _runs(hole: Floats) -> tuple[int, Floats, Floats]:
    """First column of a hole's pixels (n, 2), and in each column the upper and the lower end (m,) of its longest
    stretch: beside it lie slits and slivers."""
    columns, rows = np.floor(hole[:, 0]).astype(int), np.floor(hole[:, 1]).astype(int)
    low = np.array([columns.min(), rows.min()])
    width, height = np.array([columns.max(), rows.max()]) - low + 1
    filled = np.zeros((height, width), bool)
    filled[rows - low[1], columns - low[0]] = True
    # pixels that are turned leave gaps
    filled = ndimage.binary_closing(np.pad(filled, 2), np.ones((3, 3)))[2:-2, 2:-2]
    top, bottom = np.zeros(width), np.zeros(width)
    changes = np.diff(np.pad(filled.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (column, first), (_, last) = np.nonzero(changes > 0), np.nonzero(changes < 0)
    # column by column, the longest first, of equal ones the upper one
    order = np.lexsort((first, first - last, column))
    at, longest = np.unique(column[order], return_index=True)
    top[at], bottom[at] = (rows[order[longest]] + low[1] for rows in (first, last))
    return int(low[0]), top, bottom


def _rim(rim: Floats, at: Longs, outwards: float) -> tuple[Floats, float]:
    """A rim (m,) px at columns (m,) as an almond has it, without the holes that the eye's runs into: these lie
    outwards (-1 up, 1 down); and how far, px, half of it lies off that at least.

    A polynomial by quantile regression (Koenker and Bassett 1978), iteratively reweighted.
    """
    t = 2 * (at - at[0]) / max(int(at[-1] - at[0]), 1) - 1
    terms = np.polynomial.chebyshev.chebvander(t, RIM_DEGREE)
    weights = np.ones(len(rim))
    fitted = rim
    for _ in range(RIM_ROUNDS):
        root = np.sqrt(weights)[:, None]
        fitted = terms @ np.linalg.lstsq(terms * root, rim * root[:, 0], rcond=None)[0]
        off = outwards * (rim - fitted)
        weights = np.where(off > 0, INWARDS, 1 - INWARDS) / np.maximum(np.abs(off), 0.5)
    return np.asarray(fitted), float(np.median(np.abs(rim - fitted)))


def _eye_hole(empty: Bools, corner: Floats, frame: Floats, length: float) -> tuple[Floats | None, float]:
    """Pixels (n, 2) of the hole most likely to be an eye, in a frame (2, 2) along it and downwards from its corner (2,)
    px, and how likely it is one, 0 to 1.

    Args:
        length: px, of the networks' eye.
    """
    parts, _ = ndimage.label(empty)
    sizes = np.bincount(parts.ravel())
    best, most = None, 0.0
    for k, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        inner = (
            rows.start > 0 and columns.start > 0 and rows.stop < len(empty) and columns.stop < empty.shape[1]
        )
        if not inner or sizes[k] < LEAST_AREA * length**2:
            continue  # what goes on beyond the picture is more than an eye
        y, x = np.nonzero(parts[rows, columns] == k)
        hole = (np.stack([x + columns.start, y + rows.start], axis=1) + 0.5 - corner) @ frame.T
        low, high = hole.min(axis=0), hole.max(axis=0)
        wide, tall = (high - low + 1).tolist()  # from border to border of pixels
        beside, below = (((low + high) / 2 - [length / 2, 0.0]) / PIXELS_PER_MM).tolist()
        likely = min(
            float(ramp(value, bounds))
            for value, bounds in (
                (wide / length, SHORT),
                (wide / length, LONG),
                (tall / wide, TALL),
                (len(x) / (wide * tall), FULL),
                (abs(beside), ASIDE_MM),
                (-below, HIGHER_MM),
                (below, LOWER_MM),
            )
        )
        if likely > most:
            best, most = hole, likely
    return best, most


def closed_lids(
    picture: NDArray[np.float32], depth: NDArray[np.float32], marks: Floats, closed: float
) -> tuple[Floats, float]:
    """An eye's points (6, 2) px where its lids meet when it is closed: on the line that shows there, or, the less one
    does, where shut lids mostly meet; and how clearly the line shows, 0 to 1.

    Args:
        picture: (height, width, 3) RGB in [0, 255]; depth: (height, width) mm towards the camera, NaN where it shows no
            scan; both of `creases.PIXELS_PER_MM`.
        marks: (6, 2) px as a detector has them.
        closed: 0 to 1; nothing is looked for on an open eye.
    """
    found = _shut(marks)
    upper, lower = marks[[1, 2]], marks[[5, 4]]
    line = np.concatenate([marks[:1], (upper + lower) / 2, marks[3:4]])
    strip = straightened(depth, line, 0.0, BELOW_MM + FLANK_MM[1] + STEP_MM) if closed > 0 else None
    if strip is None:
        return found, 0.0
    core, near, far = (round(x / STEP_MM) for x in (CORE_MM, *FLANK_MM))
    brightness = np.log(picture.mean(axis=2) + BLACK)
    band = smoothed(strip.sampled(brightness), strip.missing, SMOOTH_MM / STEP_MM)
    middle = means(band, -core, core, far)
    dark = np.minimum(means(band, -far, -near, far), means(band, near, far, far)) - middle
    crease = np.clip(means(strip.curvature, -core, core, far), 0, 2 * CREASE)
    whole = means(strip.missing.astype(np.float32), -near, near, far) < 1e-6
    score = np.where(whole, np.clip(dark, 0, 2 * DARK) / DARK + crease / CREASE, 0.0)
    offsets = strip.offsets[far:-far]
    allowed = (offsets >= -ABOVE_MM) & (offsets <= BELOW_MM)
    # the line leaves from the corners, which the networks have: it bows between them
    at = np.linspace(0, 1, len(score))
    reach = np.clip(1.5 + 14.0 * np.minimum(at, 1 - at), 0, BELOW_MM)[:, None]
    sloped = np.where(allowed & (np.abs(offsets) <= reach), score - NEARER_PER_MM * np.abs(offsets), -10.0)
    path = ridge(sloped, MOVE_COST)
    rows = np.arange(len(path))
    along = ndimage.uniform_filter1d(offsets[path], 5)
    strength = float(np.median(score[rows, path][len(path) // 5 : -len(path) // 5]))
    at_rows = strip.rows_of(marks[LIDS])
    clear = float(ramp(strength, LINE))
    found[LIDS] += clear * (strip.at(at_rows, along[at_rows]) - found[LIDS])
    return found, clear


def _shut(marks: Floats) -> Floats:
    """An eye's points (6, 2) px with its lids where shut ones mostly meet; see `SAG`."""
    found = marks.copy()
    axis = marks[3] - marks[0]
    down = np.array([-axis[1], axis[0]])  # as long as the eye
    square = max(float(axis @ axis), 1e-12)
    along = np.clip((marks[LIDS] - marks[0]) @ axis / square, 0, 1)[:, None]
    # a parabola between the corners
    found[LIDS] = marks[0] + along * axis + SAG * 4.5 * along * (1 - along) * down
    return found


class Look(NamedTuple):
    """What an eye looks like where a detector has it.

    Attributes:
        unlike: share, 0 to 1, of its opening that has not the colour of the skin around, or is a hole; NaN where too
            little is seen.
        height: mm, the opening's.
        empty: share, 0 to 1, of its opening that is a hole.
        there: share, 0 to 1, of the place of an open eye that has not the hue of skin; NaN where too little is seen.
    """

    unlike: float
    height: float
    empty: float = 0.0
    there: float = float("nan")


def closed_share(eye: Look, beside: Look) -> float:
    """How closed an eye is, 0 to 1: what is drawn as its opening has the colour of the skin around, or leaves it in
    doubt and shows much less of another one than the eye beside it; or it is low, and where an open eye would be there
    is skin.  Where that is not skin's hue, no eye is closed.

    An eye that is narrowed shows less of one, too, but all that is drawn of it is white and iris.
    """
    low = float(ramp(eye.height, CLOSED_MM))
    closed = low if not np.isfinite(eye.unlike) else float(ramp(eye.unlike, OPEN_SHARE))
    if (
        np.isfinite(eye.unlike) and beside.unlike >= OPEN_BESIDE and beside.height > CLOSED_MM[0]
    ):  # NaN is not
        share = eye.unlike * eye.height / (beside.unlike * beside.height)
        closed = max(closed, float(ramp(share, SHARE_BESIDE)) * float(ramp(eye.unlike, IN_DOUBT)))
    if np.isfinite(eye.there):
        closed = max(closed, low * float(ramp(eye.there, ABSENT))) * float(ramp(eye.there, THERE))
    return closed


def look_of(picture: NDArray[np.float32], empty: Bools, marks: Floats) -> Look:
    """What an eye looks like.

    Args:
        picture, marks: see `closed_lids`; empty: (height, width) True where it shows no scan.
    """
    upper, lower = marks[[1, 2]], marks[[5, 4]]
    height = float(np.linalg.norm(lower - upper, axis=1).mean()) / PIXELS_PER_MM
    cv2 = opencv()
    inside = np.zeros(empty.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(marks).astype(np.int32)], 1)

    def grown(mm: float) -> Bools:
        size = 2 * round(abs(mm) * PIXELS_PER_MM) + 1
        ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        return np.asarray((cv2.dilate if mm > 0 else cv2.erode)(inside, ball) > 0)

    near, far = AROUND_MM
    opening = grown(-LID_INSIDE_MM)
    unlike = None
    if opening.sum() >= LEAST_PIXELS:
        unlike = distance_from(picture, grown(far) & ~grown(near) & ~empty, opening)
    there = _eye_there(picture, empty, marks)
    if unlike is None:
        return Look(np.nan, height, there=there)
    return Look(
        float((empty | (unlike > UNLIKE))[opening].mean()), height, float(empty[opening].mean()), there
    )


def _eye_there(picture: NDArray[np.float32], empty: Bools, marks: Floats) -> float:
    """See `Look.there`; arguments as of `look_of`."""
    axis = marks[3] - marks[0]
    length = float(np.linalg.norm(axis))
    if not length > 0:
        return float("nan")
    y, x = np.indices(empty.shape)
    away = (np.stack([x, y], axis=-1) - (marks[0] + marks[3]) / 2) @ np.stack([axis, [-axis[1], axis[0]]]).T
    along, down = away[..., 0] / length**2, away[..., 1] / length**2
    arch = 1 - (2 * along) ** 2
    seen = ~empty
    inside = (down > -OPEN_ABOVE * arch) & (down < OPEN_BELOW * arch)
    wide = 1 - (2 * along / AROUND_OPEN) ** 2
    beyond = (down < -AROUND_OPEN * OPEN_ABOVE * wide) | (down > AROUND_OPEN * OPEN_BELOW * wide)
    near = (np.abs(along) < LEARNT_ALONG) & (down < LEARNT_BELOW)
    near &= down > -LEARNT_ABOVE_MM * PIXELS_PER_MM / length
    skin = seen & beyond & near
    mine = inside & seen
    if mine.sum() < LEAST_SEEN * inside.sum():
        return float("nan")
    return eye_share(picture, mine, skin, LEAST_PIXELS)
