"""What the tests of both registrations share: a made-up face whose every point is known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def dome() -> ModuleType:
    """register/dome.py: a face-like dome, its deformations and scans of it."""
    name = "mimicme_dome"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "register" / "dome.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module
