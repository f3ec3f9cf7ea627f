"""A large workspace is told of from what runs wrote down, only while every folder is as it was then."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from fake_runs import CHANGES, GOOD, LONG, STAGE_NAMES, WORDS, cut, go, misbehave, status_of

from mimicme.pipeline.run import standing
from mimicme.pipeline.run.plan import Plan
from mimicme.pipeline.run.runner import RunOptions, run
from mimicme.pipeline.run.status import Status, read_standing
from mimicme.pipeline.whole_file import checked
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

    def dies(self, subject, *more):
        real(self, subject, *more)
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


def test_another_version_may_read_names_otherwise(make, fake, monkeypatch):
    workspace = done(make, fake)
    monkeypatch.setattr(standing.metadata, "version", lambda _: "another")
    assert quick(workspace, fake) is None
    go(workspace, fake, fake.WITH_SUBJECT)
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()


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
    monkeypatch.setattr(standing, "SETTLE_S", 60.0)
    workspace = make(WORDS)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is None
    monkeypatch.setattr(standing, "SETTLE_S", 0.0)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is not None
    monkeypatch.setattr(standing, "SETTLE_S", 60.0)
    for folder in (workspace.captures.root, *workspace.captures.root.rglob("*")):
        os.utime(folder, (0, 0))  # as what copies folders does; the copy has just ended
    go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is None


@pytest.mark.parametrize("more", [None, "S1/smile/0001.obj", "S4/neutral/0000.obj"])
def test_captures_that_were_just_copied_are_listed_at_the_end_of_the_run(make, fake, monkeypatch, more):
    """Unless more was copied meanwhile."""
    monkeypatch.setattr(standing, "SETTLE_S", 0.5)
    workspace = make(WORDS)
    at_the_end = standing.Standing.list_again

    def later(self):
        assert not self._listed
        if more is not None:
            path = workspace.captures.root / more
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a")
        time.sleep(0.6)
        at_the_end(self)

    monkeypatch.setattr(standing.Standing, "list_again", later)
    for folder in (workspace.captures.root, *workspace.captures.root.rglob("*")):
        os.utime(folder)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert (quick(workspace, fake) is None) == (more is not None)


def replaced(path: Path, text: str) -> None:
    """By another file of this name; the folder's time is set back then, as `rsync -a` does."""
    folder = path.parent.stat()
    other = path.with_name(".temporary")
    other.write_text(text)
    os.replace(other, path)
    os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))


@pytest.mark.parametrize("place", ["captures/S1/smile/0000.obj", "work/paint/S1/smile.h5"])
def test_a_folder_whose_time_is_set_back(make, fake, place):
    workspace = done(make, fake)
    replaced(workspace.root.parent / place, "other and longer")
    told, slow = quick(workspace, fake), status_of(workspace, fake)
    assert told is None or lines_of(told) == slow.lines()
    assert any(s.states["done"] < 6 for s in slow.stages[:-1])


def test_what_is_copied_while_a_run_begins(make, fake, monkeypatch):
    """The search sees one frame of two; the folder has the time that its original had."""
    workspace = make({"S1/neutral": ["a"], "S1/smile": ["a"], "S2/neutral": ["b"]})
    time.sleep(0.02)
    real = Plan.__init__

    def late(self, *arguments, **more):
        folder = workspace.captures.root / "S1/smile"
        if not (folder / "0001.obj").exists():
            (folder / "0001.obj").write_text("x")
            os.utime(folder, (1_600_000_000,) * 2)
        real(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Plan, "__init__", late)
        go(workspace, fake, fake.WITH_SUBJECT)
    assert quick(workspace, fake) is None
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()


def test_a_listing_that_is_not_what_the_catalogue_says_is_written_again(make, fake, monkeypatch):
    workspace = done(make, fake, GOOD)
    right = workspace.listing.read_text()
    lines = right.splitlines()
    spoiled = [checked(one).replace("\t2\t", "\t3\t", 1) for one in lines]
    workspace.listing.write_text("".join(map(standing.with_check, spoiled)))
    assert workspace.listing.read_text() != right
    go(workspace, fake, fake.WITH_SUBJECT)
    assert workspace.listing.read_text() == right


def test_a_listing_that_says_what_it_would_say_stays(make, fake):
    """To write it costs a run with nothing to do as much as to find the captures."""
    workspace = done(make, fake, GOOD)
    before = workspace.listing.stat()
    go(workspace, fake, fake.WITH_SUBJECT)
    after = workspace.listing.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    shutil.copytree(workspace.captures.root / "S1", workspace.captures.root / "S9")
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert "\nS9\t" in workspace.listing.read_text()
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()


