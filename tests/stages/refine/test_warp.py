"""A warped texture is the one that baking again with the displaced vertices would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import textured_dome as faces

from mimicme.pipeline.texture.baking import open_source
from mimicme.stages.refine.photometric import Parameters, Refiner
from mimicme.stages.refine.settings import RefineSettings
from mimicme.stages.refine.warp import Layout, Spots, warped_pixels

PARAMETERS = Parameters.of(RefineSettings(size=256))


@pytest.fixture(scope="module")
def frame():
    refiner = Refiner(faces.template(), PARAMETERS)
    source = open_source(faces.scan(), faces.skin(), PARAMETERS.texture)
    return refiner.frame(source, refiner.template.vertices, np.eye(4))


def displaced(frame, amplitude: float = 2.0) -> Spots:
    vertices = frame.vertices
    moved = faces.on_dome(vertices[:, :2] + faces.wave(vertices[:, :2], amplitude))
    return frame.surface.displaced(moved - vertices, 6.0)


def test_it_is_what_baking_again_gives(frame):
    spots = displaced(frame)
    assert np.linalg.norm(spots.vertices - frame.vertices, axis=1).mean() > 1
    again = frame.refiner.comparable(frame.source, spots.vertices)
    quick = frame.warped(spots)
    both = (again.mask > 0) & (quick.mask > 0)
    assert both.sum() > 0.9 * (again.mask > 0).sum()
    still = np.abs(frame.texture.grey - again.grey)[both].mean()
    assert np.abs(quick.grey - again.grey)[both].mean() < 0.15 * still


def test_colours_go_with_it(frame):
    spots = displaced(frame)
    reading = frame.refiner.layout.reading(spots)
    texture, coverage = warped_pixels(frame.baked.texture, frame.baked.coverage, reading)
    again = frame.refiner.baked(frame.source, spots.vertices)
    both = (coverage > 0) & (again.coverage > 0)
    still = np.abs(frame.baked.texture.astype(int) - again.texture)[both].mean()
    assert np.abs(texture.astype(int) - again.texture)[both].mean() < 0.2 * still


def test_vertices_that_stay_change_nothing(frame):
    quick = frame.warped(frame.surface.displaced(np.zeros_like(frame.vertices), 6.0))
    both = quick.mask > 0
    assert both.sum() > 0.95 * (frame.texture.mask > 0).sum()
    assert np.abs(quick.grey - frame.texture.grey)[both].max() < 0.02


def test_a_share_of_nothing_is_the_texture_itself(frame):
    reading = frame.refiner.layout.reading(displaced(frame), np.zeros(len(frame.vertices)))
    inside = reading.columns >= 0
    rows, columns = np.nonzero(inside)
    np.testing.assert_allclose(reading.columns[inside], columns, atol=1e-2)
    np.testing.assert_allclose(reading.rows[inside], rows, atol=1e-2)


def test_around_vertices_that_left_the_surface_nothing_is_known(frame):
    spots = frame.surface.displaced(np.zeros_like(frame.vertices), 6.0)
    triangles = spots.triangles.copy()
    triangles[300] = -1
    quick = frame.warped(spots._replace(triangles=triangles))
    column, row = frame.refiner.layout.places[300]
    assert quick.mask[round(row), round(column)] == 0
    assert 0 < (frame.texture.mask > 0).sum() - (quick.mask > 0).sum() < 3000


def test_a_corner_in_another_chart_is_not_read():
    template = faces.template()
    left = template.vertices[template.faces][:, :, 0].max(1) <= 0
    n = len(template.uv)
    halves = replace(
        template,
        uv=np.concatenate([template.uv * [0.9, 1], template.uv * [0.9, 1] + [0.1, 0]]),
        uv_faces=np.where(left[:, None], template.faces, template.faces + n),
        digest="two charts",
    )
    layout = Layout(halves, 128)
    here = np.zeros(len(template.vertices), np.int64)
    here[template.faces.ravel()] = np.repeat(np.arange(len(template.faces)), 3)
    weights = (template.faces[here] == np.arange(len(here))[:, None]).astype(float)
    known = layout.reading(Spots(template.vertices, here, weights)).columns >= 0
    x = template.vertices[:, 0]
    rows, columns = np.nonzero(known)
    assert len(rows) > 3000
    # a vertex on the cut lies in a triangle of one side only: texels of the other side beside the cut are unknown
    assert known.sum() < len(layout.texels)
    mirrored = Spots(template.vertices, here[np.argsort(np.argsort(-x, kind="stable"))], weights)
    assert (layout.reading(mirrored).columns >= 0).sum() < known.sum()
