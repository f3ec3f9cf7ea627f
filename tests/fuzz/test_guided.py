"""Coverage-guided fuzzing of every reader, some seconds each (FUZZ_SECONDS=600 make test-fuzz: ten minutes each)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_seeds import BU83, DEPTHS, MESHES, RECORDING, TABLE, TIMES, points

from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.landmarks.files import write_landmarks

pytest.importorskip("atheris", reason="no coverage-guided fuzzer for this Python: make test-fuzz installs it")

SECONDS = int(os.environ.get("FUZZ_SECONDS", "15"))
BEGINNINGS = {
    "obj": b"",
    "ply": b"ply\n",
    "glb": b"glTF",
    "wrl": b"#VRML V",
    "vtk": b"# vtk DataFile",
    "stl": b"",
}
"""What `guided` puts before the data, so that the fuzzer need not find it."""
AT_ONCE_S = 40  # the fuzzer itself grows, so it is begun anew, with the corpus that it has found
HANG_S = 10


def seeds() -> dict[str, list[bytes]]:
    """A good file or two of every kind, for the fuzzer to begin with."""
    import numpy as np

    pixels = np.arange(3 * 24 * 16, dtype=np.uint8).reshape(24, 16, 3)
    found = {
        kind: [data.removeprefix(begin) for name, data in MESHES.items() if name.endswith(f".{kind}")]
        for kind, begin in BEGINNINGS.items()
    }
    found["mtl"] = [b"newmtl skin\nKd 1 1 1\nmap_Kd -s 1 1 1 a b.jpg\n"]
    found["image"] = [encode(pixels, kind) for kind in ("png", "jpeg")]
    for ending in ("ljson", "pts", "pp", "csv", "json", "lm3", "bnd"):
        found[ending] = [write_landmarks(points(), f"a.{ending}")]
    found["bnd"].append(BU83["a.bnd"])
    found["bndplus"] = [BU83["a.bndplus"]]
    found["rgbd"], found["times"] = [RECORDING["rgbd.toml"]], [TIMES]
    found["npy"], found["png"] = [DEPTHS[".npy"]], [DEPTHS[".png"]]
    found["subjects"] = [TABLE]
    found["expressions"] = [b"sequence,expression\n01_smile,happiness\n"]
    return found


@pytest.mark.parametrize("target", seeds())
def test_no_crash_no_hang_no_memory(target: str, tmp_path: Path) -> None:
    corpus, found = tmp_path / "corpus", tmp_path / "found"
    for folder in (corpus, found):
        folder.mkdir()
    for k, seed in enumerate(seeds()[target]):
        (corpus / str(k)).write_bytes(seed)
    command = [sys.executable, Path(__file__).with_name("guided.py"), target, corpus]
    limits = [f"-timeout={HANG_S}", "-rss_limit_mb=0", "-max_len=16384", f"-artifact_prefix={found}/"]
    for begin in range(0, SECONDS, AT_ONCE_S):
        seconds = min(AT_ONCE_S, SECONDS - begin)
        more = [*limits, f"-max_total_time={seconds}", f"-seed={1 + begin}"]
        done = subprocess.run([*map(str, command), *more], capture_output=True, text=True)
        if done.returncode:
            break
    left = {path.name: path.read_bytes()[:2000] for path in found.iterdir()}
    assert done.returncode == 0 and not left, f"{left}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
