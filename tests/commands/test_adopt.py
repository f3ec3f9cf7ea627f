"""Registered meshes as a release."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shared_helpers import called

from mimicme.commands.adopt import _is_mirror_image, stabilising_pose
from mimicme.commands.verify import has_errors, verify
from mimicme.pipeline.formats.meshio import write_obj
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.release import Release

METRES = 0.001


def turned(points):
    """+y up as +z up: the file's axes."""
    return points @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)


@pytest.fixture(scope="module")
def folder(known, tmp_path_factory):
    """CoMA-like: metres, other axes, four people of two expressions, one mesh cut short."""
    root = tmp_path_factory.mktemp("registered")
    shape = known.template
    mesh = Mesh(turned(shape.vertices) * METRES, shape.faces)
    write_obj(root / "template.obj", mesh, decimals=7)
    marks = Landmarks(turned(shape.landmarks()) * METRES)
    (root / "template.ljson").write_bytes(write_landmarks(marks, "template.ljson"))
    for item in known.amounts:
        if item.subject < "S004" and item.sequence in ("neutral", "surprise", "pout"):
            for k, vertices in enumerate(known.clean(item)):
                path = root / "meshes" / item.subject / item.sequence / f"{item.sequence}.{k:06d}.obj"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_obj(path, mesh.with_vertices(turned(vertices) * METRES), decimals=7)
    small = Mesh(mesh.vertices[:50], np.array([[0, 1, 2]], np.int32))
    write_obj(root / "meshes" / "S003" / "pout" / "pout.000004.obj", small)
    (root / "people.csv").write_text(
        "subject,age,consent\nS000,30,yes\nS001,40,yes\nS002,50,no\nS003,60,yes\n"
    )
    return root


@pytest.fixture(scope="module")
def adopted(folder):
    result = called(
        *("adopt", folder / "meshes", folder / "release.h5", "--template", folder / "template.obj"),
        *("--layout", "coma", "--metadata", folder / "people.csv", "--fps", 60, "--licence", "as agreed"),
    )
    return folder / "release.h5", result


def test_vertices_are_the_meshes_in_mm(adopted, known):
    path, result = adopted
    assert "3 subjects, 33 frames, 1 rejected" in result.output
    assert result.exit_code == 1  # one frame is rejected
    assert result.output.count("'S002' is left out: its consent is 'no' (line 4)") == 1
    assert "have withdrawn" not in result.output
    with Release(path) as release:
        assert sorted(release.subjects) == ["S000", "S001", "S003"]  # S002 refused
        assert release.subjects["S001"]["age"] == 40
        items = [s.item for s in release.sequences()]
        assert len(items) == 9
        worst = 0.0
        for info in release.sequences():
            for row in info.rows:
                if release.index["status"][row] == "ok":
                    clean = known.clean(info.item)[int(release.index["frame"][row])]
                    worst = max(worst, np.abs(release.vertices(row) - clean).max())
        assert worst < 0.05
        frame = release.frame(int(release.select(subject="S000", expression="surprise")[2]), images=False)
        file = transform(release.sequence("S000", "surprise").file_from_scan, frame.vertices.astype(float))
        assert file == pytest.approx(turned(known.clean(items[2])[2]) * METRES, abs=1e-4)


def test_a_mesh_of_another_topology_is_a_rejected_frame(adopted):
    with Release(adopted[0]) as release:
        frame = release.frame(int(release.select(subject="S003", sequence="pout")[4]))
        assert (frame.status, frame.reason) == ("rejected", "other-topology")
        assert "50 vertices" in frame.message
        assert np.isnan(frame.vertices).all()


def test_a_mesh_with_a_vertex_that_is_no_number_is_rejected_for_that(folder, known, tmp_path):
    """Left out, though no triangle has it, the mesh would be one of another topology."""
    item = next(i for i in known.amounts if i.sequence == "surprise")
    vertices = turned(next(iter(known.clean(item)))) * METRES
    faces = known.template.faces
    lone = Mesh(np.concatenate([vertices, [[np.nan] * 3]]), faces)
    for name, mesh in {"plain": Mesh(vertices, faces), "lone": lone}.items():
        path = tmp_path / "meshes" / "S1" / f"{name}.obj"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_obj(path, mesh, decimals=7)
    called("adopt", tmp_path / "meshes", tmp_path / "r.h5", "--template", folder / "template.obj")
    found = frames_of(tmp_path / "r.h5")
    assert found["plain"].status == "ok"
    assert (found["lone"].status, found["lone"].reason) == ("rejected", "nan-vertices")
    assert f"vertex {len(vertices) + 1}: [nan, nan, nan]" in found["lone"].message


@pytest.fixture(scope="module")
def reordered(folder, known):
    """One mesh as other programs write it, and the release of all."""
    root = folder / "reordered"
    item = next(i for i in known.amounts if i.sequence == "surprise")
    vertices = turned(next(iter(known.clean(item)))) * METRES
    faces = known.template.faces
    order = np.random.default_rng(0).permutation(len(faces))
    moved = np.random.default_rng(1).permutation(len(vertices))
    place = np.argsort(moved)
    some = np.where(np.arange(len(faces))[:, None] < 7, faces[:, ::-1], faces)
    few = faces.copy()
    few[5, 2] = 99
    mirror = vertices * [-1, 1, 1]
    meshes = {
        "plain": (vertices, faces),
        "faceorder": (vertices, faces[order]),
        "cyclic": (vertices, np.roll(faces[order], 1, axis=1)),
        "flipped": (vertices, faces[order][:, ::-1]),
        "some": (vertices, some),
        "vertexorder": (vertices[moved], place[faces]),
        "few": (vertices, few),
        "mirrored": (mirror, faces[:, ::-1]),
        "inward": (mirror, faces),
    }
    for name, (points, triangles) in meshes.items():
        path = root / "S1" / f"{name}.obj"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_obj(path, Mesh(points, np.ascontiguousarray(triangles, np.int32)), decimals=7)
    result = called("adopt", root, root / "r.h5", "--template", folder / "template.obj")
    return root / "r.h5", result, len(faces)


