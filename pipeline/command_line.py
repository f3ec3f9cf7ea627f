"""What every command is made of: kinds of arguments, groups whose errors are sentences, how results are said.

Stands on click and nothing heavier, so that `--help` is quick.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from mimicme.pipeline.run.progress import Console
    from mimicme.pipeline.workspace import Workspace

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FOLDER = click.Path(file_okay=False, path_type=Path)
WORKSPACE = FOLDER
FILE = click.Path(dir_okay=False, path_type=Path)


class _ReleaseFile(click.Path):
    """A file that is there; of the release of a workspace that has none yet, the command that makes it is told."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if path.name == "release.h5" and not path.exists() and (path.parent / "mimicme.toml").is_file():
            makes = f"mimicme run {shlex.quote(str(path.parent))}"
            self.fail(f"There is no release '{path}' yet: `{makes}` makes it.", param, ctx)
        return super().convert(value, param, ctx)


RELEASE = _ReleaseFile(exists=True, dir_okay=False, path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what is there.")
PRESETS = ("fast", "default", "best")
"""Of `config.RunSection`, which is heavier than a help text may be."""
USES = ("research", "papers", "training", "raw", "commercial")
"""Of `release.permitted`, likewise."""
LINE_S = 20.0
"""Between two lines of `synth`, `report` and `plan` that say how far they are, where there is no terminal."""
RESULTS = click.option("--output", type=FOLDER, required=True, help="Folder for tables and plots.")


def stacked(*options: Decorator) -> Decorator:
    """Options that several commands share, as one decorator; the help lists them in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _columns(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """`NAME=COLUMN` by name."""
    pairs = {name.strip(): column.strip() for name, _, column in (one.partition("=") for one in given)}
    for name, column in pairs.items():
        if not name or not column:
            raise click.BadParameter(f"'{name}={column}' is not NAME=COLUMN, as in subject=ID", param=option)
    return pairs


SETTINGS_OPTIONS = stacked(
    click.option(
        "--preset",
        type=click.Choice(PRESETS),
        help="Defaults to begin from; mimicme.toml and --set come after.",
    ),
    click.option(
        "--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting (repeatable)."
    ),
)
CAPTURED_OPTIONS = stacked(
    click.option("--metadata", type=FILE, help="CSV or XLSX: subject, age, gender, ethnicity, consent, ..."),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=COLUMN",
        callback=_columns,
        help="Of the metadata, as in subject=ID (repeatable).",
    ),
    click.option("--expressions", type=FILE, help="CSV or XLSX: sequence, expression."),
    click.option("--fps", type=float, default=float("nan"), help="Frames per second."),
)
LICENCE_OPTION = click.option("--licence", default="", metavar="TEXT", help="Terms of the release.")


def for_use(help: str) -> Decorator:
    """`--for`, what something is wanted for: subjects permit some uses and not others."""
    return click.option("--for", "use", type=click.Choice(USES), help=help)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Errors raised on purpose become one sentence on standard error and an exit status."""
    from mimicme.pipeline.errors import MimicmeError, exit_status
    from mimicme.pipeline.numerics.memory import for_want_of_memory
    from mimicme.pipeline.whole_file import of_disk

    try:
        yield
    except MimicmeError as error:
        _complain(f"mimicme: {error}")
        sys.exit(exit_status(error))
    except MemoryError:
        _say_no_memory()
    except KeyboardInterrupt:
        _complain("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # `mimicme status | head`
        sys.stderr.close()
        sys.exit(0)
    except (ImportError, OSError, SystemError) as error:
        of_a_disk = isinstance(error, OSError) and of_disk(
            error.filename, error, "the disk is full, or fails"
        )
        if of_a_disk:
            _complain(f"mimicme: {of_a_disk}")
            sys.exit(2)
        if not for_want_of_memory(error):  # libraries find no room in words of their own
            raise
        _say_no_memory()


def _say_no_memory() -> NoReturn:
    from mimicme.pipeline.numerics.memory import not_enough

    said = not_enough()
    _complain(f"mimicme: {said[:1].lower()}{said[1:]} What is done stays.")
    sys.exit(1)


def _complain(text: str) -> None:
    """Say what was wrong; the exit status says it where standard error cannot be written either, as on a full disk."""
    with suppress(OSError):
        click.echo(text, err=True)


class Commands(click.Group):
    """Commands in the order of the flow; errors are sentences, a wrong name gets a hint.

    Attributes:
        source: name of a module whose `commands` belong to this group, imported when one of them is
            named; '': there is none, or it has been.
        sources: name of a module for each of some commands, whose `commands` are imported when that one is named, or
            all are listed; they come after those that are there.
        examples: of the outermost group alone: lines that show how a command is used, by its words (`model build`).
    """

    def __init__(
        self,
        *args: Any,
        source: str = "",
        sources: Mapping[str, str] | None = None,
        examples: Callable[[str], tuple[str, ...]] = lambda command: (),
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.source, self.sources, self.examples = source, dict(sources or {}), examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._load()
        return [*(name for name in self.commands if name not in self.sources), *self.sources]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        self._load()
        if cmd_name in self.sources and cmd_name not in self.commands:
            self.commands.update(import_module(self.sources[cmd_name]).commands.commands)
        command = super().get_command(ctx, cmd_name)
        root = ctx.find_root()
        if command is not None and command.epilog is None and isinstance(root.command, Commands):
            words, above = [cmd_name], ctx
            while above.parent is not None:
                words.insert(0, above.info_name or "")
                above = above.parent
            lines = root.command.examples(" ".join(words))
            command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines) if lines else None
        return command

    def _load(self) -> None:
        if self.source:
            self.commands.update(import_module(self.source).commands.commands)
            self.source = ""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args and Path(args[0]).is_dir():
                hint = f"{error.message} Did you mean `mimicme run {shlex.quote(args[0])}`?"
                raise click.UsageError(hint, ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        with errors_as_sentences():
            return super().invoke(ctx)


def say_progress(message: str) -> None:
    """One line on standard error: standard output is for results."""
    click.echo(message, err=True)


@contextmanager
def drawing(at_once: bool = False) -> Iterator[Console]:
    """A console on standard error whose line of progress is gone when the work is over; `at_once`: see `Console`."""
    from mimicme.pipeline.run.progress import Console

    console = Console(sys.stderr, at_once=at_once)
    try:
        yield console
    finally:
        console.clear()


def say_unheeded(workspace: Workspace) -> None:
    """Say which verdicts and corrections count for nothing: until they are mended, whoever uses them is told."""
    for sentence in workspace.catalogue().unheeded:
        click.echo(sentence, err=True)


def say_result(
    record: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], list[str]], output: Path
) -> None:
    """Print a result: as JSON and nothing else, or as `lines` and where tables and plots are."""
    click.echo(json.dumps(record, indent=1) if as_json else "\n".join(lines(record)))
    if not as_json:
        click.echo(f"Tables and plots in {output}")
