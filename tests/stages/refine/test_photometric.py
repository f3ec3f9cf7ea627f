"""photometric: vertices find the skin that they ought to carry, and stay on the surface."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import textured_dome as faces
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as shifted

from mimicme.pipeline.geometry.mesh import adjacency, corners, edges, triangle_normals
from mimicme.pipeline.texture.baking import open_source
from mimicme.pipeline.texture.flow import Flow
from mimicme.stages.refine import photometric
from mimicme.stages.refine.photometric import (
    LIDS_ROUNDS,
    LIDS_SMOOTHING,
    Drift,
    Parameters,
    Refiner,
    better,
    gain,
    recognised,
)
from mimicme.stages.refine.settings import RefineSettings
from mimicme.stages.refine.unfolding import Around

PARAMETERS = Parameters.of(RefineSettings(size=256))
STILL = np.eye(4)


def test_only_what_agrees_with_the_reference_as_the_same_skin_is_recognised():
    own = np.full((8, 8), 0.6, np.float32)
    shown = np.ones((8, 8), np.float32)
    assert recognised(Drift(0.3, 1.0, 0.5), own, shown)
    assert not recognised(Drift(0.3, 1.0, 0.3), own, shown)
    shown[:, 4:] = 0  # what a frame does not show counts neither for nor against it
    assert recognised(Drift(0.3, 1.0, 0.25), own, shown)
    assert not recognised(Drift(0.3, 1.0, 0.15), own, shown)


def test_an_unknown_drift_and_a_reference_without_grain_recognise_nothing():
    shown = np.ones((8, 8), np.float32)
    assert not recognised(Drift(np.nan, np.nan), np.full((8, 8), 0.6, np.float32), shown)
    assert not recognised(Drift(0.0, 0.0, 0.0), np.zeros((8, 8), np.float32), shown)
    assert not recognised(Drift(0.3, 1.0, 0.5), np.full((8, 8), 0.6, np.float32), 0 * shown)


@pytest.fixture(scope="module")
def refiner():
    return Refiner(faces.template(), PARAMETERS)


def source_of(refiner, image, **given):
    return open_source(faces.scan(**given), image, refiner.parameters.texture)


@pytest.fixture(scope="module")
def reference(refiner):
    """The skin at rest, with the template's vertices where they belong."""
    return refiner.comparable(source_of(refiner, faces.skin()), refiner.template.vertices)


def inner(refiner):
    return np.abs(refiner.template.vertices[:, :2]).max(1) < 40


def displaced_skin(vertices, amplitude):
    """Where the skin under `vertices` lies after `faces.wave`."""
    return faces.on_dome(vertices[:, :2] + faces.wave(vertices[:, :2], amplitude))


@pytest.mark.parametrize("amplitude", [0.5, 1.5, 3.0])
def test_skin_that_is_displaced_is_followed(refiner, reference, amplitude):
    vertices = refiner.template.vertices
    source = source_of(refiner, faces.photograph_with_noise(1), flow=lambda p: faces.wave(p, amplitude))
    d, before = refiner.refine(refiner.frame(source, vertices, STILL), reference, np.zeros_like(vertices))
    truth, use = displaced_skin(vertices, amplitude), inner(refiner)
    first = np.linalg.norm(vertices - truth, axis=1)[use].mean()
    left = np.linalg.norm(vertices + d - truth, axis=1)[use]
    assert left.mean() < 0.1
    assert first > 5 * left.mean()
    # 0.8 * 1024 texels on 100 mm
    assert before.median == pytest.approx(np.median(np.linalg.norm(vertices - truth, axis=1)) * 8.2, rel=0.3)
    after = refiner.drift(refiner.between(reference, refiner.comparable(source, vertices + d), 1))
    assert after.median < 0.5
    assert better(after, before)


