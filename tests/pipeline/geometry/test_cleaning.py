"""Cleaning: what goes, what stays, and that texture coordinates stay with their corners."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.cleaning import clean, torn, weld, weld_close
from mimicme.pipeline.geometry.mesh import Mesh


def sheet(side: int, offset: float = 0.0) -> Mesh:
    """A curved sheet of side x side vertices; its uv are a function of the place, to be checked by."""
    x, y = (a.ravel() for a in np.meshgrid(np.arange(side, dtype=float), np.arange(side, dtype=float)))
    places = np.stack([x + offset, y, np.sin(x / 9)], axis=1)
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = (q.ravel() for q in (i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(places, faces, uv_of(places), faces.copy(), np.full((side * side, 3), 7, np.uint8))


def uv_of(places: np.ndarray) -> np.ndarray:
    return places[:, :2] / 1000


def both(*meshes: Mesh) -> Mesh:
    at = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + k for m, k in zip(meshes, at[:-1], strict=True)]).astype(np.int32),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.uv_faces + k for m, k in zip(meshes, at[:-1], strict=True)]).astype(np.int32),
        np.concatenate([m.colors for m in meshes]),
    )


def unwelded(mesh: Mesh) -> Mesh:
    faces = np.arange(mesh.faces.size, dtype=np.int32).reshape(-1, 3)
    at = mesh.faces.ravel()
    return Mesh(mesh.vertices[at], faces, mesh.uv[mesh.uv_faces.ravel()], faces.copy(), mesh.colors[at])


def uv_still_fits(mesh: Mesh) -> bool:
    return np.allclose(mesh.uv[mesh.uv_faces], uv_of(mesh.vertices)[mesh.faces])


def test_a_clean_scan_is_left_as_it_is() -> None:
    mesh = sheet(20)
    cleaned, report, kept = clean(mesh)
    assert (cleaned.vertices == mesh.vertices).all()
    assert (cleaned.faces == mesh.faces).all()
    assert report.removed_triangles == 0
    assert kept.all()


def test_welding_restores_the_mesh() -> None:
    mesh = sheet(20)
    loose = unwelded(mesh)
    welded, merged = weld(loose)
    assert len(welded.vertices) == len(mesh.vertices)
    assert merged == len(loose.vertices) - len(mesh.vertices)
    assert np.allclose(welded.vertices[welded.faces], mesh.vertices[mesh.faces])
    assert uv_still_fits(welded)
    assert clean(loose)[1].removed_triangles == 0


def test_welding_within_a_tolerance() -> None:
    loose = unwelded(sheet(20))
    shaken = loose.with_vertices(
        loose.vertices + np.random.default_rng(0).uniform(-1e-6, 1e-6, loose.vertices.shape)
    )
    assert weld(shaken)[1] == 0
    # the sheet's places lie in the middle of the grid's cells, not on their borders
    assert len(weld(shaken.with_vertices(shaken.vertices + 1e-4), 1e-4)[0].vertices) <= 1.2 * 400


def test_a_weld_keeps_the_texture_seam() -> None:
    seam = both(sheet(10), sheet(10, 9.0))  # they share a column of places
    seam = Mesh(seam.vertices.copy(), seam.faces, seam.uv + (np.arange(200) >= 100)[:, None], seam.uv_faces)
    seam.vertices[100:][seam.vertices[100:, 0] == 9, 2] = seam.vertices[:100][seam.vertices[:100, 0] == 9, 2]
    cleaned, _, _ = clean(seam)
    assert len(cleaned.vertices) == 190
    assert cleaned.uv is not None
    assert len(cleaned.uv) == 200


def test_degenerate_and_double_triangles_go() -> None:
    mesh = sheet(20)
    a, b, c = mesh.faces[5]
    extra = np.array([[a, a, b], [c, a, b], [b, a, c], [0, 1, 2]], np.int32)  # 0 1 2 lie on a line but for z
    mesh = Mesh(mesh.vertices * [1, 1, 0], np.r_[mesh.faces, extra], mesh.uv, np.r_[mesh.uv_faces, extra])
    cleaned, report, kept = clean(mesh)
    assert report.degenerate_triangles == 2
    assert report.duplicate_triangles == 2
    assert (np.flatnonzero(~kept) >= len(mesh.faces) - 4).all()
    assert uv_still_fits(cleaned)


def test_specks_go_and_halves_stay() -> None:
    scan = both(sheet(40), sheet(4, 100.0), sheet(30, 200.0))
    cleaned, report, kept = clean(scan)
    assert report.specks == 1
    assert report.speck_triangles == 18
    assert len(cleaned.faces) == 2 * (39 * 39 + 29 * 29)
    assert kept.sum() == len(cleaned.faces)
    assert uv_still_fits(cleaned)
    assert cleaned.colors is not None
    assert len(cleaned.colors) == len(cleaned.vertices)


def test_the_largest_piece_stays_however_small() -> None:
    assert len(clean(sheet(4))[0].faces) == 18


def test_spikes_go_and_coarse_parts_stay() -> None:
    mesh = sheet(100)
    mesh.vertices[5050, 2] += 60  # a spike
    mesh.vertices[2020, 2] += 3  # a pimple
    cleaned, report, _ = clean(mesh)
    assert report.long_triangles == 6
    assert not (cleaned.vertices[:, 2] > 30).any()
    assert (cleaned.vertices[:, 2] > 2.5).any()
    assert clean(mesh, long_edge_factor=0)[1].long_triangles == 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_cleaning_knows_no_unit(scale: float) -> None:
    mesh = both(sheet(40), sheet(4, 100.0))
    mesh.vertices[820, 2] += 60
    expected = clean(mesh)[2]
    assert (clean(mesh.with_vertices(mesh.vertices * scale))[2] == expected).all()


def test_nothing_left() -> None:
    mesh = Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32))
    assert len(clean(mesh)[0].faces) == 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_triangles_torn_apart_by_a_rounding_are_joined(scale: float) -> None:
    """As programs write it that move or round each triangle by itself: no corner is exactly a neighbour's."""
    mesh = sheet(20)
    rng = np.random.default_rng(0)
    soup = mesh.vertices[mesh.faces].reshape(-1, 3) + rng.uniform(-2e-3, 2e-3, (3 * len(mesh.faces), 3))
    corners = np.arange(len(soup), dtype=np.int32).reshape(-1, 3)
    uv = rng.random((len(soup), 2))
    colors = np.repeat(np.arange(len(mesh.faces), dtype=np.uint8), 3)[:, None] * np.ones(3, np.uint8)
    torn_apart = Mesh(soup * scale, corners, uv, corners, colors)
    assert torn(torn_apart) and not torn(mesh)
    cleaned, report, kept = clean(torn_apart)
    assert kept.all() and len(cleaned.vertices) == len(mesh.vertices)
    assert report.welded_vertices == len(soup) - len(mesh.vertices)
    np.testing.assert_allclose(cleaned.vertices[cleaned.faces] / scale, mesh.vertices[mesh.faces], atol=5e-3)
    np.testing.assert_array_equal(cleaned.uv[cleaned.uv_faces].reshape(-1, 2), uv)  # seams stay as they are
    assert len(cleaned.colors) == len(cleaned.vertices)


