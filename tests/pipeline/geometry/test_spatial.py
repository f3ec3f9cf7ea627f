"""spatial: triangles that pass through each other."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.geometry.spatial import pierced


def test_pierced_finds_two_crossing_triangles_and_no_neighbours():
    flat = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [4, 4, 0]])
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    assert len(pierced(flat, faces)) == 0
    needle = np.array([[1.0, 1, -1], [1.1, 1, 1], [1, 1.1, 1]])
    through = np.concatenate([flat, needle])
    assert pierced(through, np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6]], np.int32)).tolist() == [0]
    assert len(pierced(through + [0, 0, 5], np.array([[0, 1, 2], [1, 3, 2]], np.int32))) == 0


def test_pierced_does_not_follow_an_edge_beyond_its_ends():
    wall = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    short = np.array([[1.0, 1, 1], [1.1, 1, 2], [1, 1.1, 2]])
    assert len(pierced(np.concatenate([wall, short]), np.array([[0, 1, 2], [3, 4, 5]], np.int32))) == 0
