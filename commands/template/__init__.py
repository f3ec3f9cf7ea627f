"""template: whether a mesh with its landmarks will do as a template, before a night's run finds out.

`check` reads what `init --template` reads and says sentence by sentence what it found and what to do about it; the
last of its tests registers the template to its own surface, by the register stage itself.  `draw_check` shows the
points, for whether one lies on the lid or on the brow only an eye can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.captures.units import face_axes, nearest_axes, rotation_of, size_remark
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import FrameRejected, InputError, counted, listed
from mimicme.pipeline.geometry.cleaning import degenerate, weld
from mimicme.pipeline.geometry.layout_quality import measure
from mimicme.pipeline.geometry.mesh import Mesh, components, edges, triangle_normals, vertex_areas
from mimicme.pipeline.geometry.orientation import consistent
from mimicme.pipeline.landmarks import GROUPS, IN_WORDS, MIRROR, eye_distance, labelled
from mimicme.pipeline.template import (
    INTERIOR,
    JAW_PLACED,
    Template,
    TemplateFiles,
    files_beside,
    find_files,
    prepare,
    read_masks,
    read_template_landmarks,
    read_template_mesh,
    with_jaw,
    without_jaw,
)
from mimicme.pipeline.template.eyelids import EYES
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.pipeline.template.skin import RIGID, skin_of
from mimicme.pipeline.template.symmetry import symmetry_of
from mimicme.pipeline.texture.raster import rasterise

if TYPE_CHECKING:
    from mimicme.pipeline.drawing.render import Picture
    from mimicme.stages.register.levels import Levels

Level = Literal["ok", "note", "error"]

FAR_OFF_MM = 5.0
"""A landmark farther from the surface than this is named."""
TURNED_SHARE = 0.01
"""Of the area, wound against the rest, from which on the normals of the surface mislead the registration."""
LEAST_CORE_MM2 = 3000.0
"""The embedded template's face between brows and chin has 14,000 mm^2 that look to the front, a small child's half."""
OFF_ITSELF_MM = 0.5
"""Median distance of a template registered to its own surface from itself; the embedded one's is below 0.05."""
LAYOUT_PX, COMMON_SHARE = 512, 0.02
"""Texels a side at which skin and interior are compared in the texture; they may meet at their borders."""
DRAWN_MM = 150.0
"""Extent of the landmarks as they are drawn, whatever the file's unit."""
# a mesh is made symmetric where its surface lies so near to its mirror image: ICT-FaceKit's generic head 0.004 mm, the
# embedded template 0.19
SYMMETRIC_MM = 0.5
# landmarks of such a mesh farther from each other's mirror image than these were put by eye (ICT-FaceKit's: 0.7 mm at
# most); the jaw's are vague
UNEVEN_MM, UNEVEN_JAW_MM = 2.0, 4.0
RIGHT_COLOR, LEFT_COLOR, MIDDLE_COLOR = (220, 40, 60), (30, 110, 220), (40, 150, 70)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `ok`; `note`, worth knowing; `error`, registration would not work.
        message: what was found and, where something is to be done, what.
    """

    level: Level
    message: str

    def __str__(self) -> str:
        return f"{self.level:5} {self.message}"


NO_LAYOUT = Finding(
    "note", "The file has no texture coordinates. Export them with it if textures shall fit yours."
)
NOT_TRIED = Finding("note", "It was not tried out: settle the errors first.")


def check(path: Path) -> list[Finding]:
    """What speaks for and against a mesh file with its landmarks beside it as a template.

    Without landmarks that can be read, what can be said of the mesh alone.

    Raises:
        InputError: the mesh is not there, or cannot be read.
    """
    files, points, without = _read(path)
    mesh = read_template_mesh(files).mesh
    found: list[Finding] = []
    try:
        interior = read_masks(files, len(mesh.vertices)).get(INTERIOR)
        shown: Bools = np.ones(len(mesh.faces), bool)
        if interior is not None:
            shown = np.all(interior[mesh.faces] < 0.5, axis=1)
        skin = Mesh(mesh.vertices, mesh.faces[shown])
        found += _surface(mesh, skin)
        if points is None:
            return [*found, *_own_layout(mesh, shown), Finding("error", str(without)), NOT_TRIED]
        found += _points(points)
        template = prepare(path)
    except InputError as error:
        return [*found, Finding("error", str(error))]
    # that the jaw was placed is a finding of the landmarks already
    notes = [said for said in template.notes if said != JAW_PLACED]
    found += [Finding("note" if "turned" in said else "ok", _sentence(said)) for said in notes]
    found += _interior(template)
    template = skin_of(template).skin
    found += [
        *_placed(template, skin, points),
        *_even(template),
        *_size(template),
        *_layout(template, mesh),
        *_core(template),
    ]
    if any(one.level == "error" for one in found):
        return [*found, NOT_TRIED]
    return [*found, *_tried(template)]


def _read(path: Path) -> tuple[TemplateFiles, Floats | None, InputError | None]:
    """The files of a template; its landmarks (68, 3), NaN where absent, or None and why they are not there."""
    try:
        files = find_files(path)
        return files, read_template_landmarks(files), None
    except InputError as error:
        if not path.is_file():
            raise
        return files_beside(path), None, error


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:]}."


def _surface(mesh: Mesh, skin: Mesh) -> list[Finding]:
    """Pieces, edges and winding of the mesh as the file has it, without what the mask `interior` covers."""
    found = []
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(skin.faces)
    if not len(faces):
        return []
    flat = int(degenerate(vertices, faces).sum())
    if flat:
        found.append(
            Finding("note", f"{flat} of {len(faces)} triangles have no area. Remove them or move a corner.")
        )
    loose = len(vertices) - len(np.unique(mesh.faces))
    if loose:
        found.append(
            Finding(
                "note",
                f"{loose} vertices belong to no triangle. They are kept, for the order of the vertices, but nothing "
                "tells where they lie on a face; leave them out if nothing needs them.",
            )
        )
    sizes = _pieces(faces, len(vertices))
    welded, joined = weld(skin)
    fewer = _pieces(np.asarray(welded.faces), len(welded.vertices))
    if len(fewer) < len(sizes):
        found.append(
            Finding(
                "error",
                f"The mesh is in {len(sizes)} pieces, in {len(fewer)} if {joined} vertices that lie in one place were "
                "one: it would tear along these seams. Export it with its vertices merged; seams of the texture "
                "need none of their own in OBJ.",
            )
        )
    elif len(sizes) > 1:
        found.append(
            Finding(
                "note",
                f"The mesh is in {len(sizes)} pieces: {listed([str(piece) for piece in sizes])}. Each follows the scan "
                "by itself; what no scan shows, eyeballs or teeth, belongs into the mask 'interior', or is left out.",
            )
        )
    else:
        found.append(Finding("ok", f"One piece: {len(np.unique(faces))} vertices, {len(faces)} triangles."))
    pairs, count = edges(faces)
    many = pairs[count > 2]
    if len(many):
        found.append(
            Finding(
                "note",
                f"{len(many)} edges have more than two triangles, the first between vertices {many[0][0]} and "
                f"{many[0][1]}: the surface is no manifold there. Remove the doubled or inner triangles.",
            )
        )
    else:
        found.append(Finding("ok", "No edge has more than two triangles."))
    flips, _ = consistent(faces)
    _, areas = triangle_normals(vertices, faces)
    share = float(areas[flips].sum() / max(float(areas.sum()), 1e-300))
    if flips.any():
        found.append(
            Finding(
                "error" if share > TURNED_SHARE else "note",
                f"{int(flips.sum())} triangles, {share:.1%} of the area, are wound against their neighbours, the first "
                f"of them triangle {int(np.flatnonzero(flips)[0])}. Recalculate the normals outside in your modeller, "
                "and export again.",
            )
        )
    else:
        found.append(Finding("ok", "All triangles of a piece are wound alike."))
    return found


def _interior(template: Template) -> list[Finding]:
    """What follows the skin, and whether it lies behind it."""
    interior = template.interior
    if not interior.any():
        return []
    bodies = [name[len(RIGID) :] for name in sorted(template.masks) if name.startswith(RIGID)]
    said = f"{int(interior.sum())} vertices are interior and follow the skin"
    if bodies:
        said += f"; as rigid bodies {listed(bodies)}"
    found = [Finding("ok", f"{said}. What follows is said of the skin.")]
    inner = interior[template.faces].any(axis=1)
    of_skin, of_interior = (
        rasterise(template.uv, template.uv_faces[which], LAYOUT_PX).texels for which in (~inner, inner)
    )
    common = len(np.intersect1d(of_skin, of_interior)) / max(len(of_interior), 1)
    if common > COMMON_SHARE:
        found.append(
            Finding(
                "note",
                f"{common:.0%} of the interior's place in the texture is the skin's too: eyes and teeth would show "
                "skin. Move their texture coordinates to a free place, or to UDIM tiles of their own.",
            )
        )
    return found


class _Piece(NamedTuple):
    """A piece of a mesh: how many triangles, and the first and last of its vertices."""

    triangles: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.triangles} triangles on vertices {self.first} to {self.last}"


def _pieces(faces: Ints, n_vertices: int) -> list[_Piece]:
    """Every piece that has triangles, the largest first."""
    _, label = components(faces, n_vertices)
    sizes = np.bincount(label[faces[:, 0]], minlength=int(label.max(initial=0)) + 1)
    order = np.argsort(label, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    found = [_Piece(int(sizes[label[run[0]]]), int(run[0]), int(run[-1])) for run in runs]
    return sorted(
        (piece for piece in found if piece.triangles), key=lambda piece: (-piece.triangles, piece.first)
    )


def _points(points: Floats) -> list[Finding]:
    """Which of the landmarks (68, 3), NaN absent, are there, and whether left is left."""
    given = np.asarray(np.isfinite(points).all(axis=1))
    if given.all():
        found = [Finding("ok", "All 68 landmarks are there.")]
    elif without_jaw(points):
        found = [
            Finding(
                "note",
                "51 landmarks are there and none of the jaw: its 17 are placed by the proportions of the embedded "
                "template, often 8 mm off. If your captures have points of the jaw by hand, add them here or leave "
                "those out.",
            )
        ]
    else:
        missing = [labelled(k) for k in np.flatnonzero(~given)]
        return [
            Finding(
                "error",
                f"{len(missing)} of 68 landmarks are absent: {listed(missing)}. Add them; only the 17 of the jaw, all "
                "of them, may be left out.",
            )
        ]
    across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    middle = (points[42:48].mean(axis=0) + points[36:42].mean(axis=0)) / 2
    side = (points - middle) @ across
    left = np.array([k for k in range(len(MIRROR)) if _is_image_left(k) and given[k] and given[MIRROR[k]]])
    wrong = left[side[left] >= side[MIRROR[left]]]
    if len(wrong):
        pairs = listed([f"{labelled(k)} and {labelled(MIRROR[k])}" for k in wrong])
        found.append(
            Finding(
                "error",
                f"Left and right are exchanged between landmarks: {pairs}. iBUG-68's left is the image's, the "
                "subject's right; exchange them in the file, or label the points.",
            )
        )
    else:
        found.append(Finding("ok", "Landmarks of the left and of the right lie on sides of their own."))
    return found


def _is_image_left(k: int) -> bool:
    """Whether a landmark of iBUG-68 lies on the image's left."""
    return k < 8 or 17 <= k < 22 or k in (31, 32) or 36 <= k < 42 or k in (48, 49, 50, 58, 59, 60, 61, 67)


