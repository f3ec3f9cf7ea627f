"""Run in a process of its own, by a checkout that PYTHONPATH names: the whole chain over some captures, by stage.

    python chain_worker.py CAPTURES TEMPLATE WORKSPACE RESULT.json ONLY

All jobs run in this one process, as in one worker.  RESULT.json: `jobs`, a list of stage, item, frames and cpu_s of
each; `again`, the same of the neutral's, worked a second time: what a worker makes of the template is there then, as it
is for all people but its first; start_s, what importing takes; template_s, the template made ready, once a workspace;
pack_s; peak_mb.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ONCE = ("register", "refine", "bake")
"""Stages that make something of the template, once a worker."""


def clocked(work: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """CPU seconds that a call takes."""
    began = time.process_time()
    work(*arguments, **options)
    return time.process_time() - began


def start() -> None:
    """Import what the stages import, so that it is in no stage's account."""
    from mimicme.pipeline.formats.image import opencv
    from mimicme.pipeline.geometry.spatial import open3d
    from mimicme.stages import STAGES

    open3d(), opencv(), STAGES


def main(captures: str, template: str, workspace: str, result: str, only: str) -> None:
    """The chain, clocked."""
    from mimicme.cli import main as mimicme

    record: dict[str, Any] = {"start_s": clocked(start)}
    from mimicme.pipeline.run import runner
    from mimicme.pipeline.workspace import Workspace

    jobs: list[dict[str, Any]] = []
    execute = runner.execute

    def timed(job: Any) -> Any:
        began = time.process_time()
        outcome = execute(job)
        cpu_s = time.process_time() - began
        jobs.append(
            {"stage": job.stage.name, "item": str(job.item), "frames": job.frame_count, "cpu_s": cpu_s}
        )
        return outcome

    runner.execute = timed

    def command(*words: str) -> None:
        try:
            mimicme([*words], standalone_mode=False)
        except SystemExit as ended:
            if ended.code not in (0, 1, None):
                raise

    layout = "{subject}/{sequence}/{frame}.obj"
    command("init", workspace, "--captures", captures, "--layout", layout, "--template", template)
    opened = Workspace.open(Path(workspace))
    if opened.template_digest() is None:
        record["template_s"] = clocked(opened.prepare_template)
    command("run", workspace, "--jobs", "0", "--until", "project", "--only", only)
    record["pack_s"] = clocked(command, "pack", workspace, "--jobs", "0")
    record["jobs"] = jobs[:]
    record["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    neutral = only.replace("*", "neutral")
    for stage in ONCE:
        for path in Path(workspace).glob(f"{stage}/{neutral}.h5"):
            path.unlink()
    command("run", workspace, "--jobs", "0", "--until", ONCE[-1], "--only", neutral)
    record["again"] = [job for job in jobs[len(record["jobs"]) :] if job["stage"] in ONCE]
    Path(result).write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
