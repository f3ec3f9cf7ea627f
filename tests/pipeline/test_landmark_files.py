"""Landmark files: every format gives the same points, and what fits no scheme is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected, InputError
from mimicme.pipeline.landmark_files import (
    EXTENSIONS,
    MAX_BYTES,
    WRITERS,
    read_landmarks,
    write_landmarks,
    write_ljson,
)
from mimicme.pipeline.landmarks import GROUPS, IBUG68, Landmarks

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


def test_every_format_that_is_read_is_written():
    assert set(WRITERS) == set(EXTENSIONS)


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


def test_ljson_goes_by_label_not_by_place():
    order = [*range(48, 68), *range(27, 48), *range(27)]
    place = {old: new for new, old in enumerate(order)}
    words = {"jaw": "chin", "left_eye": "leye", "right_eye": "reye", "left_eyebrow": "leyebrow"}
    shuffled = [
        {"label": words.get(g, g), "mask": [place[k] for k in range(s.start, s.stop)]}
        for g, s in GROUPS.items()
    ]
    body = {"labels": shuffled, "landmarks": {"points": [ROW[k] for k in order], "connectivity": []}}
    for content in ({"version": 2, **body}, {"version": 3, "groups": {"LJSON": body}}):
        np.testing.assert_array_equal(read(json.dumps(content), "a.ljson"), POINTS)
    v1 = {
        "version": 1,
        "groups": [
            {"label": g, "landmarks": [{"point": ROW[k]} for k in range(s.start, s.stop)], "connectivity": []}
            for g, s in reversed(GROUPS.items())
        ],
    }
    np.testing.assert_array_equal(read(json.dumps(v1), "a.ljson"), POINTS)


def test_ljson_null_points_are_absent_and_all_is_no_label():
    rows = [*ROW[:67], [None, None, None]]
    content = {
        "version": 2,
        "labels": [{"label": "all", "mask": list(range(68))}],
        "landmarks": {"points": rows},
    }
    points = read(json.dumps(content), "a.ljson")
    np.testing.assert_array_equal(points[:67], POINTS[:67])
    assert np.isnan(points[67]).all()


def test_sparse_labelled_sets():
    names = ["left_eye_outer", "right_eye_outer", "nose_tip", "mouth_left", "mouth_right"]
    expected = np.full((68, 3), np.nan)
    expected[[36, 45, 30, 48, 54]] = POINTS[:5]
    rows = "\n".join(f"{n},{p[0]!r},{p[1]!r},{p[2]!r}" for n, p in zip(names, ROW, strict=False))
    np.testing.assert_array_equal(read("name,x,y,z\n" + rows, "a.csv"), expected)
    np.testing.assert_array_equal(read(rows, "a.csv"), expected)
    np.testing.assert_array_equal(read(json.dumps(dict(zip(names, ROW, strict=False))), "a.json"), expected)
    listed = [{"name": n, "x": p[0], "y": p[1], "z": p[2]} for n, p in zip(names, ROW, strict=False)]
    np.testing.assert_array_equal(read(json.dumps(listed), "a.json"), expected)
    picked = "".join(
        f'<point x="{p[0]!r}" y="{p[1]!r}" z="{p[2]!r}" name="{n}" active="1"/>'
        for n, p in zip(names, ROW, strict=False)
    )
    np.testing.assert_array_equal(read(f"<PickedPoints>{picked}</PickedPoints>", "a.pp"), expected)


def test_68_points_without_labels_are_ibug():
    body = "\n".join("{!r} {!r} {!r}".format(*p) for p in ROW)
    for content in (body, f"version: 1\nn_points:  68\n{{\n{body}\n}}\n"):
        np.testing.assert_array_equal(read(content, "a.pts"), POINTS)
    np.testing.assert_array_equal(read(body.replace(" ", ","), "a.csv"), POINTS)
    np.testing.assert_array_equal(read(json.dumps({"points": ROW}), "a.json"), POINTS)
    picked = "".join(f'<point x="{p[0]!r}" y="{p[1]!r}" z="{p[2]!r}" name="{k}"/>' for k, p in enumerate(ROW))
    np.testing.assert_array_equal(
        read(f"<!DOCTYPE PickedPoints><PickedPoints>{picked}</PickedPoints>", "a.pp"), POINTS
    )


def test_lm3_of_bosphorus():
    text = "# 3D\n3 landmarks:\nNose tip\n1 2 3\nOuter left eye corner\n4 5 6\nNose saddle left\n7 8 9\n"
    points = read(text, "a.lm3")
    assert np.flatnonzero(np.isfinite(points[:, 0])).tolist() == [30, 36]
    assert points[36].tolist() == [4, 5, 6]


def test_bnd_of_bu3dfe_gives_the_corners_wherever_the_contours_start():
    def loop(centre, rx, ry, k, start):
        t = 2 * np.pi * (np.arange(k) + start) / k
        return np.stack([centre[0] + rx * np.cos(t), centre[1] + ry * np.sin(t), np.zeros(k)], 1)

    for start in (0, 2):
        points = np.zeros((83, 3))
        points[0:8] = loop((-30, 30), 15, 5, 8, start)
        points[8:16] = loop((30, 30), 15, 5, 8, start)
        points[16:26] = loop((-30, 50), 20, 3, 10, 0)
        points[26:36] = loop((30, 50), 20, 3, 10, 0)
        points[48:60] = loop((0, -40), 25, 30, 12, start)  # wide open: taller than wide
        text = "\n".join("{} {:.4f} {:.4f} {:.4f}".format(k, *p) for k, p in enumerate(points))
        found = read(text, "a.bnd")
        assert np.isfinite(found[:, 0]).sum() == 10
        np.testing.assert_allclose(found[[36, 39, 42, 45], 0], [-45, -15, 15, 45], atol=1e-3)
        np.testing.assert_allclose(found[[48, 54], 0], [-25, 25], atol=1e-3)


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
        ("", "a.csv"),
    ],
)
def test_another_scheme_is_refused_with_what_was_seen(content, name):
    error = rejected(content, name)
    assert error.reason == "landmark-scheme"
    assert error.seen is not None
    assert error.expected is not None


def masked(mask):
    return json.dumps(
        {"version": 2, "labels": [{"label": "jaw", "mask": mask}], "landmarks": {"points": ROW}}
    )


ENTITY = (
    '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><PickedPoints><point name="&a;"/></PickedPoints>'
)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("{", "a.ljson"),
        ("[" * 100_000, "a.json"),
        (json.dumps({"version": 7, "labels": [], "groups": {}}), "a.ljson"),
        (masked([99]), "a.ljson"),
        (masked([-1]), "a.ljson"),
        (json.dumps({"points": [["1e999", 0, 0]] * 68}), "a.json"),
        ('{"points": [[Infinity, 0, 0]]}', "a.json"),
        ('{"points": [[1' + "0" * 500 + ", 0, 0]]}", "a.json"),
        (json.dumps(5), "a.json"),
        (json.dumps({"nose_tip": "abc"}), "a.json"),
        ("version: 1\nn_points: 68\n{\n1 2 3\n}\n", "a.pts"),
        ("a b c\n" * 68, "a.pts"),
        (b"\xff\xfe\x00\x01", "a.pts"),
        (ENTITY, "a.pp"),
        ("<PickedPoints><point", "a.pp"),
        ("<PickedPoints><point name='nose_tip'/></PickedPoints>", "a.pp"),
        ("5 landmarks:\nNose tip\n1 2 3\n", "a.lm3"),
        ("x", "a.lm3"),
        ("1 2 3\n" * 68, "a.bnd"),
        ("1 2 3", "a.xyz"),
        (b" " * (MAX_BYTES + 1), "a.pts"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(content, name):
    assert rejected(content, name).reason == "landmark-file"


def test_ljson_is_what_landmarker_io_writes():
    points = POINTS.copy()
    points[5] = np.nan
    content = json.loads(write_ljson(Landmarks(points)))
    assert content["version"] == 2
    assert content["landmarks"]["points"][5] == [None, None, None]
    assert [entry["label"] for entry in content["labels"]] == list(GROUPS)
    assert len(IBUG68) == len(content["landmarks"]["points"])
