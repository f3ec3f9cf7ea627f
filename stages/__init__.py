"""The stages, in the order in which a capture passes through them: the one list there is of them.

A stage is a line in `FLOW` and the room of that name beside this file.  Its command, its make target, its section of
the settings, its place in status, report and release follow from these.  The rooms are imported when `STAGES` is first
asked for: `mimicme --help` does not need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimicme.pipeline.stage import Stage

    STAGES: tuple[Stage, ...]

FLOW = {
    "ingest": "Read and check the captures, clean the scans, name units and axes.",
    "landmarks": "68 points on every scan, from the files beside it or found on it.",
    "align": "Bring every scan into the template's frame (rigid).",
    "register": "Fit the template to every scan.",
    "repass": "Fit once more, from what all faces taught (off by default).",
    "refine": "Photometric refinement by optical flow: move vertices along the surface until textures agree.",
    "bake": "Bring each scan's texture into the template's UV layout.",
    "project": "Put the template's landmarks onto the scans.",
    "intensity": "How far each expression has gone, and where it begins, peaks and ends.",
    "pack": "Write the release.",
}
"""What each stage does, in one sentence, by its name."""


def __getattr__(name: str) -> Any:
    if name != "STAGES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mimicme.pipeline.stage import in_order

    rooms = {stage: import_module(f"{__name__}.{stage}") for stage in FLOW}
    without = [stage for stage, room in rooms.items() if not hasattr(room, "STAGE")]
    if without:  # no AttributeError: importers would take it for a missing STAGES
        raise ValueError(f"the rooms of {without} in stages/ have no STAGE")
    stages = in_order(room.STAGE for room in rooms.values())
    named = {listed: stage.name for listed, stage in zip(FLOW, stages, strict=True) if listed != stage.name}
    if named:
        raise ValueError(f"the rooms of stages {list(named)} call themselves {list(named.values())}")
    globals()["STAGES"] = stages
    return stages
