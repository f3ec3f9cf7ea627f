"""Brows, eyes and nose of scans without colours, nose and inner corners of the eyes of all, by the shape of the whole
upper face.

The networks know brows by their hair and eyes by their white, and on a bare surface take a fold for the one and a
socket for the other: up to 17 mm off, on people of both makers of `synth`, and sure of it.  Forehead, sockets and nose
show where they are, as a whole if not one by one.  The template's upper face is put where most of the found points of
nose, eyes and mouth say that it is, and then laid onto the scan (like_places.py) with smooth deformations, cubic
polynomials in the place: a longer nose, deeper sockets, a face that is narrower above.  Its landmarks go along.  What a
brow is then is what the template's is: a place on the ridge above the eye, for no hair is seen.

With colours the networks know brows and lids better than that.  A nose has no colours of its own: of it, and of the
inner corners of the eyes beside it, the networks and the shape err by about as much, each in its own way, and what lies
between them is nearer than either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_scale
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS, eye_distance
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.skin import load_skin
from mimicme.stages.landmarks.like_places import (
    ROBUST_MM,
    Samples,
    Wanted,
    laid_onto,
    like_around,
    samples_of,
)
from mimicme.stages.landmarks.strips import ramp
from mimicme.stages.landmarks.views import Scene

UPPER = np.arange(N_LANDMARKS)[GROUPS["left_eyebrow"].start : GROUPS["right_eye"].stop]
"""What is found: brows, nose, eyes."""
STEADY = np.r_[27:36, 36:48, 48:55]
"""Nose, eyes and the upper lip: where the head is, and how large, as most of them have it."""
ANCHORS = np.array([30, 31, 33, 35, 48, 50, 51, 52, 54])
"""What the networks find on bare skin, too: the tip and the base of the nose, and the upper lip."""
ANCHOR_MM = 2.5
AGREE_MM, POSE_ROUNDS = 3.0, 15  # of `STEADY`

# Of the distance between the eyes, from the middle of the nose: what is upper face.
LOW, HIGH = np.array([-1.15, -0.9, -0.75]), np.array([1.15, 1.25, 1.0])
WIDER = 1.25
"""How much more of a scan is looked at than of the template."""
LEAST_FACING = 0.0
TEMPLATE_MM, SCAN_MM = 4.0, 2.0
"""Side of the cells whose surface is one sample."""
INDEPENDENT = 60
"""So many of the samples tell something of their own."""
ROBUST = tuple(ROBUST_MM * (1 + 2 * max(0.0, 1 - k / 6)) for k in range(12))
"""From wide to narrow: to begin with the template's own face may lie 10 mm beside a longer one."""

POWERS = tuple(p for p in product(range(4), repeat=3) if sum(p) <= 3)
WIDTHS_MM = (4.0, 10.0, 8.0, 6.0)
"""Of the deformations (standard deviation at one distance between the eyes), by degree.  On 11 bare neutrals of `synth`
3, 6, 4 and 2.5 are 0.2 mm worse and 4, 12, 10 and 8 as good; degree 2 alone is 0.6 worse, degree 4 0.1 better."""
UNEVEN = 0.4
"""The same for what is not the same on both sides, as a share."""

LIKE = (0.3, 0.5)
"""Mean of the robust weights around a point, how well the face finds what is like it: evidence from none to all.  At
brows 16 neutral and surprised faces of `synth` have 0.54 and more; fitted from points that were turned by 20 degrees
first, which is where a fit fails, 0.2 to 0.5, and are up to 6 mm off."""
AROUND_MM = 24.0
SURE, TRIES = 0.9, 3
"""Mean evidence from which on a fit is not tried again, and tries."""

NOSE_PARTS = slice(27, 31), slice(31, 36)
GROUPS_FOUND = (
    *(GROUPS[g] for g in ("left_eyebrow", "right_eyebrow")),
    *NOSE_PARTS,
) + tuple(GROUPS[g] for g in ("left_eye", "right_eye"))
NETWORKS_SHARE, NETWORKS_MM = 0.5, 3.0
"""What the networks' points count beside the shape's where these agree, and the distance of a group (rms) at which that
is a quarter of it: they err by themselves."""

INNER_CORNERS = slice(39, 40), slice(42, 43)
COLOURED_SHARE, CORNERS_SHARE, COLOURED_MM = 0.5, 0.75, 4.5
"""The same of scans with colours, for the nose and for inner corners.  5 neutrals of `synth`: bridges 2.13 mm by the
networks, 1.49 by the shape, 1.52 by both; bases of noses 1.60, 1.22, 1.10; inner corners 1.39, 1.17, 0.71."""
EVERY = 4
"""Of the samples of the template's face that such a scan is fitted with: its brows and lids are not asked for, and the
networks know already where the head is.  All of them, and twice the rounds, are 0.05 mm better and take 0.07 s more."""
QUICK_ROBUST = ROBUST[::2]


