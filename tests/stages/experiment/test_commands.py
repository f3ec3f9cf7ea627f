"""`mimicme experiment`: its commands, in their order, each with help; what they do is tested where it is done."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mimicme.cli import main

COMMANDS = ["expressions", "gender", "age", "coma"]


def call(*arguments):
    return CliRunner().invoke(main, ["experiment", *arguments], prog_name="mimicme")


def test_help_lists_the_commands_in_order():
    result = call("--help")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.split("Commands:")[1].splitlines() if line.strip()]
    assert listed[: len(COMMANDS)] == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = call(name, "--help")
    assert result.exit_code == 0
    assert f"Usage: mimicme experiment {name}" in result.output.splitlines()[0]
    assert len(result.output) > 50
