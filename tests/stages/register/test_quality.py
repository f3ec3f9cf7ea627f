"""quality: figures in closed form, and a reason for every bound."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, transform, triangle_normals, vertex_normals
from mimicme.pipeline.landmarks import MIRROR
from mimicme.pipeline.template.face_core import PartShares, Shares
from mimicme.stages.register import quality
from mimicme.stages.register.mouth_light import Mouth
from mimicme.stages.register.plausibility import Plausible
from mimicme.stages.register.quality import (
    UNITS,
    LandmarkChecks,
    Limits,
    Quality,
    QualityAssessor,
    expected_error,
    notes,
    reject_bad,
    vertex_spread,
)

AS_IT_SHOULD = Plausible(1.0, 0.95, 0.2, 0.0, 0.3, 0.0, 1.0, 0.5, 0.6)
GOOD = Quality(
    0.2, 0.3, 0.9, 0.97, 1.0, 0.5, 1.1, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 3.0, 0.8, 0.6, 1.0, 0.9, 0.9, 0.9,
    1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.1,
    *AS_IT_SHOULD,
)  # fmt: skip
LIMITS = Limits(1.0, 6.0, 0.2, 0.01, 2.0, 0.25, 0.4)
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
        AS_IT_SHOULD,
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


def test_much_that_is_no_skin_is_told():
    assert "skin-covered" not in dict(notes(replace(GOOD, covered_share=0.04)))
    assert "12%" in dict(notes(replace(GOOD, covered_share=0.12)))["skin-covered"]


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
        AS_IT_SHOULD,
        ~nowhere,
        0.0,
        10.0,
    )
    assert found.landmarks_found == 0.5
    read = LandmarkChecks.of(found)
    assert (read.held_out_mm, read.found_share) == (1.25, 0.5)
    assert read.disagreement_mm == 2.0


def test_a_farther_face_more_noise_or_more_found_points_are_a_larger_expected_error():
    assert expected_error(5.0, 1.0) > expected_error(3.0, 1.0)
    assert expected_error(3.0, 2.0) > expected_error(3.0, 1.0)
    assert expected_error(3.0, 1.0, 1.0) > expected_error(3.0, 1.0, 0.5) > expected_error(3.0, 1.0)
    assert expected_error(3.0, 1.0, 1.0, 0.4) > expected_error(
        3.0, 1.0, 1.0, 0.2
    )  # what followed found points
    assert expected_error(3.0, 1.0, 0.0, 0.4) == expected_error(3.0, 1.0)
    assert (
        0.4 < expected_error(2.0, 0.5) < 0.7
    )  # of a face like the template with landmarks as good as they get
    assert expected_error(0.0, 0.0) == pytest.approx(quality.BEST_CASE_MM)  # nothing is exact
    assert 0.14 < expected_error(0.0, 0.2) < expected_error(0.0, 1.0)
    assert np.isnan(expected_error(3.0, np.nan))  # nothing is known without landmarks


def test_points_found_without_colours_are_less_sure():
    in_colours = expected_error(3.0, 1.0, 1.0, 0.2)
    bare = expected_error(3.0, 1.0, 1.0, 0.2, bare_share=1.0)
    assert in_colours < expected_error(3.0, 1.0, 1.0, 0.2, bare_share=0.3) < bare
    assert bare**2 - in_colours**2 == pytest.approx(quality.bare_excess(1.0))
    assert expected_error(3.0, 1.0, 1.0, 0.2, spread=0.7, bare_share=1.0) == pytest.approx(0.7 * bare)
    low, high = quality.expected_interval()
    wider, widest = quality.expected_interval(1.0)
    assert wider < low < 1 < high < widest


def test_a_bare_frame_is_told_as_bare(rest):
    found = LandmarkChecks(1.25, 2.0, 1.0)
    in_colours, bare = (measure(rest, rest[0], checks=found, bare=share) for share in (0.0, 1.0))
    assert in_colours.expected_error == expected_error(0.0, 1.25, 1.0)
    assert bare.expected_error == expected_error(0.0, 1.25, 1.0, bare_share=1.0)
    low, high = quality.expected_interval(1.0)
    assert bare.expected_error_low == pytest.approx(low * bare.expected_error)
    assert bare.expected_error_high == pytest.approx(high * bare.expected_error)


@pytest.mark.parametrize(("in_colours", "spread"), [(1.9, 1.0), (2.13, 1.0), (1.3, 0.7), (1.5, 0.7)])
def test_what_passes_in_colours_passes_without(in_colours, spread):
    """What landmarks cost that were found without colours is no frame's own fault: none is rejected for being bare."""
    square = (in_colours / spread) ** 2 + quality.bare_excess(1.0)
    bare = replace(GOOD, expected_error=spread * np.sqrt(square), landmarks_found=1.0)
    limits = replace(LIMITS, spread=spread)
    assert bare.expected_error > LIMITS.max_expected_error_mm * spread
    if in_colours < LIMITS.max_expected_error_mm * spread:
        reject_bad(bare, limits, 1000, False, 1.0)
        return
    with pytest.raises(FrameRejected) as raised:
        reject_bad(bare, limits, 1000, False, 1.0)
    assert f"an expected error of {in_colours:.1f} mm, without what landmarks cost" in raised.value.seen
    assert "max_expected_error_mm to 2.2." in raised.value.todo
    reject_bad(bare, replace(limits, max_expected_error_mm=2.2), 1000, False, 1.0)


