"""Registration side by side with its peers: accuracy and CPU seconds, on the same cases, in one run.

Every method gets the same: the cleaned scan as align has placed it, and its 68 landmarks.  Each runs in a process
of its own with one thread; only the registration itself is timed, not imports or reading files.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cases import Captures, Case, correspondence, james
from environment import Peers
from measure import measured
from robust import Prepared, aligned

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.drawing.render import (
    contact_sheet,
    draw_legend,
    error_colors,
    look_at,
    render,
    save_picture,
)
from mimicme.pipeline.geometry.mesh import Mesh, inverse, transform
from mimicme.pipeline.geometry.spatial import Surface, self_intersections
from mimicme.pipeline.template import Template, prepare, save_prepared

OWN = {"mimicme cold": "cold", "mimicme tracked": "tracked", "landmark spline": "spline", "rigid": "rigid"}
HERE = Path(__file__).resolve().parent
SLOW_VERTICES = 20_000
"""Above, trimesh takes minutes and is left out unless asked for."""
TOP_MM = 3.0

Record = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A template with the cases to register with it: each a list of frames, the last of which counts."""

    name: str
    template: Template
    runs: list[list[Case]]


def james_setting() -> Setting:
    """james, and for the tracked frame two more scans of him before it: moved a little, other noise.

    Two, because the first frame after a neutral also factorises what all the others of its sequence use.
    """
    case = james()
    rng = np.random.default_rng(0)
    again = replace(case, number=1, vertices=case.vertices + rng.normal(scale=0.05, size=case.vertices.shape))
    move = np.eye(4)
    move[:3, 3] = 1.0, -0.5, 1.5
    first = replace(
        again,
        number=0,
        vertices=transform(move, again.vertices),
        landmarks=transform(move, case.landmarks),
    )
    second = replace(again, vertices=case.vertices + rng.normal(scale=0.05, size=case.vertices.shape))
    return Setting("james", prepare("menpo3d"), [[first, second, replace(case, number=2)]])


def captures_setting(captures: Captures, people: int = 2) -> Setting:
    """Neutral, and three expressions at their apex, of some people."""
    runs: list[list[Case]] = []
    names = captures.sequences
    subjects = sorted({name.split("/")[0] for name in names})[:people]
    for subject in subjects:
        own = [name for name in names if name.startswith(f"{subject}/")]
        neutral = next((name for name in own if name.endswith("/neutral")), own[0])
        calm = captures.case(neutral, 0)
        runs.append([calm])
        for name in [n for n in own if n != neutral][:3]:
            runs.append([calm, *(captures.case(name, k) for k in range(captures.apex(name) + 1))])
    return Setting("captures", captures.template(), runs)


def write_problem(prepared: Prepared, run: list[Case], path: Path) -> Floats:
    """Store a run for the workers; returns the pose (4, 4) canonical -> scan of its last frame."""
    template = prepared.template
    stored: dict[str, Any] = {
        "template": template.vertices,
        "template_faces": template.faces,
        "template_landmarks": template.landmarks(),
        "frames": len(run),
    }
    names = list(dict.fromkeys(case.name for case in run))
    for k, case in enumerate(run):
        frame, _ = aligned(prepared, case)
        to_canonical = inverse(frame.pose)
        values = {
            "scan": transform(to_canonical, case.vertices),
            "scan_faces": case.faces,
            "landmarks": transform(to_canonical, frame.landmarks),
            "confidence": frame.confidence,
            "sequence": names.index(case.name),
            "number": case.number,
        }
        stored |= {f"{name}_{k}": value for name, value in values.items()}
        if k == len(run) - 1:
            stored |= values
    np.savez(path, **stored)
    return frame.pose


def judge(vertices: Floats, template: Template, case: Case) -> Record:
    """Figures of one result, vertices (V, 3) in the scan's frame."""
    distance = Surface(vertices, template.faces).distance(case.judged)
    record: Record = {
        "surface_median": float(np.median(distance)),
        "surface_mean": float(distance.mean()),
        "surface_p95": float(np.percentile(distance, 95)),
        "crossing": len(self_intersections(vertices, template.faces)),
    }
    if case.answer is not None:
        off = correspondence(vertices, case.answer)
        record |= {"corr": float(off.mean()), "corr_p95": float(np.percentile(off, 95))}
    return record


