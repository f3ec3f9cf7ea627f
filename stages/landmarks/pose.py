"""The pose of a head with 478 points: where the shape that all faces share lies best.

Many points, so that none of them decides: of eyes and nostrils alone the pose jitters by degrees, because scans have
holes there, and with it every picture that is rendered from it.
"""

from __future__ import annotations

import numpy as np

from mimicme.pipeline.arrays import Floats

# (MediaPipe point, its mirror image, x, y, z of the first): forehead, brows, cheeks and nose of ICT-FaceKit's generic
# head (MIT) as the networks see it, mm; x to the subject's left, y up, z out of the face, the origin between eyes and
# base of the nose.  No lids, lips, nostrils or jaw: they move, or are holes.
# fmt: off
_SHARED: tuple[tuple[int, int, float, float, float], ...] = (
    (109, 338, -18.0, 73.6, 12.0), (67, 297, -34.1, 72.2, 6.0), (103, 332, -48.9, 69.1, -5.1),
    (69, 299, -31.6, 58.6, 9.6), (108, 337, -16.5, 58.0, 14.8), (104, 333, -45.5, 57.4, 0.4),
    (151, 151, 0.0, 57.4, 15.8), (68, 298, -55.8, 53.8, -10.9), (105, 334, -42.0, 45.5, 5.8),
    (66, 296, -29.5, 44.5, 11.7), (63, 293, -51.3, 43.3, -1.9), (107, 336, -14.8, 42.3, 14.9),
    (9, 9, 0.0, 40.7, 15.4), (70, 300, -57.8, 39.3, -12.1), (223, 443, -37.4, 36.6, 4.5),
    (224, 444, -44.6, 35.7, 1.2), (222, 442, -28.4, 35.6, 5.4), (225, 445, -49.4, 33.3, -3.8),
    (8, 8, 0.0, 32.0, 12.5), (221, 441, -18.1, 31.5, 3.4), (113, 342, -51.7, 28.9, -9.9),
    (189, 413, -12.8, 25.6, 0.6), (226, 446, -52.1, 23.3, -14.4), (193, 417, -6.2, 22.5, 8.9),
    (168, 168, 0.0, 22.3, 12.3), (143, 372, -63.1, 21.6, -27.0), (244, 464, -11.8, 18.9, 1.3),
    (233, 453, -14.8, 15.8, -0.4), (232, 452, -18.8, 14.2, -2.0), (6, 6, 0.0, 13.6, 16.5),
    (228, 448, -46.8, 13.5, -10.3), (122, 351, -5.2, 12.9, 14.4), (111, 340, -56.8, 12.4, -17.9),
    (231, 451, -24.6, 12.3, -2.8), (229, 449, -40.4, 11.1, -6.5), (230, 450, -32.2, 10.8, -3.8),
    (188, 412, -8.9, 10.6, 10.7), (116, 345, -63.2, 9.1, -25.2), (117, 346, -52.5, 7.1, -13.0),
    (197, 197, 0.0, 6.4, 20.1), (196, 419, -5.1, 5.8, 18.3), (119, 348, -32.8, 4.6, -4.2),
    (118, 347, -44.6, 4.0, -7.9), (174, 399, -8.9, 3.8, 14.2), (100, 329, -23.3, 1.0, -0.8),
    (195, 195, 0.0, 0.4, 23.3), (3, 248, -4.9, -0.2, 21.7), (236, 456, -9.1, -2.0, 17.6),
    (101, 330, -33.4, -3.2, -3.7), (198, 420, -13.2, -4.8, 10.8), (123, 352, -61.3, -5.4, -24.3),
    (5, 5, 0.0, -5.9, 26.5), (51, 281, -5.1, -6.3, 25.1), (134, 363, -10.1, -7.5, 20.2),
    (50, 280, -47.5, -10.1, -10.1), (131, 360, -14.6, -10.2, 13.4), (36, 266, -29.3, -11.7, -2.1),
    (45, 275, -5.4, -13.4, 27.0), (4, 4, 0.0, -13.4, 28.5), (1, 1, 0.0, -18.9, 26.6),
    (205, 425, -38.8, -19.2, -6.4), (187, 411, -51.7, -23.5, -19.0),
)
# fmt: on
# a point further from the shape (on a face of its size) counts less: brows that are raised, what lies over a hole
_OFF_MM = 3.0
_ROUNDS = 10


def _both_sides() -> tuple[list[int], Floats]:
    places: dict[int, tuple[float, float, float]] = {}
    for one, other, x, y, z in _SHARED:
        places[one], places[other] = (x, y, z), (-x, y, z)
    return list(places), np.array(list(places.values()))


_POINTS, _SHAPE = _both_sides()


def head_pose(points: Floats, trust: Floats | None = None) -> Floats:
    """(4, 4) pose of the head with 478 points (478, 3): head -> their frame, x to the subject's left, y up.

    The similarity that brings the shared shape onto them (Umeyama 1991), reweighted (Geman-McClure); its scale is not
    kept.

    Args:
        trust: (478,) how much each point says, above 0; by default all the same.
    """
    target = points[_POINTS]
    prior = np.ones(len(_POINTS)) if trust is None else trust[_POINTS]
    weights = prior
    for _ in range(_ROUNDS):
        scale, turn, shift = _similarity(target, weights)
        far = np.linalg.norm(target - (scale * _SHAPE @ turn.T + shift), axis=1)
        weights = prior / (1 + (far / max(_OFF_MM * scale, 1e-12)) ** 2) ** 2
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, shift
    return pose


def _similarity(target: Floats, weights: Floats) -> tuple[float, Floats, Floats]:
    """Scale, rotation (3, 3) and shift (3,) that bring `_SHAPE` onto target (k, 3), weighted (k,)."""
    share = weights / weights.sum()
    from_, to = share @ _SHAPE, share @ target
    source, there = _SHAPE - from_, target - to
    left, values, right = np.linalg.svd((source * share[:, None]).T @ there)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = np.asarray((left * sign @ right).T)
    scale = float(values @ sign / (share @ (source**2).sum(axis=1)))
    return scale, turn, to - scale * turn @ from_
