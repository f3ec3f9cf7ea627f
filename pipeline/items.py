"""What is worked on: sequences of frames on disk, the parts of one, and what is declared about all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, order=True)
class Item:
    """The unit of work: one sequence of one subject.  Its text form is `subject/sequence`."""

    subject: str
    sequence: str

    def __str__(self) -> str:
        return f"{self.subject}/{self.sequence}"


@dataclass(frozen=True)
class FrameSource:
    """One raw frame on disk.

    Attributes:
        number: the frame number its file name carries.
        path: the mesh file, absolute.
        duplicates: further files that claim the same number (the frame is then rejected).
    """

    number: int
    path: Path
    duplicates: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Sequence:
    """One sequence as found on disk.

    Attributes:
        item: subject and sequence, safe as names of files and HDF5 groups.
        name: the sequence as named on disk.
        expression: canonical expression label (`happiness`), or the name itself when unknown.
        frames: in order of their numbers.
    """

    item: Item
    name: str
    expression: str
    frames: tuple[FrameSource, ...]


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
class Captures:
    """What the whole workspace declares about its raw captures (section `[captures]` of mimicme.toml).

    Attributes:
        root: folder that holds every capture; nothing outside it is ever read on a capture's behalf.
        unit: `auto`, `mm`, `cm`, `m`, `um`, `in`, or a number of millimetres as text.
        up: `auto`, `+x`, `-x`, `+y`, `-y`, `+z`, `-z`: the axis that points to the top of the head.
        fps: frames per second; NaN when unknown.
        sides: whose left the landmark files' "left" is: `image` or `subject`.
    """

    root: Path
    unit: str = "auto"
    up: str = "auto"
    fps: float = float("nan")
    sides: Literal["image", "subject"] = "image"
