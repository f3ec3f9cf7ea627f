"""A release of one short sequence in which every frame differs: 68 landmarks, a seam, times, amounts, textures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np

from mimicme.pipeline.formats.image import encode
from mimicme.pipeline.items import Item
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.release.layout import quality_dtype
from mimicme.pipeline.release.writer import ReleaseWriter
from mimicme.pipeline.template import Template

FACE = Item("P01", "smile")
TIMES = (0.0, 0.02, 0.05, 0.06)
AMOUNTS = (0.4, 0.1, 1.0, 0.7)


def face(quads: bool = False) -> Template:
    """The sheet with 68 landmarks, and a seam: one triangle lies elsewhere in the texture.

    Args:
        quads: its triangles are halves of quads, but for the last four, which are triangles in their file too.
    """
    shape = fakes.template()
    if quads:
        t = len(shape.faces)
        order = np.arange(t).reshape(2, -1).T.ravel()  # the halves of each follow one another
        faces, polygons = shape.faces[order], np.arange(t, dtype=np.int32) // 2
        polygons[-4:] = polygons[-4] + np.arange(4)
        shape = replace(shape, faces=faces, uv_faces=faces, polygons=polygons)
    uv = np.concatenate([shape.uv, [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    uv_faces = shape.uv_faces.copy()
    uv_faces[7] = 49, 50, 51
    picked = shape.faces[np.arange(68) % len(shape.faces)].astype(np.int64)
    weights = np.tile([0.25, 0.5, 0.25], (68, 1))
    return replace(
        shape,
        uv=uv,
        uv_faces=uv_faces,
        landmark_names=IBUG68,
        landmark_vertices=picked,
        landmark_weights=weights,
    )


def moved(template: Template, row: int) -> np.ndarray:
    """(V, 3) float32, mm: every frame another, every vertex by something else."""
    return (template.vertices + np.random.default_rng(row).normal(0, 3, template.vertices.shape)).astype("f4")


def texture_of(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 255, (8, 16, 3), np.uint8)


def written(
    path: Path,
    template: Template,
    *,
    times: tuple[float, ...] = TIMES,
    amounts: tuple[float, ...] | None = AMOUNTS,
    textured: tuple[int, ...] = (0, 1, 2, 3),
    messages: tuple[str, ...] = (),
) -> Path:
    """A release of one sequence, frames 10 to 13; a landmark is absent in frame 11, all are in 13."""
    count = len(times)
    said = {
        "created": "2024-01-02T03:04:05Z",
        "licence": "CC-BY-NC-4.0",
        "config": "{}",
        "fingerprint": "f" * 64,
    }
    with ReleaseWriter(path, **said) as out:
        out.template(template)
        out.subject(FACE.subject, {"consent": "yes"})
        sequence = out.sequence(
            FACE,
            name="smile",
            expression="happiness",
            fps=50.0,
            file_from_scan=np.eye(4),
            numbers=np.arange(10, 10 + count),
            statuses=["ok"] * count,
            times=times,
        )
        sequence.vertices(range(count), lambda row: moved(template, row))
        sequence.array("pose", np.stack([np.eye(4)] * count))
        points = np.stack([template.landmarks(moved(template, row).astype(float)) for row in range(count)])
        points[1, 5], points[3:] = np.nan, np.nan
        sequence.array("landmarks", points.astype("f4"))
        sequence.array("landmark_source", 3 * np.isfinite(points).all(axis=2).astype(np.uint8))
        sequence.array("landmark_confidence", np.ones((count, 68), np.float32))
        images = [encode(texture_of(row), "png") if row in textured else b"" for row in range(count)]
        for name in ("texture", "coverage"):
            sequence.images(name, [len(image) for image in images], "png")
            for row, image in enumerate(images):
                sequence.put_image(name, row, np.frombuffer(image, np.uint8))
        table = np.zeros(count, quality_dtype(["amount"] if amounts else []))
        table["status"] = b"ok"
        if amounts:
            table["amount"] = amounts
        sequence.quality(table, {}, messages or [""] * count)
    return path
