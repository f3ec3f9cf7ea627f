"""Whether a release is packed anew, or kept: a release never loses frames because something failed.

Frames leave a release when somebody decided so: they were rejected, a person called them bad, their captures are gone,
consent was taken back.  A failure is no decision: what failed tonight is mended tomorrow, and until then the release
that is there is better than the one that could be packed.  So:

| of the release that is there | it is |
| --- | --- |
| every sequence has all results that it is made of | packed anew |
| the same, and frames are rejected now, or called bad, or their captures are gone | packed anew, without them |
| a sequence with a frame that is ok lacks a result it has there: failed, waiting, out of date, not made | kept |
| the same, and it lacks that result there too | packed anew: nothing is lost |
| the same, with `--allow-missing` | packed anew, without the frames |
| it is to be kept, and somebody in it withdrew, refuses now, or has no captures any more | kept without them |
| it is to be kept, and a sequence of who stays has no captures any more | kept without it |
| it is to be kept, and frames are rejected now, or called bad | kept with them: they wait for the next that is packed |
| it is to be kept, and an interrupted pack left shards beside it | kept, and these are removed |
| it is to be kept, and the table of subjects says other things of somebody in it | kept, with what the table says |
| it is to be kept, and template, settings or licence are others | kept as it was made |
| packing itself fails, or there is nothing to pack | kept, likewise without who must not be in it |
| it lies elsewhere (`--output`) | the same, but that people and sequences that are not listed here stay |
| what it has of a sequence cannot be read: its shard is missing, its header damaged | kept, as if it had all of it |
| it cannot be opened now (held open, no right, the disk), is another version's or a shard | kept: packing fails |
| it is no HDF5, or its indexes are damaged | packed anew: it gives nobody anything |

To keep is to leave the file alone, byte for byte, unless somebody, or a recording, must leave it: then it is written
anew without, as `withdraw` does it, and nothing else changes.  Frames of an old release are never put among new ones:
they may be of another template, other settings, another neutral, and one file would speak with two tongues.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from mimicme.pipeline.captures.metadata import SubjectTable
from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release, SequenceInfo, shards
from mimicme.pipeline.release.access import OtherReleaseError
from mimicme.pipeline.release.guard import TooLittleMemoryError
from mimicme.pipeline.release.layout import MADE_BY, OK
from mimicme.pipeline.release.rewriting import rewrite
from mimicme.pipeline.release.writer import subject_attributes

CHANGED = "changed-"
"""Before the fingerprint of a kept release of which a sequence left, or the attributes of a person changed."""


@dataclass(frozen=True)
class Kept:
    """What was done to a release that is kept.

    Attributes:
        left: how many people were taken out.
        sequences: how many sequences of others were.
        changed: of how many the attributes are now as the table has them.
    """

    left: int = 0
    changed: int = 0
    sequences: int = 0


def held(path: Path, items: Iterable[Item]) -> dict[Item, frozenset[str] | None]:
    """Of these sequences, those of which the release at a path has a frame that is ok, with the stages whose results it
    has of each, None where that cannot be read; no sequence where the file is no HDF5, or its indexes are damaged.

    Raises:
        ReleaseError, MemoryError: it cannot be read now, and may be whole: somebody has it open, this user may not, the
            disk or the memory failed, or it is another version's.
    """
    wanted = set(items)
    if not wanted:
        return {}
    try:
        with Release(path) as release:
            statuses = release.index["status"]
            return {
                info.item: _made_by(info)
                for info in release.sequences()
                if info.item in wanted and (statuses[info.start : info.stop] == OK).any()
            }
    except ReleaseError as error:
        if _may_be_whole(error):
            raise
        return {}


def ok_frames(path: Path) -> dict[Item, int]:
    """The sequences of the release at a path, with how many frames of each are ok.

    Raises:
        ReleaseError, MemoryError: it cannot be read.
    """
    with Release(path) as release:
        statuses = release.index["status"]
        return {
            info.item: int((statuses[info.start : info.stop] == OK).sum()) for info in release.sequences()
        }


def _made_by(info: SequenceInfo) -> frozenset[str] | None:
    """The stages whose results a sequence has; None where its place is damaged, or its shard is not there."""
    try:
        return frozenset(name.removeprefix(MADE_BY) for name in info.attributes if name.startswith(MADE_BY))
    except ReleaseError:
        return None


def _may_be_whole(error: BaseException) -> bool:
    """Whether an error over a file says nothing of what is in it: the system failed, the memory, or it is no file of
    ours to judge."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, OtherReleaseError | TooLittleMemoryError | MemoryError) or getattr(
            one, "errno", None
        ):
            return True
        one = one.__cause__ or one.__context__
    return False


def keep(
    path: Path,
    who_stays: Callable[[Collection[str]], Collection[str]],
    subjects: SubjectTable | None,
    mark: str,
    what_stays: Callable[[Collection[Item]], Collection[Item]] | None = None,
) -> Kept:
    """See to it that a release which is kept holds nobody and nothing that must not be in it, and says of the others
    what the table says.

    Args:
        who_stays: of the subjects in it, those that may be.
        subjects: what is said of them; None: as it says itself.
        mark: before its fingerprint, once somebody has left it; see `rewrite`.
        what_stays: of the sequences in it, those that may be; None: all of who stays.

    Raises:
        ReleaseError, CheckpointError: it is damaged.
        OSError, OutputError: it cannot be written.
    """
    with Release(path) as release:
        there = release.subjects
        items = [info.item for info in release.sequences()] if what_stays is not None else []
    stay = set(who_stays(there))
    gone = there.keys() - stay
    dropped = {item for item in items if item.subject in stay}
    if what_stays is not None:
        dropped -= set(what_stays(dropped))
    now = {one: subject_attributes(subjects.attributes(one)) for one in stay} if subjects is not None else {}
    changed = {
        one: said
        for one, said in now.items()
        if {k: str(v) for k, v in said.items()} != {k: str(v) for k, v in there[one].items()}
    }
    named = shards.of_file(path)
    if named is not None:  # of a pack that was interrupted: it may hold who left, here or in between
        shards.remove_others(path, (one.name for one in named))
    if gone or changed or dropped:
        rewrite(path, gone, changed, dropped, mark=mark if gone else CHANGED)
    return Kept(len(gone), len(changed), len(dropped))
