"""shells: what is worn and looks like skin is told by its rim, and as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.stages.register import neutral_fit
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.shells import LEAST_MM2, STEP_MM
from mimicme.stages.register.skin_tracking import NEAR_SHELLS_MM
from mimicme.stages.register.track import SequenceTracker

LINE_MM = 62.0
"""Height of the cap's rim on the dome, which ends at 100."""
NOISE_MM = 0.15
SKIN = np.array([200.0, 150.0, 120.0])


def capped(dome, thick):
    """A frame whose vertices above the line lie so far outside; all of one colour."""
    frame = dome.frame(spacing=2.5)
    above = frame.vertices[:, 1] > LINE_MM
    out = thick * above[:, None] * vertex_normals(frame.vertices, frame.faces)
    return replace(frame, vertices=frame.vertices + out, colors=np.tile(SKIN, (len(above), 1)))


@pytest.fixture
def shells(dome):
    return dome.tracker().setup.anatomy.skin.shells


@pytest.fixture
def above(dome):
    """(V,) mm above the cap's rim."""
    return dome.template().vertices[:, 1] - LINE_MM


def heights(above, of):
    """(V,) heights with a depth camera's noise."""
    return of + NOISE_MM * np.random.default_rng(3).normal(size=len(above))


def told(shells, found):
    """(V,) True for what is worn, by heights (V,) along a normal that all vertices share."""
    up = np.array([0.0, 0.0, 1.0])
    offsets = found[shells.rows, None] * up
    worn = np.zeros(len(found), bool)
    worn[shells.worn(offsets, np.broadcast_to(up, offsets.shape))] = True
    return worn


@pytest.mark.parametrize("thick", [1.6, 3.0, 6.0, 15.0])
def test_what_lies_outside_beyond_a_rim_is_worn_as_a_whole(shells, above, thick):
    worn = told(shells, heights(above, thick * (above > 0)))
    inside = np.isin(np.arange(len(above)), shells.rows)
    assert worn[inside & (above > 9)].all()
    assert not worn[above < -9].any()


@pytest.mark.parametrize(
    "of",
    [
        lambda above: 0 * above,
        lambda above: 0.05 * np.clip(above, 0, None),  # a smooth misfit
        lambda above: 1.5 * np.exp(-((above / 3) ** 2)),  # a fold all around
        lambda above: -3.0 * (above > 0),  # it lies deeper
        lambda above: 0.4 * (above > 0),
    ],
    ids=["bare", "slope", "fold", "deeper", "little"],
)
def test_no_rim_is_no_shell(shells, above, of):
    assert not told(shells, heights(above, of(above))).any()


def test_a_rim_with_an_end_is_none(dome, shells, above):
    """Whoever goes around its end has climbed nothing."""
    x = dome.template().vertices[:, 0]
    rise = 3.0 * (above > 0) * np.clip((x + 20) / 40, 0, 1)
    assert not told(shells, heights(above, rise)).any()


@pytest.mark.parametrize(("half_mm", "worn"), [(1.0, True), (10.0, False)])
def test_a_rim_that_lies_lower_along_a_seventh_of_it_is_none(dome, shells, above, half_mm, worn):
    """There the skin beyond it stands out; it is a step all around."""
    x = dome.template().vertices[:, 0]
    stands_out = (above <= 0) & (np.abs(x) < half_mm)
    found = heights(above, 3.0 * (above > 0) + 6.0 * stands_out)
    assert told(shells, found).any() == worn


@pytest.mark.parametrize(("half_mm", "worn"), [(12.0, False), (45.0, True)])
def test_a_short_rim_is_none(dome, shells, above, half_mm, worn):
    """Of a strip between two gaps, which has the area of a cap."""
    x = dome.template().vertices[:, 0]
    strip = (above > 0) & (np.abs(x) < half_mm)
    assert dome.levels().fine.areas[strip].sum() > LEAST_MM2
    found = heights(above, 3.0 * (above > 0))
    found[(above > 0) & ~strip] = np.nan
    assert told(shells, found).any() == worn