@dataclass(frozen=True)
class UpperFace:
    """The template's upper face.

    Attributes:
        samples: of its surface, in the template's axes, about the middle of its nose.
        marks: (68, 3) its landmarks there, mm.
        eyes_mm: the distance between its eyes.
        halves: of its left (1) and its right half (-1) alone, as `samples`; None where there is hardly any.
    """

    samples: Samples
    marks: Floats
    eyes_mm: float
    halves: Mapping[int, Samples | None]


def upper_face_of(template: Template) -> UpperFace | None:
    """The upper face of a template; None when it does not have the 68 landmarks."""
    if template.landmark_vertices.shape[0] != N_LANDMARKS:
        return None
    marks = template.landmarks()
    nose, eyes = marks[GROUPS["nose"]].mean(axis=0), eye_distance(marks)
    places = template.vertices - nose
    samples = sampled(places, template.faces, eyes, TEMPLATE_MM)
    if samples is None:
        return None
    middle = places - [-nose[0], 0.0, 0.0]  # the template's own, x = 0
    halves = {
        side: sampled(places, one_side(middle, template.faces, side), eyes, TEMPLATE_MM) for side in (1, -1)
    }
    return UpperFace(samples, marks - nose, eyes, halves)


@lru_cache(maxsize=2)
def _of_file(path: Path, stamp: tuple[int, int]) -> UpperFace | None:
    return upper_face_of(load_skin(path))


def upper_face_for(path: Path) -> UpperFace | None:
    """The upper face of the prepared template in a file, sampled once per process."""
    found = path.stat()
    return _of_file(path, (found.st_mtime_ns, found.st_size))


def follow_upper_face(face: UpperFace | None, scene: Scene, points: Floats) -> tuple[Floats, Floats]:
    """Landmarks (68, 3) with brows, nose and eyes where the shape of the upper face has them, and the evidence (68,),
    0 to 1, for that.

    Args:
        scene: a scan without colours; of another one nothing is moved, see `nose_shape`.
        points: see `find_upper_face`.
    """
    out, evidence = points.copy(), np.zeros(N_LANDMARKS)
    if face is None or scene.textured:
        return out, evidence
    vertices, faces = scene.mesh.vertices, scene.mesh.faces
    out[UPPER], evidence[UPPER] = find_upper_face(face, vertices, faces, points)
    for _ in range(TRIES - 1):
        if evidence[UPPER].mean() > SURE:
            break
        # of a head that lay otherwise than the networks' points said, more is seen from where the fit has put it
        places, sure = find_upper_face(face, vertices, faces, out)
        if not sure.mean() > evidence[UPPER].mean():
            break
        out[UPPER], evidence[UPPER] = places, sure
    for group in GROUPS_FOUND:
        out[group] = _between(points[group], out[group], evidence[group], NETWORKS_SHARE, NETWORKS_MM)
    return out, evidence


def nose_shape(face: UpperFace | None, scene: Scene, points: Floats) -> tuple[Floats, Floats]:
    """Where the shape of the upper face of a scan with colours has the landmarks `UPPER`, (68, 3), the others where
    they are; and the evidence for it (68,), 0 to 1.

    Args:
        scene: of one without colours nothing is told here, see `follow_upper_face`.
        points: see `find_upper_face`.
    """
    places, shown = points.copy(), np.zeros(N_LANDMARKS)
    if face is not None and scene.textured:
        vertices, faces = scene.mesh.vertices, scene.mesh.faces
        places[UPPER], shown[UPPER] = find_upper_face(face, vertices, faces, points, quick=True)
    return places, shown


def nose_aside(points: Floats, places: Floats, shown: Floats) -> Floats:
    """(3,) mm from where the shape has the base of a nose to where it is, as far as that is shown: see `nose_shape`."""
    base = NOSE_PARTS[1]
    return np.asarray((shown[base, None] * (points[base] - places[base])).mean(axis=0))


def between_shape(points: Floats, places: Floats, shown: Floats) -> Floats:
    """Landmarks (68, 3) with the nose and the inner corners of the eyes between where they are and where the shape has
    them, see `nose_shape`."""
    out = points.copy()
    for groups, most in ((NOSE_PARTS, COLOURED_SHARE), (INNER_CORNERS, CORNERS_SHARE)):
        for group in groups:
            out[group] = _between(points[group], places[group], shown[group], most, COLOURED_MM)
    return out


