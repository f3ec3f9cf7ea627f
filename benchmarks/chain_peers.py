"""The chain as it can be put together from what is released: rigid fit, menpo3d's NICP, a plain bake per texel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from baking import clocked, plain_bake, textured_frame
from cases import Captures, cleaned, correspondence
from environment import Peers
from measure import measured
from registration import write_problem
from robust import Prepared

from mimicme.pipeline.geometry.mesh import transform

Record = dict[str, Any]
WORKER = Path(__file__).with_name("peer_worker.py")
SIZE = 1024


def run(folder: Path, frames: int, peers: Peers, work: Path, timeout_s: float, say: Any = print) -> Record:
    """CPU seconds a frame of each part, over the first frames of so many sequences, one after the other.

    What is written to disk between the parts, and the release, are not counted: it is in the peer's favour.

    Args:
        folder: captures with truth and landmarks, and their template, as `chain.made_captures` makes them.
        timeout_s: of one registration.
    """
    notes = list(peers.notes)
    if peers.python is None or not peers.menpo3d:
        for note in notes:
            say(f"note: {note}")
        return {"notes": notes, "frames": []}
    name = "menpo3d's NICP" + (" with CHOLMOD" if peers.cholmod else " with SuperLU")
    captures = Captures(folder)
    template = captures.template()
    prepared = Prepared.of(template)
    rows: list[Record] = []
    for sequence in captures.sequences[:frames]:
        (scan, image, _), read_s = clocked(lambda sequence=sequence: textured_frame(captures, sequence))
        _, clean_s = clocked(lambda scan=scan: cleaned(scan))
        case = captures.case(sequence, 0)
        problem, result = work / "problem.npz", work / "result.npz"
        pose, align_s = clocked(lambda case=case, problem=problem: write_problem(prepared, [case], problem))
        result.unlink(missing_ok=True)
        cost = measured([peers.python, WORKER, "menpo3d", problem, result], timeout_s)
        if cost.status != 0 or not result.is_file():
            said = f"over {timeout_s:g} s" if cost.status is None else cost.output.strip()[-200:]
            say(f"  {sequence}: {said}")
            rows.append({"sequence": sequence, "failed": said})
            continue
        with np.load(result) as file:
            vertices, fit_s = transform(pose, file["vertices"]), float(file["cpu_s"])
        _, bake_s = clocked(
            lambda scan=scan, image=image, vertices=vertices: plain_bake(
                scan, image, vertices, template, SIZE
            )
        )
        assert case.answer is not None
        row = {
            "read": read_s + clean_s, "align": align_s, "fit": fit_s, "bake": bake_s,
            "corr": float(correspondence(vertices, case.answer).mean()),
        }  # fmt: skip
        rows.append({"sequence": sequence, "peak_mb": cost.peak_mb, **row})
        say(f"  {name}, {sequence}: " + ", ".join(f"{part} {value:.2f}" for part, value in row.items()))
    done = [row for row in rows if "failed" not in row]
    if done:
        parts = {
            part: float(np.mean([row[part] for row in done])) for part in ("read", "align", "fit", "bake")
        }
        say(
            f"peers' chain, {name} and a plain bake, {len(done)} frames: {sum(parts.values()):.2f} CPU s a frame ("
            + ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
            + f"), {max(row['peak_mb'] for row in done):.0f} MB"
        )
    for note in notes:
        say(f"note: {note}")
    return {"peer": name, "frames": rows, "notes": notes}
