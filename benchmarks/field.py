"""Small inputs rebuilt from public bug reports, each run through the command line and compared with the right answer.

    python benchmarks field --field DIR

DIR holds a folder per case (`00` is the plain one) and `template/template.obj`; it is no part of the repository.  A row
is right when everything that `CASES` says of it is true.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.release import Release
from mimicme.pipeline.scan import load_scan
from mimicme.pipeline.workspace import Workspace

SAME_MM = 0.001
SAME_LEVELS_WEBP = 12.0
FAST = ("--jobs", "1", "--preset", "fast", "--set", "bake.size=256")
PROGRAM = Path(sys.executable).with_name("mimicme")


@dataclass
class Outcome:
    """What became of a case: what the commands said, their exit statuses, the workspace."""

    case: Path
    work: Path
    plain: Outcome | None = None

    @cached_property
    def workspace(self) -> Path:
        return self.work / self.case.name

    @cached_property
    def _commands(self) -> list[subprocess.CompletedProcess[str]]:
        shutil.rmtree(self.workspace, ignore_errors=True)
        table = self.case / "subjects.csv"
        declared = ["--template", self.case.parent / "template" / "template.obj"]
        declared += ["--metadata", table] if table.is_file() else []
        init = mimicme("init", self.workspace, "--captures", self.case / "captures", *declared)
        return [init, mimicme("run", self.workspace, *FAST)]

    @property
    def said(self) -> str:
        """All that `init` and `run` printed."""
        return "\n".join(done.stdout + done.stderr for done in self._commands)

    @cached_property
    def release(self) -> Release | None:
        assert self._commands
        path = self.workspace / "release.h5"
        return Release(path) if path.is_file() else None

    @cached_property
    def frame(self) -> Any:
        """The first frame of the release."""
        if self.release is None or not len(self.release):
            raise AssertionError(f"there is no release: {self.said.strip().splitlines()[-1]}")
        return self.release.frame(0)

    def names(self) -> list[str]:
        """Names of the frames' files, in their order."""
        return [f.path.name for f in self._sequence().frames]

    def numbers(self) -> list[int]:
        return [f.number for f in self._sequence().frames]

    def _sequence(self) -> Any:
        assert self._commands
        return Workspace.open(self.workspace).sequences()[0]

    def triangles(self) -> np.ndarray:
        """(t, 3, 3) of the ingested scan, each beginning at its smallest corner, in an order of their own."""
        with Checkpoint(self.workspace / "ingest" / "S000" / "neutral.h5") as ingested:
            scan = load_scan(ingested, 0)
        corners = scan.vertices[scan.faces]
        first = np.lexsort(np.round(corners, 3).transpose(2, 0, 1))[:, 0]
        rows = np.arange(len(corners))[:, None]
        turned = corners[rows, (first[:, None] + np.arange(3)) % 3].reshape(-1, 9)
        return turned[np.lexsort(np.round(turned, 3).T)]


def mimicme(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=600)


# ------------------------------------------------------------------------------------------------ what is right


def equals_plain(got: Outcome, texture: bool = True) -> None:
    """Same vertices as 00, and the same texture where both saw it."""
    assert got.plain is not None
    one, other = got.frame, got.plain.frame
    assert one.ok, f"rejected: {one.reason}: {one.message}"
    off = float(np.abs(one.vertices - other.vertices).max())
    assert off <= SAME_MM, f"vertices are off by {off:.4f} mm"
    if not texture:
        return
    assert one.texture is not None, f"no texture ({one.note})"
    both = (one.coverage > 0) & (other.coverage > 0)
    assert both.mean() > 0.3, f"only {both.mean():.0%} seen by both"
    levels = float(np.percentile(np.abs(one.texture[both].astype(int) - other.texture[both]), 95))
    assert levels <= SAME_LEVELS_WEBP, f"texture is off by {levels:g} levels"


def noted(got: Outcome, code: str) -> None:
    assert code in got.frame.note.split(","), f"note is '{got.frame.note}', expected {code}"


def says(got: Outcome, *words: str) -> None:
    missing = [word for word in words if word not in got.said]
    assert not missing, f"nothing is said of {', '.join(map(repr, missing))}"


def subjects_are(got: Outcome, expected: set[str]) -> None:
    held = set(got.release.subjects) if got.release is not None else set()
    assert held == expected, f"the release holds {sorted(held)}"


def same_triangles(got: Outcome) -> None:
    assert got.plain is not None and got.plain.frame is not None and got.frame is not None
    one, other = got.triangles(), got.plain.triangles()
    assert one.shape == other.shape, f"{len(one)} triangles, expected {len(other)}"
    assert np.abs(one - other).max() < SAME_MM, "the triangles are others"


def order_is(got: Outcome, names: list[str], numbers: list[int]) -> None:
    assert got.names() == names, f"order is {got.names()}"
    assert got.numbers() == numbers, f"numbers are {got.numbers()}"


def by_hand_are(got: Outcome, rows: list[int]) -> None:
    hand = np.flatnonzero(got.frame.landmark_source == 1).tolist()
    assert hand == rows, f"points by hand are {hand}"


def adopted(got: Outcome) -> None:
    """Case 13: triangles in another order, rolled, reversed are adopted; other vertices are refused with a reason."""
    made = got.work / "13.h5"
    made.unlink(missing_ok=True)
    done = mimicme("adopt", got.case / "meshes", made, "--template", got.case / "template.obj")
    assert made.is_file(), done.stderr
    with Release(made) as release:
        states = {}
        for row in range(len(release)):
            name = release.index["sequence"][row]
            states[name.decode() if isinstance(name, bytes) else str(name)] = release.frame(row)
        for name in ("neutral", "faceorder", "cyclic", "flipped"):
            assert states[name].ok, f"{name}: {states[name].message}"
            assert np.abs(states[name].vertices - states["neutral"].vertices).max() < 0.01, name
        assert states["flipped"].note, "flipped has no note"
        wrong = states["vertexorder"]
        assert not wrong.ok and "order" in wrong.message, f"vertexorder: {wrong.message}"