def _between(networks: Floats, shape: Floats, evidence: Floats, most: float, agree_mm: float) -> Floats:
    """Points (k, 3) of one group between where the networks and where the shape has them, mm.

    Args:
        evidence: (k,) for the shape: what it does not show is the networks'.
        most: what the networks count where both agree; agree_mm: the distance (rms) at which that is a quarter of it.
    """
    off = networks - shape
    apart = (off**2).sum(axis=1).mean() / agree_mm**2
    share = 1 - evidence * (1 - most / (1 + apart) ** 2)
    return np.asarray(shape + share[:, None] * off)


def find_upper_face(
    face: UpperFace, vertices: Floats, faces: Ints, points: Floats, quick: bool = False
) -> tuple[Floats, Floats]:
    """Places (31, 3) mm of the landmarks `UPPER` near the scan's surface, and the evidence for them (31,), 0 to 1.

    Args:
        vertices, faces: of the scan, mm.
        points: (68, 3) landmarks as the networks have them, finite but for the jaw.
        quick: with a quarter of the samples and half of the rounds.
    """
    turn, scale, nose = pose_of(face.marks, points)
    seen = sampled((vertices - nose) @ turn, faces, WIDER * scale * face.eyes_mm, SCAN_MM)
    placed = scale * face.marks
    if seen is None:
        return placed[UPPER] @ turn.T + nose, np.zeros(len(UPPER))
    every = slice(None, None, EVERY if quick else 1)
    samples = scale * face.samples.places[every]
    unit = scale * face.eyes_mm
    on_samples, widths = bend(samples / unit)
    on_marks, _ = bend(placed / unit)
    on_anchors = on_marks[ANCHORS].reshape(-1, len(widths))
    missing = ((points[ANCHORS] - nose) @ turn - placed[ANCHORS]).ravel()
    amounts, like = laid_onto(
        Samples(samples, face.samples.normals[every]),
        seen,
        on_samples,
        Wanted(
            np.diag(1 / widths**2) + on_anchors.T @ on_anchors / ANCHOR_MM**2,
            on_anchors.T @ missing / ANCHOR_MM**2,
        ),
        INDEPENDENT,
        QUICK_ROBUST if quick else ROBUST,
    )
    found = placed[UPPER] + on_marks[UPPER] @ amounts
    alike = like_around(found, samples + on_samples @ amounts, like, AROUND_MM)
    return found @ turn.T + nose, ramp(alike, LIKE)


def pose_of(marks: Floats, points: Floats) -> tuple[Floats, float, Floats]:
    """Where most of the points `STEADY` of a face (68, 3) have the template's marks (68, 3): turn (3, 3), scale, and
    the place (3,) of the marks' origin; by Geman-McClure's weights."""
    source, target = marks[STEADY], points[STEADY]
    weights = np.ones(len(STEADY))
    for _ in range(POSE_ROUNDS):
        turn = fit_rigid(source, target, weights)[:3, :3]
        scale = fit_scale(source @ turn.T, target, weights)
        middle = weights / weights.sum()
        shift = middle @ target - scale * (middle @ source) @ turn.T
        off = np.linalg.norm(target - scale * source @ turn.T - shift, axis=1)
        weights = 1 / (1 + (off / AGREE_MM) ** 2) ** 2
    return turn, scale, shift


def bend(places: Floats) -> tuple[Floats, Floats]:
    """(n, 3, k) displacement of places (n, 3), in distances between the eyes about the nose, by one of each
    deformation; and their standard deviations (k,), mm."""
    terms = np.stack([(places ** np.array(powers)).prod(axis=1) for powers in POWERS], axis=1)
    count = len(POWERS)
    out, widths = np.zeros((len(places), 3, 3 * count)), np.zeros(3 * count)
    for axis in range(3):
        out[:, axis, axis * count : (axis + 1) * count] = terms
        for k, powers in enumerate(POWERS):
            even = (axis == 0) == (powers[0] % 2 == 1)
            widths[axis * count + k] = WIDTHS_MM[sum(powers)] * (1.0 if even else UNEVEN)
    return out, widths


def one_side(vertices: Floats, faces: Ints, side: int) -> Ints:
    """The faces (t, 3) of which all is to the left (side 1) or to the right (-1) of x = 0."""
    return np.asarray(faces[(side * vertices[:, 0] > 0)[faces].all(axis=1)])


def sampled(vertices: Floats, faces: Ints, eyes_mm: float, cell_mm: float) -> Samples | None:
    """The surface of what may be upper face, in cells; None where there is hardly any.

    Args:
        vertices: (n, 3) mm, +y up and +z out of the face, about the middle of the nose.
    """
    reach = np.asarray(((vertices > LOW * eyes_mm) & (vertices < HIGH * eyes_mm)).all(axis=1))
    return samples_of(vertices[faces[reach[faces.T].any(axis=0)]], cell_mm, LEAST_FACING, INDEPENDENT)
