"""What a person who looked says of frames: verdicts in WORKSPACE/review.csv, landmarks in WORKSPACE/corrections.

review.csv has a line a verdict: subject, sequence, frame (a number, or `*` for all of the sequence), verdict (`good` or
`bad`), reason.  A line of a frame outranks one of its sequence.  A frame called bad is left out of the release; where
it could be its subject's neutral it is left out as soon as neutrals are looked for (`Plan`).

corrections/<subject>/<sequence>/<frame>.ljson has a frame's landmarks, in the capture file's own unit and axes, and
outranks the landmark file beside the frame; "left" means the same in both (`[captures] sides`).  A `.found` file of the
same stem, as `mimicme landmarks --export` writes it, says which of these points nobody moved; without one all are by
hand.
"""

from __future__ import annotations

import csv
import difflib
import glob
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mimicme.pipeline.captures import table
from mimicme.pipeline.captures.catalogue import Catalogue, neutrals
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.checkpoint import FrameStatus
from mimicme.pipeline.errors import FrameRejected, InputError, listed
from mimicme.pipeline.items import Correction, Item, Sequence, Verdict
from mimicme.pipeline.whole_file import write_whole

HEADER = ("subject", "sequence", "frame", "verdict", "reason")
GOOD, BAD, ALL = "good", "bad", "*"
EXTENSION, FOUND = ".ljson", ".found"
MAX_REASON = 200
MAX_CORRECTION = 1 << 20
_MOST_DIGITS = 18
_SPREADSHEET = (
    "A spreadsheet may have made a date or a rounded number of it: give the column the format text there."
)
_MOST_MESSAGES = 10

Place = tuple[Item, int | None]
"""A frame of a sequence; None: all its frames."""


@dataclass(frozen=True)
class Line:
    """A verdict and the line of the file that it stands in."""

    verdict: Verdict
    number: int = 0


@dataclass(frozen=True)
class Review:
    """The verdicts of review.csv, in the order of its lines."""

    lines: Mapping[Place, Line] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Review:
        """The verdicts of a file; none where there is none.

        Raises:
            InputError: it is no such table; the message names the line.
        """
        if not path.exists():
            return cls()
        data = table.read_bytes(path, "review")
        rows = table.parse(data, path.name, "review", _is_head, [])
        _, head = rows[0]
        columns = [name.casefold() for name in head]
        if sorted(columns) != sorted(HEADER) and sorted(columns) != sorted(HEADER[:-1]):
            raise InputError(
                "the columns of the review are others",
                where=f"{path} line {rows[0][0]}",
                seen=", ".join(head),
                expected=", ".join(HEADER),
            )
        lines: dict[Place, Line] = {}
        for number, cells in rows[1:]:
            if not any(cells):
                continue
            given = dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
            place, verdict = _line(given, len(cells) > len(columns), f"{path} line {number}")
            if place in lines:
                raise InputError(
                    "the same frames have a verdict twice",
                    where=f"{path} line {number}",
                    seen=f"{_named(place)} here and in line {lines[place].number}",
                    todo="Keep one of the two lines.",
                )
            lines[place] = Line(verdict, number)
        return cls(lines)

    def text(self) -> str:
        """The file: CSV in UTF-8."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEADER)
        for (item, number), line in self.lines.items():
            frame = ALL if number is None else number
            verdict = GOOD if line.verdict.good else BAD
            writer.writerow([item.subject, item.sequence, frame, verdict, line.verdict.reason])
        return out.getvalue()

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        write_whole(path, self.text())

    def of(self, item: Item, number: int) -> Verdict | None:
        """The verdict on a frame: its own, else its sequence's."""
        line = self.lines.get((item, number)) or self.lines.get((item, None))
        return None if line is None else line.verdict

    def said(self, place: Place, verdict: Verdict | None) -> Review:
        """The same with a verdict at a place, or without any there (None)."""
        lines = {one: line for one, line in self.lines.items() if verdict is not None or one != place}
        if verdict is not None:
            lines[place] = Line(checked(verdict, _named(place)))
        return Review(lines)

    def about(self, item: Item) -> Review:
        """The verdicts on one sequence alone."""
        return Review({place: line for place, line in self.lines.items() if place[0] == item})

    def without(self, is_gone: Callable[[str], bool]) -> Review:
        """The same without the subjects of which `is_gone` says so."""
        return Review({place: line for place, line in self.lines.items() if not is_gone(place[0].subject)})


