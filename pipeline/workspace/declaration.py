"""What a workspace declares: its own sections of the settings, as its file and whoever opened it have them."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mimicme.pipeline import config as configs
from mimicme.pipeline.config import Config
from mimicme.pipeline.errors import ConfigError, UsageError
from mimicme.pipeline.items import Captures
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import write_whole

CONFIG_NAME = "mimicme.toml"
RESERVED = ("failures", "runs", "template", "report", "corrections")
"""Folders of a workspace beside those of the stages."""
_OF_CONSENT = ("captures.consent", "captures.not_same", "metadata.")


class Declaration:
    """The workspace's own sections of the settings, with what overrides them.

    Attributes:
        root: folder of the workspace, which paths in it start from.
        own: the sections, resolved.
        overrides: settings given when the workspace was opened, as `section.key=value`.
    """

    def __init__(
        self,
        root: Path,
        own: Config,
        environ: Mapping[str, str] | None = None,
        overrides: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.own = own
        self.overrides = overrides
        self._environ = environ

    @classmethod
    def read(cls, folder: Path, environ: Mapping[str, str] | None, sets: Iterable[str]) -> Declaration:
        """That of a workspace which is there.

        Raises:
            UsageError: there is no workspace.
            ConfigError: its settings are wrong.
        """
        if not (folder / CONFIG_NAME).is_file():
            raise UsageError(
                "this is not a workspace",
                where=folder,
                expected=f"a folder with {CONFIG_NAME}",
                todo=f"Make one with: mimicme init {shlex.quote(str(folder))} --captures DIR",
            )
        chosen = tuple(sets)
        own = configs.load(folder / CONFIG_NAME, environ=environ, sets=chosen)
        return cls(Path(os.path.realpath(folder)), own, environ, chosen)

    @classmethod
    def new(
        cls,
        folder: Path,
        *,
        captures: str | Path,
        layout: str,
        template: str | Path,
        metadata: str | Path | None,
        columns: Mapping[str, str] | None,
        expressions: str | Path | None,
        unit: str | float,
        up: str,
        fps: float,
        licence: str,
    ) -> Declaration:
        """That of a new workspace (`Workspace.create` says what each means); files by their full paths.

        Raises:
            ConfigError: something is not what it can be.
        """

        def full(path: str | Path | None) -> str:
            return "" if path is None else str(Path(path).resolve())

        values: dict[str, dict[str, Any]] = {
            "captures": {
                "root": full(captures),
                "layout": layout,
                "unit": unit,
                "up": up,
                "fps": float(fps),
            },
            "template": {"file": full(template) if Path(template).exists() else str(template)},
            "metadata": {"file": full(metadata), "columns": dict(columns or {})},
            "expressions": {"file": full(expressions)},
            "licence": {"text": licence},
        }
        try:
            sections = {name: configs.WORKSPACE_SECTIONS[name](**value) for name, value in values.items()}
        except ValueError as error:
            raise ConfigError(str(error)) from error
        own = Config(**sections, run=configs.RunSection())
        return cls(Path(os.path.realpath(folder)), own, {})

    def settle_layout(self, pattern: str) -> None:
        """Declare the layout that was found, so that captures that come later do not change what a path means."""
        self.own = replace(self.own, captures=replace(self.own.captures, layout=pattern))

    def write(self, path: Path, stages: Iterable[Stage]) -> None:
        """Write a new file of settings, with those of the stages as comments.

        Raises:
            OutputError: there is no room for it.
        """
        # what a run is to do is no declaration: its section is left to the comments
        sections = {name: getattr(self.own, name) for name in configs.WORKSPACE_SECTIONS if name != "run"}
        write_whole(path, configs.new_file(sections, stages))

    def config(self, stages: Iterable[Stage]) -> Config:
        """The resolved settings of the workspace and of these stages.

        Raises:
            ConfigError: see `config.load`.
        """
        return configs.load(self.root / CONFIG_NAME, stages, environ=self._environ, sets=self.overrides)

    def path(self, text: str) -> Path:
        """The full path of a file that is named in it."""
        return Path(os.path.normpath(self.root / Path(text).expanduser()))

    @property
    def captures(self) -> Captures:
        """What is declared about the captures.

        Raises:
            ConfigError: it names none.
        """
        section = self.own.captures
        if not section.root:
            raise ConfigError(
                "the workspace names no captures",
                where=self.root / CONFIG_NAME,
                todo="Set `root` in its section [captures].",
            )
        return Captures(
            self.path(section.root),
            section.unit_text,
            section.up,
            section.fps,
            section.sides,
            section.mirrored,
            section.texture_v,
        )

    def holds_captures(self, folder: Path) -> bool:
        """Whether a folder of the workspace lies among the raw captures, or they in it."""
        captures, real = os.path.realpath(self.captures.root), Path(os.path.realpath(folder))
        among = real.is_relative_to(captures) and not self.root.is_relative_to(captures)
        return among or Path(captures).is_relative_to(real)


def check_place(folder: Path, captures: str | Path, stages: Iterable[str], replace_settings: bool) -> None:
    """Whether a workspace can be made there.

    Raises:
        UsageError: there is one already, or something else, or the captures lie in its way.
    """
    path = folder / CONFIG_NAME
    if path.exists() and not replace_settings:
        raise UsageError(
            "this is a workspace already",
            where=folder,
            todo="New folders below its captures, laid out as those that are there, are taken by the next "
            f"`mimicme run {shlex.quote(str(folder))}`. To declare something else change {path}, or give another "
            "folder.",
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError("a workspace is a folder", where=folder, seen="a file")
    raw = Path(os.path.realpath(captures))
    if any(raw.is_relative_to(os.path.realpath(folder / name)) for name in (*RESERVED, *stages)):
        raise UsageError(
            "the captures lie where the workspace keeps its own files",
            where=captures,
            todo="Move them, or make the workspace elsewhere.",
        )


def read_overrides(file: Path) -> tuple[str, ...]:
    """The overrides that a run was given, as it wrote them down; empty where none can be read.

    Without what was said of consent: who is let in is said each time anew, or in the settings.
    """
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        return ()
    return but_consent(said)


def but_consent(sets: Iterable[str]) -> tuple[str, ...]:
    """Overrides without what was said of consent and of the metadata, which may name people."""
    return tuple(one for one in sets if not one.strip().startswith(_OF_CONSENT))
