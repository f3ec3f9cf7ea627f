"""Lids, lips and ears of a frame, near enough to see half a millimetre: what a person looks at first, and what a
picture of the whole face does not show.

Lids and lips twice: the scan in its own colours with the registered mesh's rims drawn over it, which ought to lie where
the scan's do; and the mesh without colours, where folds, gaps and steps show, with the rims of the lids, which are as
grey as the eyeball below them.  A texture would not tell: it is made of the scan wherever the mesh lies.  Ears
likewise, from the side, without rims, in a row of their own.  Each has its name in it; sides are the subject's own.
Where the mesh is seen and the scan has nothing, its picture is hatched: a hole of the scan, and not the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.landmarks import GROUPS, N_LANDMARKS
from mimicme.pipeline.template.eyelids import EYES

if TYPE_CHECKING:
    from mimicme.pipeline.drawing.render import Camera, Picture
    from mimicme.pipeline.geometry.mesh import Mesh
    from mimicme.pipeline.geometry.spatial import Surface
    from mimicme.pipeline.template import Template, TemplateKey
    from mimicme.pipeline.template.eyelids import Rims

ROW = 160
EYE, EYE_PX_A_MM = (ROW // 2, 160), 4.0
MOUTH, MOUTH_PX_A_MM = (ROW, 320), 3.0
EAR, EAR_PX_A_MM = (192, 240), 1.8
"""An ear with what is around it: 107 mm high, 133 mm wide."""
HEIGHT = ROW + EAR[0]
"""Of the two rows, px; their width is 960."""
TRAGUS_MM = 5.0
"""An ear goes on so far towards the face beyond the middle of what sticks out most."""
LIPS = slice(48, 60), slice(60, 68)
"""Of the landmarks: the outer and the inner rim, each a closed line."""
RIM_COLOR = (0, 114, 178)
HOLE_COLORS = (120, 120, 120), (170, 170, 170)
HATCH_PX = 4
"""Width of the stripes of a hole."""
EYE_NAMES, EAR_NAMES, MOUTH_NAME = ("left eye", "right eye"), ("right ear", "left ear"), "lips"
"""In words, the subject's own sides; the eyes by `EYES`, whose names mean the image's."""
NAME_PX = 11
BEHIND_MM, BESIDE_MM = 40.0, 12.0
"""An ear is what sticks out most beside the head, not more than the first behind the end of the jaw line, and what is
less than the second nearer to the head than that."""


class Seen(NamedTuple):
    """A surface as it is drawn: the mesh, its tree, the image that colours it; all as `render` takes them."""

    mesh: Mesh
    surface: Surface
    image: Picture | None = None


def close_ups(template: Template, registered: Seen, scan: Seen | None) -> Picture | None:
    """Pictures in two rows, `HEIGHT` high: eyes and mouth, and ears below.  None of a template that has not the 68
    landmarks.

    Args:
        registered: the mesh, which has no colours here.
        scan: in the same frame; None: none is there.
    """
    from mimicme.pipeline.drawing.pictures import card
    from mimicme.pipeline.template import TemplateKey

    if len(template.landmark_names) != N_LANDMARKS:
        return None
    places = _places(TemplateKey(template))
    vertices = registered.mesh.vertices
    marks = template.landmarks(vertices)
    columns = []
    # as a face is seen: the subject's right eye first
    for eye, name, rims in reversed([*zip(EYES, EYE_NAMES, places.lids, strict=True)]):
        upper, lower = rims.middle @ vertices, 0.5 * (rims.rows @ vertices)
        upper, lower = upper + lower, upper - lower
        first, last = marks[GROUPS[eye]][[0, 3]]
        rim = np.concatenate([first[None], upper, last[None], lower[::-1], first[None]])
        camera = _camera(rim, EYE, EYE_PX_A_MM)
        columns.append(np.vstack(_pair(name, camera, registered, scan, [rim], on_mesh=True)))
    lips = [np.concatenate([marks[rim], marks[rim][:1]]) for rim in LIPS]
    columns += _pair(
        MOUTH_NAME, _camera(marks[GROUPS["mouth"]], MOUTH, MOUTH_PX_A_MM), registered, scan, lips
    )
    ears = []
    for ear, name, yaw in zip(places.ears.T, EAR_NAMES, (-90.0, 90.0), strict=True):
        if ear.any():
            own = vertices[ear > 0]
            # its middle lies nearer to the face than what sticks out most does
            place = (own.min(axis=0) + own.max(axis=0)) / 2 + [0.0, 0.0, TRAGUS_MM]
            ears += _pair(name, _camera(place[None], EAR, EAR_PX_A_MM, yaw), registered, scan)
        else:
            ears += 2 * [card(f"no {name}", EAR)]
    return np.vstack([np.hstack(columns), np.hstack(ears)])


class _Places(NamedTuple):
    """Of a template: the lids' rims, by `EYES`; (V, 2) 1 where a vertex is of the right or of the left ear."""

    lids: tuple[Rims, ...]
    ears: Floats


