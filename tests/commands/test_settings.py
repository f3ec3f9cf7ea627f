"""The settings in words: docs/settings.md is what the code says."""

from __future__ import annotations

import re

import pytest

from mimicme.commands.settings import PAGE_COMMAND, page, settings_lines
from mimicme.pipeline import config
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.settings_text import settings_of
from mimicme.stages import FLOW, STAGES


@pytest.fixture(scope="module")
def written() -> str:
    return page(STAGES, FLOW)


def test_the_page_is_what_the_code_says(repository, written):
    file = repository / "docs" / "settings.md"
    there = file.read_text(encoding="utf-8") if file.is_file() else ""
    assert there == written, f"docs/settings.md is out of date; write it with: {PAGE_COMMAND}"


def test_the_page_has_every_setting_that_is_shown_once(written):
    sections = dict(re.findall(r"## `\[(\w+)\]`\n(.*?)(?=\n## |\Z)", written, re.DOTALL))
    assert list(sections) == [*config.WORKSPACE_SECTIONS, *FLOW]
    classes = config.WORKSPACE_SECTIONS | {s.name: s.settings for s in STAGES}
    for name, text in sections.items():
        assert re.findall(r"(?m)^- \*\*`(\w+)`\*\*", text) == [s.name for s in settings_of(classes[name])]
    assert "sides" not in sections["landmarks"]


def test_the_page_is_easy_to_read(written):
    assert max(map(len, written.splitlines())) <= 120
    cells = [c for line in written.splitlines() if line.startswith("|") for c in line.split("|")]
    assert cells and max(map(len, cells)) <= 120
    assert "- **`size`** (int, texels; default `1024`): Side length" in written


def test_precedence_as_the_page_has_it(written):
    places = (
        "the default",
        "--preset fast",
        "mimicme.toml",
        "MIMICME_BAKE_SIZE=2048",
        "--set bake.size=2048",
    )
    listed = re.findall(r"(?m)^\d\. .*$", written)
    assert [place in line for place, line in zip(places, listed, strict=True)] == [True] * 5


def test_the_example_is_true(tmp_path, written):
    line, changed = "# size = 1024", "size = 2048"
    assert f"    {line}\n" in written and f"    {changed}\n" in written
    text = config.new_file({}, STAGES)
    head, bake = text.split("[bake]")
    assert line in bake
    path = tmp_path / "mimicme.toml"
    path.write_text(f"{head}[bake]{bake.replace(line, changed, 1)}")
    read = config.load(path, STAGES, environ={})
    assert read.changed_from(config.load(None, STAGES, environ={})) == ["bake.size"]


def test_presets_as_the_page_has_them(written):
    rows = re.findall(r"(?m)^\| `(\w+\.\w+)` \| (.+) \| (.+) \| (.+) \|$", written)
    given = {f"{s.name}.{key}" for s in STAGES for values in s.settings_by_preset.values() for key in values}
    assert {name for name, *_ in rows} == given
    for place, preset in enumerate(("fast", "default", "best")):
        read = config.load(None, STAGES, environ={}, sets=[f"run.preset={preset}"])
        for name, *values in rows:
            section, key = name.split(".")
            assert values[place] == config.toml_value(getattr(read.stages[section], key))


def test_values_and_where_they_come_from(tmp_path):
    path = tmp_path / "mimicme.toml"
    path.write_text('[bake]\nsize = 512\n[run]\npreset = "best"\n')
    read = config.load(path, STAGES, environ={"MIMICME_BAKE_QUALITY": "80"})
    lines = settings_lines(STAGES, read, "bake")
    assert lines[0] == "[bake]"
    assert "size = 512  (from mimicme.toml; int, texels; default 1024)" in lines
    assert "quality = 80  (from MIMICME_BAKE_QUALITY; int, no unit; default 95)" in lines
    assert "fill = true  (from default; bool; default true)" in lines
    assert "size = 1024  (from preset best; int, texels; default 512)" in settings_lines(
        STAGES, read, "refine"
    )
    assert 'preset = "best"  (from mimicme.toml; one of "fast", "default", "best"; default "default")' in (
        settings_lines(STAGES, read)
    )


def test_one_section():
    assert page(STAGES, FLOW, "project").startswith(
        f"## `[project]`\n\n{FLOW['project']}\n\n- **`max_distance_mm`**"
    )
    assert settings_lines(STAGES, section="repass")[0] == "[repass]"
    for ask in (lambda: settings_lines(STAGES, section="bakes"), lambda: page(STAGES, FLOW, "bakes")):
        with pytest.raises(UsageError, match=r"'bakes'.*bake, project"):
            ask()
