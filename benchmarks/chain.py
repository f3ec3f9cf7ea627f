"""The whole chain by stage, CPU seconds a frame, over short sequences as MimicMe has them; a code before beside it.

Every person is worked in a process of its own, all stages in one process as in one worker, by both codes one after the
other, so that what the machine does meanwhile meets both; ratios are taken person by person.  Both run in this
interpreter, with the same libraries.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import ONE_THREAD, measured

from mimicme.pipeline.errors import InputError

Record = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).with_name("chain_worker.py")
NIGHT_FRAMES, CORES = 280_000, 16
"""MimicMe, and the workstation that the night is told of."""
TRIANGLES, SEED = 45_000, 7
AT_MOST_S = 6 * 3600.0
PACK = "pack"


def made_captures(build: Path, people: int, sequences: int, frames: int, say: Callable[[str], None]) -> Path:
    """Captures of invented people on the embedded template, made once below `build`.

    `mimicme synth` knows ten expressions; what is asked for beyond them are further takes: the same files again, which
    cost what others would.
    """
    from mimicme.commands.synth import EXPRESSIONS, synthesise

    names = list(EXPRESSIONS)[:sequences]
    made = build / f"bench-chain-{people}x{len(names)}x{frames}"
    if not (made / "synth.json").is_file():
        say(f"making captures in {made} (about two seconds a frame, once)")
    synthesise(made, people, names, frames, SEED, "menpo3d", triangles=TRIANGLES)
    wanted = [*names]
    for take in range(2, 2 + sequences):
        wanted += [f"{name}_{take}" for name in names if name != "neutral"]
    if sequences == len(names):
        return made
    full = build / f"bench-chain-{people}x{sequences}x{frames}"
    shutil.rmtree(full, ignore_errors=True)
    shutil.copytree(made / "template", full / "template")
    for person in sorted((made / "captures").iterdir()):
        for name in wanted[:sequences]:
            source = person / (name if name in names else name.rpartition("_")[0])
            shutil.copytree(source, full / "captures" / person.name / name, copy_function=os.link)
    return full


def run(
    captures: Path, before: Path | None, landmarks: str, work: Path, say: Callable[[str], None]
) -> Record:
    """The table; the record to save.

    Args:
        captures: a folder with `captures` and `template`.
        before: another checkout, to be run beside this one.
        landmarks: `given` (files beside the frames) or `found` (they are taken away first).

    Raises:
        InputError: a run failed.
    """
    raw = captures / "captures"
    folder = work / "chain"
    shutil.rmtree(folder, ignore_errors=True)
    if landmarks == "found":
        shutil.copytree(raw, folder / "captures", ignore=shutil.ignore_patterns("*.ljson"))
        raw = folder / "captures"
    template = next(p for p in sorted((captures / "template").glob("template.*")) if p.suffix != ".ljson")
    codes = {"now": ROOT} | ({} if before is None else {"before": before.resolve()})
    people = sorted(p.name for p in raw.iterdir() if p.is_dir())
    found: dict[str, dict[str, Record]] = {code: {} for code in codes}
    for k, person in enumerate(people):
        # each code comes first on every other person
        for code in sorted(codes, reverse=bool(k % 2)):
            found[code][person] = _one(codes[code], raw, template, person, folder / code, say)
    return _told(found, landmarks, say)


def _one(
    code: Path, raw: Path, template: Path, person: str, folder: Path, say: Callable[[str], None]
) -> Record:
    """One person's chain by one code; the workspace is removed, but not the template made ready in it."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "code" / "mimicme"
    if not link.is_symlink():
        link.parent.mkdir()
        link.symlink_to(code)
    workspace, result = folder / person, folder / f"{person}.json"
    path = os.pathsep.join(filter(None, [str(link.parent), os.environ.get("PYTHONPATH", "")]))
    command: list[str | Path] = ["env", f"PYTHONPATH={path}", *(f"{k}={v}" for k, v in ONE_THREAD.items())]
    cost = measured(
        [*command, sys.executable, WORKER, raw, template, workspace, result, f"{person}/*"], AT_MOST_S
    )
    if cost.status != 0:
        raise InputError("the chain failed", where=code, seen=cost.output[-2000:])
    record: Record = json.loads(result.read_text(encoding="utf-8"))
    frames = _frames(record)
    total = sum(job["cpu_s"] for job in record["jobs"]) + record["pack_s"]
    say(
        f"  {folder.name:<7} {person}: {frames} frames, {total / frames:.2f} CPU s a frame, {record['peak_mb']:.0f} MB"
    )
    shutil.rmtree(workspace)
    return record


