"""Run in mimicme's environment, in a process of its own: one method on one problem.

    python own_worker.py cold|tracked|rigid|spline TEMPLATE.h5 PROBLEM.npz RESULT.npz

TEMPLATE.h5: a prepared template.  PROBLEM.npz: as for peer_worker.py, and confidence (68,); and for `tracked` the
frames before: scan_0, scan_faces_0, landmarks_0, confidence_0, sequence_0, number_0 and so on, the last one being the
problem itself.  RESULT.npz: vertices (V, 3); cpu_s of the frame; prepare_s of what is made once per worker.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.template import Template, load_prepared
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.levels import Levels, build_levels
from mimicme.stages.register.settings import RegisterSettings
from mimicme.stages.register.spline import landmark_spline
from mimicme.stages.register.track import SequenceTracker

REPEATS = 3
Result = tuple[Floats, float]


def frame_of(problem: dict[str, Any], suffix: str = "") -> Frame:
    """A stored frame; it is in the template's frame already."""
    return Frame(
        int(problem[f"number{suffix}"]),
        problem[f"scan{suffix}"],
        problem[f"scan_faces{suffix}"],
        problem[f"landmarks{suffix}"],
        problem[f"confidence{suffix}"],
        np.eye(4),
    )


def cold(template: Template, levels: Levels, problem: dict[str, Any]) -> Result:
    """A frame of which nothing is known but its landmarks; the median of some runs, each with a new tracker."""
    frame, seconds = frame_of(problem), []
    for _ in range(REPEATS):
        tracker = SequenceTracker(template, levels, RegisterSettings(), None)
        began = time.process_time()
        found = tracker.register(frame)
        seconds.append(time.process_time() - began)
    return transform(found.pose, np.asarray(found.vertices, np.float64)), float(np.median(seconds))


def tracked(template: Template, levels: Levels, problem: dict[str, Any]) -> Result:
    """The same frame at its place in a sequence, after the person's neutral."""
    neutral, tracker, sequence, seconds = None, None, -1, 0.0
    for k in range(int(problem["frames"])):
        frame = frame_of(problem, f"_{k}")
        if tracker is None or int(problem[f"sequence_{k}"]) != sequence:
            tracker = SequenceTracker(template, levels, RegisterSettings(), neutral)
            sequence = int(problem[f"sequence_{k}"])
        began = time.process_time()
        found = tracker.register(frame)
        seconds = time.process_time() - began
        neutral = tracker.neutral
    return transform(found.pose, np.asarray(found.vertices, np.float64)), seconds


def rigid(template: Template, levels: Levels, problem: dict[str, Any]) -> Result:
    """The template where align has put it."""
    return template.vertices, 0.0


def spline(template: Template, levels: Levels, problem: dict[str, Any]) -> Result:
    """The landmark warp alone."""
    known = np.isfinite(problem["landmarks"]).all(axis=1)
    began = time.process_time()
    source = template.landmarks()[known]
    move = landmark_spline(source, problem["landmarks"][known], template.vertices, 2.0)
    return template.vertices + move, time.process_time() - began


if __name__ == "__main__":
    method, prepared, source, result = sys.argv[1:]
    with np.load(source) as stored:
        given = {name: stored[name] for name in stored.files}
    face = load_prepared(Path(prepared))
    settings = RegisterSettings()
    started = time.process_time()
    made = build_levels(face, settings.coarse_vertices, settings.membrane)
    prepare_s = time.process_time() - started
    vertices, cpu_s = {"cold": cold, "tracked": tracked, "rigid": rigid, "spline": spline}[method](
        face, made, given
    )
    np.savez(result, vertices=vertices, cpu_s=cpu_s, prepare_s=prepare_s)