def test_one_workspace_object_for_two_runs(make, fake):
    """It searches the captures once."""
    workspace = make({"S1/neutral": ["a"], "S1/smile": ["a"]})
    opened = Workspace.open(workspace.root, environ={})
    time.sleep(0.02)
    for _ in range(2):
        run(opened, RunOptions(jobs=0), fake.WITH_SUBJECT)
        (workspace.captures.root / "S1/smile/0001.obj").write_text("new")
        time.sleep(0.02)
    told = quick(workspace, fake)
    assert told is None or lines_of(told) == status_of(workspace, fake).lines()


def test_a_shard_that_is_gone(make, fake):
    workspace = done(make, fake, GOOD)
    shard = workspace.root / "release-0123.h5"
    table = np.array([(shard.name.encode(), 3)], [("name", "S32"), ("bytes", "<i8")])
    with h5py.File(workspace.release, "r+") as handle:
        handle["shards"] = table
    shard.write_bytes(b"abc")
    go(workspace, fake, fake.WITH_SUBJECT)
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()
    shard.unlink()
    assert status_of(workspace, fake).stages[-1].states["done"] == 0
    assert quick(workspace, fake) is None


def test_parts_of_what_failed_are_told_of(make, fake):
    workspace = make(LONG)
    cut(workspace, 2)
    misbehave(workspace, _3="fail")
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    slow = status_of(workspace, fake).lines()
    assert any("goes on with" in line for line in slow)
    assert lines_of(quick(workspace, fake)) == slow


def test_frames_that_are_links_are_looked_at(make, fake):
    workspace = make({"S1/neutral": ["a"], "S2/neutral": ["b"]})
    frame, store = workspace.captures.root / "S1/neutral/0000.obj", workspace.captures.root / ".store"
    store.mkdir()
    (store / "x").write_text("first")
    frame.unlink()
    frame.symlink_to("../../.store/x")
    time.sleep(0.02)
    for _ in range(2):  # of whom everything is done has a row from the ledger
        go(workspace, fake, fake.WITH_SUBJECT)
        assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()
    replaced(store / "x", "another text")
    told, slow = quick(workspace, fake), status_of(workspace, fake)
    assert slow.to_be_made and (told is None or lines_of(told) == slow.lines())


def test_a_row_that_is_of_another_day_is_made_anew(make, fake):
    workspace = done(make, fake, GOOD)
    for k in range(2):
        (workspace.root / f"fit/S1/.nfs{k}").write_text("")
        (workspace.root / f"fit/S1/.nfs{k}").unlink()
        go(workspace, fake, fake.WITH_SUBJECT)
    told = standing.read(*plan_of(workspace, fake))
    assert told is not None and not told.open


def plan_of(workspace, fake):
    stages = fake.WITH_SUBJECT
    opened = Workspace.open(workspace.root, environ={})
    plan = Plan(opened, opened.config(stages), stages, opened.catalogue(), opened.template_digest())
    return plan, stages[:-1]


def test_a_link_out_of_the_captures_is_not_gone_into(make, fake, monkeypatch, tmp_path):
    away = tmp_path / "away"
    (away / "deep").mkdir(parents=True)
    workspace = make(GOOD)
    (workspace.captures.root / "old").symlink_to(away)
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    seen = []
    real = standing._folder_state
    monkeypatch.setattr(standing, "_folder_state", lambda path: seen.append(path) or real(path))
    assert quick(workspace, fake) is not None
    assert seen and not [path for path in seen if "/old" in path]


def test_a_folder_that_may_not_be_read(make, fake, monkeypatch):
    workspace = done(make, fake)
    assert quick(workspace, fake) is not None
    closed, access = str(workspace.captures.root / "S1/smile"), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and access(path, mode))
    assert quick(workspace, fake) is None


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


def declare(workspace, text: str) -> None:
    """A table of subjects."""
    settings, table = workspace.root / "mimicme.toml", workspace.root.parent / "subjects.csv"
    table.write_text(text)
    head, section, tail = settings.read_text().partition("[metadata]\n")
    settings.write_text(head + section + tail.replace('file = ""', f'file = "{table}"', 1))


def named(workspace, *names: str) -> list[str]:
    """Lines of both files in which somebody is named."""
    files = (workspace.listing, workspace.standing)
    lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
    return [line for line in lines if any(name in line for name in names)]


OF_A_DAY = {"day1/S1/neutral": ["a"], "day1/Zoe/neutral": ["c"], "day2/S3/neutral": ["c"]}


@pytest.mark.parametrize("how", ["refuses", "withdrew"])
def test_who_is_left_out_is_named_by_no_folder(make, fake, how):
    """In the folder of a day lie captures of one who is listed, and of one who is not."""
    workspace = make(OF_A_DAY, layout="*/{subject}/{sequence}/{frame}.obj")
    if how == "refuses":
        declare(workspace, "subject,consent\nS1,yes\nZoe,no\nS3,yes\n")
    else:
        workspace.remove_subject("Zoe", STAGE_NAMES)
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert workspace.listing.exists() and workspace.standing.exists()
    assert named(workspace, "S1") and not named(workspace, "Zoe")
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()
    (workspace.captures.root / "day1/Zoe/smile").mkdir()  # is looked for without a name
    assert quick(workspace, fake) is None


