"""quality: figures in closed form, and a reason for every bound."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import triangle_normals, vertex_normals
from mimicme.pipeline.template.face_core import PartShares, Shares
from mimicme.stages.register import quality
from mimicme.stages.register.expected_error import (
    LANDMARK_DISTANCE_MM,
    SPREAD_POWER,
    expected_error,
    expected_interval,
    vertex_spread,
)
from mimicme.stages.register.mouth_light import Mouth
from mimicme.stages.register.plausibility import Plausible
from mimicme.stages.register.quality import UNITS, LandmarkChecks, Quality, QualityAssessor
from mimicme.stages.register.rejection import reject_bad

SEEN_AT_A_GLANCE = Plausible(1.0, 0.95, 0.2, 0.0, 0.3, 0.0, 1.0, 0.5, 0.6)
WHOLE, ALL_PARTS, SHUT = Shares(1.0, 1.0, 1.0), PartShares(1.0, 1.0, 1.0, 1.0), Mouth(0.0, 0.0)
CHECKS = LandmarkChecks(held_out_mm=1.25, disagreement_mm=2.0)
NONE = np.zeros(0)


@pytest.fixture
def rest(dome):
    template = dome.template()
    return template.vertices, template.faces


def core_of(vertices):
    """(V,) True on the inner half of a dome."""
    return np.linalg.norm(vertices[:, :2], axis=1) < np.median(np.linalg.norm(vertices[:, :2], axis=1))


def measure(
    rest,
    vertices,
    scan=None,
    residuals=NONE,
    share=1.0,
    reach=10.0,
    skin=None,
    checks=CHECKS,
    marks=NONE,
    ears=None,
    bare=0.0,
):
    """Figures of a shape against a scan, by default the rest shape's own vertices."""
    points, faces = scan if scan is not None else rest
    normals = vertex_normals(points, faces)
    nowhere = np.zeros(len(rest[0]), bool)
    skin = ~nowhere if skin is None else skin
    covered = float((~skin).mean())
    return QualityAssessor(
        *rest,
        np.arange(len(rest[0])),
        core_of(rest[0]),
        nowhere,
        marks,
        np.zeros((len(rest[0]), 0)) if ears is None else ears,
    ).assess(
        vertices,
        points,
        normals,
        checks,
        residuals,
        share,
        WHOLE,
        ALL_PARTS,
        SHUT,
        SEEN_AT_A_GLANCE,
        skin,
        covered,
        reach,
        bare,
    )


def test_every_figure_has_a_unit():
    assert list(UNITS) == [field.name for field in fields(Quality)]


def test_a_perfect_fit(rest):
    found = measure(rest, rest[0], residuals=np.array([0.5, 1.5]), share=0.7)
    assert found.s2m_median < 1e-4 and found.s2m_p95 < 1e-4
    assert found.under_1mm == 1
    assert found.landmark_residual == 1
    assert found.landmark_error == 1.25
    assert found.template_distance == pytest.approx(0, abs=1e-9)
    assert found.expected_error == pytest.approx(expected_error(0.0, CHECKS.held_out_mm))
    assert found.expected_error_low < found.expected_error < found.expected_error_high
    assert found.data_share == 0.7
    assert (found.flipped_triangles, found.degenerate_triangles) == (0, 0)
    assert found.stretch_p95 == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("offset", [0.3, 0.8, 1.2])
def test_an_offset_along_the_normal_is_the_distance(dome, rest, offset):
    v, f = rest
    xy, faces = dome.sheet(3.0, 0.8, 5)
    points = dome.surface(xy)
    scan = points + offset * vertex_normals(points, faces)
    found = measure(rest, v, (scan, faces))
    assert found.s2m_median == pytest.approx(offset, abs=0.1)
    assert found.s2m_mean == pytest.approx(offset, abs=0.1)
    assert found.s2m_median < found.s2m_p95 < offset + 0.4
    assert (found.under_1mm > 0.9) if offset < 1 else (found.under_1mm < 0.3)


def test_what_is_not_the_templates_skin_is_left_out(dome, rest):
    v, f = rest
    xy, faces = dome.sheet(3.0, 0.9, 5)
    spiky = dome.surface(xy)
    spiky[::10] += [0, 0, 30]  # out of reach
    assert measure(rest, v, (spiky, faces), reach=10.0).s2m_p95 < 1
    assert measure(rest, v, (spiky, faces), reach=100.0).s2m_p95 > 10
    assert np.isnan(measure(rest, v, (dome.surface(xy), faces[:, ::-1])).s2m_median)


