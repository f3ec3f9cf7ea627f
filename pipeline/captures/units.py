"""Which unit and which axes a capture or a template is in, from the size of the head and where its parts lie.

One decision per sequence.  The tables and the rules of this module are the only ones: what reads or checks a
unit or an axis asks here.

With landmarks the evidence is the distance between the eye centres, which on people of all ages lies within a
factor of two (Dodgson 2004, "Variation and extrema of human interpupillary distance": adults 52-78 mm,
children from 40 mm).  Without, it is the scan's outer extent, which lies within a factor of eight between a
bare face and head and shoulders: enough to tell mm, cm, m and um apart, not inches.  What fits no unit is an
error with the way out, never a guess: a wrong scale would pass every later test and spoil the statistics of
the whole database.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import ConfigError, FrameRejected, InputError
from mimicme.pipeline.geometry.mesh import Mesh, largest_extent, transform, triangle_normals
from mimicme.pipeline.landmarks import GROUPS, NOSE_TIP, eye_centres, eye_distance

# The names that a user may give, and what they are in millimetres.
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "in": 25.4}
AXES = ("+x", "-x", "+y", "-y", "+z", "-z")

# Eye centres of people from one year on, with room for wide annotations.  The two ends stand closer than any
# two of the units (a factor of 2.54), so at most one unit fits.
EYES_MM = (40.0, 85.0)
# Adults' and older children's; outside of it a capture may as well be in a unit of its own.
USUAL_EYES_MM = (50.0, 76.0)
EXTENT_MM = (100.0, 800.0)  # from half a child's face to head and shoulders
SEEN_BY_EXTENT = ("mm", "cm", "m", "um")  # intervals that do not overlap; inches would overlap with cm
# What a declared unit may come to before it is called wrong: only a unit's factor can miss this.
DECLARED_EXTENT_MM = (40.0, 2500.0)
MEAN_EYES_MM = 63.0
# Scans from a face's skin alone to a head with neck; and between the two, what a wrong size is brought to.
USUAL_EXTENT_MM = (150.0, 400.0)
TYPICAL_EXTENT_MM = 200.0
# What is smaller than a head and larger than this may be a part of a face; reasoned: brows to chin are some 110 mm.
PART_OF_FACE_MM = 90.0
BUST_EXTENT_MM = 380.0
_HOW = "unit = NUMBER under [captures] in mimicme.toml, or --unit NUMBER when a workspace is made (`in` for inches)"
# Frames of one sequence differ in extent by what the cameras saw, at most about 2; units by 10 or more.
EXTENT_RATIO = 4.0
EYES_RATIO = 1.8
# A person's eyes stay as far apart: beyond SCALE_RATIO wide landmarks do not explain it, and where the scan has grown
# or shrunk alike, within SCALE_AGREES, what the cameras saw does not either.
SCALE_RATIO, SCALE_AGREES = 1.15, 1.1
# |sum of area vectors| / area: 0.3 to 0.6 for scans of a face, below 0.2 for a head that is open at the neck.
FACING_STRENGTH = 0.25


@dataclass(frozen=True)
class Evidence:
    """What one scan, in file units and axes, says about its size and its axes.

    Attributes:
        extent: largest of the three extents, between the 1st and 99th percentile of the vertices.
        center: (3,) median of the vertices.
        facing: (3,) mean outward direction, length from 0 (closed) to 1 (flat).
        eyes: distance of the eye centres; NaN without landmarks.
        axes: (3, 3) rows: unit directions to the subject's left, up and forward, from landmarks; or None.
        mirrored: the landmarks' nose points backwards: the file's axes are left-handed, or its sides swapped.
        inward: most of its triangles were wound inwards in the file, as in one whose axes were mirrored.
    """

    extent: float
    center: Floats
    facing: Floats
    eyes: float = math.nan
    axes: Floats | None = None
    mirrored: bool = False
    inward: bool = False


@dataclass(frozen=True)
class UnitDecision:
    """The unit of a sequence.

    Attributes:
        unit: a name of `UNITS_MM`, or the number of millimetres as text.
        unit_mm: millimetres per unit of the file.
        sentence: how it was decided, for the user.
        remark: what is unusual about the size that follows from it; mostly empty.
    """

    unit: str
    unit_mm: float
    sentence: str
    remark: str = ""


@dataclass(frozen=True)
class AxesDecision:
    """The axes of a sequence.

    Attributes:
        up: the file's axis that points up, one of `AXES`.
        rotation: (3, 3) file axes to x left, y up, z forward; a proper rotation unless `mirrored`.
        sentence: how it was decided, for the user.
        mirrored: the files are mirror images, and `rotation` mirrors them back.
        doubtful: landmarks say that they are, and nothing else does.
    """

    up: str
    rotation: Floats
    sentence: str
    mirrored: bool = False
    doubtful: bool = False


def gather(mesh: Mesh, landmarks: Floats | None = None, inward: bool = False) -> Evidence:
    """Evidence of one cleaned scan.

    Args:
        mesh: in file units and axes.
        landmarks: (68, 3) in the same, NaN where absent; or None.  Landmarks whose eye distance cannot belong
            to a scan of this size are left out of account.
        inward: most of its triangles were wound inwards in the file; in `mesh` they are wound outwards.
    """
    used = mesh.vertices[np.unique(mesh.faces)]
    extent = largest_extent(used)
    if extent <= 0:
        raise FrameRejected(
            "degenerate", "all vertices of the scan lie in one place", seen=f"extent {extent:g}"
        )
    normals, areas = triangle_normals(mesh.vertices, mesh.faces)
    facing = (normals * areas[:, None]).sum(0) / max(float(areas.sum()), 1e-300)
    plain = Evidence(extent, np.median(used, axis=0), facing, inward=inward)
    if landmarks is None:
        return plain
    apart = float(np.linalg.norm(np.subtract(*eye_centres(landmarks))))  # of whatever is given of each eye
    if not (np.isfinite(apart) and extent / 30 < apart < extent / 1.2):
        return plain
    eyes = eye_distance(landmarks)
    axes, mirrored = face_axes(landmarks)
    return replace(plain, eyes=eyes, axes=axes, mirrored=mirrored)


def face_axes(landmarks: Floats) -> tuple[Floats | None, bool]:
    """Directions of a face by its (68, 3) landmarks, and whether it is mirrored.

    Returns:
        (3, 3) unit directions, row by row, to the subject's left, up and forward; None when eyes, mouth or
        nose tip are absent or lie where no face has them.  True when the nose points backwards.
    """
    right_eye, left_eye = eye_centres(landmarks)  # the image's left eye is the subject's right
    mouth, nose = _mean_point(landmarks[GROUPS["mouth"]]), landmarks[NOSE_TIP]
    eyes, middle = float(np.linalg.norm(left_eye - right_eye)), (right_eye + left_eye) / 2
    if not (np.isfinite(mouth).all() and np.isfinite(nose).all() and eyes > 0):
        return None, False
    x = (left_eye - right_eye) / eyes
    up = middle - mouth
    up = up - (up @ x) * x
    length = float(np.linalg.norm(up))
    if not length > 0.3 * eyes:
        return None, False
    y = up / length
    z = np.cross(x, y)
    mirrored = bool((nose - (middle + mouth) / 2) @ z < 0)
    return np.stack([x, y, -z if mirrored else z]), mirrored


def _mean_point(points: Floats) -> Floats:
    points = points[np.isfinite(points).all(axis=1)]
    return points.mean(axis=0) if len(points) else np.full(3, np.nan)


def parse_unit(text: str) -> float | None:
    """Millimetres per unit of a declared unit; None for `auto`.

    Raises:
        ConfigError: neither a name nor a positive number.
    """
    text = text.strip()
    if text.lower() == "auto":
        return None
    if text.lower() in UNITS_MM:
        return UNITS_MM[text.lower()]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(
            "the unit is not known",
            seen=repr(text),
            expected=f"auto, {', '.join(UNITS_MM)} or a number of millimetres",
        )
    return number


def decide_unit(
    evidence: Sequence[Evidence], declared: str = "auto", where: object = None, how: str = "as declared"
) -> UnitDecision:
    """The unit of a sequence: as declared, or the one that most frames fit (the more common one on a tie).

    Args:
        evidence: of some or all frames; at least one unless a unit is declared.
        how: what declared it, for the sentence.

    Raises:
        ConfigError: `declared` is no unit.
        InputError: no unit makes a human head of it.
    """
    unit_mm = parse_unit(declared)
    if unit_mm is not None:
        name = declared.strip().lower()
        name = name if name in UNITS_MM else f"{unit_mm:g}"
        known = [e.eyes for e in evidence if math.isfinite(e.eyes)]
        remark = size_remark(_median(known), unit_mm) if known else ""
        size = (
            f"; the scan measures {_median([e.extent for e in evidence]) * unit_mm:.0f} mm"
            if evidence
            else ""
        )
        return UnitDecision(name, unit_mm, f"{name} {how}{size}", remark)
    if not evidence:
        return UnitDecision("mm", 1.0, "mm assumed: no frame could be read")
    votes = Counter(filter(None, map(_unit_of, evidence)))
    if not votes:
        raise _no_unit(evidence, where)
    best = max(votes.values())
    unit = next(name for name in UNITS_MM if votes[name] == best)
    fitting = [e for e in evidence if _unit_of(e) == unit]
    unit_mm = UNITS_MM[unit]
    eyes = [e.eyes for e in fitting if math.isfinite(e.eyes)]
    if eyes:
        why = f"the eyes are {_median(eyes):.4g} apart in the file, {_median(eyes) * unit_mm:.0f} mm"
        remark = size_remark(_median(eyes), unit_mm)
    else:
        extent = _median([e.extent for e in fitting])
        why = f"the scan measures {extent:.4g} in the file, {extent * unit_mm:.0f} mm (no landmarks to go by)"
        remark = ""  # align knows more once landmarks are found
    return UnitDecision(unit, unit_mm, f"{unit}: {why}", remark)


def size_remark(eyes: float, unit_mm: float) -> str:
    """What to say of eye centres so far apart (file units); empty when that is usual."""
    apart = eyes * unit_mm
    if not math.isfinite(apart) or USUAL_EYES_MM[0] <= apart <= USUAL_EYES_MM[1]:
        return ""
    return (
        f"unusual size: the eyes are {apart:.0f} mm apart, {USUAL_EYES_MM[0]:g} to {USUAL_EYES_MM[1]:g} are usual; "
        f"unless this is {'a small child' if apart < USUAL_EYES_MM[0] else 'so large a head'}, "
        f"`--unit {MEAN_EYES_MM / eyes:.4g}` in a workspace of its own makes it average ({MEAN_EYES_MM:g} mm)"
    )


class HeadSize(NamedTuple):
    """Size of a scan, for the user: what it is, what is usual, and what to do where it is not that (mostly empty)."""

    seen: str
    usual: str
    todo: str


def head_size(extent: float, unit_mm: float) -> HeadSize:
    """What to say of the size of a scan on which no face is found.

    Args:
        extent: its largest extent, file units, as of `Evidence`; unit_mm: millimetres per unit of the file.
    """
    size, (least, most) = extent * unit_mm, USUAL_EXTENT_MM
    todo = ""
    if extent > 0 and not least <= size <= most:
        cut_off = PART_OF_FACE_MM <= size < least
        cut = "a face that is cut off at the brows or the mouth is not found; " if cut_off else ""
        todo = (
            f"It is {'small' if size < least else 'large'} for a head: {cut}unless that is its true size, try "
            f"`--unit {TYPICAL_EXTENT_MM / extent:.3g}` in a workspace of its own, which makes it "
            f"{TYPICAL_EXTENT_MM:g} mm."
        )
    return HeadSize(
        f"a scan that measures {size:.0f} mm, with {unit_mm:.4g} mm for a unit of its file",
        f"{least:g} to {most:g} mm from face to head and neck",
        todo,
    )


def _unit_of(evidence: Evidence) -> str | None:
    """The one named unit that makes a human head of this scan."""
    if math.isfinite(evidence.eyes):
        return unit_of_eyes(evidence.eyes)
    fits = [u for u in SEEN_BY_EXTENT if EXTENT_MM[0] <= evidence.extent * UNITS_MM[u] <= EXTENT_MM[1]]
    return fits[0] if len(fits) == 1 else None


def unit_of_eyes(distance: float) -> str | None:
    """The named unit in which eye centres so far apart, in file units, are a person's; None when none is."""
    fits = [u for u, mm in UNITS_MM.items() if EYES_MM[0] <= distance * mm <= EYES_MM[1]]
    return fits[0] if len(fits) == 1 else None