def _placed(template: Template, mesh: Mesh, points: Floats) -> list[Finding]:
    """Landmarks that lie off the surface, or on another piece than the others."""
    found = []
    carried = template.landmarks()
    # the template has been scaled and turned: lengths compare by the eyes
    mm = eye_distance(carried) / eye_distance(points)
    from mimicme.pipeline.geometry.spatial import Surface

    given = np.isfinite(points).all(axis=1)
    middle = np.asarray(mesh.vertices, np.float64).mean(axis=0)
    off = np.zeros(len(points))
    surface = Surface((mesh.vertices - middle) * mm, mesh.faces)
    off[given] = surface.distance((points[given] - middle) * mm)
    far = np.flatnonzero(off > FAR_OFF_MM)
    if len(far):
        said = listed([f"{labelled(k)} {off[k]:.0f} mm" for k in far])
        found.append(
            Finding("note", f"Landmarks off the surface, which are put onto it: {said}. Look at the picture.")
        )
    _, label = components(template.faces, len(template.vertices))
    of = label[template.landmark_vertices[:, 0]]
    main = np.bincount(of).argmax()
    away = [labelled(k) for k in np.flatnonzero(of != main)]
    if away:
        found.append(
            Finding(
                "error",
                f"Landmarks lie on another piece of the mesh than the others: {listed(away)}. Put them onto the skin; "
                "an eyeball may lie nearer than the lid.",
            )
        )
    return found


