"""The command line: what it loads, what it says, how it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from shared_helpers import assert_has_help, assert_help_lists

from mimicme import cli
from mimicme.cli import main
from mimicme.commands import doctor, subcommands
from mimicme.commands import verify as verification
from mimicme.commands.doctor import self_test
from mimicme.commands.examples import EXAMPLES, examples_of
from mimicme.commands.verify import Finding, apart
from mimicme.pipeline.command_line import PRESETS, USES
from mimicme.pipeline.config import RunSection
from mimicme.pipeline.release import permitted
from mimicme.pipeline.run import runner
from mimicme.pipeline.run.run_types import RunResult
from mimicme.stages import FLOW
from mimicme.stages.pack.survey import Memory

OTHERS = (
    "stages",
    "settings",
    "plan",
    "status",
    "verify",
    "report",
    "view",
    "export",
    "adopt",
    "convert",
    "template",
    "synth",
    "evaluate",
    "model",
    "experiment",
    "publish",
    "withdraw",
    "demo",
    "doctor",
    "completion",
)
COMMANDS = ["init", "run", *FLOW, *OTHERS]


def call(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_help_lists_the_commands_in_order():
    assert_help_lists(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    assert_has_help(name)


def test_stages_are_listed_for_people_and_for_programs():
    assert call("stages", "--names").output.split() == list(FLOW)
    assert FLOW["refine"] in call("stages").output


def test_the_help_ends_with_what_to_begin_with():
    lines = call("--help").output.split("Begin with:\n")[1].splitlines()
    assert [line.split()[:2] for line in lines] == [["mimicme", w] for w in ("demo", "init", "run", "status")]


def test_presets_are_those_of_the_settings():
    assert typing.get_args(typing.get_type_hints(RunSection)["preset"]) == PRESETS


def test_uses_are_those_that_subjects_permit():
    assert permitted.USES == USES


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "import mimicme.cli, mimicme.commands.model.commands, mimicme.commands.experiment.commands\n"
        "from mimicme.commands.subcommands import (\n"
        "    installation, models, releases, review, synthetic, templates, workspaces\n"
        ")\n"
        "heavy = {'numpy', 'scipy', 'h5py', 'joblib', 'open3d', 'menpo', 'PIL', 'cv2', 'distributed'}\n"
        "heavy |= {'sklearn', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["run", "--help"], set()),
        (["status", "--help"], {"workspaces"}),
        (["--help"], {file.stem for file in Path(subcommands.__file__).parent.glob("[!_]*.py")}),
    ],
)
def test_commands_are_loaded_only_when_they_are_named(arguments, loaded):
    code = (
        "import sys\n"
        "from mimicme.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print(sorted(m for m in sys.modules if m.startswith(('mimicme.stages.', 'mimicme.commands'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    room = {"subcommands", *(f"subcommands.{name}" for name in loaded)} if loaded else set()
    # `examples` is what the help ends with, words alone
    expected = sorted(["mimicme.commands", *(f"mimicme.commands.{name}" for name in {"examples", *room})])
    assert done.stdout.splitlines()[-1] == str(expected)


def test_what_tells_of_a_workspace_loads_no_linear_algebra():
    """It would be a third of what `status` takes of a large workspace."""
    code = (
        "from mimicme.stages import STAGES\n"
        "from mimicme.pipeline.run import runner, status\n"
        "import sys\n"
        "print(sorted({'scipy.sparse', 'scipy.spatial', 'scipy.linalg'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "loaded",
    [
        "from mimicme.stages import STAGES",
        "import mimicme.pipeline.config",
        "import mimicme.pipeline.run.pool",
        # what plans, tells and verifies, and begins each command
        "import mimicme.pipeline.run.runner, mimicme.pipeline.run.status, mimicme.commands.verify.apart",
    ],
)
def test_light_modules_stay_light(loaded):
    heavy = "{'open3d', 'menpo', 'numba', 'cv2', 'matplotlib', 'trimesh', 'scipy.sparse', 'scipy.spatial'}"
    code = f"{loaded}\nimport sys\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_threads_are_pinned_before_numpy():
    code = "import mimicme.cli, os; print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_NUM_THREADS'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere"], "not a workspace"),
        (["status", "nowhere"], "mimicme init nowhere --captures DIR"),
        (["status", "no where"], "mimicme init 'no where' --captures DIR"),
        (["init", "w", "--captures", "nowhere"], "the capture folder is not there"),
        (["verify", "nowhere.h5"], "nowhere.h5"),
        (["run"], "Missing argument"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.fixture
def workspace(tmp_path):
    for number in range(2):
        path = tmp_path / f"captures/S1/smile/{number:04d}.obj"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v 0 0 0\n")
    (tmp_path / "face.obj").write_text("v 0 0 0\n")
    (tmp_path / "face.ljson").write_text("{}")
    (tmp_path / "subjects.csv").write_text("subject,age,gender,ethnicity,consent\nS1,30,female,x,yes\n")
    return tmp_path / "work"


def init(workspace, *more):
    base = workspace.parent
    return call("init", workspace, "--captures", base / "captures", "--template", base / "face.obj", *more)


def test_init_says_what_it_found(workspace):
    result = init(workspace, "--metadata", workspace.parent / "subjects.csv", "--unit", "cm", "--fps", "60")
    assert result.exit_code == 0, result.output
    assert "1 subject, 1 sequence, 2 frames" in result.output
    assert "Layout '{subject}/{sequence}/{frame}.{ext}', because" in result.output
    assert 'unit = "cm"' in (workspace / "mimicme.toml").read_text()
    assert result.output.splitlines()[-1] == f"Next: mimicme run {workspace}"
    assert init(workspace).exit_code == 2


def test_init_proposes_shards_of_what_is_large(workspace, monkeypatch):
    assert " GB" not in init(workspace).output
    monkeypatch.setattr(cli, "MB_A_FRAME", 30_000)
    shutil.rmtree(workspace)
    said = init(workspace).output
    assert 'about 60 GB: shard = "subject" in [pack]' in said


def test_init_dry_run_says_all_of_it_and_writes_nothing(workspace):
    base = workspace.parent
    for name in ("S1/anger/0001.obj", "S1/anger/0004.obj", "S1/anger/0005.obj", "S1/anger/0006.fbx"):
        path = base / "captures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v 0 0 0\n")
    before = sorted(base.rglob("*"))
    result = init(workspace, "--dry-run", "--fps", "50")
    assert result.exit_code == 0, result.output
    assert sorted(base.rglob("*")) == before
    for words in (
        "Layout '{subject}",
        "not read",
        "frames 2 to 3 are missing",
        "0.080",
        "2 sequences, 5 frames",
    ):
        assert words in result.output
    assert result.output.splitlines()[-1] == "Nothing is written."
    assert "as given" in init(workspace, "--dry-run", "--layout", "3dmd").output


def test_init_ends_with_2_where_the_order_of_frames_is_not_clear(workspace):
    folder = workspace.parent / "captures/S1/anger"
    folder.mkdir(parents=True)
    for name in ("take1_1", "take1_2", "take2_1"):
        (folder / f"{name}.obj").write_text("v 0 0 0\n")
    result = init(workspace)
    assert result.exit_code == 2 and not workspace.exists()
    assert "--layout '{subject}/{sequence}/take1_{frame}.{ext}'" in result.output
    result = init(workspace, "--dry-run")
    assert result.exit_code == 2 and "take1_{frame}" in result.output


def test_a_suggested_command_can_be_pasted(workspace):
    blank = workspace.with_name("a b")
    assert init(blank).output.splitlines()[-1] == f"Next: mimicme run '{blank}'"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], ""),
        (["--set", "bake.size=512"], "--set"),
        (["--set", "bake.size=1024"], ""),  # as it is anyway
        (["--preset", "fast"], "--preset"),
        (["--preset", "fast", "--set", "bake.size=1024"], "--set and --preset"),
        (["--set", "bake.size=512", "--dry-run"], ""),
        (["--detector-model", "weights.tflite"], ""),  # it is not recorded
    ],
)
def test_settings_of_the_command_line_are_said_not_to_stay(workspace, monkeypatch, more, told):
    from mimicme.pipeline.run import runner

    init(workspace)
    monkeypatch.setattr(runner, "run", lambda *given: RunResult(0))
    result = call("run", workspace, *more)
    assert result.exit_code == 0, result.output
    sentence = f"Settings given with {told} are not kept: write them into {workspace / 'mimicme.toml'}, "
    assert result.output == (f"{sentence}or give them again.\n" if told else "")


@pytest.mark.parametrize(("code", "told"), [(0, False), (1, False), (130, True)])
def test_of_a_shard_only_an_interrupted_one_says_that_settings_do_not_stay(
    workspace, monkeypatch, code, told
):
    """One that is over has said them with the command that follows it."""
    init(workspace)
    monkeypatch.setattr(runner, "run", lambda *given: RunResult(code))
    result = call("run", workspace, "--shard", "1/2", "--set", "bake.size=512")
    assert result.exit_code == code
    assert ("Settings given with --set are not kept" in result.output) == told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--unit", "furlong"], "furlong"),
        (["--layout", "{subject}.fbx"], "captures.layout"),
        (["--metadata", "absent.csv"], "absent.csv"),
        (["--template", "absent.obj"], "absent.obj"),
    ],
)
def test_init_checks_what_it_is_given(workspace, more, words):
    result = init(workspace, *more)
    assert result.exit_code == 2
    assert words in result.output
    assert not workspace.exists()


def test_status_of_a_new_workspace(workspace):
    init(workspace)
    record = json.loads(call("status", workspace, "--json").stdout)
    assert record["frames"] == 2
    assert not record["running"]
    assert {s["stage"]: s["items"]["pending"] for s in record["stages"]}["ingest"] == 1
    assert "ingest" in call("status", workspace).output
    assert "nothing failed" in call("status", workspace, "--failed").output


def test_init_run_and_status_say_whom_the_table_leaves_out(workspace):
    table = workspace.parent / "subjects.csv"
    for subject in ("S2", "S3"):
        (workspace.parent / f"captures/{subject}/smile").mkdir(parents=True)
        (workspace.parent / f"captures/{subject}/smile/0000.obj").write_text("v 0 0 0\n")
    table.write_text("subject,consent\nS1,yes\ns02,no\nS3,ja\n")
    result = init(workspace, "--metadata", table)
    assert result.exit_code == 2  # a script has to notice that somebody is left out whom nobody refused
    assert "1 subject, 1 sequence, 2 frames" in result.stdout and "Next: mimicme run" in result.stdout
    assert "the consent of 1 subject is not understood" in result.stderr
    said = [result, call("run", workspace, "--dry-run"), call("status", workspace)]
    for each in said:
        assert each.exit_code == (2 if each is result else 0)
        assert (
            each.output.count("Subject 'S2' (the table's 's02') is left out: its consent is 'no' (line 3).")
            == 1
        )
        assert (
            each.output.count("Subject 'S3' is left out: its consent 'ja' is not understood (line 4).") == 1
        )
    assert "consent_yes" in result.stderr
    assert "without captures" not in result.output
    assert "ingest: 1 of 1 would run" in said[1].output
    assert "Subject" not in said[2].stdout
    record = json.loads(call("status", workspace, "--json").stdout)
    assert sum("is left out" in m for m in record["messages"]) == 2
    now = call("run", workspace, "--dry-run", "--set", 'captures.consent_yes=["ja"]')
    assert "ingest: 2 of 2 would run" in now.output


def test_init_asks_who_is_who_before_it_is_done(workspace):
    table = workspace.parent / "subjects.csv"
    table.write_text("subject,consent\nSl,withdrawn\nS4,yes\n")
    result = init(workspace, "--metadata", table)
    assert result.exit_code == 2
    assert 'not_same = [["Sl", "S1"]]' in result.stderr and "Who is who must be said first" in result.stderr
    settings = workspace / "mimicme.toml"
    run = call("run", workspace, "--dry-run")
    assert "Subject 'S1' is left out: it may be the table's 'Sl'" in run.output
    settings.write_text(
        settings.read_text()
        .replace("not_same = []", 'not_same = [["Sl", "S1"]]')
        .replace('consent_missing = "exclude"', 'consent_missing = "include"')
    )
    run = call("run", workspace, "--dry-run")
    assert "ingest: 1 of 1 would run" in run.output
    assert 'consent_missing = "include": worked on without a consent in the table: S1.' in run.output


def test_dry_run_and_wrong_settings(workspace):
    init(workspace)
    result = call("run", workspace, "--dry-run")
    assert result.exit_code == 0
    assert "ingest: 1 of 1 would run" in result.output
    assert not (workspace / "runs").exists()
    result = call("run", workspace, "--set", "ingst.x=1")
    assert result.exit_code == 2
    assert "Did you mean 'ingest'" in result.output


@pytest.mark.parametrize(
    ("packed", "code", "expected"), [(False, 0, 0), (True, 0, 1), (True, 1, 1), (False, 130, 130)]
)
@pytest.mark.parametrize("command", ["run", "pack"])
def test_a_release_is_verified_when_it_was_written(workspace, monkeypatch, command, packed, code, expected):
    init(workspace)
    release = workspace / "release.h5"
    release.write_bytes(b"what a broken disk made of it")
    monkeypatch.setattr(runner, "run", lambda *_: RunResult(code, release=release, packed=packed))
    result = call(command, workspace)
    assert result.exit_code == expected
    assert ("error: /: This is not a readable HDF5 file" in result.output) == packed
    assert (f"{release}: not usable" in result.output) == packed
    assert ("Exit status 1: a release that is not usable." in result.output) == packed


def test_a_run_that_ends_with_1_says_why_at_its_end(workspace, monkeypatch):
    init(workspace)
    why = ("2 frames rejected by register", "1 failed at bake")
    monkeypatch.setattr(runner, "run", lambda *_: RunResult(1, why=why))
    for quiet in ((), ("--quiet",)):
        result = call("run", workspace, *quiet)
        last = f"Exit status 1: {', '.join(why)}; `mimicme status {workspace} --failed` says which and why."
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, last)


@pytest.mark.parametrize("command", [("verify",), ("export", "out", "--format", "obj")])
def test_a_release_that_is_not_made_yet_is_told_with_the_command_that_makes_it(workspace, command):
    name, *more = command
    release = workspace / "release.h5"
    assert "does not exist" in call(name, release, *more).output  # nothing is known of a folder that is none
    init(workspace)
    result = call(name, release, *more)
    said = " ".join(result.output.split())
    assert result.exit_code == 2
    assert f"There is no release '{release}' yet: `mimicme run {workspace}` makes it." in said
    assert "does not exist" in call(name, workspace / "other.h5", *more).output


def test_shards_are_verified_again_by_other_checks_and_their_warnings_are_said_again(workspace, monkeypatch):
    init(workspace)
    shard, release = workspace / "release@S1@0.h5", workspace / "release.h5"
    shard.write_bytes(b"a shard")
    Memory(workspace / "packed.jsonl", ()).save([shard])
    said, but = Finding("warning", f"{shard.name}:/subjects/S1", "Nothing is known of consent."), []

    def look(path, **options):
        but.append(sorted(options["but"]))
        return [] if shard.name in options["but"] else [said]

    monkeypatch.setattr(apart, "verify_apart", look)
    result = RunResult(0, release=release, packed=True, verified=(shard.name,))
    monkeypatch.setattr(runner, "run", lambda *_: result)
    for known, expected in ((False, []), (True, [shard.name])):
        called = call("run", workspace)
        assert called.exit_code == 0 and called.output.count(str(said)) == 1
        assert (f"{release}: verified; 1 shard that nothing touched was before" in called.output) == known
        assert but.pop() == expected
    monkeypatch.setattr(verification, "mark", lambda: "of a newer program")
    assert call("run", workspace).exit_code == 0
    assert but.pop() == []


def test_doctor_looks_at_everything():
    result = call("doctor", "--no-test")
    assert result.exit_code in (0, 1)
    for word in ("Python", "numpy", "open3d", "embedded template", "disk", "cores"):
        assert word in result.output


def test_doctor_takes_a_head_through_the_whole_flow_and_reads_it_back():
    found = self_test()
    assert found.ok, found.message
    off = float(re.search(r"to ([\d.]+) mm", found.message)[1])
    assert 0.05 < off < 1.0  # it is noise, and no more


def test_what_fails_in_the_self_test_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(doctor, "_whole_flow", lambda: (9.0, True))
    assert not self_test().ok and "9.00 mm" in self_test().message and self_test().todo
    monkeypatch.setattr(doctor, "_whole_flow", lambda: 1 / 0)
    assert "ZeroDivisionError" in self_test().message and self_test().todo


def test_every_gap_has_a_remedy(monkeypatch, tmp_path):
    """Where nothing is installed, on a machine without memory or disk."""
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.setattr(doctor, "_free_gb", lambda: 0.1)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "MIN_DISK_GB", 10**9)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    gaps = [f for f in doctor.examine(tmp_path) if not f.ok]
    assert {"numpy", "open3d", "memory", "disk", "browser", "threads of BLAS", "dask"} <= {
        f.name for f in gaps
    }
    assert [f.name for f in gaps if not f.todo] == []


def test_a_package_that_is_too_old_is_a_gap(monkeypatch):
    monkeypatch.setattr(
        doctor.metadata, "requires", lambda name: ["numpy<3,>=2", "h5py>=3.11", 'x>=9; extra == "y"']
    )
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "3.9.1")
    assert doctor._package("numpy").ok
    old = doctor._package("h5py")
    assert not old.ok and "at least 3.11" in old.message


def test_status_after_a_run_uses_the_settings_of_the_run(workspace):
    init(workspace)
    given = ["--set", "ingest.speck_triangles=61", "--preset", "fast"]
    call("ingest", workspace, "--jobs", 0, *given)  # frames of one vertex: all are rejected
    plain, failed = call("status", workspace), call("status", workspace, "--failed")
    for each in (plain, failed, call("report", workspace)):
        assert (
            "for the settings of the last run: --set run.preset=fast --set ingest.speck_triangles=61"
            in each.stderr
        )
    assert "out of date" not in plain.stdout
    assert "2 frames (S1/smile frame 0, S1/smile frame 1): ingest rejected them (no-faces)" in failed.stdout
    assert "smile frame 1: ingest rejected it" in call("status", workspace, "--failed", "--each").stdout
    again, without = call("run", workspace, "--dry-run", *given), call("run", workspace, "--dry-run")
    assert "ingest: 0 of 1 would run" in again.output and "The last run was given" not in again.output
    assert "ingest: 1 of 1 would run" in without.output  # and it says why it is unlike what `status` says
    assert (
        "given --set run.preset=fast --set ingest.speck_triangles=61, and this one is not" in without.stderr
    )
    assert "out of date" in call("status", workspace, "--preset", "fast").stdout  # what is given counts alone
    call("ingest", workspace, "--jobs", 0)
    assert "As the last run" not in call("status", workspace).stderr


@pytest.mark.parametrize(("options", "said"), [([], False), (["-W", "default"], True)])
def test_warnings_of_libraries_are_for_developers(options, said):
    code = (
        "import subprocess, sys, warnings\n"
        "from mimicme.pipeline.run.pool import silence_warnings\n"
        "silence_warnings()\n"
        "warnings.warn('of a library', RuntimeWarning)\n"
        "subprocess.run([sys.executable, '-c', 'import warnings; warnings.warn(\"of a worker\", RuntimeWarning)'])"
    )
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, env=environ)
    assert ("of a library" in done.stderr) is said
    assert ("of a worker" in done.stderr) is said


def test_settings_are_told_of_a_workspace_and_of_none(workspace, monkeypatch):
    init(workspace)
    file = workspace / "mimicme.toml"
    before = file.read_text().replace("# level_seams = true", "level_seams = false")
    file.write_text(before)
    monkeypatch.setenv("MIMICME_BAKE_SIZE", "512")
    told = call("settings", workspace, "--section", "bake")
    assert told.exit_code == 0, told.output
    assert "size = 512  (from MIMICME_BAKE_SIZE; int, texels; default 1024)" in told.output
    assert "level_seams = false  (from mimicme.toml; bool; default true)" in told.output
    assert file.read_text() == before
    assert "size = 1024  (int, texels; default 1024)" in call("settings").output


def test_settings_as_a_page():
    assert call("settings", "--markdown").output.startswith("# Settings\n")
    assert call("settings", "--markdown", "--section", "pack").output.startswith("## `[pack]`\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--section", "bakes"], "there is no such section"),
        (["nowhere"], "not a workspace"),
        (["nowhere", "--markdown"], "without WORKSPACE"),
    ],
)
def test_settings_of_what_is_not_there(arguments, words):
    result = call("settings", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def _leaves(group, ctx, words=()):
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        inner = click.Context(command, info_name=name, parent=ctx)
        if isinstance(command, click.Group):
            yield from _leaves(command, inner, (*words, name))
        else:
            yield (*words, name), command, inner


def test_every_command_has_two_examples_that_are_understood(monkeypatch):
    # that the files of an example are there is not asked
    monkeypatch.setattr(click.Path, "convert", lambda self, value, option, ctx: Path(value))
    leaves = list(_leaves(main, click.Context(main, info_name="mimicme")))
    assert {" ".join(words) for words, *_ in leaves} >= {*EXAMPLES, *FLOW}
    for words, command, ctx in leaves:
        lines = examples_of(" ".join(words), FLOW)
        assert len(lines) >= 2 and len(set(lines)) == len(lines), words
        for line in lines:
            given = shlex.split(line.partition(" > ")[0])
            assert tuple(given[: len(words) + 1]) == ("mimicme", *words)
            command.make_context(words[-1], given[len(words) + 1 :], parent=ctx.parent)
            assert f"  {line}" in command.get_help(ctx)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_asks_mimicme(shell):
    result = call("completion", shell)
    assert result.exit_code == 0 and "_MIMICME_COMPLETE" in result.output and "mimicme" in result.output


def test_completion_knows_commands_and_options(monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "mimicme status --wa")
    monkeypatch.setenv("COMP_CWORD", "2")
    result = CliRunner().invoke(main, [], prog_name="mimicme", complete_var="_MIMICME_COMPLETE",
                                env={"_MIMICME_COMPLETE": "bash_complete"})  # fmt: skip
    assert "plain,--watch" in result.output


def test_quiet_says_nothing_of_what_is_well(workspace, monkeypatch):
    init(workspace)
    seen = []

    def runs(opened, options, stages, console):
        console.say("told")
        console.draw("drawn", now=True)
        console.result("table")
        seen.append(console)
        return RunResult(seen_code[0])

    monkeypatch.setattr(runner, "run", runs)
    for code, expected in ((0, ""), (1, "table\n")):
        seen_code = [code]
        result = call("run", workspace, "--quiet", "--jobs", 0)
        assert (result.exit_code, result.output) == (code, expected)
    assert "told" in call("run", workspace, "--jobs", 0).stderr
    table = workspace.parent / "subjects.csv"
    table.write_text("subject,consent\nS1,ja\n")  # nobody is left, and why is said
    seen_code = [0]
    nobody = call("run", workspace, "--quiet", "--jobs", 0, "--set", f"metadata.file={table}")
    assert "'ja' is not understood" in nobody.stderr


FAILING = """
import sys
from mimicme.cli import main
from mimicme.pipeline.run import runner
from mimicme.pipeline.run.run_types import RunResult

