"""Regions of a template's face: masks that its file ships, and masks derived from its landmarks.

The derived ones are made by distance to groups of the 68 landmarks: each vertex belongs to the group it is nearest
to, softened over a border of a few millimetres; all together they make up `face`, which leaves neck and ears out.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.landmarks import IBUG68
from mimicme.pipeline.template import Template

# iBUG-68 indices; cheeks and forehead lie between or beyond landmarks: points made of several
_GROUPS: dict[str, tuple[int, ...]] = {
    "jaw": tuple(range(2, 15)),
    "brows": tuple(range(17, 27)),
    "nose": tuple(range(27, 36)),
    "eyes": tuple(range(36, 48)),
    "mouth": tuple(range(48, 68)),
}
_RIGHT_CHEEK = (
    (1, 36),
    (2, 36),
    (2, 41),
    (40, 31),
    (41, 31),
    (3, 31),
    (3, 48),
    (2, 31, 48),
    (4, 48),
    (31, 48),
)
_MIRROR = {1: 15, 2: 14, 3: 13, 4: 12, 36: 45, 41: 46, 40: 47, 31: 35, 48: 54}
_CHEEKS = (*_RIGHT_CHEEK, *(tuple(_MIRROR[i] for i in rows) for rows in _RIGHT_CHEEK))
BORDER_MM = 6.0
REACH_MM = 27.0  # the face goes on this far beyond its outermost landmarks


def region_masks(template: Template) -> dict[str, Floats]:
    """All masks of a template, (V,) in [0, 1] by name; those of its file go before derived ones of the same name.

    `left` and `right` are the subject's.  A template without the 68 landmarks has only its file's masks.
    """
    derived = _derived(template) if len(template.landmark_names) == len(IBUG68) else {}
    return derived | {name: np.asarray(mask, np.float64) for name, mask in template.masks.items()}


def region_mask(template: Template, name: str) -> Floats:
    """One mask by name.

    Raises:
        UsageError: there is no such mask.
    """
    masks = region_masks(template)
    if name not in masks:
        raise UsageError(
            f"the template has no region '{name}'",
            where=template.name,
            expected=", ".join(sorted(masks)) or "none",
        )
    return masks[name]


def _derived(template: Template) -> dict[str, Floats]:
    marks = template.landmarks()
    groups = {name: marks[list(rows)] for name, rows in _GROUPS.items()}
    groups["cheeks"] = np.stack([marks[list(rows)].mean(axis=0) for rows in _CHEEKS])
    # as far above the brows as the brows are above the nose's base
    up = marks[27] - marks[33]
    groups["forehead"] = marks[17:27] + 0.75 * up
    names = list(groups)
    distance = np.stack([_nearest(template.vertices, groups[name]) for name in names])
    face = _smooth_step((REACH_MM - distance.min(axis=0)) / BORDER_MM + 0.5)
    soft = np.exp(-(distance - distance.min(axis=0)) / (BORDER_MM / 2))
    soft /= soft.sum(axis=0)
    result = {name: soft[k] * face for k, name in enumerate(names)}
    side, upper = side_mask(template), upper_mask(template)
    result |= {"face": face, "left": side * face, "right": (1 - side) * face}
    return result | {"upper": upper * face, "lower": (1 - upper) * face}


def upper_mask(template: Template) -> Floats:
    """(V,) 1 above the bridge of the nose, 0 below its tip, on the whole mesh; needs the 68 landmarks."""
    marks = template.landmarks()
    up = marks[27] - marks[30]
    height = float(np.linalg.norm(up))
    return _smooth_step((template.vertices - marks[30]) @ (up / height) / height)


def side_mask(template: Template) -> Floats:
    """(V,) 1 on the subject's left, 0 on its right, half on the line between, on the whole mesh."""
    marks = template.landmarks()
    middle = marks[[27, 28, 29, 30, 33, 51, 57, 8]].mean(axis=0)
    across = (marks[42:48].mean(axis=0) - marks[36:42].mean(axis=0)).astype(np.float64)
    across /= np.linalg.norm(across)
    return _smooth_step((template.vertices - middle) @ across / (2 * BORDER_MM) + 0.5)


def _nearest(points: Floats, targets: Floats) -> Floats:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(targets).query(points)[0])


def _smooth_step(t: Floats) -> Floats:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
