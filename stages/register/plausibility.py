"""Figures of what a person sees at a glance of a registered face, and its surface distance does not tell: a mouth askew
or beside its place, lids shut over an open eye or folded, an ear that drapes over hair; and of a cheek that has slid,
and of bone that is not the subject's.

They compare with the template, not with the subject's neutral: if that is wrong, so is whatever follows it.  Bone is
compared with the neutral's alone; ears and cheeks are where there is one, for people's ears differ by as much as one
that drapes.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.geometry.mesh import edges, transform, triangle_normals, vertex_normals
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.landmarks import GROUPS, MIRROR
from mimicme.pipeline.template.eyelids import EYES, LOWER_LID, UPPER_LID, lid_opening
from mimicme.stages.register.cheeks import Cheeks

MOUTH = GROUPS["mouth"]
MIDDLE = np.r_[27:31, 36, 39, 42, 45]
"""Landmarks that say where left and right meet: ridge of the nose, corners of the eyes."""
LIPS_MM, LIPS_DEEP_MM = 12.0, 12.0
"""What counts as the mouth: so near to its landmarks, and no deeper than that behind the lips."""
RELIEF_MM = 5.0
"""Relief is what rises above the surface smoothed by about this: lips do, cheeks do not."""
LIDS_MM = 6.0
EAR = 0.5
"""From this value of its mask on a vertex is an ear's."""
MIN_EAR, MIN_LIPS, MIN_BONE = 12, 24, 24
"""An ear, a mouth, a bone of fewer vertices is not measured."""
BROWS, NOSE = slice(17, 27), 29
BELOW_BROWS_MM = 3.0
"""Bone is compared between the brows, above which skin moves by millimetres, and this point of the nose's ridge."""
SHUT_APART_MM = 1.5
"""Landmarks of lids that are no further apart say that they are shut: found points are off by as much."""
SEAM_MM = 1.5
"""About the line where shut lids meet, seen from the front, their rims lie on each other and turn in: no fold.  Of five
eyes of three people of another maker, rightly shut, what turned there lies within 1.0 mm; what was folded on a real
scan's open eye, 2.3 mm and more from its middle line."""
DEGENERATE = 0.02
MOST_SMOOTHING = 200


class Plausible(NamedTuple):
    """What is measured of a frame; NaN where the template or the landmarks do not tell.

    Attributes:
        mouth_asymmetry: how far the mouth's landmarks on the mesh lie from the symmetric mouth between them and their
            mirror image, in the mean, mm; lower is better of a face at rest.
        mouth_relief: correlation, over the lips, of the mesh's relief with the template's; near 1 where the mesh's lips
            lie on the scan's, near 0 where they lie on its chin or cheek.  Higher is better.
        lids_shut: how much less far the mesh's lids are open than the landmarks they were fitted to, of the worse eye,
            mm; negative when further.
        lids_open_right, lids_open_left: how much further the mesh's lids of an eye, the subject's right or left, are
            open than landmarks that have them shut, mm; 0 where these are further apart than `SHUT_APART_MM`.
        lids_folded: share of the triangles about the eyes, without the eyeballs', that are flipped or have no area; of
            shut lids without what is tucked in where they meet.
        ear_drape: 95th percentile of the distance of the ears' vertices to the ear at rest, moved onto them as a whole,
            and, where that is not the person's own, turned and scaled, of the worse ear, mm: a smile moves an ear,
            which does not unfold or lean back.
        cheek_slide: how far a cheek lies, along the surface, from where the landmarks carry it, mm (`Cheeks`).
        bone_apart: median distance, over the bone between brows and tip of the nose, to the person's neutral, turned
            and moved onto it as a whole, mm; NaN of a neutral.
    """

    mouth_asymmetry: float
    mouth_relief: float
    lids_shut: float
    lids_open_right: float
    lids_open_left: float
    lids_folded: float
    ear_drape: float
    cheek_slide: float
    bone_apart: float


