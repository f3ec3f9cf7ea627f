"""doctor: what is installed, what is missing, and the command that brings it."""

from __future__ import annotations

import ctypes.util
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

MIN_DISK_GB = 5
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
    """One thing looked at; `needed`: without it mimicme does not work."""

    name: str
    ok: bool
    message: str
    needed: bool = True


def examine(directory: Path | None = None) -> list[Finding]:
    """Look at interpreter, packages, libraries, data, disk and cores.

    Args:
        directory: where the disk space is asked for; default: the current one.
    """
    return list(_examine(directory or Path.cwd()))


def _examine(directory: Path) -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding(
        "Python", sys.version_info >= (3, 11), f"{version} ({platform.system()} {platform.machine()})"
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
        yield Finding(name, found is not None, found or f"not installed; it is for {use}", needed=False)
    yield _disk(directory)
    cores = os.cpu_count() or 1
    yield Finding("cores", True, f"{cores}; --jobs may be up to that")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str, needed: bool = True) -> Finding:
    found = _version(name)
    return Finding(name, found is not None, found or "not installed; run `make install`", needed)


def _open3d() -> Iterator[Finding]:
    found = _version("open3d") or _version("open3d-cpu")
    if found is None:
        yield Finding("open3d", False, "not installed; run `make install`")
        return
    try:
        importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield Finding("open3d", False, f"{found} is installed and does not load: {said}")
    else:
        yield Finding("open3d", True, found)
    if sys.platform != "linux":
        return
    lacking = [p for library, p in SYSTEM_LIBRARIES.items() if ctypes.util.find_library(library) is None]
    yield Finding(
        "system libraries",
        not lacking,
        f"missing; install them with: apt-get install -y {' '.join(lacking)}" if lacking else "all there",
        needed=False,  # what counts is whether Open3D loads
    )


def _template() -> Finding:
    from mimicme.pipeline.errors import MimicmeError
    from mimicme.pipeline.template import embedded_data

    try:
        folder = embedded_data()
    except MimicmeError as error:
        return Finding("embedded template", False, str(error))
    return Finding("embedded template", True, f"menpo3d {_version('menpo3d')}, {folder / 'template.ply'}")


def _opencv() -> Finding:
    found = _version("opencv-python-headless") or _version("opencv-python")
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        said = (
            f"{found} is installed and does not load: {error}"
            if found
            else "not installed; run `make install`"
        )
        return Finding("opencv-python-headless", False, said)
    return Finding("opencv-python-headless", True, found or "installed")


def _detector() -> Finding:
    """The weights: without them frames need landmark files."""
    from mimicme.pipeline.errors import MimicmeError
    from mimicme.pipeline.landmarks import detector_weights

    try:
        path = detector_weights.find()
        detector_weights.read(path)
    except MimicmeError as error:
        return Finding("landmark detector's weights", False, str(error), needed=False)
    return Finding("landmark detector's weights", True, f"{path}, checksum right", needed=False)


def _disk(directory: Path) -> Finding:
    place = directory.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    return Finding(
        "disk", free >= MIN_DISK_GB, f"{free:.0f} GB free at {place} (at least {MIN_DISK_GB})", needed=False
    )
