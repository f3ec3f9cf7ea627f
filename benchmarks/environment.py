"""The peers' own environment below the build folder, made when a benchmark first needs it.

menpo3d's registration fails on numpy 2.4, and at its best it solves with CHOLMOD (scikit-sparse, which needs the
system's libsuitesparse-dev and a C compiler); so the peers live apart from mimicme's environment, with pinned
versions.  Where CHOLMOD cannot be had, menpo3d runs with SuperLU, several times slower, and the table says so.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PINS = ("numpy==2.3.5", "scipy==1.16.3", "trimesh==4.9.0", "rtree==1.4.1", "setuptools<82")
MENPO = ("menpo==0.11.1", "menpo3d==0.8.6")
CHOLMOD = "scikit-sparse==0.4.16"


@dataclass(frozen=True)
class Peers:
    """What the environment can run: its Python, and a sentence for everything that it cannot."""

    python: Path | None
    menpo3d: bool
    cholmod: bool
    trimesh: bool
    notes: tuple[str, ...]


def peers(build: Path) -> Peers:
    """Make the environment if it is not there; never raises for what cannot be installed, but says so."""
    venv = build / "bench-peers"
    python = venv / "bin" / "python"
    notes: list[str] = []
    if not python.is_file():
        print(f"benchmarks: making the peers' environment {venv} (some minutes, once)", flush=True)
        error = _run([sys.executable, "-m", "venv", "--clear", str(venv)])
        if error:
            return Peers(None, False, False, False, (f"no peers: their environment cannot be made: {error}",))
    if not _has(python, "numpy, scipy, trimesh, rtree"):
        error = _pip(python, *PINS)
        if error:
            notes.append(f"no trimesh: {error}")
    if not _has(python, "menpo3d.correspond"):
        error = _wheels(build / "wheels", build / "tools")
        error = error or _pip(python, "--find-links", str(build / "wheels"), *PINS, *MENPO)
        if error:
            notes.append(f"no menpo3d: {error}")
    if not _has(python, "sksparse.cholmod"):
        error = _pip(python, *PINS, CHOLMOD)
        if error:
            notes.append(
                f"menpo3d without CHOLMOD, several times slower than at its best: {CHOLMOD} cannot be built. "
                f"It needs a C compiler, Python.h and libsuitesparse-dev (Debian 12): {error}"
            )
    return Peers(
        python,
        _has(python, "menpo3d.correspond"),
        _has(python, "sksparse.cholmod"),
        _has(python, "trimesh, rtree"),
        tuple(notes),
    )


def _wheels(wheels: Path, tools: Path) -> str:
    """menpo3d's wheel, built as `make install` builds it; what went wrong, or nothing."""
    install = _installer()
    pins = install.read_pins(ROOT / "constraints.txt")
    if all(install.have_wheel(wheels, name, pins) for name in install.BUILT_HERE):
        return ""
    try:
        install.build_wheels(wheels, tools, pins)
    except install.SetupError as error:
        return str(error)
    return ""


def _installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mimicme_install", ROOT / "tools" / "install.py")
    if spec is None or spec.loader is None:
        raise ImportError("tools/install.py is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _has(python: Path, modules: str) -> bool:
    return not _run([str(python), "-W", "ignore", "-c", f"import {modules}"])


def _pip(python: Path, *arguments: str) -> str:
    return _run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", *arguments])


def _run(command: list[str]) -> str:
    """Nothing when the command succeeds, else the last line of what it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "" if done.returncode == 0 else (said[-1].strip() if said else f"exit status {done.returncode}")
