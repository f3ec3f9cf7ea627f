"""Which stages a run is of: those from one to another, and of a shard those that work on each subject by itself."""

from __future__ import annotations

import difflib

from mimicme.pipeline.config import Config
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.stage import Stage


def stage_range(stages: tuple[Stage, ...], options: RunOptions) -> tuple[Stage, ...]:
    names = [s.name for s in stages]

    def place(name: str | None, default: int, option: str) -> int:
        if name is None:
            return default
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            raise UsageError(
                f"there is no stage '{name}'",
                where=option,
                expected="one of " + ", ".join(names),
                todo=f"Did you mean '{close[0]}'?" if close else None,
            )
        return names.index(name)

    first = place(options.first, 0, "--from")
    last = place(options.last, len(names) - 1, "--until")
    if first > last:
        raise UsageError(f"'{names[first]}' comes after '{names[last]}'", where="--from and --until")
    return stages[first : last + 1]


def stages_of_shard(
    chosen: tuple[Stage, ...], stages: tuple[Stage, ...], config: Config, options: RunOptions
) -> tuple[Stage, ...]:
    """Of the stages that are to run, those that work on each subject by itself.

    Raises:
        UsageError: one of them, or one before them, does not; nothing is left; or a part was named.
    """
    if options.only:
        raise UsageError(
            "--only names a part, and so does --shard", todo="Give one of them: what is done stays done."
        )
    working = tuple(stage for stage in chosen if stage.scope != "everything")
    if not working or options.output is not None:
        raise UsageError(
            "no shard writes a release",
            where="--shard",
            todo="When all shards are over, a run without --shard packs it.",
        )
    for place, stage in enumerate(stages[: stages.index(working[-1]) + 1]):
        if stage.scope == "corpus" and config.stages[stage.name].enabled:
            raise UsageError(
                f"'{stage.name}' learns from all subjects, and a shard has some",
                where="--shard",
                todo=f"Run the shards with --until {stages[place - 1].name}; then a run without --shard.",
            )
    return working
