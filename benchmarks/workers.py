"""Two workers of one run beside two runs that know nothing of each other: what does it cost to work together?

Both do the same people's frames, as many processes at work at a time; each goes first once, so that what the machine
does meanwhile meets both.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimicme.pipeline.errors import InputError

Record = dict[str, Any]
BOUND = 0.95
ROUNDS = 2


def run(captures: Path, work: Path, say: Callable[[str], None]) -> Record:
    """The wall seconds of both; the record to save.

    Args:
        captures: of two people, with `captures` and `template`.

    Raises:
        InputError: a run failed; there are not two people.
    """
    folder = work / "workers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    raw = captures / "captures"
    template = next(p for p in sorted((captures / "template").glob("template.*")) if p.suffix != ".ljson")
    people = sorted(p.name for p in raw.iterdir() if p.is_dir())
    if len(people) != 2:
        raise InputError(
            "as many people as workers are needed", where=raw, seen=len(people), expected=2, todo="--people 2"
        )
    rounds: list[Record] = []
    for number in range(ROUNDS):
        seconds: dict[str, float] = {}
        for how in ("together", "apart") if number % 2 == 0 else ("apart", "together"):
            # each has its template made ready, which is no worker's affair
            spaces = [_made(folder / f"{how}-{name}", raw, template) for name in _parts(how, people)]
            words = (
                [["--jobs", "2"]]
                if how == "together"
                else [["--jobs", "1", "--only", f"{p}/*"] for p in people]
            )
            seconds[how] = _run([[space, *w] for space, w in zip(spaces, words, strict=True)])
            for space in spaces:
                shutil.rmtree(space)
        rounds.append({**seconds, "share": seconds["apart"] / seconds["together"]})
        say(
            f"  two workers of one run {seconds['together']:.1f} s, two runs side by side {seconds['apart']:.1f} s: "
            f"{rounds[-1]['share']:.3f}"
        )
    share = sum(one["apart"] for one in rounds) / sum(one["together"] for one in rounds)
    say(f"two workers do {share:.3f} of what two independent processes do (at least {BOUND})")
    return {"rounds": rounds, "share": share}


def _parts(how: str, people: list[str]) -> list[str]:
    return ["all"] if how == "together" else people


def _made(workspace: Path, raw: Path, template: Path) -> Path:
    from mimicme.pipeline.workspace import Workspace

    layout = "{subject}/{sequence}/{frame}.obj"
    _mimicme("init", workspace, "--captures", raw, "--layout", layout, "--template", template).communicate()
    opened = Workspace.open(workspace)
    if opened.template_digest() is None:
        opened.prepare_template()
    return workspace


def _run(runs: list[list[Any]]) -> float:
    """Wall seconds until the last of some runs, begun together, has ended."""
    began = time.monotonic()
    running = [_mimicme("run", *words, "--until", "project") for words in runs]
    for one in running:
        said, _ = one.communicate()
        if one.returncode not in (0, 1):
            raise InputError("a run failed", seen=said[-2000:])
    return time.monotonic() - began


def _mimicme(*words: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mimicme.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
