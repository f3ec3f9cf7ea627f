"""A published folder in mlcroissant, and the recipes of its README with PyTorch."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from recipes import recipes

from mimicme.commands.publish import PublishSettings, publish
from mimicme.commands.publish.texts import Title
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.release import Release


@pytest.fixture(scope="module", params=["none", "subject"])
def folder(
    fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    made = tmp_path_factory.mktemp("published")
    given = fakes.inputs(made)
    people = sorted({one.sequence.item.subject for one in given})
    lines = ["subject,consent,may_train", *(f"{name},yes,yes" for name in people)]
    fakes.packed(made / "release.h5", given, parse_subjects("\n".join(lines).encode()))
    title = Title("Faces & More", ("Doe, Jane", "A Lab"), "1.0", "", "CC-BY-NC-4.0", "Two people.")
    publish(made / "release.h5", made / "out", title, PublishSettings(shard=request.param))
    return made / "out"


def test_croissant_is_valid_and_gives_the_subjects(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlcroissant

    monkeypatch.chdir(folder)
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld="croissant.json")
    assert dataset.metadata.issues.errors == set() and "not standard" not in caplog.text
    found = {
        bytes(r["subjects/subject"]).decode(): r["subjects/frames_ok"] for r in dataset.records("subjects")
    }
    with Release(folder / "release.h5") as release:
        assert sorted(found) == sorted(release.subjects)
    assert sum(found.values()) == 5
    described = json.loads((folder / "croissant.json").read_text())
    assert {f.id for f in dataset.metadata.distribution} == {f["@id"] for f in described["distribution"]}


def test_every_recipe_of_the_readme_runs(folder: Path) -> None:
    program = recipes(folder / "README.md", optional=True)
    assert "DataLoader" in program
    program = (
        f"if __name__ == '__main__':\n{''.join(f'    {line}{chr(10)}' for line in program.splitlines())}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"^epoch \d: ([\d.]+) mm off$", done.stdout, flags=re.M)]
    assert len(losses) == 5 and losses[-1] < losses[0]  # it learns