class Plausibility:
    """Measures frames of one template.

    Args:
        vertices: (V, 3) of the template, mm, canonical frame; faces: (T, 3); landmarks: (68, 3) on it.
        ears: (V, k) masks, a column each ear (`regions.ears`).
        eyeballs: (V,) True on what is seen between the lids (`eyelids.patches`); core: (V,) True in the face's core.
        skull: (V,) weights of what lies over bone (`stabilisation.skull_weights`).
    """

    def __init__(
        self,
        vertices: Floats,
        faces: Ints,
        landmarks: Floats,
        ears: Floats,
        eyeballs: Bools,
        core: Bools,
        skull: Floats,
    ) -> None:
        self._faces, self._marks = faces, landmarks
        mouth = landmarks[MOUTH]
        lips = (scipy.spatial.cKDTree(mouth).query(vertices)[0] < LIPS_MM) & (
            vertices[:, 2] > mouth[:, 2].min() - LIPS_DEEP_MM
        )
        self._lips = np.flatnonzero(lips)
        self._patch = _Patch.about(vertices, faces, lips)
        self._relief = self._patch.relief(vertices)
        eyes = np.concatenate([landmarks[GROUPS[eye]] for eye in EYES])
        near = scipy.spatial.cKDTree(eyes).query(vertices)[0] < LIDS_MM
        self._lids = faces[near[faces].all(axis=1) & ~eyeballs[faces].any(axis=1)]
        self._lid_normals, self._lid_areas = triangle_normals(vertices, self._lids)
        masks = [np.flatnonzero(mask >= EAR) for mask in ears.T]
        self._own = False
        self._ears = [(own, vertices[own]) for own in masks if len(own) >= MIN_EAR]
        self._cheeks = Cheeks(vertices, faces, landmarks, core)
        self._bone = np.flatnonzero(
            (skull > 0)
            & (vertices[:, 1] < landmarks[BROWS, 1].min() - BELOW_BROWS_MM)
            & (vertices[:, 1] > landmarks[NOSE, 1])
        )
        self._bone_weights = skull[self._bone]
        self._bone_at_rest: Floats | None = None

    def of_person(self, neutral: Floats, landmarks: Floats) -> Plausibility:
        """The same, with ears, cheeks and bone compared with those of a person's neutral (V, 3), landmarks (68, 3) on
        it."""
        other = copy(self)
        other._own = True
        other._ears = [(own, neutral[own]) for own, _ in self._ears]
        other._cheeks = self._cheeks.of_person(neutral, landmarks)
        other._bone_at_rest = neutral[self._bone]
        return other

    def measure(self, vertices: Floats, carried: Floats, given: Floats) -> Plausible:
        """A frame's figures.

        Args:
            vertices: (V, 3) registered, canonical frame, mm; carried: (68, 3) its landmarks; given: (68, 3) those that
                it was fitted to, in the same frame, NaN where there are none that are trusted.
        """
        normals, areas = triangle_normals(vertices, self._lids)
        folded = ((normals * self._lid_normals).sum(axis=1) < 0) | (areas < DEGENERATE * self._lid_areas)
        folded[folded] = ~tucked_in(vertices[self._lids[folded]].mean(axis=1), carried, self._marks)
        return Plausible(
            mouth_asymmetry(carried),
            _correlation(self._patch.relief(vertices), self._relief),
            lids_shut(carried, given, self._marks),
            lids_open(carried, given, self._marks, "right_eye"),
            lids_open(carried, given, self._marks, "left_eye"),
            float(folded.mean()) if len(folded) else np.nan,
            max(
                (ear_drape(at_rest, vertices[own], self._own) for own, at_rest in self._ears), default=np.nan
            ),
            self._cheeks.slide(vertices, carried),
            self._bone_apart(vertices[self._bone]),
        )

    def _bone_apart(self, found: Floats) -> float:
        """See `Plausible`, of the bone's vertices (k, 3)."""
        from mimicme.stages.register.stabilisation import (
            head_motion,
        )  # compiled; what lists the stages does without

        if self._bone_at_rest is None or len(found) < MIN_BONE:
            return np.nan
        motion = head_motion(self._bone_at_rest, found, self._bone_weights)
        away = np.linalg.norm(transform(motion, self._bone_at_rest) - found, axis=1)
        order = np.argsort(away, kind="stable")
        share = np.cumsum(self._bone_weights[order]) / self._bone_weights.sum()
        return float(away[order][np.searchsorted(share, 0.5)])


