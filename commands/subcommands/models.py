"""The groups `mimicme model` and `mimicme experiment`, whose commands are loaded when one is named."""

from __future__ import annotations

from mimicme.pipeline.command_line import Commands

commands = Commands()


@commands.group("model", cls=Commands, source="mimicme.commands.model.commands")
def model_group() -> None:
    """Linear models of faces out of a release: build, use, evaluate."""


@commands.group("experiment", cls=Commands, source="mimicme.commands.experiment.commands")
def experiment_group() -> None:
    """What papers ask of a database of faces, on people never seen."""
