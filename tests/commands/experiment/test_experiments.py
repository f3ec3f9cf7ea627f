"""The experiments through the command line, on people whose expressions, age and gender are known."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from shared_helpers import called, rows_of

from mimicme.commands.experiment.demographics import Ages, age_errors
from mimicme.commands.experiment.learners import Predictions, Scale, make_classifier, score
from mimicme.pipeline.errors import UsageError


def call(*arguments):
    return called("experiment", *arguments)


@pytest.fixture(scope="module")
def recognised(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("expressions")
    result = call("expressions", known.path, "--output", folder, "--folds", 4)
    assert result.exit_code == 0, result.output
    return folder, result


def answers_of(pairs, subjects):
    true, said = (np.array(words) for words in zip(*pairs, strict=True))
    units = np.array([f"u{k}" for k in range(len(pairs))])
    return Predictions(units, np.array(subjects), true, said, np.zeros(len(pairs), int), ("a", "b"))


def test_scores_of_answers():
    found = score(answers_of([("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")], ["p", "p", "q", "q"]))
    assert found.accuracy.value == 0.75
    assert found.balanced.value == pytest.approx((2 / 3 + 1) / 2)
    assert (found.chance_accuracy, found.chance_balanced) == (0.75, 0.5)
    # drawn twice, the first person is right always, the second half of the time
    assert (found.accuracy.low, found.accuracy.high) == (0.5, 1.0)
    assert (found.units, found.subjects) == (4, 2)


def test_always_one_answer_is_chance():
    found = score(answers_of([("a", "a")] * 9 + [("b", "a")], [str(k) for k in range(10)]))
    assert found.accuracy.value == found.chance_accuracy == 0.9
    assert found.balanced.value == found.chance_balanced == 0.5


def test_scale_is_one_number():
    x = np.random.default_rng(0).normal(size=(50, 3)) * [10.0, 1.0, 0.1] + 4
    scaled = Scale.of(x)(x)
    assert scaled.mean(axis=0) == pytest.approx(np.zeros(3))
    assert scaled.var(axis=0).mean() == pytest.approx(1)
    assert scaled.std(axis=0)[0] / scaled.std(axis=0)[2] == pytest.approx(x.std(axis=0)[0] / x.std(axis=0)[2])


def test_an_unknown_classifier_is_refused():
    with pytest.raises(UsageError, match="no such classifier"):
        make_classifier("oracle", 2)


def test_expressions_are_recognised_on_unseen_people(recognised):
    folder, result = recognised
    record = json.loads((folder / "experiment.json").read_text())
    assert len(record["classes"]) == 6
    values = {r["feature"]: r["balanced_accuracy"] for r in record["results"]}
    for feature, least in (("coefficients", 0.95), ("landmarks", 0.95), ("texture", 0.6)):
        assert values[feature]["value"] >= least
        assert values[feature]["low"] > 3 * record["results"][0]["chance_balanced_accuracy"]
    assert record["results"][0]["chance_balanced_accuracy"] == pytest.approx(1 / 6)
    assert "chance 16.7 %" in result.output


def test_tables_agree_with_each_other(recognised):
    folder, _ = recognised
    record = json.loads((folder / "experiment.json").read_text())
    said = rows_of(folder / "predictions.csv")
    fold_of = {r["tested_subject"]: r["fold"] for r in rows_of(folder / "folds.csv")}
    assert len(fold_of) == 14
    for feature in ("coefficients", "landmarks", "texture"):
        mine = [r for r in said if r["feature"] == feature]
        assert len(mine) == 14 * 6
        assert all(fold_of[r["subject"]] == r["fold"] for r in mine)
        accuracy = np.mean([r["true"] == r["said"] for r in mine])
        [result] = [r for r in record["results"] if r["feature"] == feature]
        assert result["accuracy"]["value"] == pytest.approx(accuracy)
        table = rows_of(folder / f"confusion_{feature}_lda.csv")
        for row in table:
            for name in record["classes"]:
                expected = sum(r["true"] == row["true"] and r["said"] == name for r in mine)
                assert int(row[name]) == expected
        assert (folder / f"confusion_{feature}_lda.png").is_file()


def test_the_same_again_is_the_same_bytes(recognised, known, tmp_path):
    folder, _ = recognised
    assert call("expressions", known.path, "--output", tmp_path, "--folds", 4).exit_code == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_shuffled_labels_are_chance(known_module, tmp_path):
    """Faces without an expression, under the names of expressions: nothing can be known, and nothing is."""
    noise = known_module.write_known_release(
        tmp_path / "noise.h5", subjects=20, expressions=("anger", "pout"), frames=3, columns=14, texture=False,
        rejected=0, still=True,
    )  # fmt: skip
    result = call("expressions", noise.path, "--output", tmp_path / "out", "--feature", "coefficients")
    assert result.exit_code == 0
    [found] = json.loads((tmp_path / "out" / "experiment.json").read_text())["results"]
    assert 0.25 < found["balanced_accuracy"]["value"] < 0.75
    assert found["balanced_accuracy"]["low"] < 0.5


def test_with_neutral_unknown_neutral_is_told_too(known, tmp_path):
    arguments = ("--neutral-unknown", "--feature", "landmarks", "--classifier", "logistic", "--folds", 3)
    result = call("expressions", known.path, "--output", tmp_path, *arguments)
    assert result.exit_code == 0
    record = json.loads((tmp_path / "experiment.json").read_text())
    assert "neutral" in record["classes"]
    assert record["results"][0]["balanced_accuracy"]["value"] > 0.85


def test_a_release_of_two_people_says_so(known_module, tmp_path):
    two = known_module.write_known_release(
        tmp_path / "two.h5", subjects=2, expressions=("anger", "pout"), frames=3, columns=14, texture=False
    )
    result = call("expressions", two.path, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "too few people" in result.output
    assert not (tmp_path / "out").exists()
    result = call("age", two.path, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "too few subjects" in result.output
    assert "seen 2 of 2, expected 5 or more" in result.output


@pytest.mark.parametrize(("attribute", "seen"), [("gender", "14 subjects: no gender"), ("age", "0 of 14")])
def test_a_release_that_does_not_say_it_is_told_apart_from_a_small_one(known, tmp_path, attribute, seen):
    shutil.copyfile(known.path, tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        for subject in file["subjects"].values():
            subject.attrs[attribute] = "unknown"
    result = call(attribute, tmp_path / "r.h5", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert f"seen {seen}" in result.output
    assert "14 subjects without a" in result.output
    assert f"Fill the column `{attribute}` of the metadata" in result.output


def test_gender_that_shows_in_the_shape_is_told(known, tmp_path):
    result = call("gender", known.path, "--output", tmp_path)
    assert result.exit_code == 0
    record = json.loads((tmp_path / "experiment.json").read_text())
    assert record["classes"] == ["female", "male"]
    assert record["results"][0]["balanced_accuracy"]["value"] > 0.8
    assert len(rows_of(tmp_path / "predictions.csv")) == 14


def test_age_that_shows_in_the_shape_is_told(known, tmp_path):
    result = call("age", known.path, "--output", tmp_path)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "experiment.json").read_text())["results"]
    # ages were made with a noise of two years
    assert 0.5 < found["mean_absolute_error"]["value"] < 3.5
    assert found["gained"]["low"] > 3
    assert found["rank_correlation"]["value"] > 0.85
    said = rows_of(tmp_path / "predictions.csv")
    errors = [abs(float(r["said_years"]) - float(r["true_years"])) for r in said]
    assert np.mean(errors) == pytest.approx(found["mean_absolute_error"]["value"], rel=1e-3)


def test_age_errors():
    ages = Ages(
        np.array(["a", "b", "c"]), *map(np.array, ([20.0, 30, 50], [22.0, 29, 44], [30.0, 30, 30], [0, 1, 2]))
    )
    found = age_errors(ages)
    assert found["mean_absolute_error"].value == 3
    assert found["median_absolute_error"].value == 2
    assert found["mean_absolute_error_of_the_usual_age"].value == 10
    assert found["gained"].value == 7
    assert found["rank_correlation"].value == pytest.approx(1)
