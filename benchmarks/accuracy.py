"""The whole run on captures with truth, next to the figures that were stored of an earlier one.

A change that is a gain on one maker's captures is often a loss on another's, and a step of 2 % is seen by nobody who
looks at one release.  So every figure that `mimicme evaluate` gives is stored (expected.json, with the commit it was
made with), and what moved by more than 5 % is said, in both directions.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import Captures
from measure import measured

from mimicme.commands.evaluate import MEASURES, evaluate, read_truth
from mimicme.pipeline.errors import InputError, UsageError

EXPECTED = Path(__file__).with_name("expected.json")
MOVED = 0.05
"""Relative change that is told."""
SAME_PEOPLE_MM = 0.05
"""Other captures under the same name are no comparison: the mean true vertex may be off by so much."""
LANDMARKS = ("given", "found")
TAKEN_AWAY = {"found": ("*.ljson",), "bare": ("*.ljson", "*.mtl", "*.jpg", "*.png")}
AT_MOST_S = 6 * 3600.0

Record = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One figure then and now; `relative` is the change as a share of what it was."""

    name: str
    before: float
    now: float

    @property
    def relative(self) -> float:
        if self.before == self.now:
            return 0.0
        if not (math.isfinite(self.before) and math.isfinite(self.now)):
            return math.inf
        return (self.now - self.before) / abs(self.before) if self.before else float("inf")

    @property
    def worse(self) -> bool:
        """All figures are better when smaller, but `amplitude`, which is best at 1."""
        if not math.isfinite(self.now):
            return True
        if self.name.endswith("amplitude"):
            return abs(self.now - 1) > abs(self.before - 1)
        return self.now > self.before


def run(
    captures: Captures,
    name: str,
    landmarks: str,
    jobs: int | None,
    store: bool,
    work: Path,
    say: Callable[[str], None],
) -> Record:
    """Run, evaluate, compare; the record to save.

    Args:
        name: under which the figures are stored; the same people every time, which is checked.
        landmarks: `given` (files beside the frames) or `found` (they are taken away first).
        jobs: of `mimicme run`; None: its own choice.
        store: write the figures down as those to expect from now on.

    Raises:
        UsageError: the captures are of other people than those stored under this name.
    """
    key = f"{name}, landmarks {landmarks}"
    stored = json.loads(EXPECTED.read_text(encoding="utf-8"))
    expected = stored.get(key)
    who = people(captures)
    if expected and not store and not same_people(who, expected["people"]):
        raise UsageError(
            f"these captures are of other people than those stored as '{name}'",
            where=captures.folder,
            seen=str(who),
            expected=str(expected["people"]),
            todo="Name them otherwise (--name), or store their figures anew (--store).",
        )
    cost, release = whole_run(captures, landmarks, jobs, work / f"accuracy-{name}-{landmarks}", say)
    now = figures(evaluate(release, captures.folder))
    record: Record = {
        "captures": key, "commit": commit(), "people": who, "figures": now,
        "cpu_s_per_frame": cost.cpu_s / max(who["frames"], 1), "wall_s": cost.wall_s, "peak_mb": cost.peak_mb,
    }  # fmt: skip
    if expected is None:
        say(f"No figures are stored of '{key}': --store writes these down.")
        say("\n".join(f"  {figure:<28}{value:9.3f}" for figure, value in now.items()))
    else:
        changes = compared(expected["figures"], now)
        say(table(key, expected["commit"], changes, set(expected["figures"]), set(now)))
        record["moved"] = [change.name for change in changes if abs(change.relative) > MOVED]
    say(f"  {record['cpu_s_per_frame']:.2f} CPU s a frame, {cost.peak_mb:.0f} MB in the largest process")
    if store and not all(map(math.isfinite, now.values())):
        raise InputError("a figure is no number, so none is stored", where=release, seen=str(now))
    if store:
        stored[key] = {"commit": record["commit"], "people": who, "figures": now}
        EXPECTED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        say(f"  stored in {EXPECTED.name}")
    return record