def test_a_gap_of_an_edge_at_the_step_is_bridged(dome, shells, above):
    """Scanners leave one there."""
    found = heights(above, 5.0 * (above > 0))
    edge = np.sqrt(dome.levels().fine.areas.mean())
    found[np.abs(above) < edge / 2] = np.nan
    worn = told(shells, found)
    assert worn[np.isin(np.arange(len(above)), shells.rows) & (above > 9)].all()
    assert not worn[above < -9].any()


def test_beyond_a_gap_nothing_is_known(shells, above):
    found = heights(above, 5.0 * (above > 0))
    found[np.abs(above) < 15] = np.nan
    assert not told(shells, found).any()


def test_what_is_small_is_not_worn(dome, shells, above):
    vertices = dome.template().vertices
    top = vertices[np.argmax(above)]
    spot = np.linalg.norm(vertices - top, axis=1) < 9
    assert dome.levels().fine.areas[spot].sum() < LEAST_MM2
    assert not told(shells, heights(above, 5.0 * spot)).any()


def test_nothing_seen_says_nothing(shells, above):
    assert not told(shells, np.full(len(above), np.nan)).any()
    assert STEP_MM > 3 * NOISE_MM


def test_a_crease_is_no_rim(shells, above):
    """Both sides of it are moved as one, which is outwards on one of them alone."""
    normals = np.where(above[shells.rows, None] > 0, [0.0, 0.0, 1.0], [0.0, -1.0, 0.0])
    assert not len(shells.worn(np.tile([0.0, 0.0, 4.0], (len(normals), 1)), normals))


def test_the_mesh_goes_on_below_a_smooth_cap_in_the_colour_of_skin(dome, above):
    frame = capped(dome, 4.0)
    truth = dome.truth(0.0)
    below = (above > 8) & (above < 25)
    kept = dome.tracker(None, replace(dome.SETTINGS, tell_skin=False)).register(frame)
    tracker = dome.tracker()
    found = tracker.register(frame)
    assert (found.skin[below] < 128).all()
    assert above[tracker.person.worn].min() > -9
    assert (
        dome.apart(found.vertices, truth)[below].mean() < 0.5 * dome.apart(kept.vertices, truth)[below].mean()
    )
    assert found.quality.covered_share > 0.05
    again = tracker.register(replace(frame, number=1))
    assert (again.skin[below] < 128).all()
    # another sequence of the subject has it from the neutral, as what is worn is not looked for again
    other = SequenceTracker(
        dome.template(), dome.levels(), dome.SETTINGS, tracker.neutral, worn=tracker.person.worn
    )
    assert (other.register(frame).skin[below] < 128).all()
    assert not len(dome.tracker(tracker.neutral).person.worn)


def test_the_fit_without_what_is_worn_changes_nothing_far_from_it(dome, monkeypatch):
    """Where the first one had found its way."""
    started, fitted, rests = [], [], []
    coarse, fine, near = Fitter.coarse, neutral_fit.fitted_fine, neutral_fit.near_worn

    def coarse_spied(self, rest, target, start, steps):
        started.append(start.copy())
        return coarse(self, rest, target, start, steps)

    def fine_spied(person, fitter, rest, target, displacement):
        fitted.append((started[-1], displacement.copy()))
        return fine(person, fitter, rest, target, displacement)

    def near_spied(rest, worn):
        rests.append(rest.copy())
        return near(rest, worn)

    monkeypatch.setattr(Fitter, "coarse", coarse_spied)
    monkeypatch.setattr(neutral_fit, "fitted_fine", fine_spied)
    monkeypatch.setattr(neutral_fit, "near_worn", near_spied)
    tracker = dome.tracker()
    tracker.register(capped(dome, 4.0))
    (rest,) = rests
    away = cKDTree(rest[tracker.person.worn]).query(rest)[0]
    before, after = fitted[0]
    changed = (before != after).any(axis=1)
    assert changed[away < 15].all()
    assert (away > NEAR_SHELLS_MM).sum() > 0 and not changed[away > NEAR_SHELLS_MM].any()
