"""A cleaned scan in a checkpoint: its mesh and its image, written by `ingest` and read by the stages after it.

frames/<row>/vertices (n, 3) f4 scan frame, mm; faces (t, 3) i4; uv (m, 2) f4 and uv_faces (t, 3) i4, colors (n, 3)
u1, image (bytes) u1: what the scan has of them.  attrs: max_pixels, of the largest image that was let in.  Nothing of
it is compressed: every stage reads it again, and gzip would save half of the room and cost ten times the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.formats import image
from mimicme.pipeline.geometry.mesh import Mesh

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter

_MAX_PIXELS = "max_pixels"


def write_image_limit(out: CheckpointWriter, max_pixels: int) -> None:
    """Store the largest image, in pixels, that is let in: later stages let it in too."""
    out.attrs[_MAX_PIXELS] = max_pixels


def write_scan(out: CheckpointWriter, row: int, scan: Mesh, encoded: bytes | None) -> None:
    """Store one frame's scan, scan frame, mm, and its image as encoded bytes, None when it has none."""
    out.put(row, "vertices", scan.vertices.astype(np.float32), "mm", compressed=False)
    out.put(row, "faces", scan.faces.astype(np.int32), compressed=False)
    if scan.uv is not None and scan.uv_faces is not None:
        out.put(row, "uv", scan.uv.astype(np.float32), "1", compressed=False)
        out.put(row, "uv_faces", scan.uv_faces.astype(np.int32), compressed=False)
    if scan.colors is not None:
        out.put(row, "colors", scan.colors)
    if encoded is not None:
        out.put(row, "image", np.frombuffer(encoded, np.uint8))


def load_scan(ingest: Checkpoint, row: int) -> Mesh:
    """The cleaned scan of one frame: scan frame, mm, +y up.

    `uv` is in [0, 1], except that rows are NaN where a triangle of a textured scan has no texture of its own;
    such triangles have no colour to give.

    Raises:
        CheckpointError: the frame was rejected and has no scan.
    """
    uv = uv_faces = colors = None
    if ingest.has(row, "uv"):
        uv = ingest.get(row, "uv").astype(np.float64)
        uv_faces = ingest.get(row, "uv_faces").astype(np.int32)
    if ingest.has(row, "colors"):
        colors = ingest.get(row, "colors").astype(np.uint8)
    return Mesh(
        ingest.get(row, "vertices").astype(np.float64),
        ingest.get(row, "faces").astype(np.int32),
        uv,
        uv_faces,
        colors,
    )


def load_image(ingest: Checkpoint, row: int, coarser: int = 1) -> image.Pixels | None:
    """The scan's texture as (h, w, 3) uint8 RGB, row 0 at the top (v = 1); None when the frame has none.

    What ingest let in is let in here: the largest image is the one its checkpoint was made with.

    Args:
        coarser: see `image.decode`.
    """
    data = load_image_bytes(ingest, row)
    if data is None:
        return None
    return image.decode(data, _max_pixels(ingest), f"image of row {row}", coarser=coarser)


def load_colored(
    ingest: Checkpoint,
    row: int,
    scan: Mesh | None = None,
    coarser: Callable[[Mesh, tuple[int, int]], int] | None = None,
) -> tuple[Mesh, image.Pixels | None, str]:
    """A frame's scan with its image, and why that cannot be read, if so; it is None then, as where there is none.

    A broken image costs the texture at most: the scan's geometry, and its vertex colours, are still there.

    Args:
        scan: the frame's own, where it was read before.
        coarser: by how much fewer texels will do, of a scan with a texture of (height, width); see `image.decode`.
    """
    scan = load_scan(ingest, row) if scan is None else scan
    try:
        if scan.uv is None:
            return scan, None, ""
        size = load_image_size(ingest, row) if coarser is not None else None
        return (
            scan,
            load_image(ingest, row, 1 if size is None or coarser is None else coarser(scan, size)),
            "",
        )
    except image.ImageFileError as error:
        return scan, None, str(error)


def load_image_size(ingest: Checkpoint, row: int) -> tuple[int, int] | None:
    """(height, width) px of the scan's texture, from its header; None when the frame has none."""
    data = load_image_bytes(ingest, row)
    if data is None:
        return None
    info = image.info(data, f"image of row {row}", _max_pixels(ingest))
    return info.height_px, info.width_px


def _max_pixels(ingest: Checkpoint) -> int:
    return int(ingest.attrs.get(_MAX_PIXELS, image.MAX_PIXELS))


def has_image(ingest: Checkpoint, row: int) -> bool:
    """Whether a frame has a texture."""
    return ingest.has(row, "image")


def load_image_bytes(ingest: Checkpoint, row: int) -> bytes | None:
    """The scan's texture as encoded bytes (JPEG, PNG or WebP); None when the frame has none."""
    return ingest.get(row, "image").tobytes() if has_image(ingest, row) else None


def vertex_colors(scan: Mesh, pixels: image.Pixels | None) -> NDArray[np.float32] | None:
    """Colours (n, 3) of a scan's vertices, 0 to 255: of its image, where a vertex has a place in it, NaN elsewhere;
    else its own; None where it has neither.  At a seam between two photographs a vertex has that of one of them, just
    inside its triangle: what lies beyond the edge belongs to another, or to nobody.
    """
    if pixels is not None and scan.uv is not None and scan.uv_faces is not None:
        from mimicme.pipeline.texture.triangle_loops import colors_of_vertices  # numba: no reader needs it

        colors = np.full((len(scan.vertices), 3), np.nan, np.float32)
        colors_of_vertices(
            np.ascontiguousarray(scan.faces, np.int32),
            np.ascontiguousarray(scan.uv_faces, np.int32),
            np.ascontiguousarray(scan.uv, np.float64),
            np.ascontiguousarray(pixels),
            colors,
        )
        return colors
    return None if scan.colors is None else scan.colors.astype(np.float32)
