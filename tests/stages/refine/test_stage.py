"""The stage: a subject of two sequences, from checkpoint to checkpoint."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import textured_dome as faces

from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.errors import ConfigError, FrameRejected
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.stage import Task
from mimicme.pipeline.template import save_prepared
from mimicme.pipeline.texture.baking import open_source
from mimicme.stages.refine import MUCH_DRIFT, STAGE
from mimicme.stages.refine.checkpoint import RefineCheckpoint
from mimicme.stages.refine.expected import mean_of_refined
from mimicme.stages.refine.photometric import Refiner
from mimicme.stages.refine.settings import RefineSettings
from mimicme.stages.register.checkpoint import EXPECTED

SETTINGS = RefineSettings(size=256, anchor_frames=6)
NEUTRAL, SMILE, CALM = (Item("s", name) for name in ("neutral", "smile", "calm"))


def misplaced(rng, size=0.8):
    """The template's vertices displaced by a smooth error of a registration's own."""
    v = faces.template().vertices
    a, b, c, d = rng.permutation(4) * np.pi / 2 + rng.uniform(0, 1.5, 4)
    xy = v[:, :2] / 22
    along_x = np.sin(xy[:, 1] + a) + np.cos(xy[:, 0] + b)
    along_y = np.sin(xy[:, 0] + c) - np.sin(xy[:, 1] + d)
    error = size * np.stack([along_x, along_y], axis=1)
    return faces.on_dome(v[:, :2] + error)


def write_sequence(folder, item, frames, image=True, rejected=(), jitter=0.8, expected=(), notes=()):
    """Made-up ingest and register checkpoints; `frames`: displacement of the skin in each, mm; `expected`: error that
    registration expects of each, mm; `notes`: rows and codes."""
    paths = {name: folder / f"{item.sequence}-{name}.h5" for name in ("ingest", "register")}
    rng = np.random.default_rng(len(item.sequence))
    with writing(paths["ingest"], stage="ingest", item=str(item), made_by={}) as out:
        out.frames(range(len(frames)))
        for row, amount in enumerate(frames):
            mesh = faces.scan(flow=(lambda p, a=amount: faces.wave(p, a)) if amount else None)
            out.put(row, "vertices", mesh.vertices.astype(np.float32))
            out.put(row, "faces", mesh.faces)
            out.put(row, "uv", mesh.uv.astype(np.float32))
            out.put(row, "uv_faces", mesh.uv_faces)
            if image:
                out.put(row, "image", np.frombuffer(encode(faces.photograph_with_noise(row)), np.uint8))
    with writing(paths["register"], stage="register", item=str(item), made_by={}) as out:
        out.frames(range(len(frames)))
        vertices = out.rows("vertices", faces.template().vertices.shape, "f4", "mm")
        poses = out.rows("pose", (4, 4), "f8")
        for row in range(len(frames)):
            if row in rejected:
                out.reject(row, FrameRejected("far-off", "it does not fit"))
                continue
            vertices[row], poses[row] = misplaced(rng, jitter), np.eye(4)
        for row, code in notes:
            out.note(row, code, "Seen.")
        for name, factor in zip(EXPECTED, (1.0, 0.5, 2.0), strict=True):
            if len(expected):
                out.figure(name, "mm")[:] = factor * np.asarray(expected)
    return paths


def task_of(folder, item, paths, settings=SETTINGS, neutral=None, siblings=None):
    save_prepared(faces.template(), folder / "template.h5")
    frames = tuple(FrameSource(k, folder / f"{k}.obj") for k in range(20))
    return Task(
        Sequence(item, item.sequence, item.sequence, frames), settings, Captures(folder), paths, neutral,
        folder / "template.h5", siblings or {},
    )  # fmt: skip


def made(folder, task, name="refined.h5"):
    with writing(folder / name, stage="refine", item=str(task.sequence.item), made_by={}) as out:
        STAGE.compute(task, out)
    return folder / name


def inner():
    return np.abs(faces.template().vertices[:, :2]).max(1) < 35


def skin_under(vertices, amount):
    """Where on the skin at rest (n, 2) the vertices lie when it is displaced by `amount`."""
    home = vertices[:, :2].copy()
    for _ in range(10):
        home = vertices[:, :2] - faces.wave(home, amount)
    return home


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A subject: what `neutral` and `smile` were made of, and both refined; `neutral` had a near-neutral sibling."""
    folder = tmp_path_factory.mktemp("subject")
    rest = write_sequence(folder, NEUTRAL, [0.0])
    smile = write_sequence(folder, SMILE, [0.0, 1.0, 2.5, 1.0, 0.0])
    siblings = {CALM: write_sequence(folder, CALM, [0.0] * 6)}
    neutral = made(folder, task_of(folder, NEUTRAL, rest, siblings=siblings), "neutral.h5")
    return rest, smile, neutral, made(folder, task_of(folder, SMILE, smile, neutral=neutral), "smile.h5")


