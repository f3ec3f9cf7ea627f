"""`mimicme model`: its commands, in their order, each with help; what they do is tested where it is done."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mimicme.cli import main

COMMANDS = [
    "build",
    "info",
    "pictures",
    "project",
    "reconstruct",
    "sample",
    "interpolate",
    "transfer",
    "personal",
    "fit",
    "export",
    "evaluate",
    "compare",
]


def call(*arguments):
    return CliRunner().invoke(main, ["model", *arguments], prog_name="mimicme")


def test_help_lists_the_commands_in_order():
    result = call("--help")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.split("Commands:")[1].splitlines() if line.strip()]
    assert listed[: len(COMMANDS)] == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = call(name, "--help")
    assert result.exit_code == 0
    assert f"Usage: mimicme model {name}" in result.output.splitlines()[0]
    assert len(result.output) > 50
