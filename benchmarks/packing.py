"""What it takes to write a large release: MB/s, memory, and what one more subject touches.

Stands on the checkpoints of a workspace (--workspace), whose first COMPUTED registered frames are packed again and
again under other names, through the real stage, into a shard a subject and by two workers.
"""

from __future__ import annotations

import itertools
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.run.pool import LokyPool
from mimicme.pipeline.run.runner import _side_by_side
from mimicme.pipeline.template import load_prepared
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES
from mimicme.stages.pack import PackInput, PackSettings, pack

COMPUTED, WORKERS, OF_SUBJECT = 20, 2, 100
MIMICME = 280_000  # frames
CASES = (PackSettings(shard="subject"), PackSettings(shard="subject", vertices="int16"))
Record = dict[str, Any]


def run(workspace: Path, frames: int, work: Path, say: Callable[[str], None]) -> Record:
    """The table; the record to save.

    Raises:
        UsageError: the workspace has too few frames of which all checkpoints are there.
    """
    opened = Workspace.open(workspace)
    given = computed(opened)
    count = sum(len(one.sequence.frames) for one in given)
    say(f"  {workspace}: {len(given)} sequences of {count} frames, packed as {frames:,}")
    rows = []
    for settings in CASES:
        row = measure(opened, given, count, frames, settings, work / "packing")
        rows.append(row)
        say(
            f"  {settings.vertices}, {settings.textures}: {row['frames']:,} frames, {row['mb']:,.0f} MB "
            f"({row['mb_a_frame']:.3f} a frame) in {row['wall_s']:.0f} s: {row['mb_s']:.1f} MB/s by {WORKERS} workers, "
            f"{1000 * row['cpu_s'] / row['frames']:.0f} ms of CPU a frame; "
            f"memory {row['parent_mb']:.0f} MB and {row['worker_mb']:.0f} MB a worker"
        )
        say(
            f"    one subject of {row['added_frames']} frames more: {row['added_s']:.1f} s, {row['added_mb']:.1f} MB "
            f"written, {row['kept']} shards untouched; nothing to do: {row['again_s']:.1f} s"
        )
        say(
            f"    {MIMICME:,} frames: {MIMICME:,} x {row['mb_a_frame']:.3f} MB = {row['mimicme_gb']:.0f} GB; "
            f"/ {row['mb_s']:.1f} MB/s = {row['mimicme_h']:.1f} h"
        )
    return {"packing": rows}


def computed(workspace: Workspace) -> list[PackInput]:
    """Sequences with all their checkpoints, of at least COMPUTED frames together."""
    found: list[PackInput] = []
    for sequence in workspace.sequences():
        paths = {s.name: workspace.checkpoint(s.name, sequence.item) for s in STAGES[:-1]}
        if all(path.is_file() for path in paths.values()):
            found.append(PackInput(sequence, paths))
        if sum(len(one.sequence.frames) for one in found) >= COMPUTED:
            return found
    raise UsageError(
        "there are too few frames with all their checkpoints",
        where=workspace.root,
        expected=f"{COMPUTED}, as `make demo` leaves them",
    )


def people(given: Sequence[PackInput], count: int, subjects: int) -> list[PackInput]:
    """The same sequences, OF_SUBJECT frames or more for each of so many subjects."""
    times = -(-OF_SUBJECT // count)
    return [
        replace(
            one,
            sequence=replace(one.sequence, item=Item(f"R{k:04d}", f"{n:02d}-{one.sequence.item.sequence}")),
        )
        for k in range(subjects)
        for n, one in enumerate(itertools.chain.from_iterable([given] * times))
    ]


def _cpu() -> float:
    """CPU seconds of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure(
    workspace: Workspace,
    given: Sequence[PackInput],
    count: int,
    frames: int,
    settings: PackSettings,
    folder: Path,
) -> Record:
    """Pack, pack again, and pack one subject more."""
    shutil.rmtree(folder, ignore_errors=True)
    of_subject = count * -(-OF_SUBJECT // count)
    subjects = max(2, frames // of_subject)
    template = load_prepared(workspace.template)

    def packed(n: int) -> float:
        began = time.monotonic()
        pool = LokyPool(WORKERS)

        def side_by_side(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterable[Any]:
            yield from _side_by_side(pool, function, jobs)

        pack(
            people(given, count, n),
            settings,
            template,
            workspace.captures,
            parse_subjects(b"subject,consent\nX,yes\n"),
            folder / "release.h5",
            "2024-01-01T00:00:00Z",
            "{}",
            f"{n}",
            STAGES[:-1],
            licence="none",
            side_by_side=side_by_side,
            remembered=folder / "packed.jsonl",
        )
        pool.close()
        return time.monotonic() - began

    cpu = _cpu()
    wall = packed(subjects)
    cpu = _cpu() - cpu
    before = {p.name: p.stat() for p in folder.iterdir()}
    mb = sum(p.st_size for n, p in before.items() if n.startswith("release")) / 1e6
    again = packed(subjects)
    added = packed(subjects + 1)
    after = {p.name: p.stat() for p in folder.iterdir()}
    kept = [n for n, p in after.items() if n in before and before[n].st_mtime_ns == p.st_mtime_ns]
    written = sum(p.st_size for n, p in after.items() if n not in kept and n.startswith("release")) / 1e6
    usage = [
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    shutil.rmtree(folder)
    total = subjects * of_subject
    return {
        "vertices": settings.vertices,
        "textures": settings.textures,
        "frames": total,
        "mb": mb,
        "mb_a_frame": mb / total,
        "wall_s": wall,
        "cpu_s": cpu,
        "mb_s": mb / wall,
        "parent_mb": usage[0],
        "worker_mb": usage[1],
        "again_s": again,
        "added_s": added,
        "added_mb": written,
        "added_frames": of_subject,
        "kept": len([n for n in kept if "@" in n]),
        "mimicme_gb": MIMICME * mb / total / 1000,
        "mimicme_h": MIMICME * mb / total / (mb / wall) / 3600,
    }
