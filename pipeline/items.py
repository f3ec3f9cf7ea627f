"""What is worked on: sequences of frames on disk, the parts of one, and what is declared about all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

_Kind = TypeVar("_Kind")


def _sent_as_its_fields(kind: type[_Kind]) -> type[_Kind]:
    """For a dataclass of two fields or more: each job is sent to a worker, and what `dataclass` writes of an object
    with slots takes several times as long."""
    values = attrgetter(*(field.name for field in fields(kind)))  # type: ignore[arg-type]

    def reduced(self: _Kind) -> tuple[Any, ...]:
        return kind, values(self)

    kind.__reduce__ = reduced  # type: ignore[method-assign, assignment]
    return kind


@_sent_as_its_fields
@dataclass(frozen=True, order=True, slots=True)
class Item:
    """The unit of work: one sequence of one subject.  Its text form is `subject/sequence`."""

    subject: str
    sequence: str

    def __str__(self) -> str:
        return f"{self.subject}/{self.sequence}"


@dataclass(frozen=True)
class Verdict:
    """What a person who looked says of a frame, and why; see `pipeline.review`."""

    good: bool
    reason: str = ""


@dataclass(frozen=True)
class Correction:
    """A corrected landmark file.

    Attributes:
        name: below the workspace.
        data: its content.
        digest: SHA-256 of all content.
        found: content of the file that says which of its points nobody moved; None: all are by hand.
    """

    name: str
    data: bytes
    digest: str
    found: bytes | None = None


@_sent_as_its_fields
@dataclass(frozen=True, slots=True)
class FrameSource:
    """One raw frame on disk.

    Attributes:
        number: the frame number its file name carries; where names carry times alone: 0, 1, ... in their order.
        path: the mesh file, absolute; of a recording of a depth camera the depth picture.
        duplicates: further files that claim the same number (the frame is then rejected).
        time_s: seconds since the sequence's first frame by the times in its file names; None: they carry none.
        verdict: of a person who looked; None: nobody did.
        correction: landmarks that outrank the file beside the frame; None: there are none.
        recipe: `rgbd.toml` of the recording, absolute; None: the frame is a mesh.
    """

    number: int
    path: Path
    duplicates: tuple[Path, ...] = ()
    time_s: float | None = None
    verdict: Verdict | None = None
    correction: Correction | None = None
    recipe: Path | None = None

    @property
    def bad(self) -> bool:
        """Whether a person called it bad."""
        return self.verdict is not None and not self.verdict.good


@_sent_as_its_fields
@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence as found on disk.

    Attributes:
        item: subject and sequence, safe as names of files and HDF5 groups.
        name: the sequence as named on disk.
        expression: canonical expression label (`happiness`), or the name itself when unknown.
        frames: in order of their numbers.
        named_fps: frames per second by the times in its file names; None: they tell none.
    """

    item: Item
    name: str
    expression: str
    frames: tuple[FrameSource, ...]
    named_fps: float | None = None

    @property
    def bad(self) -> dict[int, str]:
        """Reasons of the frames that a person called bad, by number."""
        return {f.number: f.verdict.reason for f in self.frames if f.verdict is not None and f.bad}

    @property
    def all_bad(self) -> bool:
        """Whether a person called every frame bad."""
        return bool(self.frames) and all(frame.bad for frame in self.frames)

    def fps(self, declared: float) -> float:
        """Frames per second: what is declared, else what the frames' times tell; NaN: unknown."""
        return self.named_fps if math.isnan(declared) and self.named_fps is not None else declared

    def times(self, declared: float) -> tuple[float, ...]:
        """(F,) seconds since the first frame: by the file names, else by the numbers and the declared rate; or NaN."""
        if any(frame.time_s is not None for frame in self.frames):
            return tuple(math.nan if f.time_s is None else f.time_s for f in self.frames)
        return times_of([frame.number for frame in self.frames], declared)


def times_of(numbers: Iterable[int], fps: float) -> tuple[float, ...]:
    """(F,) seconds since the first frame by frame numbers, in order, and the frame rate; NaN where that is unknown."""
    known = [int(number) for number in numbers]
    rate = fps if fps > 0 else math.nan
    return tuple((number - known[0]) / rate for number in known)


@dataclass(frozen=True)
class Part:
    """A part of an item that is worked in several: number `number` (from 1) of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    def rows(self, length: int) -> range:
        """The rows of a sequence of `length` frames that are this part's: in order, and evenly cut."""
        return range((self.number - 1) * length // self.count, self.number * length // self.count)


@dataclass(frozen=True)
class Shard:
    """A share of the subjects that one of several runs on one workspace works on (`run --shard`): number `number` (from
    1) of `count`.  The shards of a release are something else."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """For the names of its own files."""
        return f"{self.number}-of-{self.count}"


@dataclass(frozen=True)
class Captures:
    """What the whole workspace declares about its raw captures (section `[captures]` of mimicme.toml).

    Attributes:
        root: folder that holds every capture; nothing outside it is ever read on a capture's behalf.
        unit: `auto`, `mm`, `cm`, `m`, `um`, `in`, or a number of millimetres as text.
        up: `auto`, `+x`, `-x`, `+y`, `-y`, `+z`, `-z`: the axis that points to the top of the head.
        fps: frames per second; NaN when unknown.
        sides: whose left the landmark files' "left" is: `image` or `subject`.
        mirrored: whether the files are mirror images; `auto`: told by landmarks and winding together.
        texture_v: `file`: v runs as the file's format says; `flipped`: the other way.
    """

    root: Path
    unit: str = "auto"
    up: str = "auto"
    fps: float = float("nan")
    sides: Literal["image", "subject"] = "image"
    mirrored: Literal["auto", "yes", "no"] = "auto"
    texture_v: Literal["file", "flipped"] = "file"
