"""Robustness: seeded trials on spoiled captures, through the library functions of landmarks, align and register.

A trial is one frame of the captures with one kind of damage (damage.py), registered cold.  A frame that is
called `ok` must be close to the truth; a rejected one must have a reason; and the figures that are reported with a
frame must rise with its true error.  To know the true error of rejected frames too, the verdict is noted and not
obeyed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import numpy as np
from cases import Captures, Case, correspondence
from damage import DAMAGES

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template import Template
from mimicme.stages import align as align_stage
from mimicme.stages.align.on_surface import UpperFace, upper_face
from mimicme.stages.landmarks.given import located, on_scan
from mimicme.stages.landmarks.settings import LandmarksSettings
from mimicme.stages.register import assessment, rejection
from mimicme.stages.register.frame import Frame, Registered
from mimicme.stages.register.levels import Levels, build_levels
from mimicme.stages.register.settings import RegisterSettings
from mimicme.stages.register.track import SequenceTracker

TOO_FAR_MM = 2.5

Record = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What is made once per template."""

    template: Template
    levels: Levels
    face: UpperFace
    settings: RegisterSettings

    @classmethod
    def of(cls, template: Template, settings: RegisterSettings | None = None) -> Prepared:
        settings = settings or RegisterSettings()
        return cls(
            template,
            build_levels(template, settings.coarse_vertices, settings.membrane),
            upper_face(template, align_stage.AlignSettings().samples),
            settings,
        )

    def tracker(self, neutral: Floats | None = None) -> SequenceTracker:
        return SequenceTracker(self.template, self.levels, self.settings, neutral)


def aligned(prepared: Prepared, case: Case) -> tuple[Frame, Record]:
    """One case as the register stage receives it, through the stages before; and their figures.

    Raises:
        FrameRejected: by one of them.
    """
    surface = Surface(case.vertices, case.faces)
    limit = LandmarksSettings().max_distance_mm
    distances = on_scan(case.landmarks, surface, limit)
    found, _ = located(case.landmarks, distances, limit)
    confidence = found.confidence.astype(np.float64)
    settings = align_stage.AlignSettings()
    marks = prepared.template.landmarks()
    at = align_stage.align(marks, prepared.face, found.points, confidence, surface, settings)
    frame = Frame(
        case.number,
        case.vertices,
        case.faces,
        found.points,
        np.where(at.trusted, confidence, 0.0),
        at.pose,
    )
    figures = {
        "landmarks_given": int(np.isfinite(case.landmarks).all(axis=1).sum()),
        "landmarks_trusted": int(at.trusted.sum()),
        "landmark_distance": float(np.nanmedian(distances)),
        "align_landmark_residual": at.landmark_residual,
        "align_surface_residual": at.surface_residual,
    }
    return frame, figures


@contextmanager
def verdict_noted() -> Iterator[list[FrameRejected]]:
    """Inside, register's rejections are collected and the frame is returned all the same."""
    noted: list[FrameRejected] = []
    judge = rejection.reject_bad

    def note(*arguments: Any) -> None:
        try:
            judge(*arguments)
        except FrameRejected as error:
            noted.append(error)

    with mock.patch.object(assessment, "reject_bad", note):
        yield noted


def placed(found: Registered) -> Floats:
    """(V, 3) registered vertices in the scan's frame, mm."""
    return transform(found.pose, np.asarray(found.vertices, np.float64))


def register(prepared: Prepared, case: Case) -> Record:
    """Register one case cold; status, reason, figures, and the true error in mm."""
    record: Record = {"status": "ok", "reason": "", "stage": "register"}
    try:
        frame, figures = aligned(prepared, case)
    except FrameRejected as error:
        return {**record, "status": "rejected", "reason": error.reason, "stage": "align", "why": str(error)}
    record["align"] = figures
    with verdict_noted() as noted:
        try:
            result = prepared.tracker().register(frame)
        except FrameRejected as error:
            return {**record, "status": "rejected", "reason": error.reason, "why": str(error)}
    if noted:
        record |= {"status": "rejected", "reason": noted[0].reason, "why": str(noted[0])}
    record["quality"] = asdict(result.quality)
    if case.answer is not None:
        off = correspondence(placed(result), case.answer)
        record |= {"corr": float(off.mean()), "corr_p95": float(np.percentile(off, 95))}
    return record


