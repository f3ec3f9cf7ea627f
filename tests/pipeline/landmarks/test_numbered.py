"""Points without jaw, and points that are numbered: each at its own place, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks.files import read_landmarks, read_points

POINTS = np.random.default_rng(5).normal(scale=40, size=(68, 3))


def rows(points):
    return "\n".join("{!r} {!r} {!r}".format(*map(float, p)) for p in points)


def pp(labels, points):
    lines = [
        f'<point x="{x!r}" y="{y!r}" z="{z!r}" name="{label}"/>'
        for label, (x, y, z) in zip(labels, points.tolist(), strict=True)
    ]
    return f"<PickedPoints>{''.join(lines)}</PickedPoints>"


def csv(labels, points):
    return "\n".join(f"{k},{x!r},{y!r},{z!r}" for k, (x, y, z) in zip(labels, points.tolist(), strict=True))


def without_jaw():
    expected = POINTS.copy()
    expected[:17] = np.nan
    return expected


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (rows(POINTS[17:]), "a.pts"),
        (pp(range(51), POINTS[17:]), "a.pp"),
        (pp(range(1, 52), POINTS[17:]), "a.pp"),
        (pp(range(17, 68), POINTS[17:]), "a.pp"),
        (pp(range(18, 69), POINTS[17:]), "a.pp"),
        (pp([""] * 51, POINTS[17:]), "a.pp"),
        (csv(range(51), POINTS[17:]), "a.csv"),
        (rows(POINTS[17:]).replace(" ", ","), "a.csv"),
        (json.dumps(POINTS[17:].tolist()), "a.json"),
    ],
)
def test_51_points_are_those_without_the_jaw(content, name):
    np.testing.assert_array_equal(read_landmarks(content.encode(), name).points, without_jaw())


def test_51_pixels_are_those_without_the_jaw():
    text = "\n".join(f"{x!r} {y!r}" for x, y in POINTS[17:, :2].tolist())
    pixels = read_points(text.encode(), "a.pts")
    assert pixels.shape == (68, 2) and np.isnan(pixels[:17]).all()
    np.testing.assert_array_equal(pixels[17:], POINTS[17:, :2])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("word", ["{}", "Point {}", "F-{}", "p{:02d}"])
@pytest.mark.parametrize("missing", [[], [5], [3, 40, 66]])
def test_numbered_points_go_by_number(first, word, missing):
    order = [k for k in np.random.default_rng(first).permutation(68).tolist() if k not in missing]
    expected = POINTS.copy()
    expected[missing] = np.nan
    labels = [word.format(k + first) for k in order]
    for content, name in (
        (pp(labels, POINTS[order]), "a.pp"),
        (csv(labels, POINTS[order]), "a.csv"),
        (json.dumps(dict(zip(labels, POINTS[order].tolist(), strict=True))), "a.json"),
    ):
        np.testing.assert_array_equal(read_landmarks(content.encode(), name).points, expected)


@pytest.mark.parametrize(
    "numbers",
    [
        range(67),  # which one was left out, and do the others count on?
        range(1, 68),
        range(69),
        [*range(50), 49],
        [*range(30), *range(31, 51)],
        range(66),
        [0, 30, 67],
        [*range(67), 1000],
        [*range(67), "nose_tip"],
    ],
)
def test_numbers_of_no_known_scheme_are_refused(numbers):
    numbers = list(numbers)
    points = np.random.default_rng(1).normal(size=(len(numbers), 3))
    with pytest.raises(FrameRejected) as caught:
        read_landmarks(pp(numbers, points).encode(), "a.pp")
    assert caught.value.reason == "landmark-scheme"


def test_canonical_names_are_no_numbers():
    labels = [f"jaw_{k:02d}" for k in range(17)]
    points = read_landmarks(csv(labels, POINTS[:17]).encode(), "a.csv").points
    np.testing.assert_array_equal(points[:17], POINTS[:17])
