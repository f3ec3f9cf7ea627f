"""convert: a release in another template's vertices, through one registration of the two templates.

Reads a release and a template file with its landmarks beside it; writes a release of that template.  The template of
the smaller surface is registered to the other one by the register stage itself, whichever way is converted, so that
there and back is one correspondence.  Every vertex of the new template that then lies on the old one has its closest
point there, three corners with their barycentric weights, and a displacement from it; this sparse map is kept in the
release.

In a frame the point follows its triangle, and the displacement turns with it.  What the old template has not - eyes,
an inner mouth, a neck - follows by the stiffness that the register stage gives what a scan does not show; a piece of
the mesh of which less than half lies on the old template follows what lies around it as a rigid body.

Frames are brought into the new template's canonical frame, with their poses; landmarks, quality and attributes are
carried along; textures are sampled anew in the new texture layout.  What was measured in the old one - maps of the
surface, places of landmarks in the texture, their visibility - is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats, Ints, Longs
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import FrameRejected, InputError, ReleaseError, UsageError
from mimicme.pipeline.geometry.mesh import (
    adjacency,
    components,
    edges,
    inverse,
    lengths,
    transform,
    triangle_normals,
    vertex_areas,
    vertex_normals,
)
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.release import Release, SequenceInfo, guard, layout
from mimicme.pipeline.release.writer import ReleaseWriter, SequenceWriter
from mimicme.pipeline.template import Template, prepare
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.pipeline.template.skin import skin_of
from mimicme.pipeline.whole_file import refuse_existing

Progress = Callable[[str], None]

VERSION = 2
"""Raised when the same release and template give another release."""
REACH_MM = 2.0
"""A vertex farther from the other template than this has no counterpart there."""
LEAST_COSINE = 0.5
"""Of the angle between the two surfaces' normals: lids and lips have two sides."""
LEAST_PATCH = 0.005
"""Patches with a counterpart smaller than this share of all that have one - of an inner mouth, say - have none."""
LEAST_PIECE = 0.5
"""Share of a piece's vertices with a counterpart below which it is a rigid body; the piece with the face is none."""
AROUND = 60
"""Vertices with a counterpart that a piece of its own follows."""
LEAST_SHARE = 0.5
"""Of the new template's face between brows and chin; with less there is no use in going on."""
CARRIED = ("landmark_source", "landmark_confidence", "landmark_distance")


@dataclass(frozen=True)
class Placed:
    """Two templates in one frame, the one registered to the other.

    Attributes:
        source, target: (S, 3) and (V, 3) vertices of the old and of the new template's skin, mm, one on the other.
        motion: (4, 4) rigid, old canonical frame -> new canonical frame.
    """

    source: Floats
    target: Floats
    motion: Floats


def place(source: Template, target: Template) -> Placed:
    """Register the template of the smaller surface to the other one, skin to skin.

    Raises:
        InputError: the registration is rejected.
    """
    source, target = skin_of(source).skin, skin_of(target).skin
    areas = [float(vertex_areas(t.vertices, t.faces).sum()) for t in (source, target)]
    # whichever way it is asked for, the same one is registered
    if (areas[0], len(source.vertices)) <= (areas[1], len(target.vertices)):
        fitted, pose = _registered(source, target)
        return Placed(fitted, target.vertices, pose)
    fitted, pose = _registered(target, source)
    return Placed(source.vertices, fitted, inverse(pose))


def _registered(template: Template, onto: Template) -> tuple[Floats, Floats]:
    """(V, 3) a template on another one's surface and in its frame, and (4, 4) its rigid motion there."""
    from mimicme.stages.register.frame import Frame
    from mimicme.stages.register.levels import build_levels
    from mimicme.stages.register.settings import RegisterSettings
    from mimicme.stages.register.track import SequenceTracker

    settings = RegisterSettings()
    marks = onto.landmarks()
    pose = fit_rigid(template.landmarks(), marks)
    try:
        with frame_numerics():
            levels = build_levels(template, settings.coarse_vertices, settings.membrane)
            tracker = SequenceTracker(template, levels, settings, None)
            frame = Frame(0, onto.vertices, onto.faces, marks, np.ones(len(marks)), pose)
            found = tracker.register(frame)
    except FrameRejected as error:
        raise InputError(
            f"the template '{template.name}' cannot be registered to '{onto.name}': {error.what}",
            seen=error.seen, expected=error.expected,
            todo="Look at the landmarks of both: `mimicme template check FILE --picture points.png`.",
        ) from error  # fmt: skip
    return transform(found.pose, found.vertices.astype(np.float64)), found.pose


