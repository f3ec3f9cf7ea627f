from __future__ import annotations

import numpy as np
import pytest
from rgbd_files import BENT, BESIDE, COLOR, PLAIN, pose, recipe, table

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.rgbd.recipe import read_recipe, read_times


def test_a_whole_description() -> None:
    text = recipe('up = "left"\nmirrored = true\ntimes = "t.csv"\nnear_mm = 200', BENT)
    found = read_recipe(text.encode())
    (view,) = found.views
    assert (found.up, found.mirrored, found.times, found.near_mm, found.far_mm) == (
        "left", True, "t.csv", 200.0, 1500.0,
    )  # fmt: skip
    assert view.depth.camera == BENT and view.depth.unit_mm == 0.1 and not view.depth.type
    assert view.depth.files.name("0001") == "depth/0001.png"
    assert view.color is not None and view.color.camera == COLOR
    np.testing.assert_allclose(view.color.from_depth.translation, BESIDE.translation)


def test_colours_brought_into_the_depth_cameras_view_are_seen_by_it() -> None:
    found = read_recipe((recipe(color_camera=None) + '[color]\nfiles = "{frame}.jpg"\n').encode())
    color = found.views[0].color
    assert color is not None and color.camera == PLAIN
    np.testing.assert_allclose(color.from_depth.rotation, np.eye(3))


def test_metres_are_said_by_the_keys_name() -> None:
    text = recipe().replace("translation_mm = [-20.0, 3.0, 0.0]", "translation_m = [-0.02, 0.003, 0.0]")
    color = read_recipe(text.encode()).views[0].color
    assert color is not None
    np.testing.assert_allclose(color.from_depth.translation, BESIDE.translation)


def test_names_of_frames() -> None:
    files = read_recipe(recipe(depth_files="d/a_{frame}_z16.png").encode()).views[0].depth.files
    assert files.frame("a_0007_z16.png") == "0007"
    assert files.frame("a__z16.png") is None and files.frame("b_0007_z16.png") is None


def test_several_views() -> None:
    one = f'[[view]]\n{pose(BESIDE)}\n[view.depth]\nfiles = "FOLDER/{{frame}}.png"\nunit_mm = 1\n{table(PLAIN)}\n'
    found = read_recipe((one.replace("FOLDER", "a") + one.replace("FOLDER", "b")).encode())
    assert [v.depth.files.folder for v in found.views] == ["a", "b"]
    with pytest.raises(InputError, match="files of its own"):
        read_recipe((one + one).encode())
    with pytest.raises(InputError, match="rotation"):
        read_recipe((one + one.replace(pose(BESIDE), "").replace("FOLDER", "b")).encode())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fx = 150.0", "fx = 0.001", "fx"),
        ("fx = 150.0", "fx = nan", "fx"),
        ("fx = 150.0", "fx = true", "fx"),
        ("fx = 150.0", "", "fx"),
        ("fx = 150.0", "fx = 1e400", "fx"),
        ("fx = 150.0", f"fx = 1{'0' * 400}", "fx"),
        ("width = 160", "width = 8193", "width"),
        ("width = 160", "width = 160.5", "width"),
        ("unit_mm = 0.1", "", "unit_mm"),
        ("unit_mm = 0.1", "units_mm = 0.1", "'unit_mm'?"),
        ("[depth]", "[depht]", "'depth'?"),
        ("depth/{frame}.png", "../depth/{frame}.png", "below"),
        ("depth/{frame}.png", "/etc/{frame}.png", "below"),
        ("depth/{frame}.png", "C:/{frame}.png", "below"),
        ("depth/{frame}.png", "a\\\\{frame}.png", "below"),
        ("depth/{frame}.png", "a/./{frame}.png", "below"),
        ("depth/{frame}.png", "a/\\u0000{frame}.png", "below"),
        ("depth/{frame}.png", "{frame}/{frame}.png", "last part"),
        ("depth/{frame}.png", "depth/a.png", "last part"),
        ("depth/{frame}.png", "depth/*{frame}.png", "last part"),
        ("depth/{frame}.png", "depth/{frame}.bin", "uint16 or float32"),
        ("0.1, -0.2, 0.002, -0.001, 0.05", "0.1, 2", "5 or 8"),
        ("rotation = [1.0", "rotation = [1.5", "no rotation"),
        ("translation_mm = [-20.0, 3.0, 0.0]", "", "one of them"),
        ('TOP', 'up = "+y"', "top, bottom"),
        ("TOP", "near_mm = 900\nfar_mm = 800", "more than near_mm"),
        ("TOP", "view = 3", "[[view]]"),
        ("TOP", "view = [3]", "[depth] and [color]"),
        ("TOP", "depth = 3", "no TOML"),
        ("TOP", 'times = "../t.csv"', "below"),
        ("TOP", "mirrored = 1", "true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(old: str, new: str, said: str) -> None:
    text = recipe("TOP", BENT)
    assert old in text
    text = text.replace(old, new, 1)
    text = text.replace("TOP", "")
    with pytest.raises(InputError) as error:
        read_recipe(text.encode(), "S1/a/rgbd.toml")
    assert said in str(error.value) and "S1/a/rgbd.toml" in str(error.value)


def test_no_table_at_all() -> None:
    for data in (b"\xff\xfe", b"a = [[[[", b"[" * 60_000, b"x" * (65 << 10), b"", b"[[depth]]\n"):
        with pytest.raises(InputError):
            read_recipe(data)


def test_time_stamps() -> None:
    assert read_times(b"# of the recorder\n0001, 0.5\n0002;0.533\n0003 \t 0.566\n", "t") == {
        "0001": 0.5, "0002": 0.533, "0003": 0.566,
    }  # fmt: skip
    assert read_times(b"frame,seconds\n1,2\n", "t.csv") == {"1": 2.0}
    for data in (b"1,2\n1,3\n", b"1,2\nx,y\n", b"1\n", b"1,2,3\n", b"1,nan\n2,inf\n"):
        with pytest.raises(InputError, match="time stamps"):
            read_times(data, "t.csv")


def test_depth_pictures_that_no_worker_has_memory_for_are_refused() -> None:
    text = recipe()
    width = next(line for line in text.splitlines() if line.startswith("width"))
    height = next(line for line in text.splitlines() if line.startswith("height"))
    large = text.replace(width, "width = 2048", 1).replace(height, "height = 2048", 1)
    large = large.replace("fx = 150.0", "fx = 1500.0", 1).replace("fy = 150.0", "fy = 1500.0", 1)
    with pytest.raises(InputError, match="2,097,152 pixels of depth in a frame"):
        read_recipe(large.encode())
