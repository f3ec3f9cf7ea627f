"""Templates: `template check`."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from shared_helpers import called

from mimicme.commands.template import Finding, verdict
from mimicme.pipeline.formats.meshio import read_mesh, write_obj
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import MIRROR, Landmarks
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
from mimicme.pipeline.template import prepare
from mimicme.pipeline.template.embedded_points import with_even_sides


def parts(path):
    mesh = read_mesh(path.read_bytes(), path.name).mesh
    return mesh, read_landmarks(path.with_suffix(".ljson").read_bytes(), "x.ljson").points


def written(folder, mesh, points):
    path = folder / "other.obj"
    write_obj(path, mesh)
    path.with_suffix(".ljson").write_bytes(write_landmarks(Landmarks(points), "other.ljson"))
    return path


def findings(path, code, *more):
    result = called("template", "check", path, "--json", *more)
    assert result.exit_code == code, result.output
    return json.loads(result.output)


def said(found, level):
    return " ".join(one["message"] for one in found if one["level"] == level)


def test_a_sound_template_will_do(small_template, tmp_path):
    result = called("template", "check", small_template, "--picture", tmp_path / "points.png")
    assert result.exit_code == 0
    assert "error" not in result.output
    notes = result.output.count("\nnote ")
    assert notes and f"will do, with {notes} note" in result.output.splitlines()[-1]
    for sentence in (
        "One piece",
        "All 68 landmarks",
        "Registered to its own surface it stays within 0.0",
        "slit between the lips",
        "no texture coordinates",
        "the eyes are then",
    ):
        assert sentence in result.output, sentence
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "points.png"))
    red = (picture == (220, 40, 60)).all(axis=2).sum()
    assert picture.shape[1] > 1500 and red > 500


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((), "will do"),
        (("note",), "will do, with 1 note: read it above before a long run"),
        (("note", "note"), "will do, with 2 notes: read them above before a long run"),
        (("note", "error"), "will not do as a template: 1 error, 1 note"),
    ],
)
def test_the_last_line_counts_errors_and_notes(levels, words):
    assert verdict([Finding("ok", "One piece."), *(Finding(level, "...") for level in levels)]) == words


def test_51_landmarks_suffice(small_template, tmp_path):
    mesh, points = parts(small_template)
    # the small template has the embedded one's own shape, so its jaw is known
    even, _ = with_even_sides(points, np.asarray(mesh.vertices), mesh.faces)
    without = even.copy()
    without[:17] = np.nan
    path = written(tmp_path, mesh, without)
    found = findings(path, 0)
    assert "51 landmarks" in said(found, "note")
    assert np.linalg.norm(prepare(path).landmarks() - even, axis=1).max() < 1.5


def test_one_of_the_jaw_absent_is_named(small_template, tmp_path):
    mesh, points = parts(small_template)
    points[3] = np.nan
    assert "1 of 68 landmarks are absent: jaw_03" in said(
        findings(written(tmp_path, mesh, points), 1), "error"
    )


def test_landmarks_exchanged_between_left_and_right(small_template, tmp_path):
    mesh, points = parts(small_template)
    eyes = points.copy()
    eyes[48], eyes[54] = points[54], points[48]
    assert "mouth_00 (48) and mouth_06 (54)" in said(findings(written(tmp_path, mesh, eyes), 1), "error")
    (tmp_path / "all").mkdir()
    picture = tmp_path / "refused.png"
    found = findings(written(tmp_path / "all", mesh, points[MIRROR]), 1, "--picture", picture)
    assert "mirrored" in said(found, "error")
    assert picture.stat().st_size > 10_000  # what is refused can be looked at


def test_a_mesh_torn_along_seams(small_template, tmp_path):
    mesh, points = parts(small_template)
    right = mesh.vertices[mesh.faces].mean(axis=1)[:, 0] < 0
    moved = np.where(right[:, None], mesh.faces + len(mesh.vertices), mesh.faces)
    torn = Mesh(np.concatenate([mesh.vertices, mesh.vertices]), moved.astype(np.int32))
    assert "vertices merged" in said(findings(written(tmp_path, torn, points), 1), "error")


def test_triangles_wound_against_the_others(small_template, tmp_path):
    mesh, points = parts(small_template)
    some = mesh.vertices[mesh.faces].mean(axis=1)[:, 1] < -20
    faces = np.where(some[:, None], mesh.faces[:, ::-1], mesh.faces)
    found = findings(written(tmp_path, Mesh(mesh.vertices, faces), points), 1)
    assert "wound against their neighbours" in said(found, "error")


def test_no_size_of_a_face(small_template, tmp_path):
    mesh, points = parts(small_template)
    found = findings(written(tmp_path, Mesh(7 * mesh.vertices, mesh.faces), 7 * points), 1)
    assert "Scale the template" in said(found, "error")


def test_an_edge_of_three_triangles_and_another_piece(small_template, tmp_path):
    mesh, points = parts(small_template)
    a, b, _ = mesh.faces[0]
    n = len(mesh.vertices)
    back = mesh.vertices.mean(axis=0) - [0.0, 0.0, 150.0]
    vertices = np.concatenate([mesh.vertices, [back], back + np.eye(3)])
    faces = np.concatenate([mesh.faces, [[a, b, n], [n + 1, n + 2, n + 3]]]).astype(np.int32)
    notes = said(findings(written(tmp_path, Mesh(vertices, faces), points), 0), "note")
    assert "1 edges have more than two triangles" in notes and "2 pieces" in notes


def test_vertices_of_no_triangle(small_template, tmp_path):
    mesh, points = parts(small_template)
    vertices = np.concatenate([mesh.vertices, mesh.vertices[:3] - [0.0, 0.0, 90.0]])
    found = findings(written(tmp_path, Mesh(vertices, mesh.faces), points), 0)
    assert "3 vertices belong to no triangle" in said(found, "note")


@pytest.mark.parametrize("apart", [False, True])
def test_an_interior_that_shares_the_texture_with_the_skin(small_template, tmp_path, apart):
    mesh, points = parts(small_template)
    vertices = np.asarray(mesh.vertices)
    low, wide = vertices[:, :2].min(axis=0), np.ptp(vertices[:, :2], axis=0).max()
    ball = (
        vertices.mean(axis=0) - [0.0, 0.0, 60.0] + 5 * np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, -1]])
    )
    n = len(vertices)
    uv = np.concatenate(
        [0.8 * (vertices[:, :2] - low) / wide, [[0.3, 0.3], [0.4, 0.3], [0.3, 0.4], [0.4, 0.4]]]
    )
    uv[n:] += [0.58, 0.58] if apart else [0.0, 0.0]
    faces = np.concatenate([mesh.faces, [[n, n + 1, n + 2], [n + 3, n + 2, n + 1]]]).astype(np.int32)
    path = written(tmp_path, Mesh(np.concatenate([vertices, ball]), faces, uv, faces), points)
    np.savez(path.with_name("other.masks.npz"), interior=np.arange(n + 4) >= n)
    notes = said(json.loads(called("template", "check", path, "--json").output), "note")
    assert ("would show skin" in notes) != apart


def test_without_landmarks_it_says_what_to_write_and_checks_the_rest(small_template, tmp_path):
    mesh, _ = parts(small_template)
    faces = np.concatenate([mesh.faces, mesh.faces[:1]])
    write_obj(tmp_path / "bare.obj", Mesh(mesh.vertices, faces))
    found = findings(tmp_path / "bare.obj", 1, "--picture", tmp_path / "bare.png")
    assert "51 without the jaw" in said(found, "error")
    assert "edges have more than two triangles" in said(found, "note")
    assert "no texture coordinates" in said(found, "note") and "One piece" in said(found, "ok")
    from PIL import Image

    with Image.open(tmp_path / "bare.png") as picture:
        assert min(picture.size) > 500


def test_landmarks_that_cannot_be_read_do_not_hide_the_rest(small_template, tmp_path):
    shutil.copy(small_template, tmp_path / "other.obj")
    (tmp_path / "other.ljson").write_text("{")
    found = findings(tmp_path / "other.obj", 1)
    assert "other.ljson" in said(found, "error") and "One piece" in said(found, "ok")


def test_a_file_that_is_not_there(tmp_path):
    assert called("template", "check", tmp_path / "none.obj").exit_code == 2


def test_uneven_landmarks_on_a_symmetric_mesh_are_named(small_template, tmp_path):
    """Those of menpo3d's template as they come; made even they are not."""
    note = said(findings(small_template, 0), "note")
    assert (
        "not each other's mirror image: " in note and "left_eyebrow_0" in note and "slide to one side" in note
    )
    mesh, points = parts(small_template)
    even, _ = with_even_sides(points, np.asarray(mesh.vertices), mesh.faces)
    assert "of the right are mirror images" in said(findings(written(tmp_path, mesh, even), 0), "ok")
