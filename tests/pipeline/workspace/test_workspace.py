"""The workspace: what it removes and forgets."""

from __future__ import annotations

import shutil

from fake_runs import go

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