def test_what_is_told_from_skin_is_left_out(dome, rest):
    v, f = rest
    upper = v[:, 1] > 50
    above = v + [0, 0, 5] * upper[:, None]
    assert measure(rest, v, (above, f)).s2m_p95 > 4
    found = measure(rest, v, (above, f), skin=~upper)
    assert found.s2m_p95 < 0.5
    assert found.covered_share == upper.mean()


def test_the_scan_beyond_the_templates_boundary_is_left_out(dome, rest):
    v, f = rest
    xy, faces = dome.sheet(3.0, 1.1, 5)
    beyond = (xy**2 / dome.HALF**2).sum(1) > 1.02
    assert beyond.mean() > 0.1
    assert measure(rest, v, (dome.surface(xy), faces)).s2m_p95 < 0.5


def test_stretch_is_the_log_of_the_edges_ratio(rest):
    v, f = rest
    assert measure(rest, 2 * v).stretch_p95 == pytest.approx(1)
    assert measure(rest, v / 4).stretch_p95 == pytest.approx(2)
    assert measure(rest, 2 * v).stretch_core == pytest.approx(0)  # a larger head, not a stretched one


def test_stretch_of_the_core_is_of_the_core(rest):
    v, f = rest
    rng = np.random.default_rng(3)
    core = core_of(v)
    outside, inside = (v + np.where(at[:, None], rng.normal(0, 1, v.shape), 0) for at in (~core, core))
    assert measure(rest, outside).stretch_core < 1e-6 < 0.05 < measure(rest, outside).stretch_p95
    assert measure(rest, inside).stretch_core > 0.05


def test_folds_are_counted(rest):
    v, f = rest
    x, y, z = triangle_normals(v, f)[0].T
    turned = int((x**2 < y**2 + z**2).sum())  # in a mirror at x = 0 a normal becomes (x, -y, -z)
    assert measure(rest, v * [-1, 1, 1]).flipped_triangles == turned > 0.9 * len(f)
    crushed = v.copy()
    inner = f[np.argmin(np.linalg.norm(v[f].mean(1) - v[f].mean((0, 1)), axis=1))]
    crushed[inner[1]] = crushed[inner[0]]
    found = measure(rest, crushed)
    assert 1 <= found.degenerate_triangles <= 3  # the triangles on that edge
    assert found.flipped_triangles < 4


def test_checks_are_read_from_the_figures_they_made(rest):
    v, f = rest
    made = LandmarkChecks(1.25, 2.0, 0.5)
    nowhere = np.zeros(len(v), bool)
    found = QualityAssessor(v, f, np.arange(len(v)), core_of(v), nowhere, NONE, np.zeros((len(v), 0))).assess(
        v * 1.1,
        v,
        vertex_normals(v, f),
        made,
        NONE,
        1.0,
        WHOLE,
        ALL_PARTS,
        SHUT,
        SEEN_AT_A_GLANCE,
        ~nowhere,
        0.0,
        10.0,
    )
    assert found.landmarks_found == 0.5
    read = LandmarkChecks.of(found)
    assert (read.held_out_mm, read.found_share) == (1.25, 0.5)
    assert read.disagreement_mm == 2.0


def test_a_bare_frame_is_told_as_bare(rest):
    found = LandmarkChecks(1.25, 2.0, 1.0)
    in_colours, bare = (measure(rest, rest[0], checks=found, bare=share) for share in (0.0, 1.0))
    assert in_colours.expected_error == expected_error(0.0, 1.25, 1.0)
    assert bare.expected_error == expected_error(0.0, 1.25, 1.0, bare_share=1.0)
    low, high = expected_interval(1.0)
    assert bare.expected_error_low == pytest.approx(low * bare.expected_error)
    assert bare.expected_error_high == pytest.approx(high * bare.expected_error)


def test_without_landmarks_the_expected_error_is_not_known(dome, rest):
    found = measure(rest, rest[0], checks=LandmarkChecks(np.nan, 9.0))
    assert np.isnan([found.expected_error, found.expected_error_low, found.expected_error_high]).all()
    reject_bad(found, dome.LIMITS, 1000)


