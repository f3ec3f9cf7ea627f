"""lips: those that the scan shows closed are drawn together and sealed, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mimicme.pipeline.geometry.mesh import vertex_areas, vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template.lips import GAP_MM, IN_FRONT_MM, LOWER, SEAL_MM, UPPER, WINDOW_MM, find_lips

STEP = 0.5


def lips(gap: float, step: float = 1.0):
    """Two half-pipes, one above the other, whose backs go up and down: a mouth 40 mm wide with a slit at y = 0.

    Args:
        gap: mm between them; step: mm between vertices across the face.

    Returns vertices (V, 3), faces (t, 3), landmarks (68, V) and the number of vertices of the upper lip.
    """
    x = np.arange(-20, 20.1, step)
    turn = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 13)  # from the slit, over the front, to the far end
    radius = 5.0
    profile = np.stack([radius + radius * np.sin(turn), radius * np.cos(turn)], axis=1)  # y above the slit, z
    flap = np.stack([np.linspace(0, 6, 5)[1:], -np.linspace(0, 6, 5)[1:]], axis=1)[::-1]
    rows = np.concatenate([flap, profile])
    upper = np.array([[a, y + gap / 2, z] for y, z in rows for a in x])
    lower = upper * [1, -1, 1]
    n, m = len(rows), len(x)
    quads = [
        (r * m + c, r * m + c + 1, (r + 1) * m + c + 1, (r + 1) * m + c)
        for r in range(n - 1)
        for c in range(m - 1)
    ]
    tris = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    faces = np.concatenate([tris, tris[:, ::-1] + len(upper)]).astype(np.int32)
    vertices = np.concatenate([upper, lower])
    if vertex_normals(vertices, faces)[(len(flap) + 6) * m + m // 2, 2] < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    marks = sparse.lil_matrix((68, len(vertices)))
    front = (len(flap) + 6) * m
    for start, those in ((0, UPPER), (len(upper), LOWER)):
        for k, mark in enumerate(those):
            marks[mark, start + front + round((12 + 3 * k) / step)] = 1.0
    return vertices, faces, marks.tocsr(), len(upper)


@pytest.fixture(scope="module")
def mouth():
    return found_in(*lips(0.1))


def found_in(vertices, faces, marks, count):
    normals = vertex_normals(vertices, faces)
    found = find_lips(
        vertices, faces, normals, vertex_areas(vertices, faces), marks, np.arange(len(vertices))
    )
    assert found is not None
    return vertices, faces, found, count


def test_of_a_coarse_mesh_the_line_has_points_between_its_vertices(mouth):
    """10 mm between vertices would leave the slit to five of them."""
    vertices, _, found, _ = found_in(*lips(0.1, step=10.0))
    for lip in (found.line[: found.upper], found.line[found.upper :]):
        across = np.unique((lip @ vertices)[:, 0].round(6))
        np.testing.assert_allclose(across[[0, -1]], [-20.0, 20.0])
        assert np.diff(across).max() <= 1.5 * WINDOW_MM
        np.testing.assert_allclose(np.asarray(lip.sum(axis=1)).ravel(), 1.0)
    # a millimetre of the slit pulls as on the fine mesh, about
    fine, length = mouth[2], np.ptp((mouth[2].line @ mouth[0])[:, 0])
    assert 0.4 < (found.areas.sum() / 40.0) / (fine.areas.sum() / length) < 2.5


@pytest.mark.parametrize(("farther", "closed"), [(1.0, True), (3.5, False)])
def test_lips_that_lie_deep_in_the_template_may_lie_as_deep_behind_the_scan(mouth, farther, closed):
    """A scan shows nothing of how far a slit goes in: the template's own surface tells how deep its line lies."""
    vertices, faces, found, _ = mouth
    np.testing.assert_allclose(found.depth, 2.13, atol=0.1)
    now = apart(vertices, mouth, 1.0)
    scan = skin(IN_FRONT_MM + farther)
    assert (found.attraction(now, vertex_normals(now, faces), scan)[2] > 0).all() == closed


def skin(z: float = 0.0, below: float = -30.0, above: float = 30.0):
    """A wall that looks to the front, between two heights."""
    corners = np.array([[-40, below, z], [40, below, z], [40, above, z], [-40, above, z]], float)
    return Surface(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def apart(vertices: np.ndarray, mouth, by: float) -> np.ndarray:
    moved = vertices.copy()
    moved[: mouth[3], 1] += by / 2
    moved[mouth[3] :, 1] -= by / 2
    return moved


def test_the_line_of_contact_is_found_on_both_lips(mouth):
    vertices, _, found, count = mouth
    upper, lower = found.line[: found.upper], found.line[found.upper :]
    assert upper.shape[0] > 20 and lower.shape[0] > 20
    assert (upper.indices < count).all() and (lower.indices >= count).all()
    assert np.abs(found.line @ vertices)[:, 1].max() < 0.5


def test_lips_before_skin_attract_each_other(mouth):
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, 2.0)
    rows, points, areas = found.attraction(now, vertex_normals(now, faces), skin())
    assert (areas > 0).all()
    # what would satisfy every pair: the lips a gap apart
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), GAP_MM)
    shut = apart(vertices, mouth, GAP_MM - 0.1)
    assert np.linalg.norm(rows @ now - points, axis=1).mean() > 1.5
    assert np.linalg.norm(rows @ shut - points, axis=1).mean() < 0.15


