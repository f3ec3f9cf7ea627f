"""A model file in the viewer: its mean face, with a slider for each blendshape and for each of the first components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mimicme.commands.view.scene import FrameData, ShapeGroup
from mimicme.commands.view.sources import FrameEntry, SequenceEntry
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.items import Item, Verdict
from mimicme.pipeline.model_file import Blendshapes, FaceModel, read_model
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.model_texture import mean_texture

COMPONENTS = 10
SIGMAS = 3.0
MOST_WEIGHT = 1.5
"""A blendshape at 1 is as its people showed it; a little beyond, one sees better what it does."""


class ModelSource:
    """The mean face of a model as the one frame of one sequence, and what moves it.

    Args:
        path: of the model file.
        components: so many of each linear model, the largest first; models of groups of people have none here.

    Raises:
        UsageError, CheckpointError: see `read_model`; the model has neither blendshapes nor components.
    """

    reviewed = False
    left_out = ""

    def __init__(self, path: Path, components: int = COMPONENTS) -> None:
        model = read_model(path)
        self.title = path.name
        self.template: Template = model.template
        self.items = [Item("model", path.stem)]
        self._model = model
        self.shapes = tuple(_groups(model, components))
        if not self.shapes:
            raise UsageError(
                "the model has nothing to move", where=path, expected="blendshapes or components"
            )

    def check_use(self, place: int, use: str) -> None:
        pass  # of a model whom it was built from is asked when it is built

    def sequence(self, place: int) -> SequenceEntry:
        return SequenceEntry(self.items[place], "", [FrameEntry(0)])

    def frame(self, place: int, row: int) -> FrameData:
        texture = self._model.texture
        picture = None if texture is None else mean_texture(texture, self.template)
        return FrameData(vertices=neutral(self._model), texture=picture)

    def version(self, place: int) -> str:
        return ""  # it was read when the viewer began

    def judge(self, place: int, row: int | None, verdict: Verdict | None) -> None:
        raise UsageError("a model is not reviewed")

    def correct(self, place: int, row: int, moved: Mapping[int, Floats]) -> None:
        raise UsageError("a model is not corrected")


def neutral(model: FaceModel) -> Floats:
    """(V, 3) the face that shapes are added to, mm: the mean of the identity model, else the template."""
    person = model.models.get("identity")
    return np.asarray(model.template.vertices if person is None else person.mean, np.float64)


def _groups(model: FaceModel, components: int) -> Iterator[ShapeGroup]:
    for title, shapes in (("Blendshapes", model.blendshapes), ("Localised components", model.sparse)):
        if shapes is not None and len(shapes):
            # localised components go both ways
            least = 0.0 if shapes is model.blendshapes else -MOST_WEIGHT
            yield ShapeGroup(
                title, shapes.names, _notes(shapes), least, MOST_WEIGHT, "", False, shapes.deltas
            )
    for name, linear in sorted(model.models.items(), key=lambda pair: (pair[0] != "identity", pair[0])):
        count = min(components, linear.rank)
        if ":" in name or not count:  # those of groups have means of their own
            continue
        deviations = np.sqrt(linear.variances[:count])
        share = (
            linear.variances[:count] / linear.total_variance if linear.total_variance > 0 else deviations * 0
        )
        yield ShapeGroup(
            f"{name.capitalize()}, components",
            tuple(str(k + 1) for k in range(count)),
            tuple(f"{part:.1%} of the variance" for part in share),
            -SIGMAS,
            SIGMAS,
            "\u03c3",
            name == "identity",
            linear.components[:count] * deviations[:, None, None].astype(np.float32),
        )


def _notes(shapes: Blendshapes) -> tuple[str, ...]:
    """Of each shape, how many people it was made from and what was special about it."""
    found = []
    for name, count in zip(shapes.names, shapes.counts.tolist(), strict=True):
        of = f"of {count} {'subject' if count == 1 else 'subjects'}" if count > 0 else ""
        found.append(", ".join(part for part in (of, shapes.notes.get(name, "")) if part))
    return tuple(found)
