"""CoMA's splits and errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mimicme.cli import main
from mimicme.commands.experiment import coma
from mimicme.commands.experiment.coma import interpolation, leave_out_each, standardised_pca
from mimicme.pipeline.errors import UsageError


@pytest.fixture(scope="module")
def few(known_module, tmp_path_factory):
    """Five people, three expressions of nine frames."""
    return known_module.write_known_release(
        tmp_path_factory.mktemp("coma") / "few.h5", subjects=5, expressions=("anger", "pout", "surprise"),
        frames=9, columns=15, texture=False,
    )  # fmt: skip


def test_interpolation_tests_the_first_ten_of_every_hundred():
    [split] = interpolation(250)
    assert split.tested.tolist() == [*range(10), *range(100, 110), *range(200, 210)]
    assert sorted([*split.tested, *split.trained]) == list(range(250))


def test_extrapolation_leaves_every_expression_out_once():
    words = np.array(["neutral", "smile", "open", "smile", "open", "open"])
    splits = leave_out_each(words, ("neutral",))
    assert [s.name for s in splits] == ["open", "smile"]
    assert splits[1].tested.tolist() == [1, 3]
    assert splits[1].trained.tolist() == [0, 2, 4, 5]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(UsageError, match="too few frames"):
        interpolation(11)
    with pytest.raises(UsageError, match="some of the frames"):
        interpolation(50, 10, 10)
    with pytest.raises(UsageError, match="too few frames"):
        leave_out_each(np.array(["a", "a"]))


@pytest.mark.parametrize("streaming", [False, True])
def test_errors_are_those_of_the_paper(streaming, monkeypatch):
    """Against the paper's recipe written out: unit deviations, 8 components, all distances together."""
    if streaming:
        monkeypatch.setattr(coma, "_IN_MEMORY", 0)
    rng = np.random.default_rng(0)
    strength = 3.0 * 0.6 ** np.arange(30)
    shapes = (rng.normal(size=(80, 30)) * strength) @ rng.normal(size=(30, 60))
    shapes = 100 + shapes.reshape(80, 20, 3)
    train, test = shapes[:60], shapes[60:]
    found = standardised_pca(lambda: iter([train[:35], train[35:]]), lambda: iter([test]))
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    rows = ((train - mean) / deviation).reshape(60, -1)
    basis = np.linalg.svd(rows, full_matrices=False)[2][:8]
    seen = ((test - mean) / deviation).reshape(20, -1)
    rebuilt = (seen @ basis.T @ basis).reshape(test.shape) * deviation + mean
    lengths = np.linalg.norm(test - rebuilt, axis=2)
    assert found.mean == pytest.approx(lengths.mean(), rel=5e-3)
    assert found.deviation == pytest.approx(lengths.std(), rel=5e-3)
    assert found.median == pytest.approx(np.median(lengths), rel=1e-2)
    assert found.frames == 20


def test_vertices_that_never_move_do_no_harm():
    shapes = np.random.default_rng(0).normal(size=(20, 5, 3))
    shapes[:, 0] = 7
    found = standardised_pca(lambda: iter([shapes]), lambda: iter([shapes]), 15)
    assert found.mean < 1e-4


def test_the_median_is_between_bins():
    histogram = np.zeros(coma.BINS + 1, np.int64)
    histogram[[10, 30]] = 50, 49
    assert coma._median(histogram) == pytest.approx(0.001 * (10 + 49.5 / 50))


@pytest.mark.parametrize("split", coma.SPLITS)
def test_the_command(few, tmp_path, split):
    arguments = ["experiment", "coma", str(few.path), "--output", str(tmp_path), "--split", split]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    record = json.loads((tmp_path / "experiment.json").read_text())
    tested = {"interpolation": 1, "extrapolation": 3, "identity": 5}[split]
    assert len(record["results"]) == tested
    noise = 0.9606 * few.noise_mm
    for found in record["results"]:
        assert 0.8 * noise < found["mean"] < (4 if split == "identity" else 2)
        assert 0.8 * noise < found["median"] < 2 * found["mean"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["experiment.json", "results.csv", "results.png"]


def test_an_expression_never_seen_is_harder(few, tmp_path):
    def mean(split):
        arguments = [
            "experiment",
            "coma",
            str(few.path),
            "--output",
            str(tmp_path / split),
            "--split",
            split,
        ]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        return json.loads((tmp_path / split / "experiment.json").read_text())["mean_over_splits"]["mean"]

    assert mean("extrapolation") > 1.3 * mean("interpolation")
