"""The settings in words: what each means, its unit and default, and where a workspace's value comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mimicme.pipeline.config import WORKSPACE_SECTIONS, Config, facts, toml_value
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.settings_text import Setting, settings_of, wrapped
from mimicme.pipeline.stage import Stage

WIDTH = 118
EXAMPLE = ("bake", "size", 2048)
"""Section, name and new value of the setting that the page changes."""
PAGE_COMMAND = "mimicme settings --markdown > docs/settings.md"


def settings_lines(stages: Sequence[Stage], config: Config | None = None, section: str = "") -> list[str]:
    """The settings, a section after the other.

    Args:
        stages: their settings follow on the workspace's own.
        config: of a workspace: its values, and where each comes from, are told; None: the defaults.
        section: of this one alone; '': of all.

    Raises:
        UsageError: there is no such section.
    """
    lines = []
    for name, kind in _sections(stages, section).items():
        lines += ["", f"[{name}]"]
        for setting in settings_of(kind):
            value, origin = setting.default, ""
            if config is not None:
                value = getattr(getattr(config, name, None) or config.stages[name], setting.name)
                origin = f"from {config.origins.get(f'{name}.{setting.name}', 'default')}; "
            lines.append(f"{setting.name} = {_value(value)}  ({origin}{facts(setting)})")
            lines += [f"    {line}" for line in wrapped(setting.sentence, WIDTH - 20)]
    return lines[1:]


def page(stages: Sequence[Stage], flow: Mapping[str, str], section: str = "") -> str:
    """All settings as a page of Markdown: docs/settings.md.

    Args:
        stages: whose settings they are.
        flow: what each stage does, in a sentence, by its name.
        section: the list of this section alone, without what stands before; '': the whole page.

    Raises:
        UsageError: there is no such section.
    """
    parts = [] if section else [_beginning(), _change(stages), _presets(stages)]
    for name, kind in _sections(stages, section).items():
        about = flow.get(name) or (kind.__doc__ or "").splitlines()[0]
        parts.append([f"## `[{name}]`", "", about, "", *_list(settings_of(kind))])
    if not section:
        parts.append(
            ["Next: [stages](stages.md), [captures](captures.md), [back to the README](../README.md)"]
        )
    return "\n".join(line for part in parts for line in [*part, ""]).rstrip() + "\n"


def _sections(stages: Iterable[Stage], section: str) -> dict[str, type]:
    """Settings class of each section, or of the one that is asked for."""
    known = WORKSPACE_SECTIONS | {stage.name: stage.settings for stage in stages}
    if not section:
        return known
    if section not in known:
        raise UsageError(
            "there is no such section of settings", seen=repr(section), expected=f"one of {', '.join(known)}"
        )
    return {section: known[section]}


def _value(value: Any) -> str:
    return "none" if value is None else toml_value(value)


def _list(settings: Iterable[Setting]) -> list[str]:
    """An entry of Markdown for each setting."""
    entries = [f"**`{s.name}`** ({_code(s)}): {s.sentence}" for s in settings]
    return [line for entry in entries for line in _entry(entry)] or ["It has no settings."]


def _code(setting: Setting) -> str:
    """`facts` with its values as code."""
    kind = ", ".join(word for word in (setting.type, setting.unit) if word)
    kind = kind or "one of " + ", ".join(f"`{_value(choice)}`" for choice in setting.choices)
    return f"{kind}; default `{_value(setting.default)}`"


def _entry(text: str) -> list[str]:
    """A list entry in lines."""
    first, *others = wrapped(text, WIDTH - 2)
    return [f"- {first}", *(f"  {line}" for line in others)]


def _beginning() -> list[str]:
    section, key, value = EXAMPLE
    variable = f"MIMICME_{section}_{key}".upper()
    return [
        "# Settings",
        "",
        *wrapped(
            f"Every setting has a section and a name: `{section}.{key}` is `{key}` in the section `[{section}]`. "
            "A section is a stage, or one of the workspace's own. This page is made from the settings classes: "
            f"`{PAGE_COMMAND}` writes it anew.",
            WIDTH,
        ),
        "",
        "A value can be given in five places. The later one in this list takes precedence:",
        "",
        "1. the default, as below;",
        '2. a preset, for several settings together: `--preset fast`, or `preset = "fast"` in `[run]`;',
        f"3. the workspace's file `mimicme.toml`: `{key} = {value}` below the line `[{section}]`;",
        f"4. the environment, for every workspace of a shell: `{variable}={value}`;",
        f"5. the command line, for one run: `--set {section}.{key}={value}`. It is not kept.",
        "",
        *wrapped(
            'A text needs quotes in the file (`format = "webp"`), none in the environment and after `--set`. '
            "A list is written alike everywhere: `--set 'captures.consent_yes=[\"ja\"]'`. A name that does not exist "
            "and a value of another type end a command before anything is done, with exit status 2.",
            WIDTH,
        ),
        "",
        "`mimicme settings WORKSPACE` prints the values of a workspace, and where each comes from.",
    ]


def _change(stages: Sequence[Stage]) -> list[str]:
    section, key, value = EXAMPLE
    stage = next(stage for stage in stages if stage.name == section)
    default = next(s.default for s in settings_of(stage.settings) if s.name == key)
    others = _following(stages, section)
    return [
        "## Change a setting for good",
        "",
        f"For textures of {value} texels a side, open `mimicme.toml` in the workspace and change, below `[{section}]`,",
        "",
        f"    # {key} = {default}",
        "",
        "to",
        "",
        f"    {key} = {value}",
        "",
        "Then",
        "",
        f"    mimicme settings WORKSPACE --section {section}    # {key} = {value}, from mimicme.toml",
        "    mimicme run WORKSPACE --dry-run              # what would be made again, and why",
        "    mimicme run WORKSPACE",
        "",
        *wrapped(
            f"The run makes `{section}` again for every sequence, and what is made from it: "
            f"{', '.join(f'`{name}`' for name in others)}. What the other stages made stays as it is.",
            WIDTH,
        ),
    ]


def _following(stages: Sequence[Stage], first: str) -> list[str]:
    """Stages that read what a stage makes, or read what such a stage makes."""
    found = [first]
    for stage in stages:
        if set(stage.needs) & set(found):
            found.append(stage.name)
    return found[1:]


def _presets(stages: Sequence[Stage]) -> list[str]:
    preset = next(s for s in settings_of(WORKSPACE_SECTIONS["run"]) if s.name == "preset")
    rows = []
    for stage in stages:
        by_preset = stage.settings_by_preset
        for setting in settings_of(stage.settings):
            values = [by_preset.get(name, {}).get(setting.name, setting.default) for name in preset.choices]
            if any(value != setting.default for value in values):
                rows.append([f"`{stage.name}.{setting.name}`", *map(_value, values)])
    table = [
        ["setting", *(f"`{name}`" for name in preset.choices)],
        ["---"] * (1 + len(preset.choices)),
        *rows,
    ]
    return [
        "## What the presets change",
        "",
        *wrapped(
            "`--preset fast` is for a first look, `best` for a release that may take its time. What is not in this "
            "list is the same in all of them.",
            WIDTH,
        ),
        "",
        *(f"| {' | '.join(row)} |" for row in table),
        "",
        'For good: `preset = "best"` in the section `[run]` of `mimicme.toml`.',
    ]
