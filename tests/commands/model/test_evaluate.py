"""`model evaluate` and `model compare` through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shared_helpers import called, rows_of

from mimicme.pipeline.model_file import FaceModel, write_model
from mimicme.pipeline.numerics.linear_model import fit_pca
from mimicme.pipeline.release.frames import ReleaseFrames, balance_weights

FILES = [
    "compactness.csv",
    "compactness.png",
    "evaluation.json",
    "generalisation.csv",
    "generalisation.png",
    "reconstruction.csv",
    "regions.png",
    "specificity.csv",
    "specificity.png",
    "subjects.csv",
]


def write(path, release, ranks):
    with ReleaseFrames([release]) as frames:
        rows = frames.expressive
        differences = np.concatenate(list(frames.batches(rows, difference=True)))
        models = {
            "identity": fit_pca(np.concatenate(list(frames.neutrals())), rank=ranks[0]),
            "expression": fit_pca(
                differences, sample_weights=balance_weights(frames.table[rows]), rank=ranks[1]
            ),
        }
        made_of = (frames.releases[0].fingerprint,)
        write_model(path, FaceModel(frames.template, models, releases=made_of))
    return path


@pytest.fixture(scope="module")
def release(known_module, tmp_path_factory):
    """Six people, two expressions of three frames."""
    path = tmp_path_factory.mktemp("evaluate") / "release.h5"
    known_module.write_known_release(
        path,
        subjects=6,
        expressions=("happiness", "surprise"),
        frames=3,
        columns=16,
        texture=False,
        rejected=1,
    )
    return path


@pytest.fixture(scope="module")
def model(release, tmp_path_factory):
    return write(tmp_path_factory.mktemp("model") / "model.h5", release, (None, 6))


@pytest.fixture(scope="module")
def evaluated(model, release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    result = called("model", "evaluate", model, release, "--output", folder, "--samples", 50)
    assert result.exit_code == 0, result.output
    return folder, result


def test_everything_is_written(evaluated):
    folder, result = evaluated
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert "identity" in result.output
    record = json.loads((folder / "evaluation.json").read_text())
    measures = {"compactness", "generalisation", "specificity", "reconstruction", "held_out"}
    assert set(record["definitions"]) == measures
    assert all("20" in text or "as generalisation" in text for text in record["definitions"].values())
    assert list(record["models"]) == ["identity", "expression"]
    m = record["models"]["expression"]
    assert m["subjects"] == 6
    assert m["shapes"] == 6 * 2 * 3 - 1  # one frame is rejected
    assert m["made_of_this_release"] is True
    assert m["components"][-1] == 6


def test_tables_say_what_the_record_says(evaluated):
    folder, _ = evaluated
    record = json.loads((folder / "evaluation.json").read_text())["models"]["identity"]
    rows = [r for r in rows_of(folder / "generalisation.csv") if r["model"] == "identity"]
    whole = [float(r["mm"]) for r in rows if r["region"] == "all"]
    assert whole == pytest.approx(record["generalisation_mm"]["all"]["value"], rel=1e-4)
    assert {r["region"] for r in rows} >= {"all", "mouth", "nose", "eyes"}
    subjects = [r for r in rows_of(folder / "subjects.csv") if r["model"] == "identity"]
    assert [r["subject"] for r in subjects] == [f"S{k:03d}" for k in range(6)]
    mean = np.mean([float(r["unseen_mm"]) for r in subjects])
    assert mean == pytest.approx(whole[-1], rel=1e-4)


def test_the_same_again_is_the_same_bytes(evaluated, model, release, tmp_path):
    folder, _ = evaluated
    assert called("model", "evaluate", model, release, "--output", tmp_path, "--samples", 50).exit_code == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_json_is_the_record(model, release, tmp_path):
    arguments = ("--output", tmp_path, "--samples", 20, "--model", "identity", "--json")
    result = called("model", "evaluate", model, release, *arguments)
    record = json.loads(result.stdout)
    assert list(record["models"]) == ["identity"]
    assert record == json.loads((tmp_path / "evaluation.json").read_text())


def test_fewer_frames_are_taken_evenly_from_people(model, release, tmp_path):
    arguments = ("--output", tmp_path, "--samples", 20, "--model", "expression", "--frames", 12)
    assert called("model", "evaluate", model, release, *arguments).exit_code == 0
    record = json.loads((tmp_path / "evaluation.json").read_text())["models"]["expression"]
    assert (record["shapes"], record["subjects"]) == (12, 6)


def test_two_people_are_too_few_to_evaluate_a_model(model, known_module, tmp_path):
    two = known_module.write_known_release(
        tmp_path / "two.h5", subjects=2, expressions=("surprise",), frames=3, columns=16, texture=False
    )
    built = called("model", "build", two.path, "--output", tmp_path / "m.h5", "--texture", 0)
    assert built.exit_code == 0, built.output
    own = called(
        "model", "evaluate", tmp_path / "m.h5", two.path, "--output", tmp_path / "own", "--samples", 20
    )
    assert own.exit_code == 0, own.output
    # there is nobody to generalise to: no curve that looks as if there were
    assert sorted(p.name for p in (tmp_path / "own").iterdir()) == sorted({*FILES} - {"generalisation.png"})
    result = called("model", "evaluate", model, two.path, "--output", tmp_path / "out", "--samples", 20)
    assert result.exit_code == 0
    assert "Fewer than three subjects" in result.output
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())["models"]["identity"]
    assert record["generalisation_mm"] is None
    # of another release: there is no interval of compactness
    assert record["made_of_this_release"] is False
    assert set(record["compactness"]["low"]) == {None}


def test_people_the_model_was_not_made_of_are_told_apart(release, tmp_path):
    """A model of four of the six, by the command that builds models."""
    built = called(
        *("model", "build", release, "--output", tmp_path / "m.h5", "--subjects", "S00[0-3]", "--texture", 0)
    )
    assert built.exit_code == 0, built.output
    result = called("model", "evaluate", tmp_path / "m.h5", release, "--output", tmp_path, "--samples", 20)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "evaluation.json").read_text())["models"]["identity"]
    assert record["held_out_subjects"] == 2
    assert record["made_of_this_release"] is False
    rows = [r for r in rows_of(tmp_path / "subjects.csv") if r["model"] == "identity"]
    assert [r["in_the_model"] for r in rows] == ["yes"] * 4 + ["no"] * 2
    others = np.mean([float(r["by_the_model_mm"]) for r in rows[4:]])
    assert record["held_out_mm"]["all"]["value"][-1] == pytest.approx(others, rel=1e-4)
    assert others > 3 * max(float(r["by_the_model_mm"]) for r in rows[:4])


def test_another_template_is_refused(model, known, tmp_path):
    result = called("model", "evaluate", model, known.path, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "do not share one template" in result.output
    assert not (tmp_path / "out").exists()


def test_a_model_against_a_shorter_one(model, release, tmp_path):
    short = write(tmp_path / "short.h5", release, (1, 2))
    result = called("model", "compare", model, short, release, "--output", tmp_path / "out", "--samples", 20)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (record["first"], record["second"]) == ("model", "short")
    for name, common in (("identity", [0, 1]), ("expression", [0, 1, 2])):
        found = record["models"][name]
        assert found["components"] == [*common, "all"]
        worse = found["second_minus_first_mm"]["all"]
        assert worse["value"][: len(common)] == pytest.approx([0] * len(common), abs=1e-4)
        assert worse["low"][-1] > 0.01
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "difference.csv",
        "measures.csv",
        "generalisation.png",
    }
