"""What `status` and a run with nothing to do cost of a whole database, without making it: 94,000 sequences in minutes.

The captures are hard links to one triangle and the checkpoints are empty: what is measured looks at names, times and
sizes alone, because the ledger and what runs wrote down of each person (`run.standing`) say the rest, as they would.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
from measure import measured
from simulation import captures

from mimicme.pipeline.errors import InputError
from mimicme.pipeline.run.checkpoint_index import FigureSummary
from mimicme.pipeline.run.plan import Plan, newest_frame
from mimicme.pipeline.run.settled import Settled, Tally
from mimicme.pipeline.run.standing import SETTLE_S, Standing
from mimicme.pipeline.template import template_source_digest
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES

STATUS_S, STATUS_MB, RUN_S = 2.0, 500.0, 20.0
NOT_DONE = 0.1
"""The share of people of whom nothing is made, in the second table: a run in its last hour."""
Record = dict[str, Any]


def run(sequences: int, work: Path, say: Callable[[str], None]) -> Record:
    """The table against the bounds; the record to save.

    Raises:
        InputError: a command failed, or says something else than is there.
    """
    folder = work / "standing"
    shutil.rmtree(folder, ignore_errors=True)
    say(f"{sequences:,} sequences: the files are made")
    people = captures(folder, sequences)
    time.sleep(SETTLE_S + 0.5)
    workspace = Workspace.create(
        folder / "ws", captures=folder / "captures", unit="mm", up="+y", fps=60.0, stages=STAGES,
        template=folder / "face.obj",
    )  # fmt: skip
    _checkpoints(workspace.root, people)
    _written_down(workspace)
    rows: list[Record] = []
    say(f"{'command':<40}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}")

    def cost(shown: str, expected: str, *command: str) -> None:
        found = measured(
            [Path(sys.executable).parent / "mimicme", *command[:1], workspace.root, *command[1:]],
            compiled=folder / "compiled",
        )
        if found.status or expected not in found.output:
            raise InputError(
                "a command failed, or says something else", where=shown, seen=found.output[-800:]
            )
        rows.append(
            {"command": shown, "cpu_s": found.cpu_s, "wall_s": found.wall_s, "peak_mb": found.peak_mb}
        )
        say(f"{shown:<40}{found.cpu_s:8.2f}{found.wall_s:8.2f}{found.peak_mb:9.0f}")

    # not measured: the first compiles what is imported, the second brings names and times into the system's memory
    measured([Path(sys.executable).parent / "mimicme", "stages"], compiled=folder / "compiled")
    measured(
        [Path(sys.executable).parent / "mimicme", "status", workspace.root], compiled=folder / "compiled"
    )
    cost("status", "told from what the runs wrote down", "status")
    cost("status --every-file", f"{sequences}", "status", "--every-file")
    cost("run --dry-run", f"0 of {sequences:,} would run", "run", "--dry-run")
    cost("run, nothing to do", "release.h5 is current", "run", "--jobs", "1")
    for person in list(people)[: round(NOT_DONE * len(people))]:
        for stage in STAGES:
            shutil.rmtree(workspace.root / stage.name / person, ignore_errors=True)
    cost("status, a tenth of the people to go", "told from what the runs wrote down", "status")
    say(f"bounds: status {STATUS_S:g} s and {STATUS_MB:g} MB, a plan or a run with nothing to do {RUN_S:g} s")
    shutil.rmtree(folder)
    return {"sequences": sequences, "commands": rows}


def _checkpoints(root: Path, people: dict[str, list[str]]) -> None:
    for stage in STAGES:
        if stage.scope != "everything":
            for person, names in people.items():
                (root / stage.name / person).mkdir(parents=True)
                for name in names:
                    (root / stage.name / person / f"{name}.h5").touch()
    with h5py.File(root / "release.h5", "w") as file:
        file.attrs["fingerprint"] = "that of everything"


def _written_down(workspace: Workspace) -> None:
    """As a run would have, in whose checkpoints every frame is ok."""
    source = {
        "declared": workspace.template_source,
        "source": template_source_digest(workspace.template_source),
        "digest": "that of the template",
    }
    workspace.template.parent.mkdir()
    workspace.template.touch()
    write_whole(workspace.template.with_name("source.json"), json.dumps(source))
    plan = Plan(
        workspace, workspace.config(STAGES), STAGES, workspace.catalogue(), workspace.template_digest()
    )
    plan.use_ledger()
    working = [stage for stage in STAGES if stage.scope != "everything"]
    signatures, known = plan.signatures(), {}
    for person in plan.catalogue.subjects:
        own = plan.of_subject(person)
        folders = tuple(f"{person}/{s.item.sequence}" for s in own)
        told = {}
        for stage in working:
            frames = sum(len(s.frames) for s in own)
            figures = [FigureSummary(name, "mm", frames, 0.5, 1.0) for name in stage.reader.explained]
            decisions = [("unit_decision", "mm: declared in mimicme.toml", str(s.item)) for s in own]
            told[stage.name] = Tally(
                len(own), frames, 0, [], [], decisions if stage.name == "ingest" else [], figures
            ).to_json()
        known[person] = Settled(signatures.take(person, own, folders), folders, told, newest_frame(own))
    assert plan.ledger is not None
    plan.ledger.subjects = plan.settled = known
    release = next(stage for stage in STAGES if stage.scope == "everything")
    sequences = plan.catalogue.sequences
    plan.note_release(release, sequences, plan.created(sequences), "that of everything")
    plan.ledger.save()
    standing = Standing(plan)
    standing.release("done", "")
