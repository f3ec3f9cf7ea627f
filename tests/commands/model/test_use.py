"""Using a model: projecting, composing, transferring, fitting and exporting; and all of it on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mimicme.cli import main
from mimicme.commands.model.build import BuildSettings, build
from mimicme.commands.model.fitting import FitSettings, fit_landmarks, fit_scan
from mimicme.commands.model.formats import plain
from mimicme.commands.model.use import (
    compose,
    find_frame,
    interpolate,
    personalise,
    project,
    sample,
    transfer,
)
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.formats.meshio import read_mesh, write_obj
from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.model_file import TextureModel, read_model
from mimicme.pipeline.release.frames import ReleaseFrames
from mimicme.pipeline.texture.model_texture import mean_texture


@pytest.fixture(scope="module")
def model_path(known, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.h5"
    build([known.path], path, BuildSettings(texture=12, group_minimum=0, rank=20, symmetric=True, sparse=4))
    return path


@pytest.fixture(scope="module")
def model(model_path):
    return read_model(model_path)


@pytest.fixture
def frames(known):
    with ReleaseFrames([known.path]) as opened:
        yield opened


@pytest.fixture
def call():
    def run(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["model", *map(str, arguments)])
        assert result.exit_code == status, result.output
        return result.output

    return run


POSE = np.eye(4)
POSE[:3, :3] = [[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]
POSE[:3, 3] = 30, -20, 500


def test_projection_leaves_noise_and_little_else(model, frames, known):
    found = project(model, frames, frames.rows_of("S004"))
    assert found.identity.shape == (len(found.table), model.models["identity"].rank)
    noise = known.noise_mm * np.sqrt(3) / np.sqrt(3)  # of three uniform coordinates: bound / root 3 each
    assert 0.2 * noise < found.residual_mm.mean() < 2 * noise
    happy = (found.table["expression"] == "happiness") & (found.table["frame"] == 2)
    assert found.names[int(found.weights[happy][0].argmax())] == "happiness"
    assert found.blendshape_residual_mm.mean() > found.residual_mm.mean()
    assert ((found.weights >= 0) & (found.weights <= 1)).all()


def test_composing_undoes_projecting(model, frames, known):
    row = find_frame(frames, "S003/surprise/2")
    found = project(model, frames, np.array([row]))
    made = compose(model, found.identity, found.expression)[0]
    truth = known.clean(Item("S003", "surprise"))[2]
    assert np.linalg.norm(made - truth, axis=1).mean() < 0.35
    np.testing.assert_array_equal(compose(model)[0], model.models["identity"].mean)


def test_transfer_puts_one_persons_smile_on_another(model, frames, known):
    source, target = "S002", "S007"
    row = find_frame(frames, f"{source}/happiness")
    assert int(frames.table["frame"][row]) == 2
    made = transfer(
        model, frames.neutral(source).vertices, frames.vertices(row), frames.neutral(target).vertices
    )
    delta = known.clean(Item(source, "happiness"))[2] - known.clean(Item(source, "neutral"))[0]
    truth = known.clean(Item(target, "neutral"))[0] + delta
    size = np.linalg.norm(delta, axis=1).max()
    assert np.linalg.norm(made - truth, axis=1).max() < 0.25 * size
    corner = known.template.landmarks(made.astype(float))[54] - known.template.landmarks(truth - delta)[54]
    assert corner[0] > 2 and corner[1] > 2  # out and up


def test_interpolation_begins_and_ends_where_it_should(model, frames):
    first, last = frames.vertices(0), frames.vertices(9)
    way = interpolate(first, last, model.models["joint"], 5)
    joint = model.models["joint"]
    np.testing.assert_allclose(way[0], joint.decode(joint.encode(first[None]))[0], atol=1e-4)
    np.testing.assert_allclose(way[2], (way[0] + way[4]) / 2, atol=1e-3)
    with pytest.raises(UsageError):
        interpolate(first, last, joint, 1)


def test_samples_are_people_not_copies(model):
    faces = sample(model, 5, seed=3)
    np.testing.assert_array_equal(faces, sample(model, 5, seed=3))
    apart = np.linalg.norm(faces[0] - faces[1], axis=1).mean()
    assert 0.5 < apart < 15
    rest = sample(model, 5, seed=3, expressive=False)
    assert np.abs(rest - faces).max() > 1


def test_a_subjects_own_blendshapes_explain_their_frames_better(model, frames):
    neutral, own = personalise(model, frames, "S006")
    rows = np.intersect1d(frames.rows_of("S006"), frames.expressive)
    differences = np.stack([frames.vertices(int(r)) for r in rows]) - neutral
    from mimicme.commands.model.personal import shape_weights

    def rest(shapes):
        made = np.tensordot(shape_weights(differences, shapes), shapes, 1)
        return float(((differences - made) ** 2).mean())

    assert rest(own.deltas) < 0.9 * rest(model.shapes().deltas)
    assert own.names == model.shapes().names


# -- fitting


def test_landmarks_find_pose_and_face(model, known):
    truth = known.clean(Item("S008", "surprise"))[2]
    marks = transform(POSE, known.template.landmarks(truth))
    marks[3] += 60  # one is plainly wrong
    marks[40] = np.nan
    fit = fit_landmarks(model, marks)
    error = np.linalg.norm(fit.vertices - transform(POSE, truth), axis=1)
    assert error.mean() < 2.0
    np.testing.assert_allclose(fit.pose[:3, :3], POSE[:3, :3], atol=0.05)
    at_rest = fit_landmarks(model, marks, FitSettings(expression=False))
    assert not len(at_rest.expression)
    assert np.linalg.norm(at_rest.vertices - transform(POSE, truth), axis=1).mean() > error.mean() + 0.3
    with pytest.raises(UsageError, match="do not fit the template"):
        fit_landmarks(model, marks[:5])
    with pytest.raises(UsageError, match="at least six"):
        fit_landmarks(model, np.where(np.arange(68)[:, None] < 5, marks, np.nan))


def scan_of(known, truth: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """Another triangulation of a face, with a hole and a lump of hair; and its landmarks."""
    from scipy.interpolate import griddata

    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-76, 76, 70), np.linspace(-96, 96, 88)))
    z = griddata(truth[:, :2], truth[:, 2], (x, y))
    z += 25 * np.exp(-(((x - 10) / 25) ** 2) - ((y - 85) / 12) ** 2)
    corner = (np.arange(87)[:, None] * 70 + np.arange(69)).ravel()
    a, b, c, d = corner, corner + 1, corner + 71, corner + 70
    mesh = Mesh(
        np.stack([x, y, z], 1), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype("i4")
    )
    centre = mesh.vertices[mesh.faces].mean(axis=1)
    whole = np.isfinite(centre).all(axis=1) & (np.linalg.norm(centre[:, :2] - [45, 5], axis=1) > 12)
    cut = keep_triangles(mesh, whole)[0]
    return Mesh(transform(POSE, cut.vertices), cut.faces), transform(POSE, known.template.landmarks(truth))


def test_a_scan_finds_the_face_better_than_landmarks_alone(model, known):
    truth = known.clean(Item("S009", "happiness"))[2]
    scan, marks = scan_of(known, truth)
    marks = marks + np.random.default_rng(0).normal(scale=1.5, size=marks.shape)
    placed = transform(POSE, truth)
    y = known.template.vertices[:, 1]
    face = y < 60  # not under the hair
    surface = Surface(placed, known.template.faces)
    first, fit = fit_landmarks(model, marks), fit_scan(model, scan, marks)
    by_marks, by_scan = (surface.distance(f.vertices)[face].mean() for f in (first, fit))
    assert by_scan < 0.5 * by_marks
    assert by_scan < 0.25
    # what slides along the skin is held by landmarks and prior alone
    assert np.linalg.norm(fit.vertices - placed, axis=1)[face].mean() < 1.2
    assert fit.residual_mm < 0.3
    with pytest.raises(UsageError, match="does not lie where the face is"):
        fit_scan(model, scan)  # without landmarks it is half a metre away


# -- files


def test_plain_components_are_the_same_distribution(model):
    linear = model.models["expression"]
    components, variances = plain(linear)
    np.testing.assert_allclose(components @ components.T, np.eye(len(components)), atol=1e-6)
    flat = linear.components.reshape(linear.rank, -1).astype(float)
    ours = flat.T @ np.diag(linear.variances) @ flat
    np.testing.assert_allclose(components.T @ np.diag(variances) @ components, ours, atol=1e-4 * ours.max())


def test_matlab_and_menpo_files_hold_the_model(model, model_path, call, tmp_path):
    import menpo.io as mio
    from scipy.io import loadmat

    call("export", model_path, tmp_path / "m.mat", "--format", "mat")
    call("export", model_path, tmp_path / "again.mat", "--format", "mat")
    mat = loadmat(tmp_path / "m.mat")
    linear = model.models["identity"]
    assert mat["components"].shape == (linear.mean.size, linear.rank)
    np.testing.assert_allclose(mat["mean"].ravel(), linear.mean.ravel(), atol=1e-5)
    assert mat["cumulative_explained_variance"].ravel()[-1] == pytest.approx(1)
    assert mat["trilist"].min() == 0 and int(mat["n_training_samples"].item()) == linear.count
    assert (tmp_path / "m.mat").read_bytes() == (tmp_path / "again.mat").read_bytes()
    call("export", model_path, tmp_path / "m.pkl", "--format", "menpo")
    menpo = mio.import_pickle(tmp_path / "m.pkl")  # this test wrote it
    face = menpo.instance(np.sqrt(menpo.eigenvalues[:1]))
    assert face.n_points == len(linear.mean)
    assert "already" in call("export", model_path, tmp_path / "m.mat", "--format", "mat", status=2)
    said = call("export", model_path, tmp_path / "x.npz", "--format", "npz", "--which", "smile", status=2)
    assert "no 'smile' model" in said
    for part in ("identity", "blendshapes", "arkit", "sides", "sparse", "texture"):
        assert part in said


def test_glb_has_named_morph_targets(model, model_path, call, tmp_path):
    call("export", model_path, tmp_path / "m.glb", "--format", "glb", "--which", "arkit")
    data = (tmp_path / "m.glb").read_bytes()
    tree = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    mesh = tree["meshes"][0]
    names = mesh["extras"]["targetNames"]
    assert "mouthSmileLeft" in names and len(names) == len(mesh["weights"]) == len(
        mesh["primitives"][0]["targets"]
    )
    target = tree["accessors"][mesh["primitives"][0]["targets"][names.index("mouthSmileLeft")]["POSITION"]]
    base = tree["accessors"][mesh["primitives"][0]["attributes"]["POSITION"]]
    assert target["count"] == base["count"]
    assert target["max"][0] > 2 > -0.5 < target["min"][0]
    assert read_mesh(data, "m.glb").mesh.faces.shape == model.template.faces.shape
    for which in ("blendshapes", "sides", "sparse", "identity"):
        call("export", model_path, tmp_path / f"{which}.glb", "--format", "glb", "--which", which)
    call("export", model_path, tmp_path / "b.npz", "--format", "npz", "--which", "blendshapes")
    with np.load(tmp_path / "b.npz", allow_pickle=False) as stored:
        assert tuple(stored["names"]) == model.shapes().names
        np.testing.assert_array_equal(stored["deltas"], model.shapes().deltas)


def test_the_mean_texture_of_a_glb_has_no_holes(model):
    whole = model.texture
    picture = whole.image(whole.model.mean).reshape(-1, 3)
    kept = np.flatnonzero(np.arange(len(whole.pixels)) % 12 != 5)
    linear = replace(
        whole.model,
        mean=whole.model.mean[kept],
        components=whole.model.components[:, kept],
        weights=np.ones(len(kept)),
    )
    holed = TextureModel(linear, whole.pixels[kept], whole.height, whole.width)
    filled = mean_texture(holed, model.template).reshape(-1, 3).astype(int)
    np.testing.assert_array_equal(filled[holed.pixels], picture[holed.pixels])
    gap = np.setdiff1d(whole.pixels, holed.pixels)
    assert len(gap) > 5
    assert np.abs(filled[gap] - picture[gap]).mean() < 25 < picture[gap].mean()  # like the face: not black


def test_the_commands_end_to_end(known, call, tmp_path):
    m = tmp_path / "m.h5"
    said = call(
        "build", known.path, "--output", m, "--texture", 0, "--rank", 8, "--pictures", tmp_path / "pics", "--sparse", 3,
        "--keep", "S003/*",
    )  # fmt: skip
    assert "expression: 8 components" in said and "14 subjects (consent: 14 yes" in said
    assert {p.name for p in (tmp_path / "pics").iterdir()} >= {
        "blendshapes.png",
        "identity.png",
        "sparse.png",
    }
    assert "'S004' among them" in call("info", m, "--subject", "S004")
    assert "not built from 'X9'" in call("info", m, "--subject", "X9", status=2)
    assert json.loads(call("info", m, "--json"))["subjects"][3] == "S003"
    said = call("project", m, known.path, "--output", tmp_path / "p.npz", "--only", "S001/*")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as stored:
        assert len(stored["weights"]) == len(stored["frame"]) == int(said.split(": ")[1].split()[0])
    call("reconstruct", m, known.path, tmp_path / "rec", "--only", "S001/pout", "--format", "obj")
    made = read_mesh((tmp_path / "rec/S001/pout/0002.obj").read_bytes(), "0002.obj").mesh
    assert np.abs(made.vertices - known.clean(Item("S001", "pout"))[2]).mean() < 0.3
    call("sample", m, tmp_path / "smp", "--count", 2, "--neutral")
    call("interpolate", m, known.path, "S001/neutral", "S002/anger/2", tmp_path / "way", "--steps", 3)
    assert len(list((tmp_path / "way").iterdir())) == 3
    said = call(
        "transfer", m, known.path, "--from", "S001/happiness", "--to", "S002", "--output", tmp_path / "t.ply"
    )
    assert "S001/happiness/2" in said
    call("personal", m, known.path, "S002", "--output", tmp_path / "own.glb")
    assert "no usable frame 'S001/none'" in call(
        "transfer",
        m,
        known.path,
        "--from",
        "S001/none",
        "--to",
        "S002",
        "--output",
        tmp_path / "other.ply",
        status=2,
    )


def test_no_command_writes_over_what_it_reads_nor_over_what_is_there(known, call, model_path, tmp_path):
    read = known.path.read_bytes(), model_path.read_bytes()
    link, there = tmp_path / "link.npz", tmp_path / "there.npz"
    link.symlink_to(known.path)
    there.write_text("mine")
    of_two = model_path, known.path
    for command in (
        ("build", known.path),
        ("project", *of_two),
        ("personal", *of_two, "S002"),
        ("transfer", *of_two, "--from", "S001/happiness", "--to", "S002"),
    ):
        for output in (known.path, link):
            assert "written over" in call(*command, "--output", output, "--overwrite", status=2)
        assert "there already" in call(*command, "--output", there, status=2)
    assert read == (known.path.read_bytes(), model_path.read_bytes()) and there.read_text() == "mine"
    call("project", *of_two, "--output", there, "--only", "S001/*", "--overwrite")
    assert there.read_bytes()[:2] == b"PK"


def test_who_and_what_there_is_is_said_when_it_is_not_there(known, call, model_path, tmp_path):
    def said(*arguments):
        return call(*arguments, "--output", tmp_path / "x.glb", status=2)

    transfer_of = ("transfer", model_path, known.path, "--from")
    assert "expected a subject: S000, S001" in said(*transfer_of, "S001/happiness", "--to", "X")
    assert "expected a subject: S000, S001" in said(*transfer_of, "X/happiness", "--to", "S001")
    assert "and 6 more" in said("personal", model_path, known.path, "X")
    words = said(*transfer_of, "S001/none", "--to", "S002")
    assert "of 'S001' there is anger, " in words and "happiness" in words
    assert "expected one of 0, 2, 3, 4" in said(*transfer_of, "S001/happiness/77", "--to", "S002")


def test_a_release_is_said_to_be_one(known, call):
    said = call("info", known.path, status=1)
    assert "seen a release (version 1." in said and "`mimicme model build`" in said


def test_a_model_cannot_forget_but_says_whether_it_must(model_path, tmp_path):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(model_path.read_bytes())
    for subject, words in (("S004", "it was built from 'S004'"), ("X", "it was not built from 'X'")):
        result = CliRunner().invoke(main, ["withdraw", str(copy), subject])
        assert result.exit_code == 2
        assert words in result.output
    assert "build the model again" in CliRunner().invoke(main, ["withdraw", str(copy), "S004"]).output
    for command, status in (
        ("pictures", 2),
        ("info", 0),
    ):  # one that is marked is looked at, and used no more
        arguments = [str(copy), str(tmp_path / "sheets")] if command == "pictures" else [str(copy)]
        result = CliRunner().invoke(main, ["model", command, *arguments])
        assert result.exit_code == status, result.output
        assert "must not be used any more: somebody" in result.output


def test_fit_reads_scans_with_landmarks_beside_them_in_their_own_unit(known, model_path, call, tmp_path):
    truth = known.clean(Item("S009", "happiness"))[2]
    scan, marks = scan_of(known, truth)
    places = np.concatenate(
        [scan.vertices / 10, [[np.nan] * 3]]
    )  # centimetres; a pixel that measured nothing
    write_obj(tmp_path / "face.obj", Mesh(places, scan.faces))
    (tmp_path / "face.ljson").write_bytes(write_landmarks(Landmarks(marks / 10), "face.ljson"))
    (tmp_path / "bad.obj").write_text("v 1 2 nan\nf 1 1 1\n")
    said = call(
        "fit", model_path, tmp_path / "bad.obj", tmp_path / "face.obj", "--output", tmp_path / "out", status=1
    )
    assert "bad.obj: not fitted" in said and "68 landmarks" in said
    made = read_mesh((tmp_path / "out/face.ply").read_bytes(), "face.ply").mesh.vertices * 10
    face = known.template.vertices[:, 1] < 60
    assert np.linalg.norm(made - transform(POSE, truth), axis=1)[face].mean() < 0.8
    with np.load(tmp_path / "out/face.npz", allow_pickle=False) as stored:
        assert float(stored["unit_mm"]) == 10
        np.testing.assert_allclose(stored["pose"][:3, :3], POSE[:3, :3], atol=0.05)
    assert "warning" not in said
    call("fit", model_path, tmp_path / "face.ljson", "--output", tmp_path / "marks", "--format", "obj")
    assert (tmp_path / "marks/face.obj").is_file()


def test_fit_warns_of_a_scan_without_landmarks(known, model_path, call, tmp_path):
    truth = known.clean(Item("S009", "happiness"))[2]
    write_obj(tmp_path / "face.obj", Mesh(truth, known.template.faces))  # in the model's own frame
    said = call("fit", model_path, tmp_path / "face.obj", "--output", tmp_path / "out")
    assert "0 landmarks" in said
    warned = said[said.index("warning: ") :]
    assert "face.ply: no landmark file lies beside the scan" in warned and ".ljson" in warned