def checked(verdict: Verdict, where: str) -> Verdict:
    """A verdict whose reason is one short line.

    Raises:
        InputError: it is not.
    """
    if len(verdict.reason) > MAX_REASON or not verdict.reason.isprintable():
        raise InputError(
            "a reason is one line of text",
            where=where,
            seen=f"{len(verdict.reason)} characters",
            expected=f"at most {MAX_REASON}, none of them a line break or a control character",
        )
    return verdict


def frame_number(text: str, where: str) -> int | None:
    """A frame's number as files and tables have it (`12`, `0012`, and `12.0` or `12,00` as spreadsheets write it); None
    for `*`, all frames.

    Raises:
        InputError: it is neither.
    """
    if text == ALL:
        return None
    # no more zeros than two: `12.000` is twelve thousand where points divide thousands
    found = re.fullmatch(r"(\d+)(?:[.,]0{0,2})?", text, re.ASCII)
    if found is None or len(found[1]) > _MOST_DIGITS:
        raise InputError(
            "this is no frame",
            where=where,
            seen=repr(text[:40]),
            expected="its number, or * for all frames",
            todo=_SPREADSHEET if re.search(r"\d[-./:eE]+\d", text) or "E+" in text.upper() else None,
        )
    return int(found[1])


def _is_head(cells: list[str]) -> bool:
    return set(HEADER[:-1]) <= {cell.casefold() for cell in cells}


def _line(given: Mapping[str, str], too_long: bool, where: str) -> tuple[Place, Verdict]:
    """What a line says.

    Raises:
        InputError: it says nothing that is understood.
    """
    if too_long:
        raise InputError(
            "the line has more cells than the header",
            where=where,
            todo="Put a reason that holds a comma into double quotes.",
        )
    for name in ("subject", "sequence"):
        if not given[name]:
            raise InputError(f"the line names no {name}", where=where, seen="an empty cell")
    number = frame_number(given["frame"], where)
    word = given["verdict"].casefold()
    if word not in (GOOD, BAD):
        raise InputError(
            "the verdict is not known",
            where=where,
            seen=repr(given["verdict"][:40]),
            expected=f"{GOOD} or {BAD}",
        )
    item = Item(safe_name(given["subject"]), safe_name(given["sequence"]))
    return (item, number), checked(Verdict(word == GOOD, given.get("reason", "")), where)


def _named(place: Place) -> str:
    item, number = place
    return f"{item} {'all frames' if number is None else f'frame {number}'}"


# -- corrections


def read_corrections(
    folder: Path, item: Item | None = None, sides: str = "image"
) -> tuple[dict[tuple[Item, int], Correction], list[str]]:
    """The corrected landmark files below WORKSPACE/corrections, and sentences about what else lies there.

    Links are not followed.

    Args:
        item: the only sequence that is looked at; None: all.
        sides: whose left the words in them mean (`[captures] sides`), which is part of their digests.

    Raises:
        InputError: two files are of one frame, or one is too large or cannot be read.
    """
    found: dict[tuple[Item, int], Correction] = {}
    strange: list[str] = []
    below = "*/*/*" if item is None else f"{glob.escape(item.subject)}/{glob.escape(item.sequence)}/*"
    for path in sorted(folder.glob(below)):
        name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
        inside = not any(one.is_symlink() for one in (path, path.parent, path.parent.parent))
        if path.name.startswith("."):
            continue
        suffix = path.suffix.casefold()
        if not inside or suffix not in (EXTENSION, FOUND) or not path.stem.isdecimal():
            strange.append(name)
            continue
        if suffix == FOUND and path.with_suffix(EXTENSION).is_file():
            continue  # read with the points that it is about
        if suffix == FOUND:
            strange.append(name)
            continue
        place = Item(path.parent.parent.name, path.parent.name), frame_number(path.stem, name) or 0
        if place in found:
            raise InputError(
                "two files correct one frame", where=folder, seen=f"{found[place].name} and {name}"
            )
        data, beside = _content(path, name), path.with_suffix(FOUND)
        unmoved = _content(beside, f"{name[: -len(suffix)]}{FOUND}") if os.path.lexists(beside) else None
        both = hashlib.sha256(data + (b"" if unmoved is None else b"\0" + unmoved))
        if sides != "image":  # said only where it is not the rule: what was made with others stays current
            both.update(f"\0sides {sides}".encode())
        found[place] = Correction(name, data, both.hexdigest(), unmoved)
    if strange:
        named = f"SUBJECT/SEQUENCE/NUMBER{EXTENSION}"
        strange = [f"{listed(strange, 3)}: no corrections, which are called {named} and are no links."]
    return found, strange


