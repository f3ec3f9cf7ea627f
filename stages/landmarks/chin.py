"""The chin in space: its five points (6 to 10) from the surface's shape, which no picture of a chin's outline gives.

A chin has no marks.  What one person's has in common with another's is which way its skin faces, one place after the
other: the fold below the lower lip, the boss, the lower edge, the way round to the jaw.  The template's chin is laid
below the scan's lower lip and fitted to it (like_places.py), with a few deformations: longer or shorter, forwards or
back, wider, rounder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_scale
from mimicme.pipeline.landmarks import CHIN_LINE, N_LANDMARKS, eye_distance
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.skin import load_skin
from mimicme.stages.landmarks.like_places import (
    Samples,
    Wanted,
    laid_onto,
    like_around,
    likeness,
    samples_of,
)
from mimicme.stages.landmarks.strips import ramp

CHIN = np.arange(N_LANDMARKS)[CHIN_LINE]
LOWER_LIP = np.arange(55, 60)
HELD = np.array([48, *LOWER_LIP, 54])
"""What a fit is held to: the lower lip with its corners, which tell how wide the lower face is."""
STEADY = slice(30, 48)
"""Nose, without its ridge, and eyes: which way the head faces and how large it is, whatever the mouth does."""

# Of the distance between the eyes: below the lower lip, to either side of it, and behind it, what is chin; and how much
# more of a scan is looked at than of the template.
BELOW, ABOVE, ASIDE, BEHIND, WIDER = 0.95, 0.1, 0.6, 0.9, 1.35
LEAST_FACING = -0.6
"""Cosine of a normal to where the face looks: the back of a neck, and of an open shell, is no chin."""
TEMPLATE_MM, SCAN_MM = 3.0, 1.5
"""Side of the cells whose surface is one sample."""
ROUNDS = 12
INDEPENDENT = 25
"""So many of the samples tell something of their own."""
LIP_MM = 2.0
"""Of the landmarks `HELD`, alike for all."""
NORMAL_MM, ALONG_MM, ROBUST_MM = 12.0, 2.5, 6.0
"""As in like_places.py, where they are 18, 2 and 4.5, for the chin's fit.  Chosen on 5 scans of people of `synth` and
on the surfaces of 30 others, with landmarks as far off as found ones: rms 2.46 to 1.95 mm, 2.05 to 1.58."""

MOUTH_OPEN = (0.12, 0.30)
"""Opening in its widths, to which the chin of a closed mouth is told in full, and from which not at all."""
LIKE = (0.35, 0.6)
"""Mean of the robust weights around a point, how well the chin finds what is like it: evidence from none to all."""
UNLIKELY = (3.5, 4.8)
"""Length of the deformation, as far as both sides share it, in its standard deviations, from which on the chin is
believed less, and from which on not at all: a beard has a chin's shape, too, but is a chin that hardly anybody has;
what goes to one side is an expression.  Neutrals of 24 people of `synth` have 1.6 to 4.5, all but two less than 3.3,
pouts 2.6 to 4.2; smooth beards on six of them 2.7 to 4.5 when they are 5 mm thick, 4.7 to 6.7 at 10 mm, 6 and more from
15.  What only hangs 3 cm lower has about 3, and is believed."""
AROUND_MM = 16.0
RELIABLE = np.array([0.35, 0.8, 1.0, 0.8, 0.35])
"""What the points are worth beside the middle one: the inverse of their mean squared errors on people of `synth`."""


@dataclass(frozen=True)
class Chin:
    """The template's chin.

    Attributes:
        samples: of its surface, in the template's axes, about the middle of its lower lip.
        marks: (68, 3) its landmarks in its own frame, mm.
    """

    samples: Samples
    marks: Floats


def chin_of(template: Template) -> Chin | None:
    """The chin of a template; None when it does not have the 68 landmarks."""
    if template.landmark_vertices.shape[0] != N_LANDMARKS:
        return None
    marks = template.landmarks()
    samples = _sampled(template.vertices - _lip(marks), template.faces, eye_distance(marks), TEMPLATE_MM, 1.0)
    return None if samples is None else Chin(samples, marks)


@lru_cache(maxsize=2)
def _of_file(path: Path, stamp: tuple[int, int]) -> Chin | None:
    return chin_of(load_skin(path))


def chin_for(path: Path) -> Chin | None:
    """The chin of the prepared template in a file, sampled once per process."""
    found = path.stat()
    return _of_file(path, (found.st_mtime_ns, found.st_size))


def find_chin(chin: Chin, vertices: Floats, faces: Ints, points: Floats) -> tuple[Floats, Floats]:
    """Places (5, 3) of the landmarks `CHIN` near the scan's surface, mm, and the evidence for them (5,), 0 to 1.

    Where there is none the places are the template's.

    Args:
        vertices, faces: of the scan, mm.
        points: (68, 3) landmarks found, finite but for the jaw.
    """
    marks = chin.marks
    pose = fit_rigid(marks[STEADY], points[STEADY])
    turn = pose[:3, :3]  # from the template's axes
    steady = np.ones(STEADY.stop - STEADY.start)
    scale = fit_scale(marks[STEADY] @ turn.T, points[STEADY], steady)
    lip, eyes = _lip(points), eye_distance(points)
    seen = _sampled((vertices - lip) @ turn, faces, eyes, SCAN_MM, WIDER)
    placed = scale * (marks - _lip(marks))
    start = placed[CHIN] @ turn.T + lip
    if seen is None:
        return start, np.zeros(len(CHIN))
    bend = _Bend.at(np.concatenate([scale * chin.samples.places, placed[CHIN], placed[HELD]]), eyes)
    count = len(chin.samples.places)
    on_chin, on_marks, on_held = bend[:count], bend[count : count + len(CHIN)], bend[-len(HELD) :]
    part = Samples(scale * chin.samples.places, chin.samples.normals)
    amounts, _ = laid_onto(
        part,
        seen,
        on_chin,
        _lip_wanted(on_held, (points[HELD] - lip) @ turn - placed[HELD]),
        INDEPENDENT,
        (ROBUST_MM,) * ROUNDS,
        NORMAL_MM,
        ALONG_MM,
    )
    found = placed[CHIN] + on_marks @ amounts
    laid = Samples(part.places + on_chin @ amounts, part.normals)
    alike = like_around(found, laid.places, likeness(laid, seen), AROUND_MM)
    deviations = (amounts / _Bend.WIDTHS)[_Bend.BOTH_SIDES]
    unlikely = ramp(float(np.linalg.norm(deviations)), UNLIKELY)
    evidence = ramp(alike, LIKE) * (1 - unlikely) * (1 - ramp(_opening(points), MOUTH_OPEN))
    return found @ turn.T + lip, evidence


class _Bend:
    """What a chin may do: displacements that are polynomials in the place, about the lower lip."""

    # axis of the displacement (right, up, forwards), powers of right, below and forwards, mm (standard deviation)
    # at one distance between the eyes
    TERMS = (
        *((axis, (0, 0, 0), 1.0) for axis in range(3)),
        (1, (0, 1, 0), 8.0),  # longer
        (2, (0, 1, 0), 8.0),  # forwards
        (0, (1, 0, 0), 5.0),  # wider
        (0, (1, 1, 0), 8.0),  # wider below
        (2, (0, 0, 1), 5.0),
        (1, (0, 0, 1), 4.0),
        (0, (0, 1, 0), 3.0),  # to a side
        (2, (2, 0, 0), 6.0),  # rounder
        (1, (2, 0, 0), 4.0),
        (2, (0, 2, 0), 8.0),
        (1, (0, 2, 0), 8.0),
        (1, (1, 0, 0), 2.0),
        (2, (1, 0, 0), 2.0),
    )
    WIDTHS = np.array([width for _, _, width in TERMS])
    BOTH_SIDES = np.array([(axis == 0) == (right % 2 == 1) for axis, (right, _, _), _ in TERMS])

    @classmethod
    def at(cls, places: Floats, eyes_mm: float) -> Floats:
        """(n, 3, k) displacement of places (n, 3), about the lower lip, by one of each."""
        right, up, forwards = (places / eyes_mm).T
        below = np.minimum(up, 0)
        out = np.zeros((len(places), 3, len(cls.TERMS)))
        for k, (axis, (a, b, c), _) in enumerate(cls.TERMS):
            out[:, axis, k] = right**a * below**b * forwards**c
        return out


def _lip_wanted(bend: Floats, missing: Floats) -> Wanted:
    """What holds a fit: the deformations' widths, and the landmarks `HELD`.

    Args:
        bend: (7, 3, k) the deformations of these landmarks; missing: (7, 3) mm, what they miss by.
    """
    on_lip = bend.reshape(-1, bend.shape[2])
    held = np.diag(1 / _Bend.WIDTHS**2) + on_lip.T @ on_lip / LIP_MM**2
    return Wanted(held, on_lip.T @ missing.ravel() / LIP_MM**2)


def _opening(points: Floats) -> float:
    """Opening of a mouth's inner border in its widths."""
    width = float(np.linalg.norm(points[54] - points[48]))
    return float(np.linalg.norm(points[61:64].mean(axis=0) - points[65:68].mean(axis=0))) / max(width, 1e-9)


def _lip(points: Floats) -> Floats:
    """(3,) middle of the lower lip's outer border."""
    return np.asarray(points[LOWER_LIP].mean(axis=0))


def _sampled(vertices: Floats, faces: Ints, eyes_mm: float, cell_mm: float, wider: float) -> Samples | None:
    """The surface of what may be chin, in cells; None where there is hardly any.

    Args:
        vertices: (n, 3) mm, +y up and +z out of the face, about the lower lip.
        wider: factor on the region.
    """
    reach = np.abs(vertices[:, 0]) < ASIDE * wider * eyes_mm
    reach &= (vertices[:, 1] < ABOVE * wider * eyes_mm) & (vertices[:, 1] > -BELOW * wider * eyes_mm)
    reach &= vertices[:, 2] > -BEHIND * wider * eyes_mm
    corners = vertices[faces[reach[faces.T].any(axis=0)]]
    return samples_of(corners, cell_mm, LEAST_FACING, INDEPENDENT)