def test_all_frames_put_their_vertices_on_the_same_skin(subject):
    rest, smile, neutral, refined = subject
    with Checkpoint(neutral) as a, Checkpoint(refined) as b, Checkpoint(smile["register"]) as before:
        home = skin_under(a["vertices"][0].astype(float), 0)[inner()]
        for row, amount in enumerate([0.0, 1.0, 2.5, 1.0, 0.0]):
            was = skin_under(before["vertices"][row].astype(float), amount)[inner()]
            now = skin_under(b["vertices"][row].astype(float), amount)[inner()]
            assert np.linalg.norm(now - home, axis=1).mean() < 0.12
            assert np.linalg.norm(was - home, axis=1).mean() > 0.4
        assert (b["quality/drift"][:] < 1).all()
        assert (b["quality/drift_before"][:] > 3 * b["quality/drift"][:]).all()
        assert np.array_equal(b["pose"][:], before["pose"][:])


def test_the_reference_is_nearer_to_the_truth_than_the_neutral_was(subject):
    rest, _, neutral, _ = subject
    truth = faces.template().vertices
    with Checkpoint(rest["register"]) as before, Checkpoint(neutral) as after:
        was, now, stored = (
            np.linalg.norm(v - truth, axis=1)[inner()].mean()
            for v in (before["vertices"][0], after["vertices"][0], after["reference/vertices"][:])
        )
    assert now < 0.75 * was
    assert stored == pytest.approx(now, abs=0.05)


def test_without_anchor_frames_the_registered_neutral_is_the_reference(subject, tmp_path):
    rest, smile, _, _ = subject
    alone = RefineSettings(size=256, levels=3, anchor_frames=0)
    path = made(tmp_path, task_of(tmp_path, NEUTRAL, rest, alone, siblings={SMILE: smile}))
    with Checkpoint(path) as after, Checkpoint(rest["register"]) as before:
        assert np.array_equal(after["reference/vertices"][:], before["vertices"][0])
        assert np.abs(after["vertices"][0] - before["vertices"][0])[inner()].max() < 0.1


def test_the_same_input_gives_the_same_bytes(subject, tmp_path):
    _, smile, neutral, refined = subject
    task = task_of(tmp_path, SMILE, smile, neutral=neutral)
    assert made(tmp_path, task).read_bytes() == refined.read_bytes()


def test_switched_off_it_hands_on_what_it_got(subject, tmp_path):
    _, smile, neutral, _ = subject
    task = task_of(tmp_path, SMILE, smile, RefineSettings(enabled=False), neutral)
    with Checkpoint(made(tmp_path, task)) as after, Checkpoint(smile["register"]) as before:
        assert np.array_equal(after["vertices"][:], before["vertices"][:])
        assert np.array_equal(after["pose"][:], before["pose"][:])
        assert "quality" not in after


def test_frames_without_texture_stay_as_they_are_and_say_so(subject, tmp_path):
    *_, neutral, _ = subject
    paths = write_sequence(tmp_path, SMILE, [0.0, 0.0], image=False, rejected=[1])
    with Checkpoint(made(tmp_path, task_of(tmp_path, SMILE, paths, neutral=neutral))) as after:
        assert [s.note for s in after.statuses] == ["not-refined", ""]
        assert "without textures nothing is to be mended" in after.statuses[0].message
        assert [s.ok for s in after.statuses] == [True, False]
        with Checkpoint(paths["register"]) as before:
            assert np.array_equal(after["vertices"][0], before["vertices"][0])
        assert np.isnan(after["vertices"][1]).all()
        assert np.isnan(after["quality/drift"][:]).all()


def test_a_neutral_without_texture_leaves_its_subject_as_registered(subject, tmp_path):
    _, smile, _, _ = subject
    paths = write_sequence(tmp_path, NEUTRAL, [0.0], image=False)
    neutral = made(tmp_path, task_of(tmp_path, NEUTRAL, paths), "neutral.h5")
    with Checkpoint(made(tmp_path, task_of(tmp_path, SMILE, smile, neutral=neutral))) as after:
        assert {s.note for s in after.statuses} == {"not-refined"}
        with Checkpoint(smile["register"]) as before:
            assert np.array_equal(after["vertices"][:], before["vertices"][:])


def test_that_all_of_a_neutral_is_rejected_is_said(subject, tmp_path):
    _, smile, _, _ = subject
    paths = write_sequence(tmp_path, NEUTRAL, [0.0], rejected=[0])
    neutral = made(tmp_path, task_of(tmp_path, NEUTRAL, paths), "neutral.h5")
    with Checkpoint(made(tmp_path, task_of(tmp_path, SMILE, smile, neutral=neutral))) as after:
        assert {s.note for s in after.statuses} == {"not-refined"}
        assert all("neutral are rejected" in s.message for s in after.statuses)