def whole_run(
    captures: Captures, landmarks: str, jobs: int | None, workspace: Path, say: Callable[[str], None]
) -> tuple[Any, Path]:
    """`mimicme init` and `mimicme run` from nothing; what it cost, and the release.

    Args:
        landmarks: as of `run`; or `bare`, found, and the images are taken away too.
    """
    shutil.rmtree(workspace, ignore_errors=True)
    raw = captures.folder / "captures"
    if landmarks in TAKEN_AWAY:
        copied = workspace.with_name(f"{workspace.name}-captures")
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(raw, copied, ignore=shutil.ignore_patterns(*TAKEN_AWAY[landmarks]))
        raw = copied
    template = next(
        p for p in sorted((captures.folder / "template").glob("template.*")) if p.suffix != ".ljson"
    )
    program = Path(sys.executable).with_name("mimicme")
    init = [program, "init", workspace, "--captures", raw, "--layout", "{subject}/{sequence}/{frame}.obj"]
    begun = measured(
        [*init, "--template", template, "--metadata", captures.folder / "subjects.csv"], AT_MOST_S
    )
    if begun.status != 0:
        raise InputError(f"`mimicme init` failed: {begun.output.strip()}", where=captures.folder)
    say(f"running {sum(map(captures.frames, captures.sequences))} frames")
    at_once = [] if jobs is None else ["--jobs", str(jobs)]
    cost = measured([program, "run", workspace, *at_once], AT_MOST_S)
    release = workspace / "release.h5"
    if cost.status not in (0, 1) or not release.is_file():
        raise InputError(f"`mimicme run` failed: {cost.output.strip()[-2000:]}", where=workspace)
    return cost, release


def figures(evaluated: Mapping[str, Any]) -> dict[str, float]:
    """All that `evaluate` gives, by `group.measure`: of `neutral`, `expressions`, `apex`, `all`; and `corr` and
    `feature` of each expression, which are means over the people.
    """
    sequences = evaluated["sequences"]
    neutrals = [s for name, s in sequences.items() if name.rpartition("/")[2].startswith("neutral")]
    groups: dict[str, Mapping[str, float]] = {
        "neutral": {
            measure: float(np.mean([s[measure] for s in neutrals]))
            for measure in MEASURES
            if neutrals and all(measure in s for s in neutrals)
        },
        **{group: evaluated.get(group, {}) for group in ("expressions", "apex", "all")},
    }
    found = {"rejected": float(len(evaluated["rejected"])), "missing": float(len(evaluated["missing"]))}
    found |= {f"{group}.{measure}": value for group, of in groups.items() for measure, value in of.items()}
    found |= {
        f"{name}.{measure}": sequence[measure]
        for name, sequence in sequences.items()
        for measure in ("corr", "feature")
        if measure in sequence
    }
    return {name: round(value, 5) for name, value in found.items()}


def compared(before: Mapping[str, float], now: Mapping[str, float]) -> list[Change]:
    """Of the figures that both have, worst change first."""
    changes = [Change(name, before[name], now[name]) for name in before if name in now]
    return sorted(changes, key=lambda change: abs(change.relative) * (-1 if change.worse else 1))


def table(key: str, since: str, changes: list[Change], then: set[str], now: set[str]) -> str:
    """For people: what moved, and which figures only one of the two has: a measure may be newer than what is stored."""
    moved = [change for change in changes if abs(change.relative) > MOVED]
    lines = [f"  {key}: {len(moved)} of {len(changes)} figures moved by more than {MOVED:.0%} since {since}"]
    for change in moved:
        said = "worse" if change.worse else "better"
        lines.append(
            f"  {change.name:<28}{change.before:9.3f} ->{change.now:9.3f}  {change.relative:+8.1%}  {said}"
        )
    for when, names in (("then only", then - now), ("now only, not compared", now - then)):
        if names:
            lines.append(f"  {when}: {', '.join(sorted(names))}")
    return "\n".join(lines)


def people(captures: Captures) -> Record:
    """What tells these captures from others: how many, and where the true faces lie on average, mm."""
    truths = [read_truth(captures.folder / "truth" / f"{name}.npz") for name in captures.sequences]
    mean = np.mean([truth.vertices.mean(axis=(0, 1)) for truth in truths], axis=0)
    return {
        "sequences": len(truths),
        "frames": sum(len(truth) for truth in truths),
        "vertices": truths[0].vertices.shape[1],
        "mean_mm": [round(float(x), 3) for x in mean],
    }


def same_people(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two answers of `people` are of the same captures, made with other versions of numpy perhaps."""
    counted = all(one[name] == other[name] for name in ("sequences", "frames", "vertices"))
    return counted and bool(np.allclose(one["mean_mm"], other["mean_mm"], atol=SAME_PEOPLE_MM))


def commit() -> str:
    """The commit of this checkout, with a + when files differ from it; `unknown` outside of git."""
    git = ["git", "-C", str(EXPECTED.parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