def _frames(record: Record) -> int:
    return int(sum(job["frames"] for job in record["jobs"] if job["stage"] == "ingest"))


def by_stage(record: Record) -> dict[str, float]:
    """CPU seconds a frame of each stage, in order of the flow."""
    frames, seconds = _frames(record), {}
    for job in record["jobs"]:
        seconds[job["stage"]] = seconds.get(job["stage"], 0.0) + job["cpu_s"] / frames
    return {**seconds, PACK: record["pack_s"] / frames}


def once_a_worker(record: Record) -> float:
    """CPU seconds that a person's neutral took more the first time than when a worker had worked it before."""
    again = {(job["stage"], job["item"]): job["cpu_s"] for job in record.get("again", [])}
    first = {(job["stage"], job["item"]): job["cpu_s"] for job in record["jobs"]}
    return float(sum(first[job] - seconds for job, seconds in again.items() if job in first))


def _told(found: dict[str, dict[str, Record]], landmarks: str, say: Callable[[str], None]) -> Record:
    codes = sorted(found)  # before, now
    stages = {code: [by_stage(record) for record in found[code].values()] for code in codes}
    names = list(stages["now"][0])
    frames = sum(_frames(record) for record in found["now"].values())
    say(f"{frames} frames of {len(found['now'])} people, landmarks {landmarks}; CPU seconds a frame")
    say(
        f"{'stage':<12}"
        + "".join(f"{code:>10}" for code in codes)
        + ("  now / before" if found.get("before") else "")
    )
    rows: list[Record] = []
    for name in [*names, "all"]:
        each = {
            code: np.array([sum(s.values()) if name == "all" else s.get(name, np.nan) for s in stages[code]])
            for code in codes
        }
        row: Record = {"stage": name, **{code: float(each[code].mean()) for code in codes}}
        line = f"{name:<12}" + "".join(f"{row[code]:10.2f}" for code in codes)
        if "before" in each:
            ratio = each["now"] / each["before"]
            row |= {"ratio": float(ratio.mean()), "ratios": ratio.tolist()}
            line += f"{ratio.mean():9.2f}  ({ratio.min():.2f} to {ratio.max():.2f})"
        say(line)
        rows.append(row)
    more: Record = {}
    for code in codes:
        records = list(found[code].values())
        hours = rows[-1][code] * NIGHT_FRAMES / CORES / 3600
        peak = max(record["peak_mb"] for record in records)
        start = float(np.median([record["start_s"] for record in records]))
        once = float(np.median([record.get("template_s", np.nan) for record in records]))
        worker = float(np.mean([once_a_worker(record) for record in records]))
        other = rows[-1][code] - float(np.mean([once_a_worker(r) / _frames(r) for r in records]))
        more[code] = {
            "night_hours": hours, "peak_mb": peak, "start_s": start, "template_s": once,
            "once_a_worker_s": worker, "frame_of_next_person_s": other,
        }  # fmt: skip
        say(
            f"{code}: {NIGHT_FRAMES:,} frames on {CORES} cores take {hours:.1f} hours; a worker {peak:.0f} MB at most; "
            f"importing {start:.1f} s a worker, the template {once:.1f} s once"
        )
        say(
            f"{code}: {worker:.1f} of the seconds are a worker's first neutral alone; of its next people a frame takes "
            f"{other:.2f}"
        )
    return {"frames": frames, "landmarks": landmarks, "stages": rows, "codes": more}
