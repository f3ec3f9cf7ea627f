"""Triangles wound alike and outwards, whatever the file says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.geometry.mesh import Mesh, triangle_normals
from mimicme.pipeline.geometry.orientation import consistent, orient


def ball(rings: int = 12, around: int = 24, radius: float = 80.0) -> Mesh:
    """A closed ball, wound outwards."""
    from scipy.spatial import ConvexHull

    k = np.arange(rings * around) + 0.5
    z, turn = 1 - 2 * k / len(k), np.pi * (1 + np.sqrt(5)) * k
    points = radius * np.stack(
        [np.cos(turn) * np.sqrt(1 - z**2), np.sin(turn) * np.sqrt(1 - z**2), z], axis=1
    )
    faces = ConvexHull(points).simplices.astype(np.int32)
    normals, _ = triangle_normals(points, faces)
    inward = np.einsum("kx,kx->k", normals, points[faces].mean(axis=1)) < 0
    faces[inward] = faces[inward][:, [0, 2, 1]]
    return Mesh(points, faces)


def shell(share: float = 0.35) -> Mesh:
    """The part of the ball with z above a height: open as a scan of a face."""
    whole = ball()
    high = whole.vertices[whole.faces][..., 2].min(axis=1) > 80 * (1 - 2 * share)
    return Mesh(whole.vertices, whole.faces[high])


def outward(mesh: Mesh) -> np.ndarray:
    normals, _ = triangle_normals(mesh.vertices, mesh.faces)
    return np.einsum("kx,kx->k", normals, mesh.vertices[mesh.faces].mean(axis=1)) > 0


def spoiled(mesh: Mesh, which: np.ndarray) -> Mesh:
    faces = mesh.faces.copy()
    faces[which] = faces[which][:, ::-1]
    return replace(mesh, faces=faces)


def views(apart: float, share: float = 0.35, overlap: float = 30.0) -> Mesh:
    """A shell as two cameras see it, each from its side, one further out than the other."""
    whole = shell(share)
    x = whole.vertices[whole.faces].mean(axis=1)[:, 0]
    left, right = whole.faces[x < overlap], whole.faces[x > -overlap]
    out = whole.vertices * (1 + apart / 80.0)
    return Mesh(
        np.concatenate([whole.vertices, out]),
        np.concatenate([left, right + len(whole.vertices)]).astype(np.int32),
    )


@pytest.mark.parametrize("apart", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("wound", ["out", "in", "some"])
def test_views_that_lie_upon_each_other_are_one_wall(apart: float, wound: str) -> None:
    good = views(apart)
    count = len(good.faces)
    which = {"out": np.zeros(count, bool), "in": np.ones(count, bool), "some": np.arange(count) % 7 == 0}[
        wound
    ]
    found = orient(spoiled(good, which))
    assert outward(found.mesh).all()
    np.testing.assert_array_equal(found.turned, which)
    if wound == "out":
        assert (found.layers > 0.3) == (apart >= 0.5)
        assert found.layers_apart == pytest.approx(apart, rel=0.3) or apart < 0.5


@pytest.mark.parametrize("turned", ["inner", "outer"])
def test_a_view_that_its_file_winds_against_the_other_is_no_layer(turned: str) -> None:
    """Nothing tells it from the back of a plate: what `Oriented.layers` says it does not count."""
    good = views(1.5)
    is_outer = good.faces.min(axis=1) >= len(good.vertices) // 2
    which = is_outer if turned == "outer" else ~is_outer
    assert orient(good).layers > 0.3
    assert orient(spoiled(good, which)).layers < 0.01
    # with the triangles of both as mixed, each view is wound alike first, and then the two are
    mixed = np.arange(len(which)) % 3 == 0
    assert orient(spoiled(good, mixed)).layers == pytest.approx(orient(good).layers, abs=0.05)


def test_what_is_close_and_faces_the_other_way_is_no_layer() -> None:
    """A plate of 2 mm, as an ear is: its front and back are two patches, and both face outwards."""
    step = np.stack(np.meshgrid(*[np.linspace(-80, 80, 40)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    corner = (np.arange(39)[:, None] * 40 + np.arange(39)).ravel()
    front = np.concatenate(
        [np.stack([corner, corner + 40, corner + 1], 1), np.stack([corner + 40, corner + 41, corner + 1], 1)]
    )
    places = [np.column_stack([step, np.full(len(step), z)]) for z in (2.0, 0.0)]
    mesh = Mesh(np.concatenate(places), np.concatenate([front, front[:, ::-1] + 1600]).astype(np.int32))
    found = orient(mesh)
    assert not found.turned.any() and found.layers == 0


@pytest.mark.parametrize("share", [0.2, 0.35, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["none", "all", "half", "random", "most"])
def test_outward_whatever_the_winding(share: float, kind: str) -> None:
    good = ball() if share == 1 else shell(share)
    count = len(good.faces)
    which = {
        "none": np.zeros(count, bool),
        "all": np.ones(count, bool),
        "half": np.arange(count) < count // 2,
        "random": np.random.default_rng(0).random(count) < 0.4,
        "most": np.arange(count) % 7 != 0,
    }[kind]
    found = orient(spoiled(good, which))
    assert outward(found.mesh).all()
    assert (found.turned == which).all()
    assert (
        np.sort(found.mesh.faces, axis=1) == np.sort(good.faces, axis=1)
    ).all()  # same triangles, same order


def test_pieces_are_turned_one_by_one() -> None:
    """Two eyeballs in a shell: each has an outside of its own."""
    front = shell(0.5)
    eye = ball(6, 12, 12.0)
    places = [np.array([30.0, 0, 45]), np.array([-30.0, 0, 45])]
    vertices = np.concatenate([front.vertices, *(eye.vertices + p for p in places)])
    offset = len(front.vertices)
    faces = [front.faces, eye.faces + offset, eye.faces[:, ::-1] + offset + len(eye.vertices)]
    found = orient(Mesh(vertices, np.concatenate(faces).astype(np.int32)))
    sizes = [len(f) for f in faces]
    assert [bool(t.all()) if t.any() else False for t in np.split(found.turned, np.cumsum(sizes)[:-1])] == [
        False, False, True,
    ]  # fmt: skip


def before_a_camera() -> Mesh:
    """A face, and the inside of a collar behind it, as a camera before them sees both and a file winds them."""
    front = shell()
    angle, height = (x.ravel() for x in np.meshgrid(np.linspace(200, 340, 15), np.arange(6), indexing="ij"))
    angle = np.radians(angle)
    collar = np.stack([90 * np.cos(angle), -70 - 6.0 * height, 90 * np.sin(angle)], axis=1)
    k = (np.arange(14)[:, None] * 6 + np.arange(5)).ravel()
    band = np.concatenate([np.stack([k, k + 1, k + 6], 1), np.stack([k + 1, k + 7, k + 6], 1)])
    normals, _ = triangle_normals(collar, band)
    assert (normals[:, 2] > 0).all()
    faces = np.concatenate([front.faces, band + len(front.vertices)]).astype(np.int32)
    return Mesh(np.concatenate([front.vertices, collar]), faces)


def test_what_one_camera_sees_from_inside_is_not_turned() -> None:
    """From behind a collar is seen by more rays than from where the camera stood."""
    seen = before_a_camera()
    assert not orient(seen).turned.any()
    assert orient(spoiled(seen, np.ones(len(seen.faces), bool))).turned.all()


def test_a_piece_that_its_file_winds_away_from_the_camera_is_turned() -> None:
    seen = before_a_camera()
    face = np.arange(len(seen.faces)) < len(shell().faces)
    assert orient(spoiled(seen, face)).turned[face].all()


def test_a_back_half_that_its_file_winds_inwards_is_turned() -> None:
    """It faces the side that the front half faces, as if one camera had seen both, but rays are sure of it."""
    whole = ball()
    height = whole.vertices[whole.faces][..., 2].mean(axis=1)
    halves = replace(whole, faces=np.concatenate([whole.faces[height > 8], whole.faces[height < -8]]))
    back = np.arange(len(halves.faces)) >= (height > 8).sum()
    given = spoiled(halves, back)
    normals, areas = triangle_normals(given.vertices, given.faces)
    assert areas[normals[:, 2] > 0].sum() > 0.97 * areas.sum()
    for which in (back, ~back, np.ones(len(back), bool), np.zeros(len(back), bool)):
        assert (orient(spoiled(halves, which)).turned == which).all()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.35])
def test_a_piece_of_the_back_that_its_file_winds_inwards_is_turned(share: float) -> None:
    """Rays are no surer of it than of a collar; but no camera before the face sees it."""
    front, back = shell(), shell(share)
    vertices = np.concatenate([front.vertices, back.vertices * [1, 1, -1]])
    good = Mesh(vertices, np.concatenate([front.faces, back.faces[:, ::-1] + len(front.vertices)]))
    behind = np.arange(len(good.faces)) >= len(front.faces)
    for which in (behind, ~behind, np.ones(len(behind), bool), np.zeros(len(behind), bool)):
        assert (orient(spoiled(good, which)).turned == which).all()


def test_texture_corners_go_with_their_triangles() -> None:
    good = shell()
    textured = replace(good, uv=good.vertices[:, :2] / 200 + 0.5, uv_faces=good.faces.copy())
    wrong = replace(textured, faces=textured.faces[:, ::-1].copy(), uv_faces=textured.faces[:, ::-1].copy())
    found = orient(wrong).mesh
    assert found.uv_faces is not None
    assert (found.uv_faces == found.faces).all()


def test_unit_and_place_do_not_matter() -> None:
    wrong = spoiled(shell(), np.ones(len(shell().faces), bool))
    for scale, move in ((1e-3, 0.0), (1e3, 5e6)):
        moved = replace(wrong, vertices=wrong.vertices * scale + move)
        assert orient(moved).turned.all()


def test_a_strip_with_one_side_stays_and_ends() -> None:
    """A Moebius strip has no outside; a fan of three triangles on one edge has no neighbours."""
    n = 30
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    wide = np.stack(
        [np.cos(angle / 2) * np.cos(angle), np.cos(angle / 2) * np.sin(angle), np.sin(angle / 2)], axis=1
    )
    middle = 3 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    vertices = np.concatenate([middle + wide, middle - wide])
    faces = []
    for k in range(n):
        a, b, c, d = k, k + n, (k + 1) % n, (k + 1) % n + n
        if k == n - 1:
            c, d = d, c
        faces += [[a, b, c], [b, d, c]]
    strip = np.array(faces, np.int32)
    flips, patch = consistent(strip)
    assert not flips.any() and (patch == 0).all()
    assert len(orient(Mesh(vertices, strip)).turned) == len(strip)
    fan = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]], np.int32)
    assert len(set(consistent(fan)[1].tolist())) == 3
    assert orient(Mesh(vertices, np.zeros((0, 3), np.int32))).turned.shape == (0,)


def with_flaps(up: float) -> Mesh:
    """The shell with triangles on some of its edges, each a third one there, so that it is a patch of its own: they
    lean back onto the surface, or stand on it."""
    good = shell(0.5)
    chosen = good.faces[:: len(good.faces) // 40]
    corner = good.vertices[chosen]
    outwards = corner.mean(axis=1) / np.linalg.norm(corner.mean(axis=1), axis=1, keepdims=True)
    tips = corner[:, 2] + up * outwards
    first = len(good.vertices)
    flaps = np.column_stack([chosen[:, 0], chosen[:, 1], first + np.arange(len(chosen))])
    return Mesh(np.concatenate([good.vertices, tips]), np.concatenate([good.faces, flaps]).astype(np.int32))


@pytest.mark.parametrize("up", [0.5, 3.0, 30.0])
def test_small_pieces_are_turned_alike_however_the_file_winds_them(up: float) -> None:
    given = with_flaps(up)
    count = len(given.faces)
    one = orient(given).mesh.faces
    half = np.arange(count) < count // 2
    for which in (np.ones(count, bool), half, ~half, np.random.default_rng(1).random(count) < 0.5):
        other = spoiled(given, which)
        turned = orient(other).mesh.faces
        rolled = np.stack([np.roll(turned, k, axis=1) for k in range(3)])
        assert (rolled == one).all(axis=2).any(axis=0).all()


def test_what_lies_on_the_surface_is_turned_as_that() -> None:
    given = with_flaps(0.5)
    flaps = np.arange(len(given.faces)) >= len(shell(0.5).faces)
    for which in (flaps, ~flaps):
        assert outward(orient(spoiled(given, which)).mesh).mean() > 0.99


@pytest.mark.parametrize(
    "axes", [[[1, 0, 0], [0, 0, -1], [0, 1, 0]], [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]], ids=str
)
@pytest.mark.parametrize("up", [3.0, 30.0])
def test_small_pieces_are_turned_alike_whatever_the_axes(axes: list[list[int]], up: float) -> None:
    given = with_flaps(up)
    matrix = np.array(axes, float)
    found = orient(replace(given, vertices=given.vertices @ matrix.T))
    mirrored = np.linalg.det(matrix) < 0
    assert (found.turned == (orient(given).turned ^ mirrored)).all()
