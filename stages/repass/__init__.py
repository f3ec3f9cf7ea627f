"""repass: registration once more, begun from an expression prior learnt of all faces.

Reads   ingest, landmarks, align, register of the sequence; register of all sequences of the workspace.
Writes  vertices (F, V, 3) f4 canonical frame, mm; pose (F, 4, 4) f8 canonical -> scan; skin_seen, quality/* as
        register.
        None of them while it is switched off, for a sequence that has its own neutral, and when there is no
        other subject to learn from: what is registered holds then.
Fails   never: a frame whose second result is not as good as its first keeps the first.

The displacements from each subject's own neutral, of all subjects but those of its own fold (`prior.fold_of`), span a
space of expressions (register/prior.py).  Its prediction from a frame's first result is the shape that
stiffness now holds the frame to (register/second_pass.py); the last steps follow the scan alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.items import Item
from mimicme.pipeline.stage import Stage, Task
from mimicme.stages.register import template_levels
from mimicme.stages.register.checkpoint import RegisteredCheckpoint, RegisteredWriter
from mimicme.stages.register.settings import RegisterSettings
from mimicme.stages.repass.checkpoint import RepassCheckpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter
    from mimicme.pipeline.corpus import Corpus
    from mimicme.stages.register.frame import Registered
    from mimicme.stages.register.levels import Levels
    from mimicme.stages.register.prior import ExpressionPrior

MAX_SHAPES = 1500
"""Shapes that are learnt from at most; 60 kB each for 2,500 vertices of the coarse level."""


@dataclass(frozen=True)
class RepassSettings:
    """Settings of the second pass.

    Attributes:
        enabled: whether frames are fitted a second time, with a prior of expressions learnt from the other subjects;
            without it vertices stay as registered, and no sequence waits for the others.
        frames: number of frames of each sequence that the expressions are learnt from, evenly spaced in it.
    """

    enabled: bool = False
    frames: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= 1000:
            raise ConfigError(
                "a setting is out of range", where="repass.frames", seen=self.frames, expected="1 to 1000"
            )


def neutrals(paths: Mapping[Item, Path]) -> dict[Item, Floats]:
    """The neutral (V, 3) that each sequence was registered from; without those that found one of their own."""
    of_subject: dict[str, Floats] = {}
    personal: list[Item] = []
    for item, path in sorted(paths.items()):
        with RegisteredCheckpoint(path) as register:
            if register.personal:
                personal.append(item)
            elif (neutral := register.neutral) is not None:
                of_subject[item.subject] = neutral
    return {item: of_subject[item.subject] for item in personal if item.subject in of_subject}


def training_displacements(
    paths: Mapping[Item, Path], index: NDArray[np.int64], frames: int
) -> tuple[list[str], Floats]:
    """The training set: the subject of each shape, and its displacement (m, n, 3), mm, on vertices `index` (n,)."""
    chosen: list[tuple[Item, int]] = []
    rest = neutrals(paths)
    for item in sorted(rest):
        with RegisteredCheckpoint(paths[item]) as register:
            good = register.ok_rows
        places = np.linspace(0, len(good) - 1, min(frames, len(good))).round().astype(int)
        chosen += [(item, good[place]) for place in places]
    if len(chosen) > MAX_SHAPES:
        chosen = [chosen[k] for k in np.linspace(0, len(chosen) - 1, MAX_SHAPES).round().astype(int)]
    shapes = np.zeros((len(chosen), len(index), 3))
    for place, (item, row) in enumerate(chosen):
        with RegisteredCheckpoint(paths[item]) as register:
            shapes[place] = (register.vertices(row) - rest[item])[index]
    return [item.subject for item, _ in chosen], shapes


@lru_cache(maxsize=1)
def _priors(corpus: Corpus, levels: _Hashed, frames: int) -> dict[str, ExpressionPrior]:
    """The prior of each subject, learnt from the other folds.  Once per worker, however many items it works."""
    from mimicme.stages.register.prior import fold_of, learn

    coarse = levels.levels.coarse
    subjects, shapes = training_displacements(_registered(corpus.inputs), coarse.index, frames)
    fold = fold_of(corpus.by_subject)
    own = np.array([fold[subject] for subject in subjects], int)
    of_fold = {k: learn(shapes[own != k], coarse.areas) for k in sorted(set(fold.values()))}
    return {subject: of_fold[k] for subject, k in fold.items()}


def _registered(inputs: Mapping[Item, Mapping[str, Path]]) -> dict[Item, Path]:
    return {item: paths[RegisteredCheckpoint.stage] for item, paths in inputs.items()}


class _Hashed:
    """Levels as part of a key; equal when they are the same object."""

    def __init__(self, levels: Levels) -> None:
        self.levels = levels

    def __hash__(self) -> int:
        return id(self.levels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and other.levels is self.levels


def register_settings(register: RegisteredCheckpoint) -> RegisterSettings:
    """The settings that a checkpoint of `register` was made with."""
    known = {f.name for f in fields(RegisterSettings)}
    record = register.made_by.get("settings", {})
    return RegisterSettings(**{name: value for name, value in record.items() if name in known})


def first_result(register: RegisteredCheckpoint, row: int) -> Registered:
    """One frame as registered."""
    from mimicme.stages.register.frame import Registered
    from mimicme.stages.register.quality import LandmarkChecks

    quality = register.measured(row)
    return Registered(
        int(register.numbers[row]),
        register.vertices(row),
        register.pose(row),
        quality,
        LandmarkChecks.of(quality),
        register.skin(row),
    )


def compute(task: Task[RepassSettings], out: CheckpointWriter) -> None:
    """Register every frame of one sequence once more."""
    from mimicme.pipeline.template import TemplateKey

    with task.input(RegisteredCheckpoint) as register:
        rows = out.continue_from(register)
        corpus = task.load_corpus()
        if corpus is None or not register.personal:
            return
        first = register_settings(register)
        template = task.load_template()
        levels = template_levels(TemplateKey(template), first.coarse_vertices, first.membrane)
        item = task.sequence.item
        neutral = neutrals(_registered(corpus.by_subject[item.subject])).get(item)
        if neutral is None:
            return
        prior = _priors(corpus, _Hashed(levels), task.settings.frames)[item.subject]
        if len(prior.modes):
            _second_pass(task, register, rows, out, levels, neutral, prior)


def _second_pass(
    task: Task[RepassSettings],
    register: RegisteredCheckpoint,
    rows: list[int],
    out: CheckpointWriter,
    levels: Levels,
    neutral: Floats,
    prior: ExpressionPrior,
) -> None:
    """Write the second results of one sequence."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.errors import FrameRejected
    from mimicme.stages.register.frame import Frame
    from mimicme.stages.register.frames import open_frames
    from mimicme.stages.register.smoothing import smooth_sequence
    from mimicme.stages.register.track import SequenceTracker

    settings = register_settings(register)
    tracker = SequenceTracker(task.load_template(), levels, settings, neutral, register.detector_offset)
    with open_frames(task) as frames:

        def load(row: int) -> Frame:
            return frames.load(row, register.pose(row))

        found: dict[int, Registered] = {}
        for row in rows:
            before = first_result(register, row)
            try:
                with frame_numerics():
                    found[row] = tracker.second_pass(load(row), before, prior).compact()
            except FrameRejected:
                found[row] = before.compact()
        if settings.smooth_in_time:
            found |= smooth_sequence(tracker, found, load)
    writer = RegisteredWriter(out, len(levels.fine.index))
    writer.begin_figures()
    for row, result in sorted(found.items()):
        writer.frame(row, result.vertices, result.pose, result.skin)
        writer.measured(row, result.quality)


STAGE = Stage(
    name="repass",
    version=10,
    settings=RepassSettings,
    needs=("ingest", "landmarks", "align", "register"),
    compute=compute,
    reader=RepassCheckpoint,
    shapes=True,
    scope="corpus",
    memory="0.6 GB for a template of 10,000 vertices, 1.3 GB for 50,000; and 36 bytes a vertex and frame",
)
