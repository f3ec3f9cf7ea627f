"""The stages, in the order in which a capture passes through them.

    ingest     read, check, clean, name units and axes
    landmarks  68 points on every scan
    align      scan -> canonical frame, rigid
    register   template -> scan
    repass     the same again, from what all faces taught
    refine     vertices slid until the texture stands still
    bake       scan texture -> template UV
    project    template landmarks -> scan surface and UV
    pack       one release

`STAGES` holds them.  They are imported when it is first asked for: `mimicme --help` does not need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimicme.pipeline.stage import Stage

    STAGES: tuple[Stage, ...]

NAMES = ("ingest", "landmarks", "align", "register", "repass", "refine", "bake", "project", "pack")


def __getattr__(name: str) -> Any:
    if name != "STAGES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mimicme.pipeline.stage import in_order

    stages = in_order(import_module(f"{__name__}.{stage}").STAGE for stage in NAMES)
    globals()["STAGES"] = stages
    return stages