def test_a_pose_and_another_light_change_nothing(refiner, reference):
    vertices, amplitude = refiner.template.vertices, 1.5
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = q * np.sign(np.linalg.det(q)), [30, -20, 400]
    mesh = faces.scan(flow=lambda p: faces.wave(p, amplitude))
    turned = mesh.with_vertices(mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
    source = open_source(turned, faces.resampled(faces.skin(), 0.5), PARAMETERS.texture)
    d, _ = refiner.refine(refiner.frame(source, vertices, pose), reference, np.zeros_like(vertices))
    left = np.linalg.norm(vertices + d - displaced_skin(vertices, amplitude), axis=1)[inner(refiner)]
    assert left.mean() < 0.12


def test_displacements_keep_the_surface(refiner, reference):
    vertices = refiner.template.vertices
    source = source_of(refiner, faces.skin(), flow=lambda p: faces.wave(p, 2.0))
    d, _ = refiner.refine(refiner.frame(source, vertices, STILL), reference, np.zeros_like(vertices))
    moved = vertices + d
    off = moved[:, 2] - faces.height(moved[:, :2])
    assert np.linalg.norm(d, axis=1).mean() > 1
    # the facets of a grid of 4 mm lie up to 0.05 mm below the dome
    assert np.abs(off).max() < 0.06
    normals, areas = triangle_normals(moved, refiner.template.faces)
    assert (normals[:, 2] > 0).all()
    assert areas.min() > 0


def test_without_texture_nothing_moves(refiner):
    flat = np.full((faces.PIXELS, faces.PIXELS, 3), 128, np.uint8)
    source = source_of(refiner, flat)
    vertices = refiner.template.vertices
    reference = refiner.comparable(source, vertices)
    d, before = refiner.refine(refiner.frame(source, vertices, STILL), reference, np.zeros_like(vertices))
    assert np.abs(d).max() < 1e-3
    assert np.isnan(before.median)


def test_what_is_right_already_stays(refiner, reference):
    vertices = refiner.template.vertices
    source = source_of(refiner, faces.photograph_with_noise(2))
    d, before = refiner.refine(refiner.frame(source, vertices, STILL), reference, np.zeros_like(vertices))
    assert np.linalg.norm(d, axis=1)[inner(refiner)].mean() < 0.05
    assert before.median < 0.3


def test_a_start_is_used_only_where_it_is_nearer(refiner, reference):
    vertices, amplitude = refiner.template.vertices, 2.0
    source = source_of(refiner, faces.skin(), flow=lambda p: faces.wave(p, amplitude))
    once = Refiner(refiner.template, replace(PARAMETERS, levels=1, iterations=1))
    truth = displaced_skin(vertices, amplitude)
    good, wrong = truth - vertices, vertices - truth
    left = {}
    for name, start in (("none", np.zeros_like(vertices)), ("good", good), ("wrong", wrong)):
        d, _ = once.refine(once.frame(source, vertices, STILL), reference, start)
        left[name] = np.linalg.norm(vertices + d - truth, axis=1)[inner(refiner)].mean()
    assert left["good"] < 0.1 < left["none"]
    assert left["wrong"] == left["none"]


def lid_like(monkeypatch, near, closes: bool) -> Refiner:
    """A refiner of a finer dome that takes vertices where `near` (V, 3) -> (V,) says so for lids."""
    template = faces.template(72)
    lids = SimpleNamespace(
        near=near(template.vertices),
        close=lambda rest, found: closes,
        kept_tucked=lambda before, after: after,
    )
    monkeypatch.setattr(photometric, "Lids", lambda template: lids)
    return Refiner(template, PARAMETERS)


def closing_lid(p):
    """Skin slides down, most in the middle of a band as high as a lid; beside it nothing does."""
    p = np.asarray(p)
    return np.stack([0 * p[..., 0], -2.5 * np.clip(1 - np.abs(p[..., 1]) / 8, 0, 1)], axis=-1)


def weak_grain(seed: int):
    """Skin whose grain is weak in that band."""
    image = faces.photograph_with_noise(seed, sigma=0.0).astype(np.float64)
    mm = (np.arange(faces.PIXELS) / faces.PIXELS - 0.5) * 1.3 * faces.SIDE
    contrast = np.where(np.abs(mm) < 8, 0.1, 1.0)[:, None, None]
    weak = image.mean() + contrast * (image - image.mean())
    noise = np.random.default_rng(seed).normal(scale=1.0, size=(faces.PIXELS, faces.PIXELS, 1))
    return np.clip(weak + noise, 0, 255).astype(np.uint8)


def test_skin_of_lids_is_not_held_back_by_strong_grain_beside_it(monkeypatch):
    left = []
    for share in (0.0, 1.0):
        refiner = lid_like(monkeypatch, lambda v, share=share: np.full(len(v), share), closes=False)
        vertices = refiner.template.vertices
        reference = refiner.comparable(source_of(refiner, weak_grain(1)), vertices)
        frame = refiner.frame(source_of(refiner, weak_grain(2), flow=closing_lid), vertices, STILL)
        d, _ = refiner.refine(frame, reference, np.zeros_like(vertices))
        truth = faces.on_dome(vertices[:, :2] + closing_lid(vertices[:, :2]))
        lid = inner(refiner) & (np.abs(vertices[:, 1]) < 5)
        left.append(np.linalg.norm(vertices + d - truth, axis=1)[lid].mean())
    assert left[1] < 0.75 * left[0]


def test_what_is_near_a_lid_alone_is_held_less(monkeypatch):
    half = lid_like(monkeypatch, lambda v: (v[:, 0] > 0).astype(float), closes=False)
    plain = lid_like(monkeypatch, lambda v: np.zeros(len(v)), closes=False)
    edge = half.field.laplacian - plain.field.laplacian
    left = half.template.vertices[:, 0] < -2
    right = half.template.vertices[:, 0] > 2
    assert abs(edge[left][:, left]).max() == 0
    one, other = (r.field.laplacian[right][:, right].diagonal() for r in (half, plain))
    np.testing.assert_allclose(one, LIDS_SMOOTHING**2 * other)
    # what is carried is carried both ways alike, and a motion of everything costs nothing
    assert abs(half.field.laplacian - half.field.laplacian.T).max() < 1e-12
    np.testing.assert_allclose(np.asarray(half.field.laplacian.sum(axis=1)), 0, atol=1e-9)


@pytest.mark.parametrize("closes", [True, False])
def test_an_eye_that_closes_takes_further_rounds(monkeypatch, closes):
    refiner = lid_like(monkeypatch, lambda v: np.zeros(len(v)), closes)
    vertices = refiner.template.vertices
    reference = refiner.comparable(source_of(refiner, faces.skin()), vertices)
    frame = refiner.frame(source_of(refiner, faces.skin()), vertices, STILL)
    between, rounds = Refiner.between, []
    monkeypatch.setattr(Refiner, "between", lambda *given: rounds.append(1) or between(*given))
    refiner.refine(frame, reference, np.zeros_like(vertices), vertices)
    assert len(rounds) == PARAMETERS.iterations + (LIDS_ROUNDS if closes else 0)


def test_no_displacement_is_longer_than_the_limit(refiner, reference):
    vertices = refiner.template.vertices
    short = Refiner(refiner.template, replace(PARAMETERS, max_shift_mm=0.5))
    source = source_of(refiner, faces.skin(), flow=lambda p: faces.wave(p, 2.0))
    d, _ = short.refine(short.frame(source, vertices, STILL), reference, np.zeros_like(vertices))
    assert 0.4 < np.linalg.norm(d, axis=1).max() < 0.55


def test_folds_are_smoothed_out(refiner):
    vertices = refiner.template.vertices
    d = np.zeros_like(vertices)
    d[300] = [6.0, 0, 0]  # beyond its neighbour, 4.2 mm away
    moved = refiner.displaced(vertices, d)
    folded = triangle_normals(vertices + d, refiner.template.faces)[0][:, 2] < 0
    assert folded.any()
    assert (triangle_normals(moved, refiner.template.faces)[0][:, 2] > 0).all()
    far = np.linalg.norm(vertices - vertices[300], axis=1) > 20
    assert np.abs(moved - vertices)[far].max() < 1e-4


def test_displaced_vertices_stand_off_the_curved_skin_as_before(refiner):
    vertices = refiner.template.vertices
    low = refiner.displaced(
        vertices, faces.on_dome(vertices[:, :2] + [2.1, 0.9]) - vertices
    )  # the middle of facets
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = q * np.sign(np.linalg.det(q)), [30, -20, 400]
    mesh = faces.scan(n=200)
    turned = mesh.with_vertices(mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
    source = open_source(turned, faces.skin(), PARAMETERS.texture)
    high = refiner.held_to_scan(source, vertices, low, pose)
    use = np.abs(vertices[:, :2]).max(1) < 35
    below = [np.abs(v[:, 2] - faces.height(v[:, :2]))[use].mean() for v in (low, high)]
    assert below[0] > 0.015
    assert below[1] < 0.25 * below[0]
    far = turned.with_vertices(turned.vertices + 3 * pose[:3, 2])  # nothing within reach: nothing moves
    beyond = open_source(far, faces.skin(), PARAMETERS.texture)
    assert np.array_equal(refiner.held_to_scan(beyond, vertices, low, pose), low)


def test_what_is_no_skin_is_neither_followed_nor_held_to(refiner, reference):
    """Over the right half lies a pattern that has slid; told to be hair, it moves nothing."""
    vertices = refiner.template.vertices
    image, slid = faces.skin(), np.roll(faces.skin(), 12, axis=1)
    image[:, image.shape[1] // 2 :] = slid[:, image.shape[1] // 2 :]
    source = source_of(refiner, image)
    skin = np.where(vertices[:, 0] > 0, 0, 255).astype(np.uint8)
    still = np.zeros_like(vertices)
    right = inner(refiner) & (vertices[:, 0] > 12)
    followed = refiner.refine(refiner.frame(source, vertices, STILL), reference, still)[0]
    let_go = refiner.frame(source, vertices, STILL, skin)
    kept = refiner.refine(let_go, reference, still)[0]
    assert np.linalg.norm(followed[right], axis=1).mean() > 0.5
    assert np.linalg.norm(kept[right], axis=1).mean() < 0.1
    assert not let_go.baked.coverage[:, PARAMETERS.size // 2 + 4 :].any()
    high = vertices + [0.0, 0.0, 0.1]
    held = refiner.held_to_scan(source, vertices, high, STILL, skin >= 128)
    assert np.array_equal(held[vertices[:, 0] > 5], high[vertices[:, 0] > 5])
    assert np.abs(held - vertices)[inner(refiner) & (vertices[:, 0] < -5), 2].mean() < 0.02


def test_noise_of_the_scan_that_registration_has_smoothed_out_does_not_come_back(refiner):
    vertices, mesh = refiner.template.vertices, faces.scan(n=200)
    noise = 0.1 * np.sin(mesh.vertices[:, 0] / 3) * np.cos(mesh.vertices[:, 1] / 3)
    noisy = mesh.with_vertices(mesh.vertices + noise[:, None] * [0, 0, 1])
    source = open_source(noisy, faces.skin(), PARAMETERS.texture)
    after = refiner.held_to_scan(source, vertices, vertices, np.eye(4))
    np.testing.assert_allclose(after, vertices, atol=1e-6)


def seen_twice(refiner, amount, noise=6.0):
    """Weak grain, and the same grain moved by so many texels, each seen through noise of its own."""
    rng, size = np.random.default_rng(3), refiner.parameters.size
    grain = gaussian_filter(rng.normal(size=(size, size)), 1.2)
    grey = [120 + 12 * g / grain.std() for g in (grain, shifted(grain, (0, amount), mode="wrap"))]
    full = np.full((size, size), 255, np.uint8)
    seen = [
        np.clip(np.rint(g + rng.normal(scale=noise, size=g.shape)), 0, 255).astype(np.uint8) for g in grey
    ]
    return [refiner.parameters.comparable(np.repeat(g[..., None], 3, axis=2), full) for g in seen]


def drift_before(refiner, reference, texture):
    begun_with = refiner.drift(refiner.between(reference, texture, refiner.parameters.levels))
    return refiner.drift_before(reference, texture, begun_with)


def test_a_frame_that_is_right_seems_to_drift_less_than_one_that_has_been_moved(refiner):
    """Noise reads as drift, the more the narrower the window: before and after have to be read alike."""
    reference, still = seen_twice(refiner, 0.0)
    moved = seen_twice(refiner, 0.2)[1]
    before, after = drift_before(refiner, reference, still), refiner.drift_left(reference, moved)
    assert before.median < 0.9 * after.median
    assert better(before, after)
    assert before.median < 0.8 * refiner.drift(refiner.between(reference, still, 1)).median


@pytest.mark.parametrize("amount", [1.0, 2.0, 4.0, 8.0])
def test_drift_before_is_as_far_as_the_texture_lies(refiner, amount):
    """One level alone takes what lies 4 texels away for near."""
    found = drift_before(refiner, *seen_twice(refiner, amount, noise=3.0)).median
    assert found == pytest.approx(amount * 1024 / refiner.parameters.size, rel=0.25)


def test_coarse_levels_are_looked_at_in_the_first_step_alone(refiner, reference, monkeypatch):
    """Shading that stays in place would hold the later ones back."""
    between, asked = Refiner.between, []

    def counted(self, one, other, levels):
        asked.append(levels)
        return between(self, one, other, levels)

    monkeypatch.setattr(Refiner, "between", counted)
    vertices = refiner.template.vertices
    frame = refiner.frame(source_of(refiner, faces.skin()), vertices, STILL)
    refiner.refine(frame, reference, np.zeros_like(vertices))
    assert asked == [PARAMETERS.levels] + [1] * (PARAMETERS.iterations - 1)
    assert len(asked) > 1 < PARAMETERS.levels


def test_less_drift_counts_where_the_textures_agree():
    unknown = Drift(np.nan, np.nan)
    assert better(Drift(5.0, 9.0, 0.5), Drift(6.0, 9.0, 0.5))
    assert not better(Drift(5.0, 9.0, 0.1), Drift(6.0, 9.0, 0.5))  # it agrees with nothing
    assert better(Drift(5.0, 9.0), unknown)
    assert not better(unknown, Drift(5.0, 9.0))
    assert not better(unknown, unknown)


def test_the_gain_undoes_exposure_and_white_balance():
    rng = np.random.default_rng(0)
    reference = rng.integers(60, 200, (64, 64, 3)).astype(np.uint8)
    full = np.full((64, 64), 255, np.uint8)
    factors = np.array([0.8, 1.0, 1.2])
    texture = np.rint(reference / factors).astype(np.uint8)
    assert np.allclose(gain(texture, full, reference, full), factors, rtol=0.01)
    texture[:20] = 0  # a shadow is no exposure, nor is what was not seen
    assert np.allclose(gain(texture, full, reference, full), factors, rtol=0.01)
    texture[20:40] = 150
    hidden = full.copy()
    hidden[20:40] = 0
    assert np.allclose(gain(texture, hidden, reference, full), factors, rtol=0.01)
    assert np.isnan(gain(texture, 0 * full, reference, full)).all()


def test_flipped_triangles_are_taken_back_and_nothing_else(refiner):
    before = refiner.template.vertices
    middle = int(np.argmin(np.linalg.norm(before - before.mean(0), axis=1)))
    after = before + [0.1, 0, 0]
    np.testing.assert_array_equal(refiner.unflipped(before, after), after)
    after[middle] += [12.0, 0, 0]  # across its neighbours
    taken_back = refiner.unflipped(before, after)
    normals = triangle_normals(before, refiner.template.faces)[0]
    turned = lambda v: ((triangle_normals(v, refiner.template.faces)[0] * normals).sum(1) < 0.3).sum()  # noqa: E731
    assert turned(after) > 0 and turned(taken_back) == 0
    far = np.linalg.norm(before - before[middle], axis=1) > 30
    np.testing.assert_array_equal(taken_back[far], after[far])


@pytest.fixture
def fine_mesh():
    """(mesh, vertices, triangles) of a wavy square, 80 by 80 vertices, 1 mm apart."""
    n = 80
    y, x = np.mgrid[:n, :n].astype(float)
    before = np.stack([x.ravel(), y.ravel(), 3 * np.sin(x.ravel() / 9)], axis=1)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    triangles = np.concatenate(
        [corner[:, None] + [0, 1, n], corner[:, None] + [1, n + 1, n]]
    )  # fmt: skip
    mesh = object.__new__(Refiner)  # nothing but the mesh takes part
    mesh.template = SimpleNamespace(faces=triangles)
    mesh.faces = triangles.astype(np.int32)
    mesh.around = Around.of(adjacency(edges(triangles)[0], n * n), corners(triangles, n * n).T.tocsr())
    return mesh, before, triangles


def test_where_one_triangle_folds_the_skin_around_keeps_its_displacement(fine_mesh):
    mesh, before, triangles = fine_mesh
    after = before + [0.0, 3.0, 0.0]  # three edges' length: an abrupt end would fold the next ring, and so on
    middle = 40 * 80 + 40
    after[middle] += [0.0, -9.0, 0.0]
    kept = mesh.unflipped(before, after)
    normals = triangle_normals(before, triangles)[0]
    assert ((triangle_normals(kept, triangles)[0] * normals).sum(1) > 0.79).all()
    away = np.linalg.norm(before - before[middle], axis=1)
    np.testing.assert_array_equal(kept[away > 15], after[away > 15])
    assert np.linalg.norm(kept - before, axis=1)[(away > 5) & (away < 8)].mean() > 1


def test_where_a_large_shift_ends_abruptly_no_triangle_stays_flipped(fine_mesh):
    """One half is pushed over the other: far more than a ring has to be taken back."""
    mesh, before, triangles = fine_mesh
    after = before - np.where(before[:, 1:2] > 40, [3.0, 9.0, 0], 0.0)
    normals = triangle_normals(before, triangles)[0]

    def turned(v):
        return ((triangle_normals(v, triangles)[0] * normals).sum(1) < 0).sum()

    assert turned(after) > 100
    assert turned(mesh.unflipped(before, after)) == 0


def test_displacement_is_taken_back_by_degrees_so_that_nothing_jitters(refiner):
    before, faces = refiner.template.vertices, refiner.template.faces
    middle = int(np.argmin(np.linalg.norm(before - before.mean(0), axis=1)))
    normal = triangle_normals(before, faces)[0][(faces == middle).any(1)].mean(0)
    kept = []
    # a vertex raised out of the skin, mm: its triangles turn more and more
    for height in np.linspace(0, 8, 81):
        after = before.copy()
        after[middle] += height * normal / np.linalg.norm(normal)
        taken_back = refiner.unflipped(before, after)
        kept.append(np.linalg.norm((taken_back - before)[middle]))
        cosine = (triangle_normals(taken_back, faces)[0] * triangle_normals(before, faces)[0]).sum(1)
        assert cosine.min() > 0.79
    kept = np.array(kept)
    assert kept[1] == pytest.approx(0.1) and kept[2] == pytest.approx(0.2)  # a little is taken as it is
    assert kept[-1] == 0
    assert np.abs(np.diff(kept)).max() < 0.5  # mm, from one height to the next: no step


def test_where_nothing_is_seen_steps_do_not_add_up():
    refiner = Refiner(faces.template(), Parameters.of(RefineSettings(size=128)))
    vertices = faces.template().vertices
    seen = vertices[:, 0] < 0
    confidence = np.zeros((128, 128), np.float32)
    confidence[:, :60] = 1  # ends short of the last column of seen vertices
    still = Flow(np.zeros((128, 128, 2), np.float32), confidence)
    before = np.where(seen[:, None], [0.5, 0, 0], [5.0, -3, 0])  # what is unseen has run away
    after = refiner._displacement_field(still, vertices, before)
    assert np.abs(after[seen & (vertices[:, 0] < -10)] - [0.5, 0, 0]).max() < 0.02
    assert np.abs(after[~seen] - [0.5, 0, 0]).max() < 0.15
