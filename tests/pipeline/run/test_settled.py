"""Subjects of whom everything is done are recognised without a look at their items, and only while nothing changed."""

from __future__ import annotations

import os
import pickle
import re

import pytest
from fake_runs import CHANGES, GOOD, STAGE_NAMES, WORDS, calls, go, in_place, status_of

from mimicme.pipeline import whole_file
from mimicme.pipeline.checkpoint import fingerprint
from mimicme.pipeline.run import bookkeeping, settled
from mimicme.pipeline.run.plan import Plan
from mimicme.pipeline.run.settled import Ledger, Settled, Tally, folder_digest, purge, source_folders
from mimicme.pipeline.sources import Sources
from mimicme.pipeline.workspace import Workspace


@pytest.fixture
def looked(monkeypatch):
    """Subjects whose items a plan looks at."""
    seen: set[str] = set()
    real = Plan._determine_state

    def determine(self, stage, sequence):
        seen.add(sequence.item.subject)
        return real(self, stage, sequence)

    monkeypatch.setattr(Plan, "_determine_state", determine)
    return seen


def without_times(text: str) -> str:
    return re.sub(r"[0-9.]+ s\b", "T s", text)


def run_twice(make, fake, looked):
    workspace = make(WORDS)
    go(workspace, fake, fake.WITH_SUBJECT)
    calls(workspace)
    looked.clear()
    return workspace


def test_a_second_run_looks_at_no_item_and_says_the_same(make, fake, looked):
    workspace = run_twice(make, fake, looked)
    quick = go(workspace, fake, fake.WITH_SUBJECT)
    assert looked == set()
    workspace.ledger.unlink()
    slow = go(workspace, fake, fake.WITH_SUBJECT)
    assert looked == {"S1", "S2", "S3"}
    assert (quick.code, without_times(quick.out), without_times(quick.err)) == (
        (slow.code, without_times(slow.out), without_times(slow.err))
    )
    assert quick.counts("agree") == (0, 6, 0, 0)
    assert quick.stages["read"].frames_rejected == 1
    assert "bad-words" in quick.out
    assert calls(workspace) == []


def test_status_says_the_same(make, fake, looked):
    workspace = run_twice(make, fake, looked)
    together, each = status_of(workspace, fake, each=False), status_of(workspace, fake)
    assert looked == {"S1", "S2", "S3"}
    assert together.lines() == each.lines()
    assert together.failed_lines() == each.failed_lines()
    looked.clear()
    status_of(workspace, fake, each=False)
    assert looked == set()


def test_a_dry_run_looks_at_no_item(make, fake, looked):
    workspace = run_twice(make, fake, looked)
    said = go(workspace, fake, fake.WITH_SUBJECT, dry_run=True).out
    assert looked == set()
    assert "fit: 0 of 6 would run, 6 are current" in said
    assert "bundle: 0 of 1 would run, 1 are current" in said


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_seen_and_mended(make, fake, looked, what):
    workspace = run_twice(make, fake, looked)
    CHANGES[what](workspace)
    mended = go(workspace, fake, fake.WITH_SUBJECT)
    # the release is made of everybody's, whose checkpoints are current all the same
    assert {item.split("/")[0] for _, item, *_ in calls(workspace)} == {"S1"}
    assert sum(mended.counts(stage)[0] for stage in STAGE_NAMES[:-1]) > 0
    assert mended.counts("read")[1] in (5, 6)
    assert looked == {"S1"}
    lines = workspace.checkpoint_index.read_text().splitlines()
    assert sum("/S2/" in line for line in lines) == 8  # what was set aside is kept
    workspace.ledger.unlink()
    slow = go(workspace, fake, fake.WITH_SUBJECT)
    assert [slow.counts(stage)[0] for stage in STAGE_NAMES] == [0] * 5 or what == "a link in place of a file"


def test_a_changed_setting_or_template_counts_for_everybody(make, fake, looked):
    workspace = run_twice(make, fake, looked)
    again = go(workspace, fake, fake.WITH_SUBJECT, sets=["paint.size=4"])
    assert looked == {"S1", "S2", "S3"}
    assert again.counts("paint") == (6, 0, 0, 0)


def test_force_and_a_part_look_at_each_item(make, fake, looked):
    workspace = run_twice(make, fake, looked)
    assert go(workspace, fake, fake.WITH_SUBJECT, only=("S1",)).counts("fit") == (0, 2, 0, 0)
    assert looked == {"S1"}
    assert go(workspace, fake, fake.WITH_SUBJECT, force=True).counts("fit") == (6, 0, 0, 0)


def test_a_subject_that_failed_is_not_settled(make, fake, looked):
    workspace = make(WORDS | {"S1/smile": ["fail"]})
    go(workspace, fake, fake.WITH_SUBJECT)
    looked.clear()
    assert go(workspace, fake, fake.WITH_SUBJECT).counts("read") == (0, 5, 1, 0)
    assert looked == {"S1"}