def _no_unit(evidence: Sequence[Evidence], where: object) -> InputError:
    eyes = [e.eyes for e in evidence if math.isfinite(e.eyes)]
    extent = _median([e.extent for e in evidence])
    by_extent = Counter(filter(None, (_unit_of(replace(e, eyes=math.nan)) for e in evidence)))
    if eyes and by_extent:
        apart = _median(eyes)
        seen = f"eyes {apart:.4g} apart by the landmark files, on a scan of {extent:.4g}"
        todo = (
            f"The scan by itself is a head in {by_extent.most_common(1)[0][0]}, so the landmarks are probably in "
            "another order than iBUG-68, or of something else: correct or remove them. If they are right, say how many "
            f"millimetres a unit is: {_HOW} ({MEAN_EYES_MM / apart:.4g} if the eyes are {MEAN_EYES_MM:g} mm apart)."
        )
    elif eyes:
        apart = _median(eyes)
        seen = f"eyes {apart:.4g} apart"
        todo = (
            f"Say how many millimetres a unit is: {_HOW} ({MEAN_EYES_MM / apart:.4g} if they are "
            f"{MEAN_EYES_MM:g} mm apart), or correct the landmarks."
        )
    else:
        seen = f"a scan of {extent:.4g}"
        whole = [
            name for name in SEEN_BY_EXTENT if EXTENT_MM[1] < extent * UNITS_MM[name] <= DECLARED_EXTENT_MM[1]
        ]
        more = (
            'If more than a head is in it (a whole person, a wall, a chair), it is in {0}: unit = "{0}" '
            "under [captures] in mimicme.toml, or `--unit {0}` when a workspace is made. Else: "
        )
        todo = (
            f"{more.format(whole[0]) if whole else ''}Say how many millimetres a unit is: {_HOW}. It is 63 divided "
            f"by the distance between the pupils in the file. If the scan is a face alone, that is about "
            f"{TYPICAL_EXTENT_MM / extent:.3g}, if it is head and shoulders, {BUST_EXTENT_MM / extent:.3g}."
        )
    return InputError(
        "the unit of the capture cannot be told: in none of mm, cm, m, um it has the size of a person's face",
        where=where,
        seen=seen,
        todo=todo,
    )