def morph_normals(got: Outcome) -> None:
    """Case 29: normals of morph targets are differences that shade right, or there are none at all."""
    from mimicme.pipeline.geometry.mesh import vertex_normals

    made, model, out = (got.work / f"29{end}" for end in (".h5", "-model.h5", ".glb"))
    for path in (made, model, out):
        path.unlink(missing_ok=True)
    for words in (
        ("adopt", got.case / "meshes", made, "--template", got.case / "template.obj"),
        ("model", "build", made, "--output", model),
        ("model", "export", model, out, "--format", "glb"),
    ):
        done = mimicme(*words)
        assert done.returncode in (0, 1), done.stderr
    tree, read = _glb(out)
    part = tree["meshes"][0]["primitives"][0]
    base = read(part["attributes"]["POSITION"]).astype(float)
    faces = read(part["indices"]).reshape(-1, 3).astype(np.int32)
    if "NORMAL" not in part["attributes"]:
        assert not any("NORMAL" in target for target in part["targets"])
        return
    normals = read(part["attributes"]["NORMAL"]).astype(float)
    places, same = np.unique(np.round(base, 7), axis=0, return_inverse=True)
    for target in part["targets"]:
        moved = places.copy()
        moved[same.reshape(-1)] = base + read(target["POSITION"])
        true = vertex_normals(moved, same.reshape(-1)[faces].astype(np.int32))[same.reshape(-1)]
        true /= np.maximum(np.linalg.norm(true, axis=1, keepdims=True), 1e-12)
        shown = normals + (read(target["NORMAL"]) if "NORMAL" in target else 0.0)
        shown /= np.maximum(np.linalg.norm(shown, axis=1, keepdims=True), 1e-12)
        angle = np.degrees(np.arccos(np.clip((true * shown).sum(axis=1), -1, 1)))
        assert np.percentile(angle, 99) < 1, f"shading is off by {np.percentile(angle, 99):.1f} degrees"


def _glb(path: Path) -> tuple[dict[str, Any], Callable[[int], np.ndarray]]:
    import json

    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    tree, chunk = json.loads(data[20 : 20 + length]), data[28 + length :]

    def read(index: int) -> np.ndarray:
        accessor = tree["accessors"][index]
        view = tree["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        return np.frombuffer(chunk, kind, accessor["count"] * width, start).reshape(-1, width)

    return tree, read


def _and(*checks: Callable[[Outcome], None]) -> Callable[[Outcome], None]:
    def check(got: Outcome) -> None:
        for one in checks:
            one(got)

    return check


CASES: dict[str, Callable[[Outcome], None]] = {
    "27": _and(lambda g: subjects_are(g, {"002"}), lambda g: says(g, "001")),
    "27b": _and(lambda g: subjects_are(g, set()), lambda g: says(g, "s001")),
    "14": _and(equals_plain, lambda g: noted(g, "triangles-turned")),
    "14e": _and(equals_plain, lambda g: noted(g, "triangles-turned")),
    "06f": equals_plain,
    "06b": equals_plain,
    "06d": equals_plain,
    "06c": _and(lambda g: equals_plain(g, texture=False), lambda g: noted(g, "vertex-colours")),
    "09": lambda g: order_is(g, ["0.933.obj", "0.967.obj", "1.000.obj", "1.033.obj"], [0, 1, 2, 3]),
    "09d": lambda g: order_is(
        g, [f"2026-11-28_{t}.obj" for t in ("12-59-58", "12-59-59", "13-00-00")], [0, 1, 2]
    ),
    "09b": lambda g: order_is(g, [f"scan_000{k}_v2.obj" for k in (1, 2, 3)], [1, 2, 3]),
    "01": _and(equals_plain, lambda g: noted(g, "texture-relocated")),
    "11": equals_plain,
    "10": _and(lambda g: equals_plain(g, texture=False), lambda g: noted(g, "textures-joined")),
    "07a": _and(equals_plain, same_triangles),
    "08": lambda g: by_hand_are(g, list(range(17, 68))),
    "08b": lambda g: says(g, ".txt", "landmarks"),
    "32": lambda g: _one_by_hand_is_missing(g),
    "13": adopted,
    "29": morph_normals,
    "34d": lambda g: says(g, "unusual size", "--unit"),
}


def _one_by_hand_is_missing(got: Outcome) -> None:
    assert got.frame.ok, got.frame.message
    count = int((got.frame.landmark_source == 1).sum())
    assert count == 67, f"{count} points are by hand"


def run(folder: Path, work: Path, only: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    """All cases, or those named; the record to save.

    Raises:
        InputError: the folder does not hold the cases.
    """
    if not (folder / "00").is_dir():
        raise InputError(
            "the cases are not there", where=folder, expected="a folder 00, and one for each case"
        )
    work.mkdir(parents=True, exist_ok=True)
    plain = Outcome(folder / "00", work)
    results: dict[str, str] = {}
    for name, check in CASES.items():
        if only and name not in only:
            continue
        try:
            check(Outcome(folder / name, work, plain))
            results[name] = "right"
        except Exception as error:  # one case must not hide the others
            results[name] = f"wrong: {str(error) or type(error).__name__}"
        say(f"  {name:<5} {results[name]}")
    right = sum(result == "right" for result in results.values())
    say(f"  {right} of {len(results)} are right")
    return {"cases": results, "right": right}
