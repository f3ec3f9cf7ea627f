"""intensity: how far each frame of an expression has gone, and where it begins, peaks and ends.

Reads   align: neutral_cost; register, repass, refine: vertices; the template; of the subject's neutral: at_rest.
Writes  at_rest (k, 3) f4, canonical frame, mm, in the neutral's checkpoint: k vertices of the face's core at rest;
        quality/amount (F,) f4: 0 at the subject's neutral, 1 at the sequence's apex; quality/motion (F,) f4, mm: root
        mean square distance to the face at rest; attributes apex, onset and offset: frame numbers.
Fails   nothing: a frame that earlier stages rejected stays so.

A sequence's frames are points on a curve that leaves the neutral and comes back.  Its main direction, the first
principal component of its own motion, tells the frames apart along it; what a frame has off this direction, noise or
another face's shape, does not count.  The amount is the share of the way from the neutral to the farthest frame
(Cohn and Schmidt 2004 take onset, apex and offset from such curves).  A sequence that is labelled neutral has no apex:
its amounts are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.expressions import NEUTRAL
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import Template, TemplateKey
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.stages.align.checkpoint import AlignCheckpoint
from mimicme.stages.intensity.checkpoint import IntensityCheckpoint, IntensityWriter, Phases
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

SAMPLES = 3000
REST_FRAMES, NEARLY_CALMEST = 9, 1.25
OWN_MOTION = 0.2
"""Share of the squared distances to rest that a sequence's own motion must have for its direction to be told by it; a
sequence of apexes alone moves less, and goes by its distance to rest."""


@dataclass(frozen=True)
class IntensitySettings:
    """Settings of the intensity stage.

    Attributes:
        onset: amount from which on, and down to which, an expression is there (share, of the apex).
    """

    onset: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.onset < 1:
            raise ConfigError("intensity.onset is a share of the apex", seen=self.onset, expected="0 to 1")


def amounts(shapes: Floats, rest: Floats, areas: Floats) -> tuple[Floats, Floats]:
    """How far each frame has gone: (F,) from 0, the face at rest, to 1, the farthest frame; and (F,) mm, the root mean
    square distance to rest.

    Args:
        shapes: (F, k, 3) mm; rest: (k, 3); areas: (k,) weights.
    """
    weight = np.sqrt(areas / areas.sum())[:, None]
    away = ((shapes - rest) * weight).reshape(len(shapes), -1)
    motion = np.linalg.norm(away, axis=1)
    own = away - away.mean(axis=0)
    told_by = own if (own**2).sum() > OWN_MOTION * (away**2).sum() else away
    values, modes = np.linalg.eigh(told_by @ told_by.T)
    direction = told_by.T @ modes[:, -1] / np.sqrt(max(values[-1], 1e-300))
    along = away @ direction
    if along[np.abs(along).argmax()] < 0:
        along = -along
    return np.clip(along / max(float(along.max()), 1e-300), 0.0, 1.0), motion


def phases(amount: Floats, numbers: NDArray[np.int64], onset: float) -> Phases:
    """Frame numbers (F,) of the apex, of the last frame below `onset` before it, and of the first one after it; the
    first and the last frame where there is none.

    Args:
        amount: (F,), not empty.
    """
    apex = int(np.argmax(amount))
    below = np.flatnonzero(amount < onset)
    before, after = below[below < apex], below[below > apex]
    first = int(before[-1]) if len(before) else 0
    last = int(after[0]) if len(after) else len(amount) - 1
    return Phases(int(numbers[first]), int(numbers[apex]), int(numbers[last]))


@lru_cache(maxsize=2)
def _core(key: TemplateKey) -> tuple[NDArray[np.int64], Floats]:
    """What no frame changes, once per worker."""
    return core_of(key.template)


def core_of(template: Template) -> tuple[NDArray[np.int64], Floats]:
    """At most `SAMPLES` vertices (k,) of the face's core, evenly by index, and their areas (k,) mm^2."""
    areas = vertex_areas(template.vertices, template.faces)
    core = FaceCore.of(template.vertices, template.faces, areas, template.landmarks())
    index = np.flatnonzero(core.areas)
    index = index[:: max(1, -(-len(index) // SAMPLES))]
    return index.astype(np.int64), core.areas[index]


def compute(task: Task[IntensitySettings], out: CheckpointWriter) -> None:
    """The stage: see the module."""
    index, areas = _core(TemplateKey(task.load_template()))
    with RegisteredCheckpoint.latest(task.inputs) as registered, task.input(AlignCheckpoint) as align:
        rows = out.continue_from(registered)
        writer = IntensityWriter(out)
        if not rows:
            return
        shapes = np.stack([registered.vertices(row)[index] for row in rows]).astype(np.float64)
        rest = None if task.neutral is None else IntensityCheckpoint.rest_of(task.neutral)
        if rest is None:
            cost = np.array([align.neutral_cost(row) for row in rows])
            calm = np.flatnonzero(cost <= NEARLY_CALMEST * np.nanmin(cost))
            calm = calm[np.argsort(cost[calm], kind="stable")][:REST_FRAMES]
            rest = np.median(shapes[np.sort(calm)], axis=0)
            writer.rest(rest)
        amount, motion = amounts(shapes, rest, areas)
        if task.sequence.expression == NEUTRAL:
            amount = np.zeros(len(rows))
        else:
            writer.phases(phases(amount, registered.numbers[rows], task.settings.onset))
        for row, share, mm in zip(rows, amount, motion, strict=True):
            writer.frame(row, float(share), float(mm))


STAGE = Stage(
    name="intensity",
    version=1,
    settings=IntensitySettings,
    needs=("align", "register", "repass", "refine"),
    compute=compute,
    uses_label=True,
    reader=IntensityCheckpoint,
    scope="neutral",
    memory="0.3 GB a worker: the template and 36 kB a frame.",
)