def _even(template: Template) -> list[Finding]:
    """Left and right landmarks that are no mirror images of each other on a mesh that is symmetric."""
    vertices = np.asarray(template.vertices, np.float64)
    symmetry = symmetry_of(vertices, template.faces, template.landmarks())
    if symmetry.surface > SYMMETRIC_MM:  # a person's head: its landmarks are as they are
        return []
    limit = np.full(len(MIRROR), UNEVEN_MM)
    limit[GROUPS["jaw"]] = UNEVEN_JAW_MM
    left = [k for k in range(len(MIRROR)) if _is_image_left(k) and symmetry.landmarks[k] > limit[k]]
    if not left:
        return [Finding("ok", "Landmarks of the left and of the right are mirror images of each other.")]
    pairs = listed([f"{labelled(k)} and {labelled(MIRROR[k])} {symmetry.landmarks[k]:.1f} mm" for k in left])
    return [
        Finding(
            "note",
            f"The mesh is symmetric to {symmetry.surface:.1f} mm, but these landmarks are not each other's mirror "
            f"image: {pairs}. Faces registered with them slide to one side there. Move them, unless that is meant.",
        )
    ]


def _size(template: Template) -> list[Finding]:
    remark = size_remark(eye_distance(template.landmarks()), 1.0)
    if not remark:
        return []
    return [Finding("note", f"{_sentence(remark.split(';')[0])} Scale the template if that is not meant.")]


