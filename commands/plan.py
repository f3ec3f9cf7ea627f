"""plan: how long a run will take, and what memory and disk it will need, told from a timed sample of the sequences.

The sample is worked by the runner itself, in the workspace: its checkpoints stay, and the run goes on from them.  It
consists of whole people, because a person's sequences share a reference texture, and with a part of them it would be
another one.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
import shlex
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from mimicme.pipeline import items
from mimicme.pipeline.errors import UsageError, counted, listed
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks.files import endings_beside
from mimicme.pipeline.release import digest
from mimicme.pipeline.run.plan import RELEASE, Plan
from mimicme.pipeline.run.progress import Console, duration, table
from mimicme.pipeline.run.runlog import Cost, read_costs
from mimicme.pipeline.run.runner import INTERRUPTED, RunOptions, run
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage
from mimicme.pipeline.workspace import CONFIG_NAME, Workspace

SEQUENCES = 8
"""The least sequences of a sample: of people with three frames a sequence about a minute of work on one core."""
KEPT_FREE = 0.1
"""Share of the memory that is left to the system and its cache of files."""
WAITED = 1.25
"""Wall over CPU seconds of the sample beyond which the workers' waiting is told."""
LONGER = 1.5
"""Sequences that are longer than those of the sample by this factor may need more memory than was measured."""
KIND_SHARE = 0.05
"""A kind of captures that more of the frames are of, and none of the sample's, is told of."""
LARGER = 3.0
"""Mesh files that are larger, or smaller, than all of the sample's by this factor cost otherwise."""
LOOKED_AT = 2_000
"""Sequences of which a file is looked at, evenly over all."""
ONE_FILE_GB = 50
"""What is much for a release of one file."""


@dataclass(frozen=True)
class StageCost:
    """What a stage cost in the sample, and what it has still to do.

    Attributes:
        frames: of the sample's sequences that are done and timed.
        cpu_s, wall_s: CPU and wall seconds of its workers over these frames.
        disk_bytes: of the checkpoints of these frames; of the release: without the template, which is in it once.
        peak_mb: largest resident memory of a worker, in MB; 0: not measured.
        frames_left: of all sequences that are not done.
    """

    stage: str
    frames: int
    cpu_s: float
    wall_s: float
    disk_bytes: int
    peak_mb: float
    frames_left: int

    @property
    def cpu_hours_left(self) -> float:
        return self.cpu_s / self.frames * self.frames_left / 3600

    @property
    def bytes_left(self) -> float:
        return self.disk_bytes / self.frames * self.frames_left