def test_rounding_does_not_say_where_to_of_lips_that_meet_in_edges_and_vertices(mouth):
    """The two lips are each other's mirror image: every vertex's closest point is a vertex."""
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, 2.0)
    rows, points, areas = found.attraction(now, vertex_normals(now, faces), skin())
    for seed in range(3):
        noisy = now + 1e-5 * np.random.default_rng(seed).normal(size=now.shape)
        other_rows, other_points, other_areas = found.attraction(noisy, vertex_normals(noisy, faces), skin())
        np.testing.assert_allclose(other_points, points, atol=1e-4)
        np.testing.assert_allclose(other_rows @ noisy, rows @ now, atol=1e-4)
        np.testing.assert_array_equal(other_areas, areas)


def gaps(vertices: np.ndarray, mouth) -> np.ndarray:
    """Of every vertex of the slit and every middle of an edge of it, mm; negative where it has passed the other lip."""
    _, faces, found, _ = mouth
    assert found.line.nnz == found.line.shape[0]  # the mesh is fine: its points are vertices
    sides = found.line.indices[: found.upper], found.line.indices[found.upper :]
    heights = []
    for mine, other, sign in ((sides[0], found.faces[1], 1), (sides[1], found.faces[0], -1)):
        row = vertices[mine[np.argsort(vertices[mine, 0])]]
        row = np.concatenate([row, (row[1:] + row[:-1]) / 2])
        row = row[np.abs(row[:, 0]) < 18]  # where the other one is surely below
        hit = Surface(vertices, other).cast(row + [0, 2 * sign, 0], np.array([0.0, -sign, 0.0]))
        assert hit.hit.all()
        heights.append(hit.distances - 2)
    return np.concatenate(heights)


@pytest.mark.parametrize("by", [0.2, -0.15])
def test_lips_that_touch_are_sealed_and_do_not_pass_each_other(mouth, by):
    """By vertices and by edges: `by` more than the 0.1 mm between the two at rest is left by the fit, or too little."""
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, by)
    # one lip's vertices lie between those of the other, a bent one
    now[: mouth[3], 0] += 0.4
    now[:, 1] += 0.3 * np.sin(now[:, 0] / 4)
    shut = found.sealed(now, vertex_normals(now, faces), skin())
    assert np.abs(gaps(now, mouth)).min() > 0.03
    assert gaps(shut, mouth).min() >= 0 and gaps(shut, mouth).max() < 2 * SEAL_MM
    far = np.abs(vertices[:, 1]) > 8
    np.testing.assert_array_equal(shut[far], now[far])


def test_what_was_sealed_is_sealed_again_and_nothing_else(mouth):
    vertices, faces, found, _ = mouth
    shut = found.sealed(apart(vertices, mouth, 0.1), vertex_normals(vertices, faces), skin())
    moved = found.kept_sealed(shut, apart(shut, mouth, 0.2), faces)
    assert gaps(moved, mouth).min() >= 0 and gaps(moved, mouth).max() < 2 * SEAL_MM
    opened = apart(vertices, mouth, 0.4)
    np.testing.assert_array_equal(
        found.kept_sealed(opened, apart(vertices, mouth, 0.2), faces), apart(vertices, mouth, 0.2)
    )


def test_open_lips_are_not_sealed_and_rounding_does_not_say_how(mouth):
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, 0.2)
    normals = vertex_normals(now, faces)
    np.testing.assert_array_equal(found.sealed(now, normals, skin(-8.0)), now)
    shut = found.sealed(now, normals, skin())
    for seed in range(3):
        noisy = now + 1e-6 * np.random.default_rng(seed).normal(size=now.shape)
        np.testing.assert_allclose(found.sealed(noisy, normals, skin()), shut, atol=1e-4)


@pytest.mark.parametrize("scan", [skin(-8.0), skin(0.0, above=-3.0), skin(0.0, below=3.0)])
def test_open_lips_do_not(mouth, scan):
    """Teeth or nothing behind them."""
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, 2.0)
    assert not found.attraction(now, vertex_normals(now, faces), scan)[2].any()


def test_lips_far_apart_do_not(mouth):
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, 12.0)
    assert not found.attraction(now, vertex_normals(now, faces), skin())[2].any()


def test_a_short_closed_stretch_of_an_open_mouth_does_not(mouth):
    """The corners of an open mouth are never far apart."""
    vertices, faces, found, _ = mouth
    now = apart(vertices, mouth, 2.0)
    corners = np.array([[-40, -30, 0], [-16, -30, 0], [-16, 30, 0], [-40, 30, 0]], float)
    corner = Surface(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    assert not found.attraction(now, vertex_normals(now, faces), corner)[2].any()


def test_a_face_without_a_slit_has_no_lips():
    vertices, faces, marks, count = lips(0.1)
    upper_alone = faces[(faces < count).all(axis=1)]
    normals = vertex_normals(vertices, upper_alone)
    areas = vertex_areas(vertices, upper_alone)
    assert find_lips(vertices, upper_alone, normals, areas, marks, np.arange(count)) is None
