"""What is registered: scans with a known answer, and james, as the stages before `register` would hand them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats, Ints
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.template import Template, embedded_data, prepare

SYNTH_VERTICES = 9_000
SUBJECTS, SEQUENCES, FRAMES, SEED = 3, 5, 3, 7
JUDGES, JUDGED_SEQUENCES, JUDGED_SEED = 7, ("neutral", "happiness", "pout"), 47
FACE_RADIUS_MM = 80.0


@dataclass(frozen=True)
class Answer:
    """What is true of one frame, in the scan's frame, mm.

    Attributes:
        vertices: (V, 3) the template truly registered.
        valid: (V,) the scan has data there; core: (V,) the face without its rim.
        head: (4, 4) head model -> scan; +y up and +z out of the face in the model.
        landmarks: (68, 3) without noise.
    """

    vertices: Floats
    valid: Bools
    core: Bools
    head: Floats
    landmarks: Floats


@dataclass(frozen=True)
class Case:
    """One frame: the cleaned scan, its 68 landmarks (NaN absent), scan frame, mm; `judged` are the scan vertices (k, 3)
    inside the template's region, by which surfaces are measured."""

    name: str
    number: int
    vertices: Floats
    faces: Ints
    landmarks: Floats
    judged: Floats
    answer: Answer | None = None

    @property
    def mesh(self) -> Mesh:
        return Mesh(self.vertices, self.faces)


def correspondence(vertices: Floats, answer: Answer) -> Floats:
    """(k,) mm: distance of registered (V, 3) to true vertices, over the core where the scan has data."""
    seen = answer.core & answer.valid
    return np.asarray(np.linalg.norm(vertices - answer.vertices, axis=1)[seen])


@dataclass(frozen=True)
class Captures:
    """A folder of captures with truth, as `mimicme synth` writes it."""

    folder: Path

    @property
    def sequences(self) -> list[str]:
        """`subject/sequence` of all."""
        found = sorted(self.folder.glob("truth/*/*.npz"))
        if not found:
            raise InputError(
                "there are no captures with truth in this folder",
                where=self.folder,
                expected="truth/<subject>/<sequence>.npz",
                todo="Make some with `mimicme synth DIR`, or leave --captures out.",
            )
        return [f"{p.parent.name}/{p.stem}" for p in found]

    def template(self) -> Template:
        folder = self.folder / "template"
        mesh = next((p for p in sorted(folder.glob("template.*")) if p.suffix in (".obj", ".ply")), None)
        if mesh is None:
            raise InputError(
                "the template is not there", where=folder, expected="template.obj or template.ply"
            )
        return prepare(mesh)

    def frames(self, sequence: str) -> int:
        return len(_truth(self.folder, sequence).vertices)

    def apex(self, sequence: str) -> int:
        return int(np.argmax(_truth(self.folder, sequence).amount))

    def case(self, sequence: str, number: int) -> Case:
        """One frame with its answer."""
        from mimicme.pipeline.formats.meshio import read_mesh

        truth = _truth(self.folder, sequence)
        path = self.folder / "captures" / sequence / f"{number:04d}.obj"
        raw = read_mesh(path.read_bytes(), path.name).mesh
        answer = Answer(
            truth.vertices[number],
            truth.valid[number],
            truth.core,
            truth.head_pose[number],
            truth.landmarks[number],
        )
        scan = cleaned(raw)
        judged = raw.vertices[truth.region[number][: len(raw.vertices)]]
        points = _landmarks(path.with_suffix(".ljson"))
        return Case(sequence, number, scan.vertices, scan.faces, points, judged, answer)


@lru_cache(maxsize=4)
def _truth(folder: Path, sequence: str):  # type: ignore[no-untyped-def]
    from mimicme.commands.evaluate import read_truth

    return read_truth(folder / "truth" / f"{sequence}.npz")


def _landmarks(path: Path) -> Floats:
    from mimicme.pipeline.landmarks.files import read_landmarks

    return read_landmarks(path.read_bytes(), path.name).points


def cleaned(mesh: Mesh) -> Mesh:
    """As ingest cleans, without textures."""
    from mimicme.pipeline.geometry.cleaning import clean

    return clean(Mesh(mesh.vertices, mesh.faces))[0]


def james() -> Case:
    """The scan that menpo3d installs; its file units are taken as mm, as `mimicme demo` does."""
    from mimicme.pipeline.formats.meshio import read_mesh

    folder = embedded_data()
    scan = cleaned(read_mesh((folder / "james.obj").read_bytes(), "james.obj").mesh)
    points = _landmarks(folder / "james.ljson")
    near = np.linalg.norm(scan.vertices - points[30], axis=1) < FACE_RADIUS_MM
    return Case("james", 0, scan.vertices, scan.faces, points, scan.vertices[near])


def resized(template: Template, vertices: int, layout: bool = False) -> Template:
    """The template with about so many vertices: subdivided, then decimated, with its landmarks carried along.

    Without `layout` its texture coordinates are a stand-in, which saves the time to make them.
    """
    from mimicme.pipeline.geometry.spatial import open3d
    from mimicme.pipeline.template import assemble

    o3d = open3d()
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(template.vertices), o3d.utility.Vector3iVector(template.faces)
    )
    while len(mesh.vertices) < vertices:
        mesh = mesh.subdivide_midpoint(1)
    if len(mesh.vertices) > 1.05 * vertices:
        mesh = mesh.simplify_quadric_decimation(2 * vertices)
        mesh.remove_unreferenced_vertices()
    small = Mesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles, np.int32))
    if not layout:
        corners = np.tile(np.arange(3, dtype=np.int32), (len(small.faces), 1))
        small = replace(small, uv=np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), uv_faces=corners)
    return assemble(small, template.landmarks(), template.landmark_names, f"{template.name}-{vertices}")


def synthetic(build: Path, say: Callable[[str], None]) -> Captures:
    """Captures of invented people on a template of about 9,000 vertices, made once below `build`."""
    return _made(build / f"bench-captures-{SUBJECTS}x{SEQUENCES}x{FRAMES}", SUBJECTS, SEQUENCES, SEED, say)


def judges(build: Path, say: Callable[[str], None]) -> Captures:
    """The same of `synth --maker people`, which only judges."""
    folder = build / f"bench-judges-{JUDGES}x{len(JUDGED_SEQUENCES)}x{FRAMES}"
    return _made(folder, JUDGES, JUDGED_SEQUENCES, JUDGED_SEED, say, "people")


def _made(
    folder: Path,
    subjects: int,
    sequences: int | tuple[str, ...],
    seed: int,
    say: Callable[[str], None],
    maker: str = "template",
) -> Captures:
    from mimicme.commands.synth import synthesise

    if not (folder / "synth.json").is_file():
        say(f"making captures in {folder} (some minutes, once)")
    template = resized(prepare("menpo3d"), SYNTH_VERTICES, layout=True)
    synthesise(folder, subjects, sequences, FRAMES, seed, template, maker=maker)
    return Captures(folder)