def _content(path: Path, name: str) -> bytes:
    """A regular file of at most `MAX_CORRECTION` bytes.

    Raises:
        InputError: it is none.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as handle:
            size = os.fstat(handle.fileno())
            if not stat.S_ISREG(size.st_mode):
                raise OSError(None, "no regular file")
            data = handle.read(MAX_CORRECTION + 1)
    except OSError as error:
        raise InputError("the correction cannot be read", where=name, seen=error.strerror) from error
    if len(data) > MAX_CORRECTION:
        raise InputError(
            "the correction is too large for 68 points",
            where=name,
            seen=f"{size.st_size:,} bytes",
            expected=f"at most {MAX_CORRECTION:,}",
        )
    return data


# -- what both mean for the captures


def reviewed(
    found: Catalogue, review: Review, corrections: Mapping[tuple[Item, int], Correction]
) -> Catalogue:
    """The catalogue with every frame's verdict and correction, and with messages about those of no frame.

    A sequence whose frames are all bad is nobody's neutral.
    """
    if not review.lines and not corrections:
        return found
    frames = {sequence.item: {frame.number for frame in sequence.frames} for sequence in found.sequences}
    touched = {item for item, _ in review.lines} | {item for item, _ in corrections}

    def looked_at(sequence: Sequence) -> Sequence:
        if sequence.item not in touched:
            return sequence
        return replace(
            sequence,
            frames=tuple(
                replace(
                    frame,
                    verdict=review.of(sequence.item, frame.number),
                    correction=corrections.get((sequence.item, frame.number)),
                )
                for frame in sequence.frames
            ),
        )

    sequences = tuple(looked_at(sequence) for sequence in found.sequences)
    unheeded = tuple(without_effect(review, corrections, frames))
    return replace(
        found,
        sequences=sequences,
        neutral=neutrals(sequences),
        messages=(*found.messages, *unheeded),
        unheeded=unheeded,
    )


def _is_there(place: Place, frames: Mapping[Item, set[int]]) -> bool:
    item, number = place
    return item in frames and (number is None or number in frames[item])


def without_effect(
    review: Review, corrections: Mapping[tuple[Item, int], Correction], frames: Mapping[Item, set[int]]
) -> list[str]:
    """A sentence for each verdict or correction of what is not there, and for the rest of many.

    Args:
        frames: the numbers of each sequence's frames.
    """
    lost: list[tuple[str, Place]] = [
        (f"review.csv line {line.number}", place)
        for place, line in review.lines.items()
        if not _is_there(place, frames)
    ]
    lost += [(one.name, place) for place, one in corrections.items() if not _is_there(place, frames)]
    said = []
    for name, (item, number) in lost[:_MOST_MESSAGES]:
        if item in frames:
            own = sorted(frames[item])
            what, there = f"frame {number} in '{item}'", f" (it has {own[0]} to {own[-1]})"
        else:
            spelled = Item(safe_name(item.subject), safe_name(item.sequence))
            close = difflib.get_close_matches(str(spelled), [str(one) for one in frames], 1, 0.8)
            what, there = f"sequence '{item}'", f" (is '{close[0]}' meant?)" if close else ""
        said.append(f"{name} counts for nothing: there is no {what} among the captures{there}.")
    if len(lost) > _MOST_MESSAGES:
        said.append(f"{len(lost) - _MOST_MESSAGES} more verdicts or corrections are of no frame.")
    return said


def rejection(reason: str) -> FrameRejected:
    """What leaves a frame out that a person called bad."""
    return FrameRejected(
        "review",
        "a person who looked called this frame bad",
        seen=reason or "no reason given",
        todo="Take its line out of review.csv, or call it good there, to have it back.",
    )


def left_out(numbers: Iterable[int]) -> dict[int, FrameStatus]:
    """Statuses of bad frames that are left out before the release, by number.

    Without the reasons: another wording is no reason to make anything again.
    """
    error = rejection("a verdict in review.csv")
    return {int(number): FrameStatus(False, error.reason, "", str(error)) for number in numbers}
