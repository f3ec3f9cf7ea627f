"""import: a head model's distribution as a template folder.

Writes DIR/<model>.obj with its polygons, .ljson, .masks.npz where something is interior, and .vertices.txt where not
all of the distribution's vertices are taken: the number there of each, one a line.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from mimicme.commands.template.distributions import MODELS, UNTESTED
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.formats.meshio import obj_bytes
from mimicme.pipeline.landmarks import Landmarks
from mimicme.pipeline.landmarks.files import write_landmarks
from mimicme.pipeline.whole_file import write_whole


def import_template(
    model: str, path: Path, folder: Path, landmarks: Path | None = None
) -> tuple[Path, list[str]]:
    """Write a template folder; returns its mesh file, and sentences to show.

    Args:
        model: one of `MODELS`; path: what its reader takes; landmarks: instead of the distribution's own.

    Raises:
        UsageError: the template is there already.
        InputError: the distribution cannot be read.
    """
    mesh_file = folder / f"{model}.obj"
    if mesh_file.exists():
        raise UsageError("the template is there already", where=mesh_file, todo="Name another folder.")
    head = MODELS[model](path, landmarks)
    folder.mkdir(parents=True, exist_ok=True)
    notes = [*head.notes]
    if head.masks:
        packed = io.BytesIO()
        masks: dict[str, Any] = {name: mask.astype(np.float32) for name, mask in head.masks.items()}
        np.savez_compressed(packed, **masks)
        write_whole(folder / f"{model}.masks.npz", packed.getvalue())
        notes.append(f"masks: {', '.join(sorted(head.masks))}")
    if head.vertices is not None:
        write_whole(folder / f"{model}.vertices.txt", "".join(f"{number}\n" for number in head.vertices))
    name = f"{model}.ljson"
    write_whole(folder / name, write_landmarks(Landmarks(head.landmarks), name))
    if model in UNTESTED:
        notes.append(
            "this model's files were not at hand when its reader was written: look at the picture well"
        )
    # last: a folder with the mesh is whole
    write_whole(mesh_file, obj_bytes(head.mesh, decimals=6, polygons=head.polygons))
    return mesh_file, notes