@pytest.mark.parametrize(("share", "said"), [(1.0, "which were found"), (0.0, "landmark file")])
def test_what_to_do_of_uncertain_landmarks_goes_by_where_they_are_from(share, said):
    """Of found ones there is no file to check."""
    with pytest.raises(FrameRejected) as raised:
        reject_bad(
            replace(GOOD, expected_error=LIMITS.max_expected_error_mm + 1, landmarks_found=share), LIMITS, 9
        )
    assert said in raised.value.todo


def test_without_landmarks_the_expected_error_is_not_known(rest):
    found = measure(rest, rest[0], checks=LandmarkChecks(np.nan, 9.0))
    assert np.isnan([found.expected_error, found.expected_error_low, found.expected_error_high]).all()
    reject_bad(found, LIMITS, 1000)


def test_what_a_rejection_says_of_the_setting_lets_the_frame_pass():
    """The bound is that of the embedded template; where another's vertices lie nearer to landmarks, it is less."""
    told = replace(GOOD, expected_error=1.9)
    reject_bad(told, LIMITS, 1000)
    with pytest.raises(FrameRejected, match="raise register.max_expected_error_mm to 2.8") as raised:
        reject_bad(told, replace(LIMITS, spread=0.7), 1000)
    assert "at most 1.4 mm, which register.max_expected_error_mm = 2 is" in str(raised.value)
    reject_bad(told, replace(LIMITS, spread=0.7, max_expected_error_mm=2.8), 1000)


def test_vertices_near_landmarks_are_less_far_off(rest):
    """The mean error is one over vertices: the same form with more of them at its landmarks has less of it."""
    v, f = rest
    core = core_of(v)
    mark = v[core][:1]
    here = vertex_spread(v, core, mark)
    mean_mm = np.linalg.norm(v[core] - mark, axis=1).mean()
    assert here == pytest.approx((mean_mm / quality.LANDMARK_DISTANCE_MM) ** quality.SPREAD_POWER)
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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data_share": 0.19}, "register-no-overlap"),
        ({"data_share": np.nan}, "register-no-overlap"),
        ({"s2m_median": 1.01}, "register-misfit"),
        ({"s2m_median": np.nan}, "register-misfit"),
        ({"landmark_error": 6.1}, "register-landmarks"),
        ({"expected_error": 2.1}, "register-landmarks"),
        ({"flipped_triangles": 11.0}, "register-folded"),
        ({"flipped_triangles": 6.0, "degenerate_triangles": 5.0}, "register-folded"),
    ],
)
def test_a_bound_that_is_passed_rejects(change, reason):
    with pytest.raises(FrameRejected) as caught:
        reject_bad(replace(GOOD, **change), LIMITS, 1000)
    assert caught.value.reason == reason
    assert caught.value.seen and caught.value.expected and caught.value.todo


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"data_share": 0.2, "s2m_median": 1.0, "landmark_error": 6.0, "flipped_triangles": 10.0},
        {"landmark_error": np.nan, "expected_error": np.nan},  # a scan without landmarks can be registered
        {"expected_error": 1.9, "landmarks_found": 1.0},
    ],
)
def test_a_frame_within_its_bounds_passes(change):
    reject_bad(replace(GOOD, **change), LIMITS, 1000)