def _layout(template: Template, mesh: Mesh) -> list[Finding]:
    """What the texture layout does, which is the file's own or made here."""
    if mesh.uv is None:
        return [NO_LAYOUT]
    return _overlaps(template.vertices, template.faces, template.uv, template.uv_faces)


def _own_layout(mesh: Mesh, shown: Bools) -> list[Finding]:
    """What the file's texture layout does on the triangles that are `shown` (T,), as far as it lies in the square."""
    if mesh.uv is None or mesh.uv_faces is None:
        return [NO_LAYOUT]
    uv_faces = mesh.uv_faces[shown]
    used = mesh.uv[uv_faces]
    # tiles are laid side by side only when the template is prepared, which takes landmarks
    if not len(used) or not np.isfinite(used).all() or used.min() < 0 or used.max() > 1:
        return []
    return _overlaps(np.asarray(mesh.vertices, np.float64), mesh.faces[shown], mesh.uv, uv_faces)


def _overlaps(vertices: Floats, faces: Ints, uv: Floats, uv_faces: Ints) -> list[Finding]:
    """Whether a texture layout lies on itself; arguments as of `measure`."""
    layout = measure(vertices, faces, uv, uv_faces)
    if layout.flipped or layout.crossings:
        return [
            Finding(
                "note",
                f"The texture layout lies on itself in places: {layout.flipped} triangles are turned over, "
                f"{layout.crossings} borders cross. Such texels get one colour; unfold the layout, or leave it out: "
                "one is made then.",
            )
        ]
    return [Finding("ok", f"The texture layout does not overlap; {layout.filled:.0%} of the square is used.")]


