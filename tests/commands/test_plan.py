"""plan: the sample, and what is told from it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from shared_helpers import called

from mimicme.commands import plan as planning
from mimicme.commands.plan import available_memory, choose_sample, plan
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import FrameSource, Item, Sequence
from mimicme.pipeline.run.forecast import records_of
from mimicme.pipeline.run.runlog import read_costs
from mimicme.pipeline.run.runner import RunOptions, run
from mimicme.pipeline.workspace import Workspace

sys.path.append(str(Path(__file__).parent.parent / "pipeline"))
WORDS = {f"S{k}/{name}": ["a"] * k for k in range(1, 6) for name in ("neutral", "smile")}


@pytest.fixture(scope="module")
def fake() -> ModuleType:
    return importlib.import_module("fake_stages")


def made(fake: ModuleType, tmp_path: Path, words: dict[str, list[str]] = WORDS) -> Workspace:
    root = fake.captures(tmp_path / "captures", words)
    (tmp_path / "face.obj").write_text("v 0 0 0\n")
    (tmp_path / "face.ljson").write_text("{}")
    return Workspace.create(tmp_path / "work", captures=root, template=tmp_path / "face.obj")


def worked(workspace: Workspace) -> list[tuple[str, str]]:
    """Stage and item of everything computed so far."""
    path = workspace.captures.root.parent / "calls.txt"
    return [tuple(line.split()[:2]) for line in path.read_text().splitlines()] if path.exists() else []


def sequence(subject: str, name: str, frames: int) -> Sequence:
    sources = tuple(FrameSource(k, Path(f"/nowhere/{k}.obj")) for k in range(frames))
    return Sequence(Item(subject, name), name, name, sources)


def test_the_sample_are_whole_people_from_the_middle_and_larger_ones_hold_smaller_ones() -> None:
    given = [sequence(f"S{k}", name, k) for k in range(1, 8) for name in ("a", "b")]
    chosen = [sorted({s.item.subject for s in choose_sample(given, least)}) for least in (1, 2, 3, 6, 14, 99)]
    assert chosen[0] == chosen[1] == ["S4"]
    assert chosen[2] == ["S2", "S4"]
    assert chosen[3] == ["S2", "S4", "S6"]
    assert chosen[4] == chosen[5] == [f"S{k}" for k in range(1, 8)]
    assert len(choose_sample(given, 3)) == 4
    assert {s.item.subject for s in choose_sample(given, 2, {"S4"}.__contains__)} == {"S2"}
    assert {s.item.subject for s in choose_sample(given, 2, lambda subject: True)} == {"S4"}


def test_what_the_sample_made_is_not_made_again(fake: ModuleType, tmp_path: Path) -> None:
    workspace = made(fake, tmp_path)
    told = plan(workspace, fake.WITH_SUBJECT, 3, (16,), jobs=0)
    assert told.subjects == ("S2", "S3")
    first = worked(workspace)
    assert {item.split("/")[0] for _, item in first} == {"S2", "S3"}
    # a sample that is killed is gone on with by another plan, not by a run of everything
    assert [records_of(folder)[0]["sample"] for folder in workspace.runs()] == [3, 3]
    assert not workspace.release.exists()
    assert not list(workspace.root.glob(".*.tmp*"))
    again = plan(Workspace.open(workspace.root), fake.WITH_SUBJECT, 3, (16,), jobs=0)
    assert worked(workspace) == first
    assert (again.stages, again.cpu_s_range) == (told.stages, told.cpu_s_range)
    run(Workspace.open(workspace.root), RunOptions(jobs=0), fake.WITH_SUBJECT)
    everything = worked(workspace)
    assert len(everything) == len(set(everything)) == 4 * len(WORDS)
    done = plan(Workspace.open(workspace.root), fake.WITH_SUBJECT, 3, jobs=0)
    assert done.cpu_hours == done.checkpoint_bytes == done.release_bytes == 0
    assert set(done.wall_hours.values()) == {0}


def test_the_rest_is_told_from_the_sample(fake: ModuleType, tmp_path: Path) -> None:
    workspace = made(fake, tmp_path)
    told = plan(workspace, fake.WITH_SUBJECT, 1, (1, 1000), jobs=0)
    assert (told.subjects, told.sequences, told.frames, told.all_frames) == (("S3",), 2, 6, 30)
    costs = read_costs(workspace.runs())
    for stage in told.stages:
        own = [costs[stage.stage, f"S3/{name}"] for name in ("neutral", "smile")]
        assert stage.cpu_s == sum(cost.cpu_s for cost in own)
        assert (stage.frames, stage.frames_left) == (6, 24)
        files = [workspace.checkpoint(stage.stage, Item("S3", name)) for name in ("neutral", "smile")]
        assert stage.bytes_left == pytest.approx(4 * sum(file.stat().st_size for file in files))
        assert stage.cpu_hours_left == pytest.approx(4 * stage.cpu_s / 3600)
    assert told.release is not None
    assert told.release.frames_left == 30
    alone = 5 * told.release.wall_s / 3600
    assert told.wall_hours[1] == pytest.approx(4 * sum(s.wall_s for s in told.stages) / 3600 + alone)
    # with a worker for each sequence the longest, of five frames, decides; a neutral comes before the others
    waits = {"read": 1, "fit": 2, "agree": 2, "paint": 1}
    longest = sum(waits[s.stage] * 5 * s.wall_s / s.frames for s in told.stages) / 3600
    assert told.wall_hours[1000] == pytest.approx(longest + alone)
    assert 1 <= told.jobs <= told.cores
    assert told.jobs * told.worker_bytes <= told.memory_bytes
    assert told.worker_bytes == max(s.peak_mb for s in told.stages) * 1e6
    record = json.loads(json.dumps(told.to_record(), allow_nan=False))
    assert record["cpu_hours"] == pytest.approx(sum(s.cpu_hours_left for s in told.all_stages))
    assert [row["stage"] for row in record["stages"]] == ["read", "fit", "agree", "paint"]


def test_shards_are_proposed_for_what_is_large(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(fake, tmp_path).root
    told = plan(Workspace.open(root), fake.WITH_SUBJECT, 1, jobs=0)
    assert told.release is not None and not any("shard" in line for line in told.lines())
    monkeypatch.setattr(planning, "ONE_FILE_GB", 1e-9)
    told = plan(Workspace.open(root), fake.WITH_SUBJECT, 1, jobs=0)
    assert any('shard = "subject" in [pack]' in line for line in told.lines())


def test_what_learns_from_all_is_not_timed_and_said_to_be_missing(fake: ModuleType, tmp_path: Path) -> None:
    workspace = made(fake, tmp_path)
    told = plan(workspace, fake.WITH_CORPUS, 1, jobs=0)
    assert told.untimed == ("learn", "paint", "bundle")
    assert {stage for stage, _ in worked(workspace)} == {"read", "fit"}
    assert any("learn, paint, bundle" in line for line in told.lines())


def test_a_sample_of_which_nothing_is_done_is_an_error(fake: ModuleType, tmp_path: Path) -> None:
    workspace = made(fake, tmp_path, {"S1/neutral": ["fail"], "S1/smile": ["fail"]})
    with pytest.raises(UsageError, match="mimicme status --failed"):
        plan(workspace, fake.STAGES, jobs=0)


def test_while_a_run_goes_on_it_is_said_what_tells_the_time_instead(fake: ModuleType, tmp_path: Path) -> None:
    workspace = made(fake, tmp_path)
    with workspace.lock(), pytest.raises(UsageError, match=r"a run is going on.*process \d+.*status --watch"):
        plan(workspace, fake.STAGES, jobs=0)
    assert not worked(workspace)


def test_memory_is_that_of_a_machine() -> None:
    assert 1 << 26 < available_memory() < 1 << 50


def test_the_command_tells_it_to_people_and_programs(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimicme.stages.STAGES", fake.WITH_SUBJECT)
    workspace = made(fake, tmp_path)
    record = json.loads(called("plan", workspace.root, "--json", "--jobs", 0, "--workers", 16).stdout)
    assert record["sequences"] == 8
    assert "16" in record["wall_hours"]
    done = called("plan", workspace.root, "--jobs", 0)
    assert "Working 8 sequences of 4 people" in done.stderr and "That is all there is" not in done.stderr
    everything = called("plan", workspace.root, "--jobs", 0, "--sample", 100).stderr
    assert "That is all there is" in everything and "Writing a release of the sample" in everything
    said = done.stdout
    for words in ("CPU hours", "GB a worker", "GB of checkpoints", "of release", "fits this machine"):
        assert words in said


def test_captures_that_the_sample_has_none_of_are_told(fake: ModuleType, tmp_path: Path) -> None:
    workspace = made(fake, tmp_path)
    told = plan(workspace, fake.STAGES, 1, jobs=0)
    assert told.subjects == ("S3",)
    assert not any("mixed" in line for line in told.remarks)
    root = workspace.captures.root
    for path in sorted(root.glob("S5/*/*.obj")):  # a third of all frames
        path.with_suffix(".pts").write_text("")
    told = plan(Workspace.open(workspace.root), fake.STAGES, 1, jobs=0)
    (line,) = (line for line in told.remarks if "mixed" in line)
    assert (
        ".obj without landmarks beside them alone" in line and ".obj with landmarks beside them (33%)" in line
    )
    for path in sorted(root.glob("S5/*/*.pts")):
        path.unlink()
    for path in sorted(root.glob("S5/*/*.obj")):
        path.write_text(20 * path.read_text())
    told = plan(Workspace.open(workspace.root), fake.STAGES, 1, jobs=0)
    (line,) = (line for line in told.remarks if "mixed" in line)
    assert "33% of the frames have files more than 3 times as large" in line
    told = plan(Workspace.open(workspace.root), fake.STAGES, 10, jobs=0)
    assert not any("mixed" in line for line in told.remarks)


def test_the_readme_says_that_a_sample_is_worked(repository: Path) -> None:
    """Somebody who only wants to know how long it takes would wonder why the machine is busy for minutes."""
    (line,) = [one for one in (repository / "README.md").read_text().splitlines() if "mimicme plan ws" in one]
    assert "works a sample" in line
