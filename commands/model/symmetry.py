"""The bilateral symmetry of a template: which point on the other side corresponds to each vertex.

Templates are seldom built of mirrored vertices, so a vertex's partner is a point on a triangle.  The template is
reflected through the plane that maps it onto itself best; one that is not symmetric is bent by its landmarks besides.
Each vertex of the reflection is then looked up on the template by place and normal - by place alone, a vertex of the
upper lip may find the lower one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Ints
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.geometry.mesh import vertex_normals
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import IBUG68, MIRROR
from mimicme.pipeline.template import Template

PLANE_ITERATIONS = 60  # of the refinement of the plane, which converges slowly
ASYMMETRIC_MM = 1.5  # a template this far from its own reflection is not symmetric
STIFFNESS = 1e4  # of the spline: features of some centimetres bend, single landmarks do not
NORMAL_MM = 12.0  # how far a vertex is away whose normal is at right angles


class Mirror:
    """Mirrors shapes of a template.

    Attributes:
        plane: (point (3,), unit normal (3,)) of the template's symmetry plane.
        partners: (V, V) sparse, three weights a row: the template's point opposite each vertex.

    Raises:
        UsageError: the template has not the 68 landmarks.
    """

    def __init__(self, template: Template) -> None:
        from scipy import sparse

        if len(template.landmark_names) != len(IBUG68):
            raise UsageError(
                "symmetry needs the 68 landmarks", seen=len(template.landmark_names), expected=68
            )
        marks = template.landmarks()
        faces, vertices = template.faces, np.asarray(template.vertices)
        self.plane = _plane(marks, marks[MIRROR])
        apart = self._refine_plane(vertices, faces)
        reflected = self.reflect_points(vertices)
        bent = reflected
        if apart > ASYMMETRIC_MM:
            bent = _warp(reflected, self.reflect_points(marks)[MIRROR], marks)
        triangles, weights = _closest_with_normal(vertices, faces, bent, vertex_normals(bent, faces[:, ::-1]))
        rows = np.repeat(np.arange(len(vertices)), 3)
        places = faces[triangles].ravel()
        # row v: where on the template the mirror image of v lies
        self.partners = sparse.csr_matrix((weights.ravel(), (rows, places)), shape=(len(vertices),) * 2)

    def _refine_plane(self, vertices: Floats, faces: Ints) -> float:
        """Refine the plane until the surface's reflection lies on the surface (ICP): landmarks are placed by hand.

        Returns the 90th percentile of what is left between them, mm.
        """
        some = vertices[np.unique(np.linspace(0, len(vertices) - 1, 4000).astype(int))]
        surface = Surface(vertices, faces)
        for _ in range(PLANE_ITERATIONS):
            found = surface.closest(self.reflect_points(some))
            near = found.distances <= 2 * np.median(found.distances) + 1e-6  # not across holes and borders
            self.plane = _plane(some[near], found.points[near])
        return float(np.percentile(surface.distance(self.reflect_points(some)), 90))

    def reflect_points(self, points: Floats) -> Floats:
        """(..., 3) points through the plane."""
        point, normal = self.plane
        return points - 2 * ((points - point) @ normal)[..., None] * normal

    def reflect_vectors(self, vectors: Floats) -> Floats:
        """(..., 3) vectors through the plane."""
        normal = self.plane[1]
        return vectors - 2 * (vectors @ normal)[..., None] * normal

    def differences(self, deltas: NDArray[Any]) -> NDArray[np.float32]:
        """(N, V, 3) differences as the other side would show them."""
        d = np.asarray(deltas, np.float64)
        moved = np.stack([self.partners @ each for each in d])
        return self.reflect_vectors(moved).astype(np.float32)

    def shapes(self, shapes: NDArray[Any], template: Template) -> NDArray[np.float32]:
        """(N, V, 3) shapes as the other side would show them.

        The difference to the template is mirrored: a template that is not symmetric itself would otherwise
        bring its own asymmetry in.
        """
        base = template.vertices
        return (base + self.differences(np.asarray(shapes) - base)).astype(np.float32)

    def values(self, values: Floats) -> Floats:
        """(V,) values, as masks, of the other side."""
        return np.asarray(self.partners @ values)


def _plane(points: Floats, partners: Floats) -> tuple[Floats, Floats]:
    """The plane that best swaps points with their partners: normal along the mean of their differences."""
    across = points - partners
    # the direction of the pairs, whatever their sign: the first singular vector
    normal = np.linalg.svd(across, full_matrices=False)[2][0]
    normal *= np.sign(normal[np.abs(normal).argmax()])
    return (points + partners).mean(axis=0) / 2, normal


def _warp(points: Floats, source: Floats, target: Floats) -> Floats:
    """Points warped by a smoothing thin-plate spline that takes the source landmarks near the target ones."""
    from scipy.interpolate import RBFInterpolator

    shift = target - source
    unique = np.unique(np.round(source, 6), axis=0, return_index=True)[1]
    spline = RBFInterpolator(source[unique], shift[unique], kernel="thin_plate_spline", smoothing=STIFFNESS)
    return points + spline(points)


def _closest_with_normal(
    vertices: Floats, faces: Ints, points: Floats, normals: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """For each point the triangle (k,) and barycentric weights (k, 3) of the nearest place with a like normal."""
    from scipy.spatial import cKDTree

    own = np.concatenate([vertices, NORMAL_MM * vertex_normals(vertices, faces)], axis=1)
    nearest = cKDTree(own).query(np.concatenate([points, NORMAL_MM * normals], axis=1), k=3)[1]
    fan = _vertex_triangles(faces, len(vertices))
    best = np.full(len(points), np.inf)
    triangle = np.zeros(len(points), np.int64)
    weights = np.zeros((len(points), 3))
    for column in np.concatenate([fan[nearest[:, k]] for k in range(nearest.shape[1])], axis=1).T:
        corners = vertices[faces[np.maximum(column, 0)]]
        bary = _barycentric(points, corners)
        distance = np.linalg.norm(np.einsum("kc,kcx->kx", bary, corners) - points, axis=1)
        better = (column >= 0) & (distance < best)
        best[better], triangle[better], weights[better] = distance[better], column[better], bary[better]
    # a vertex of no triangle is its own partner's nearest vertex; the mirror has nothing better
    lone = ~np.isfinite(best)
    triangle[lone], weights[lone] = 0, [1.0, 0.0, 0.0]
    return triangle, weights


def _vertex_triangles(faces: Ints, n: int) -> NDArray[np.int64]:
    """(n, most) triangles of each vertex, -1 where there are fewer."""
    corner = faces.ravel()
    order = np.argsort(corner, kind="stable")
    count = np.bincount(corner, minlength=n)
    fan = np.full((n, int(count.max())), -1, np.int64)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    place = np.arange(len(corner)) - start[corner[order]]
    fan[corner[order], place] = order // 3
    return fan


def _barycentric(points: Floats, corners: Floats) -> Floats:
    """Weights (k, 3) of the place in each triangle (k, 3, 3) that is nearest to its point, up to its border: the
    plane's foot, clamped."""
    a, u, v = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    w = points - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    area = np.maximum(uu * vv - uv * uv, 1e-12)
    s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    bary = np.clip(np.stack([1 - s - t, s, t], axis=1), 0, None)
    return bary / np.maximum(bary.sum(axis=1, keepdims=True), 1e-12)
