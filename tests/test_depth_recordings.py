"""The recipe of docs/captures.md, from a phone's recording to a release, through the real command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from shared_helpers import mimicme, mimicme_here

from mimicme.commands.synth import people_maker as maker
from mimicme.commands.synth.recorder import UNIT_MM, Recorder, scan_from_head
from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.release import Release
from mimicme.pipeline.rgbd.camera import Camera, Pose
from mimicme.pipeline.template import Template

SMALL = ("--jobs", 0, "--set", "bake.size=256", "--set", "landmarks.detector=none")
DEPTH = Camera(192, 144, 168.0, 168.0, 96.0, 71.5)
COLOR = Camera(384, 288, 336.0, 336.0, 192.5, 143.5)
"""The same view with twice the pixels, as a phone that brings both together."""
KINDS = {"neutral": ("neutral", 1), "smile": ("depth_smile", 3)}
"""The maker's kind and number of frames by name of the sequence."""


def script(repository: Path) -> str:
    """The program that the page gives."""
    page = (repository / "docs" / "captures.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```python\n(# unpack_r3d\.py\n.*?)```", page, flags=re.DOTALL)
    return found


def write_r3d(path: Path, filmed: maker.Filmed, person: maker.Person, name: str) -> None:
    """A recording as Record3D's: float32 metres, compressed - here by zlib, for which the test's `liblzfse` stands."""
    inner = [COLOR.fx, 0, 0, 0, COLOR.fy, 0, COLOR.cx, COLOR.cy, 1]
    times = [100 + k / 30 for k in range(len(filmed.amounts))]
    with zipfile.ZipFile(path, "w") as archive:
        said = {"w": COLOR.width, "h": COLOR.height, "K": inner, "fps": 30, "frameTimestamps": times}
        archive.writestr("metadata", json.dumps(said))
        recorder = Recorder(DEPTH, COLOR, Pose.none(), 0.4)
        for k, taken in enumerate(maker.record_sequence(person, name, filmed, recorder)):
            metres = (taken.depth * (UNIT_MM / 1000)).astype("<f4")
            archive.writestr(f"rgbd/{k}.depth", zlib.compress(metres.tobytes()))
            archive.writestr(f"rgbd/{k}.conf", zlib.compress(bytes(metres.size)))
            archive.writestr(f"rgbd/{k}.jpg", encode(taken.color, "jpeg", 92))


def true_face(filmed: maker.Filmed, k: int) -> np.ndarray:
    """(V, 3) mm as the depth camera sees it: +y up, +z to the camera."""
    return transform(scan_from_head(filmed.views[k]), filmed.faces[k])


def test_from_a_phones_recording_to_a_release(
    tmp_path: Path, repository: Path, small_template: Path, small_face: Template
) -> None:
    studio = maker.build_studio(small_face, ["neutral", "depth_smile"], 6000)
    person = maker.Person(studio, "S001", 0, 3, 0.3, 256)
    films = {name: maker.film(person, kind, frames, recorded=True) for name, (kind, frames) in KINDS.items()}
    (tmp_path / "unpack_r3d.py").write_text(script(repository))
    (tmp_path / "liblzfse.py").write_text("from zlib import decompress\n")
    captures = tmp_path / "captures"
    for name, filmed in films.items():
        write_r3d(tmp_path / f"{name}.r3d", filmed, person, KINDS[name][0])
        subprocess.run(
            [sys.executable, "unpack_r3d.py", f"{name}.r3d", captures / "S001" / name],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            check=True,
        )
        for k in range(len(filmed.amounts)):
            marks = captures / "S001" / name / "depth" / f"{k:05d}.ljson"
            points = true_face(filmed, k)[studio.rig.landmarks]
            marks.write_bytes(write_landmarks(Landmarks(points), marks.name))
    init = mimicme_here("init", tmp_path / "ws", "--captures", captures, "--template", small_template)
    said = init.stdout + init.stderr
    assert "2 rgbd.toml describe recordings of depth cameras" in said
    assert "1 subject, 2 sequences, 4 frames" in said
    run = mimicme("run", tmp_path / "ws", *SMALL)
    assert "as rgbd.toml says: the top of the pictures" in run.stdout + run.stderr
    mimicme_here("verify", tmp_path / "ws" / "release.h5")
    with Release(tmp_path / "ws" / "release.h5") as release:
        assert [(s.item.sequence, s.expression) for s in release.sequences()] == [
            ("neutral", "neutral"),
            ("smile", "happiness"),
        ]
        smile = release.sequence("S001", "smile")
        assert smile.fps == pytest.approx(30)
        for row in range(len(release)):
            frame = release.frame(row)
            assert frame.ok and frame.texture is not None and frame.texture.std() > 5
            filmed = films[frame.sequence]
            found = transform(frame.pose, np.asarray(frame.vertices, np.float64))
            core = true_face(filmed, frame.number)[studio.core]
            assert np.median(Surface(found, release.template.faces).distance(core)) < 0.8