def test_a_frame_whose_end_goes_wrong_stays_as_it_was_and_stops_no_other(subject, tmp_path, monkeypatch):
    _, smile, neutral, refined = subject
    held, calls = Refiner.held_to_scan, []

    def breaks(self, *given):
        calls.append(given)
        if len(calls) == 3:
            raise np.linalg.LinAlgError("Singular matrix")
        return held(self, *given)

    monkeypatch.setattr(Refiner, "held_to_scan", breaks)
    task = task_of(tmp_path, SMILE, smile, neutral=neutral)
    with Checkpoint(made(tmp_path, task)) as after, Checkpoint(smile["register"]) as before:
        assert [s.note for s in after.statuses] == ["", "", "not-refined", "", ""]
        assert np.array_equal(after["vertices"][2], before["vertices"][2])
        assert np.isnan(after["quality/drift"][:]).tolist() == [False, False, True, False, False]
        with Checkpoint(refined) as whole:
            assert np.array_equal(after["vertices"][3], whole["vertices"][3])


def test_a_neutral_that_cannot_be_baked_leaves_its_subject_as_registered(subject, tmp_path, monkeypatch):
    def breaks(*given, **named):
        raise ValueError("no such texel")

    rest, *_ = subject
    monkeypatch.setattr("mimicme.stages.refine.photometric.bake_source", breaks)
    with Checkpoint(made(tmp_path, task_of(tmp_path, NEUTRAL, rest))) as after:
        assert [s.note for s in after.statuses] == ["not-refined"]
        assert "reference" not in after


def test_a_long_sequence_rattles_less(subject, tmp_path):
    rest, _, neutral, _ = subject
    amounts = 2 * np.sin(np.linspace(0, np.pi, 11)) ** 2
    paths = write_sequence(tmp_path, SMILE, amounts, jitter=0.0)
    rattle = {}
    for name, smooth in (("as-found", False), ("smooth", True)):
        settings = RefineSettings(size=256, levels=3, iterations=1, smooth_in_time=smooth)
        with Checkpoint(
            made(tmp_path, task_of(tmp_path, SMILE, paths, settings, neutral), f"{name}.h5")
        ) as after:
            error = [
                v - faces.on_dome(p + faces.wave(p, a))
                for v, a in zip(after["vertices"][:].astype(float), amounts, strict=True)
                for p in (faces.template().vertices[:, :2],)
            ]
            rattle[name] = np.linalg.norm(np.diff(error, 2, axis=0), axis=2)[:, inner()].mean()
    assert 0 < rattle["smooth"] < 0.8 * rattle["as-found"]


@pytest.mark.parametrize(
    ("frames", "smooth", "times"), [([0.0] * 3, True, 1), ([0.0] * 9, False, 1), ([0.0] * 9, True, 2)]
)
def test_a_scan_is_opened_once_and_again_only_where_frames_are_smoothed_in_time(
    subject, tmp_path, monkeypatch, frames, smooth, times
):
    *_, neutral, _ = subject
    paths = write_sequence(tmp_path, SMILE, frames)
    opened, alive = [], weakref.WeakSet()

    def counted(scan, image, settings):
        source = open_source(scan, image, settings)
        alive.add(source)
        opened.append(len(alive))
        return source

    monkeypatch.setattr("mimicme.pipeline.texture.baking.open_source", counted)
    # what is handed on to `bake` is bounded in test_open_sources
    monkeypatch.setattr("mimicme.pipeline.texture.open_sources.OPEN_SOURCES.most_bytes", 0)
    settings = RefineSettings(size=128, levels=1, iterations=1, smooth_in_time=smooth)
    made(tmp_path, task_of(tmp_path, SMILE, paths, settings, neutral))
    assert len(opened) == times * len(frames)
    assert max(opened) <= 2  # the next is opened before the last is let go