def _core(template: Template) -> list[Finding]:
    """Whether there is a face that looks to the front."""
    areas = vertex_areas(template.vertices, template.faces)
    core = FaceCore.of(template.vertices, template.faces, areas, template.landmarks())
    area = float(core.areas.sum())
    said = f"{area / 100:.0f} cm^2 between brows and chin look to the front"
    if area < LEAST_CORE_MM2:
        return [
            Finding(
                "error",
                f"Only {said}, of {LEAST_CORE_MM2 / 100:.0f} at least. Look at the picture: something stands before "
                "the face, the triangles face inwards, or the landmarks of brows and jaw do not surround it.",
            )
        ]
    return [Finding("ok", f"{said}.")]


def _tried(template: Template) -> list[Finding]:
    """What the register stage makes of the template: lips, eyes, and a fit to its own surface."""
    from mimicme.stages.register.frame import Frame
    from mimicme.stages.register.levels import build_levels
    from mimicme.stages.register.settings import RegisterSettings
    from mimicme.stages.register.track import SequenceTracker

    settings = RegisterSettings()
    try:
        with frame_numerics():
            levels = build_levels(template, settings.coarse_vertices, settings.membrane)
            tracker = SequenceTracker(template, levels, settings, None)
            marks = template.landmarks()
            itself = Frame(0, template.vertices, template.faces, marks, np.ones(len(marks)), np.eye(4))
            registered = tracker.register(itself).vertices
    except FrameRejected as error:
        return [
            Finding(
                "error", f"Registered to its own surface it is rejected: {error} Look at what is said above."
            )
        ]
    off = float(np.median(np.linalg.norm(registered - template.vertices, axis=1)))
    if off > OFF_ITSELF_MM:
        fit = Finding(
            "error",
            f"Registered to its own surface it moves by {off:.2f} mm (median), more than {OFF_ITSELF_MM:g}. Look at "
            "the landmarks, and at pieces and winding above.",
        )
    else:
        fit = Finding("ok", f"Registered to its own surface it stays within {off:.2f} mm (median).")
    return [*_openings(levels), fit]


def _openings(levels: Levels) -> list[Finding]:
    """The slit between the lips, and what lies between the lids."""
    found = []
    if levels.lips is None:
        found.append(
            Finding(
                "note",
                "No slit between the lips was found: an opened mouth would be a stretched skin. Cut the mesh between "
                "the lips, and check the landmarks of the inner lips.",
            )
        )
    else:
        found.append(Finding("ok", "There is a slit between the lips."))
    shown = [IN_WORDS[name] for name, eye in zip(EYES, levels.fine.eyes, strict=True) if eye is not None]
    if shown:
        said = "both eyes" if len(shown) == 2 else f"the {shown[0]}"
        found.append(Finding("ok", f"The mesh goes on between the lids of {said}; closed lids hide that."))
    else:
        found.append(Finding("ok", "The mesh has holes, or pieces of their own, between the lids."))
    return found


def verdict(findings: list[Finding]) -> str:
    """What all findings come to: whether the mesh will do as a template, and how much is to be read above."""
    errors, notes = (sum(one.level == level for one in findings) for level in ("error", "note"))
    if errors:
        return f"will not do as a template: {counted(errors, 'error')}, {counted(notes, 'note')}"
    if notes:
        return f"will do, with {counted(notes, 'note')}: read {'it' if notes == 1 else 'them'} above before a long run"
    return "will do"


