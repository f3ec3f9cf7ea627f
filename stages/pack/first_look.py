"""What is to be packed: a first look at the checkpoints of all sequences, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimicme.pipeline import items
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.release import layout
from mimicme.pipeline.stage import Stage
from mimicme.stages.bake.checkpoint import BakeCheckpoint
from mimicme.stages.pack.inputs import Inputs, PackInput, opened
from mimicme.stages.pack.survey import Look, Memory, signature


@dataclass(frozen=True)
class FirstLook:
    """What a first look at all checkpoints tells.

    Attributes:
        units: of every figure that any stage measured on any sequence: the compound is the same everywhere.
        failed: sequences of which a stage failed, as `S/q: stage`.
        made_of: by item, what it is made of, for fingerprints.
        images: by item, bytes of its images.  frames: by item.
    """

    units: Mapping[str, str]
    failed: tuple[str, ...]
    made_of: Mapping[items.Item, Mapping[str, Any]]
    images: Mapping[items.Item, int]
    frames: Mapping[items.Item, int]


def first_look(
    inputs: Sequence[PackInput], stages: Sequence[Stage], sized: bool, memory: Memory
) -> FirstLook:
    """Look at all checkpoints that are not remembered; at the sizes of all images only if `sized`."""
    units = dict.fromkeys(layout.QUALITY_FIXED, "mm")
    failed: list[str] = []
    made_of: dict[items.Item, Mapping[str, Any]] = {}
    images: dict[items.Item, int] = {}
    frames: dict[items.Item, int] = {}
    for each in inputs:
        sequence, item = each.sequence, each.sequence.item
        look = memory.look(item, each.checkpoints, sized)
        if look is None:
            before = signature(each.checkpoints)
            with opened(each, stages) as found:
                look = _looked_at(found, sized)
            memory.keep(item, each.checkpoints, before, look)
        for name, unit in look.units:
            if units.setdefault(name, unit) != unit:
                raise CheckpointError(
                    f"two stages measure '{name}'",
                    where=item,
                    seen=f"{unit} and {units[name]}",
                    expected="a name of its own for each figure of a release",
                )
        if look.lost:
            failed.append(f"{item}: {look.lost}")
        made_of[item] = {
            "name": sequence.name,
            "expression": sequence.expression,
            "frames": [(f.number, repr(f.time_s)) for f in sequence.frames],
            "fps": repr(sequence.named_fps),
            "review": {str(number): reason for number, reason in sequence.bad.items()},
            "checkpoints": dict(look.fingerprints),
        }
        images[item], frames[item] = max(0, look.image_bytes), look.frames
    return FirstLook(units, tuple(failed), made_of, images, frames)


def _looked_at(found: Inputs, sized: bool) -> Look:
    bake = found.of(BakeCheckpoint)
    names = (*layout.IMAGES, *(bake.codings if bake else ()))
    rows = range(len(found.numbers)) if bake else ()
    return Look(
        tuple((name, unit) for name, _, unit in found.quality()),
        found.lost,
        {name: one.fingerprint for name, one in found.checkpoints.items()},
        len(found.numbers),
        sum(bake.image_size(r, n) for n in names for r in rows if bake and bake.has(r, n)) if sized else -1,
    )
