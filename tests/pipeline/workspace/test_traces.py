"""Where a subject is named in records of the others."""

from __future__ import annotations

import json

from fake_runs import go

from mimicme.pipeline.workspace import Workspace


def test_a_log_does_not_name_who_withdrew_among_what_its_run_was_limited_to(make, fake):
    workspace = make()
    go(workspace, fake, only=("S1/*", "S[1]/smile", "S1", "S2/*", "*/sad"), last="read")
    Workspace.open(workspace.root).remove_subject("S1", [s.name for s in fake.STAGES])
    text = (workspace.runs()[-1] / "log.jsonl").read_text()
    begun = json.loads(text.splitlines()[0])
    assert begun["only"] == ["", "", "", "S2/*", "*/sad"] and begun["last"] == "read"
    assert "S1" not in text and "[1]" not in text
