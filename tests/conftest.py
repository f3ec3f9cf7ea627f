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
