"""Pictures of a model file: every blendshape, the first components, the frames left out, the texture's components.

One look at a sheet tells what no figure does: a smile that is none, a blendshape with a dent in its cheek.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.drawing.pictures import attempt
from mimicme.pipeline.drawing.render import (
    Camera,
    Picture,
    contact_sheet,
    error_colors,
    look_at,
    render,
    save_picture,
)
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.model_file import Blendshapes, FaceModel
from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.release.frames import ReleaseFrames

SIZE = (300, 250)
STEPS = (-2.5, 2.5)  # standard deviations
COMPONENTS = 6
RANKED = 24


def write_sheets(model: FaceModel, folder: Path, frames: ReleaseFrames | None = None) -> list[Path]:
    """Write the sheets that there is something to show for; returns their paths.

    Args:
        frames: of the releases, for pictures of the frames left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    person = model.models.get("identity")
    neutral = np.asarray(model.template.vertices if person is None else person.mean, np.float64)
    camera = look_at(neutral, 25.0, 0.0, SIZE, margin=0.04)
    sheets: dict[str, Picture] = {}
    for name, shapes in (("blendshapes", model.blendshapes), ("sparse", model.sparse)):
        if shapes is not None and len(shapes):
            sheets[name] = shape_sheet(model, neutral, shapes, camera)
    for name in ("identity", "expression", "joint"):
        if name in model.models and model.models[name].rank:
            base = neutral if name == "expression" else np.zeros_like(neutral)
            sheets[name] = component_sheet(model, model.models[name], base, camera)
    if frames is not None:
        unseen = frames.who_forbids("papers")  # a picture is soon in a paper
        shown = model.pruned[~np.isin(model.pruned["subject"], unseen)]
        if len(shown):
            sheets["outliers"] = _outliers(model, shown, frames, camera)
    if model.texture is not None:
        sheets["texture"] = _texture(model)
    paths = []
    for name, picture in sheets.items():
        paths.append(folder / f"{name}.png")
        save_picture(paths[-1], picture)
    return paths


def _draw(
    model: FaceModel, vertices: NDArray[Any], camera: Camera, moved: NDArray[Any] | None = None
) -> Picture:
    mesh = Mesh(np.asarray(vertices, np.float64), model.template.faces)
    colors = None if moved is None else error_colors(np.linalg.norm(moved, axis=1), 8.0)
    return attempt("", lambda: render(mesh, camera, colors=colors, samples=2), SIZE)


def shape_sheet(model: FaceModel, neutral: NDArray[Any], shapes: Blendshapes, camera: Camera) -> Picture:
    """Every shape on the mean face, with the subjects it was made from."""
    pictures = [_draw(model, neutral, camera)]
    captions = ["neutral"]
    for name, delta, count in zip(shapes.names, shapes.deltas, shapes.counts.tolist(), strict=True):
        pictures.append(_draw(model, neutral + delta, camera))
        note = f", {shapes.notes[name]}" if name in shapes.notes else ""
        captions.append(f"{name}\n{count} {'subject' if count == 1 else 'subjects'}{note}")
    return contact_sheet(pictures, captions, min(7, len(pictures)))


def component_sheet(model: FaceModel, linear: LinearModel, base: NDArray[Any], camera: Camera) -> Picture:
    """The first components, two and a half standard deviations to either side of the mean."""
    pictures, captions = [], []
    count = min(COMPONENTS, linear.rank)
    for step in STEPS:
        for k in range(count):
            coefs = np.zeros((1, linear.rank))
            coefs[0, k] = step * np.sqrt(linear.variances[k])
            pictures.append(_draw(model, base + linear.decode(coefs)[0], camera))
            captions.append(f"component {k + 1}: {step:+.1f} sd")
    return contact_sheet(pictures, captions, count)


def _outliers(model: FaceModel, pruned: NDArray[Any], frames: ReleaseFrames, camera: Camera) -> Picture:
    """The frames left out, furthest first, with their norm: is it a bad registration, or a face worth keeping?"""
    pictures: list[Picture] = []
    captions: list[str] = []
    ranked = pruned[np.argsort(-pruned["norm"], kind="stable")][:RANKED]
    for entry in ranked:
        subject, number = str(entry["subject"]), int(entry["frame"])
        rows = frames.rows_of(subject, sequence=str(entry["sequence"]))
        rows = rows[frames.table["frame"][rows] == number] if entry["sequence"] else rows[:0]
        shape = frames.vertices(int(rows[0])) if len(rows) else frames.neutral(subject).vertices
        pictures.append(_draw(model, shape, camera))
        name = f"{subject}/{entry['sequence']}/{number}" if entry["sequence"] else subject
        captions.append(f"{name}\n{entry['expression']}: {float(entry['norm']):.1f}")
    return contact_sheet(pictures, captions, min(8, len(pictures)))


def _texture(model: FaceModel) -> Picture:
    assert model.texture is not None
    linear = model.texture.model
    pictures, captions = [model.texture.image(linear.mean)], ["mean"]
    for k in range(min(3, linear.rank)):
        for step in STEPS:
            coefs = np.zeros((1, linear.rank))
            coefs[0, k] = step * np.sqrt(linear.variances[k])
            pictures.append(model.texture.image(linear.decode(coefs)[0]))
            captions.append(f"component {k + 1}: {step:+.1f} sd")
    return contact_sheet(pictures, captions, len(pictures))
