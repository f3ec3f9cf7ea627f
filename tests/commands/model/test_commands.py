"""`mimicme model`: its commands, in their order, each with help; what they do is tested where it is done."""

from __future__ import annotations

import pytest
from shared_helpers import assert_has_help, assert_help_lists

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


def test_help_lists_the_commands_in_order():
    assert_help_lists(COMMANDS, "model")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    assert_has_help("model", name)