def run(
    settings: list[Setting],
    peers: Peers,
    work: Path,
    slow: bool,
    timeout_s: float,
    picture: Path,
    say: Any = print,
) -> Record:
    """All methods on all cases; the record to save."""
    records: list[Record] = []
    tiles: dict[str, list[Any]] = {}
    for setting in settings:
        prepared = Prepared.of(setting.template)
        stored = work / f"{setting.name}-template.h5"
        save_prepared(setting.template, stored)
        for number, cases in enumerate(setting.runs):
            case = cases[-1]
            problem = work / "problem.npz"
            pose = write_problem(prepared, cases, problem)
            for method, command in _commands(peers, len(setting.template.vertices), slow, stored).items():
                if method == "mimicme tracked" and len(cases) == 1:
                    continue
                result = work / "result.npz"
                result.unlink(missing_ok=True)
                cost = measured([*command, problem, result], timeout_s)
                record: Record = {
                    "setting": setting.name, "vertices": len(setting.template.vertices), "case": case.name,
                    "neutral": len(cases) == 1, "method": method, "peak_mb": cost.peak_mb,
                }  # fmt: skip
                records.append(record)
                if cost.status != 0 or not result.is_file():
                    last = (cost.output.strip().splitlines() or ["no output"])[-1]
                    record["failed"] = f"over {timeout_s:g} s" if cost.status is None else last
                    say(f"  {setting.name} {case.name} {method}: {record['failed']}")
                    continue
                with np.load(result) as file:
                    vertices = transform(pose, file["vertices"])
                    record["cpu_s"] = float(file["cpu_s"])
                    if "prepare_s" in file:
                        record["prepare_s"] = float(file["prepare_s"])
                record |= judge(vertices, setting.template, case)
                say(f"  {setting.name} {case.name} {method}: {record['cpu_s']:.2f} s")
                if number < 2:
                    tile = draw(vertices, setting.template, case)
                    tiles.setdefault(f"{setting.name} {case.name}", []).append((method, tile))
    if tiles:
        columns = max(len(row) for row in tiles.values())
        pictures, captions = [], []
        for name, row in tiles.items():
            for method, tile in row + [("", np.full_like(row[0][1], 255))] * (columns - len(row)):
                pictures.append(tile)
                captions.append(f"{name}: {method}" if method else "")
        save_picture(
            picture,
            contact_sheet(pictures, captions, columns, title="distance to the truth (james: to the scan)"),
        )
        say(f"picture: {picture}")
    say(table(records))
    for note in peers.notes:
        say(f"note: {note}")
    return {"records": records, "notes": list(peers.notes), "cholmod": peers.cholmod}


def _commands(peers: Peers, vertices: int, slow: bool, template: Path) -> dict[str, list[str | Path]]:
    commands: dict[str, list[str | Path]] = {
        name: [sys.executable, HERE / "own_worker.py", method, template] for name, method in OWN.items()
    }
    if peers.python is not None and peers.menpo3d:
        name = "menpo3d + CHOLMOD" if peers.cholmod else "menpo3d (SuperLU)"
        commands[name] = [peers.python, HERE / "peer_worker.py", "menpo3d"]
    if peers.python is not None and peers.trimesh and (slow or vertices <= SLOW_VERTICES):
        commands["trimesh nricp_amberg"] = [peers.python, HERE / "peer_worker.py", "trimesh"]
    return commands


def draw(vertices: Floats, template: Template, case: Case) -> Any:
    """The registered mesh, coloured by its distance to the truth; without one, by its distance to the scan."""
    if case.answer is not None:
        distance = np.linalg.norm(vertices - case.answer.vertices, axis=1)
        distance[~(case.answer.valid & case.answer.core)] = np.nan
        head = inverse(case.answer.head)
    else:
        distance = Surface(case.vertices, case.faces).distance(vertices)
        distance[np.linalg.norm(vertices - case.landmarks[30], axis=1) > 80] = np.nan
        head = np.eye(4)
    placed = transform(head, vertices)
    top = TOP_MM if case.answer is not None else 1.0
    camera = look_at(placed, 0.0, 0.0, (420, 330))
    shown = render(
        Mesh(placed, template.faces), camera, colors=error_colors(distance, top), shading=0.35, samples=2
    )
    return draw_legend(shown, top)


COLUMNS = (
    "corr",
    "corr_p95",
    "surface_median",
    "surface_mean",
    "surface_p95",
    "crossing",
    "cpu_s",
    "peak_mb",
)


def table(records: list[Record]) -> str:
    """Means over the cases of a setting, neutral and expressions apart."""
    lines = []
    groups: dict[str, list[Record]] = {}
    for record in records:
        kind = "james" if record["setting"] == "james" else "neutral" if record["neutral"] else "expressions"
        groups.setdefault(f"{kind}, {record['vertices']:,} vertices", []).append(record)
    for title, rows in groups.items():
        head = "".join(
            f"{name.removeprefix('surface_') if name != 'surface_median' else 'surface':>10}"
            for name in COLUMNS
        )
        lines.append(f"{title:<34}{head}")
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if row["method"] == method]
            done = [row for row in own if "failed" not in row]
            cells = ""
            for name in COLUMNS:
                values = [row[name] for row in done if name in row]
                digits = 0 if name in ("crossing", "peak_mb") else 2
                cells += f"{np.mean(values):10.{digits}f}" if values else f"{'-':>10}"
            failed = (
                f"  {len(own) - len(done)} of {len(own)} failed: {own[-1].get('failed')}"
                if len(done) < len(own)
                else ""
            )
            lines.append(f"  {method:<32}{cells}{failed}")
    return "\n".join(lines)
