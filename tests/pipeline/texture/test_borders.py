"""Borders of scans against closed forms: beside a boundary, a jump of depth or a smear nothing counts as seen."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.formats.map_coding import MAPS
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture import borders as module
from mimicme.pipeline.texture.baking import TextureOptions, bake, bake_source, open_source
from mimicme.pipeline.texture.surface_maps import SurfaceMaps, coding

N, SIDE = 256, 100.0
MM = SIDE / N
X = np.broadcast_to(((np.arange(N) + 0.5) * MM - SIDE / 2)[None, :], (N, N))
IMAGE = np.full((64, 64, 3), 120, np.uint8)


def sheet(x, y, z=None):
    """A sheet of triangles over the grid of coordinates x and y, mm, facing +z, photographed from there."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    xx, yy = np.meshgrid(x, y)
    zz = 0 * xx if z is None else np.broadcast_to(np.asarray(z, float)[None, :], xx.shape)
    i = (np.arange(len(y) - 1)[:, None] * len(x) + np.arange(len(x) - 1)).ravel()
    right, up = i + 1, i + len(x)
    faces = np.concatenate([np.stack([i, right, up + 1], 1), np.stack([i, up + 1, up], 1)]).astype(np.int32)
    uv = np.stack([xx.ravel(), yy.ravel()], 1) / SIDE + 0.5
    return Mesh(np.stack([xx.ravel(), yy.ravel(), zz.ravel()], 1), faces, uv, faces)


def joined(*meshes):
    start = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    faces = np.concatenate([m.faces + s for m, s in zip(meshes, start, strict=False)]).astype(np.int32)
    return Mesh(
        np.concatenate([m.vertices for m in meshes]), faces, np.concatenate([m.uv for m in meshes]), faces
    )


def registered():
    flat = sheet(np.linspace(-50, 50, 9), np.linspace(-50, 50, 9))
    return Template(
        flat.vertices, flat.faces, flat.uv, flat.faces, ("a",), np.zeros((1, 3), np.int64),
        np.array([[1.0, 0, 0]]), digest="borders-test",
    )  # fmt: skip


def seen(scan, border_mm=1.5, size=N, image=IMAGE):
    template = registered()
    return bake(scan, image, template.vertices, template, TextureOptions(size, border_mm=border_mm))


WIDE = np.linspace(-60, 60, 49)


@pytest.mark.parametrize("border", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("n", [13, 60])
def test_what_lies_along_the_scans_boundary_is_not_seen(border, n):
    x = np.linspace(-30, 30, n)
    baked = seen(sheet(x, x), border)
    # a confidence of a tenth counts as seen: it is reached within the rise beyond the border
    side = 60 - 2 * border * (1 + 0.1 * 0.25)
    assert np.sqrt(baked.share) * SIDE == pytest.approx(side, abs=2 * MM)
    row = np.abs(X[N // 2])[baked.coverage[N // 2] > 0]
    assert row.max() == pytest.approx(side / 2, abs=MM)


def test_a_template_inside_the_scan_loses_nothing():
    baked = seen(sheet(WIDE, WIDE))
    assert baked.share == 1
    assert (baked.coverage == 255).all()


def test_a_crack_is_no_border_and_a_gap_is():
    for gap, lost in ((0.2, 0.0), (3.0, 3.0 + 2 * 1.5)):
        left, right = np.linspace(-60, -gap / 2, 25), np.linspace(gap / 2, 60, 25)
        baked = seen(joined(sheet(left, WIDE), sheet(right, WIDE)))
        unseen = (baked.coverage[N // 2] == 0).sum() * MM
        assert unseen == pytest.approx(lost, abs=3 * MM), gap


def stair(height):
    """A scan that rises by `height` at x = 0."""
    return sheet(
        np.r_[np.linspace(-60, 0, 25), np.linspace(1e-3, 60, 25)], WIDE, np.repeat([0.0, height], 25)
    )


def test_both_sides_of_a_jump_are_not_seen():
    high = seen(stair(3.2))
    unseen = X[N // 2][high.coverage[N // 2] == 0]
    assert unseen.max() == pytest.approx(1.5, abs=1.5 * MM)
    assert unseen.min() == pytest.approx(-1.5, abs=1.5 * MM)
    assert len(unseen) == pytest.approx(3 / MM, abs=3)
    assert seen(stair(3.2), 0.0).share > high.share + 0.02
    low = seen(stair(1.2))
    assert low.share > 0.99


def test_a_jump_costs_the_same_on_a_coarser_grid(monkeypatch):
    fine = seen(stair(3.2), size=512).coverage == 0
    monkeypatch.setattr(module, "GRID", 128)
    coarse = seen(stair(3.2), size=512).coverage == 0
    assert (np.abs(coarse.sum(1) - fine.sum(1)) <= 8).all()


def test_no_background_is_seen_nor_smeared_into_what_is_filled():
    # the photograph's skin ends a millimetre before the scan does
    image = np.full((1000, 1000, 3), 120, np.uint8)
    image[:, 790:] = [0, 0, 255]
    scan = sheet(np.linspace(-60, 30, 46), WIDE)
    assert (seen(scan, image=image).texture == 120).all()
    assert (seen(scan, 0.0, image=image).texture[:, int(79.6 / MM)] == [0, 0, 255]).all()


def test_what_has_next_to_no_pixels_is_not_seen():
    scan = sheet(WIDE, WIDE)
    uv = scan.uv.copy()
    uv[:, 0] = np.where(np.abs(uv[:, 0] - 0.5) < 0.15, 0.5, uv[:, 0])
    smeared = Mesh(scan.vertices, scan.faces, uv, scan.faces)
    baked = seen(smeared)
    inside = np.abs(X) < 10
    assert not baked.coverage[inside].any()
    assert (baked.coverage[np.abs(X) > 20] > 0).all()


def test_the_maps_show_the_registered_surface_beside_a_jump():
    template = registered()
    options = TextureOptions(N, border_mm=1.5)
    codings = {name: coding(name, template, 4.0) for name in MAPS}
    source = open_source(stair(3.2), IMAGE, options)
    maps = SurfaceMaps(codings, template.vertices, np.eye(4), template, source, N)
    baked = bake_source(source, template.vertices, template, options, maps)
    depth = codings["displacement"].values(maps.picture("displacement")).reshape(N, N)
    assert np.abs(depth[baked.coverage == 0]).max() < 1e-3
    assert np.abs(depth[(baked.coverage > 0) & (X > 0)] - 3.2).max() < 1e-3
    normal = codings["normal"].values(maps.picture("normal"))
    assert np.abs(normal - [0, 0, 1])[baked.coverage == 0].max() < 1e-3
