"""The same people in other files: reversed triangles, other axes, other units give the same registered vertices.

Captures are written again in each way, run through the command line, and compared with the plain run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import Captures

from mimicme.commands.evaluate import evaluate
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.release import Release

SAME_MM = 0.001
SAME_IN_OTHER_UNITS_MM = 0.01


@dataclass(frozen=True)
class Variant:
    """How files are written otherwise.

    Attributes:
        matrix: (3, 3) on vertices and landmarks.
        reversed_share: of the triangles, the first ones, that are wound the other way round.
        within_mm: largest distance of registered vertices to the plain run's; None: compared by the truth.
        expected: what `run` must say.
    """

    matrix: Floats
    reversed_share: float = 0.0
    within_mm: float | None = SAME_MM
    expected: str = ""


EYE = np.eye(3)
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
X_UP = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
VARIANTS: dict[str, Variant] = {
    "plain": Variant(EYE),
    "clockwise": Variant(EYE, 1.0, expected="triangles-turned"),
    "half reversed": Variant(EYE, 0.5, expected="triangles-turned"),
    "z up": Variant(Z_UP, expected="+z is up"),
    "x up": Variant(X_UP, expected="+x is up"),
    "in m": Variant(EYE / 1000, within_mm=SAME_IN_OTHER_UNITS_MM, expected="m: the eyes"),
    "in cm": Variant(EYE / 10, within_mm=SAME_IN_OTHER_UNITS_MM, expected="cm: the eyes"),
    "in um": Variant(EYE * 1000, within_mm=SAME_IN_OTHER_UNITS_MM, expected="um: the eyes"),
    "in inches": Variant(EYE / 25.4, within_mm=SAME_IN_OTHER_UNITS_MM, expected="in: the eyes"),
    "0.75 of the size": Variant(EYE * 0.75, within_mm=None, expected="unusual size"),
    "mirrored": Variant(np.diag([-1.0, 1, 1]), expected="mirrored back"),
}


def run(captures: Captures, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All variants; the record to save."""
    results: dict[str, dict[str, Any]] = {}
    plain: list[Floats] = []
    plain_mm = float("nan")
    for name, variant in VARIANTS.items():
        folder = work / f"invariance-{name.replace(' ', '-')}"
        shutil.rmtree(folder, ignore_errors=True)
        write(captures, folder / "captures", variant)
        said = registered(captures, folder)
        with Release(folder / "ws" / "release.h5") as release:
            vertices = [np.asarray(release.frame(row).vertices, float) for row in range(len(release))]
        plain = plain or vertices
        off = max(float(np.abs(a - b).max()) for a, b in zip(vertices, plain, strict=True))
        record: dict[str, Any] = {"off_mm": off, "said": variant.expected in said}
        if name == "plain":
            plain_mm = float(evaluate(folder / "ws" / "release.h5", captures.folder)["all"]["corr"])
        good = record["said"] and (variant.within_mm is None or off <= variant.within_mm)
        if name == "0.75 of the size":
            record["corr"] = by_scaled_truth(captures, folder, 0.75)
            record["corr_plain"] = plain_mm
            good &= record["corr"] <= plain_mm
        record["good"] = bool(good)
        results[name] = record
        more = (
            f", correspondence error {record['corr']:.3f} mm, plain {plain_mm:.3f}"
            if "corr" in record
            else ""
        )
        verdict = "right" if good else "WRONG" if record["said"] else "WRONG: nothing is said"
        say(f"  {name:<18}{off:10.5f} mm{more}  {verdict}")
    return {"variants": results}


def by_scaled_truth(captures: Captures, folder: Path, scale: float) -> float:
    """Mean correspondence error against the truth of the same people at another size, mm at their own size."""
    truth = folder / "scaled"
    shutil.copytree(captures.folder / "template", truth / "template")
    for path in sorted(captures.folder.glob("truth/*/*.npz")):
        with np.load(path, allow_pickle=False) as file:
            values = dict(file)
        for key in ("vertices", "landmarks"):
            values[key] = values[key] * scale
        values["head_pose"][:, :3, 3] *= scale
        target = truth / "truth" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(target, **values)
    (truth / "captures").symlink_to(folder / "captures")
    return float(evaluate(folder / "ws" / "release.h5", truth)["all"]["corr"])


def registered(captures: Captures, folder: Path) -> str:
    """`init` and `run`; what they said."""
    program = Path(sys.executable).with_name("mimicme")
    template = next(
        p for p in sorted((captures.folder / "template").glob("template.*")) if p.suffix != ".ljson"
    )
    said = ""
    for words in (
        ("init", folder / "ws", "--captures", folder / "captures", "--template", template),
        ("run", folder / "ws", "--set", "bake.size=512"),
    ):
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
        said += done.stdout + done.stderr
        if done.returncode not in (0, 1):
            raise InputError(f"`mimicme {words[0]}` failed: {done.stderr.strip()[-500:]}", where=folder)
    return said


def write(captures: Captures, target: Path, variant: Variant) -> None:
    """The captures again, below `target`, in another way."""
    for path in sorted((captures.folder / "captures").rglob("*")):
        if not path.is_file():
            continue
        place = target / path.relative_to(captures.folder / "captures")
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".obj":
            place.write_text(_obj(path.read_text(), variant))
        elif path.suffix == ".ljson":
            record = json.loads(path.read_text())
            points = np.array(record["landmarks"]["points"], float) @ variant.matrix.T
            record["landmarks"]["points"] = points.tolist()
            place.write_text(json.dumps(record))
        else:
            shutil.copy(path, place)


def _obj(text: str, variant: Variant) -> str:
    lines = text.splitlines()
    triangles = sum(line.startswith("f ") for line in lines)
    seen = 0
    for k, line in enumerate(lines):
        if line.startswith("v "):
            words = line.split()
            place = variant.matrix @ np.array(words[1:4], float)
            lines[k] = " ".join(["v", *(f"{x:.12g}" for x in place), *words[4:]])
        elif line.startswith("f "):
            if seen < variant.reversed_share * triangles:
                a, b, c = line.split()[1:]
                lines[k] = f"f {a} {c} {b}"
            seen += 1
    return "\n".join(lines) + "\n"
