"""The judging maker of synthetic captures: lips and lids touch, half a view is half a face."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from mimicme.commands.evaluate import read_truth
from mimicme.commands.synth import synthesise
from mimicme.commands.synth.acting import act
from mimicme.commands.synth.ages import COVERS, who
from mimicme.commands.synth.contact import CLOSED_GAP_MM, find_seam, fit_eyes, touch_lips
from mimicme.commands.synth.people_maker import Person, build_studio
from mimicme.commands.synth.relief import subdivide
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import Mesh, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks.files import read_landmarks
from mimicme.pipeline.template import Template, prepare

SEQUENCES = ("neutral", "surprise", "half", "turned", "rigid")
TRIANGLES = 8_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_template: Path) -> Path:
    folder = tmp_path_factory.mktemp("people") / "captures"
    synthesise(folder, 1, SEQUENCES, 3, 5, small_template, triangles=TRIANGLES, maker="people")
    return folder


@pytest.fixture(scope="module")
def person(small_face: Template) -> Person:
    studio = build_studio(small_face, ["neutral", "eyes_closed", "surprise"], TRIANGLES)
    return Person(studio, "S000", 0, 5, 0.3, 512)


def truth_of(made: Path, sequence: str) -> dict[str, np.ndarray]:
    with np.load(made / "truth" / "S000" / f"{sequence}.npz") as file:
        return {name: file[name] for name in file.files}


def mesh_of(path: Path) -> Mesh:
    return read_mesh(path.read_bytes(), path.name).mesh


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def in_head(truth: dict[str, np.ndarray], k: int, points: np.ndarray) -> np.ndarray:
    return transform(np.linalg.inv(truth["head_pose"][k]), points)


def test_evaluate_reads_the_truth_and_there_are_lines_of_features(made: Path) -> None:
    for name in SEQUENCES:
        known = read_truth(made / "truth" / "S000" / f"{name}.npz")
        truth = truth_of(made, name)
        frames = len(known)
        assert truth["lips_closed"].shape == (frames,)
        for what, lines in (("lips", 4), ("lids", 4), ("brows", 2)):
            assert truth[what].shape[:2] == (frames, lines)
        surface = Surface(truth["vertices"][0], prepare(made / "template" / "template.obj").faces)
        assert surface.distance(truth["lips"][0].reshape(-1, 3)).max() < 0.01
    assert json.loads((made / "synth.json").read_text())["maker"] == "people"


def test_the_scan_is_the_truth_with_a_little_noise(made: Path) -> None:
    truth = truth_of(made, "neutral")
    scan = mesh_of(made / "captures" / "S000" / "neutral" / "0000.obj")
    assert 0.6 * TRIANGLES < len(scan.faces) < 1.1 * TRIANGLES
    faces = prepare(made / "template" / "template.obj").faces
    skin = scan.vertices[truth["region"][0][: len(scan.vertices)]]
    off = Surface(truth["vertices"][0], faces).distance(skin)
    assert np.median(off) < 0.35  # a coarse template's triangles are flat, the skin between them is not
    assert truth["valid"][0][truth["core"]].mean() > 0.6


def test_scan_vertices_know_nothing_of_the_templates(made: Path) -> None:
    truth = truth_of(made, "neutral")
    scan = mesh_of(made / "captures" / "S000" / "neutral" / "0000.obj")
    core = truth["core"] & truth["valid"][0]
    near = cKDTree(scan.vertices).query(truth["vertices"][0][core])[0]
    corner = scan.vertices[scan.faces]
    spacing = np.median(np.linalg.norm(corner[:, 1] - corner[:, 0], axis=1))
    # points thrown at random onto a net of this spacing lie nearer than a tenth of it in about 3 of 100 cases
    assert (near < 0.1 * spacing).mean() < 0.12


def test_lips_touch_when_closed_and_part_when_open(made: Path, person: Person) -> None:
    assert truth_of(made, "neutral")["lips_closed"].all()
    assert truth_of(made, "surprise")["lips_closed"].tolist() == [True, False, True]
    anatomy = person.studio.anatomy
    count = len(person.actor.neutral)
    closed = act(person.actor, "neutral", 0.0).skin[:count]
    seam = find_seam(anatomy, closed)
    assert seam.gap.max() < CLOSED_GAP_MM
    # along the sheet between them neither lip has passed it
    smooth, sheet = touch_lips(anatomy, person.actor.neutral)
    before = find_seam(anatomy, person.actor.neutral)
    inside = anatomy.lip_edge & (np.interp(smooth[:, 0], before.across, before.gap) < 0.3)
    inside &= (smooth[:, 0] > before.across[0]) & (smooth[:, 0] < before.across[-1])
    height = (smooth[:, 1] - np.interp(smooth[:, 0], before.across, sheet)) * anatomy.lip
    assert height[inside].min() > -0.1
    wide = find_seam(anatomy, act(person.actor, "surprise", 1.0).skin[:count])
    assert np.median(wide.gap) > 5


def test_closed_lids_meet(person: Person) -> None:
    anatomy, count = person.studio.anatomy, len(person.actor.neutral)
    marks = anatomy.rig.landmarks
    opening = {}
    for name, amount in (("neutral", 0.0), ("eyes_closed", 1.0)):
        face = act(person.actor, name, amount).skin[:count]
        opening[name] = np.linalg.norm(face[marks[[37, 44]]] - face[marks[[41, 46]]], axis=1).max()
    assert opening["eyes_closed"] < 0.35 * opening["neutral"]
    for eye in fit_eyes(anatomy, person.actor.neutral):
        upper, lower = eye.margins(eye.along)
        assert (upper >= lower).all()


def test_a_half_view_misses_one_side(made: Path) -> None:
    truth = truth_of(made, "half")
    path = made / "captures" / "S000" / "half" / "0001.obj"
    scan = in_head(truth, 1, mesh_of(path).vertices)
    assert min((scan[:, 0] > 25).mean(), (scan[:, 0] < -25).mean()) == 0
    valid = truth["valid"][1]
    face = in_head(truth, 1, truth["vertices"][1])
    sides = [valid[truth["core"] & (side * face[:, 0] > 12)].mean() for side in (-1, 1)]
    assert min(sides) == 0
    assert max(sides) > 0.6
    marks = read_landmarks(path.with_suffix(".ljson").read_bytes(), "0001.ljson").points
    absent = ~np.isfinite(marks).all(axis=1)
    assert 15 < absent.sum() < 53
    np.testing.assert_array_equal(absent, ~valid[[int(i) for i in _landmark_vertices(made)]])


def test_a_turned_head_hides_its_far_side_and_a_rigid_one_does_not_move(made: Path) -> None:
    turned = truth_of(made, "turned")
    face = in_head(turned, 0, turned["vertices"][0])
    sides = [turned["valid"][0][turned["core"] & (side * face[:, 0] > 25)].mean() for side in (-1, 1)]
    assert min(sides) < max(sides) - 0.15
    rigid = truth_of(made, "rigid")
    assert (rigid["amount"] == 0).all()
    faces = [in_head(rigid, k, rigid["vertices"][k]) for k in range(3)]
    assert max(np.abs(f - faces[0]).max() for f in faces) < 1e-3
    # noise of a depth camera: alike at neighbours
    assert np.abs(rigid["head_pose"][1][:3, :3] - rigid["head_pose"][0][:3, :3]).max() > 0.05


def test_same_parameters_same_bytes_and_it_goes_on(tmp_path: Path, small_template: Path) -> None:
    arguments = (1, ("neutral", "tongue"), 3, 2, small_template)
    synthesise(tmp_path / "whole", *arguments, triangles=4_000, maker="people")

    def stop(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "parts", *arguments, stop, triangles=4_000, maker="people")
    synthesise(tmp_path / "parts", *arguments, triangles=4_000, maker="people")
    assert digests(tmp_path / "whole") == digests(tmp_path / "parts")


def test_a_beard_lies_over_the_chin_of_a_grown_man_and_changes_nothing_else(
    tmp_path: Path, small_template: Path, person: Person
) -> None:
    bare, bearded = tmp_path / "bare", tmp_path / "bearded"
    for folder, beards in ((bare, False), (bearded, True)):
        synthesise(
            folder,
            1,
            ("neutral",),
            3,
            2112,
            small_template,
            triangles=TRIANGLES,
            maker="people",
            beards=beards,
        )
    assert "beards" not in json.loads((bare / "synth.json").read_text())
    assert (bare / "subjects.csv").read_bytes() == (bearded / "subjects.csv").read_bytes()
    truth, same = truth_of(bearded, "neutral"), truth_of(bare, "neutral")
    np.testing.assert_array_equal(truth["vertices"], same["vertices"])
    marks = truth["landmarks"][0]

    def around(*rows: int) -> np.ndarray:
        return np.asarray(cKDTree(marks[list(rows)]).query(truth["vertices"][0])[0] < 5)

    chin, lips, brows = around(7, 8, 9), around(51, 57), around(19, 24)
    assert same["valid"][0][chin].mean() > 0.6
    assert truth["valid"][0][chin].mean() < 0.05
    assert truth["valid"][0][lips].mean() > 0.4
    for folder, on_skin in ((bare, True), (bearded, False)):
        scan = mesh_of(folder / "captures" / "S000" / "neutral" / "0000.obj")
        off = Surface(scan.vertices, scan.faces).distance(truth["vertices"][0])
        assert np.median(off[brows]) < 0.5
        assert (np.median(off[chin]) < 0.5) == on_skin
        assert on_skin or np.percentile(off[chin], 10) > 2.0
    assert person.who.female
    assert replace(person, bearded=True).beard is None
    with pytest.raises(UsageError, match="beards"):
        synthesise(tmp_path / "other", 1, 1, 3, 0, small_template, beards=True)


def test_ages_and_covers_go_round() -> None:
    people = [who(i, 0, np.random.default_rng(i)) for i in range(10)]
    assert min(p.age for p in people) <= 14
    assert max(p.age for p in people) >= 64
    assert {p.cover for p in people} == set(COVERS)


def test_subdivision_keeps_vertices_and_rounds_a_sphere() -> None:
    from mimicme.commands.synth.parts import _sphere

    rays, faces = _sphere(400)
    fine = subdivide(faces, len(rays), 4 * len(faces))
    round_off = fine.curved(rays)
    np.testing.assert_array_equal(round_off[: len(rays)], rays)
    flat = fine.interpolate(rays)
    # a parabola is much nearer to the sphere than a chord
    assert (
        np.abs(np.linalg.norm(round_off, axis=1) - 1).max()
        < 0.2 * np.abs(np.linalg.norm(flat, axis=1) - 1).max()
    )


def test_the_first_maker_is_the_default_and_knows_no_views(
    small_captures: Path, tmp_path: Path, small_template: Path
) -> None:
    assert "maker" not in json.loads((small_captures / "synth.json").read_text())
    with pytest.raises(UsageError, match="expression"):
        synthesise(tmp_path / "b", 1, ("half",), 3, 0, small_template)
    with pytest.raises(UsageError, match="maker"):
        synthesise(tmp_path / "b", 1, 1, 3, 0, small_template, maker="nobody")


def _landmark_vertices(made: Path) -> np.ndarray:
    template = mesh_of(made / "template" / "template.obj")
    points = read_landmarks((made / "template" / "template.ljson").read_bytes(), "template.ljson").points
    return cKDTree(template.vertices).query(points)[1]
