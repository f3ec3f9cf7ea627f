"""doctor: what is installed, what is missing, and what brings it; then a small head through the whole flow."""

from __future__ import annotations

import ctypes.util
import importlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mimicme.pipeline.run.progress import Console

MIN_DISK_GB = 5
TRIANGLES, MOST_OFF_MM = 7_000, 1.0
"""Of the scan that the self-test makes, and how far it may lie off what is registered to it (p95)."""
WORKER_GB = 1.0
"""Memory of one worker, about, with the embedded template and scans of 100,000 vertices."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "firefox")
_INSTALL = "Run `make install`."
NEEDED = (
    "click",
    "numpy",
    "scipy",
    "h5py",
    "joblib",
    "loky",
    "numba",
    "Pillow",
    "matplotlib",
    "scikit-learn",
    "jinja2",
    "markupsafe",
    "openpyxl",
    "trimesh",
)
OPTIONAL = {
    "dask": "--backend dask",
    "distributed": "--backend dask",
    "threadpoolctl": "--backend dask",
    "DracoPy": "glTF files compressed with Draco",
}
SYSTEM_LIBRARIES = {
    "usb-1.0": "libusb-1.0-0",
    "GL": "libgl1",
    "EGL": "libegl1",
    "gomp": "libgomp1",
    "X11": "libx11-6",
}
"""What Open3D loads and a bare Debian lacks: library, and the package that has it."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        needed: without it mimicme does not work.
        todo: what mends it; empty where nothing need be.
    """

    name: str
    ok: bool
    message: str
    needed: bool = True
    todo: str = ""


def examine(directory: Path | None = None) -> list[Finding]:
    """Look at interpreter, packages, libraries, data, memory, disk and cores.

    Args:
        directory: where the disk space is asked for; default: the current one.
    """
    return list(_examine(directory or Path.cwd()))


def _examine(directory: Path) -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding(
        "Python",
        sys.version_info >= (3, 11),
        f"{version} ({platform.system()} {platform.machine()})",
        todo="Install Python 3.11 or newer, and name it: make install PYTHON=/path/to/python3.11",
    )
    for name in NEEDED:
        yield _package(name)
    yield from _open3d()
    yield _opencv()
    yield _package("menpo", needed=False)
    yield _template()
    yield _detector()
    for name, use in OPTIONAL.items():
        found = _version(name)
        extra = "draco" if name == "DracoPy" else "dask"
        yield Finding(
            name,
            found is not None,
            found or f"not installed; it is for {use}",
            needed=False,
            todo=f"pip install '.[{extra}]'",
        )
    yield _browser()
    yield _disk(directory)
    yield from _machine()


def _browser() -> Finding:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    return Finding(
        "browser",
        found is not None,
        found or "none found; the report and the viewer are looked at in one",
        needed=False,
        todo="Install Chromium or Firefox; or write pages with `mimicme view --output` and open them elsewhere.",
    )


def _machine() -> Iterator[Finding]:
    from mimicme.pipeline.run.pool import THREAD_VARIABLES

    cores = os.cpu_count() or 1
    free = _free_gb()
    if free is not None:
        fit = int(free / WORKER_GB)
        yield Finding(
            "memory",
            fit >= 1,
            f"{free:.1f} GB free, for about {fit} workers",
            needed=False,
            todo="End other programs; `run --jobs 1` needs least.",
        )
        jobs = max(1, min(cores, fit))
    else:
        jobs = cores
    yield Finding("cores", True, f"{cores}; `--jobs {jobs}` suits this machine now")
    many = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if os.environ.get(name, "1") != "1"]
    yield Finding(
        "threads of BLAS",
        not many,
        ", ".join(many) or "one a process, as workers want it",
        needed=False,
        todo="Unset them: threads inside the workers fight for the same cores.",
    )


def _free_gb() -> float | None:
    """Memory that a program can have now, of the machine and of the group of processes it is in; None: not known."""
    found = []
    try:
        with open("/proc/meminfo", encoding="ascii") as handle:
            for line in handle:
                if line.startswith("MemAvailable:"):
                    found.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(max(0, int(limit) - int((group / "memory.current").read_text())))
    except (OSError, ValueError, IndexError):
        pass
    return min(found) / 1e9 if found else None


def self_test() -> Finding:
    """A small synthetic head through the whole flow: registered, textured, packed and read back, in a folder that is
    gone afterwards.  It takes about ten seconds of one core."""
    began = time.monotonic()
    try:
        off_mm, textured = _whole_flow()
    except Exception as error:  # whatever fails is what is asked for
        said = str(error).splitlines()[0] if str(error) else ""
        return Finding(
            "self-test",
            False,
            f"{type(error).__name__}: {said}",
            todo="See to what is missing above; if nothing is, report this with the output of `mimicme doctor`.",
        )
    sound = off_mm < MOST_OFF_MM and textured
    return Finding(
        "self-test",
        sound,
        f"a head registered to {off_mm:.2f} mm of its scan (p95; at most {MOST_OFF_MM:g}), "
        f"{'textured' if textured else 'NOT textured'}, packed and read back in {time.monotonic() - began:.0f} s",
        todo="Report this with the output of `mimicme doctor`: some library computes wrongly here.",
    )


def _whole_flow() -> tuple[float, bool]:
    """How far the scan lies off the registered head (p95), mm; and whether that has a texture."""
    from mimicme.commands.synth import synthesise
    from mimicme.pipeline.errors import CheckpointError
    from mimicme.pipeline.release import Release
    from mimicme.pipeline.run.runner import RunOptions, run
    from mimicme.pipeline.workspace import Workspace
    from mimicme.stages import STAGES

    with tempfile.TemporaryDirectory(prefix="mimicme-doctor-") as folder:
        root = Path(folder)
        template = _small_template(root / "small.obj")
        synthesise(root / "made", 1, ("neutral",), 3, 0, template, triangles=TRIANGLES)
        workspace = Workspace.create(
            root / "ws",
            captures=root / "made" / "captures",
            template=root / "made" / "template" / "template.obj",
        )
        opened = Workspace.open(workspace.root, environ={}, sets=("bake.size=256",))
        said: list[str] = []
        result = run(opened, RunOptions(jobs=0), STAGES, Console(out=said.append))
        if result.release is None:
            raise CheckpointError("the flow made no release", seen=" ".join(said[-3:]))
        with Release(result.release) as release:
            frame = release.frame(0)
            if not frame.ok:
                raise CheckpointError("the head was rejected", seen=frame.message)
            texture = frame.texture
            return float(frame.quality["s2m_p95"]), texture is not None and float(texture.std()) > 5.0


def _small_template(path: Path) -> Path:
    """The embedded template, thinned out, with its landmarks beside it; mm."""
    import numpy as np

    from mimicme.pipeline.formats.meshio import read_mesh, write_obj
    from mimicme.pipeline.geometry.mesh import Mesh
    from mimicme.pipeline.geometry.spatial import open3d
    from mimicme.pipeline.landmarks import Landmarks
    from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
    from mimicme.pipeline.template import embedded_data

    data = embedded_data()
    full = read_mesh((data / "template.ply").read_bytes(), "template.ply").mesh
    marks = read_landmarks((data / "template.ljson").read_bytes(), "template.ljson").points
    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(full.vertices / 1000), o3d.utility.Vector3iVector(full.faces)
    )
    thin = mesh.simplify_quadric_decimation(4_200, boundary_weight=2.0)
    write_obj(path, Mesh(np.asarray(thin.vertices), np.asarray(thin.triangles).astype(np.int32)))
    path.with_suffix(".ljson").write_bytes(write_landmarks(Landmarks(marks / 1000), f"{path.stem}.ljson"))
    return path


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str, needed: bool = True) -> Finding:
    found = _version(name)
    if found is None:
        return Finding(name, False, "not installed", needed, todo=_INSTALL)
    least = _least(name)
    old = bool(least) and _numbers(found) < _numbers(least)
    return Finding(
        name, not old, f"{found}{f'; at least {least} is asked for' if old else ''}", needed, todo=_INSTALL
    )


def _least(name: str) -> str:
    """The lower bound that mimicme's own metadata give of a package; empty: none, or mimicme is not installed."""
    try:
        asked = metadata.requires("mimicme") or []
    except metadata.PackageNotFoundError:
        return ""
    for one in asked:
        found = re.match(r"([\w.-]+)\s*\(?[^;]*?>=\s*([\d.]+)", one)
        if found and found[1].lower().replace("_", "-") == name.lower().replace("_", "-"):
            return found[2]
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _open3d() -> Iterator[Finding]:
    found = _version("open3d") or _version("open3d-cpu")
    if found is None:
        yield Finding("open3d", False, "not installed", todo=_INSTALL)
        return
    try:
        importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield Finding(
            "open3d",
            False,
            f"{found} is installed and does not load: {said}",
            todo="Install the system libraries that are named below, then try again.",
        )
    else:
        yield Finding("open3d", True, found)
    if sys.platform != "linux":
        return
    lacking = [p for library, p in SYSTEM_LIBRARIES.items() if ctypes.util.find_library(library) is None]
    yield Finding(
        "system libraries",
        not lacking,
        f"missing: {', '.join(lacking)}" if lacking else "all there",
        needed=False,  # what counts is whether Open3D loads
        todo=f"apt-get install -y {' '.join(lacking)}",
    )


