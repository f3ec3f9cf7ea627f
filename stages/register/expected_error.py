"""What the correspondence error of a registered frame is likely to be, by figures that need no truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints

BEST_CASE_MM = 0.14
"""Neutrals of `mimicme synth` on a template that is their own mesh, of 9,170 vertices, with exact landmarks, are 0.13
and 0.14 mm off, and 0.32 and 0.31 with landmarks as they are: with this 0.17, 0.15, 0.35 and 0.33 are expected."""
DISTANCE_COSTS, HELD_OUT_COSTS, FOUND_COSTS_MM, FOUND_STRETCH_COSTS_MM = 0.34, 0.38, 0.88, 4.0
"""Learnt as `python benchmarks expected` does, on 125 frames of 6 people of `mimicme synth`, as they are, damaged, and
with landmarks that a detector found, and on 52 of 2 people of a second maker, on templates of 9,170 and 9,409 vertices;
then brought to a `vertex_spread` of 1.  See `expected_error`."""
DISTANCE_POWER = 0.75
"""Of the same: of 1, 0.75, 0.6, 0.5 and 0.35 the one that spreads undamaged frames of both least.  With 1 a wide scream
of people that taught nothing was said to be 2.1 mm off, and was 1.5."""
EXPECTED_LOW, EXPECTED_HIGH = 0.79, 1.32
"""A tenth and nine tenths of the true error over the expected one, where one of the two makers teaches and the other
judges: what is learnt has to hold for people of whom nobody knows who made them."""
BARE_COSTS_MM = 1.46
"""In place of `FOUND_COSTS_MM`, of points found on a surface without colours: learnt as `python benchmarks expected`
does, on 31 frames of 5 people of `synth`, on templates of 53,349 and 9,170 vertices, and 9 of one person of the second
maker.  The makers do not agree: alone they teach 1.85 and 0.84.  No figure was found that tells their people apart:
with the landmarks' distance from the mesh (`Quality.landmark_residual`) in its place people on the largest template are
told more nearly, all others less, and the ranks of all are worse."""
BARE_LOW, BARE_HIGH = 0.61, 1.66
"""As `EXPECTED_LOW` and `EXPECTED_HIGH`, of points found without colours: as wide as the makers disagree."""
LANDMARK_DISTANCE_MM = 16.0
"""How far vertices of the core of the embedded template, of 53,349, lie from the nearest landmark, in the mean."""
SPREAD_POWER = 0.7
"""Learnt on 5 people of `synth` on that template, 10 on one of 9,170 vertices (12.5 mm from a landmark in the mean) and
4 of the second maker (9,409, 9.5 mm): without it the true error over the expected one is 1.3, 1.1 and 0.9 there."""


def vertex_spread(vertices: Floats, core: Ints | NDArray[np.int64] | Bools, landmarks: Floats) -> float:
    """How much larger the mean error of a template is for where its vertices lie: 1 as on the embedded template.

    Landmarks lead the surface: the correspondence error rises from 0.5 mm beside one to 3 mm at 30 mm from all, on
    templates of 9,170 and of 53,349 vertices alike (28 frames of `mimicme synth`).  What is meant by the mean error,
    though, is the mean over vertices, and a small template has most of them at lips and lids, where it is small.

    Args:
        vertices: (V, 3) mm, the template; core: which of them are in the face's core; landmarks: (l, 3) mm, on it.
    """
    from scipy.spatial import cKDTree

    places = vertices[core]
    if not len(places) or not len(landmarks):
        return 1.0
    distances, _ = cKDTree(landmarks).query(places)
    return float((np.mean(distances) / LANDMARK_DISTANCE_MM) ** SPREAD_POWER)


def expected_error(
    distance_mm: float,
    held_out_mm: float,
    found_share: float = 0.0,
    stretch: float = 0.0,
    spread: float = 1.0,
    bare_share: float = 0.0,
) -> float:
    """Mean distance to the true correspondence that a frame with these figures is likely to have, mm.

    The distance to the surface says little about tangential error.  What says most is how far the face lies from the
    template, be it by who the person is or by what the face does (`Quality.template_distance`): where the template has
    to go far, it goes astray by a share of the way, the less the farther, for an open jaw leads it well; and the two
    makers that teach agree on that.  Landmarks pull it beside the place by their noise, which those tell that are left
    out (`LandmarkChecks.held_out_mm`).  Points that a detector found lie beside it together, which no other tells:
    their share (0 to 1) counts besides, and the more, the more the core had to stretch (`Quality.stretch_core`) to
    follow them.  Those found on a surface without colours (`bare_share`, of the landmarks) lie farther off than others
    that are found, and not alike: it hangs on how much of lips and brows a person's surface shows (`BARE_LOW`).  These
    have nothing to do with each other, so that their squares add up, and the error rises with each; and so it does with
    `vertex_spread`.
    """
    squares = BEST_CASE_MM**2 + (DISTANCE_COSTS * distance_mm**DISTANCE_POWER) ** 2
    squares += (HELD_OUT_COSTS * held_out_mm) ** 2
    squares += found_share * (FOUND_COSTS_MM**2 + (FOUND_STRETCH_COSTS_MM * stretch) ** 2)
    squares += bare_excess(bare_share)
    return float(spread * np.sqrt(squares))


def bare_excess(bare_share: float) -> float:
    """mm^2 that the square of `expected_error` has more, at a `vertex_spread` of 1, than if the share of the landmarks
    that was found without colours had been found in colours."""
    return bare_share * (BARE_COSTS_MM**2 - FOUND_COSTS_MM**2)


def stretch_excess(found_share: float, stretch: float, neutral_stretch: float) -> float:
    """mm^2 that the square of `expected_error` has more, at a `vertex_spread` of 1, than if the core were stretched no
    farther than the person's neutral is; with a neutral of which nothing is known, NaN, 0."""
    if not stretch > neutral_stretch:
        return 0.0
    return found_share * FOUND_STRETCH_COSTS_MM**2 * (stretch**2 - neutral_stretch**2)


def expected_interval(bare_share: float = 0.0) -> tuple[float, float]:
    """Multiples of `expected_error` between which four frames of five are."""
    return (BARE_LOW, BARE_HIGH) if bare_share else (EXPECTED_LOW, EXPECTED_HIGH)