def test_a_file_that_changes_while_a_run_goes_on_is_seen(make, fake, looked, monkeypatch):
    workspace = make(WORDS)
    real = bookkeeping.settle

    def changed(plan, *more):
        in_place(workspace.captures.root / "S1/smile/0000.obj", "xyz")
        real(plan, *more)

    monkeypatch.setattr(bookkeeping, "settle", changed)
    go(workspace, fake, fake.WITH_SUBJECT)
    monkeypatch.setattr(bookkeeping, "settle", real)
    calls(workspace)
    looked.clear()
    go(workspace, fake, fake.WITH_SUBJECT)
    assert looked == {"S1"}
    assert {item for _, item, *_ in calls(workspace)} >= {"S1/smile"}


def test_what_learns_from_everybody_is_never_settled(make, fake, looked):
    workspace = make(WORDS)
    go(workspace, fake, fake.WITH_CORPUS)
    assert not workspace.ledger.exists()


def test_a_ledger_with_a_flipped_byte_is_none(make, fake, looked):
    workspace = run_twice(make, fake, looked)
    good = workspace.ledger.read_bytes()
    for place in range(0, len(good), len(good) // 40):
        spoiled = bytearray(good)
        spoiled[place] ^= 1
        workspace.ledger.write_bytes(bytes(spoiled))
        looked.clear()
        told = status_of(workspace, fake, each=False)
        assert looked == {"S1", "S2", "S3"}, place
        assert [s.states["done"] for s in told.stages] == [6, 6, 6, 6, 1]


def test_of_a_ledger_larger_than_anybody_writes_nothing_is_read(tmp_path, monkeypatch):
    file = tmp_path / "settled.txt"
    ledger = Ledger(file, "key")
    ledger.subjects = {f"S{k}": Settled("signature", ("S1",), {"read": "{}"}) for k in range(9)}
    ledger.save()
    whole = file.read_bytes()
    assert len(Ledger(file, "key").subjects) == 9
    monkeypatch.setattr(whole_file, "LONGEST_LINE", 40)
    assert Ledger(file, "key").subjects == {}
    purge(file, {"S1"})
    assert not file.exists()
    monkeypatch.setattr(whole_file, "LONGEST_LINE", 1000)
    file.write_bytes(whole)
    monkeypatch.setattr(whole_file, "MOST_BYTES", len(whole) - 1)
    assert Ledger(file, "key").subjects == {}
    monkeypatch.setattr(whole_file, "MOST_BYTES", len(whole))
    file.write_bytes(whole[:-5])  # a run was killed while it wrote the last
    cut = Ledger(file, "key")
    assert len(cut.subjects) == 8
    cut.begin(cut.subjects)
    assert file.read_bytes().endswith(b"\n") and len(Ledger(file, "key").subjects) == 8


def test_withdrawing_deletes_the_ledger(make, fake):
    workspace = make(WORDS)
    go(workspace, fake, fake.WITH_SUBJECT)
    assert "S2" in workspace.ledger.read_text()
    workspace.remove_subject("S2", STAGE_NAMES)
    assert not workspace.ledger.exists()


def test_the_next_run_tells_of_nobody_who_refuses_since(make, fake, looked):
    """Whatever it is of; what is saved of the others stays in use."""
    workspace = run_twice(make, fake, looked)
    before = workspace.ledger.read_text()
    assert "\nS2\t" in before
    settings, table = workspace.root / "mimicme.toml", workspace.root.parent / "subjects.csv"
    table.write_text("subject,consent\nS1,yes\nS2,no\nS3,yes\n")
    head, section, tail = settings.read_text().partition("[metadata]\n")
    settings.write_text(head + section + tail.replace('file = ""', f'file = "{table}"', 1))
    for options in ({"only": ("S1",)}, {"force": True}):
        workspace.ledger.write_text(before)
        go(workspace, fake, fake.WITH_SUBJECT, **options)
        left = workspace.ledger.read_text()
        assert "S2" not in left and "\nS1\t" in left and "\nS3\t" in left
        assert "S2" not in "\n".join(status_of(workspace, fake, each=False).lines())
    looked.clear()
    workspace.ledger.write_text("")
    go(workspace, fake, fake.WITH_SUBJECT, only=("S1",))
    assert not workspace.ledger.exists()


def test_a_disk_that_is_full_costs_the_ledger_alone(make, fake, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(settled.Ledger, "save", full)
    workspace = make(GOOD)
    assert go(workspace, fake).code == 0
    assert not workspace.ledger.exists()


def test_an_unchanged_ledger_is_not_written_again(make, fake):
    workspace = make(GOOD)
    go(workspace, fake)
    before = workspace.ledger.stat()
    go(workspace, fake)
    assert workspace.ledger.stat().st_ino == before.st_ino


def test_a_saved_ledger_comes_back_for_its_key_alone(tmp_path):
    told = Tally(2, 5, 1, ["S1/a frame 0: x"], [], [("unit_decision", "mm: 61", "S1/a")])
    ledger = Ledger(tmp_path / "settled.txt", "key")
    ledger.subjects = {"S1": Settled("signature", ("S1/a", "S1/b"), {"read": told.to_json()}, 12.5)}
    ledger.release = ("all", "wanted")
    ledger.save()
    again = Ledger(tmp_path / "settled.txt", "key")
    assert (again.subjects, again.release) == (ledger.subjects, ledger.release)
    assert again.subjects["S1"].tally("read") == told
    other = Ledger(tmp_path / "settled.txt", "another")
    assert (other.subjects, other.release) == ({}, None)


def test_a_folder_is_told_by_all_that_lies_in_it(tmp_path):
    seen = {folder_digest(str(tmp_path / "none"))}

    def new() -> bool:
        digest = folder_digest(str(tmp_path))
        known = digest in seen
        seen.add(digest)
        return not known

    assert new()
    assert not new()
    (tmp_path / "a").write_text("1")
    assert new()
    before = (tmp_path / "a").stat()
    in_place(tmp_path / "a", "2")
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert new()
    (tmp_path / "a").rename(tmp_path / "b")
    assert new()
    (tmp_path / "folder").mkdir()
    assert new()
    (tmp_path / "link").symlink_to("b")
    assert new()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("./b")
    assert new()
    (tmp_path / "broken").symlink_to("nowhere")
    assert new()


def test_folders_of_sources():
    assert source_folders(["S1/a/0.obj", "S1/a/0.jpg", "S1//*.csv", "top.mtl"]) == ("", "S1", "S1/a")
    assert source_folders([]) == ()
    assert source_folders(["S1/a/0.obj", "S1//**/*.png"]) is None


def test_folders_of_what_sources_remember(tmp_path):
    """Whatever is looked for below a folder no folder's signature covers; all else its own folder's does."""
    sources = Sources(tmp_path)
    sources.any(tmp_path / "S1", "*.obj")
    sources.names_within(tmp_path / "S2", "skin", "*.obj")
    sources.folders(tmp_path / "S3", re.compile("tex"))
    assert source_folders(sources.digests) == ("S1", "S2", "S3")
    for apart_from in (None, "", "a"):
        sources = Sources(tmp_path)
        sources.any_below(tmp_path / "S1", "*.obj", apart_from)
        assert source_folders(sources.digests) is None


def test_of_who_is_over_only_that_is_kept(make, fake, monkeypatch):
    """What made a million items, and from what, would be some GB."""
    seen, settle = [], bookkeeping.settle

    def noted(plan, now):
        states = {plan.states["read", s.item].state for s in plan.catalogue.sequences}
        seen.append((dict(plan.states), states, {path.split(os.sep)[-2] for path in plan.index._entries}))
        return settle(plan, now)

    monkeypatch.setattr(bookkeeping, "settle", noted)
    workspace = make(GOOD | {"S2/sad": ["fail"], "S3/neutral": ["a"], "S4/neutral": ["b"]})
    go(workspace, fake, fake.WITH_SUBJECT)
    [(kept, states, in_memory)] = seen
    assert {item.subject for _, item in kept} == {"S2"}
    assert states == {"done", "failed"}
    # and whoever was asked for last, for the release
    assert "S2" in in_memory and len(in_memory) == 2
    saved = workspace.checkpoint_index.read_text().splitlines()[1:]
    assert {line.split("/")[1] for line in saved} == {"S1", "S2", "S3", "S4"}


def test_what_would_make_a_release_is_the_same_taken_item_by_item(make, fake):
    workspace = make(GOOD | {"S2/sad": ["fail"]})
    go(workspace, fake, fake.WITH_SUBJECT)
    opened = Workspace.open(workspace.root, environ={})
    stages = fake.WITH_SUBJECT
    plan = Plan(opened, opened.config(stages), stages, opened.catalogue(), opened.template_digest())
    plan.determine_all_states()
    release, sequences = stages[-1], list(reversed(plan.catalogue.sequences))
    assert release.scope == "everything"
    assert plan.release_wanted(release, sequences, "now") == fingerprint(
        plan._release_record_but_items(release, "now")
        | {"items": {str(s.item): plan._release_item(release, s) for s in sequences}}
    )
    done = sequences[-1]
    given = plan.collected(release, done)
    assert pickle.loads(pickle.dumps(given)) == dict(given) == given
    assert set(given) and all(path == plan.checkpoint(name, done.item) for name, path in given.items())
    assert "nothing" not in given


def test_folders_of_failures_are_looked_at_where_a_stage_has_some(make, fake, looked, monkeypatch):
    workspace = run_twice(make, fake, looked)
    seen = []
    real = settled.folder_digest
    monkeypatch.setattr(settled, "folder_digest", lambda folder: seen.append(folder) or real(folder))
    stages, folder = STAGE_NAMES[:-1], workspace.root / "failures" / "fit" / "S1"

    def signature() -> str:
        seen.clear()
        return settled.Signatures(workspace.root, workspace.captures.root, stages).take("S1", (), ("S1/a",))

    before = signature()
    assert len(seen) == len(stages) + 1
    folder.mkdir(parents=True)
    (folder / "neutral.json").write_text("{}")
    assert signature() != before
    assert len(seen) == len(stages) + 2 and str(folder) in seen
