"""The files of a sequence in the report: its page and its pictures, made again only when what they show has changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mimicme.commands.report import sections, strips
from mimicme.commands.report.figures import Bound
from mimicme.commands.report.page import look, render
from mimicme.commands.report.records import ItemRecord, of_sequences, read_item
from mimicme.pipeline.checkpoint import fingerprint
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace import Workspace

VERSION = 7
"""Raised when the same checkpoints would be read or drawn otherwise."""
MADE = "made.json"
FILM = "film.webp"
_PICTURES = re.compile(rf"\d+\.(?:webp|jpg)|{re.escape(FILM)}")
"""Also as earlier versions wrote them."""


@dataclass(frozen=True)
class Job:
    """What is made of one sequence.

    Attributes:
        outdated: why its checkpoints are out of date, by stage and item (`records.read_outdated`).
        folder: of its files.
        max_frames: pictures of it.
        comparable: whether there is a prepared template to draw with.
        bounds: of the figures, by name (`figures.bounds`).
        decided: about it before any stage ran (`decisions.decided`).
        words: digest of everything that its page says; pictures: of what its pictures show.
    """

    sequence: Sequence
    stages: tuple[Stage, ...]
    outdated: Mapping[tuple[str, str], str]
    folder: Path
    max_frames: int
    comparable: bool
    bounds: Mapping[str, Sequence_[Bound]]
    decided: tuple[str, ...]
    words: str
    pictures: str

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        sequence: Sequence,
        stages: tuple[Stage, ...],
        outdated: Mapping[tuple[str, str], str],
        output: Path,
        max_frames: int,
        comparable: bool,
        bounds: Mapping[str, Sequence_[Bound]],
        decided: tuple[str, ...],
    ) -> Job:
        """See the attributes; `outdated` of everything, `output` of the whole report."""
        item, flow = sequence.item, of_sequences(stages)
        own = {
            (s.name, str(item)): outdated[s.name, str(item)] for s in flow if (s.name, str(item)) in outdated
        }
        checkpoints = {s.name: _signature(workspace.checkpoint(s.name, item)) for s in flow}
        template = _signature(workspace.template) if comparable else None
        drawn = fingerprint(
            {"version": VERSION, "made": checkpoints, "template": template, "frames": max_frames}
        )
        said = fingerprint(
            {
                "drawn": drawn,
                "look": look(),
                "outdated": sorted([stage, why] for (stage, _), why in own.items()),
                "failures": {s.name: _signature(workspace.failure(s.name, item)) for s in flow},
                "frames": [
                    [f.number, f.verdict and [f.verdict.good, f.verdict.reason]] for f in sequence.frames
                ],
                "expression": sequence.expression,
                "workspace": workspace.root.name,
                "decided": decided,
                "bounds": {name: [list(bound) for bound in own] for name, own in bounds.items()},
            }
        )
        folder = output / "sequences" / item.subject / item.sequence
        return cls(sequence, flow, own, folder, max_frames, comparable, bounds, decided, said, drawn)

    @property
    def meanings(self) -> dict[str, str]:
        """Of the figures, by name, in order of the flow."""
        return {name: said for stage in self.stages for name, said in stage.reader.explained.items()}


def _signature(path: Path) -> list[int] | None:
    """Size, time and inode of a file: while these are the same, its content is; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


@dataclass(frozen=True)
class Made:
    """What is known of a sequence whose files are there.

    Attributes:
        drawn: numbers of the frames that have a picture.
        view: whether its page leads to one in 3D.
        film: whether there is a film of its textures.
    """

    record: ItemRecord
    drawn: tuple[int, ...]
    view: bool = False
    film: bool = False


def make(workspace: Workspace, job: Job) -> Made:
    """Make the files of a sequence, as far as they are not there already."""
    known = _known(job)
    if known is not None and known[0] == (job.words, job.pictures):
        return known[1]
    record = read_item(workspace, job.sequence, job.stages, job.outdated)
    record.decided = list(job.decided)
    kept = known is not None and known[0][1] == job.pictures
    if known is not None and kept:
        made = replace(known[1], record=record, view=False)
    else:
        drawn, film = _draw(workspace, job, record)
        made = Made(record, drawn, film=film)
    render_files(workspace, job, made, False)
    return made