def frames_of(path):
    with Release(path) as release:
        rows = range(len(release.index["status"]))
        return {release.index["sequence"][row]: release.frame(row, images=False) for row in rows}


def test_triangles_in_another_order_and_turned_ones_are_adopted(reordered):
    path, result, count = reordered
    frames = frames_of(path)
    assert {n for n, f in frames.items() if f.status == "ok"} == {
        "plain",
        "faceorder",
        "cyclic",
        "flipped",
        "some",
    }
    for name in ("faceorder", "cyclic", "flipped", "some"):
        np.testing.assert_array_equal(frames[name].vertices, frames["plain"].vertices)
    assert frames["flipped"].message == f"{count} of {count} triangles were wound the other way."
    assert frames["some"].message == f"7 of {count} triangles were wound the other way."
    assert not any(frames[name].message for name in ("plain", "faceorder", "cyclic"))
    assert "were turned (triangles-turned): S1/flipped frame 0, S1/some frame 0." in result.output
    assert not has_errors(verify(path))


def test_what_differs_is_said(reordered):
    path, _, count = reordered
    frames = frames_of(path)
    assert {frames[n].reason for n in ("vertexorder", "few", "mirrored", "inward")} == {"other-topology"}
    assert "the vertices are in another order" in frames["vertexorder"].message
    assert "triangles are not the template's" in frames["vertexorder"].message
    assert (
        "; 1 triangle is not the template's; the first vertex whose triangles differ is"
        in frames["few"].message
    )
    assert "another order" not in frames["few"].message
    assert "mirror image" in frames["mirrored"].message and "mirror image" in frames["inward"].message
    assert "left and right exchanged, and all triangles wound the other way" in frames["mirrored"].message
    assert "left and right exchanged, so that all triangles face inwards" in frames["inward"].message


def test_a_flat_shape_is_no_mirror_image_of_itself() -> None:
    flat = np.random.default_rng(0).normal(size=(200, 3)) * [60, 80, 0]
    noise = np.random.default_rng(1).normal(size=(200, 3)) * 1e-4
    assert not _is_mirror_image(flat, flat) and not _is_mirror_image(flat + noise, flat - noise)
    deep = flat + np.random.default_rng(2).normal(size=(200, 3)) * [0, 0, 20]
    assert _is_mirror_image(deep * [-1, 1, 1], deep) and not _is_mirror_image(deep * [-1, -1, 1], deep)


def test_the_release_is_verified(adopted):
    assert not has_errors(verify(adopted[0]))


def test_the_same_again_is_the_same_bytes(adopted, folder, tmp_path):
    path, _ = adopted
    again = ("--template", folder / "template.obj", "--layout", "coma", "--metadata", folder / "people.csv")
    called("adopt", folder / "meshes", tmp_path / "r.h5", *again, "--fps", 60, "--licence", "as agreed")
    assert (tmp_path / "r.h5").read_bytes() == path.read_bytes()
    (tmp_path / "r.h5").write_text("mine")
    refused = called("adopt", folder / "meshes", tmp_path / "r.h5", *again)
    assert refused.exit_code == 2 and "there already" in refused.output
    assert (tmp_path / "r.h5").read_text() == "mine"
    called("adopt", folder / "meshes", tmp_path / "r.h5", *again, "--overwrite")
    assert (tmp_path / "r.h5").read_bytes() != b"mine"
    refused = called("adopt", folder / "meshes", folder / "people.csv", *again, "--overwrite")
    assert refused.exit_code == 2 and "written over" in refused.output


def test_experiments_run_on_it(adopted, tmp_path):
    result = called("experiment", "coma", adopted[0], "--output", tmp_path, "--split", "extrapolation")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "experiment.json").read_text())
    assert [r["tested"] for r in record["results"]] == ["pout", "surprise"]


def test_aligning_takes_the_heads_motion_out(known):
    still = known.template.vertices
    face = next(known.clean(i)[2] for i in known.amounts if i.sequence == "surprise") - still
    moved = still + face
    angle = np.radians(7)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:3, 3] = 5, -3, 8
    straight = transform(stabilising_pose(moved, still), moved)
    after = transform(stabilising_pose(transform(pose, moved), still), transform(pose, moved))
    assert after == pytest.approx(straight, abs=0.05)


def test_a_wrong_template_is_said(folder, known_module, tmp_path):
    other = known_module.face_template(30)
    write_obj(tmp_path / "t.obj", Mesh(other.vertices, other.faces))
    (tmp_path / "t.ljson").write_bytes(write_landmarks(Landmarks(other.landmarks()), "t.ljson"))
    result = called("adopt", folder / "meshes", tmp_path / "r.h5", "--template", tmp_path / "t.obj")
    assert result.exit_code == 2
    assert "not one mesh has the template's topology" in result.output
    assert not (tmp_path / "r.h5").exists()