@dataclass(frozen=True)
class Forecast:
    """What a run that brings everything up to date will take.

    Attributes:
        subjects, sequences, frames: of the sample.
        all_frames: of the workspace.
        stages: of the stages that leave checkpoints and could be timed, in order.
        release: of the stage that writes the release, in the run's own process; None: not timed.
        untimed: names of the stages that could not be.
        cpu_s_range: the least and the most CPU seconds a frame of the sample's single sequences, with their names,
            without the release.
        wall_hours: by number of workers.
        jobs: the number of workers that fits this machine.
        cores: of this machine, as far as this process may use them.
        memory_bytes: what is free of it for workers.
        worker_bytes: what one needs at most.
        free_bytes: on the disk of the workspace.
        remarks: sentences about what the figures leave open.
    """

    subjects: tuple[str, ...]
    sequences: int
    frames: int
    all_frames: int
    stages: tuple[StageCost, ...]
    release: StageCost | None
    untimed: tuple[str, ...]
    cpu_s_range: tuple[float, str, float, str]
    wall_hours: Mapping[int, float]
    jobs: int
    cores: int
    memory_bytes: float
    worker_bytes: float
    free_bytes: float
    remarks: tuple[str, ...] = field(default=())

    @property
    def all_stages(self) -> tuple[StageCost, ...]:
        """With the release."""
        return self.stages if self.release is None else (*self.stages, self.release)

    @property
    def cpu_hours(self) -> float:
        return sum(stage.cpu_hours_left for stage in self.all_stages)

    @property
    def cpu_s_a_frame(self) -> float:
        return sum(stage.cpu_s / stage.frames for stage in self.all_stages)

    @property
    def checkpoint_bytes(self) -> float:
        """Of what is not made yet."""
        return sum(stage.bytes_left for stage in self.stages)

    @property
    def release_bytes(self) -> float:
        return 0.0 if self.release is None else self.release.bytes_left

    def to_record(self) -> dict[str, Any]:
        """For programs: JSON-able."""
        least, least_item, most, most_item = self.cpu_s_range
        told = {
            "cpu_s_a_frame": self.cpu_s_a_frame,
            "cpu_s_range": [
                {"item": item, "cpu_s_a_frame": seconds if math.isfinite(seconds) else None}
                for seconds, item in ((least, least_item), (most, most_item))
            ],
            "cpu_hours": self.cpu_hours,
            "checkpoint_bytes": self.checkpoint_bytes,
            "release_bytes": self.release_bytes,
        }
        return asdict(self) | told

    def lines(self) -> list[str]:
        """For people: every figure with its arithmetic."""
        head = ["stage", "CPU s/frame", "wall s/frame", "MB/frame", "worker MB", "frames left", "CPU hours"]
        rows = [
            [
                stage.stage,
                f"{stage.cpu_s / stage.frames:.3f}",
                f"{stage.wall_s / stage.frames:.3f}",
                f"{stage.disk_bytes / stage.frames / 1e6:.2f}",
                f"{stage.peak_mb:.0f}" if stage.peak_mb else "-",
                f"{stage.frames_left:,}",
                f"{stage.cpu_hours_left:.2f}",
            ]
            for stage in self.all_stages
        ]
        least, least_item, most, most_item = self.cpu_s_range
        need = self.checkpoint_bytes + self.release_bytes
        fits = "enough" if need <= self.free_bytes else "NOT ENOUGH"
        return [
            f"sample: {counted(self.sequences, 'sequence')} of {counted(len(self.subjects), 'person', 'people')} "
            f"({listed(self.subjects, 3)}), "
            f"{self.frames:,} of {counted(self.all_frames, 'frame')}; what was made of them stays",
            *table([head, *rows]),
            f"a frame: {self.cpu_s_a_frame:.2f} CPU seconds; of single sequences, without the release, "
            f"{least:.2f} ({least_item}) to {most:.2f} ({most_item})",
            f"work left: {self.cpu_hours:.2f} CPU hours, the sum of CPU s/frame x frames left / 3600",
            "time left: "
            + "; ".join(f"{duration(3600 * hours)} with --jobs {n}" for n, hours in self.wall_hours.items())
            + ": wall s/frame x frames left / workers, but not less than one person's neutral and longest sequence "
            + "take one after the other",
            f"memory: {self.worker_bytes / 1e9:.2f} GB a worker, the most that one of the sample had",
            f"disk: {need / 1e9:.2f} GB more, the sum of MB/frame x frames left: "
            f"{self.checkpoint_bytes / 1e9:.2f} GB of checkpoints, {self.release_bytes / 1e9:.2f} GB of release; "
            f"{self.free_bytes / 1e9:.2f} GB are free: {fits}",
            f"--jobs {self.jobs} fits this machine: the lesser of {self.cores} cores and "
            f"{self.memory_bytes / 1e9:.2f} GB of free memory (a tenth is left to the system) "
            f"/ {self.worker_bytes / 1e9:.2f} GB",
            *self.remarks,
        ]


