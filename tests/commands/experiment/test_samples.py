"""What experiments take from a release."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.commands.experiment.samples import attribute_samples, expression_samples, small_grey
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.release.frames import ReleaseFrames


@pytest.fixture(scope="module")
def frames(known):
    with ReleaseFrames([known.path]) as opened:
        yield opened


def test_apexes_are_the_known_ones(frames, known):
    found = expression_samples(frames)
    assert len(found.samples) == len(known.identity_coefs) * 6
    assert set(found.table["frame"]) == {2}  # the middle of five
    assert "neutral" not in found.samples.labels
    assert found.samples.units[0] == "S000/anger"


def test_differences_are_to_the_own_neutral(frames, known):
    found = expression_samples(frames, ["surprise", "pout"])
    rows = np.flatnonzero(found.samples.subjects == "S002")
    shapes = found.samples.sources["shape"](rows)
    for row, shape in zip(rows, shapes, strict=True):
        item = next(i for i in known.amounts if str(i) == found.samples.units[row])
        clean = known.clean(item)
        assert shape == pytest.approx(clean[2] - clean[0], abs=2 * known.noise_mm + 1e-3)
    landmarks = found.samples.sources["landmarks"](rows)
    assert landmarks[0] == pytest.approx(frames.template.landmarks(shapes[0].astype(float)), abs=1e-4)


def test_with_the_neutral_unknown_faces_are_absolute_and_neutral_is_a_class(frames, known):
    found = expression_samples(frames, neutral_known=False)
    labels = found.samples.labels
    assert (labels == "neutral").sum() == len(known.identity_coefs)
    row = int(np.flatnonzero(labels == "neutral")[0])
    shape = found.samples.sources["shape"](np.array([row]))[0]
    assert shape == pytest.approx(known.clean(next(iter(known.amounts)))[0], abs=12)
    assert np.abs(shape).max() > 50


def test_expressions_nobody_shows_are_refused(frames):
    with pytest.raises(UsageError, match="no subject shows"):
        expression_samples(frames, ["surprise", "yawn"])
    with pytest.raises(UsageError, match="not two expressions"):
        expression_samples(frames, ["surprise"])


def test_textures_are_small_grey_and_without_light():
    rng = np.random.default_rng(0)
    image = rng.integers(40, 120, (96, 96, 3)).astype(np.uint8)
    coverage = np.full((96, 96), 255, np.uint8)
    coverage[:48, :48] = 0
    picture = small_grey((image, coverage), 12)
    assert np.isnan(picture[:6, :6]).all()
    seen = picture[np.isfinite(picture)]
    assert len(seen) == 144 - 36
    assert (seen.mean(), seen.std()) == pytest.approx((0, 1))
    brighter = small_grey((image + np.uint8(100), coverage), 12)
    assert brighter[6:] == pytest.approx(picture[6:], abs=1e-6)
    # the first row of blocks, by hand
    grey = image @ np.array([0.299, 0.587, 0.114])
    blocks = grey.reshape(12, 8, 12, 8).mean(axis=(1, 3))
    order = np.isfinite(picture)
    assert np.corrcoef(blocks[order], picture[order])[0, 1] == pytest.approx(1)


def test_small_textures_are_repeated_and_missing_ones_all_holes():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 200
    picture = small_grey((image, np.full((4, 4), 255, np.uint8)), 8)
    assert picture.shape == (8, 8)
    assert (picture[:4] > 0).all()
    assert (picture[4:] < 0).all()
    assert np.isnan(small_grey(None, 8)).all()


def test_one_person_under_two_names_is_refused(frames, monkeypatch):
    samples = attribute_samples(frames, {"S000": "x", "S003": "y"})
    assert samples.units.tolist() == ["S000", "S003"]
    same = frames.neutral("S000")
    monkeypatch.setattr(frames, "neutral", lambda subject: same)
    with pytest.raises(UsageError, match="S000 and S003"):
        attribute_samples(frames, {"S000": "x", "S003": "y"})
