"""Whom the table of subjects lets in, and what a run, a plan and `status` say of the others."""

from __future__ import annotations

import gc
import io

import pytest
from fake_runs import calls, go

from mimicme.pipeline.captures import catalogue as catalogues
from mimicme.pipeline.errors import InputError, UsageError
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.run.runner import run
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.workspace import Workspace


@pytest.fixture
def refusing(make, tmp_path):
    """A workspace whose table of subjects refuses S1, and the options that name the table."""
    table = tmp_path / "subjects.csv"
    table.write_text("subject,consent\nS1,withdrawn 2024-05-01\nS2,yes\nS9,no\n")
    return make(), (f"metadata.file={table}",), table


def test_nothing_is_made_of_a_subject_that_the_table_refuses(refusing, fake):
    workspace, sets, _ = refusing
    result = go(workspace, fake, sets=sets)
    assert [r.counts("read") for r in (result, go(workspace, fake, sets=sets))] == [
        (2, 0, 0, 0),
        (0, 2, 0, 0),
    ]
    assert {c[1].split("/")[0] for c in calls(workspace)} == {"S2"}
    assert not list(workspace.root.glob("*/S1"))
    assert result.err.count("Subject 'S1'") == 1
    assert "its consent is 'withdrawn 2024-05-01' (line 2)" in result.err
    assert "mimicme withdraw" not in result.err  # nothing was made of it
    assert "change the table" in result.err
    assert "S9" not in result.err


def test_a_yes_in_another_language_is_told_the_setting_that_knows_it(refusing, fake):
    workspace, sets, table = refusing
    table.write_text("subject,consent\nS1,ja\nS2,no\n")
    result = go(workspace, fake, sets=sets)
    assert "'ja' is not understood (line 2)" in result.err
    assert (
        result.err.count("or let `consent_yes` in [captures] name a word that is a yes") == 1
    )  # `no` is understood
    assert go(workspace, fake, sets=(*sets, 'captures.consent_yes=["ja"]')).counts("read") == (2, 0, 0, 0)


def test_status_leaves_out_whom_the_table_refuses_and_says_so(refusing, fake):
    workspace, sets, _ = refusing
    go(workspace, fake)  # before there was a table
    status = read_status(Workspace.open(workspace.root, sets=sets), fake.STAGES)
    assert f"`mimicme withdraw {workspace.root} S1`, which cannot be undone" in " ".join(status.messages)
    assert (status.subjects, status.sequences) == (1, 2)
    assert {i.item for s in status.stages for i in s.items} == {"S2/angry", "S2/sad", "release"}
    assert sum("Subject 'S1' is left out" in m for m in status.messages) == 1
    assert (workspace.root / "fit/S1/smile.h5").is_file()
    release = next(i for s in status.stages for i in s.items if i.item == "release")
    assert release.state == "stale"


def test_who_asks_for_a_refused_subject_is_told_why_it_is_not_there(refusing, fake):
    workspace, sets, _ = refusing
    said = io.StringIO()
    opened = Workspace.open(workspace.root, sets=sets)
    with pytest.raises(UsageError, match="'S1' names a subject who is left out.*no consent in the table"):
        run(opened, RunOptions(only=("S1",), jobs=0), fake.STAGES, Console(said))
    assert "Subject 'S1' is left out" in said.getvalue()


def test_consent_that_is_given_again_brings_the_subject_back(refusing, fake):
    workspace, sets, table = refusing
    go(workspace, fake, sets=sets)
    table.write_text("subject,consent\nS1,yes\nS2,yes\n")
    assert go(workspace, fake, sets=sets).counts("read") == (2, 2, 0, 0)


def test_a_run_where_everyone_refuses_does_nothing(refusing, fake):
    workspace, sets, table = refusing
    table.write_text("subject,consent\nS1,no\nS2,no\n")
    result = go(workspace, fake, sets=sets)
    assert calls(workspace) == [] and result.code == 1
    assert "nobody is left in it" in result.err
    plan = go(workspace, fake, sets=sets, dry_run=True)
    assert plan.code == 1 and "of 0 would run" not in plan.out
    assert f"nothing would run: nobody is left in it; `mimicme status {workspace.root}` says who" in plan.out
    opened = Workspace.open(workspace.root, sets=sets)
    (waits,) = read_status(opened, fake.STAGES).failed_lines()
    assert waits.startswith("release: bundle waits: nobody is left in it")
    assert not workspace.release.exists()
    assert "Subject 'S1' is left out" in result.err
    assert "Subject 'S2' is left out" in result.err


def test_a_release_of_people_who_refuse_now_is_told_to_be_old(refusing, fake):
    workspace, sets, table = refusing
    assert go(workspace, fake, sets=sets).code == 0
    table.write_text("subject,consent\nS1,no\nS2,no\n")
    result = go(workspace, fake, sets=sets)
    assert result.code == 1 and workspace.release.is_file()
    assert "release.h5 is an older one and may hold who is left out now" in result.err


def test_captured_are_all_whatever_the_table_says(refusing):
    workspace, sets, table = refusing
    opened = Workspace.open(workspace.root, sets=sets)
    assert opened.catalogue().subjects == ("S2",)
    table.unlink()
    assert opened.captured_subjects() == ("S1", "S2")
    with pytest.raises(InputError, match="the metadata table cannot be read"):
        Workspace.open(workspace.root, sets=sets).sequences()


def test_the_digest_of_the_table_is_that_of_the_table_that_was_read(make, tmp_path):
    """The table may be edited while a run goes on: the release is made of what was read, and says so."""
    table = tmp_path / "people.csv"
    table.write_text("subject,consent\nS1,yes\n")
    workspace = Workspace.open(make().root, sets=[f"metadata.file={table}"])
    workspace.catalogue()
    before = workspace.metadata_digest()
    table.write_text("subject,consent\nS1,yes\nS2,no\n")
    assert workspace.metadata_digest() == before
    again = Workspace.open(workspace.root, sets=[f"metadata.file={table}"])
    assert again.metadata_digest() != before


def test_nothing_looks_for_cycles_while_the_captures_are_listed(make, monkeypatch):
    """Of a large database a million objects are made that all stay, and would be gone through again and again."""
    enabled = []
    known = catalogues.unknown_labels
    monkeypatch.setattr(
        catalogues, "unknown_labels", lambda *args: enabled.append(gc.isenabled()) or known(*args)
    )
    make().catalogue()
    assert enabled == [False] and gc.isenabled()