def check_frame(evidence: Evidence, reference: Sequence[Evidence], unit: UnitDecision) -> None:
    """Refuse a frame whose size is another than its sequence's, by a unit's factor or a scale, or no head's at all.

    Args:
        evidence: of the frame; reference: of the frames the sequence's unit was decided by.

    Raises:
        FrameRejected: `unit-mismatch`.
    """
    size_mm = evidence.extent * unit.unit_mm
    alike = [e for e in reference if _unit_of(e) == unit.unit] or list(reference)
    typical_mm = _median([e.extent for e in alike]) * unit.unit_mm
    ratio = evidence.extent * unit.unit_mm / typical_mm
    eyes = [e.eyes for e in alike if math.isfinite(e.eyes)]
    eyes_ratio = evidence.eyes / _median(eyes) if eyes and math.isfinite(evidence.eyes) else 1.0
    off = max(ratio, 1 / ratio) > EXTENT_RATIO or (
        max(eyes_ratio, 1 / eyes_ratio) > EYES_RATIO and max(ratio, 1 / ratio) > EYES_RATIO
    )
    if off:
        raise FrameRejected(
            "unit-mismatch",
            "the frame has another size than its sequence, as if it were in another unit",
            seen=f"{size_mm:.4g} mm if in {unit.unit}",
            expected=f"about {typical_mm:.0f} mm",
            todo="Export the frame in the unit of its sequence, or give it a sequence of its own.",
        )
    both = (ratio, eyes_ratio) if eyes_ratio > 1 else (1 / ratio, 1 / eyes_ratio)
    if min(both) > SCALE_RATIO and max(both) < SCALE_AGREES * min(both):
        raise FrameRejected(
            "unit-mismatch",
            "the frame has another scale than its sequence: scan and landmarks alike are larger or smaller",
            seen=f"eyes {evidence.eyes * unit.unit_mm:.1f} mm apart, {eyes_ratio:.2f} times the sequence's",
            expected=f"about {_median(eyes) * unit.unit_mm:.1f} mm",
            todo="Export all frames of the subject in one scale.",
        )
    if not DECLARED_EXTENT_MM[0] <= size_mm <= DECLARED_EXTENT_MM[1]:
        raise FrameRejected(
            "unit-mismatch",
            "in the declared unit the scan has not the size of a person's head",
            seen=f"{size_mm:.4g} mm",
            expected=f"{DECLARED_EXTENT_MM[0]:g} to {DECLARED_EXTENT_MM[1]:g} mm",
            todo='Correct `unit` in [captures] of mimicme.toml (or unit = "auto"); captures in another unit need a '
            "workspace of their own.",
        )


