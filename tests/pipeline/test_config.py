"""Settings: types, precedence, and errors that help."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from typing import Literal

import pytest

from mimicme.pipeline import config
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.stage import Stage


@dataclass(frozen=True)
class Settings:
    max_iterations: int = 10
    stiffness: float = 1.0
    refine: bool = True
    method: Literal["near", "far"] = "near"
    schedule: tuple[float, ...] = (1.0, 0.5)
    size: tuple[int, int] = (4, 4)
    limit: float | None = None
    title: str = "t"

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations is {self.max_iterations}, expected at least 1")


STAGE = Stage(
    "register", 1, Settings, (), lambda task, out: None, settings_by_preset={"fast": {"max_iterations": 2}}
)


def load(tmp_path, text="", environ=None, **more):
    path = tmp_path / "mimicme.toml"
    path.write_text(text)
    return config.load(path, [STAGE], environ=environ or {}, **more)


def test_defaults(tmp_path):
    assert load(tmp_path).stages["register"] == Settings()


def test_precedence_weakest_first(tmp_path):
    def iterations(text="", environ=None, **more):
        return load(tmp_path, text, environ, **more).stages["register"].max_iterations

    file, env = "[register]\nmax_iterations = 3", {"MIMICME_REGISTER_MAX_ITERATIONS": "4"}
    sets = ["register.max_iterations=5"]
    assert iterations() == 10
    assert iterations(sets=["run.preset=fast"]) == 2
    assert iterations(file, sets=["run.preset=fast"]) == 3
    assert iterations(file, env, sets=["run.preset=fast"]) == 4
    assert iterations(file, env, sets=[*sets, "run.preset=fast"]) == 5
    assert iterations('[run]\npreset = "fast"') == 2
    assert iterations('[run]\npreset = "fast"', sets=["run.preset=default"]) == 10


def test_values_of_every_type_from_file_and_text(tmp_path):
    text = '[register]\nstiffness = 2\nrefine = false\nmethod = "far"\nschedule = [3, 2.5]\nlimit = 7\n'
    made = load(tmp_path, text, sets=["register.size=[1,2]", "register.title=12", "register.refine=true"])
    settings = made.stages["register"]
    assert settings == Settings(10, 2.0, True, "far", (3.0, 2.5), (1, 2), 7.0, "12")
    assert isinstance(settings.stiffness, float)
    assert load(tmp_path, text, sets=["register.limit=none"]).stages["register"].limit is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[register]\nmax_iteration = 3", "Did you mean 'max_iterations'"),
        ("[regster]\nx = 3", "Did you mean 'register'"),
        ("[captures]\nlay_out = 'x'", "Did you mean 'layout'"),
        ("[register]\nmax_iterations = 3.5", r"seen 3.5 \(float\), expected a whole number"),
        ("[register]\nmax_iterations = true", "expected a whole number"),
        ("[register]\nrefine = 1", "expected true or false"),
        ("[register]\nmethod = 'middle'", "one of 'near', 'far'"),
        ("[register]\nschedule = ['a']", "a list, each a number"),
        ("[register]\nsize = [1]", "a list of 2"),
        ("[register]\nmax_iterations = 0", "expected at least 1"),
        ("[captures]\nunit = 'furlong'", "furlong"),
        ("[captures]\nunit = -1", "millimetres"),
        ("[captures]\nup = 'z'", "'captures.up'"),
        ("[captures]\nfps = 0", "fps"),
        ("x = 1", "outside of a section"),
        ("[register\n", "not valid TOML"),
    ],
)
def test_mistakes_in_the_file(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ("register.stifness=1", "Did you mean 'stiffness'"),
        ("regist.stiffness=1", "Did you mean 'register'"),
        ("stiffness=1", "SECTION.KEY=VALUE"),
        ("register.stiffness=soft", r"seen 'soft' \(str\), expected a number"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, sets, words):
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, sets=[sets])


def test_mistakes_in_the_environment(tmp_path):
    with pytest.raises(ConfigError, match=r"MIMICME_REGISTER_STIFNESS.*Did you mean 'stiffness'"):
        load(tmp_path, environ={"MIMICME_REGISTER_STIFNESS": "1"})
    assert load(tmp_path, environ={"MIMICME_CACHE": "x", "OTHER": "y"}).origins == {}


def test_preset_with_an_unknown_setting_is_an_error(tmp_path):
    wrong = Stage("a", 1, Settings, (), lambda t, o: None, settings_by_preset={"best": {"stifness": 1.0}})
    with pytest.raises(ConfigError, match="preset best"):
        config.load(None, [wrong], environ={}, sets=["run.preset=best"])


def test_unknown_stages_are_left_to_those_who_know_them(tmp_path):
    path = tmp_path / "mimicme.toml"
    path.write_text("[captures]\nroot = 'c'\n[later]\nx = 1\n")
    assert config.load(path, environ={}, sets=["later.x=2"]).captures.root == "c"


def test_unit_as_a_number_has_one_way_of_writing():
    texts = {config.CapturesSection(unit=unit).unit_text for unit in (25.4, "25.4", "25.40")}
    assert texts == {"25.4"} or len(texts) == 1
    assert float(texts.pop()) == 25.4


def test_snapshot_can_be_read_back(tmp_path):
    made = load(
        tmp_path, '[captures]\nroot = "a\\"b\\n"\n[register]\nlimit = 2', sets=["register.stiffness=1e-3"]
    )
    text = made.to_toml()
    assert "stiffness = 0.001  # --set" in text
    table = tomllib.loads(text)
    assert table["captures"]["root"] == 'a"b\n'
    assert math.isnan(table["captures"]["fps"])
    again = load(tmp_path, text)
    assert again.stages == made.stages
    assert again.captures.root == made.captures.root


def test_new_file_shows_defaults_as_comments():
    text = config.new_file({"captures": config.CapturesSection(root="c")}, [STAGE])
    assert tomllib.loads(text)["register"] == {}
    assert "# schedule = [1.0, 0.5]" in text
    assert "# limit: none" in text
    assert '# one of "near", "far"; default "near"\n# method = "near"\n' in text


def test_new_file_says_what_each_setting_means_and_changes_nothing(tmp_path):
    from mimicme.pipeline.settings_text import settings_of
    from mimicme.stages import STAGES

    path = tmp_path / "mimicme.toml"
    sections = {name: kind() for name, kind in config.WORKSPACE_SECTIONS.items() if name != "run"}
    text = config.new_file(sections, STAGES)
    path.write_text(text)
    plain = config.load(None, STAGES, environ={})
    assert config.load(path, STAGES, environ={}).changed_from(plain) == []
    assert max(map(len, text.splitlines())) <= 100
    assert "# Side length of the texture, 256 to 8192.\n# int, texels; default 1024\n# size = 1024\n" in text
    # every setting that is shown can be switched on where it stands
    path.write_text(re.sub(r"(?m)^# (?=\w+ = )", "", text))
    table = tomllib.loads(path.read_text())
    classes = config.WORKSPACE_SECTIONS | {stage.name: stage.settings for stage in STAGES}
    assert {name: list(keys) for name, keys in table.items()} == {
        name: [setting.name for setting in settings_of(kind)] for name, kind in classes.items()
    }
    assert config.load(path, STAGES, environ={}).changed_from(plain) == []


def test_records_are_plain_and_equal_to_themselves():
    import json

    record = config.settings_record(Settings(limit=math.nan))
    assert record == json.loads(json.dumps(record, allow_nan=False))


@pytest.mark.parametrize("strict", [True, False])
def test_a_setting_that_moved_is_understood_in_its_old_place(tmp_path, strict):
    from mimicme.stages import STAGES

    def sides(text="", environ=(), sets=()):
        path = tmp_path / "mimicme.toml"
        path.write_text(text)
        stages = STAGES if strict else None
        return config.load(path, stages, environ=dict(environ), sets=sets).captures.sides

    old = '[landmarks]\nsides = "subject"\n'
    assert sides() == "image"
    assert sides(old) == "subject"
    assert sides(f'[captures]\nsides = "image"\n{old}') == "image"
    assert sides(environ={"MIMICME_LANDMARKS_SIDES": "subject"}) == "subject"
    assert sides(old, sets=["landmarks.sides=image"]) == "image"
    assert sides(old, sets=["captures.sides=image"]) == "image"


def test_a_setting_that_moved_is_not_shown_in_its_old_place():
    from mimicme.stages import STAGES

    text = config.new_file({"captures": config.CapturesSection()}, STAGES)
    assert text.count("sides = ") == 1
