"""Nobody is trained on and tested: attempts to break it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest

from mimicme.commands.experiment import folds
from mimicme.commands.experiment.features import Coefficients, Pixels, RawValues
from mimicme.commands.experiment.folds import Fold, Samples, Training, Unlabelled, split_fold, subject_folds
from mimicme.commands.experiment.learners import CLASSIFIERS, cross_validate, score
from mimicme.pipeline.errors import UsageError

PEOPLE = [f"P{k:02d}" for k in range(12)]


def samples_of(labels, features, per_person=4, asked=None):
    """`per_person` samples of everybody; each is a unit."""
    subjects = np.repeat(PEOPLE, per_person)

    def read(rows):
        if asked is not None:
            asked.append(rows.copy())
        return features[rows]

    units = np.array([f"{s}/{k}" for k, s in enumerate(subjects)])
    return Samples(subjects, np.asarray(labels), units, {"shape": read, "landmarks": read, "texture": read})


def random_shapes(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("count", [2, 3, 12, 50])
def test_folds_test_everybody_once(count):
    made = subject_folds(PEOPLE, count)
    assert len(made) == min(count, 12)
    assert sorted(name for fold in made for name in fold.tested) == PEOPLE
    for fold in made:
        assert fold.tested | fold.trained == set(PEOPLE)
        assert not fold.tested & fold.trained


def test_folds_are_seeded_and_share_strata_out():
    assert subject_folds(PEOPLE, 3, 1) == subject_folds(PEOPLE[::-1], 3, 1)
    assert subject_folds(PEOPLE, 3, 1) != subject_folds(PEOPLE, 3, 2)
    strata = {name: "female" if k < 6 else "male" for k, name in enumerate(PEOPLE)}
    for fold in subject_folds(PEOPLE, 3, 1, strata):
        assert sorted(strata[name] for name in fold.tested) == ["female"] * 2 + ["male"] * 2


def test_a_fold_is_made_of_people_and_of_nothing_else():
    names = set(inspect.signature(Fold).parameters)
    assert names == {"everybody", "tested"}  # whom to train on cannot be said
    with pytest.raises(TypeError):
        Fold(PEOPLE, PEOPLE[:2], PEOPLE)
    with pytest.raises(TypeError):
        Fold(everybody=PEOPLE, tested=PEOPLE[:2], trained=PEOPLE)


def test_a_fold_does_not_change():
    fold = Fold(PEOPLE, PEOPLE[:2])
    for name in ("everybody", "tested", "trained"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(fold, name, frozenset(PEOPLE))
    with pytest.raises(AttributeError):
        fold.tested.add("P05")
    people = list(PEOPLE[:2])
    fold = Fold(PEOPLE, people)
    people.append("P05")
    assert fold.tested == {"P00", "P01"}


@pytest.mark.parametrize("tested", [[], PEOPLE, ["stranger"]])
def test_folds_without_two_sides_are_refused(tested):
    with pytest.raises(UsageError):
        Fold(PEOPLE, tested)


def test_training_data_comes_from_a_fold_alone():
    samples = samples_of(np.tile([0, 1], 24), random_shapes(48))
    everything = np.arange(48)
    for kind in (Training, Unlabelled):
        for key in (None, object(), "_FOLD_KEY"):
            with pytest.raises(TypeError, match="comes from a Fold"):
                kind(samples, everything, key)


def test_what_is_tested_has_no_labels():
    samples = samples_of(np.tile([0, 1], 24), random_shapes(48))
    fold = Fold(PEOPLE, PEOPLE[:3])
    assert not hasattr(fold.test(samples), "labels")
    assert fold.training(samples).labels.shape == (36,)
    rows = fold.test(samples).rows
    rows[:] = 0  # a copy: nobody else's rows are changed
    assert fold.test(samples).rows.tolist() == list(range(12))


def test_samples_of_strangers_are_refused():
    samples = samples_of(np.tile([0, 1], 24), random_shapes(48))
    with pytest.raises(UsageError, match="no part of the fold"):
        Fold(PEOPLE[:11], PEOPLE[:3]).training(samples)


def test_a_unit_of_two_people_is_refused():
    with pytest.raises(UsageError, match="two subjects"):
        Samples(np.array(["a", "b"]), np.array([0, 1]), np.array(["u", "u"]), {})


def test_thinning_keeps_to_the_training_people():
    samples = samples_of(np.tile([0, 1], 24), random_shapes(48))
    some = Fold(PEOPLE, PEOPLE[:3]).training(samples).subsampled(9)
    assert len(some) == 9
    assert sorted(some.subjects) == PEOPLE[3:]


@pytest.mark.parametrize(
    "feature", [Coefficients(components=3), RawValues("landmarks"), Pixels(components=3)]
)
def test_features_are_learned_from_training_people_alone(feature):
    """Every row that is read while a feature is learned belongs to somebody who is not tested."""
    asked: list[np.ndarray] = []
    samples = samples_of(np.tile([0, 1], 24), random_shapes(48), asked=asked)
    for fold in subject_folds(PEOPLE, 4):
        asked.clear()
        feature.fit(fold.training(samples))
        read = {str(s) for rows in asked for s in samples.subjects[rows]}
        assert read <= fold.trained
        assert not read & fold.tested


def test_tested_people_change_nothing_of_what_is_learned():
    """Another face of a tested person, and everything said of the other tested people stays."""
    shapes = random_shapes(48)
    labels = np.tile(["x", "y"], 24)
    shapes[labels == "x", 0, 0] += 2
    folds_made = [Fold(PEOPLE, PEOPLE[:3])]
    before = cross_validate(samples_of(labels, shapes), folds_made, Coefficients(components=5), ["lda"])[
        "lda"
    ]
    other = shapes.copy()
    other[:4] = 1e4
    after = cross_validate(samples_of(labels, other), folds_made, Coefficients(components=5), ["lda"])["lda"]
    assert before.said[4:].tolist() == after.said[4:].tolist()
    assert len(before.units) == 12  # only the tested


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_knowing_a_person_does_not_help(classifier):
    """Each person has one label and a mark of one's own: whoever had seen them would know.  Folds of samples do,
    which is what folds of people are there to prevent."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import KFold, cross_val_score

    per_person = 8
    apart, leaking = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        label_of = dict(zip(PEOPLE, rng.permutation(["x", "y"] * 6), strict=True))
        marks = rng.normal(size=(12, 6, 3))
        shapes = np.repeat(marks, per_person, axis=0) + 0.01 * rng.normal(size=(12 * per_person, 6, 3))
        labels = np.array([label_of[s] for s in np.repeat(PEOPLE, per_person)])
        samples = samples_of(labels, shapes, per_person)
        answers = cross_validate(
            samples, subject_folds(PEOPLE, 6, seed), RawValues("landmarks"), [classifier]
        )
        apart.append(score(answers[classifier]).balanced.value)
        of_samples = KFold(6, shuffle=True, random_state=0)
        plain = LinearDiscriminantAnalysis()
        leaking.append(cross_val_score(plain, shapes.reshape(len(shapes), -1), labels, cv=of_samples).mean())
    assert np.mean(leaking) > 0.95
    assert np.mean(apart) < 0.65


def test_copies_of_a_fold_keep_people_apart():
    fold = copy.deepcopy(Fold(PEOPLE, PEOPLE[:4]))
    assert fold.trained == set(PEOPLE[4:])
    changed = dataclasses.replace(fold, tested=PEOPLE[:6])
    assert changed.trained == set(PEOPLE[6:])


def test_the_split_of_the_table_makes_one_fold():
    [fold] = split_fold({"a": "train", "b": "test", "c": "Test ", "d": "unknown"})
    assert (fold.tested, fold.trained) == ({"b", "c"}, {"a", "d"})
    with pytest.raises(UsageError, match="whom to test"):
        split_fold({"a": "train", "b": "unknown"})


def test_only_this_module_hands_training_data_out():
    """The key that makes a `Training` is used inside `folds` and nowhere else."""
    folder = Path(folds.__file__).parent
    assert [p.name for p in folder.glob("*.py") if "_FOLD_KEY" in p.read_text()] == ["folds.py"]