# ------------------------------------------------------------------------------ the same from real bad input


def scraps(dome):
    """A scan of which only the forehead is left."""
    frame = dome.frame()
    kept = frame.vertices[frame.faces][:, :, 1].mean(1) > 70
    mesh, _ = keep_triangles(Mesh(frame.vertices, frame.faces), kept)
    return replace(frame, vertices=mesh.vertices, faces=mesh.faces)


def inside_out(dome):
    frame = dome.frame()
    return replace(frame, faces=frame.faces[:, ::-1].copy())


def elsewhere(dome):
    """The pose is 300 mm off and there are no landmarks to tell."""
    frame = dome.frame()
    return replace(frame, vertices=frame.vertices + [0, 300, 0], confidence=np.zeros(68))


def crumpled(dome):
    """A scan so rough that no smooth surface comes near half of its points."""
    return dome.frame(noise_mm=3.0)


def scattered(dome):
    """Landmarks of no face at all."""
    return dome.frame(landmark_noise_mm=15.0)


def crossed(dome):
    """A landmark file with the eyes exchanged."""
    frame = dome.frame()
    order = np.arange(68)
    order[36:48] = MIRROR[36:48]
    return replace(frame, landmarks=frame.landmarks[order])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (scraps, "register-no-overlap"),
        (inside_out, "register-no-overlap"),
        (elsewhere, "register-no-overlap"),
        (crumpled, "register-misfit"),
        (scattered, "register-landmarks"),
        (crossed, "register-landmarks"),
    ],
)
def test_a_bad_frame_is_named(dome, bad, reason):
    tracker = dome.tracker()
    with pytest.raises(FrameRejected) as caught:
        tracker.register(bad(dome))
    assert caught.value.reason == reason
    assert tracker.neutral is None
    # and the next frame is none the worse for it
    good = tracker.register(dome.frame(1))
    assert dome.apart(transform(good.pose, good.vertices), dome.truth(0)).mean() < 0.2


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


def test_a_part_that_the_scan_lacks_is_named():
    for figure, part in (
        ("eye_share_right", "right eye's lids"),
        ("eye_share_left", "left eye's lids"),
        ("nose_share", "nose"),
        ("mouth_share", "lips"),
    ):
        ((code, said),) = notes(replace(GOOD, **{figure: 0.1}))
        assert code == "part-missing" and f"10% of the {part}" in said
        assert notes(replace(GOOD, **{figure: 0.6 if part != "lips" else 0.85})) == []
    ((_, said),) = notes(replace(GOOD, nose_share=0.0, mouth_share=0.2))
    assert "0% of the nose and 20% of the lips" in said
    # a lower lip in the middle of a wide-open mouth: half of the lips lie on something
    ((_, said),) = notes(replace(GOOD, mouth_share=0.57))
    assert "57% of the lips" in said and "across an open mouth" in said
    # an eye of a half that is hardly seen is no news beside that
    aside = replace(GOOD, core_share_right=0.4, eye_share_right=0.0)
    assert [code for code, _ in notes(aside)] == ["half-seen"]


def test_half_a_face_is_rejected_and_the_missing_half_named():
    for side, share in (("right", {"core_share_right": 0.1}), ("left", {"core_share_left": 0.1})):
        with pytest.raises(FrameRejected) as caught:
            reject_bad(replace(GOOD, **share), LIMITS, 1000)
        assert caught.value.reason == "register-half"
        assert f"the {side} half" in str(caught.value) and "10%" in str(caught.value)
    reject_bad(replace(GOOD, core_share_left=0.25), LIMITS, 1000)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_neutral_needs_more_of_both_halves_than_a_frame_that_has_one(side):
    aside = replace(GOOD, **{f"core_share_{side}": 0.3})
    reject_bad(aside, LIMITS, 1000)
    with pytest.raises(FrameRejected) as caught:
        reject_bad(aside, LIMITS, 1000, first=True)
    assert caught.value.reason == "register-half"
    for said in (
        f"the {side} half",
        "30%",
        "40%",
        "min_neutral_half_share = 0.3 under [register] in mimicme.toml",
    ):
        assert said in str(caught.value)
    # each bound is lowered by its own setting, and the larger holds
    reject_bad(aside, replace(LIMITS, min_neutral_half_share=0.3), 1000, first=True)
    assert "min_half_share" not in str(caught.value)  # to lower it would be of no use
    with pytest.raises(FrameRejected, match=r"50%.*write min_half_share = 0\.45 under"):
        reject_bad(replace(GOOD, core_share_left=0.45), replace(LIMITS, min_half_share=0.5), 1000, first=True)


