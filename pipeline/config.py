"""Settings: typed sections, read from a TOML file, the environment and the command line, in that order.

Precedence, weakest first: defaults of the classes < `--preset` < `mimicme.toml` < environment
(`MIMICME_REGISTER_MAX_ITERATIONS`: section and key in capitals) < `--set register.max_iterations=30`.  A
preset lies under the file because what a lab wrote into its own file is meant for its own captures, and a
preset is meant for everyone.

An unknown section or key, or a value of another type, is an error that names what was probably meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.settings_text import Setting, as_comment, settings_of
from mimicme.pipeline.stage import Stage

PREFIX = "MIMICME_"
UNRECORDED = types.MappingProxyType({"recorded": False})
MOVED = types.MappingProxyType({"shown": False})
"""Of a field whose setting stands in another section now (`formerly` there): it stays in records, so that what was made
with it stays current, and is read no more."""


Up = Literal["auto", "+x", "-x", "+y", "-y", "+z", "-z"]
"""The axis to the top of the head."""


@dataclass(frozen=True)
class CapturesSection:
    """Where the captures lie and what is known about them.

    Attributes:
        root: folder of the captures; relative to the workspace.
        layout: pattern of the captures' paths, or the name of a layout; empty: found by trying.
        unit: length unit of the captures' files: `auto`, `mm`, `cm`, `m`, `um`, `in`, or the number of millimetres of
            one file unit.
        up: axis of the captures' files that points to the top of the head.
        fps: frame rate (frames per second); nan: unknown.
        consent_yes: words of the table's column `consent` that are a yes, besides yes, given, signed and the like.
        consent_missing: whether a subject without a consent, in a table that has such a column, is left out
            (`exclude`) or worked on (`include`).
        not_same: pairs of a subject of the table and a capture folder that are two persons, though spelled alike.
        sides: whose left the "left" of the landmark files is: `image` (the image's left, the subject's right) or
            `subject`.
        mirrored: whether the files are mirror images (left-handed axes), to be mirrored back: `yes`, `no`, or `auto`:
            where landmarks and the winding of the triangles both say so.
        texture_v: which way the texture coordinate v of the meshes runs: as their format says (`file`), or the other
            way (`flipped`), as some programs write it, so that images come out upside down.
    """

    root: str = ""
    layout: str = ""
    unit: str | float = "auto"
    up: Up = "auto"
    fps: float = math.nan
    consent_yes: tuple[str, ...] = ()
    consent_missing: Literal["exclude", "include"] = "exclude"
    not_same: tuple[tuple[str, str], ...] = ()
    sides: Literal["image", "subject"] = field(default="image", metadata={"formerly": "landmarks.sides"})
    mirrored: Literal["auto", "yes", "no"] = "auto"
    texture_v: Literal["file", "flipped"] = "file"

    def __post_init__(self) -> None:
        named = ("auto", "mm", "cm", "m", "um", "in")
        text = self.unit_text
        if text not in named:
            try:
                good = 0 < float(text) < math.inf
            except ValueError:
                good = False
            if not good:
                raise ValueError(
                    f"unit is {self.unit!r}, expected {', '.join(named)} or a number of millimetres"
                )
        if self.up not in typing.get_args(Up):
            raise ValueError(f"up is {self.up!r}, expected {', '.join(typing.get_args(Up))}")
        if self.fps <= 0 or math.isinf(self.fps):
            raise ValueError(f"fps is {self.fps}, expected a positive number, or nan for unknown")

    @property
    def unit_text(self) -> str:
        """The unit as text, a number in one way of writing it."""
        try:
            return f"{float(self.unit):.17g}"
        except ValueError:
            return str(self.unit)


@dataclass(frozen=True)
class TemplateSection:
    """The template that is fitted to every scan.

    Attributes:
        file: `menpo3d`, the embedded template, or an OBJ or PLY file with its landmarks beside it.
    """

    file: str = "menpo3d"


@dataclass(frozen=True)
class MetadataSection:
    """What is known of the subjects.

    Attributes:
        file: table (CSV, TSV or XLSX) with a column `subject`; empty: none.
        columns: the table's columns by name here, where they are called otherwise, as in
            `{subject = "ID", age = "Age at scan"}`; of `subject`, `age`, `gender`, `ethnicity`, `consent` and `split`.
    """

    file: str = ""
    columns: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ("subject", "age", "gender", "ethnicity", "consent", "split")
        for name, column in self.columns.items():
            if name not in known or not isinstance(column, str) or not column.strip():
                raise ValueError(
                    f"columns has {name} = {column!r}, expected names of columns for {', '.join(known)}"
                )


@dataclass(frozen=True)
class ExpressionsSection:
    """Which expression a sequence shows.

    Attributes:
        file: table (CSV, TSV or XLSX) with the columns `sequence` and `expression`; empty: the sequences' names decide.
    """

    file: str = ""


@dataclass(frozen=True)
class LicenceSection:
    """Terms of the release.

    Attributes:
        text: terms under which the release may be used; they are written into it.
    """

    text: str = ""


@dataclass(frozen=True)
class RunSection:
    """How a run works.

    Attributes:
        preset: values that several settings take together, speed against accuracy; a value that
            is given for one of them takes precedence.
        frame_limit_s: seconds that a frame may take in one stage; a sequence that takes longer than this for each of
            its frames hangs: it is ended, has failed, and the others go on; 0: no limit. It holds where a run has
            workers of its own (not with `--jobs 0` or dask).
    """

    preset: Literal["fast", "default", "best"] = "default"
    frame_limit_s: float = 900.0

    def __post_init__(self) -> None:
        if not 0 <= self.frame_limit_s < math.inf:
            raise ValueError(f"frame_limit_s is 0 or more seconds, not {self.frame_limit_s}")


WORKSPACE_SECTIONS: dict[str, type] = {
    "captures": CapturesSection,
    "template": TemplateSection,
    "metadata": MetadataSection,
    "expressions": ExpressionsSection,
    "licence": LicenceSection,
    "run": RunSection,
}


@dataclass(frozen=True)
class Config:
    """Resolved settings.

    Attributes:
        captures, template, metadata, expressions, licence, run: the workspace's own sections.
        stages: settings instance by stage name.
        origins: where each value that is not a default came from, by `section.key`.
    """

    captures: CapturesSection
    template: TemplateSection
    metadata: MetadataSection
    expressions: ExpressionsSection
    licence: LicenceSection
    run: RunSection
    stages: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def changed_from(self, other: Config) -> list[str]:
        """Names, `section.key`, of the settings that have another value than in `other`."""
        mine, theirs = self._values(), other._values()
        return [name for name in mine if name not in theirs or mine[name] != theirs[name]]

    def _values(self) -> dict[str, Any]:
        sections = {name: getattr(self, name) for name in WORKSPACE_SECTIONS} | dict(self.stages)
        return {
            f"{name}.{key}": value
            for name, section in sections.items()
            for key, value in settings_record(section).items()
        }

    def to_toml(self) -> str:
        """The whole configuration as TOML; what is not a default says where it came from."""
        sections = {name: getattr(self, name) for name in WORKSPACE_SECTIONS} | dict(self.stages)
        return "\n".join(_section_toml(name, value, self.origins) for name, value in sections.items())


def load(
    path: Path | None,
    stages: Iterable[Stage] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    sets: Iterable[str] = (),
) -> Config:
    """Read and resolve the configuration.

    Args:
        path: the TOML file; None: none.
        stages: their settings classes are sections too; None: only the workspace's own sections are read and
            checked, the others are left to whoever knows the stages.
        environ: environment variables; default `os.environ`.
        sets: `section.key=value` of the command line; `--preset fast` is `run.preset=fast`.

    Raises:
        ConfigError: unknown section or key, wrong type, value out of range, unreadable file.
    """
    known_stages = list(stages or ())
    classes = WORKSPACE_SECTIONS | {s.name: s.settings for s in known_stages}
    values: dict[str, dict[str, tuple[Any, str]]] = {name: {} for name in classes}

    variables = os.environ if environ is None else environ
    for section, key, value, origin in _from_file(path, classes, strict=stages is not None):
        values[section][key] = (value, origin)
    for section, key, text, origin in _from_environ(variables, classes):
        values[section][key] = (_parse(text, _types(classes[section])[key]), origin)
    for section, key, text, origin in _from_sets(sets, classes, strict=stages is not None):
        values[section][key] = (_parse(text, _types(classes[section])[key]), origin)

    origins: dict[str, str] = {}
    built: dict[str, Any] = {}
    built["run"] = _build("run", RunSection, values["run"], origins)
    for stage in known_stages:
        for key, value in stage.settings_by_preset.get(built["run"].preset, {}).items():
            values[stage.name].setdefault(key, (value, f"preset {built['run'].preset}"))
    for name, kind in classes.items():
        if name != "run":
            built[name] = _build(name, kind, values[name], origins)
    own = {name: built[name] for name in WORKSPACE_SECTIONS}
    return Config(**own, stages={s.name: built[s.name] for s in known_stages}, origins=origins)


def _from_file(
    path: Path | None, classes: Mapping[str, type], strict: bool
) -> Iterable[tuple[str, str, Any, str]]:
    if path is None:
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the configuration cannot be read", where=path, seen=error) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("the configuration is not valid TOML", where=path, seen=error) from error
    for (section, key), place in _former(classes).items():
        keys = table.get(section)
        if isinstance(keys, dict) and key in keys:
            yield *place, keys[key], f"{path.name} [{section}]"
    for section, keys in table.items():
        if not isinstance(keys, dict):
            raise ConfigError(
                f"'{section}' stands outside of a section",
                where=path.name,
                todo="Put it under a [section] line.",
            )
        if section not in classes:
            if strict:
                raise _unknown(path.name, "section", section, classes)
            continue
        for key, value in keys.items():
            if key not in _types(classes[section]):
                raise _unknown(f"{path.name} [{section}]", "setting", key, _types(classes[section]))
            yield section, key, value, path.name


def _from_environ(
    environ: Mapping[str, str], classes: Mapping[str, type]
) -> Iterable[tuple[str, str, str, str]]:
    for before, place in _former(classes).items():
        former = PREFIX + "_".join(before).upper()
        if former in environ:
            yield *place, environ[former], former
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        rest = variable[len(PREFIX) :].lower()
        section = max((n for n in classes if rest.startswith(f"{n}_")), key=len, default=None)
        if section is None:  # not ours to judge: other programs may use the prefix
            continue
        key = rest[len(section) + 1 :]
        if key not in _types(classes[section]):
            raise _unknown(f"environment variable {variable}", "setting", key, _types(classes[section]))
        yield section, key, environ[variable], variable


def _from_sets(
    sets: Iterable[str], classes: Mapping[str, type], strict: bool
) -> Iterable[tuple[str, str, str, str]]:
    given = list(sets)
    for text in given:  # a former place first: what stands in the new one wins
        for (section, key), place in _former(classes).items():
            if moved := re.fullmatch(rf"\s*{section}\.{key}\s*=(.*)", text, re.DOTALL):
                yield *place, moved[1].strip(), "--set"
    for text in given:
        match = re.fullmatch(r"\s*([^.=\s]+)\.([^.=\s]+)\s*=(.*)", text, re.DOTALL)
        if match is None:
            raise ConfigError(
                "this sets nothing",
                where="--set",
                seen=repr(text),
                expected="SECTION.KEY=VALUE, as in bake.size=512",
            )
        section, key, value = match[1], match[2], match[3].strip()
        if section not in classes:
            if strict:
                raise _unknown("--set", "section", section, classes)
            continue
        if key not in _types(classes[section]):
            raise _unknown(f"--set {section}", "setting", key, _types(classes[section]))
        yield section, key, value, "--set"


def _unknown(where: str, kind: str, seen: str, known: Iterable[str]) -> ConfigError:
    names = list(known)
    close = difflib.get_close_matches(seen, names, n=1, cutoff=0.5)
    return ConfigError(
        f"there is no {kind} '{seen}'",
        where=where,
        expected=None if close else "one of " + (", ".join(names) or "none: it has no settings"),
        todo=f"Did you mean '{close[0]}'?" if close else None,
    )


def _former(classes: Mapping[str, type]) -> dict[tuple[str, str], tuple[str, str]]:
    """Section and key of settings that have moved, by those that they had before (a field's `formerly`)."""
    moved: dict[tuple[str, str], tuple[str, str]] = {}
    for section, kind in classes.items():
        for f in dataclasses.fields(kind):
            before, dot, key = f.metadata.get("formerly", "").partition(".")
            if dot:
                moved[before, key] = (section, f.name)
    return moved


def _types(kind: type) -> dict[str, Any]:
    """Type of each setting of a settings class, by name."""
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init}


