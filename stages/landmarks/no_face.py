"""What is added to the rejection of a frame on which no face is found: what of the scan may be the reason."""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.units import head_size
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import largest_extent


def say_size(error: FrameRejected, vertices: Floats, file_from_scan: Floats) -> None:
    """Add the scan's size to a rejection, and what to do where it is unusual: networks find no face in a wrong size.

    Args:
        vertices: (n, 3) mm, of the scan; file_from_scan: (4, 4).
    """
    unit_mm = 1 / float(np.linalg.norm(np.asarray(file_from_scan)[:3, 0]))
    size = head_size(largest_extent(vertices) / unit_mm, unit_mm)
    error.seen = size.seen if error.seen is None else f"{error.seen}; {size.seen}"
    error.expected = size.usual if error.expected is None else f"{error.expected}, {size.usual}"
    error.todo = " ".join(filter(None, (size.todo, error.todo)))


def say_axes(error: FrameRejected, up: str | None) -> None:
    """Add to a rejection which axis ingest took for up, where nothing told it: other sequences of the same captures,
    whose faces were found, may have turned out otherwise, and then nobody compares the two.

    Args:
        up: of the file; None where it was told or declared.
    """
    if up is None:
        return
    assumed = f"{up} taken for up, as nothing told"
    error.seen = assumed if error.seen is None else f"{error.seen}; {assumed}"
    compare = (
        "Where faces of other sequences of these captures turn out to have another axis up (`mimicme run` says so), "
        'set up = "AXIS" under [captures] in mimicme.toml.'
    )
    error.todo = " ".join(filter(None, (error.todo, compare)))
