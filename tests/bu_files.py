"""Files as BU-3DFE, BU-4DFE and BP4D+ have them, made of meshes and landmarks that are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.geometry.mesh import Mesh

Points = NDArray[np.float64]
KNOWN = (17, 21, 22, 26, 36, 39, 42, 45, 48, 51, 54, 57, 62, 66, 8)
"""Which of the 68 points are told by 83 points."""


def _around(contour: Points, count: int) -> Points:
    """So many points around a closed contour, the first and the opposite one kept: as many in either half."""
    half = len(contour) // 2
    halves = (contour[: half + 1], np.concatenate([contour[half:], contour[:1]]))
    return np.concatenate([_along(part, count // 2 + 1)[:-1] for part in halves])


def _along(line: Points, count: int) -> Points:
    """So many points along a line, evenly."""
    way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    at = np.linspace(0, way[-1], count)
    return np.stack([np.interp(at, way, line[:, k]) for k in range(3)], axis=1)


def points_83(points: Points, brows_first: bool = False) -> Points:
    """(83, 3) contours through the (68, 3) points of iBUG-68, in BU-3DFE's order or in BP4D+'s."""
    eyes = [_around(points[part], 8) for part in (slice(36, 42), slice(42, 48))]
    brows = []
    for part in (slice(17, 22), slice(22, 27)):
        upper = points[part]
        under = upper[::-1] + [0, -1.5, 0]
        under[[0, -1]] = upper[[-1, 0]] * 0.95 + under[[1, -2]] * 0.05  # within its ends
        brows.append(np.concatenate([upper, under]))
    side = points[27:31][[0, 1, 3]]
    nose = [
        side - [4, 0, 2],
        side + [4, 0, -2],
        points[31:33],
        points[33:34],
        points[33:34] * 1.0,
        points[34:36],
    ]
    jaw = np.concatenate([points[1:8], points[8:9], points[9:16]])
    upper_face = [*brows, *eyes] if brows_first else [*eyes, *brows]
    found = np.concatenate([*upper_face, *nose, points[48:60], points[60:68], jaw])
    assert found.shape == (83, 3)
    return found


def bnd(points: Points) -> bytes:
    """Tabs as in BU-3DFE's own files, and a blank line at the end as in many of BU-4DFE's."""
    rows = ["{}\t\t{!r} {!r} {!r}".format(100 + k, *map(float, p)) for k, p in enumerate(points)]
    return "\n".join([*rows, "", ""]).encode()


def bndplus(points: Points) -> bytes:
    return "".join("{!r},{!r},{!r}\n".format(*map(float, p)) for p in points).encode()


def wrl(mesh: Mesh, image: str) -> bytes:
    """VRML 2.0 with texture coordinates by corner, six decimals as `obj_bytes` has them."""
    assert mesh.uv is not None and mesh.uv_faces is not None
    places = ",\n".join("{:.6f} {:.6f} {:.6f}".format(*p) for p in mesh.vertices + 0.0)
    uv = ",\n".join("{:.6f} {:.6f}".format(*p) for p in np.nan_to_num(mesh.uv))
    corners, texture = (
        ",\n".join("{}, {}, {}, -1".format(*f) for f in faces) for faces in (mesh.faces, mesh.uv_faces)
    )
    return (
        "#VRML V2.0 utf8\n"
        f'Shape {{\n appearance Appearance {{\n  texture ImageTexture {{ url "{image}" }}\n }}\n'
        f" geometry IndexedFaceSet {{\n  coord Coordinate {{\n   point [\n{places}\n   ]\n  }}\n"
        f"  coordIndex [\n{corners}\n  ]\n  texCoord TextureCoordinate {{\n   point [\n{uv}\n   ]\n  }}\n"
        f"  texCoordIndex [\n{texture}\n  ]\n }}\n}}\n"
    ).encode()