def test_triangles_that_are_truly_apart_stay_apart() -> None:
    corners = sheet(8).vertices[sheet(8).faces]
    apart = (0.8 * corners + 0.2 * corners.mean(axis=1, keepdims=True)).reshape(-1, 3)
    mesh = Mesh(apart, np.arange(len(apart), dtype=np.int32).reshape(-1, 3))
    assert torn(mesh) and clean(mesh)[1].welded_vertices == 0


def test_places_beside_one_another_without_number_take_no_memory() -> None:
    """Of 60,000 corners in one place each would be a neighbour of each."""
    rng = np.random.default_rng(0)
    crowd = rng.uniform(0, 1e-6, (60_000, 3))
    crowd[0], crowd[1], crowd[2] = [0, 0, 0], [1, 0, 0], [0, 1, 0]
    mesh = Mesh(crowd, np.arange(len(crowd), dtype=np.int32).reshape(-1, 3))
    assert len(weld_close(mesh, 1e-2)[0].vertices) == 3


@pytest.mark.parametrize("with_triangle", [False, True])
def test_a_place_far_off_costs_no_triangle(with_triangle: bool) -> None:
    """Some programs write -1e6 and the like for what they did not measure: the scan is no larger by that."""
    mesh = sheet(40)
    places = np.concatenate([mesh.vertices, [[-1e7, 0, 0]]])
    spike = np.array([[0, 1, len(mesh.vertices)]], np.int32)
    faces = np.concatenate([mesh.faces, spike]) if with_triangle else mesh.faces
    cleaned, report, _ = clean(Mesh(places, faces))
    assert report.degenerate_triangles == 0 and report.long_triangles == int(with_triangle)
    assert len(cleaned.faces) == len(mesh.faces) and len(cleaned.vertices) == len(mesh.vertices)
