from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rgbd_files import (
    BENT,
    BESIDE,
    CENTRE,
    COLOR,
    FINE,
    PLAIN,
    RADIUS_MM,
    Ball,
    ball_recording,
    color_of,
    depth_of,
    png,
    pose,
    recipe,
    table,
    write,
)

from mimicme.pipeline.drawing.render import sample_image
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.formats.image import decode, encode
from mimicme.pipeline.geometry.mesh import triangle_normals
from mimicme.pipeline.rgbd.camera import Camera, Pose
from mimicme.pipeline.rgbd.frame import Recorded, read_frame
from mimicme.pipeline.sources import Sources

IN_SCAN = np.diag([1.0, -1.0, -1.0])
BALL = Ball(CENTRE)


def read(path: Path, frame: str = "0000", ending: str = ".png") -> Recorded:
    return read_frame(path, path.parent / "depth" / f"{frame}{ending}", Sources(path.parent))


def color_error(recorded: Recorded, ball: Ball, back: np.ndarray) -> np.ndarray:
    """Per vertex of textured triangles, by how much its picture is off the ball's own colour there."""
    mesh, shown = recorded.mesh.mesh, recorded.mesh.face_material
    assert mesh.uv is not None and mesh.uv_faces is not None and shown is not None
    errors = []
    for k, data in enumerate(recorded.mesh.embedded_images):
        corners = shown == k
        uv = mesh.uv[mesh.uv_faces[corners]].reshape(-1, 2)
        assert np.isfinite(uv).all()
        points = mesh.vertices[mesh.faces[corners]].reshape(-1, 3) @ back
        errors.append(np.abs(sample_image(decode(data), uv) - ball.color(points)).max(axis=1))
    assert np.isnan(mesh.uv[mesh.uv_faces[shown < 0]]).all()
    return np.concatenate(errors)


def test_a_ball_in_depth_and_colour(tmp_path: Path) -> None:
    recorded = read(ball_recording(tmp_path))
    mesh = recorded.mesh.mesh
    centre = IN_SCAN @ CENTRE
    assert np.abs(np.linalg.norm(mesh.vertices - centre, axis=1) - RADIUS_MM).max() < 0.3
    normals, _ = triangle_normals(mesh.vertices, mesh.faces)
    outward = mesh.vertices[mesh.faces].mean(axis=1) - centre
    assert ((normals * outward).sum(axis=1) > 0).all()
    errors = color_error(recorded, BALL, IN_SCAN)
    assert (
        np.percentile(errors, 90) < 1.5 and errors.max() < 6
    )  # of 200: both lenses and the way between them count
    assert recorded.mesh.face_material is not None
    assert 0.5 < (recorded.mesh.face_material == 0).mean() < 0.95
    assert recorded.notes == []


def test_without_the_lens_or_the_place_of_the_colour_camera_it_would_be_off(tmp_path: Path) -> None:
    right = np.percentile(color_error(read(ball_recording(tmp_path)), BALL, IN_SCAN), 90)
    for k, text in enumerate(
        (
            recipe().replace(str(list(COLOR.distortion)), "[0, 0, 0, 0, 0]"),
            recipe().replace("-20.0, 3.0, 0.0", "-14.0, 3.0, 0.0"),
        )
    ):
        recorded = read(ball_recording(tmp_path / str(k), text=text))
        assert np.percentile(color_error(recorded, BALL, IN_SCAN), 90) > 2 * right


def test_a_bent_depth_camera(tmp_path: Path) -> None:
    files = {
        "depth/0.png": png(depth_of(BALL, BENT)),
        "color/0.png": encode(color_of(BALL, COLOR, BESIDE.inverse), "png"),
    }
    recorded = read(write(tmp_path, recipe(depth_camera=BENT), files), "0")
    off = np.linalg.norm(recorded.mesh.mesh.vertices - IN_SCAN @ CENTRE, axis=1) - RADIUS_MM
    assert np.abs(off).max() < 0.3
    assert np.median(color_error(recorded, BALL, IN_SCAN)) < 1.5