def trial(prepared: Prepared, captures: Captures, seed: int, kinds: Sequence[str]) -> Record:
    """Trial number `seed`: its kind in turn (`half+coarse` is one after the other), its frame and damage by chance."""
    rng = np.random.default_rng([seed, 6])
    kind = kinds[seed % len(kinds)]
    names = captures.sequences
    sequence = names[rng.integers(len(names))]
    number = int(rng.integers(captures.frames(sequence)))
    case = captures.case(sequence, number)
    spoiled = case
    for name in kind.split("+"):
        spoiled = DAMAGES[name](spoiled, rng)
    began = time.process_time()
    record = register(prepared, spoiled)
    return {
        "seed": seed,
        "kind": kind,
        "case": f"{sequence}/{number:04d}",
        "seconds": time.process_time() - began,
        "scan_vertices": len(spoiled.vertices),
        **record,
    }


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's, over the pairs that are finite."""
    from scipy.stats import spearmanr

    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return float("nan")
    return float(spearmanr(a[known], b[known]).statistic)


def summary(records: Sequence[Record]) -> Record:
    """Figures over all trials, and by kind."""
    result: Record = {"trials": len(records), "kinds": {}}
    for kind in [*dict.fromkeys(r["kind"] for r in records), "all"]:
        of = [r for r in records if kind in (r["kind"], "all")]
        ok = np.array([r["corr"] for r in of if r["status"] == "ok"])
        reasons = [r["reason"] for r in of if r["status"] != "ok"]
        result["kinds"][kind] = {
            "trials": len(of),
            "rejected": len(reasons) / len(of),
            "reasons": {name: reasons.count(name) for name in sorted(set(reasons))},
            "corr_mean": float(ok.mean()) if len(ok) else None,
            "corr_worst": float(ok.max()) if len(ok) else None,
            "too_far": int((ok > TOO_FAR_MM).sum()),
        }
    measured = [r for r in records if "quality" in r and "corr" in r]
    corr = np.array([r["corr"] for r in measured])
    figures = measured[0]["quality"] if measured else {}
    result["rank_correlation"] = {
        name: rank_correlation(np.array([r["quality"][name] for r in measured], float), corr)
        for name in figures
    }
    return result


def table(result: Record, records: Sequence[Record]) -> str:
    """The summary to print."""
    lines = [
        f"{'damage':<12}{'trials':>8}{'rejected':>10}{'corr ok':>10}{'worst ok':>10}{'> 2.5 mm':>10}  reasons"
    ]
    for kind, row in result["kinds"].items():
        reasons = ", ".join(f"{name} {count}" for name, count in row["reasons"].items())
        mean, worst = (
            f"{row[k]:10.2f}" if row[k] is not None else f"{'-':>10}" for k in ("corr_mean", "corr_worst")
        )
        lines.append(
            f"{kind:<12}{row['trials']:8d}{row['rejected']:10.0%}{mean}{worst}{row['too_far']:10d}  {reasons}"
        )
    lines.append("rank correlation of each reported figure with the true corr:")
    ranked = sorted(result["rank_correlation"].items(), key=lambda pair: -abs(np.nan_to_num(pair[1])))
    lines += [f"  {name:<24}{value:6.2f}" for name, value in ranked]
    bad = [r for r in records if r["status"] == "ok" and r["corr"] > TOO_FAR_MM]
    lines += [f"ok but {r['corr']:.2f} mm off: trial {r['seed']}, {r['kind']}, {r['case']}" for r in bad]
    return "\n".join(lines)


def run(captures: Captures, trials: int, kinds: Sequence[str] = (), say: Any = print) -> Record:
    """All trials; the record to save."""
    prepared = Prepared.of(captures.template())
    records = []
    for seed in range(trials):
        record = trial(prepared, captures, seed, list(kinds) or list(DAMAGES))
        records.append(record)
        off = f"{record['corr']:.2f} mm" if "corr" in record else "-"
        say(
            f"  {seed:4d} {record['kind']:<10} {record['case']:<26} {record['status']} {record['reason']} {off}"
        )
    result = summary(records)
    say(table(result, records))
    return {"summary": result, "trials": records}