def test_vertices_near_landmarks_are_less_far_off(rest):
    """The mean error is one over vertices: the same form with more of them at its landmarks has less of it."""
    v, f = rest
    core = core_of(v)
    mark = v[core][:1]
    here = vertex_spread(v, core, mark)
    mean_mm = np.linalg.norm(v[core] - mark, axis=1).mean()
    assert here == pytest.approx((mean_mm / LANDMARK_DISTANCE_MM) ** SPREAD_POWER)
    near = np.linalg.norm(v - mark, axis=1) < 20
    denser = np.concatenate([v, np.repeat(v[near & core], 3, axis=0)])
    assert vertex_spread(denser, np.r_[core, np.ones(len(denser) - len(v), bool)], mark) < here
    assert vertex_spread(v, core, NONE) == 1.0
    told = measure(rest, v * [1.0, 1.1, 1.0], marks=mark)
    assert told.expected_error == pytest.approx(
        here * measure(rest, v * [1.0, 1.1, 1.0]).expected_error, rel=1e-6
    )
    assert told.template_distance > 0.1


def test_distance_from_the_template_is_that_of_the_cores_form(rest):
    """Neither place nor size is a face's own, nor what lies beyond its core."""
    v, f = rest
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert measure(rest, v * 1.2).template_distance == pytest.approx(0, abs=1e-9)
    moved = measure(rest, v @ turn.T + 3.0, (v @ turn.T + 3.0, f))
    assert moved.template_distance == pytest.approx(0, abs=1e-9)
    core = core_of(v)
    beyond = measure(rest, v + np.where(core[:, None], 0, [0, 0, 5.0]))
    assert beyond.template_distance == pytest.approx(0, abs=1e-9)
    bent = v + np.where(v[:, :1] > 0, [0, 0, 2.0], [0, 0, -2.0])
    found = measure(rest, bent)
    assert 0.5 < found.template_distance < 2.0
    assert found.expected_error > measure(rest, v).expected_error


def test_figures_do_not_depend_on_the_place(rest):
    v, f = rest
    moved = v + 0.4 * np.random.default_rng(0).normal(size=v.shape)
    shift = np.array([30.0, -20, 50])
    here = measure(rest, moved)
    there = measure(rest, moved + shift, (v + shift, f))
    for name, value in asdict(here).items():
        np.testing.assert_allclose(getattr(there, name), value, rtol=1e-3, equal_nan=True)


def test_no_landmarks_and_no_scan_in_reach_are_not_zero(rest):
    found = measure(rest, rest[0], (rest[0] + [0, 0, 40], rest[1]))
    assert np.isnan(found.s2m_median) and np.isnan(found.landmark_residual)


def test_self_intersecting_triangles_are_counted(rest):
    v, f = rest
    assert measure(rest, v).crossing_triangles == 0
    sheet = np.array([[-60.0, -60, 40], [60, -60, 40], [0, 80, 40]])
    both = (
        np.concatenate([v, sheet]),
        np.concatenate([f, [[len(v), len(v) + 1, len(v) + 2]]]).astype(np.int32),
    )
    # the sheet itself, and what its three edges run through
    assert 3 <= measure(both, both[0]).crossing_triangles <= 12


def test_a_fine_scan_is_measured_by_some_of_its_vertices(rest, monkeypatch):
    v, f = rest
    rng = np.random.default_rng(0)
    pick = rng.integers(0, len(v), 25_000)
    normals = vertex_normals(v, f)[pick]
    scan = v[pick] + rng.normal(scale=0.3, size=(25_000, 1)) * normals
    rim = np.zeros(len(v), bool)
    some, _ = quality.scan_to_mesh(scan, normals, v, f, rim, 10.0)
    monkeypatch.setattr(quality, "MEASURED_POINTS", 10**9)
    every, _ = quality.scan_to_mesh(scan, normals, v, f, rim, 10.0)
    assert 12_000 < len(some) <= 12_500 < 24_000 < len(every)
    np.testing.assert_allclose(np.percentile(some, [50, 95]), np.percentile(every, [50, 95]), rtol=0.03)


def test_an_ear_beside_the_scans_is_told_and_one_that_is_not_seen_says_nothing(rest):
    v, f = rest
    left, right = v[:, 0] < -40, v[:, 0] > 40
    masks = np.stack([left, right], axis=1).astype(float)
    normals = vertex_normals(v, f)
    off = v + 0.8 * right[:, None] * normals
    assert measure(rest, v, ears=masks).ear_distance < 1e-6
    assert 0.5 < measure(rest, off, ears=masks).ear_distance < 0.9
    assert measure(rest, off, ears=masks[:, :1]).ear_distance < 1e-6
    assert np.isnan(measure(rest, off, ears=np.zeros((len(v), 2))).ear_distance)
