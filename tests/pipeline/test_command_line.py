"""Groups of commands: loaded when named, errors as sentences, results on the right stream."""

from __future__ import annotations

import errno
import json
import os
import sys

import click
import pytest
from click.testing import CliRunner

from mimicme.pipeline.command_line import Commands, say_progress, say_result, stacked
from mimicme.pipeline.errors import CheckpointError, ConfigError, ReleaseError, UsageError


def failing(error):
    group = Commands()

    @group.command("fail")
    def fail() -> None:
        raise error

    return CliRunner().invoke(group, ["fail"])


@pytest.mark.parametrize(
    ("kind", "status"), [(UsageError, 2), (ConfigError, 2), (CheckpointError, 1), (ReleaseError, 1)]
)
def test_an_error_made_on_purpose_is_one_sentence(kind, status):
    result = failing(kind("the folder is not there", where="here", todo="Make it."))
    assert result.exit_code == status
    assert result.stdout == ""
    assert result.stderr.startswith("mimicme: here: the folder is not there")
    assert "Traceback" not in result.stderr


def test_other_ends():
    assert failing(KeyboardInterrupt()).exit_code == 130
    full = failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "ws/runs"))
    assert full.exit_code == 2 and full.stderr.startswith(
        "mimicme: ws/runs: the disk is full, or fails; seen No space"
    )
    assert "Make room" in full.stderr
    assert isinstance(failing(OSError(errno.EACCES, "no")).exception, OSError)
    unforeseen = failing(ZeroDivisionError("a bug"))
    assert isinstance(unforeseen.exception, ZeroDivisionError)  # keeps its traceback


@pytest.mark.parametrize("error", [UsageError("no"), OSError(errno.EROFS, "read-only")])
def test_an_error_that_cannot_be_said_has_its_status(error, monkeypatch):
    """As where standard error goes into a file on the full disk that the error is about."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(click, "echo", full)
    assert failing(error).exit_code == 2


@pytest.fixture
def lazy(tmp_path, monkeypatch):
    """A group with one group in a module that exists only on the path."""
    (tmp_path / "lazy_commands_for_test.py").write_text(
        "from mimicme.pipeline.command_line import Commands\n"
        "from mimicme.pipeline.errors import UsageError\n"
        "commands = Commands()\n"
        "@commands.command('second')\n"
        "def second():\n"
        "    'Does the second.'\n"
        "    raise UsageError('not today')\n"
        "@commands.command('first')\n"
        "def first():\n"
        "    'Does the first.'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Commands(commands={"more": Commands("more", help="More of them.", source="lazy_commands_for_test")})
    sys.modules.pop("lazy_commands_for_test", None)


def loaded():
    return "lazy_commands_for_test" in sys.modules


def test_a_group_is_imported_when_it_is_named(lazy):
    result = CliRunner().invoke(lazy, ["--help"])
    assert "More of them." in result.output
    assert not loaded()
    result = CliRunner().invoke(lazy, ["more", "--help"])
    assert loaded()
    assert result.exit_code == 0
    assert result.output.index("Does the second.") < result.output.index("Does the first.")  # as written


def test_commands_of_a_lazy_group_run(lazy):
    assert CliRunner().invoke(lazy, ["more", "first"]).exit_code == 0
    result = CliRunner().invoke(lazy, ["more", "second"])
    assert result.exit_code == 2
    assert result.stderr.strip() == "mimicme: not today."
    result = CliRunner().invoke(lazy, ["more", "third"])
    assert result.exit_code == 2
    assert "No such command 'third'" in result.output


def test_a_folder_in_place_of_a_command_gets_a_hint(lazy, tmp_path):
    assert f"Did you mean `mimicme run {tmp_path}`?" in CliRunner().invoke(lazy, [str(tmp_path)]).output
    blank = tmp_path / "a b"
    blank.mkdir()
    assert f"Did you mean `mimicme run '{blank}'`?" in CliRunner().invoke(lazy, [str(blank)]).output


def test_stacked_options_keep_their_order():
    @click.command()
    @stacked(click.option("--one"), click.option("--two"), click.argument("three"))
    def command(**_):
        pass

    assert [p.name for p in command.params] == ["one", "two", "three"]


def test_results_go_to_standard_output_and_progress_does_not(tmp_path, capsys):
    say_progress("half of it")
    say_result({"error": 0.5}, True, lambda _: ["never"], tmp_path)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": 0.5}
    assert err == "half of it\n"
    say_result({"error": 0.5}, False, lambda record: [f"error {record['error']}"], tmp_path)
    assert capsys.readouterr().out == f"error 0.5\nTables and plots in {tmp_path}\n"