def make_elsewhere(root: Path, sets: tuple[str, ...], job: Job) -> Made:
    """`make` in another process."""
    return make(_opened(root, sets), job)


@lru_cache(maxsize=1)
def _opened(root: Path, sets: tuple[str, ...]) -> Workspace:
    return Workspace.open(root, sets=sets)


def _known(job: Job) -> tuple[tuple[str, str], Made] | None:
    """The digests that the files there were made with, and what is known of them; None where there are none."""
    try:
        said = json.loads((job.folder / MADE).read_text(encoding="utf-8"))
        drawn = tuple(int(number) for number in said["drawn"])
        if not all((job.folder / f"{number}.webp").is_file() for number in drawn):
            return None
        film = bool(said["film"])
        if film and not (job.folder / FILM).is_file():
            return None
        made = Made(ItemRecord.from_record(said["record"]), drawn, bool(said["view"]), film)
        return (said["words"], said["pictures"]), made
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _draw(workspace: Workspace, job: Job, record: ItemRecord) -> tuple[tuple[int, ...], bool]:
    """Draw the frames that get a picture, and their film, and remove pictures of others; returns their numbers, and
    whether there is a film."""
    from mimicme.pipeline.template.skin import load_skin

    for old in job.folder.glob("*.*"):
        if _PICTURES.fullmatch(old.name):
            old.unlink()
    if not job.comparable:
        return (), False
    template = load_skin(workspace.template)
    chosen = [f for f in strips.choose_frames(record, job.max_frames) if f.stage != NOT_BEGUN]
    for frame in chosen:
        picture = strips.draw_strip(workspace, template, record.item, frame, job.stages)
        write_whole(job.folder / f"{frame.number}.webp", picture)
    film = strips.draw_film(workspace, template, record.item, chosen)
    if film is not None:
        write_whole(job.folder / FILM, film)
    return tuple(frame.number for frame in chosen), film is not None


NOT_BEGUN = "none"
"""Stage of a frame that no stage has seen (`FrameRecord.stage`)."""


def render_files(workspace: Workspace, job: Job, made: Made, view: bool) -> None:
    """Write the page of a sequence, and at last what it was made from."""
    shown = sections.sequence_page(
        workspace, made.record, made.drawn, job.meanings, view, job.comparable, job.bounds, made.film
    )
    write_whole(job.folder / "index.html", render("sequence.html.j2", shown))
    said = {
        "words": job.words,
        "pictures": job.pictures,
        "drawn": list(made.drawn),
        "view": view,
        "film": made.film,
        "record": made.record.to_record(),
    }
    write_whole(job.folder / MADE, json.dumps(said) + "\n")


_OURS = re.compile(rf"index\.html|{_PICTURES.pattern}|{re.escape(MADE)}|\..+\.tmp")
"""Files of a sequence's folder; whatever else lies there is somebody's."""


def remove_others(output: Path, items: Iterable[Item]) -> None:
    """Remove what an earlier report has of sequences that are not in this one: of who has withdrawn, say."""
    kept = set(items)
    subjects = {item.subject for item in kept}
    # by folder, and not by MADE: an interrupted report has written pictures and not yet that
    gone = [
        file
        for file in output.glob("sequences/*/*/*")
        if _OURS.fullmatch(file.name) and Item(file.parts[-3], file.parts[-2]) not in kept
    ]
    gone += [page for page in output.glob("views/*/*.html") if Item(page.parent.name, page.stem) not in kept]
    gone += [page for page in output.glob("subjects/*.html") if page.stem not in subjects]
    for file in gone:
        file.unlink()
    folders = {file.parent for file in gone} | {file.parent.parent for file in gone}
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        if folder.parent != output and folder != output and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