@dataclass(frozen=True)
class Correspondence:
    """From the vertices of one template to those of another, skin to skin.

    Attributes:
        source: (S,) vertices of the old template that are its skin; V are those of the new one's skin.
        there: (V,) True where a vertex of the new template lies on the old one.
        corners: (V, 3) vertices of the old template's skin, weights: (V, 3) barycentric; 0 where it does not.
        displacement: (V, 3) mm, from that point to the vertex, in the frame of `triangle_frames` of the corners;
            0 where it does not.
        distances: (V,) mm, how far the templates lie from each other; infinite where it does not.
        motion: (4, 4) as of `Placed`.
        target: the skin of the new template; whole: all of it.
    """

    source: Longs
    there: Bools
    corners: Longs
    weights: Floats
    displacement: Floats
    distances: Floats
    motion: Floats
    target: Template
    whole: Template

    @classmethod
    def of(cls, source: Template, target: Template, placed: Placed) -> Correspondence:
        """Closest points of the new template's vertices on the old one, where they face the same way."""
        index, whole = skin_of(source).index, target
        source, target = skin_of(source).skin, skin_of(target).skin
        middle = placed.source.mean(axis=0)
        old, new = placed.source - middle, placed.target - middle
        found = Surface(old, source.faces).closest(new)
        normals, _ = triangle_normals(old, source.faces)
        own = vertex_normals(new, target.faces)
        there = found.distances <= REACH_MM
        there &= (normals[found.triangles] * own).sum(axis=1) >= LEAST_COSINE
        there = _without_specks(there, target.faces)
        corners = np.where(there[:, None], source.faces[found.triangles], 0).astype(np.int64)
        weights = np.clip(found.weights, 0, 1)
        weights = np.where(there[:, None], weights / weights.sum(axis=1, keepdims=True), 0.0)
        # whatever the frames are stored in, the map is what the release has of it
        weights = weights.astype(np.float32).astype(np.float64)
        off = new - np.einsum("vk,vkx->vx", weights, old[corners])
        local = np.einsum("vij,vj->vi", triangle_frames(old[corners]), off)
        return cls(
            index,
            there,
            corners,
            weights,
            np.where(there[:, None], local, 0.0).astype(np.float32).astype(np.float64),
            np.where(there, found.distances, np.inf),
            placed.motion,
            target,
            whole,
        )

    def stored(self) -> tuple[Longs, Floats, Floats]:
        """Corners, weights and displacement of all vertices of the new template, corners as vertices of the old one."""
        index, count = skin_of(self.whole).index, len(self.whole.vertices)
        found = tuple(np.zeros((count, 3), kind) for kind in (np.int64, np.float64, np.float64))
        given = (np.where(self.there[:, None], self.source[self.corners], 0), self.weights, self.displacement)
        for array, values in zip(found, given, strict=True):
            array[index] = values
        return found  # type: ignore[return-value]

    @cached_property
    def _rest(self) -> _Rest:
        return _Rest.of(self.target, self.there)

    def carry(self, vertices: Floats) -> Floats:
        """(V, 3) vertices of the new template, in its canonical frame, from a frame (S, 3) of the old one, in its."""
        frame = transform(self.motion, vertices[self.source])
        there = self.there
        corner = frame[self.corners[there]]
        points = np.einsum("vk,vkx->vx", self.weights[there], corner)
        points += np.einsum("vji,vj->vi", triangle_frames(corner), self.displacement[there])
        return skin_of(self.whole).whole(self._rest.follow(points))

    def carry_shares(self, values: NDArray[np.uint8], otherwise: int) -> NDArray[np.uint8]:
        """(V,) numbers from 0 to 255 at the vertices of all of the new template, from those of all of the old one."""
        corners, weights, _ = self.stored()
        found = (weights * values[corners]).sum(axis=1)
        return np.where(weights.any(axis=1), np.rint(found), otherwise).astype(np.uint8)

    def errors(self) -> dict[str, float]:
        """How far the two templates lie from each other on the face between brows and chin, mm, and which share of it
        has a counterpart."""
        template = self.target
        areas = vertex_areas(template.vertices, template.faces)
        core = FaceCore.of(template.vertices, template.faces, areas, template.landmarks()).areas
        on = self.there & (core > 0)
        share = float(core[on].sum() / max(float(core.sum()), 1e-300))
        off = self.distances[on] if on.any() else np.full(1, np.nan)
        return {
            "face_share": round(share, 4),
            "face_median_mm": round(float(np.median(off)), 4),
            "face_p95_mm": round(float(np.percentile(off, 95)), 4),
        }


