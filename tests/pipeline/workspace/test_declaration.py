"""What a workspace declares, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mimicme.pipeline.errors import ConfigError, UsageError
from mimicme.pipeline.workspace import Workspace


def test_workspace_refuses_what_is_not_one(tmp_path, make, fake):
    with pytest.raises(UsageError, match="not a workspace"):
        Workspace.open(tmp_path)
    workspace = make()
    captures = workspace.captures.root
    with pytest.raises(UsageError, match="already") as refused:
        Workspace.create(workspace.root, captures=captures)
    assert f"are taken by the next `mimicme run {workspace.root}`" in str(
        refused.value
    )  # who has new captures
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
