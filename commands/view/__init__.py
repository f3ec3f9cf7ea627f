"""3D in the browser, without a network: frames of a workspace or of a release, or what a model can do; as one file or
over a loopback server.

sources.py (of a model, model_source.py) says what there is of a frame, scene.py makes arrays of it, payload.py packs
them, page.py and view.js show them, with three.js out of an installed wheel (library.py); server.py serves frames as
they are asked for, and takes a reviewer's verdicts.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mimicme.commands.view.model_source import COMPONENTS, ModelSource
from mimicme.commands.view.page import common, described, render_page
from mimicme.commands.view.scene import Scene
from mimicme.commands.view.server import ViewServer
from mimicme.commands.view.sources import ReleaseSource, SequenceEntry, Source, WorkspaceSource
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.model_file import is_model
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import refuse_existing, write_whole
from mimicme.pipeline.workspace import Workspace

__all__ = [
    "COMPONENTS",
    "FRAMES",
    "TEXTURE_SIZE",
    "make_server",
    "open_source",
    "place_of",
    "view_file",
    "way_in",
]

FRAMES = 9
TEXTURE_SIZE = 512


def open_source(
    place: Path,
    stages: Iterable[Stage],
    open_workspace: Callable[[Path], Workspace],
    components: int = COMPONENTS,
) -> Source:
    """What there is to look at: a workspace (a folder), a release or a model (files).

    Args:
        components: of each linear model of a model file.

    Raises:
        UsageError, ReleaseError, CheckpointError: there is nothing.
    """
    source: Source
    if place.is_dir():
        source = WorkspaceSource(open_workspace(place), stages)
    else:
        source = ModelSource(place, components) if is_model(place) else ReleaseSource(place)
    if not source.items:
        raise UsageError("there are no sequences to look at", where=place)
    return source


def place_of(source: Source, name: str | None) -> int:
    """The place of `SUBJECT/SEQUENCE` among the sequences, as they are named there or as their folders are; the first
    without a name; of a subject alone its first.

    Raises:
        UsageError: there is none of that name.
    """
    names = [str(item) for item in source.items]
    if name is None:
        return 0
    subjects = [item.subject for item in source.items]
    for known in (names, subjects):
        for spelled in (name, "/".join(map(safe_name, name.split("/", 1)))):
            if spelled in known:
                return known.index(spelled)
    close = difflib.get_close_matches(name, names, 1, 0.4) or names[:1]
    raise UsageError(f"there is no sequence '{name}'", expected=f"SUBJECT/SEQUENCE, such as '{close[0]}'")


def view_file(
    source: Source,
    place: int,
    output: Path,
    frames: int = FRAMES,
    texture_size: int = TEXTURE_SIZE,
    scans: bool = False,
    progress: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> int:
    """Write one sequence as a page that needs nothing else; returns how many frames it holds.

    Args:
        frames: at most so many of the registered ones, evenly; of the others where none is registered.
        texture_size: side of the textures, texels.
        scans: whether scans are in it too, thinned out.
        overwrite: replace a file that is there.

    Raises:
        UsageError: the file is there already, or holds data.
    """
    refuse_existing(output, overwrite and not _holds_data(output))
    entry = source.sequence(place)
    rows = chosen_rows(entry, frames)
    scene = Scene(source.template, texture_size, scans)
    payloads = {"template": scene.template_payload()}
    for at, row in enumerate(rows):
        if progress:
            progress(f"frame {at + 1} of {len(rows)}")
        payloads[f"frame-{at}"] = scene.frame_payload(source.frame(place, row))
    kept = SequenceEntry(
        entry.item,
        entry.expression,
        [entry.frames[row] for row in rows],
        entry.units,
        entry.meanings,
        entry.remark,
    )
    if source.shapes:
        payloads["shapes-data"] = scene.shapes_payload(source.shapes)
    given = {**common(scans, source.shapes), "place": 0, "review": False, "sequence": described(kept)}
    write_whole(
        output, render_page(f"{source.title if source.shapes else entry.item}: mimicme view", given, payloads)
    )
    return len(rows)


def _holds_data(path: Path) -> bool:
    """Whether a file is HDF5, as releases and models are: no page takes its place."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x89HDF"


def chosen_rows(entry: SequenceEntry, count: int) -> list[int]:
    """Rows of at most `count` frames, evenly over those that are ok, or over all where none is."""
    rows = [row for row, frame in enumerate(entry.frames) if frame.ok] or list(range(len(entry.frames)))
    if len(rows) <= count:
        return rows
    return [rows[round(k * (len(rows) - 1) / max(count - 1, 1))] for k in range(count)]


@contextmanager
def way_in(server: ViewServer) -> Iterator[Path]:
    """A page that leads a browser to a server, and that nobody else can read; gone at the end.

    On the command line of a browser the address itself, and with it the token, would be seen by whoever is on the
    machine.
    """
    with tempfile.TemporaryDirectory(prefix="mimicme-view-") as folder:  # for this user alone
        page = Path(folder, "view.html")
        page.write_text(
            f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0;url={server.url}"><a href="{server.url}">mimicme view</a>\n',
            encoding="utf-8",
        )
        yield page


def make_server(source: Source, place: int, texture_size: int = TEXTURE_SIZE, port: int = 0) -> ViewServer:
    """A server for all sequences; `serve_forever` starts it.

    Raises:
        UsageError: the port is taken.
    """
    try:
        return ViewServer(source, Scene(source.template, texture_size), place, port)
    except (OSError, OverflowError) as error:
        raise UsageError(
            "the port cannot be listened on",
            where="--port",
            seen=port,
            todo="Leave it out: any free one is taken.",
        ) from error