def _build(section: str, kind: type, values: Mapping[str, tuple[Any, str]], origins: dict[str, str]) -> Any:
    hints = _types(kind)
    checked = {}
    for key, (value, origin) in values.items():
        if key not in hints:  # only a preset can get here
            raise _unknown(f"{origin}, section {section}", "setting", key, hints)
        ok, converted = _convert(value, hints[key])
        if not ok:
            raise ConfigError(
                f"'{section}.{key}' has a value of the wrong type",
                where=origin,
                seen=f"{value!r} ({type(value).__name__})",
                expected=type_words(hints[key]),
            )
        checked[key] = converted
        origins[f"{section}.{key}"] = origin
    try:
        return kind(**checked)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"section [{section}] is not usable: {error}") from error


def _convert(value: Any, hint: Any) -> tuple[bool, Any]:
    """Whether `value` (of TOML) is of the type, and the value as that type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True, value
    if origin is Literal:
        return value in args, value
    if origin in (typing.Union, types.UnionType):
        for option in args:
            ok, converted = _convert(value, option)
            if ok:
                return True, converted
        return False, value
    if hint is type(None):
        return value in (None, "none"), None
    if hint is float:
        # a whole number is a number; a truth value is not
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        return good, float(value) if good else value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if hint in (bool, str):
        return isinstance(value, hint), value
    if origin in (tuple, list):
        return _convert_many(value, origin, args)
    if origin is dict or hint is dict:
        return isinstance(value, dict), value
    raise ConfigError("a settings class uses a type that settings cannot have", seen=hint)


def _convert_many(value: Any, origin: type, args: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, (list, tuple)):
        return False, value
    if origin is list or args[-1] is Ellipsis:
        hints = [args[0]] * len(value)
    elif len(args) != len(value):
        return False, value
    else:
        hints = list(args)
    pairs = [_convert(v, h) for v, h in zip(value, hints, strict=True)]
    return all(ok for ok, _ in pairs), origin(v for _, v in pairs)


def _parse(text: str, hint: Any) -> Any:
    """The value that a piece of text stands for (environment, `--set`)."""
    if hint is str:
        return text
    if text.lower() in ("true", "false", "none"):
        parsed: Any = {"true": True, "false": False, "none": "none"}[text.lower()]
    else:
        try:
            parsed = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = text
    ok, _ = _convert(parsed, hint)
    return parsed if ok or not _convert(text, hint)[0] else text


def type_words(hint: Any) -> str:
    """A type in words, for messages."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    simple = {
        float: "a number",
        int: "a whole number",
        bool: "true or false",
        str: "text",
        type(None): "none",
    }
    if hint in simple:
        return simple[hint]
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(a) for a in args)
    if origin in (tuple, list):
        if origin is list or args[-1] is Ellipsis:
            return f"a list, each {type_words(args[0])}"
        return f"a list of {len(args)}: " + ", ".join(type_words(a) for a in args)
    return str(hint)