@pytest.mark.parametrize(
    ("up", "turn"),
    [
        ("top", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        ("bottom", [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]),
        ("left", [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]),
        ("right", [[0, 1, 0], [1, 0, 0], [0, 0, -1]]),
    ],
)
def test_the_top_of_the_head_is_up(tmp_path: Path, up: str, turn: list[list[int]]) -> None:
    head = np.array({"top": [0, -1, 0], "bottom": [0, 1, 0], "left": [-1, 0, 0], "right": [1, 0, 0]}[up])
    np.testing.assert_array_equal(turn @ head, [0, 1, 0])
    recorded = read(ball_recording(tmp_path, text=recipe(f'up = "{up}"')))
    centre = turn @ CENTRE
    assert np.abs(np.linalg.norm(recorded.mesh.mesh.vertices - centre, axis=1) - RADIUS_MM).max() < 0.3


def test_mirrored_pictures_are_mirrored_back(tmp_path: Path) -> None:
    plain, mirrored = (
        read(ball_recording(tmp_path / name, text=recipe(top)))
        for name, top in (("a", ""), ("b", "mirrored = true"))
    )
    one, other = plain.mesh.mesh, mirrored.mesh.mesh
    np.testing.assert_allclose(other.vertices, one.vertices * [-1, 1, 1])
    normals, _ = triangle_normals(other.vertices, other.faces)
    outward = other.vertices[other.faces].mean(axis=1) - IN_SCAN @ CENTRE * [-1, 1, 1]
    assert ((normals * outward).sum(axis=1) > 0).all()
    assert np.median(color_error(mirrored, BALL, np.diag([-1.0, 1, 1]) @ IN_SCAN)) < 1.5


def test_what_hides_from_the_colour_camera_has_no_colour(tmp_path: Path) -> None:
    """A pole between the ball and the colour camera, which the depth camera sees beside the place that it hides."""
    depth = depth_of(BALL, PLAIN)
    depth[40:76, 66:72] = 330.0  # a bar, its shadow lies where the colour camera looks past it
    far = Pose(np.eye(3), np.array([-60.0, 0.0, 0.0]))
    text = (
        recipe(color_camera=None) + '[color]\nfiles = "color/{frame}.png"\n' + table(COLOR) + "\n" + pose(far)
    )
    files = {"depth/0.png": png(depth), "color/0.png": encode(color_of(BALL, COLOR, far.inverse), "png")}
    recorded = read(write(tmp_path, text, files), "0")
    mesh, shown = recorded.mesh.mesh, recorded.mesh.face_material
    assert shown is not None
    centres = mesh.vertices[mesh.faces].mean(axis=1) @ IN_SCAN
    pixel, seen_by = PLAIN.project(centres), COLOR.project(far(centres))
    bar = COLOR.project(far(PLAIN.rays()[58, [66, 71]] * 330.0))[:, 0]
    behind = (seen_by[:, 0] > bar[0] + 2) & (seen_by[:, 0] < bar[1] - 2) & (np.abs(pixel[:, 1] - 58) < 10)
    assert behind.sum() > 20 and (shown[behind] == -1).all()
    beyond = (seen_by[:, 0] > bar[1] + 8) & (np.abs(pixel[:, 0] - 84) < 6) & (np.abs(pixel[:, 1] - 58) < 10)
    assert beyond.sum() > 20 and (shown[beyond] == 0).all()


# ------------------------------------------------------------------------------------------------ several views


def around(degrees: float) -> Pose:
    """Where a camera stands that looks at the ball from the side: its axes -> the first camera's."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return Pose(turn, CENTRE - turn @ CENTRE)


def three_views(folder: Path, noise_mm: float = 0.0, camera: Camera = FINE) -> Path:
    rng = np.random.default_rng(0)
    text, files = "", {}
    for name, degrees in (("a", 0.0), ("b", 55.0), ("c", -55.0)):
        stands = around(degrees)
        depth = depth_of(BALL, camera, stands)
        noisy = depth + noise_mm * rng.normal(size=depth.shape)
        files[f"{'depth' if name == 'a' else name}/0.png"] = png(noisy)
        color = stands.after(BESIDE.inverse)
        files[f"color/{name}0.png"] = encode(color_of(BALL, COLOR, color), "png")
        place = "depth" if name == "a" else name
        text += f'[[view]]\n{pose(stands)}\n[view.depth]\nfiles = "{place}/{{frame}}.png"\nunit_mm = 0.1\n'
        text += f'{table(camera)}\n[view.color]\nfiles = "color/{name}{{frame}}.png"\n{table(COLOR)}\n{pose(BESIDE)}\n'
    return write(folder, text, files)


@pytest.mark.parametrize("camera", [FINE, replace(FINE, distortion=BENT.distortion)])
def test_views_become_one_surface(tmp_path: Path, camera: Camera) -> None:
    recorded = read(three_views(tmp_path, camera=camera), "0")
    mesh, shown = recorded.mesh.mesh, recorded.mesh.face_material
    assert shown is not None and set(shown.tolist()) == {-1, 0, 1, 2}
    local = mesh.vertices - IN_SCAN @ CENTRE
    off = np.linalg.norm(local, axis=1) - RADIUS_MM
    assert np.percentile(np.abs(off), 95) < 1.0 and abs(np.median(off)) < 0.2
    wide = np.degrees(np.arctan2(local[:, 0], local[:, 2]))
    assert wide.max() > 110 and wide.min() < -110  # one view alone sees 80
    normals, areas = triangle_normals(mesh.vertices, mesh.faces)
    good = areas > 0.01
    assert ((normals * local[mesh.faces].mean(axis=1)).sum(axis=1)[good] > 0).mean() > 0.999
    errors = color_error(recorded, BALL, IN_SCAN)
    assert np.median(errors) < 3 and np.percentile(errors, 99) < 12
    # each triangle shows the picture that looks at it: to the ball's right the one that stands there
    middle = local[mesh.faces].mean(axis=1)
    angle = np.degrees(np.arctan2(middle[:, 0], middle[:, 2]))
    for side, bounds in ((0, (-15, 15)), (1, (-75, -45)), (2, (45, 75))):
        there = (angle > bounds[0]) & (angle < bounds[1]) & (np.abs(middle[:, 1]) < 30) & (shown >= 0)
        assert (shown[there] == side).mean() > 0.95


def test_views_average_their_noise_and_are_always_the_same(tmp_path: Path) -> None:
    path = three_views(tmp_path, noise_mm=1.0)
    first, second = read(path, "0").mesh.mesh, read(path, "0").mesh.mesh
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.faces, second.faces)
    off = np.linalg.norm(first.vertices - IN_SCAN @ CENTRE, axis=1) - RADIUS_MM
    assert 0.05 < np.median(np.abs(off)) < 0.5


def test_a_view_that_is_missing_costs_the_frame(tmp_path: Path) -> None:
    path = three_views(tmp_path)
    (tmp_path / "b" / "0.png").unlink()
    with pytest.raises(FrameRejected) as error:
        read(path, "0")
    assert error.value.reason == "depth-missing" and "b/0.png" in str(error.value)


# ------------------------------------------------------------------------------------------------ what is wrong


def test_what_is_wrong_with_a_colour_picture_costs_the_colour(tmp_path: Path) -> None:
    path = ball_recording(tmp_path)
    picture = tmp_path / "color" / "0000.png"
    for data, code in (
        (encode(np.zeros((90, 120, 3), np.uint8), "png"), "texture-unreadable"),
        (b"no picture", "texture-unreadable"),
        (None, "texture-missing"),
    ):
        picture.unlink()
        if data is not None:
            picture.write_bytes(data)
        recorded = read(path)
        assert [c for c, _ in recorded.notes] == [code] and "0000.png" in recorded.notes[0][1]
        assert recorded.mesh.mesh.uv is None and len(recorded.mesh.mesh.faces) > 1000
        picture.touch()


def test_a_description_that_broke_since_costs_the_frame(tmp_path: Path) -> None:
    path = ball_recording(tmp_path)
    for text in ("x", recipe(depth_files="depth/b{frame}.png")):
        path.write_text(text)
        with pytest.raises(FrameRejected) as error:
            read(path)
        assert error.value.reason == "depth-recipe"


def test_links_out_of_the_captures_are_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    path = ball_recording(inside)
    for name, reason in (("color/0000.png", "texture-unreadable"), ("depth/0000.png", "unsafe-path")):
        away = tmp_path / Path(name).name.replace("0000", Path(name).parent.name)
        os.replace(inside / name, away)
        os.symlink(away, inside / name)
        try:
            said = [code for code, _ in read(path).notes]
        except FrameRejected as error:
            said = [error.reason]
        assert said == [reason]
