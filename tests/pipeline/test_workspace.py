"""The workspace: what it refuses, removes and forgets."""

from __future__ import annotations

import errno
import fcntl
import gc
import io
import json
import os
import shutil
from dataclasses import replace

import pytest
from fake_runs import calls, go

from mimicme.pipeline.captures import catalogue as catalogues
from mimicme.pipeline.errors import ConfigError, InputError, UsageError
from mimicme.pipeline.items import Shard
from mimicme.pipeline.run.progress import Console
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.run.runner import run
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.workspace import Workspace


def test_only_its_own_half_written_files_are_removed(make, fake):
    workspace = make()
    captures = workspace.root / "captures"
    shutil.copytree(workspace.captures.root, captures)
    file = workspace.root / "mimicme.toml"
    file.write_text(file.read_text().replace(str(workspace.captures.root), str(captures)))
    own = ["read/S1/.smile.h5.12.tmp", "failures/read/S1/.smile.json.3.tmp", ".release.h5.7.tmp"]
    own += ["template/.template.h5.9.tmp", "runs/x/.config.toml.4.tmp"]
    others = ["captures/S1/.smile.obj.12.tmp", "read/S1/.notes.tmp", "notes/.mine.12.tmp", "read/x.12.tmp"]
    for name in (*own, *others):
        path = workspace.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    go(workspace, fake)
    assert [n for n in (*own, *others) if (workspace.root / n).exists()] == others


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks(make, fake, monkeypatch, code):
    """A run says what to do, and `status` does not take it for a run that is going on."""
    workspace = make()
    go(workspace, fake)

    def flock(*_):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", flock)
    for shard in (None, Shard(1, 2)):
        with pytest.raises(UsageError, match="cannot be locked.*Mount its file system with locks"):
            go(workspace, fake, shard=shard)
    with pytest.raises(UsageError, match="cannot be locked"), workspace.template_lock():
        pass
    assert workspace.running_process() is None


def test_workspace_refuses_what_is_not_one(tmp_path, make, fake):
    with pytest.raises(UsageError, match="not a workspace"):
        Workspace.open(tmp_path)
    workspace = make()
    captures = workspace.captures.root
    with pytest.raises(UsageError, match="already"):
        Workspace.create(workspace.root, captures=captures)
    with pytest.raises(UsageError, match="keeps its own files"):
        Workspace.create(tmp_path / "one", captures=captures, stages=[replace(fake.READ, name="captures")])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="a workspace is a folder"):
        Workspace.create(tmp_path / "file", captures=captures)


@pytest.mark.parametrize(("wrong", "said"), [({"up": "z"}, "up is 'z'"), ({"unit": "ell"}, "unit is 'ell'")])
def test_nothing_is_made_of_a_wrong_declaration(tmp_path, make, wrong, said):
    with pytest.raises(ConfigError, match=said):
        Workspace.create(tmp_path / "new", captures=make().captures.root, **wrong)
    assert not (tmp_path / "new").exists()


def test_withdrawn_subject_is_gone_and_stays_away(make, fake):
    workspace = make()
    go(workspace, fake)
    removed = Workspace.open(workspace.root).remove_subject("S1", [s.name for s in fake.STAGES])
    assert len(removed) == 6
    assert go(workspace, fake).counts("read") == (0, 2, 0, 0)
    texts = [
        p.read_text(errors="replace") for p in workspace.root.rglob("*") if p.is_file() and p.suffix != ".h5"
    ]
    assert not any("S1/" in text for text in texts if "captures" not in text)
    assert [s.item.subject for s in Workspace.open(workspace.root).sequences()] == ["S2", "S2"]


def test_a_log_does_not_name_who_withdrew_among_what_its_run_was_limited_to(make, fake):
    workspace = make()
    go(workspace, fake, only=("S1/*", "S[1]/smile", "S1", "S2/*", "*/sad"), last="read")
    Workspace.open(workspace.root).remove_subject("S1", [s.name for s in fake.STAGES])
    text = (workspace.runs()[-1] / "log.jsonl").read_text()
    begun = json.loads(text.splitlines()[0])
    assert begun["only"] == ["", "", "", "S2/*", "*/sad"] and begun["last"] == "read"
    assert "S1" not in text and "[1]" not in text


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
