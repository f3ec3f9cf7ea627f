"""Heads before a noisy depth camera: does a still one stay still, and does a smile keep its amplitude?

The people are those of `synth --maker people`, which only judges.  What the acceptance of a sequence needs is measured
on the release: the registered faces of one rigid head, each laid on their mean by its core, and its poses.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.commands.evaluate import evaluate, read_truth
from mimicme.commands.synth import synthesise
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.release import Release
from mimicme.stages.refine.checkpoint import DRIFT

STILL, MOVING = "rigid", "depth_smile"
MOUTH_CORNERS = (48, 54)
"""iBUG-68."""


def run(people: int, frames: int, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Make, register and measure them; the record to save."""
    folder = work / f"still-{people}-{frames}"
    say(f"  {people} people, {frames} frames each of {STILL} and {MOVING}")
    synthesise(folder / "made", people, ("neutral", STILL, MOVING), frames, 40, maker="people")
    release = registered(folder)
    moving = evaluate(release, folder / "made")["sequences"][MOVING]
    with Release(release) as opened:
        still = {
            subject: still_measures(opened, subject, folder / "made" / "truth" / subject / f"{STILL}.npz")
            for subject in sorted(opened.subjects)
        }
    tell(STILL, still, say)
    say(
        f"  {MOVING:<12} "
        + ", ".join(f"{name} {moving[name]:.3f}" for name in ("corr", "jitter", "amplitude"))
    )
    return {"frames": frames, "still": still, "moving": moving}


def tell(what: str, records: dict[str, dict[str, float]], say: Callable[[str], None]) -> None:
    """A table of figures, a line a subject."""
    names = list(next(iter(records.values())))
    say("  " + what.ljust(12) + "".join(f"{name:>13}" for name in names))
    for subject, record in records.items():
        say("  " + subject.ljust(12) + "".join(f"{record[name]:13.3f}" for name in names))


def registered(folder: Path, template: Path | None = None) -> Path:
    """The release of what was made, through the command line; with the embedded template by default."""
    program, work = Path(sys.executable).with_name("mimicme"), folder / "ws"
    shutil.rmtree(work, ignore_errors=True)
    made = folder / "made"
    chosen = () if template is None else ("--template", template)
    for words in (
        ("init", work, "--captures", made / "captures", "--metadata", made / "subjects.csv", *chosen),
        ("run", work),
    ):
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise InputError(f"`mimicme {words[0]}` failed: {done.stderr.strip()[-500:]}", where=folder)
    return work / "release.h5"


def still_measures(release: Release, subject: str, truth: Path) -> dict[str, float]:
    """What moves of a head that does not: mm, degrees, texels at 1024; `ok` is the share of its frames."""
    known = read_truth(truth)
    rows = [r for r in release.sequence(subject, STILL).rows if release.frame(r, images=False).ok]
    frames = [release.frame(r, images=False) for r in rows]
    shapes = np.stack([np.asarray(f.vertices, np.float64) for f in frames])
    mean, core = shapes.mean(axis=0), np.flatnonzero(known.core)
    laid = np.stack([transform(fit_rigid(s[core], mean[core], np.ones(len(core))), s) for s in shapes])
    off = (laid - laid.mean(axis=0))[:, core]
    marks = np.stack([release.template.landmarks(s) for s in shapes])
    mouth = np.linalg.norm(marks[:, MOUTH_CORNERS[0]] - marks[:, MOUTH_CORNERS[1]], axis=1)
    home = np.stack([inverse(known.head_pose[f.number]) @ f.pose for f in frames])
    return {
        "ok": len(frames) / len(known),
        "motion_rms": float(np.sqrt((off**2).sum(axis=2).mean())),
        "mouth_width": float(np.ptp(mouth)),
        "pose_mean": float(_turns(home).mean()),
        "pose_max": float(_turns(home).max()),
        "drift_texels": float(np.nanmean([f.quality[DRIFT] for f in frames])),
    }


def _turns(poses: Floats) -> Floats:
    """(F,) degrees between poses (F, 4, 4) and their mean."""
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(poses[:, :3, :3])
    return np.asarray(np.degrees((turns.mean().inv() * turns).magnitude()))
