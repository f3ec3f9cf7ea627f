"""Points of 3D Slicer come into the mesh file's coordinates, whichever axes their file is in."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks.files import ending_of, read_landmarks
from mimicme.pipeline.landmarks.slicer import TURN, is_slicers, on_mesh

POINTS = np.random.default_rng(6).normal(scale=40, size=(68, 3))
COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def fcsv(points, axes, version="4.11", labels=None):
    labels = labels or [f"F-{k}" for k in range(1, len(points) + 1)]
    lines = [
        f'{k},{x!r},{y!r},{z!r},0,0,0,1,1,1,0,{label},"a, b",vtk'
        for k, (label, (x, y, z)) in enumerate(zip(labels, points.tolist(), strict=True))
    ]
    heads = [
        f"# Markups fiducial file version = {version}",
        *([f"# CoordinateSystem = {axes}"] if axes else []),
    ]
    return "\n".join([*heads, f"# columns = {COLUMNS}", *lines, ""])


def markups(points, axes="LPS", labels=None, status="defined"):
    labels = labels or [f"F-{k}" for k in range(1, len(points) + 1)]
    controls = [
        {"id": str(k), "label": label, "position": point, "positionStatus": status}
        for k, (label, point) in enumerate(zip(labels, points.tolist(), strict=True))
    ]
    return {"markups": [{"type": "Fiducial", "coordinateSystem": axes, "controlPoints": controls}]}


def read(content, name):
    text = content if isinstance(content, str) else json.dumps(content)
    return read_landmarks(text.encode(), name).points


@pytest.mark.parametrize(
    ("axes", "version", "turned"),
    [
        ("LPS", "4.11", False),
        ("1", "4.11", False),
        ("RAS", "4.11", True),
        ("0", "5.2", True),
        ("", "4.11", True),  # as old files: RAS
        ("0", "4.10", False),  # meshes were read as they stand then
        ("1", "4.6", True),
    ],
)
def test_fiducials_in_either_axes(axes, version, turned):
    expected = POINTS * TURN if turned else POINTS
    np.testing.assert_array_equal(read(fcsv(POINTS, axes, version), "0000.fcsv"), expected)


def test_markups_in_either_axes():
    np.testing.assert_array_equal(read(markups(POINTS), "0000.mrk.json"), POINTS)
    np.testing.assert_array_equal(read(markups(POINTS, "RAS"), "0000.MRK.JSON"), POINTS * TURN)


def test_labels_and_points_that_are_not_set():
    names = ["nose_tip", "exR", "Left Eye Inner"]
    for content, name in (
        (fcsv(POINTS[:3], "LPS", labels=names), "a.fcsv"),
        (markups(POINTS[:3], labels=names), "a.mrk.json"),
    ):
        points = read(content, name)
        assert np.flatnonzero(np.isfinite(points[:, 0])).tolist() == [30, 36, 39]
        np.testing.assert_array_equal(points[[30, 36, 39]], POINTS[:3])
    content = markups(POINTS)
    content["markups"][0]["controlPoints"][7]["positionStatus"] = "undefined"
    assert np.flatnonzero(np.isnan(read(content, "a.mrk.json")[:, 0])).tolist() == [7]


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (fcsv(POINTS, "IJK"), "a.fcsv", "landmark-scheme"),
        (fcsv(POINTS[:60], "LPS"), "a.fcsv", "landmark-scheme"),
        (fcsv(POINTS, "LPS").replace("id,x", "id,u"), "a.fcsv", "landmark-file"),
        (fcsv(POINTS, "LPS").replace("\n1,", "\n1,a"), "a.fcsv", "landmark-file"),
        ("", "a.fcsv", "landmark-file"),
        (markups(POINTS, "IJK"), "a.mrk.json", "landmark-scheme"),
        (markups(POINTS, status="missing"), "a.mrk.json", "landmark-scheme"),
        ({"markups": markups(POINTS)["markups"] * 2}, "a.mrk.json", "landmark-scheme"),
        ({"markups": []}, "a.mrk.json", "landmark-scheme"),
        ({"markups": [{"controlPoints": [1]}]}, "a.mrk.json", "landmark-file"),
        ({"markups": [{"controlPoints": [{"position": "abc"}]}]}, "a.mrk.json", "landmark-file"),
        ({"points": []}, "a.mrk.json", "landmark-file"),
    ],
)  # fmt: skip
def test_what_is_no_set_of_points_is_refused(content, name, reason):
    with pytest.raises(FrameRejected) as caught:
        read(content, name)
    assert caught.value.reason == reason


def test_the_sign_that_lies_on_the_mesh_is_taken():
    points = POINTS.copy()
    points[3] = np.nan
    mesh = POINTS + [0, 0, 0.5]

    def distance(given):
        return np.linalg.norm(given[:, None] - mesh, axis=2).min(axis=1)

    right = on_mesh(points, distance)
    assert not right.turned and right.off == pytest.approx(0.5)
    wrong = on_mesh(points * TURN, distance)
    assert (
        wrong.turned
        and wrong.off == pytest.approx(0.5)
        and wrong.off_otherwise == pytest.approx(right.off_otherwise)
    )
    np.testing.assert_array_equal(wrong.points, points)
    far = on_mesh(points, lambda given: np.full(len(given), 100.0))
    assert not far.turned  # neither: as the file says


def test_names():
    assert ending_of("S1/0000.MRK.json") == ".mrk.json"
    assert ending_of("0000.json") == ".json"
    assert is_slicers("0000.fcsv") and not is_slicers("0000.json")
