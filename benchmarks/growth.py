"""Time against the template's size: james on the embedded template, subdivided or decimated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from cases import resized
from measure import measured
from registration import HERE, james_setting, write_problem
from robust import Prepared

from mimicme.pipeline.template import prepare, save_prepared

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
Record = dict[str, Any]


def run(work: Path, say: Any = print) -> Record:
    """Cold and tracked seconds at each size, and the exponent of each from 10,000 vertices on."""
    embedded = prepare("menpo3d")
    frames = james_setting().runs[0]
    rows: list[Record] = []
    say(f"{'vertices':>10}{'cold s':>10}{'tracked s':>10}{'prepare s':>10}{'peak MB':>10}")
    for size in SIZES:
        template = resized(embedded, size)
        stored, problem, result = work / "growth.h5", work / "problem.npz", work / "result.npz"
        save_prepared(template, stored)
        write_problem(Prepared.of(template), frames, problem)
        row: Record = {"vertices": len(template.vertices)}
        for method in ("cold", "tracked"):
            result.unlink(missing_ok=True)
            cost = measured([sys.executable, HERE / "own_worker.py", method, stored, problem, result])
            if cost.status != 0 or not result.is_file():
                row["failed"] = (cost.output.strip().splitlines() or ["no output"])[-1]
                break
            with np.load(result) as file:
                row[f"{method}_s"], row["prepare_s"] = float(file["cpu_s"]), float(file["prepare_s"])
            row["peak_mb"] = cost.peak_mb
        rows.append(row)
        cells = "".join(f"{row.get(k, np.nan):10.2f}" for k in ("cold_s", "tracked_s", "prepare_s"))
        say(f"{row['vertices']:10,}{cells}{row.get('peak_mb', np.nan):10.0f}  {row.get('failed', '')}")
    exponents = {name: _exponent(rows, name) for name in ("cold_s", "tracked_s", "prepare_s")}
    say(
        "seconds grow as vertices to the power of "
        + ", ".join(f"{v:.2f} ({k[:-2]})" for k, v in exponents.items())
    )
    return {"sizes": rows, "exponents": exponents}


def _exponent(rows: list[Record], name: str) -> float:
    """Slope of log seconds against log vertices, from 10,000 vertices on; n log n has about 1.1 there."""
    known = [(row["vertices"], row[name]) for row in rows if name in row and row["vertices"] > 8_000]
    if len(known) < 2:
        return float("nan")
    x, y = np.log(np.array(known)).T
    return float(np.polyfit(x, y, 1)[0])
