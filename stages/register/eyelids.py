"""Closed eyes: the lids of the mesh meet, and what the template shows between them folds away behind.

Between its open lids a template has a patch of eyeball.  When the lids are closed the scan has skin there, as smooth
and as near as theirs: left alone, the patch lies down on it, holds them apart, and the crease is printed on the patch.
So while an eye is closed - its landmarks tell, and the scan has no hole there - the patch gives way (it is soft, and
lies behind the scan by its own distance to the lids), and the two rims attract each other.  When they have met, the
patch is tucked in: a pleat from the line between them straight backwards, which no scan shows and nothing sees.  While
an eye is open nothing of this happens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import edges
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import LOWER_LID, UPPER_LID, Patch, curve, find_patch
from mimicme.stages.register.stiffness import affine_stiffness

SOFT = 0.03
"""Stiffness of the patch behind closed lids, in its own."""
GAP_MM = 0.15
NEAR_MM, LEAST_COVERED = 5.0, 0.6
"""A scan's surface lies so near to the landmarks' middle, along so much of the line between closed lids; lashes leave
small holes there."""


@dataclass(frozen=True)
class Eye(Patch):
    """What a level shows between the lids of one eye.

    Attributes:
        stiffness: (n, n), the part of the level's stiffness that is theirs.
    """

    stiffness: sparse.csr_matrix


def find_eye(vertices: Floats, faces: Ints, patch: Bools, membrane: float) -> Eye | None:
    """An eye of a level at rest, (n, 3), `patch` (n,) of it; None where that is too small or a piece of its own."""
    found = find_patch(vertices, faces, patch)
    if found is None:
        return None
    pairs = edges(faces)[0]
    touched = patch[faces].any(axis=1)
    bending = affine_stiffness(vertices, faces[touched], factor=patch.astype(float))
    inner = pairs[patch[pairs].any(axis=1)]
    graph = sparse.coo_matrix((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(len(vertices),) * 2)
    graph = (graph + graph.T).tocsr()
    stretching = sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph
    return Eye(found.patch, found.behind, found.places, (bending + membrane * stretching).tocsr())


def covered(scan: Surface, landmarks: Floats, eye: str) -> bool:
    """Whether a scan has a surface between the lids of an eye, and not a hole, as scanners leave of an open eye.

    Args:
        scan: in the canonical frame, mm; landmarks: (68, 3) in it, NaN absent; eye: one of `EYES`.
    """
    points = landmarks[GROUPS[eye]]
    if not np.isfinite(points).all():
        return False
    middle = (curve(points[UPPER_LID]) + curve(points[LOWER_LID])) / 2
    found = scan.cast(middle + [0, 0, NEAR_MM], np.array([0.0, 0.0, -1.0]))
    return bool(np.mean(found.hit & (found.distances < 2 * NEAR_MM)) >= LEAST_COVERED)
