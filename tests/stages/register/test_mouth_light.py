"""mouth_light: what is seen between the lips, against areas known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.geometry.spatial import Surface
from mimicme.stages.register.mouth_light import light_between_lips


def wall(z: float, *strips: tuple[float, float]):
    """Strips of a wall, 80 mm wide, between pairs of heights, that look to the front."""
    vertices, faces = [], []
    for low, high in strips:
        k = len(vertices)
        vertices += [[-40, low, z], [40, low, z], [40, high, z], [-40, high, z]]
        faces += [[k, k + 1, k + 2], [k, k + 2, k + 3]]
    return np.array(vertices, float), np.array(faces, np.int32)


def marks() -> np.ndarray:
    """Lips' outline: a rectangle of 40 x 12 mm."""
    points = np.full((68, 3), 100.0)
    x = np.r_[np.linspace(-20, 20, 6), np.linspace(20, -20, 6)]
    points[60:68] = np.column_stack([np.linspace(-15, 15, 8), np.zeros((8, 2))])
    points[48:60] = np.column_stack([x, np.r_[np.full(6, 6.0), np.full(6, -6.0)], np.zeros(12)])
    return points


OPEN = wall(0.0, (-30, -1), (1, 30))
SHUT = wall(0.0, (-30, 30))


@pytest.mark.parametrize(
    ("mesh", "scan", "light", "opening"),
    [
        (SHUT, SHUT, 0.0, 0.0),
        (OPEN, SHUT, 80.0, 80.0),  # 40 x 2 mm, where the scan has skin
        (OPEN, OPEN, 0.0, 80.0),  # the scan is open as well
        (OPEN, wall(-9.0, (-30, 30)), 0.0, 80.0),  # teeth, or the back of the head
        (OPEN, wall(-1.5, (-30, 30)), 80.0, 80.0),
        (wall(-3.0, (-30, 30)), SHUT, 480.0, 480.0),  # all of the outline lies 3 mm behind the scan
        (wall(-1.0, (-30, 30)), SHUT, 0.0, 0.0),
    ],
)
def test_areas(mesh, scan, light, opening):
    found = light_between_lips(*mesh, marks(), Surface(*scan))
    assert found.light == pytest.approx(light, rel=0.05)
    assert found.opening == pytest.approx(opening, rel=0.05)


def test_landmarks_in_one_place_show_nothing():
    assert light_between_lips(*OPEN, np.zeros((68, 3)), Surface(*SHUT)) == (0.0, 0.0)