def triangle_frames(corners: Floats) -> Floats:
    """(k, 3, 3) orthonormal axes, row by row, of triangles (k, 3, 3): along the first side, in the plane, normal."""
    side, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    x = side / np.maximum(lengths(side), 1e-12)[:, None]
    normal = np.cross(side, other)
    z = normal / np.maximum(lengths(normal), 1e-12)[:, None]
    return np.stack([x, np.cross(z, x), z], axis=1)


def _without_specks(there: Bools, faces: Ints) -> Bools:
    """(V,) the same without small patches, and without pieces of the mesh that lie on the old template in part alone.

    An eyeball that touches the lids must not be drawn along by them.
    """
    _, piece = components(faces, len(there))
    on = np.bincount(piece, there)
    whole = on >= LEAST_PIECE * np.bincount(piece)
    whole[on.argmax()] = True
    there = there & whole[piece]
    pairs, _ = edges(faces)
    pairs = pairs[there[pairs].all(axis=1)]
    _, label = sparse.csgraph.connected_components(adjacency(pairs, len(there)), directed=False)
    size = np.bincount(label, there)
    return np.asarray(there & (size[label] >= LEAST_PATCH * there.sum()))


@dataclass(frozen=True)
class _Rest:
    """How what has no counterpart follows what has one.

    Attributes:
        rest: (V, 3) the template; there: (V,) has a counterpart.
        free: (k,) vertices that the stiffness moves; right: (k, n) from displacements of those with a counterpart;
        solve: solves for the free ones.
        alone: pieces of their own: their vertices, and the vertices that they follow.
    """

    rest: Floats
    there: Bools
    free: Longs
    right: sparse.csr_matrix
    solve: Callable[[Floats], Floats]
    alone: tuple[tuple[Longs, Longs], ...]

    @classmethod
    def of(cls, template: Template, there: Bools) -> _Rest:
        from scipy.spatial import cKDTree

        from mimicme.stages.register.settings import RegisterSettings
        from mimicme.stages.register.solver import factorise
        from mimicme.stages.register.stiffness import shell_stiffness

        rest, faces = template.vertices, template.faces
        _, piece = components(faces, len(rest))
        loose = np.bincount(faces.ravel(), minlength=len(rest)) == 0
        piece[loose] = piece.max() + 1  # vertices of no triangle are one piece, however many there are
        held = np.bincount(piece, there) > 0
        free = np.flatnonzero(~there & held[piece])
        stiffness = shell_stiffness(rest, faces, RegisterSettings().membrane).tocsr()
        rows = stiffness[free]
        known = np.flatnonzero(there)
        solve = factorise(rows[:, free]) if len(free) else _nothing
        tree = cKDTree(rest[known])
        alone = []
        order = np.argsort(piece, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(piece[order])) + 1):
            if held[piece[mine[0]]]:
                continue
            _, near = tree.query(rest[mine].mean(axis=0), min(AROUND, len(known)))
            alone.append((mine, known[np.atleast_1d(near)]))
        return cls(rest, there, free, (-rows[:, known]).tocsr(), solve, tuple(alone))

    def follow(self, points: Floats) -> Floats:
        """(V, 3) the whole template, where those with a counterpart are at `points` (n, 3)."""
        out = self.rest.copy()
        moved = points - self.rest[self.there]
        out[self.there] = points
        if len(self.free):
            out[self.free] += self.solve(self.right @ moved)
        for mine, near in self.alone:
            out[mine] = transform(fit_rigid(self.rest[near], out[near]), self.rest[mine])
        return out


def _nothing(right: Floats) -> Floats:
    return right