def test_a_neutral_that_fails_both_bounds_of_a_half_names_both():
    """Else whoever lowers one, and registers everybody again, meets the other."""
    little = replace(GOOD, core_share_left=0.096)
    with pytest.raises(FrameRejected) as caught:
        reject_bad(little, LIMITS, 1000, first=True)
    for said in ("10%", "min_half_share = 0.09 and min_neutral_half_share = 0.09 under [register]"):
        assert said in str(caught.value)
    # what it says to write brings the frame back
    reject_bad(little, replace(LIMITS, min_half_share=0.09, min_neutral_half_share=0.09), 1000, first=True)


@pytest.mark.parametrize("share", [0.0, 0.004])
def test_where_nothing_of_a_half_is_scanned_no_setting_is_advised(share):
    for first in (False, True):
        with pytest.raises(FrameRejected) as caught:
            reject_bad(replace(GOOD, core_share_left=share), LIMITS, 1000, first=first)
        assert caught.value.reason == "register-half" and "no setting adds it" in str(caught.value)
        assert "half_share" not in str(caught.value)


def test_what_a_guess_of_the_neutral_begins_from_is_the_template():
    for change in ({"core_share_left": 0.5}, {"mouth_share": 0.2}):
        ((_, of_neutral),) = notes(replace(GOOD, **change), first=True)
        ((_, of_frame),) = notes(replace(GOOD, **change))
        assert "template" in of_neutral and "neutral" not in of_neutral
        assert "the subject's neutral" in of_frame


def test_what_a_user_should_know_is_noted():
    assert notes(GOOD) == []
    ((code, said),) = notes(replace(GOOD, core_share_left=0.4))
    assert code == "half-seen" and "40%" in said and "left" in said
    ((code, said),) = notes(replace(GOOD, mouth_light=12.0, mouth_opening=14.0))
    assert code == "lips-apart" and "12 mm2" in said
    assert notes(replace(GOOD, mouth_light=12.0, mouth_opening=400.0)) == []  # a mouth that is open


@pytest.mark.parametrize(
    ("figures", "codes", "words"),
    [
        ({"mouth_relief": 0.4}, ["mouth-misplaced"], "0.40"),
        ({"mouth_relief": 0.7, "mouth_asymmetry": 8.0}, ["mouth-askew"], "8.0 mm"),
        ({"mouth_relief": 0.7}, [], ""),
        ({"mouth_asymmetry": 14.0}, [], ""),  # pulled aside, and the scan's lips too
        ({"lids_shut": 2.0}, ["lids-shut"], "2.0 mm"),
        ({"lids_open_left": 2.3}, ["lids-open"], "lids of the left eye are 2.3 mm apart, where"),
        (
            {"lids_open_right": 2.3, "lids_open_left": 1.2},
            ["lids-open"],
            "lids of the right eye are 2.3 mm apart, where",
        ),
        ({"lids_open_right": 2.3, "lids_open_left": 3.0}, ["lids-open"], "3.0 mm"),
        ({"lids_folded": 0.02}, ["lids-folded"], "2.0%"),
        ({"ear_drape": 4.0}, ["ear-draped"], "4.0 mm"),
        ({"ear_distance": 0.9}, ["ear-beside"], "0.9 mm"),
        ({"ear_distance": 0.7}, [], ""),  # no more than everywhere on a scan so far off
        ({"ear_distance": 0.5, "s2m_median": 0.1}, ["ear-beside"], "0.5 mm"),
        ({"ear_distance": 0.3, "s2m_median": 0.05}, [], ""),
        ({"cheek_slide": 5.0}, ["cheek-slid"], "5.0 mm"),
        ({"cheek_slide": 3.0}, [], ""),
        ({"bone_apart": 2.6}, ["another-face"], "2.6 mm"),
        ({"bone_apart": 1.3}, [], ""),
        (dict.fromkeys(Plausible._fields, np.nan), [], ""),
    ],
)
def test_what_a_person_would_see_is_noted(figures, codes, words):
    found = notes(replace(GOOD, **figures))
    assert [code for code, _ in found] == codes
    assert all(words in said for _, said in found)