@lru_cache(maxsize=2)
def _places(key: TemplateKey) -> _Places:
    from mimicme.pipeline.template.eyelids import find_rims

    vertices, faces, marks = key.template.vertices, key.template.faces, key.template.landmarks()
    lids = tuple(find_rims(vertices, faces, marks, eye) for eye in EYES)
    jaw, top = marks[GROUPS["jaw"]], marks[GROUPS["right_eyebrow"], 1].max()
    away = vertices - jaw[[0, -1]].mean(axis=0)
    beside = (
        (away[:, 2] < 0) & (away[:, 2] > -BEHIND_MM) & (vertices[:, 1] < top) & (vertices[:, 1] > jaw[3, 1])
    )
    ears = np.zeros((len(vertices), 2))
    for side, out in enumerate((-away[:, 0], away[:, 0])):
        ears[:, side] = beside & (out > out[beside].max(initial=-np.inf) - BESIDE_MM)
    return _Places(lids, ears)


def _camera(points: Floats, size: tuple[int, int], px_a_mm: float, yaw_deg: float = 0.0) -> Camera:
    from mimicme.pipeline.drawing.render import look_at

    return look_at(points, yaw_deg, 0.0, size, pixels_per_mm=px_a_mm)


def _pair(
    name: str,
    camera: Camera,
    registered: Seen,
    scan: Seen | None,
    rims: Sequence[Floats] = (),
    on_mesh: bool = False,
) -> list[Picture]:
    """The scan with the rims (k, 3) each, and the mesh, also with them if that is said; what is seen, by name, is
    written on both."""
    from mimicme.pipeline.drawing.pictures import card
    from mimicme.pipeline.drawing.render import draw_line

    def with_rims(picture: Picture) -> Picture:
        for rim in rims:
            picture = draw_line(picture, camera.project(rim), RIM_COLOR)
        return picture

    mesh, of_mesh = _drawn(camera, registered)
    mesh = _named(with_rims(mesh) if on_mesh else mesh, f"{name}, mesh")
    if scan is None:
        return [card("no scan", camera.size), mesh]
    seen, of_scan = _drawn(camera, scan)
    return [_named(with_rims(_hatched(seen, of_mesh & ~of_scan)), f"{name}, scan"), mesh]


def _hatched(picture: Picture, holes: NDArray[np.bool_]) -> Picture:
    """A picture with stripes over some of its pixels (h, w)."""
    rows, columns = np.nonzero(holes)
    found = picture.copy()
    found[rows, columns] = np.asarray(HOLE_COLORS, np.uint8)[(rows + columns) // HATCH_PX % 2]
    return found


def _named(picture: Picture, name: str) -> Picture:
    """A picture with a name in its lower corner; on two lines where it is narrow."""
    from PIL import Image, ImageDraw, ImageFont

    sheet, font = Image.fromarray(picture), ImageFont.load_default(NAME_PX)
    draw = ImageDraw.Draw(sheet)
    if draw.textlength(name, font) > picture.shape[1] - 6:
        name = name.replace(", ", "\n")
    left, bottom = 4, picture.shape[0] - 4
    for off, fill in ((1, (0, 0, 0)), (0, (255, 255, 255))):  # with a shadow: it lies on skin of any colour
        draw.multiline_text((left + off, bottom + off), name, fill=fill, font=font, anchor="ld", spacing=1)
    return np.asarray(sheet)


def _drawn(camera: Camera, what: Seen) -> tuple[Picture, NDArray[np.bool_]]:
    """A surface, and (h, w) where it is."""
    from mimicme.pipeline.drawing.render import render, trace

    seen = trace(what.mesh, camera, surface=what.surface)
    return render(what.mesh, camera, image=what.image, seen=seen), seen.hit
