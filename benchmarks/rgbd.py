"""Recordings of a depth camera through the whole run, from `rgbd.toml` to the release.

A turned and a smiling head with 1 mm of correlated noise: how far the registered face is from the TRUE surface, and how
much of the smile is left; and a head that is still with 0.5 mm, as in `still`.  The smile is measured before the camera
and, harder, on the turned head, which smiles too: 0.9 of it is asked of the first, and what is left of the second is
said beside.  The people are those of `synth --maker people`, which only judges.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import still

from mimicme.commands.evaluate import Truth, evaluate, read_truth
from mimicme.commands.synth import synthesise
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.release import Release

TURNED, SMILE = "turned", "depth_smile"
SAID = {TURNED: "turned, smiling", SMILE: "smile"}
NOISE_MM, STILL_NOISE_MM = 1.0, 0.5
SEED = 40


def run(
    people: int, frames: int, still_frames: int, work: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Make, register and measure recordings; the record to save."""
    folder = work / f"rgbd-{people}-{frames}"
    say(f"  {people} people, {frames} frames each of {TURNED} and {SMILE}, {NOISE_MM:g} mm of noise")
    made, names = folder / "made", ("neutral", TURNED, SMILE)
    synthesise(made, people, names, frames, SEED, maker="people", rgbd_mm=NOISE_MM)
    release = still.registered(folder)
    moving = evaluate(release, made)["sequences"]
    with Release(release) as opened:
        surface = {
            f"{subject}/{name}": _to_truth(opened, subject, name, made)
            for subject in sorted(opened.subjects)
            for name in names
        }
    still.tell("true surface", surface, say)
    for name in names[1:]:
        measures = ("corr", "jitter", "amplitude", "pose_deg")
        say(
            f"  {SAID[name]:<16} "
            + ", ".join(f"{m} {moving[name][m]:.3f}" for m in measures if m in moving[name])
        )
    folder = work / f"rgbd-still-{people}-{still_frames}"
    say(f"  {people} people, {still_frames} frames of {still.STILL}, {STILL_NOISE_MM:g} mm of noise")
    made = folder / "made"
    synthesise(
        made, people, ("neutral", still.STILL), still_frames, SEED, maker="people", rgbd_mm=STILL_NOISE_MM
    )
    with Release(still.registered(folder)) as opened:
        rigid = {
            subject: still.still_measures(opened, subject, made / "truth" / subject / f"{still.STILL}.npz")
            for subject in sorted(opened.subjects)
        }
    still.tell(still.STILL, rigid, say)
    return {"frames": frames, "surface": surface, "moving": moving, "still": rigid}


def _to_truth(release: Release, subject: str, name: str, made: Path) -> dict[str, float]:
    """Between the true and the registered face of a sequence, mm; `ok` is the share of its frames."""
    known = read_truth(made / "truth" / subject / f"{name}.npz")
    info = release.sequence(subject, name)
    frames = [f for r in info.rows if (f := release.frame(r, images=False)).ok]
    s2m, m2s = [], []
    for frame in frames:
        found = transform(info.file_from_scan @ frame.pose, np.asarray(frame.vertices, np.float64))
        there, back = _distances(found, release, known, frame.number)
        s2m.append(there)
        m2s.append(back)
    s2m_all, m2s_all = np.concatenate(s2m), np.concatenate(m2s)
    return {
        "ok": len(frames) / len(known),
        "s2m_median": float(np.median(s2m_all)),
        "s2m_p95": float(np.percentile(s2m_all, 95)),
        "m2s_median": float(np.median(m2s_all)),
    }


def _distances(found: Floats, release: Release, known: Truth, frame: int) -> tuple[Floats, Floats]:
    """Of the true face's vertices that were seen to the registered surface, and of the registered ones to the true."""
    faces = release.template.faces
    seen = known.core & known.valid[frame]
    true = known.vertices[frame]
    return Surface(found, faces).distance(true[seen]), Surface(true, faces).distance(found[seen])