def run(opened, options, stages, console):
    console.result("table")
    return RunResult(1, why=("1 failed at bake",))

runner.run = run
main(sys.argv[1:])
"""


@pytest.mark.parametrize("quiet", [(), ("--quiet",)], ids=["", "quiet"])
@pytest.mark.parametrize("gone", [True, False], ids=["nobody reads", "a full disk"])
def test_the_exit_status_of_a_run_is_of_what_it_made(workspace, quiet, gone):
    """And not of what it could not say."""
    init(workspace)
    if gone:
        reads, out = os.pipe()
        os.close(reads)
    else:
        out = os.open("/dev/full", os.O_WRONLY)
    try:
        command = [sys.executable, "-c", FAILING, "run", str(workspace), "--set", "run.preset=fast", *quiet]
        assert subprocess.run(command, stdout=out, stderr=out).returncode == 1
    finally:
        os.close(out)


@pytest.mark.parametrize("quiet", [(), ("--quiet",)], ids=["", "quiet"])
def test_a_plan_that_cannot_be_written_is_no_plan(workspace, quiet):
    init(workspace)
    code = "import sys; from mimicme.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "run", str(workspace), "--dry-run", *quiet]
    with open("/dev/full", "w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("mimicme: ") and "the disk is full" in done.stderr


def test_watch_without_a_run_is_status_or_waits_where_something_is_left(workspace, monkeypatch):
    from mimicme.pipeline.run import status, watch

    init(workspace)
    waited = []

    def watched_run(opened, to_begin=False):
        waited.append(to_begin)
        return 1 if to_begin else None

    monkeypatch.setattr(watch, "watch", watched_run)
    watched = call("status", workspace, "--watch")
    assert watched.exit_code == 1 and waited == [False, True]
    assert "No run is going on." in watched.stderr and "waits until a run begins" in watched.stderr
    monkeypatch.setattr(status.Status, "to_be_made", False)
    watched, plain = call("status", workspace, "--watch"), call("status", workspace)
    assert watched.exit_code == 0 and watched.stdout == plain.stdout and waited == [False, True, False]
    assert call("status", workspace, "--watch", "--json").exit_code == 2
