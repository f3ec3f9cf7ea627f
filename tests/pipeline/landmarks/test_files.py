"""Landmark files: every format gives the same points, and what fits no scheme is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.landmarks import GROUPS, IBUG68, Landmarks
from mimicme.pipeline.landmarks.files import (
    EXTENSIONS,
    WRITERS,
    read_landmarks,
    read_points,
    write_landmarks,
    write_ljson,
)

POINTS = np.random.default_rng(3).normal(scale=40, size=(68, 3))
ROW = [list(map(float, p)) for p in POINTS]


def read(content, name):
    data = content if isinstance(content, bytes) else content.encode()
    return read_landmarks(data, name).points


def rejected(content, name):
    with pytest.raises(FrameRejected) as caught:
        read(content, name)
    assert caught.value.where == name
    return caught.value


def labels(groups=GROUPS):
    return [{"label": g, "mask": list(range(s.start, s.stop))} for g, s in groups.items()]


@pytest.mark.parametrize("extension", sorted(WRITERS))
def test_what_is_written_is_read_back_bit_for_bit(extension):
    points = POINTS.copy()
    points[[3, 40]] = np.nan
    again = read(write_landmarks(Landmarks(points), "a" + extension), "a" + extension)
    np.testing.assert_array_equal(again, points)


@pytest.mark.parametrize("extension", sorted(WRITERS))
def test_the_subjects_own_left_is_read_back_bit_for_bit(extension):
    points = POINTS.copy()
    points[[3, 40]] = np.nan
    name = "a" + extension
    written = write_landmarks(Landmarks(points), name, "subject")
    np.testing.assert_array_equal(read_landmarks(written, name, "subject").points, points)
    eye = GROUPS["left_eye"]
    moved = not np.array_equal(read_landmarks(written, name).points[eye], points[eye], equal_nan=True)
    assert moved == (extension == ".ljson")  # the others have names of single points, or none


def test_every_format_that_is_written_is_read():
    assert set(WRITERS) < set(EXTENSIONS)


def test_lm3_and_bnd_as_others_read_them():
    few = np.full((68, 3), np.nan)
    few[30] = [1, 2, 3.5]
    lines = write_landmarks(Landmarks(few), "a.lm3").decode().splitlines()
    assert lines[1:] == ["1 landmarks:", "nose_3", "1.0 2.0 3.5"]
    lines = write_landmarks(Landmarks(POINTS), "a.bnd").decode().splitlines()
    assert len(lines) == 68
    assert [float(x) for x in lines[7].split()] == [7, *POINTS[7]]


def test_unwritable_extension():
    with pytest.raises(InputError):
        write_landmarks(Landmarks(POINTS), "a.txt")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("\n".join(["1 2 3"] * 66), "a.pts"),
        ("\n".join(["1 2"] * 68), "a.pts"),
        (json.dumps({"elbow": [1, 2, 3]}), "a.json"),
        (json.dumps({"version": 3, "groups": {"a": {}, "b": {}}}), "a.ljson"),
        ("name,x,y,z\nleft_eye,1,2,3\n", "a.csv"),
        ("name,x,y,z\nnose_tip,1,2,3\nnose_3,1,2,4\n", "a.csv"),
        (json.dumps({"version": 2, "labels": labels()[:-1], "landmarks": {"points": ROW}}), "a.ljson"),
        ("\n".join(f"{k} 1 2 3" for k in range(84)), "a.bnd"),
        (json.dumps({"nose_tip": [None, None, None]}), "a.json"),
        ("nan nan nan\n" * 68, "a.pts"),
        ("nan nan\n" * 68, "a.pts"),
        ("1 2\n" * 60, "a.pts"),
        ("1 2\n" * 10_001, "a.pts"),
        ("1 2 3\n" * 10_001, "a.pts"),
        ("name,x,y,z\n", "a.csv"),
    ],
)
def test_another_scheme_is_refused_with_what_was_seen(content, name):
    error = rejected(content, name)
    assert error.reason == "landmark-scheme"
    assert error.seen is not None
    assert error.expected is not None


def test_ljson_is_what_landmarker_io_writes():
    points = POINTS.copy()
    points[5] = np.nan
    content = json.loads(write_ljson(Landmarks(points)))
    assert content["version"] == 2
    assert content["landmarks"]["points"][5] == [None, None, None]
    assert [entry["label"] for entry in content["labels"]] == list(GROUPS)
    assert len(IBUG68) == len(content["landmarks"]["points"])


def pts(rows):
    body = "\n".join(" ".join(map(str, row)) for row in rows)
    return f"version: 1\nn_points: {len(rows)}\n{{\n{body}\n}}\n".encode()


def test_a_pts_of_two_coordinates_holds_pixels():
    rows = [[k + 0.25, 2 * k] for k in range(68)]
    rows[5] = ["nan", "nan"]
    pixels = read_points(pts(rows), "0000.pts")
    assert pixels.shape == (68, 2)
    assert pixels[7].tolist() == [7.25, 14] and np.isnan(pixels[5]).all()
    assert read_points(pts([[*row, 1] for row in rows]), "0000.pts").shape == (68, 3)
    assert "two-dimensional" in rejected(pts(rows), "0000.pts").what  # where there is no texture
    for content, reason, seen in (
        (pts(rows[:60]), "landmark-scheme", "60 points"),
        (pts([["nan", "nan"]] * 68), "landmark-scheme", "0 points"),
        (pts([*rows[:67], [1, 2, 3]]), "landmark-file", "point 68 has 3 numbers, point 1 has 2"),
        (pts([[1], *rows[1:]]), "landmark-file", "point 2 has 2 numbers, point 1 has 1"),
        (pts([[1, 2]] * 10_001), "landmark-scheme", 10_001),
        (pts([["a", "b"]] * 68), "landmark-file", "point 1 is no numbers: 'a b'"),
        (
            pts(rows).replace(b"68", b"67"),
            "landmark-file",
            "n_points says 67, but there are 68 points",
        ),
    ):
        with pytest.raises(FrameRejected) as caught:
            read_points(content, "0000.pts")
        error = caught.value
        assert (error.reason, error.seen, error.where) == (reason, seen, "0000.pts")


@pytest.mark.parametrize(
    ("content", "name", "seen"),
    [
        ("0 1 2 3\n" * 68, "a.pts", "point 1 is '0 1 2 3'; a .pts has x y z a line, names and indices"),
        ("{", "a.json", "line 1, column 2 is no JSON"),
        ("5", "a.json", "laid out otherwise than a .json of landmarks"),
        ('{"nose_tip": ["a", 1, 2]}', "a.json", "'a' is no number"),
        ('{"version": 2}', "a.ljson", "'landmarks' is missing"),
        ("<PickedPoints>", "a.pp", "it is no XML: "),
        ("", "a.lm3", "it is empty"),
        ("\n", "a.pts", "it is empty"),
        ("", "a.csv", "it is empty"),
        (b"\0" * 400, "a.pts", "it holds bytes of value 0 alone: it was not written"),
        (b"\0" * 400, "a.npy", "it holds bytes of value 0 alone: it was not written"),
        ("nose", "a.lm3", "its first line is no number of landmarks"),
        ("1,a,2,3", "a.fcsv", "'a' is no number"),
        ("x,y,z\n1,2,3".encode("utf-16"), "a.csv", "it is text in UTF-16, not in UTF-8"),
        (b"PK\x03\x04\xff\xfe", "a.csv", "it is no text in UTF-8"),
    ],
)
def test_what_is_wrong_is_told_in_words_and_not_in_pythons(content, name, seen):
    error = rejected(content, name)
    assert error.reason == "landmark-file"
    assert seen in error.seen and "Error" not in error.seen
