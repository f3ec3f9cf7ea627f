"""Who works on a workspace; that shards agree stands in run/test_shard.py."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest
from fake_runs import go

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Shard


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
