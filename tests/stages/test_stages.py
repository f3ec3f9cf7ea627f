"""The list of stages: what depends on it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mimicme.pipeline.checkpoint import fingerprint
from mimicme.pipeline.config import settings_record
from mimicme.pipeline.stage import in_order
from mimicme.stages import FLOW, STAGES

KNOWN = {
    "ingest": (13, "88e0ee4d75c7"),
    "landmarks": (22, "79e39d1a7758"),
    "align": (7, "327af77b6cf4"),
    "register": (24, "7c17c31e5cf2"),
    "repass": (10, "6603216eecb2"),
    "refine": (16, "8d048b5e67cb"),
    "bake": (17, "59a0344b02f2"),
    "project": (6, "ae2bf8fc29b4"),
    "intensity": (1, "8324f2912502"),
    "pack": (11, "43ab69c265f2"),
}  # fmt: skip
"""Version, and fingerprint of the default settings, of each stage.  Where one changes, every lab's workspaces are made
anew from that stage on: raise the version, and write down here that it was meant."""


def test_what_makes_a_checkpoint_changes_on_purpose_only() -> None:
    now = {s.name: (s.version, fingerprint(settings_record(s.settings()))[:12]) for s in STAGES}
    lines = [f'"{name}": {what},' for name, what in now.items() if KNOWN.get(name) != what]
    assert now == KNOWN, f"if that is meant, or the stage is new, write into KNOWN: {lines}"


def test_the_list_is_the_flow() -> None:
    assert [stage.name for stage in STAGES] == list(FLOW)
    assert STAGES[-1].scope == "everything"
    assert STAGES[-1].needs == tuple(FLOW)[:-1]


def test_needs_are_in_order_of_the_flow() -> None:
    by_name = {stage.name: stage for stage in STAGES}
    turned = replace(by_name["align"], needs=tuple(reversed(by_name["align"].needs)))
    flow = in_order([by_name["ingest"], by_name["landmarks"], turned])
    assert flow[-1].needs == ("ingest", "landmarks")


def test_stages_out_of_order_are_refused() -> None:
    first, second = STAGES[:2]
    with pytest.raises(
        ValueError, match="'landmarks' needs .'ingest'., of what comes before it there is only"
    ):
        in_order([second, first])
    with pytest.raises(ValueError, match="'ingest' stands twice"):
        in_order([first, first])
