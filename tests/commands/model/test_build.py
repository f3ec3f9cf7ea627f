"""model build: what was put into a release is found again, and who was in it is written down."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from mimicme.commands.model import build as module
from mimicme.commands.model import parts
from mimicme.commands.model.build import BuildSettings, build
from mimicme.commands.model.groups import groups_of
from mimicme.commands.model.prune import largest_norms, whitened_norms
from mimicme.commands.model.texture import fit_texture, reduced
from mimicme.commands.model.use import project
from mimicme.pipeline.captures.ages import age_band
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.numerics.linear_model import fit_pca
from mimicme.pipeline.release.frames import ReleaseFrames

PLAIN = BuildSettings(area_weights=False, texture=0, group_minimum=0)
TRAIN = BuildSettings(area_weights=False, texture=0, group_minimum=0, subjects="S00*")


@pytest.fixture(scope="module")
def built(known, tmp_path_factory):
    """A model of the first ten people; four are held out."""
    return build([known.path], tmp_path_factory.mktemp("model") / "model.h5", TRAIN)


def angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    qa, qb = (np.linalg.qr(x.reshape(len(x), -1).T.astype(float))[0] for x in (a, b))
    return np.degrees(np.arccos(np.clip(np.linalg.svd(qa.T @ qb)[1], -1, 1)))


def test_the_true_subspaces_are_recovered(built, known):
    expression = angles_deg(known.expression_basis, built.models["expression"].components[:6])
    identity = angles_deg(known.identity_basis, built.models["identity"].components[:5])
    assert 0.01 < expression.max() < 12
    assert 0.01 < identity.max() < 12
    assert np.median(expression) < 3


def test_expression_coefficients_of_unseen_people_are_within_five_percent(built, known):
    model = built.models["expression"]
    with ReleaseFrames([known.path]) as frames:
        held = np.array([r for r in frames.expressive if str(frames.table["subject"][r]) >= "S010"])
        made = np.concatenate([model.decode(model.encode(b)) for b in frames.batches(held, difference=True)])
        table = frames.table[held]
        weights = project(built, frames, held).weights
    truth = np.array(
        [known.expression_coefs[Item(str(r["subject"]), str(r["sequence"]))][r["frame"]] for r in table]
    )
    found = made.reshape(len(made), -1).astype(float) @ known.expression_basis.reshape(6, -1).T
    size = np.linalg.norm(truth, axis=1)
    shown = size > 0.1 * size.max()
    error = (np.linalg.norm(found - truth, axis=1) / np.maximum(size, 1e-9))[shown]
    assert 0.002 < error.mean() < 0.05
    # and the named blendshape of the label explains the frame
    names = built.blendshapes.names
    own = np.array([weights[k, names.index(str(r["expression"]))] for k, r in enumerate(table)])
    assert (weights.argmax(axis=1) == [names.index(str(r["expression"])) for r in table])[shown].all()
    apex = table["frame"] == 2
    assert 0.75 < own[apex].mean() <= 1


def test_one_busy_subject_does_not_pull_the_mean(known, tmp_path):
    def busy(balance):
        settings = BuildSettings(
            area_weights=False, texture=0, group_minimum=0, prune=0, balance=balance, subjects="S00[0-3]"
        )
        return build([known.path], tmp_path / f"{balance}.h5", settings)

    with ReleaseFrames([known.path]) as frames:
        rows = np.flatnonzero(np.isin(frames.table["subject"], ["S000", "S001", "S002", "S003"]))
        data = np.concatenate(list(frames.batches(rows)))
        people = frames.table["subject"][rows]
    of_subjects = np.mean([data[people == s].mean(axis=0) for s in np.unique(people)], axis=0)
    model = busy("subjects")
    np.testing.assert_allclose(model.models["joint"].mean, of_subjects, atol=1e-3)
    assert np.abs(model.models["joint"].mean - data.mean(axis=0)).max() > 1e-3  # S001 and S003 lost frames


def test_who_was_in_it_is_written_down(built, known, tmp_path):
    assert built.subjects["subject"].tolist() == [f"S00{k}" for k in range(10)]
    assert set(built.subjects["consent"]) == {"yes"}
    assert set(built.subjects["neutral"]) == {"neutral"}
    with ReleaseFrames([known.path]) as frames:
        assert built.releases == (frames.releases[0].fingerprint,)
    assert built.settings["subjects"] == "S00*"


def test_the_same_build_gives_the_same_bytes_streamed_or_interrupted(known, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EXACT_BYTES", 0)  # everything through the sketch
    monkeypatch.setattr(ReleaseFrames, "batch_frames", 40)
    settings = BuildSettings(texture=0, group_minimum=0, symmetric=True, rank=12, subjects="S00*")
    build([known.path], tmp_path / "a.h5", settings)
    made: list[str] = []

    def stop_at_joint(text: str) -> None:
        made.append(text)
        if text.startswith("joint"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build([known.path], tmp_path / "b.h5", settings, stop_at_joint)
    assert (tmp_path / "b.h5.parts").is_dir()
    made.clear()
    shutil.copytree(tmp_path / "b.h5.parts", tmp_path / "c.h5.parts")
    build([known.path], tmp_path / "b.h5", settings, made.append)
    assert not [text for text in made if text.startswith(("identity", "expression"))]
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert not (tmp_path / "b.h5.parts").exists()
    # parts of an earlier version of the code are not used
    monkeypatch.setattr(parts, "VERSION", parts.VERSION + 1)
    made.clear()
    build([known.path], tmp_path / "c.h5", settings, made.append)
    assert [text for text in made if text.startswith("identity")]


def test_streamed_and_exact_builds_agree(known, tmp_path, monkeypatch, built):
    monkeypatch.setattr(module, "EXACT_BYTES", 0)
    streamed = build([known.path], tmp_path / "s.h5", TRAIN)
    a, b = built.models["expression"], streamed.models["expression"]
    np.testing.assert_allclose(b.variances[:6], a.variances[:6], rtol=1e-3)
    assert angles_deg(a.components[:6], b.components[:6]).max() < 0.5


def test_a_symmetric_model_has_a_symmetric_mean(known, tmp_path):
    model = build([known.path], tmp_path / "m.h5", BuildSettings(texture=0, group_minimum=0, symmetric=True))
    from mimicme.commands.model.symmetry import Mirror

    mirror = Mirror(known.template)
    mean = model.models["identity"].mean[None]
    assert np.abs(mirror.shapes(mean, known.template) - mean).mean() < 0.05
    assert {"mouth_left", "mouth_right"} <= set(model.blendshapes.names)
    left, right = model.blendshapes.delta("mouth_left"), model.blendshapes.delta("mouth_right")
    assert np.abs(mirror.differences(left[None])[0] - right).mean() < 0.05
    assert np.abs(left).max() > 4


def test_outliers_are_left_out_recorded_and_kept_when_told(known, known_module, tmp_path):
    import h5py

    bad = known_module.write_known_release(tmp_path / "bad.h5", subjects=12, texture=False)
    with h5py.File(bad.path, "a") as handle:  # a registration gone wrong
        frame = handle["subjects/S005/happiness/vertices"]
        shape = frame[1]
        shape[200:300] += np.float32([0, 0, 15])
        frame[1] = shape
    settings = BuildSettings(texture=0, group_minimum=0)
    model = build([bad.path], tmp_path / "m.h5", settings)
    happy = model.pruned[model.pruned["expression"] == "happiness"]
    assert [(str(p["subject"]), int(p["frame"])) for p in happy] == [("S005", 1)]
    assert happy["norm"][0] > 3
    kept = build([bad.path], tmp_path / "k.h5", BuildSettings(texture=0, group_minimum=0, keep=("S005/*/1",)))
    assert ("S005", 1) not in [(str(p["subject"]), int(p["frame"])) for p in kept.pruned]
    assert kept.models["expression"].count == model.models["expression"].count + 1
    all_of_it = build([bad.path], tmp_path / "0.h5", BuildSettings(texture=0, group_minimum=0, prune=0))
    assert not len(all_of_it.pruned)


def test_how_far_on_the_way_a_frame_is_does_not_make_it_an_outlier():
    rng = np.random.default_rng(0)
    model = fit_pca(rng.standard_normal((300, 4, 3)), rank=6)
    way = np.array([3.0, 2, 0, 0, 0, 0])
    amounts = np.r_[np.linspace(0, 1, 50), 1.0]
    coefs = amounts[:, None] * way + 0.05 * rng.standard_normal((51, 6))
    coefs[20] += [0, 0, 0, 2, 0, 0]
    classes = np.full(51, "smile")
    norms = whitened_norms(model, coefs, classes, np.zeros(6))
    assert largest_norms(norms, classes, 0.02).nonzero()[0].tolist() == [20]
    plain = whitened_norms(model, coefs, classes)
    assert plain[0] > plain[25] + 0.5  # without it, both ends of the way look strange
    assert not largest_norms(norms[:49], classes[:49], 0.02).any()  # 2 % of 49 is none


@pytest.mark.parametrize("refusal", ["withdrawn", "Not given", "revoked 2024-05-01"])
def test_refused_subjects_and_other_splits_stay_out(known_module, tmp_path, refusal):
    import h5py

    some = known_module.write_known_release(tmp_path / "r.h5", subjects=5, texture=False)
    with h5py.File(some.path, "a") as handle:
        handle["subjects/S002"].attrs["consent"] = refusal
        for s in ("S000", "S001", "S002"):
            handle[f"subjects/{s}"].attrs["split"] = "train"
    said: list[str] = []
    model = build([some.path], tmp_path / "m.h5", PLAIN, said.append)
    assert said[0].endswith("; 1 left out (consent refused or withdrawn: S002)")
    assert model.subjects["subject"].tolist() == ["S000", "S001", "S003", "S004"]
    said.clear()
    settings = BuildSettings(texture=0, group_minimum=0, split="train")
    train = build([some.path], tmp_path / "t.h5", settings, said.append)
    for told in (
        "3 left out",
        "consent refused or withdrawn: S002",
        "of another split than 'train': S003, S004",
    ):
        assert told in said[0]
    assert train.subjects["subject"].tolist() == ["S000", "S001"]
    with pytest.raises(UsageError, match="no usable frame"):
        build([some.path], tmp_path / "n.h5", BuildSettings(split="test"))


def test_who_has_no_usable_frame_or_was_not_asked_for_is_named(known_module, tmp_path):
    import h5py

    some = known_module.write_known_release(tmp_path / "r.h5", subjects=4, texture=False)
    with h5py.File(some.path, "a") as handle:
        index = handle["index"][:]
        index["status"][index["subject"] == b"S001"] = b"rejected"
        handle["index"][:] = index
    said: list[str] = []
    build([some.path], tmp_path / "m.h5", replace(PLAIN, subjects="S00[0-2]"), said.append)
    for told in ("2 left out", "no usable frame: S001", "not of 'S00[0-2]': S003"):
        assert told in said[0]


def test_a_model_that_is_not_made_is_told(known_module, tmp_path):
    bare = known_module.write_known_release(tmp_path / "bare.h5", subjects=3, texture=False)
    settings = replace(PLAIN, rank=2, texture=8)
    said: list[str] = []
    assert build([bare.path], tmp_path / "b.h5", settings, said.append).texture is None
    assert any(s.startswith("warning: no texture model: 0 of 3 subjects") for s in said)
    said.clear()
    one = build([bare.path], tmp_path / "o.h5", replace(settings, subjects="S000"), said.append)
    assert "identity" not in one.models
    assert any(s.startswith("warning: no identity or texture model: S000 is the only subject") for s in said)


def test_few_people_are_warned_about(known, tmp_path):
    few, enough = [], []
    settings = replace(PLAIN, rank=2)
    build([known.path], tmp_path / "few.h5", replace(settings, subjects="S00[0-8]"), few.append)
    build([known.path], tmp_path / "enough.h5", replace(settings, subjects="S00*"), enough.append)
    assert [text for text in few if "9 people are too few" in text]
    assert not [text for text in enough if "too few" in text]


def test_a_release_of_one_frame_makes_no_model(known, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_unwanted", lambda table, *_: np.arange(len(table)) > 0)
    with pytest.raises(UsageError, match="at least two shapes"):
        build([known.path], tmp_path / "m.h5", PLAIN)
    assert not list(tmp_path.iterdir())


def test_a_mask_confines_the_model(known, tmp_path):
    model = build(
        [known.path], tmp_path / "m.h5", BuildSettings(texture=0, group_minimum=0, mask="mouth", rank=4)
    )
    linear = model.models["expression"]
    y = known.template.vertices[:, 1]
    moved = np.abs(linear.components).max(axis=(0, 2))
    assert moved[y > 20].max() == 0
    assert moved[(y < -30) & (y > -50)].max() > 0


def test_groups_get_models_of_their_own(known, tmp_path):
    model = build([known.path], tmp_path / "m.h5", BuildSettings(texture=0, group_minimum=4))
    names = [n for n in model.models if ":" in n]
    assert "identity:ethnicity=asian" in names
    assert model.models["identity:ethnicity=asian"].count == 5
    assert sum(model.models[n].count for n in names if "gender=" in n) == 14


def test_age_bands_and_groups():
    assert [age_band(a) for a in (3, 7, 17.9, 18, 50, "31", "unknown", -1)] == [
        "under7", "7to17", "7to17", "18to49", "50plus", "18to49", "", "",
    ]  # fmt: skip
    people = {
        "A": {"gender": "Female", "age": 20},
        "B": {"gender": "female", "age": 30},
        "C": {"gender": "male"},
    }
    assert groups_of(people, 2) == {"age=18to49": ["A", "B"], "gender=female": ["A", "B"]}


def test_the_texture_model_holds_the_subjects_tones(known):
    with ReleaseFrames([known.path]) as frames:
        model = fit_texture(frames, frames.subjects, 12, 3)
        assert model is not None
        picture, seen = reduced(*frames.texture(int(frames.neutral("S004").rows[0])), 12)
    assert seen.all() and len(model.pixels) == 144
    assert model.model.variances[0] > 20 * model.model.variances[1]  # one tone a subject, and noise
    made = model.model.decode(model.model.encode(picture.reshape(1, -1, 3)))
    assert np.abs(made - picture.reshape(1, -1, 3)).mean() < 3


def test_holes_in_textures_take_their_subjects_tone(known, monkeypatch):
    with ReleaseFrames([known.path]) as frames:
        real = frames.texture
        holed = int(frames.neutral("S004").rows[0])

        def texture(row):
            picture, coverage = real(row)
            if row == holed:
                coverage, picture = coverage.copy(), picture.copy()
                coverage[:12], picture[:12] = 0, 0
            return picture, coverage

        tone = real(holed)[0].mean()
        monkeypatch.setattr(frames, "texture", texture)
        model = fit_texture(frames, frames.subjects, 12, 1)
        from mimicme.commands.model.texture import _filled

        mean = model.model.mean
        filled = _filled(frames, holed, 12, model.pixels, mean, model.model)[:72].mean()
    assert abs(mean.mean() - tone) > 6
    assert abs(filled - tone) < 0.3 * abs(mean.mean() - tone)  # half of it is seen: the rest follows
