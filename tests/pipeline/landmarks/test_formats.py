"""What the text of each landmark format means, and that what is broken is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.landmarks.files import MAX_BYTES, read_landmarks

POINTS = np.random.default_rng(3).normal(scale=40, size=(68, 3))
ROW = [list(map(float, p)) for p in POINTS]


def read(content, name):
    data = content if isinstance(content, bytes) else content.encode()
    return read_landmarks(data, name).points


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
    with pytest.raises(FrameRejected) as caught:
        read(content, name)
    assert (caught.value.reason, caught.value.where) == ("landmark-file", name)
