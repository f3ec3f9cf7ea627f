"""What tests of different rooms share; they import it by its plain name (see conftest.py)."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

MAIN = [sys.executable, "-c", "from mimicme.cli import main; main()"]


SMALL = ("--set", "bake.size=256")
"""Small textures, for what does not depend on their size."""


def mimicme(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """One command in its own process; its exit status is checked."""
    done = subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


def mimicme_here(*arguments: object, code: int = 0) -> Result:
    """One command through the command line, in this process: what a process of its own would only load again is loaded.
    Its exit status is checked; what went wrong inside it is raised."""
    done = called(*arguments)
    assert done.exit_code == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done


def assert_help_lists(commands: Sequence[str], *group: str) -> None:
    """`mimicme GROUP --help` lists these commands in this order."""
    from mimicme.cli import main

    result = CliRunner().invoke(main, [*group, "--help"], prog_name="mimicme")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.split("Commands:")[1].splitlines() if line.strip()]
    assert listed[: len(commands)] == list(commands)


def assert_has_help(*command: str) -> None:
    """`mimicme COMMAND --help` says how it is used, and something about it."""
    from mimicme.cli import main

    result = CliRunner().invoke(main, [*command, "--help"], prog_name="mimicme")
    assert result.exit_code == 0
    assert f"Usage: mimicme {' '.join(command)}" in result.output.splitlines()[0]
    assert len(result.output) > 50


def called(*arguments: object) -> Result:
    """One command in this process; what went wrong inside it is raised."""
    from mimicme.cli import main

    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table."""
    with path.open() as file:
        return list(csv.DictReader(file))


def break_once(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, message: str) -> None:
    """Let a function of a module fail in its numbers when it is called first, and do its work afterwards."""
    real, seen = getattr(module, name), []

    def breaks_once(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 1:
            raise np.linalg.LinAlgError(message)
        return real(*arguments)

    monkeypatch.setattr(module, name, breaks_once)


def touch(root: Path, *names: str) -> Path:
    """Empty files below a folder, which is returned."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root