class _Patch(NamedTuple):
    """A piece of a mesh whose relief is measured at `rows` of it.

    Attributes:
        vertices: (p,) of the whole mesh; faces: (t, 3) of the piece; rows: (k,) its vertices that are measured.
        smoothing: (p, p) one step, applied `steps` times.
    """

    vertices: NDArray[np.int64]
    faces: Ints
    rows: NDArray[np.int64]
    smoothing: scipy.sparse.csr_matrix
    steps: int

    @classmethod
    def about(cls, vertices: Floats, faces: Ints, wanted: Bools) -> _Patch:
        """The piece that the relief of `wanted` (V,) needs: as far around them as smoothing reaches."""
        if not wanted.any():
            return cls(
                np.zeros(0, np.int64),
                np.zeros((0, 3), np.int32),
                np.zeros(0, np.int64),
                scipy.sparse.csr_matrix((0, 0)),
                0,
            )
        around = scipy.spatial.cKDTree(vertices[wanted]).query(vertices)[0] < 2 * RELIEF_MM
        used, flat = np.unique(faces[around[faces].all(axis=1)], return_inverse=True)
        piece = flat.reshape(-1, 3).astype(np.int32)
        pairs = edges(piece)[0]
        lengths = np.linalg.norm(vertices[used][pairs[:, 0]] - vertices[used][pairs[:, 1]], axis=1)
        # a random walk of n steps goes sqrt(n) of them far
        typical = float(np.median(lengths)) if len(lengths) else RELIEF_MM
        steps = int(np.clip(round((RELIEF_MM / typical) ** 2), 2, MOST_SMOOTHING))
        graph = scipy.sparse.coo_matrix(
            (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(used), len(used))
        )
        graph = (graph + graph.T).tocsr()
        degree = np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1)
        return cls(
            used.astype(np.int64),
            piece,
            np.flatnonzero(wanted[used]),
            (scipy.sparse.diags(1 / degree) @ graph).tocsr(),
            steps,
        )

    def relief(self, vertices: Floats) -> Floats:
        """(k,) mm above the smoothed surface, along the normal."""
        own = vertices[self.vertices]
        smooth = own
        for _ in range(self.steps):
            smooth = self.smoothing @ smooth
        if not len(own):
            return np.zeros(0)
        return np.asarray(((own - smooth) * vertex_normals(own, self.faces)).sum(axis=1)[self.rows])


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < MIN_LIPS or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def mouth_asymmetry(landmarks: Floats) -> float:
    """Mean distance of the mouth's landmarks (of 68, 3) to the middle between each and its mirror image, mm.

    The mirror is the plane in which the face's upper middle, `MIDDLE`, is nearest to its own mirror image: how the head
    is held does not count.  NaN where a landmark is missing.
    """
    image = landmarks[MIRROR] * [-1.0, 1.0, 1.0]
    if not (np.isfinite(landmarks[MIDDLE]).all() and np.isfinite(landmarks[MOUTH]).all()):
        return np.nan
    placed = transform(fit_rigid(image[MIDDLE], landmarks[MIDDLE]), image[MOUTH])
    return float(np.linalg.norm(placed - landmarks[MOUTH], axis=1).mean() / 2)


def lids_shut(carried: Floats, given: Floats, reference: Floats) -> float:
    """How much less far the lids of landmarks `carried` (68, 3) are open than those of `given` (68, 3, NaN absent), of
    the worse eye, mm; NaN where no eye has all of its lids.

    Args:
        reference: (68, 3) of a face with open eyes, canonical frame (`lid_opening`).
    """
    less = [lid_opening(given, reference, eye) - lid_opening(carried, reference, eye) for eye in EYES]
    known = [value for value in less if np.isfinite(value)]
    return max(known, default=np.nan)


def lids_open(carried: Floats, given: Floats, reference: Floats, eye: str) -> float:
    """How much further the lids of landmarks `carried` (68, 3) are open than those of `given` (68, 3, NaN absent), of
    one of `EYES`, where these are shut, mm; 0 where they are not, NaN where one of them is absent.

    Args:
        reference: (68, 3) of a face with open eyes, canonical frame (`lid_opening`).
    """
    opening = lid_opening(given, reference, eye)
    if opening > SHUT_APART_MM:
        return 0.0
    return max(lid_opening(carried, reference, eye) - opening, 0.0)


def tucked_in(places: Floats, carried: Floats, reference: Floats) -> Bools:
    """Which of the places (k, 3) about the eyes lie where the lids of a shut eye meet, see `SEAM_MM`.

    Args:
        carried: (68, 3) landmarks on the mesh, canonical frame, mm; reference: (68, 3) of a face with open eyes.
    """
    there = np.zeros(len(places), bool)
    for eye in EYES:
        if not lid_opening(carried, reference, eye) <= SHUT_APART_MM:
            continue
        lids = carried[GROUPS[eye]]
        seam = ((lids[UPPER_LID] + lids[LOWER_LID]) / 2)[:, :2]
        start, along = seam[:-1], np.diff(seam, axis=0)
        beyond = places[:, None, :2] - start
        share = (beyond * along).sum(axis=2) / np.maximum((along**2).sum(axis=1), 1e-12)
        off = beyond - np.clip(share, 0.0, 1.0)[..., None] * along
        there |= np.linalg.norm(off, axis=2).min(axis=1) < SEAM_MM
    return there


def ear_drape(at_rest: Floats, found: Floats, same_person: bool = False) -> float:
    """95th percentile of the distance of points (k, 3) to those at rest, moved onto them as a whole, mm.

    Args:
        same_person: whether both are one person's; else those at rest are turned and scaled, too, as people differ.
    """
    if same_person:
        moved = at_rest - at_rest.mean(axis=0) + found.mean(axis=0)
        return float(np.percentile(np.linalg.norm(moved - found, axis=1), 95))
    sized = at_rest * fit_similarity_scale(at_rest, found)
    away = np.linalg.norm(transform(fit_rigid(sized, found), sized) - found, axis=1)
    return float(np.percentile(away, 95))