def test_a_folder_of_two_that_is_called_after_both(make, fake):
    words = {"S1 and Zoe/S1/neutral": ["a"], "S1 and Zoe/Zoe/neutral": ["c"]}
    workspace = make(words, layout="*/{subject}/{sequence}/{frame}.obj")
    declare(workspace, "subject,consent\nS1,yes\nZoe,no\n")
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert not workspace.listing.exists() and not named(workspace, "Zoe")


def test_names_as_they_are_on_disk_are_in_no_message(make, fake):
    name = "Zoe M\u00fcller"
    workspace = make(
        {"S1/neutral": ["a"], f"{name}/neutral": ["c"]}, layout="{subject}/{sequence}/{frame}.obj"
    )
    (workspace.captures.root / name / "stray.obj").write_text("x")
    declare(workspace, f"subject,consent\nS1,yes\n{name},no\n")
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    slow = status_of(workspace, fake)
    assert any(f"{name}/stray.obj" in message for message in slow.messages)
    assert not named(workspace, "Zoe", "ller")
    assert "1 subject is left out" in "".join(quick(workspace, fake).messages)


def test_a_verdict_on_one_who_refuses_is_in_no_message(make, fake):
    workspace = make({"S1/neutral": ["a"], "Zoe/neutral": ["c"]})
    declare(workspace, "subject,consent\nS1,yes\nZoe,no\n")
    (workspace.root / "review.csv").write_text(
        "subject,sequence,frame,verdict,reason\nZoe,neutral,0,bad,her eyes\n"
    )
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert any("Zoe" in message for message in status_of(workspace, fake).unheeded)
    assert quick(workspace, fake) is not None and not named(workspace, "Zoe")


def test_who_has_no_line_of_its_own_is_forgotten_too(make, fake):
    """Of whom no sequence is listed, because the order of its frames is not clear: it is named in a message."""
    workspace = make({"S1/neutral": ["a"], "Zoe/neutral": []}, layout="{subject}/{sequence}/{frame}.obj")
    for stem in ("a1_b2", "a2_b1", "a1_b1", "a2_b2"):
        (workspace.captures.root / f"Zoe/neutral/{stem}.obj").write_text(stem)
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert named(workspace, "Zoe")
    declare(workspace, "subject,consent\nS1,yes\nZoe,no\n")
    go(workspace, fake, fake.WITH_SUBJECT, only=("S1",))
    assert not named(workspace, "Zoe")


def test_who_refuses_and_has_no_captures_is_not_counted(make, fake):
    workspace = make({"S1/neutral": ["a"]})
    declare(workspace, "subject,consent\nS1,yes\nYvette,no\n")
    time.sleep(0.02)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert not named(workspace, "Yvette")
    assert not [message for message in quick(workspace, fake).messages if "left out" in message]


@pytest.mark.parametrize("size", [3 << 30, 100 << 20])
def test_a_file_that_is_too_large_is_not_read(make, fake, size):
    workspace = done(make, fake, GOOD)
    for file in (workspace.listing, workspace.standing):
        good = file.read_bytes()
        os.truncate(file, 0)
        os.truncate(file, size)
        told = quick(workspace, fake)
        assert told is None or lines_of(told) == status_of(workspace, fake).lines()
        file.write_bytes(good)
    os.truncate(workspace.listing, size)
    assert go(workspace, fake, fake.WITH_SUBJECT).code == 0
    assert lines_of(quick(workspace, fake)) == status_of(workspace, fake).lines()


@pytest.mark.parametrize("options", [{}, {"only": ("S1",)}, {"force": True}])
def test_the_next_run_tells_of_nobody_who_refuses_since(make, fake, options):
    workspace = done(make, fake)
    declare(workspace, "subject,consent\nS1,yes\nS2,no\nS3,yes\n")
    assert quick(workspace, fake) is None
    go(workspace, fake, fake.WITH_SUBJECT, **options)
    for file in (workspace.listing, workspace.standing):
        assert not file.exists() or "S2" not in file.read_text()
    told = quick(workspace, fake)
    assert (told is None) == bool(options)
    if told is not None:
        assert lines_of(told) == status_of(workspace, fake).lines()
        assert [m for m in told.messages if "left out" in m] == [
            "1 subject is left out: `mimicme status --every-file` says who and why."
        ]


def test_a_file_that_cannot_be_written_stops_no_run(make, fake):
    workspace = make(GOOD)
    Path(workspace.listing).mkdir()
    Path(workspace.standing).mkdir()
    assert go(workspace, fake).code == 0