def draw_check(path: Path, size: int = 560) -> Picture:
    """The template with its landmarks, from the front, from both sides, and eyes, mouth and jaw in close-up.

    Landmarks of the image's left are red, of its right blue, those between green; their numbers, which findings name
    too, stand in the close-ups.
    Drawn from the files as they are, for one that is refused has to be looked at the most.

    Args:
        path: as `check`'s; size: pixels, of each side of a view.

    Without landmarks it is drawn along the axes of the file, for picking them.

    Raises:
        InputError: the mesh is not there, or cannot be read.
    """
    from mimicme.pipeline.drawing.render import contact_sheet, draw_points, look_at, render

    files, points, _ = _read(path)
    raw = read_template_mesh(files).mesh
    if points is None:
        return _draw_bare(raw, size, files.name)
    if without_jaw(points):
        points, _ = with_jaw(points)
    axes, _ = face_axes(points)
    turn = np.eye(3) if axes is None else rotation_of(*nearest_axes(axes))
    vertices = np.asarray(raw.vertices, np.float64) @ turn.T
    points = points @ turn.T
    # the renderer works in float32, and in mm
    extent = float(np.max(np.nanmax(points, axis=0) - np.nanmin(points, axis=0)))
    middle, scale = np.nanmean(points, axis=0), DRAWN_MM / max(extent, 1e-300)
    mesh, points = Mesh(scale * (vertices - middle), raw.faces), scale * (points - middle)
    colors = [
        MIDDLE_COLOR if MIRROR[k] == k else RIGHT_COLOR if _is_image_left(k) else LEFT_COLOR
        for k in range(len(points))
    ]
    labels = [str(k) for k in range(len(points))]
    features = slice(GROUPS["left_eyebrow"].start, GROUPS["right_eye"].stop)
    around = np.concatenate([points, points + [0.0, 60.0, 0.0], points - [0.0, 20.0, 0.0]])
    views = {
        "front": (around, 0.0, None),
        "from the image's right, the subject's left": (around, 50.0, None),
        "from the image's left, the subject's right": (around, -50.0, None),
        "brows, eyes and nose": (points[features], 0.0, labels),
        "mouth": (points[GROUPS["mouth"]], 0.0, labels),
        "jaw": (points[GROUPS["jaw"]], 0.0, labels),
    }
    drawn = []
    for shown, yaw, words in views.values():
        camera = look_at(shown, yaw, 0.0, (size, size), margin=0.1)
        drawn.append(
            draw_points(render(mesh, camera, samples=2), camera.project(points), colors, size / 140, words)
        )
    return contact_sheet(drawn, list(views), columns=3, title=f"{files.name}: landmarks")


def _draw_bare(raw: Mesh, size: int, name: str) -> Picture:
    """A mesh from six sides, +y up in four of them."""
    from mimicme.pipeline.drawing.render import contact_sheet, look_at, render

    vertices = np.asarray(raw.vertices, np.float64)
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    scale = DRAWN_MM / max(float(np.ptp(vertices, axis=0).max()), 1e-300)
    mesh = Mesh(scale * (vertices - middle), raw.faces)
    views = {
        "from +z": (0.0, 0.0),
        "from +x": (90.0, 0.0),
        "from -x": (-90.0, 0.0),
        "from -z": (180.0, 0.0),
        "from +y": (0.0, 89.9),
        "from -y": (0.0, -89.9),
    }
    drawn = [
        render(mesh, look_at(mesh.vertices, yaw, pitch, (size, size), margin=0.1), samples=2)
        for yaw, pitch in views.values()
    ]
    return contact_sheet(drawn, list(views), columns=3, title=f"{name}: no landmarks")