def settings_record(settings: Any) -> dict[str, Any]:
    """Settings as a JSON-able record: what goes into a fingerprint and into the release.

    A field declared with `metadata=UNRECORDED` is left out: it says where a thing lies that is the same anywhere.
    """
    fields = [f for f in dataclasses.fields(settings) if f.metadata.get("recorded", True)]
    return {f.name: _plain(getattr(settings, f.name)) for f in fields}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return settings_record(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it, and nan is not equal to itself
    return value


def _section_toml(name: str, settings: Any, origins: Mapping[str, str]) -> str:
    lines = [f"[{name}]"]
    for f in (f for f in dataclasses.fields(settings) if f.metadata.get("shown", True)):
        value, origin = getattr(settings, f.name), origins.get(f"{name}.{f.name}")
        said = f"  # {origin}" if origin else ""
        if value is None:
            lines.append(f"# {f.name}: none{said}")
        else:
            lines.append(f"{f.name} = {toml_value(value)}{said}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """One value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml_value(v)}" for k, v in value.items()) + "}"
    raise ConfigError("this cannot be written as TOML", seen=repr(value))


def new_file(sections: Mapping[str, Any], stages: Iterable[Stage] = ()) -> str:
    """Text of a new `mimicme.toml`: the workspace's sections, and as comments `[run]` and every stage's settings.

    Above each setting stands what it means (`settings_text`), its unit, default and choices.
    """
    blocks = [
        "# Settings of this workspace.  To change one for good, take away the '#' before its name and write\n"
        "# the new value; the next `mimicme run` makes again what depends on it.  The first of these that\n"
        "# says something counts: --set bake.size=512, the environment (MIMICME_BAKE_SIZE=512), this file,\n"
        "# --preset, the default.\n"
    ]
    blocks += [_explained_toml(name, value, "") for name, value in sections.items()]
    if "run" not in sections:
        blocks.append(_explained_toml("run", RunSection(), "# "))
    blocks += [_explained_toml(stage.name, stage.settings(), "# ") for stage in stages]
    return "\n".join(blocks)


def facts(setting: Setting) -> str:
    """Type, unit, default and choices of a setting, as short as they can be said: `int, texels; default 1024`."""
    kind = ", ".join(word for word in (setting.type, setting.unit) if word)
    kind = kind or "one of " + ", ".join(toml_value(choice) for choice in setting.choices)
    return f"{kind}; default {'none' if setting.default is None else toml_value(setting.default)}"


def _explained_toml(name: str, settings: Any, before: str) -> str:
    """A section; `before` stands before each setting."""
    blocks = [f"[{name}]\n"]
    for setting in settings_of(type(settings)):
        value = getattr(settings, setting.name)
        lines = [*as_comment(setting.sentence), *as_comment(facts(setting))]
        if value is None:
            lines.append(f"# {setting.name}: none")
        else:
            lines.append(f"{before}{setting.name} = {toml_value(value)}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)