def _template() -> Finding:
    from mimicme.pipeline.errors import MimicmeError
    from mimicme.pipeline.template import embedded_data

    try:
        folder = embedded_data()
    except MimicmeError as error:
        return Finding("embedded template", False, str(error), todo=_INSTALL)
    return Finding("embedded template", True, f"menpo3d {_version('menpo3d')}, {folder / 'template.ply'}")


def _opencv() -> Finding:
    found = _version("opencv-python-headless") or _version("opencv-python")
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        said = f"{found} is installed and does not load: {error}" if found else "not installed"
        return Finding("opencv-python-headless", False, said, todo=_INSTALL)
    return Finding("opencv-python-headless", True, found or "installed")


def _detector() -> Finding:
    """The weights: without them frames need landmark files."""
    from mimicme.pipeline.errors import MimicmeError
    from mimicme.pipeline.landmarks import detector_weights

    try:
        path = detector_weights.find()
        detector_weights.read(path)
    except MimicmeError as error:
        return Finding(
            "landmark detector's weights",
            False,
            str(error),
            needed=False,
            todo="Run `make install`; without them each frame needs a landmark file.",
        )
    return Finding("landmark detector's weights", True, f"{path}, checksum right", needed=False)


def _disk(directory: Path) -> Finding:
    place = directory.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    return Finding(
        "disk",
        free >= MIN_DISK_GB,
        f"{free:.0f} GB free at {place} (at least {MIN_DISK_GB})",
        needed=False,
        todo="Make room, or put the workspace on another disk: `mimicme plan` says how much it will take.",
    )
