"""The bake, and the refinement, next to a straightforward bake: per texel the closest point and one bilinear sample."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Captures

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template import Template
from mimicme.pipeline.texture.baking import Baked, TextureOptions, bake, open_source
from mimicme.pipeline.texture.raster import rasterise
from mimicme.stages.refine.photometric import Parameters, Refiner
from mimicme.stages.refine.settings import RefineSettings
from mimicme.stages.refine.warp import warped

Record = dict[str, Any]
DISPLACEMENT_MM = 1.0
"""How far the vertices are displaced along the surface, smoothly, before the refinement is to find them back."""


def run(captures: Captures, sizes: tuple[int, ...] = (1024, 2048), say: Any = print) -> Record:
    """CPU seconds and agreement on the first frame, with the true vertices."""
    template = captures.template()
    scan, image, vertices = textured_frame(captures, captures.sequences[0])
    rows: list[Record] = []
    say(
        f"{len(template.vertices)} template vertices, {len(scan.faces)} scan triangles, image {image.shape[1::-1]}"
    )
    say(f"{'texels':>7}{'ours, s':>10}{'plain, s':>10}{'plain / ours':>14}{'agreement, dB':>15}")
    for size in sizes:
        options = TextureOptions(size)
        bake(scan, image, vertices, template, options)  # the layout is rasterised once per template
        ours, seconds = clocked(lambda options=options: bake(scan, image, vertices, template, options))
        plain, plain_seconds = clocked(lambda size=size: plain_bake(scan, image, vertices, template, size))
        row = {
            "size": size,
            "ours_s": seconds,
            "plain_s": plain_seconds,
            "agreement_db": agreement(ours, plain),
        }
        rows.append(row)
        say(
            f"{size:7d}{seconds:10.2f}{plain_seconds:10.2f}{plain_seconds / seconds:14.2f}{row['agreement_db']:15.1f}"
        )
    refined = refinement(scan, image, vertices, template)
    say(
        "refinement: {seconds:.2f} s a frame; vertices {before_mm:.2f} mm off, {after_mm:.2f} mm off after it".format(
            **refined
        )
    )
    return {"bake": rows, "refinement": refined}


def clocked(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and its CPU seconds."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def textured_frame(captures: Captures, sequence: str) -> tuple[Mesh, Any, Floats]:
    """The first frame of a sequence: its scan with texture coordinates, its image, the true vertices."""
    from mimicme.pipeline.formats.image import decode
    from mimicme.pipeline.formats.meshio import read_mesh

    path = captures.folder / "captures" / sequence / "0000.obj"
    scan = read_mesh(path.read_bytes(), path.name).mesh
    picture = next(p for p in sorted(path.parent.glob("0000.*")) if p.suffix in (".jpg", ".png", ".bmp"))
    answer = captures.case(sequence, 0).answer
    assert answer is not None
    return scan, decode(picture.read_bytes()), np.asarray(answer.vertices, np.float64)


def plain_bake(scan: Mesh, image: Any, vertices: Floats, template: Template, size: int) -> Any:
    """(size, size, 3): every covered texel's closest scan point, one bilinear sample of the image there."""
    from mimicme.pipeline.formats.image import opencv

    assert scan.uv is not None
    assert scan.uv_faces is not None
    raster = rasterise(template.uv, template.uv_faces, size)
    points = np.einsum("kc,kcx->kx", raster.weights, vertices[template.faces[raster.triangles]])
    origin = scan.vertices.mean(0)
    found = Surface(scan.vertices - origin, scan.faces).closest(points - origin)
    uv = np.einsum("kc,kcx->kx", found.weights, scan.uv[scan.uv_faces[found.triangles]])
    x, y = uv[:, 0] * image.shape[1] - 0.5, (1 - uv[:, 1]) * image.shape[0] - 0.5
    texture = np.zeros((size * size, 3), np.uint8)
    step = 1 << 14  # OpenCV reads at most 32,767 places in a row
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        at = (x[None, part].astype(np.float32), y[None, part].astype(np.float32))
        texture[raster.texels[part]] = opencv().remap(image, *at, opencv().INTER_LINEAR)[0]
    return texture.reshape(size, size, 3)


def agreement(ours: Baked, plain: Any) -> float:
    """PSNR in dB of the texels where the two differ by less than 40 levels: elsewhere they show different things."""
    difference = ours.texture[ours.coverage > 0].astype(float) - plain[ours.coverage > 0]
    same = np.abs(difference).max(1) < 40
    return float(10 * np.log10(255**2 / max((difference[same] ** 2).mean(), 1e-9)))


def refinement(scan: Mesh, image: Any, vertices: Floats, template: Template) -> Record:
    """The frame's own texture as reference, its vertices displaced by smooth waves: are they found back?"""
    refiner = Refiner(template, Parameters.of(RefineSettings()))
    source = open_source(scan, image, refiner.parameters.texture)
    assert source is not None
    reference = refiner.comparable(source, vertices)
    centred = (vertices - vertices.mean(0)) / 20
    wave = DISPLACEMENT_MM * np.stack(
        [np.sin(centred[:, 1]), np.cos(centred[:, 0]), 0 * centred[:, 0]], axis=1
    )
    displaced = refiner.displaced(vertices, wave)

    def frame() -> Floats:
        """What the stage does with a frame, the last comparison, which says how far it still drifts, included."""
        one = refiner.frame(source, displaced, np.eye(4))
        d, _ = refiner.refine(one, reference, np.zeros_like(displaced))
        moved, reading = refiner.placed(one, displaced + d)
        refiner.drift(refiner.between(reference, warped(one.texture, reading), 1))
        return moved

    found, seconds = clocked(frame)
    off = [float(np.median(np.linalg.norm(v - vertices, axis=1))) for v in (displaced, found)]
    return {"seconds": seconds, "before_mm": off[0], "after_mm": off[1]}
