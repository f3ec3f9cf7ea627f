"""Who works on a workspace now: locks of the file system, which the system lets go of however a process ends.

A run of everything holds `.lock` for itself.  A run of a shard shares it with those of other shards and holds
`.lock-2-of-8` for itself; in each file stands whose it is, and in that of a shard what all that run at the same time
must agree on.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Shard
from mimicme.pipeline.whole_file import NO_ROOM, no_room
from mimicme.pipeline.workspace.template import PreparedTemplate

_WHOLE, _TEMPLATE = ".lock", ".lock-template"
_OF_SHARD = re.compile(r"\.lock-(\d+)-of-(\d+)")
_HELD = (errno.EAGAIN, errno.EACCES)
"""What locking a file ends with that somebody else holds."""


class Locks:
    """The locks in a workspace's folder, of runs that work with its template."""

    def __init__(self, root: Path, template: PreparedTemplate) -> None:
        self._root = root
        self._template = template

    @contextmanager
    def hold(self, shard: Shard | None, sees: str, template: str) -> Iterator[None]:
        """Hold the workspace for one run, or for that of one shard beside those of others.

        Args:
            shard: the shard; None: nothing else may go on.
            sees: digest of who is in which shard; all that run at the same time must agree.
            template: digest of what the shard's template is prepared from, on which they must agree too: there is one
                prepared template.  Empty: the shard uses none.

        Raises:
            UsageError: another run holds it, which is named by host and process; or it cannot be written.
            OutputError: there is no room on its disk.
        """
        import fcntl

        with self._opened(_WHOLE) as whole:
            if not _locked(whole, fcntl.LOCK_EX if shard is None else fcntl.LOCK_SH):
                held = [f"shard {one}: {said}" for one, said in self._running_shards().items()]
                raise UsageError(
                    "another run is working on this workspace",
                    where=self._root,
                    seen=", ".join(held) or _said_in(whole) or "an unnamed process",
                    todo="Wait for it, or stop it.",
                )
            if shard is None:
                for path, _ in self._of_shards():  # none is held: a shard holds the other one too
                    path.unlink(missing_ok=True)
                _say_in(whole, _this_process())
                yield
                return
            with self._opened(f".lock-{shard.suffix}") as own:
                if not _locked(own, fcntl.LOCK_EX):
                    raise UsageError(
                        f"shard {shard} of this workspace is being worked on",
                        where=self._root,
                        seen=_said_in(own) or "an unnamed process",
                        todo="Wait for it, or stop it.",
                    )
                # said before the others are looked at: of two that begin together one sees the other at least
                _say_in(own, f"{_this_process()}\n{sees}\n{template}")
                self._agree(shard, sees, template)
                yield

    def _agree(self, shard: Shard, sees: str, template: str) -> None:
        """Whether the shards that run are shards of the same.

        Raises:
            UsageError: one is not.
        """
        for path, other in self._of_shards():
            if other == shard or (said := _held_by(path)) is None:
                continue
            process, digest, of_template = (said.split("\n") + ["", ""])[:3]
            if other.count != shard.count:
                raise UsageError(
                    f"shard {shard} would overlap with shard {other}, which is being worked on",
                    where=self._root,
                    seen=process,
                    todo=f"Give all of them the same number of shards, or wait until those of {other.count} are over.",
                )
            if digest and digest != sees:
                raise UsageError(
                    f"shard {shard} would divide the subjects otherwise than shard {other}, which is being worked on",
                    where=self._root,
                    seen=f"{process}: it began with other captures, verdicts or consent than there are now",
                    todo="Wait until the shards that run are over, then begin all of them anew: what is done stays.",
                )
            if template and of_template and template != of_template:
                raise UsageError(
                    f"shard {shard} has another template than shard {other}, which is being worked on",
                    where=self._template.source,
                    seen=f"{process}: it began with another file, or with other content of this one",
                    todo="Give all shards the same template, or wait until those that run are over.",
                )

    @contextmanager
    def hold_template(self, wait: Callable[[], None]) -> Iterator[None]:
        """Held by the run that prepares the template, for which those of other shards wait.

        Args:
            wait: called before it is waited for another one.

        Raises:
            UsageError, OutputError: see `hold`.
        """
        import fcntl

        with self._opened(_TEMPLATE) as handle:
            if not _locked(handle, fcntl.LOCK_EX, attempts=1):
                wait()
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX)
                except OSError as error:
                    raise _no_locks(self._root, error) from error
            yield

    def running_process(self) -> str | None:
        """The run that holds the workspace now, as `process 12 on HOST`; empty where it has not said; None: there is
        none.  Of several shards the first, and how many there are.  Changes nothing."""
        runs = self.running_runs()
        if not runs:
            return None
        first, said = next(iter(runs.items()))
        if first is None:
            return said
        return f"{said} (shard {first}{f', {len(runs)} shards are worked on' if len(runs) > 1 else ''})"

    def running_runs(self) -> dict[Shard | None, str]:
        """The runs that hold the workspace now, each as `process 12 on HOST`, by the shard that it works on; one that
        works on everything is alone, under None.  Changes nothing."""
        whole = _held_by(self._root / _WHOLE)
        if whole is not None:
            return {None: whole}
        return {shard: said for shard, said in self._running_shards().items()}

    def _running_shards(self) -> dict[Shard, str]:
        """The shards that are being worked on now, each with its process."""
        held = ((shard, _held_by(path)) for path, shard in self._of_shards())
        return {shard: said.partition("\n")[0] for shard, said in held if said is not None}

    def _of_shards(self) -> Iterator[tuple[Path, Shard]]:
        """The lock files of shards, held or not, in order."""
        found = []
        for path in self._root.glob(".lock-*-of-*"):
            if named := _OF_SHARD.fullmatch(path.name):
                found.append((Shard(int(named[1]), int(named[2])), path))
        for shard, path in sorted(found, key=lambda one: (one[0].count, one[0].number)):
            yield path, shard

    def _opened(self, name: str) -> IO[str]:
        try:
            return open(self._root / name, "a+")
        except OSError as error:
            what = "the workspace cannot be written"
            if error.errno in NO_ROOM:
                raise no_room(self._root, error, what) from error
            raise UsageError(
                what,
                where=self._root,
                seen=error.strerror,
                todo="See to its permissions, and whether its disk is mounted read-only.",
            ) from error


def _this_process() -> str:
    return f"process {os.getpid()} on {platform.node() or 'this machine'}"


def _locked(handle: IO[str], how: int, attempts: int = 5) -> bool:
    """Lock an opened file, unless somebody else holds it.

    Raises:
        UsageError: its file system has no locks.
    """
    import fcntl

    for attempt in range(attempts):
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _HELD:
                raise _no_locks(Path(handle.name).parent, error) from error
        if attempt < attempts - 1:  # `status` holds it for an instant
            time.sleep(0.1)
    return False


def _held_by(path: Path) -> str | None:
    """What the process says that holds a lock file for itself; None: none does."""
    import fcntl

    try:
        with open(path) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                # where there are no locks nobody holds one
                return handle.read().strip() if error.errno in _HELD else None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):  # nobody can say
        return ""
    return None


def _no_locks(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        "the workspace cannot be locked",
        where=folder,
        seen=error.strerror,
        todo="Two runs at once would spoil it, so none begins. Mount its file system with locks (NFS without `nolock`, "
        "Lustre with `-o flock`), or put the workspace on another one.",
    )


def _said_in(handle: IO[str]) -> str:
    handle.seek(0)
    return handle.read().partition("\n")[0]


def _say_in(handle: IO[str], text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(f"{text}\n")
    handle.flush()