@pytest.mark.parametrize(
    "wrong", [{"size": 64}, {"iterations": 0}, {"smoothing_mm": 0}, {"anchor_frames": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        RefineSettings(**wrong)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A neutral, refined, whose first frame is rejected; of the second, which the reference is made of, registration
    expects 0.8 mm, of the third, as of the apex of an expression that stands in, 2.0."""
    folder = tmp_path_factory.mktemp("calm")
    paths = write_sequence(folder, NEUTRAL, [0.0] * 3, rejected=[0], expected=[5.0, 0.8, 2.0])
    return made(folder, task_of(folder, NEUTRAL, paths), "neutral.h5")


def test_a_refined_frame_is_expected_to_have_the_error_of_the_frame_its_reference_is_made_of(calm, tmp_path):
    with RefineCheckpoint(calm) as neutral:
        own, reference_mm = neutral.expected[1:, 0], neutral.reference.expected_mm
    assert reference_mm == pytest.approx(0.8, rel=1e-6)
    np.testing.assert_allclose(own, mean_of_refined(np.array([0.8, 2.0]), 0.8), rtol=1e-6)
    paths = write_sequence(
        tmp_path, SMILE, [0.0, 1.0, 2.0], expected=[0.9, 2.0, 2.0], notes=[(2, "part-missing")]
    )
    with RefineCheckpoint(made(tmp_path, task_of(tmp_path, SMILE, paths, neutral=calm))) as after:
        told = after.expected
    means = mean_of_refined(np.array([0.9, 2.0]), 0.8)
    np.testing.assert_allclose(told[:2], means[:, None] * [1.0, 0.5, 2.0], rtol=1e-6)
    assert told[2].tolist() == [2.0, 1.0, 4.0]  # of a mesh that has gone astray registration's stays


@pytest.mark.parametrize("drifts", ["texture-drifts", "kept", "no texture"])
def test_a_frame_that_refinement_did_not_mend_keeps_what_registration_expects(
    calm, tmp_path, monkeypatch, drifts
):
    if drifts == "texture-drifts":
        monkeypatch.setattr("mimicme.stages.refine.MUCH_DRIFT", -1.0)
    elif drifts == "kept":
        monkeypatch.setattr("mimicme.stages.refine.photometric.better", lambda before, after: True)
    paths = write_sequence(tmp_path, SMILE, [0.0, 1.0], image=drifts != "no texture", expected=[0.9, 2.0])
    with RefineCheckpoint(made(tmp_path, task_of(tmp_path, SMILE, paths, neutral=calm))) as after:
        np.testing.assert_allclose(after.expected, [[0.9, 0.45, 1.8], [2.0, 1.0, 4.0]], rtol=1e-6)


@pytest.mark.parametrize("image", ["grey", "black", "noise", "mostly black"])
def test_a_texture_that_says_nothing_lowers_nothing(calm, tmp_path, monkeypatch, image):
    """A flow to no grain is short, too."""
    real = faces.photograph_with_noise

    def spoilt(row):
        picture = real(row)
        if image == "noise":
            return np.random.default_rng(5 + row).integers(0, 255, picture.shape).astype(np.uint8)
        picture[:, : 384 if image == "mostly black" else None] = 128 if image == "grey" else 0
        return picture

    monkeypatch.setattr(faces, "photograph_with_noise", spoilt)
    paths = write_sequence(tmp_path, SMILE, [0.0, 1.0], expected=[2.0, 2.0])
    with RefineCheckpoint(made(tmp_path, task_of(tmp_path, SMILE, paths, neutral=calm))) as after:
        assert (after["quality/drift"][:] < MUCH_DRIFT).all()
        np.testing.assert_allclose(after.expected, [[2.0, 1.0, 4.0]] * 2, rtol=1e-6)


def test_without_what_registration_expects_nothing_is(subject):
    *_, refined = subject
    with RefineCheckpoint(refined) as after:
        assert np.isnan(after.expected).all()


@pytest.mark.parametrize("worse", [True, False])
def test_a_frame_that_drifts_more_afterwards_stays_as_it_was_registered(tmp_path, monkeypatch, worse):
    """Whatever the flow says: a shift that takes the texture further from the reference's is not kept."""
    paths = write_sequence(tmp_path, NEUTRAL, [0.0, 0.0, 0.0], jitter=0.1)
    real, rests = Refiner.refine, []

    def astray(self, frame, reference, start, rest):
        shift, before = real(self, frame, reference, start, rest)
        rests.append(rest)
        return (shift + [0.5, -0.4, 0.0] if worse else shift), before

    monkeypatch.setattr(Refiner, "refine", astray)
    measured, read = Refiner.drift_left, []

    def ruler(self, *given):
        read.append(measured(self, *given))
        return read[-1]

    monkeypatch.setattr(Refiner, "drift_left", ruler)
    settings = RefineSettings(size=256, anchor_frames=0, smooth_in_time=False)
    with (
        Checkpoint(made(tmp_path, task_of(tmp_path, NEUTRAL, paths, settings))) as refined,
        Checkpoint(paths["register"]) as register,
    ):
        kept = [bool((refined["vertices"][row] == register["vertices"][row]).all()) for row in (1, 2)]
        assert kept == [worse, worse]
        drift, before = (refined[f"quality/{name}"][1:] for name in ("drift", "drift_before"))
        assert (drift <= before).all()
        of_one_ruler = {np.float32(one.median) for one in read}
        assert {*drift, *before} <= of_one_ruler
        # whether an eye closes is told from the subject's neutral
        assert len(rests) == 3
        for rest in rests:
            np.testing.assert_allclose(rest, refined["reference/vertices"][:], atol=1e-4)
