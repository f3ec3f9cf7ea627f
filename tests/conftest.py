"""What every test shares.  It lies here and not at the root: every root module is packaged."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# before numpy is imported: its threads and the workers of runs would fight for the same cores
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# some machines keep byte code out of folders: each of the hundreds of processes that are started here would compile the
# whole package again, which takes longer than what most of them do
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# the modules beside this one can be imported by their plain names; behind everything else, so that none is hidden
sys.path.append(str(Path(__file__).parent))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI nothing is left out in silence: what is skipped there for want of a package has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is not to be skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds setup.cfg."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The module beside this one that makes checkpoints and releases up."""
    return importlib.import_module("fakes")


@pytest.fixture(scope="session")
def good_release(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of what it makes up, in which nothing is wrong.  Read only."""
    folder = tmp_path_factory.mktemp("good-release")
    fakes.packed(folder / "release.h5", fakes.inputs(folder))
    return folder / "release.h5"


@pytest.fixture(scope="session")
def known_module() -> ModuleType:
    """The module beside this one that writes releases whose linear model is known."""
    return importlib.import_module("known_release")


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory, known_module: ModuleType) -> Any:
    """A `KnownRelease` of 14 subjects, 6 expressions of 5 frames; read only."""
    return known_module.write_known_release(tmp_path_factory.mktemp("known") / "known.h5")


@pytest.fixture(scope="session")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face of about 2,200 vertices with 68 landmarks, as a template file."""
    from small import write_small_template

    return write_small_template(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_captures(tmp_path_factory: pytest.TempPathFactory, small_template: Path) -> Path:
    """Synthetic captures of one person with that template: neutral, and surprise in three frames."""
    from mimicme.commands.synth import synthesise

    folder = tmp_path_factory.mktemp("small-captures") / "synthetic"
    synthesise(folder, 1, ("neutral", "surprise"), 3, 3, small_template, triangles=7_000)
    return folder


@pytest.fixture(scope="session")
def small_face(small_template: Path) -> Any:
    """That template, prepared.  Read only."""
    from mimicme.pipeline.template import prepare

    return prepare(small_template)


@pytest.fixture(scope="session")
def finer_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same face with half as many triangles again, prepared: some points of its lips meet in edges, and its ears
    have a relief.  Read only."""
    from small import write_small_template

    from mimicme.pipeline.template import prepare

    return prepare(write_small_template(tmp_path_factory.mktemp("finer"), 6500))


@pytest.fixture(scope="session")
def small_workspace(tmp_path_factory: pytest.TempPathFactory, small_captures: Path) -> Path:
    """Those captures worked up by the real command line, undisturbed, with one worker: frame 0 of `neutral`, 0 to 2 of
    `surprise`.  Read only."""
    from shared_helpers import SMALL, mimicme

    folder = tmp_path_factory.mktemp("small-workspace") / "ws"
    template, table = small_captures / "template" / "template.obj", small_captures / "subjects.csv"
    where = ("--captures", small_captures / "captures", "--layout", "{subject}/{sequence}/{frame}.obj")
    mimicme("init", folder, *where, "--template", template, "--metadata", table)
    done = mimicme("run", folder, "--jobs", 0, *SMALL)
    assert f"{folder / 'release.h5'}: verified" in done.stdout
    return folder