def _median(values: Sequence[float]) -> float:
    """The lower median: always a value that was seen."""
    return sorted(values)[(len(values) - 1) // 2]


# ------------------------------------------------------------------------------------------------ axes


def _unit_vector(axis: str) -> Floats:
    vector = np.zeros(3)
    vector["xyz".index(axis[1])] = 1.0 if axis[0] == "+" else -1.0
    return vector


def nearest_axes(axes: Floats, ups: Sequence[str] = AXES) -> tuple[str, str]:
    """The axes of the file nearest to a face's up and forward, at right angles.

    Args:
        axes: (3, 3) as of `face_axes`; only up and forward count: on a mirrored file left would contradict.
        ups: the axes that may be up.
    """
    choices = [(up, forward) for up, forward in itertools.product(ups, AXES) if up[1] != forward[1]]
    return max(choices, key=lambda c: float(axes[1] @ _unit_vector(c[0]) + axes[2] @ _unit_vector(c[1])))


def rotation_of(up: str, forward: str) -> Floats:
    """(3, 3) proper rotation that brings the file's `up` to +y and its `forward` to +z."""
    y, z = _unit_vector(up), _unit_vector(forward)
    return np.stack([np.cross(y, z), y, z])


MIRROR_X = np.diag([-1.0, 1.0, 1.0])

# Where a face looks when only its up axis is known: what the programs that use that axis do.
_USUAL_FORWARD = {"+y": "+z", "-y": "+z", "+z": "-y", "-z": "+y", "+x": "+z", "-x": "+z"}


def decide_axes(
    evidence: Sequence[Evidence], declared: str = "auto", mirrored: str = "auto", how: str = "as declared"
) -> AxesDecision:
    """Which of the file's axes point up and forward, for a sequence.

    With landmarks: the axes nearest to eyes-above-mouth and nose-forward, averaged over the frames.  Without,
    +y is up unless declared otherwise, or unless an open scan looks along -y, as in programs that have z up.

    Landmarks alone cannot tell a mirrored file from one whose left is the subject's own.  Triangles wound inwards are
    the second witness: an exporter that mirrors an axis and leaves the triangles turns them inside out.

    Args:
        mirrored: whether the files are mirror images: `yes`, `no`, or `auto`: where both witnesses say so.
        how: what declared the axis, for the sentence.

    Raises:
        ConfigError: `declared` is neither `auto` nor one of `AXES`.
    """
    declared = declared.strip().lower()
    declared = f"+{declared}" if declared in ("x", "y", "z") else declared
    if declared != "auto" and declared not in AXES:
        raise ConfigError(
            "the up axis is not known", seen=repr(declared), expected=f"auto, {', '.join(AXES)}"
        )
    ups = AXES if declared == "auto" else (declared,)
    marked = [e for e in evidence if e.axes is not None]
    said = how if declared != "auto" else ""
    if marked:
        mean = np.sum([e.axes for e in marked if e.axes is not None], axis=0) / len(marked)
        up, forward = nearest_axes(mean, ups)
        sentence = f"{up} is up {said}" if said else f"{up} is up: the eyes lie above the mouth along it"
        sentence += f"; the nose points along {forward}"
        backwards = 2 * sum(e.mirrored for e in marked) > len(marked)
        inward = 2 * sum(e.inward for e in marked) > len(marked)
        if mirrored == "yes" or (mirrored == "auto" and backwards and inward):
            why = "as declared" if mirrored == "yes" else "its landmarks and its triangles both are"
            return AxesDecision(
                up,
                MIRROR_X @ rotation_of(up, forward),
                f"{sentence}; a mirror image, mirrored back ({why})",
                True,
            )
        if backwards:
            sentence += "; the landmarks say that the face is mirrored (left-handed axes, or sides swapped)"
        return AxesDecision(up, rotation_of(up, forward), sentence, doubtful=backwards)
    facing = np.mean([e.facing for e in evidence], axis=0) if evidence else np.zeros(3)
    strong = float(np.linalg.norm(facing)) > FACING_STRENGTH
    along = max(AXES, key=lambda a: float(facing @ _unit_vector(a)))
    guess = "+z" if strong and along == "-y" else "+y"
    up = guess if declared == "auto" else declared
    forward = _USUAL_FORWARD[up]
    seen = strong and along[1] != up[1]
    if seen:
        forward = along
    how = said or "assumed (no landmarks)"
    look = f"; the scan faces along {forward}" if seen else f"; {forward} taken as forward"
    if mirrored == "yes":
        look += "; a mirror image, mirrored back (as declared)"
        return AxesDecision(up, MIRROR_X @ rotation_of(up, forward), f"{up} is up {how}{look}", True)
    return AxesDecision(up, rotation_of(up, forward), f"{up} is up {how}{look}")


def file_from_scan(unit: UnitDecision, axes: AxesDecision, evidence: Sequence[Evidence]) -> Floats:
    """(4, 4) scan (mm, +y up) -> the file's units and axes.

    Only a capture that lies further than `FAR_MM` from its origin is moved, all frames alike: single
    precision would cost it its detail.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = axes.rotation.T / unit.unit_mm
    if evidence:
        middle = np.median([e.center for e in evidence], axis=0)
        if float(np.abs(middle).max()) * unit.unit_mm > FAR_MM:
            matrix[:3, 3] = middle
    return matrix


FAR_MM = 5000.0


def to_scan(matrix: Floats, points: Floats) -> Floats:
    """Points (n, 3) of the file in the scan frame, given `file_from_scan`."""
    scan_from_file = np.asarray(np.linalg.inv(matrix), np.float64)
    return transform(scan_from_file, points)
