"""A large workspace is told of from what runs wrote down, only while every folder is as it was then."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from fake_runs import CHANGES, GOOD, STAGE_NAMES, WORDS, go, status_of

from mimicme.pipeline.run import standing
from mimicme.pipeline.run.plan import Plan
from mimicme.pipeline.run.status import Status, read_standing
from mimicme.pipeline.workspace import Workspace

IN_PLACE = {"a raw file", "a damaged checkpoint"}


@pytest.fixture(autouse=True)
def old_enough(monkeypatch):
    """The captures of a test are written just before its run."""
    monkeypatch.setattr(standing, "SETTLE_S", 0.0)


def quick(workspace, fake, **options) -> Status | None:
    stages = options.pop("stages", fake.WITH_SUBJECT)
    return read_standing(Workspace.open(workspace.root, environ={}, **options), stages, many=0)


def lines_of(status: Status) -> list[str]:
    lines = status.lines()
    assert status.by_folders and "--every-file" in lines[-1]
    return lines[:-1]


def done(make, fake, words=WORDS, **more):
    workspace = make(words)
    time.sleep(0.02)  # beyond the tick of the clock of folders
    go(workspace, fake, fake.WITH_SUBJECT, **more)
    return workspace


def test_it_says_what_a_look_at_everything_says(make, fake, monkeypatch):
    workspace = done(make, fake)
    slow = status_of(workspace, fake)

    def looks(*_):
        raise AssertionError("an item, or the captures, were looked at")

    monkeypatch.setattr(Plan, "_determine_state", looks)
    monkeypatch.setattr(Workspace, "catalogue", looks)
    told = quick(workspace, fake)
    assert lines_of(told) == slow.lines()
    assert told.messages == slow.messages
    assert not told.to_be_made


def test_what_failed_and_waits_is_told_too(make, fake):
    words = WORDS | {"S1/smile": ["fail"], "S3/neutral": ["fail"]}
    workspace = done(make, fake, words)
    told, slow = quick(workspace, fake), status_of(workspace, fake)
    assert lines_of(told) == slow.lines()
    assert sum(s.states["failed"] for s in told.stages) == 2
    assert any(s.states["blocked"] for s in told.stages)


@pytest.mark.parametrize("what", sorted(CHANGES.keys() - IN_PLACE))
def test_whatever_comes_goes_or_is_replaced_is_seen(make, fake, what):
    workspace = done(make, fake)
    CHANGES[what](workspace)
    told, slow = quick(workspace, fake), status_of(workspace, fake)
    assert told is None or lines_of(told) == slow.lines()
    assert any(s.states["done"] < 6 for s in slow.stages[:-1]) or what == "a link in place of a file"


@pytest.mark.parametrize("what", sorted(IN_PLACE))
def test_what_is_overwritten_in_place_is_not_seen_and_that_is_said(make, fake, what):
    workspace = done(make, fake)
    CHANGES[what](workspace)
    told, slow = quick(workspace, fake), status_of(workspace, fake)
    assert lines_of(told) != slow.lines()
    assert "overwritten in place" in told.lines()[-1]


def test_a_run_that_was_killed_leaves_what_it_had_done(make, fake, monkeypatch):
    """The first person is over, the second is not, the third has not begun."""
    workspace = make(WORDS)
    time.sleep(0.02)
    real, seen = standing.Standing.over, []

    def dies(self, subject):
        real(self, subject)
        seen.append(subject)
        raise SystemExit

    monkeypatch.setattr(standing.Standing, "over", dies)
    with pytest.raises(SystemExit):
        go(workspace, fake, fake.WITH_SUBJECT)
    monkeypatch.setattr(standing.Standing, "over", real)
    looked = []
    determine = Plan._determine_state
    monkeypatch.setattr(
        Plan,
        "_determine_state",
        lambda self, stage, s: looked.append(s.item.subject) or determine(self, stage, s),
    )
    told = quick(workspace, fake)
    assert len(seen) == 1 and seen[0] not in looked
    assert lines_of(told) == status_of(workspace, fake).lines()
    assert told.to_be_made and any(s.states["pending"] for s in told.stages)
    looked.clear()
    go(workspace, fake, fake.WITH_SUBJECT)  # goes on after it
    assert seen[0] not in looked
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()


def test_a_line_that_is_cut_short_counts_for_nothing(make, fake):
    workspace = done(make, fake)
    os.truncate(workspace.standing, workspace.standing.stat().st_size - 20)
    with open(workspace.ledger, "a") as handle:
        handle.write("S9\tcut")
    told = quick(workspace, fake)
    assert told is None or lines_of(told) == status_of(workspace, fake).lines()
    again = go(workspace, fake, fake.WITH_SUBJECT)
    assert again.counts("fit") == (0, 6, 0, 0)
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()


def test_a_flipped_byte_is_found(make, fake):
    workspace = done(make, fake)
    right = lines_of(quick(workspace, fake))
    for file in (workspace.listing, workspace.standing):
        good = file.read_bytes()
        for place in range(0, len(good), max(1, len(good) // 40)):
            spoiled = bytearray(good)
            spoiled[place] ^= 1
            file.write_bytes(bytes(spoiled))
            told = quick(workspace, fake)
            assert told is None or lines_of(told) == right, place
        file.write_bytes(good)
    assert lines_of(quick(workspace, fake)) == right


@pytest.mark.parametrize(
    "change",
    [
        lambda w: (w.root / "review.csv").write_text(
            "subject,sequence,frame,verdict,reason\nS1,smile,0,bad,blurred\n"
        ),
        lambda w: (w.root / "withdrawn.txt").write_text("somebody\n"),
        lambda w: shutil.copytree(w.captures.root / "S1", w.captures.root / "S7"),
        lambda w: (w.captures.root / "S1/sad").mkdir(),
    ],
    ids=["a verdict", "who withdrew", "a person more", "a folder more"],
)
def test_what_the_catalogue_follows_from(make, fake, change):
    workspace = done(make, fake)
    change(workspace)
    assert quick(workspace, fake) is None


def test_an_empty_folder_that_is_filled_later(make, fake):
    workspace = make(WORDS)
    (workspace.captures.root / "S1/later").mkdir()
    (workspace.captures.root / "nobody/deep").mkdir(parents=True)
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is not None
    (workspace.captures.root / "nobody/deep/0000.obj").write_text("a")
    assert quick(workspace, fake) is None
    (workspace.captures.root / "nobody/deep/0000.obj").unlink()
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is not None
    (workspace.captures.root / "S1/later/0000.obj").write_text("a")
    assert quick(workspace, fake) is None


def test_captures_that_changed_just_before_are_not_believed(make, fake, monkeypatch):
    monkeypatch.setattr(standing, "SETTLE_S", 2.0)
    workspace = make(WORDS)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is None
    for folder in (workspace.captures.root, *workspace.captures.root.rglob("*")):
        os.utime(folder, (0, 0))
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is not None


def test_other_settings_and_a_small_workspace_are_looked_at(make, fake):
    workspace = done(make, fake)
    assert quick(workspace, fake, sets=["paint.size=4"]) is None
    assert read_standing(Workspace.open(workspace.root, environ={}), fake.WITH_SUBJECT) is None


def test_nobody_who_withdrew_or_refuses_is_named(make, fake):
    workspace = done(make, fake)
    files = (workspace.listing, workspace.standing)
    assert all("S2" in file.read_text() for file in files)
    workspace.remove_subject("S2", STAGE_NAMES)
    assert not any(file.exists() for file in files)
    time.sleep(0.02)
    go(Workspace.open(workspace.root, environ={}), fake, fake.WITH_SUBJECT)
    assert all("S1" in file.read_text() and "S2" not in file.read_text() for file in files)
    assert quick(workspace, fake) is not None


@pytest.mark.parametrize("options", [{}, {"only": ("S1",)}, {"force": True}])
def test_the_next_run_tells_of_nobody_who_refuses_since(make, fake, options):
    workspace = done(make, fake)
    settings, table = workspace.root / "mimicme.toml", workspace.root.parent / "subjects.csv"
    table.write_text("subject,consent\nS1,yes\nS2,no\nS3,yes\n")
    head, section, tail = settings.read_text().partition("[metadata]\n")
    settings.write_text(head + section + tail.replace('file = ""', f'file = "{table}"', 1))
    assert quick(workspace, fake) is None
    go(workspace, fake, fake.WITH_SUBJECT, **options)
    for file in (workspace.listing, workspace.standing):
        assert not file.exists() or "S2" not in file.read_text()
    told = quick(workspace, fake)
    assert (told is None) == bool(options)
    if told is not None:
        assert lines_of(told) == status_of(workspace, fake).lines()
        assert [m for m in told.messages if "left out" in m] == [
            "1 subject(s) are left out: `mimicme status --every-file` says who and why."
        ]


def test_a_file_that_cannot_be_written_stops_no_run(make, fake):
    workspace = make(GOOD)
    Path(workspace.listing).mkdir()
    Path(workspace.standing).mkdir()
    assert go(workspace, fake).code == 0
