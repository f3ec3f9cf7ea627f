"""Heads of people: ears, and groups by age, scanner and hair, with the jaw's points and without.

The people are those of `synth --maker people`, which only judges.  Found landmarks have no jaw, so that the captures
without these points are the usual case.  Each person's neutral goes through the whole run.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import SYNTH_VERTICES, resized
from still import registered

from mimicme.commands.evaluate import frame_measures, read_truth
from mimicme.commands.synth import synthesise
from mimicme.pipeline.arrays import Bools
from mimicme.pipeline.formats.meshio import read_mesh
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.release import Release
from mimicme.pipeline.template import prepare
from mimicme.stages.register.quality import S2M_MEDIAN, S2M_P95
from mimicme.stages.register.regions import ears

NEUTRAL, FRAMES = "neutral", 3
EAR = 0.5
"""From this value of its mask on a vertex is an ear's (`regions.ears`)."""
LEAST_SEEN = 0.4
"""An ear counts where so much of it was scanned: the scanners of these people see none from behind, and of no ear more
than 0.6."""
CHILD, OLD = 18, 60
FEWEST = 4
"""Groups of fewer people are not compared."""
Record = dict[str, Any]


def run(people: int, seeds: list[int], work: Path, say: Callable[[str], None]) -> Record:
    """Make, register and measure them; the record to save."""
    template = resized(prepare("menpo3d"), SYNTH_VERTICES, layout=True)
    records: list[Record] = []
    for seed in seeds:
        folder = work / f"heads-{people}-{seed}"
        made = folder / "jaw" / "made"
        say(f"  seed {seed}: {people} people")
        synthesise(made, people, (NEUTRAL,), FRAMES, seed, template, maker="people")
        without = folder / "no-jaw" / "made"
        if not without.exists():
            shutil.copytree(made, without)
            _drop_jaw(without / "captures")
        for jaw, where in ((True, made), (False, without)):
            file = next(p for p in sorted((where / "template").glob("template.*")) if p.suffix != ".ljson")
            with Release(registered(where.parent, file)) as opened:
                records += [{"seed": seed, "jaw": jaw, **row} for row in _people(opened, where)]
    for jaw in (True, False):
        _tell([r for r in records if r["jaw"] is jaw], jaw, say)
    return {"people": records}


def _drop_jaw(captures: Path) -> None:
    """Take the jaw's points out of every landmark file."""
    for path in captures.rglob("*.ljson"):
        told = json.loads(path.read_text(encoding="utf-8"))
        points = (
            told["landmarks"] if "landmarks" in told else next(iter(told["groups"].values()))["landmarks"]
        )["points"]
        for k in range(*GROUPS["jaw"].indices(68)):
            points[k] = [None, None, None]
        path.write_text(json.dumps(told), encoding="utf-8")


def _people(release: Release, made: Path) -> list[Record]:
    """A record of each person, means over the frames of its neutral."""
    template = release.template
    masks = ears(template.vertices, template.faces, template.landmarks()) > EAR
    best = template.landmark_weights.argmax(axis=1)
    marks = template.landmark_vertices[np.arange(len(best)), best]
    with (made / "subjects.csv").open(encoding="utf-8", newline="") as table:
        ages = {row["subject"]: int(row["age"]) for row in csv.DictReader(table)}
    records = []
    for subject in sorted(release.subjects):
        known = read_truth(made / "truth" / subject / f"{NEUTRAL}.npz")
        sequence = release.sequence(subject, NEUTRAL)
        found = []
        for frame in (release.frame(row, images=False) for row in sequence.rows):
            if not frame.ok:
                continue
            k = frame.number
            path = made / "captures" / subject / NEUTRAL / f"{k:04d}.obj"
            scan = read_mesh(path.read_bytes(), path.name).mesh.vertices
            placed = transform(sequence.file_from_scan @ frame.pose, np.asarray(frame.vertices, np.float64))
            measures = frame_measures(placed, known, k, template.faces, scan, marks, {})
            off = np.linalg.norm(placed - known.vertices[k], axis=1)
            found.append(
                {**measures, "ears": [_ear(off, known.valid[k], mask) for mask in masks.T], "scan": len(scan)}
            )
        record: Record = {"subject": subject, "age": ages[subject], "ok": len(found) / len(known)}
        if found:
            record |= {
                name: float(np.mean([f[name] for f in found]))
                for name in ("corr", S2M_MEDIAN, S2M_P95, "scan")
            }
            record["ears"] = [e for f in found for e in f["ears"] if e is not None]
        records.append(record)
    return records


def _ear(off: Any, valid: Bools, mask: Bools) -> float | None:
    """Mean distance, mm, of an ear's vertices to their true place where the scan has data; None where it has little."""
    seen = mask & valid
    return float(off[seen].mean()) if seen.sum() >= LEAST_SEEN * mask.sum() else None


def _tell(records: list[Record], jaw: bool, say: Callable[[str], None]) -> None:
    """Tables of ears and groups."""
    fitted = [r for r in records if "corr" in r]
    each = np.array([e for r in fitted for e in r["ears"]])
    say(f"  {'with' if jaw else 'without'} the jaw's points, {len(fitted)} of {len(records)} people")
    if len(each):
        say(
            f"    {len(each)} ears seen: {each.mean():.2f} mm in the mean, {np.median(each):.2f} median, "
            f"{each.max():.2f} at most; {(each <= 1.5).mean():.0%} within 1.5 mm"
        )
    mean = float(np.mean([r["corr"] for r in fitted]))
    high = [r[S2M_P95] for r in fitted]
    say(f"    corr {mean:.3f} mm; s2m_p95 {np.mean(high):.3f} in the mean, {np.max(high):.3f} at most")
    middle = float(np.median([r["scan"] for r in fitted]))
    groups = {
        f"younger than {CHILD}": lambda r: r["age"] < CHILD,
        f"{CHILD} to {OLD - 1}": lambda r: CHILD <= r["age"] < OLD,
        f"{OLD} and older": lambda r: r["age"] >= OLD,
        "fewer scan vertices": lambda r: r["scan"] < middle,
        "more scan vertices": lambda r: r["scan"] >= middle,
        "ears bare": lambda r: bool(r["ears"]),
        "ears covered": lambda r: not r["ears"],
    }
    for name, has in groups.items():
        of = [r["corr"] for r in fitted if has(r)]
        if len(of) >= FEWEST:
            say(
                f"    {name:<20}{len(of):3d} people, corr {np.mean(of):.3f} mm, {np.mean(of) / mean:.2f} of the mean"
            )
