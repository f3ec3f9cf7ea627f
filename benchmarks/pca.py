"""Principal components of more frames than memory holds: ours, scikit-learn's IncrementalPCA, menpo's PCAModel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured

HERE = Path(__file__).resolve().parent
MIMICME_FRAMES = 280_000
SUBSET = 600  # frames that an exact decomposition in memory still takes
METHODS = ("read", "ours", "sklearn", "menpo")
Record = dict[str, Any]


def run(
    work: Path, frames: int, vertices: int, rank: int, methods: tuple[str, ...], say: Any = print
) -> Record:
    """Seconds, peak memory and agreement of each; and ours against the exact decomposition of a subset."""
    rows: list[Record] = []
    reference: Record | None = None
    say(f"{frames:,} frames x {vertices:,} vertices, {rank} components")
    say(f"{'':10}{'wall s':>10}{'CPU s':>10}{'peak MB':>10}{'angle deg':>12}{'variance':>12}")
    for method in methods:
        row = _one(work, method, frames, vertices, rank)
        rows.append(row)
        if "failed" in row:
            say(f"{method:10}{row['failed']}")
            continue
        if method == "ours":
            reference = row
        _agreement(row, reference)
        say(_line(row))
    for row in rows:
        for name in ("components", "variances"):
            row.pop(name, None)
    record: Record = {"frames": frames, "vertices": vertices, "rank": rank, "methods": rows}
    known = {row["method"]: row for row in rows if "failed" not in row}
    if "ours" in known:
        ours = known["ours"]
        record["hours_for_280000"] = ours["wall_s"] * MIMICME_FRAMES / frames / 3600
        say(
            f"ours, at {MIMICME_FRAMES:,} frames: {record['hours_for_280000']:.2f} h of this, reading included"
        )
        for name in ("sklearn", "menpo"):
            if name in known:
                record[f"{name}_over_ours"] = known[name]["cpu_s"] / ours["cpu_s"]
                say(f"{name}: {record[f'{name}_over_ours']:.1f} times our CPU seconds")
    record["subset"] = _subset(work, min(SUBSET, frames), vertices, min(rank, 50), say)
    return record


def _subset(work: Path, frames: int, vertices: int, rank: int, say: Any) -> Record:
    """Streamed against exact, of the same frames."""
    exact, streamed = (_one(work, method, frames, vertices, rank) for method in ("exact", "subset"))
    if "failed" in exact or "failed" in streamed:
        return {"failed": exact.get("failed") or streamed.get("failed")}
    _agreement(streamed, exact)
    relative = float(np.abs(streamed["variances"] / exact["variances"] - 1).max())
    say(f"{frames} frames, {rank} components: streamed against exact {streamed['angle_deg']:.4f} degrees, ")
    say(
        f"variances within {100 * relative:.4f} %; {streamed['wall_s']:.1f} s against {exact['wall_s']:.1f} s"
    )
    seconds = {"exact_s": exact["wall_s"], "streamed_s": streamed["wall_s"]}
    return {"frames": frames, "angle_deg": streamed["angle_deg"], "variance_error": relative, **seconds}


def _one(work: Path, method: str, frames: int, vertices: int, rank: int) -> Record:
    result = work / f"pca_{method}.npz"
    result.unlink(missing_ok=True)
    sizes = [str(n) for n in (frames, vertices, rank)]
    cost = measured([sys.executable, HERE / "pca_worker.py", method, *sizes, result], 7200.0)
    if cost.status != 0 or not result.is_file():
        return {"method": method, "failed": (cost.output.strip().splitlines() or ["no output"])[-1]}
    with np.load(result) as file:
        figures = {name: float(file[name]) for name in ("wall_s", "cpu_s", "peak_mb")}
        arrays = {name: file[name] for name in ("components", "variances")}
    result.unlink()
    return {"method": method, **figures, **arrays}


def _agreement(row: Record, reference: Record | None) -> None:
    """The largest angle between the spaces of the first ten components, and the ratio of their variances."""
    if reference is None or not len(row["variances"]):
        return
    a, b = (np.linalg.qr(r["components"][:10].astype(float).T)[0] for r in (row, reference))
    cosine = np.linalg.svd(a.T @ b, compute_uv=False).min()
    row["angle_deg"] = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    row["variance_ratio"] = float(row["variances"][:10].sum() / reference["variances"][:10].sum())


def _line(row: Record) -> str:
    figures = f"{row['method']:10}{row['wall_s']:10.1f}{row['cpu_s']:10.1f}{row['peak_mb']:10.0f}"
    return (
        figures + f"{row.get('angle_deg', float('nan')):12.4f}{row.get('variance_ratio', float('nan')):12.6f}"
    )