class Resampling:
    """A texture in one layout, sampled in another.

    Args:
        source, target: the templates; placed: one on the other; there: (V,) the target's vertices on the source.
        size: texels a side, of both.
    """

    def __init__(self, source: Template, target: Template, placed: Placed, there: Bools, size: int) -> None:
        from mimicme.pipeline.texture.raster import bands

        self.size = size
        middle = placed.source.mean(axis=0)
        surface = Surface(placed.source - middle, source.faces)
        corner_uv = source.uv[source.uv_faces]
        self.x, self.y = (np.zeros((size, size), np.float32) for _ in range(2))
        self.seen = np.zeros((size, size), np.uint8)
        for band in bands(target, size):
            on = there[target.faces[band.triangles]].all(axis=1)
            triangles, weights = band.triangles[on], band.weights[on]
            texels = band.texels[on].astype(np.int64) + band.first_row * size
            points = np.einsum("kc,kcx->kx", weights, placed.target[target.faces[triangles]]) - middle
            found = surface.closest(points)
            uv = np.einsum("kc,kcx->kx", found.weights, corner_uv[found.triangles])
            self.x.ravel()[texels] = (uv[:, 0] * size - 0.5).astype(np.float32)
            self.y.ravel()[texels] = ((1 - uv[:, 1]) * size - 0.5).astype(np.float32)
            self.seen.ravel()[texels] = 1

    def texture(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(size, size, 3); what lies not on the source is filled smoothly from around."""
        from mimicme.pipeline.formats.image import opencv
        from mimicme.pipeline.texture.inpainting import fill_holes

        cv = opencv("resampling textures")
        out = np.ascontiguousarray(
            cv.remap(pixels, self.x, self.y, cv.INTER_LINEAR, borderMode=cv.BORDER_REPLICATE)
        )
        fill_holes(out, self.seen.astype(bool))
        return out

    def coverage(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(size, size), 0 where the source has nothing or does not lie."""
        from mimicme.pipeline.formats.image import opencv

        cv = opencv("resampling textures")
        found = cv.remap(pixels, self.x, self.y, cv.INTER_NEAREST, borderMode=cv.BORDER_REPLICATE)
        return np.asarray(found * self.seen)


@dataclass(frozen=True)
class Converted:
    """What became of a release: numbers of sequences and frames; `Correspondence.errors`; sentences to show."""

    sequences: int
    frames: int
    errors: dict[str, float]
    messages: tuple[str, ...]


def convert(
    release: Path, template: str | Path, out: Path, progress: Progress | None = None, overwrite: bool = False
) -> Converted:
    """Write a release in another template's vertices.

    Args:
        template: a mesh file with its landmarks beside it, or the name of the embedded one, as of `init`.
        overwrite: replace a file that is there.

    Raises:
        UsageError: the release would be written over itself, or the file is there already.
        InputError: the template cannot be used, or the two cannot be registered to each other.
        ReleaseError: the release is damaged.
    """
    written, read = Path(os.path.realpath(out)), Path(os.path.realpath(release))
    shard = written.parent == read.parent and written.name.startswith(f"{read.stem}@")
    if shard or written in (read, Path(os.path.realpath(template))):
        raise UsageError("a release is not converted in its place", where=out, todo="Name another file.")
    refuse_existing(out, overwrite)
    with Release(release) as old:
        source, target = _as_stored(old.template), _as_stored(prepare(template))
        if source.landmark_names != target.landmark_names:
            raise ReleaseError(
                "the release has other landmarks than iBUG-68", where=release, seen=len(source.landmark_names)
            )
        placed = place(source, target)
        found = Correspondence.of(source, target, placed)
        errors = found.errors()
        if errors["face_share"] < LEAST_SHARE:
            raise InputError(
                "the two templates have too little of the face in common",
                where=template,
                seen=f"{errors['face_share']:.0%} of it within {REACH_MM:g} mm",
                expected=f"at least {LEAST_SHARE:.0%}",
                todo="Look at the landmarks: `mimicme template check FILE --picture points.png`.",
            )
        frames = _Frames(old, source, placed, found)
        with ReleaseWriter(
            out,
            created=str(old.attributes.get("created", "")),
            licence=str(old.attributes.get("licence", "")),
            config=_config(old, source, target, errors),
            fingerprint=_fingerprint(old, target),
        ) as writer:
            writer.template(target)
            writer.conversion(*found.stored())
            subject = None
            for info in old.sequences():
                if progress:
                    progress(str(info.item))
                if info.item.subject != subject:
                    subject = info.item.subject
                    writer.subject(subject, old.subjects[subject])
                frames.write(writer, info)
        said = f"Maps of the surface are left out: {', '.join(sorted(frames.left_out))}."
        return Converted(len(old.sequences()), len(old), errors, (said,) if frames.left_out else ())


def _as_stored(template: Template) -> Template:
    """The template as a release has it, in single precision: converted back, it is the same one."""

    def single(values: Floats) -> Floats:
        return values.astype(np.float32).astype(np.float64)

    return replace(
        template,
        vertices=single(template.vertices),
        uv=single(template.uv),
        landmark_weights=single(template.landmark_weights),
    )


def _config(old: Release, source: Template, target: Template, errors: dict[str, float]) -> str:
    """The settings that the release was made with, and what it was converted from."""
    try:
        said = json.loads(str(old.attributes.get("config", "{}")))
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    by = {
        "version": VERSION,
        "from": {"template": source.name, "digest": source.digest, "release": old.fingerprint},
        "to": {"template": target.name, "digest": target.digest},
        "map": errors,
    }
    before = said.get("converted", [])
    said["converted"] = [*(before if isinstance(before, list) else []), by]
    return json.dumps(said, sort_keys=True)


def _fingerprint(old: Release, target: Template) -> str:
    return hashlib.sha256(f"converted {VERSION} {old.fingerprint} {target.digest}".encode()).hexdigest()


class _Frames:
    """Writes sequences of a release into another one."""

    def __init__(self, old: Release, source: Template, placed: Placed, found: Correspondence) -> None:
        self.old, self.source, self.placed, self.found = old, skin_of(source).skin, placed, found
        self.left_out: set[str] = set()
        self._resampling: dict[int, Resampling] = {}

    def write(self, writer: ReleaseWriter, info: SequenceInfo) -> None:
        old, item = self.old, info.item
        table = old.values(item, "quality")
        ok = np.array([status == layout.OK for status in table["status"]])
        to = writer.sequence(
            item,
            name=info.name,
            expression=info.expression,
            fps=info.fps,
            file_from_scan=info.file_from_scan,
            numbers=old.values(item, "frame"),
            statuses=[str(s) for s in table["status"]],
            times=old.times(item),
            attributes=dict(info.attributes),
        )
        to.vertices(
            np.flatnonzero(ok).tolist(),
            lambda at: self.found.carry(old.vertices(info.start + at).astype(np.float64)).astype(np.float32),
        )
        motion = self.placed.motion
        to.array("pose", old.values(item, "pose") @ inverse(motion))
        to.array("landmarks", transform(motion, old.values(item, "landmarks").astype(np.float64)))
        for name in CARRIED:
            if name in layout.ROW_FIELDS or any(np.isfinite(old.field(row, name)).any() for row in info.rows):
                to.array(name, old.values(item, name))
        skin = [old.field(row, layout.SKIN_SEEN) for row in info.rows]
        fill = int(layout.OPTIONAL_ROW_FIELDS[layout.SKIN_SEEN].fill)
        if any((seen < fill).any() for seen in skin):
            stored_skin = to.rows(layout.SKIN_SEEN)
            for at, seen in enumerate(skin):
                stored_skin[at] = self.found.carry_shares(seen, fill)
        if len(ok):
            self.left_out |= set(old.maps(info.start))
        self._textures(to, info)
        figures = [n for n in table.dtype.names or () if n not in dict(layout.QUALITY_TEXT)]
        stored = np.zeros(
            len(ok), layout.quality_dtype([n for n in figures if n not in layout.QUALITY_FIXED])
        )
        for name in table.dtype.names or ():
            stored[name] = [v.encode() for v in table[name]] if name not in figures else table[name]
        to.quality(stored, old.units(item), [guard.text(said) for said in old.values(item, "message")])

    def _textures(self, to: SequenceWriter, info: SequenceInfo) -> None:
        from mimicme.pipeline.formats.image import encode

        old = self.old
        for name in layout.IMAGES:
            sizes = [0] * len(info.rows)
            kind = "png"
            with tempfile.TemporaryFile() as spool:
                for at, row in enumerate(info.rows):
                    data, kind = old.image_bytes(row, name)
                    kind = kind or "png"
                    pixels: Any = None if not data else getattr(old, name)(row)
                    if pixels is None:
                        continue
                    made = self._resampled(name, pixels)
                    sizes[at] = spool.write(encode(made, kind))
                spool.seek(0)
                to.images(name, sizes, kind)
                for at, size in enumerate(sizes):
                    to.put_image(name, at, np.frombuffer(spool.read(size), np.uint8))

    def _resampled(self, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = pixels.shape[0]
        if pixels.shape[1] != size:
            raise ReleaseError("a texture is not square", where=self.old.path, seen=pixels.shape)
        if size not in self._resampling:
            self._resampling.clear()
            self._resampling[size] = Resampling(
                self.source, self.found.target, self.placed, self.found.there, size
            )
        found = self._resampling[size]
        return found.texture(pixels) if name == "texture" else found.coverage(pixels)
