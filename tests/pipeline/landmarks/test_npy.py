"""Arrays of points: nothing is unpickled, and nothing but 68 or 51 points is landmarks."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks.files import read_points
from mimicme.pipeline.landmarks.npy import is_landmarks

POINTS = np.random.default_rng(5).normal(scale=40, size=(68, 3))


def saved(array, **more):
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


@pytest.mark.parametrize("array", [POINTS, np.asfortranarray(POINTS), POINTS.astype(">f8"), POINTS[None]])
def test_points(array):
    np.testing.assert_array_equal(read_points(saved(array), "a.npy"), POINTS)


def test_whole_numbers_pixels_and_points_without_jaw():
    assert read_points(saved(POINTS.astype(np.int16)), "a.npy")[3].tolist() == POINTS[3].astype(int).tolist()
    assert read_points(saved(POINTS[:, :2]), "a.npy").shape == (68, 2)
    for coordinates in (2, 3):
        points = read_points(saved(POINTS[17:, :coordinates].astype("f4")), "a.npy")
        assert np.isnan(points[:17]).all()
        np.testing.assert_allclose(points[17:], POINTS[17:, :coordinates], rtol=1e-6)
    holed = POINTS.copy()
    holed[4, 1] = np.nan
    assert np.isnan(read_points(saved(holed), "a.npy")[4]).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(np.zeros((480, 640), np.uint16)), "landmark-scheme"),
        (saved(POINTS.T), "landmark-scheme"),
        (saved(POINTS[:66]), "landmark-scheme"),
        (saved(np.full((68, 3), np.nan)), "landmark-scheme"),
        (saved(np.full((68, 3), np.inf)), "landmark-file"),
        (saved(np.zeros((68, 3), complex)), "landmark-file"),
        (saved(np.full((68, 3), "a")), "landmark-file"),
        (saved(np.full((68, 3), None), allow_pickle=True), "landmark-file"),
        (saved(np.zeros(68, [("x", "f4"), ("y", "f4")])), "landmark-file"),
        (saved(POINTS)[:-8], "landmark-file"),
        (saved(POINTS) + b"\0", "landmark-file"),
        (saved(POINTS)[:20], "landmark-file"),
        (saved(POINTS).replace(b"(68, 3)", b"(68,-3)"), "landmark-scheme"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr': " + b"(" * 100 + b" " * 200, "landmark-file"),
        (pickle.dumps(POINTS), "landmark-file"),
        (b"", "landmark-file"),
    ],
)  # fmt: skip
def test_what_is_no_set_of_points_is_refused(data, reason):
    with pytest.raises(FrameRejected) as caught:
        read_points(data, "a.npy")
    assert caught.value.reason == reason


def test_a_header_that_asks_for_much_takes_no_memory():
    data = saved(POINTS).replace(b"'shape': (68, 3), }            ", b"'shape': (68000000000, 3), }  ")
    assert b"68000000000" in data
    with pytest.raises(FrameRejected):
        read_points(data, "a.npy")


def test_by_the_beginning_of_the_file():
    assert is_landmarks(saved(POINTS)[:128])
    assert not is_landmarks(saved(np.zeros((4, 4))))
    assert not is_landmarks(saved(np.full((68, 3), None), allow_pickle=True))
    assert not is_landmarks(b"x")