def plan(
    workspace: Workspace,
    stages: Iterable[Stage],
    sample: int = SEQUENCES,
    workers: Iterable[int] = (),
    jobs: int | None = None,
    console: Console | None = None,
) -> Forecast:
    """Work a sample of the sequences, as a run does, and tell from it what the rest will take.

    What of the sample is done already is not done again: its times are in the logs of the runs that made it.

    Args:
        workspace: the workspace.
        stages: all there are, in order.
        sample: whole people are taken until they have so many sequences.
        workers: numbers of workers to tell the wall hours of, besides the one that fits.
        jobs: workers for the sample; None: as many as there are cores.
        console: where its progress is printed.

    Raises:
        UsageError: there are no captures, nothing of the sample could be timed, or a run is going on.
        KeyboardInterrupt: the work on the sample was interrupted; what is done of it stays.
    """
    all_stages = tuple(stages)
    config, catalogue = workspace.config(all_stages), workspace.catalogue()
    _check_can_plan(workspace, catalogue.sequences)
    timed, untimed = _timeable(all_stages, {s.name: config.stages[s.name] for s in all_stages})
    working = [stage for stage in timed if stage.scope != "everything"]
    costs, before = read_costs(workspace.runs()), set(workspace.runs())
    chosen = choose_sample(
        catalogue.sequences, sample, lambda subject: _made_untimed(workspace, working, subject, costs)
    )
    subjects = tuple(sorted({s.item.subject for s in chosen}))
    globs = tuple(f"{glob.escape(subject)}/*" for subject in subjects)
    console = console or Console()
    console.say(_on_sample(chosen, len(catalogue.sequences)))
    options = RunOptions(jobs=jobs, last=working[-1].name, only=globs, sample=sample)
    if run(workspace, options, all_stages, console).exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    costs |= read_costs(folder for folder in workspace.runs() if folder not in before)

    states = Plan(workspace, config, all_stages, catalogue, workspace.template_digest())
    states.use_ledger()
    states.determine_all_states()
    left = {
        stage.name: [s for s in catalogue.sequences if states.states[stage.name, s.item].state != "done"]
        for stage in working
    }
    by_stage = {stage.name: _stage_cost(stage, states, costs, chosen, left[stage.name]) for stage in working}
    found = [one for one in by_stage.values() if one is not None]
    untimed += [name for name, one in by_stage.items() if one is None]
    if not found:
        raise UsageError(
            "nothing of the sample could be timed",
            where=workspace.root,
            seen=listed((s.item for s in chosen), 3),
            todo="`mimicme status --failed` says what failed; what an older version made without noting the time is "
            f"timed by `mimicme run --force --only '{globs[0]}'`.",
        )
    release = None
    writing = next((stage for stage in timed if stage.scope == "everything"), None)
    if writing is not None:
        console.say("Writing a release of the sample, to be measured and removed ...")
        options = replace(
            options,
            jobs=0,
            first=writing.name,
            last=writing.name,
            output=workspace.sample_release,
            force=True,
        )
        current = states.states[writing.name, RELEASE].state == "done"
        left_of_it = 0 if current else catalogue.frame_count
        release = _release_cost(workspace, all_stages, writing, options, chosen, left_of_it)
        untimed += [] if release is not None else [writing.name]
    scopes = {stage.name: stage.scope for stage in working}
    chain_s = _longest_chain_s(found, scopes, left, states)
    worker_bytes = max(1e6, *(one.peak_mb * 1e6 for one in found))
    memory, cores = (1 - KEPT_FREE) * available_memory(), _cores()
    fit = max(1, min(cores, int(memory // worker_bytes)))
    return Forecast(
        subjects,
        len(chosen),
        sum(len(s.frames) for s in chosen),
        catalogue.frame_count,
        tuple(found),
        release,
        tuple(untimed),
        _range(found, costs, chosen),
        _wall_hours(found, left, chain_s, release, {fit, *workers}),
        fit,
        cores,
        memory,
        worker_bytes,
        float(shutil.disk_usage(workspace.root).free),
        (
            *_remarks(catalogue.sequences, chosen, found, untimed),
            *_on_shards(workspace, release, catalogue.frame_count, config.stages),
        ),
    )


def _wall_hours(
    found: Sequence[StageCost],
    left: Mapping[str, Sequence[items.Sequence]],
    chain_s: float,
    release: StageCost | None,
    workers: Iterable[int],
) -> dict[int, float]:
    """Hours of the rest by how many workers share it: no less than the longest chain takes, and the release."""
    total_s = sum(_wall_s(one, sequence) for one in found for sequence in left[one.stage])
    alone_s = 0.0 if release is None else release.wall_s / release.frames * release.frames_left
    return {n: (max(total_s / max(n, 1), chain_s) + alone_s) / 3600 for n in sorted(workers)}


def _check_can_plan(workspace: Workspace, sequences: Sequence[items.Sequence]) -> None:
    """Refuse where nothing is to be planned, or a run works beside it.

    Raises:
        UsageError: there are no captures, or a run is going on.
    """
    if not sequences:
        raise UsageError(
            "there is nothing to plan: no sequences are left",
            where=workspace.captures.root,
            todo=f"`mimicme status {shlex.quote(str(workspace.root))}` says who is left out and why.",
        )
    if (process := workspace.running_process()) is not None:
        raise UsageError(
            "a run is going on, and a plan works a sample of its own",
            where=workspace.root,
            seen=process,
            todo="`mimicme status --watch` follows the run and tells what is left of it; or end the run with Ctrl-C "
            "and plan again: what it made is kept, and counts as a sample.",
        )


def _on_sample(chosen: Sequence[items.Sequence], all_sequences: int) -> str:
    """That a sample is worked first, which takes as long as that much of a run; of few captures it is all of them."""
    sequences = counted(len(chosen), "sequence")
    frames, people = sum(len(s.frames) for s in chosen), len({s.item.subject for s in chosen})
    of_whom = counted(people, "person", "people")
    last = " That is all there is: when the plan is told, `run` has little left to do."
    all_of_it = last if len(chosen) == all_sequences else ""
    return (
        f"Working {sequences} of {of_whom} ({counted(frames, 'frame')}) as a sample, as `mimicme run` does; what is "
        f"made of them stays, and what is made already is not made again.{all_of_it}"
    )


def shards_advised(gigabytes: float, root: Path) -> str:
    """That a large release is better made of many files; empty where it is not large.

    Args:
        root: the workspace's folder.
    """
    if gigabytes <= ONE_FILE_GB:
        return ""
    return (
        f'The release will take about {gigabytes:.0f} GB: shard = "subject" in [pack] of {root / CONFIG_NAME} '
        "makes many files of it, which a change does not write all anew."
    )


def _on_shards(
    workspace: Workspace, release: StageCost | None, frames: int, settings: Mapping[str, Any]
) -> Iterator[str]:
    """That a large release is better made of many files, where the settings make one file of it."""
    if release is not None and getattr(settings.get(release.stage), "shard", "none") == "none":
        said = shards_advised(release.disk_bytes / release.frames * frames / 1e9, workspace.root)
        yield from [said] if said else []


# -- the sample


def choose_sample(
    sequences: Sequence[items.Sequence], least: int, avoided: Callable[[str], bool] = lambda subject: False
) -> list[items.Sequence]:
    """Whole people, until they have so many sequences: the one in the middle by frames, then those at the quarters,
    the eighths and so on, so that a larger sample holds every smaller one.

    Args:
        sequences: all there are.
        least: sequences, at least one.
        avoided: says which subjects are taken only when there are no others.
    """
    of_subject: dict[str, list[items.Sequence]] = {}
    for sequence in sequences:
        of_subject.setdefault(sequence.item.subject, []).append(sequence)
    ordered = sorted(of_subject, key=lambda name: (sum(len(s.frames) for s in of_subject[name]), name))
    chosen: list[items.Sequence] = []
    late: list[str] = []
    for subject in (ordered[k] for k in _halving(len(ordered))):
        if len(chosen) >= max(least, 1):
            return chosen
        if avoided(subject):
            late.append(subject)
        else:
            chosen += of_subject[subject]
    for subject in late:
        if len(chosen) >= max(least, 1):
            break
        chosen += of_subject[subject]
    return chosen


def _halving(count: int) -> Iterator[int]:
    """0 to count - 1, each once: the middle, the quarters, the eighths, ..."""
    seen: set[int] = set()
    parts = 2
    while len(seen) < count:
        for odd in range(1, parts, 2):
            place = odd * count // parts
            if place not in seen:
                seen.add(place)
                yield place
        if parts > count:  # what is left lies between
            yield from (k for k in range(count) if k not in seen)
            return
        parts *= 2


def _timeable(stages: Sequence[Stage], settings: Mapping[str, Any]) -> tuple[list[Stage], list[str]]:
    """The stages that a sample can time, and the names of the others: one that learns from all sequences would learn
    something else from a sample, and all after it would be made again."""
    for k, stage in enumerate(stages):
        if stage.scope == "corpus" and settings[stage.name].enabled:
            return list(stages[:k]), [later.name for later in stages[k:]]
    return list(stages), []


def _made_untimed(
    workspace: Workspace, stages: Iterable[Stage], subject: str, costs: Mapping[tuple[str, str], Cost]
) -> bool:
    """Whether there are checkpoints of a subject whose cost no log tells."""
    return any(
        (stage.name, f"{subject}/{path.stem}") not in costs
        for stage in stages
        for path in workspace.checkpoint(stage.name, Item(subject, "-")).parent.glob("[!.]*.h5")
        if "@" not in path.stem
    )


def _release_cost(
    workspace: Workspace,
    stages: tuple[Stage, ...],
    writing: Stage,
    options: RunOptions,
    sample: Iterable[items.Sequence],
    frames_left: int,
) -> StageCost | None:
    """What a release of the sample costs, which is made to be measured and removed; None where none can be made.

    It is one file, whatever `pack.shard` says: shards hold the same, and would lie beside those of a release.
    """
    output = workspace.sample_release
    stages = tuple(_in_one_file(stage) if stage is writing else stage for stage in stages)
    try:
        result = run(workspace, options, stages)
        if result.exit_code == INTERRUPTED:
            raise KeyboardInterrupt
        if not result.packed:
            return None
        with h5py.File(output, "r") as handle:
            template = _stored_bytes(handle["template"]) if "template" in handle else 0
        size = max(output.stat().st_size - template, 0)
        done, frames = result.stages[-1], sum(len(s.frames) for s in sample)
        return StageCost(writing.name, frames, done.cpu_s, done.seconds, size, 0, frames_left)
    finally:
        for path in (output, digest.beside(output)):
            path.unlink(missing_ok=True)


def _in_one_file(stage: Stage) -> Stage:
    """A stage that writes a release, made to write one without shards."""
    write = stage.everything
    if write is None:
        return stage

    def everything(*, settings: Any, **given: Any) -> Any:
        return write(
            settings=replace(settings, shard="none") if hasattr(settings, "shard") else settings, **given
        )

    return replace(stage, everything=everything)


def _stored_bytes(group: h5py.Group) -> int:
    sizes: list[int] = []
    group.visititems(
        lambda _, node: sizes.append(node.id.get_storage_size()) if isinstance(node, h5py.Dataset) else None
    )
    return sum(sizes)


# -- from the sample to the rest


def _stage_cost(
    stage: Stage,
    plan: Plan,
    costs: Mapping[tuple[str, str], Cost],
    sample: Iterable[items.Sequence],
    left: Iterable[items.Sequence],
) -> StageCost | None:
    """None where nothing of the sample was timed."""
    known = [
        (len(s.frames), costs[stage.name, str(s.item)], plan.checkpoint(stage.name, s.item).stat().st_size)
        for s in sample
        if plan.states[stage.name, s.item].state == "done" and (stage.name, str(s.item)) in costs
    ]
    if not known:
        return None
    return StageCost(
        stage.name,
        sum(frames for frames, _, _ in known),
        sum(cost.cpu_s for _, cost, _ in known),
        sum(cost.seconds for _, cost, _ in known),
        sum(size for _, _, size in known),
        max(cost.peak_mb for _, cost, _ in known),
        sum(len(s.frames) for s in left),
    )


def _range(
    found: Iterable[StageCost], costs: Mapping[tuple[str, str], Cost], sample: Iterable[items.Sequence]
) -> tuple[float, str, float, str]:
    """The least and the most CPU seconds a frame of single sequences that were timed in every stage."""
    names = [one.stage for one in found]
    a_frame = []
    for sequence in sample:
        own = [costs.get((name, str(sequence.item))) for name in names]
        known = [one.cpu_s for one in own if one is not None]
        if len(known) == len(names):
            a_frame.append((sum(known) / len(sequence.frames), str(sequence.item)))
    return (*min(a_frame), *max(a_frame)) if a_frame else (math.nan, "-", math.nan, "-")


def _wall_s(one: StageCost, sequence: items.Sequence) -> float:
    """Wall seconds of a sequence in a stage."""
    return len(sequence.frames) * one.wall_s / one.frames


def _longest_chain_s(
    found: Iterable[StageCost],
    scopes: Mapping[str, str],
    left: Mapping[str, Iterable[items.Sequence]],
    plan: Plan,
) -> float:
    """Wall seconds of what cannot be done side by side, of the person who has most of it (the critical path): stage by
    stage the longest sequence, where others wait for the neutral this and then the longest of them."""
    chains: defaultdict[str, float] = defaultdict(float)
    for one in found:
        neutral: defaultdict[str, float] = defaultdict(float)
        other: defaultdict[str, float] = defaultdict(float)
        for sequence in left[one.stage]:
            times = neutral if plan.is_neutral(sequence.item) else other
            subject = sequence.item.subject
            times[subject] = max(times[subject], _wall_s(one, sequence))
        together = max if scopes[one.stage] not in NEUTRAL_FIRST else lambda a, b: a + b
        for subject in neutral.keys() | other.keys():
            chains[subject] += together(neutral[subject], other[subject])
    return max(chains.values(), default=0.0)


class _Look(NamedTuple):
    """What tells of the cost of a sequence before it is worked on: of its first frame, the kind and the file's size."""

    kind: str
    frames: int
    size: int

    @classmethod
    def at(cls, sequence: items.Sequence) -> _Look:
        frame = sequence.frames[0]
        if frame.recipe is not None:
            kind = "recordings of a depth camera"
        else:
            given = frame.correction is not None or any(
                (beside := frame.path.with_suffix(ending)) != frame.path and beside.is_file()
                for ending in endings_beside(frame.path.suffix)
            )
            kind = f"{frame.path.suffix.lower()} {'with' if given else 'without'} landmarks beside them"
        size = 0
        with contextlib.suppress(OSError):
            size = frame.path.stat().st_size
        return cls(kind, len(sequence.frames), size)


def _uncovered(sequences: Sequence[items.Sequence], sample: Sequence[items.Sequence]) -> Iterator[str]:
    """What the sample has none of, though a good part of the captures is so: what that costs was not measured."""
    every = max(1, -(-len(sequences) // LOOKED_AT))
    looks, own = [_Look.at(s) for s in sequences[::every]], [_Look.at(s) for s in sample]
    total = sum(look.frames for look in looks)
    kinds = {look.kind for look in own}
    others: Counter[str] = Counter()
    for look in looks:
        if look.kind not in kinds:
            others[look.kind] += look.frames
    more = "; `--sample N` with a larger N takes more people, until some of them are so"
    told = [f"{kind} ({n / total:.0%})" for kind, n in others.most_common() if n > KIND_SHARE * total]
    if told:
        yield (
            f"the captures are mixed: the sample has {listed(sorted(kinds), 4)} alone, and of all frames others are "
            f"{listed(told, 4)}; what those cost is not in these figures{more}"
        )
    least, most = min(look.size for look in own), max(look.size for look in own)
    alike = [look for look in looks if look.kind in kinds]
    beyond = sum(look.frames for look in alike if look.size > LARGER * most or LARGER * look.size < least)
    if beyond > KIND_SHARE * total:
        yield (
            f"the captures are mixed: {beyond / total:.0%} of the frames have files more than {LARGER:g} times as "
            f"large, or as small, as the sample's ({least / 1e6:.2f} to {most / 1e6:.2f} MB) and cost otherwise{more}"
        )


def _remarks(
    sequences: Sequence[items.Sequence],
    sample: Sequence[items.Sequence],
    found: Sequence[StageCost],
    untimed: Sequence[str],
) -> Iterator[str]:
    yield from _uncovered(sequences, sample)
    if untimed:
        yield (
            f"not in these figures, because the sample could not time it: {', '.join(untimed)} "
            "(it failed, or it learns from all sequences)"
        )
    wall_s, cpu_s = sum(one.wall_s for one in found), sum(one.cpu_s for one in found)
    if wall_s > WAITED * cpu_s:
        yield (
            f"the sample's workers waited {1 - cpu_s / wall_s:.0%} of their time, for the disk or for other programs "
            "that ran; the hours above take this for the rule"
        )
    longest = max(sequences, key=lambda s: (len(s.frames), s.item))
    of_sample = max(len(s.frames) for s in sample)
    if len(longest.frames) > LONGER * of_sample:
        yield (
            f"the longest sequence, {longest.item}, has {counted(len(longest.frames), 'frame')}, the sample's "
            f"{of_sample}: a worker may need more memory for it; `mimicme run --dry-run` says how much, stage by stage"
        )


# -- the machine


def _cores() -> int:
    import joblib

    return max(1, int(joblib.cpu_count()))


def available_memory() -> float:
    """Bytes that programs can have without pushing others out: of the machine, or of the container if that is less."""
    limits = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(
            1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
        )
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # 'max': no limit
            limits.append(float(int(Path(file).read_text())))
    return min(limits) if limits else float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
