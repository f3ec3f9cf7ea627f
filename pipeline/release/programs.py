"""A frame as a mesh of other libraries, and a release as a table: menpo, trimesh and pandas, where they are installed.

Where the texture layout has seams, a vertex has several places in it; these libraries want one.  The mesh's first
vertices are the template's, in its order, so that points of two frames mean the same; what the seams need besides
follows behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import MissingDependencyError, ReleaseError
from mimicme.pipeline.geometry.seams import Seamed, seamed
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import parts_of
from mimicme.pipeline.template import Template


class Readable(Protocol):
    """What is asked of a release."""

    @property
    def index(self) -> NDArray[Any]: ...
    @property
    def template(self) -> Template: ...
    @property
    def subjects(self) -> Mapping[str, Mapping[str, Any]]: ...
    def vertices(self, row: int) -> NDArray[np.float32]: ...
    def texture(self, row: int) -> NDArray[np.uint8] | None: ...
    def field(self, row: int, name: str) -> Any: ...
    def sequences(self) -> list[Any]: ...
    def values(self, item: Item, name: str) -> NDArray[Any]: ...


def _seamed(template: Template) -> Seamed:
    """The template with the vertices at seams once for each of their places in the texture."""
    return seamed(template.faces, template.uv, template.uv_faces, len(template.vertices))


def as_menpo(release: Readable, row: int) -> Any:
    """A frame as menpo's TexturedTriMesh (TriMesh where it has no texture), mm, with its landmarks in groups.

    The group `landmarks` has all that are there, in the template's order; there is one more for each part of the face,
    by the names' beginnings (`jaw`, `nose`, `left_eye` ...).

    Raises:
        MissingDependencyError: menpo is not installed.
    """
    try:
        from menpo.image import Image
        from menpo.shape import PointCloud, TexturedTriMesh, TriMesh
    except ImportError as error:
        raise _missing("as_menpo", "menpo") from error
    shape = _seamed(release.template)
    points = release.vertices(row).astype(np.float64)[shape.source]
    texture = release.texture(row)
    if texture is None:
        mesh = TriMesh(points, trilist=shape.faces)
    else:
        image = Image(np.ascontiguousarray(np.moveaxis(texture, 2, 0)) / 255.0)
        mesh = TexturedTriMesh(points, shape.uv, image, trilist=shape.faces)
    landmarks = np.asarray(release.field(row, "landmarks"), np.float64)
    there = np.asarray(np.isfinite(landmarks).all(axis=1))
    groups = {"landmarks": there}
    for part, numbers in parts_of(release.template.landmark_names).items():
        groups.setdefault(part, there & np.isin(np.arange(len(there)), numbers))
    for name, chosen in groups.items():
        if chosen.any():
            mesh.landmarks[name] = PointCloud(landmarks[chosen])
    return mesh


def as_trimesh(release: Readable, row: int) -> Any:
    """A frame as trimesh's Trimesh, mm, with its texture where it has one; `metadata` says whose it is.

    Raises:
        MissingDependencyError: trimesh is not installed.
    """
    try:
        import trimesh
    except ImportError as error:
        raise _missing("as_trimesh", "trimesh") from error
    from PIL import Image

    shape = _seamed(release.template)
    texture = release.texture(row)
    image = None if texture is None else Image.fromarray(texture)
    entry = release.index[row]
    said = {name: str(entry[name]) for name in ("subject", "sequence", "expression")} | {
        "frame": int(entry["frame"])
    }
    return trimesh.Trimesh(
        release.vertices(row).astype(np.float64)[shape.source],
        shape.faces,
        visual=trimesh.visual.TextureVisuals(uv=shape.uv, image=image),
        process=False,  # which would merge vertices and change their order
        metadata=said,
    )


def to_dataframe(release: Readable, quality: bool = False) -> Any:
    """One row a frame, numbered as the index: what the index says, and the subject's columns.

    Args:
        quality: also what the stages measured of every frame; reads every sequence.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise _missing("to_dataframe", "pandas") from error
    index = release.index
    columns: dict[str, Any] = {name: index[name] for name in index.dtype.names or ()}
    columns["fps"] = np.full(len(index), np.nan)
    for info in release.sequences():
        columns["fps"][info.start : info.stop] = info.fps
    people, of_row = np.unique(index["subject"], return_inverse=True)
    said = [release.subjects.get(str(one), {}) for one in people]
    for name in dict.fromkeys(key for each in said for key in each):
        values = np.empty(len(people), object)
        values[:] = [each.get(name) for each in said]
        columns[_free(columns, "subject", name)] = values[of_row]
    if quality:
        for name, values in _quality(release).items():
            columns[_free(columns, "quality", name)] = values
    return pandas.DataFrame(columns).infer_objects()


def _free(taken: Mapping[str, Any], kind: str, name: str) -> str:
    """A column's name: its own, or with what it is of before it as often as it takes until no other has it."""
    while name in taken:
        name = f"{kind}_{name}"
    return name


def _quality(release: Readable) -> dict[str, Any]:
    """Figures and codes by name, (rows,)."""
    found: dict[str, Any] = {}
    n = len(release.index)
    for info in release.sequences():
        table = release.values(info.item, "quality")
        for name in table.dtype.names or ():
            if name == "status":
                continue
            text = table.dtype[name].kind == "U"
            if name not in found:
                found[name] = np.full(n, "", object) if text else np.full(n, np.nan, np.float32)
            if len(table) != info.stop - info.start:
                raise ReleaseError(
                    "a sequence has another number of frames than the index says",
                    where=info.item,
                    seen=len(table),
                    expected=info.stop - info.start,
                    todo="Run `mimicme verify`.",
                )
            found[name][info.start : info.stop] = table[name]
    return found


def _missing(user: str, package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{user} needs {package}, which is not installed", todo=f"Run `pip install {package}`."
    )
