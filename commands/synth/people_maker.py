"""The second, judging maker of synthetic captures: `mimicme synth --maker people`.

It is not there to teach; docs/measurements.md lists what was chosen with it in view all the same.  Its people differ by
age, sex and habit (`ages`), their lips and lids touch (`contact`, `acting`), their skin is finer than the template
(`relief`); teeth, tongue, eyeballs, hair, caps and collars are in their scans (`parts`), beards on demand (`beard`);
lights drift (`lights`); the scanner joins what it sees (`views`).  The truth has, beside what `write_truth` of the
first maker has:

    lips_closed (F,) bool      the lips touch along the whole slit
    lips (F, 4, k, 3) f4       mm: the upper lip's outer border, the lower lip's, the upper lip's edge, the lower's
    lids (F, 4, k, 3) f4       mm: right upper, right lower, left upper, left lower
    brows (F, 2, k, 3) f4      mm: right, left
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.synth import recorder
from mimicme.commands.synth.acting import (
    Actor,
    Features,
    Pose,
    act,
    build_people_rig,
    find_features,
    make_actor,
)
from mimicme.commands.synth.ages import Who, shape, who
from mimicme.commands.synth.beard import GROWN, Beard, grow
from mimicme.commands.synth.contact import Anatomy, find_anatomy
from mimicme.commands.synth.lights import Lights, Look, lights_of, openness, photograph
from mimicme.commands.synth.parts import IRISES, LINING, SKIN, Wear, eyeball, joined, mouth_parts, wear
from mimicme.commands.synth.people import Rig, distance_to
from mimicme.commands.synth.relief import Subdivision, make_relief, subdivide
from mimicme.commands.synth.scanner import Scan, best_camera_uv, cameras_for, head_rotation, with_specks
from mimicme.commands.synth.skin import Skin, make_skin
from mimicme.commands.synth.views import Measured, Scene, View, measure, noise, on_skin
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.drawing.render import Camera, sample_image
from mimicme.pipeline.geometry.mesh import (
    Mesh,
    components,
    inverse,
    keep_triangles,
    transform,
    vertex_normals,
)
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.template import Template

VERSION = 2
FINER = 6
"""The skin's surface has about this many triangles for each of a scan's."""
VALID_MM = 0.5
SPIKES, SPIKE_MM = 0.0006, (2.0, 7.0)
SMALLEST_PIECE = 12
CAMERA_MM = 900.0
DEPTH_CAMERA_MM = 650.0
DEPTH = ("rigid", "depth_smile")
"""Sequences before a depth camera."""
TURNED_DEG = (40.0, 60.0)
TURNED_RECORDED_DEG = (22.0, 34.0)
"""One camera alone sees both halves of a face that is turned no further."""
RIGID_DEG = 32.0


@dataclass(frozen=True)
class Studio:
    """What all people have in common: the template, its anatomy and its fine surface."""

    rig: Rig
    anatomy: Anatomy
    fine: Subdivision
    features: Features
    core: Bools

    @cached_property
    def lining(self) -> Bools:
        """(t,) True for triangles of the fine surface in the mouth."""
        inside = self.fine.interpolate(self.rig.inside.astype(np.float64)) > 0.6
        return np.asarray(inside[self.fine.faces].all(axis=1))

    @cached_property
    def eyeball(self) -> Bools:
        """(t,) True for triangles of the fine surface on an eyeball, which has a surface of its own."""
        on = self.fine.interpolate(self.anatomy.eye.astype(np.float64)) > 0.99
        return np.asarray(on[self.fine.faces].all(axis=1))


def build_studio(template: Template, names: list[str], triangles: int) -> Studio:
    """Prepare a template (seconds)."""
    rig = build_people_rig(template, names)
    anatomy = find_anatomy(rig)
    fine = subdivide(template.faces, len(template.vertices), FINER * triangles)
    # an eyeball has no places that could be found again
    return Studio(rig, anatomy, fine, find_features(anatomy), rig.core & ~anatomy.eye)


@dataclass(frozen=True)
class Person:
    """A person before the scanner: who, shape and skin, hair and clothes.

    Attributes:
        share: size of the cameras' pictures and of the skin's, 1 for a full scan.
        bearded: has a beard, if a grown man.
    """

    studio: Studio
    subject: str
    number: int
    seed: int
    share: float
    skin_px: int
    bearded: bool = False

    def rng(self, *what: str | int) -> np.random.Generator:
        """Random numbers for a purpose."""
        name = "/".join(map(str, ("people", self.seed, self.subject, *what)))
        return np.random.default_rng(zlib.crc32(name.encode()))

    @cached_property
    def who(self) -> Who:
        """Age, sex and cover of the head."""
        return who(self.number, self.seed, self.rng("who"))

    @cached_property
    def actor(self) -> Actor:
        """The person's shape, ready to move."""
        studio = self.studio
        neutral = shape(studio.anatomy, self.who, self.rng("shape"))
        relief = make_relief(studio.anatomy, studio.fine, self.who, self.rng("relief"))
        return make_actor(studio.anatomy, studio.fine, self.who, neutral, relief, self.rng("habit"))

    @cached_property
    def skin(self) -> Skin:
        """Albedo of the skin."""
        return make_skin(self.studio.rig, self.rng("skin"), round(self.skin_px * self.share))

    @cached_property
    def tone(self) -> Floats:
        """(3,) the skin's mean colour."""
        marks = self.studio.fine.interpolate(self.skin.uv)[self.studio.rig.landmarks[[2, 14, 30]]]
        return np.asarray(sample_image(self.skin.albedo, marks).mean(axis=0))

    @cached_property
    def hair(self) -> Floats:
        """(3,) colour, grey with age."""
        grey = np.clip((self.who.age - 45) / 30, 0, 1) * self.rng("grey").uniform(0.4, 1.0)
        return np.asarray(self.skin.hair * (1 - grey) + grey * np.array([168.0, 166.0, 162.0]))

    @cached_property
    def wear(self) -> Wear:
        """Hair or a cap, and a collar."""
        return wear(self.actor, self.tone, self.hair, self.rng("wear"))

    @cached_property
    def beard(self) -> Beard | None:
        """None of who has none."""
        if not self.bearded or self.who.female or self.who.age < GROWN:
            return None
        return grow(self.actor, self.hair, self.rng("beard"))

    @cached_property
    def iris(self) -> Floats:
        """(3,) colour."""
        rng = self.rng("iris")
        dark = self.tone.mean() < 140
        return np.array(IRISES[3 if dark else int(rng.integers(len(IRISES)))], np.float64)


@dataclass(frozen=True)
class Filmed:
    """A sequence before the scanner.

    Attributes:
        amounts: (F,); head_pose: (F, 4, 4) model -> scan; poses: F faces; lights: F; views: F, in the head's frame.
        faces: (F, V, 3) mm, the template truly registered.
    """

    amounts: Floats
    head_pose: Floats
    poses: list[Pose]
    faces: Floats
    lights: list[Lights]
    views: list[View]
    lips_closed: Bools


def film(person: Person, name: str, frames: int, recorded: bool = False) -> Filmed:
    """A person goes to the apex of an expression and back, while the head and the lights drift.

    Args:
        recorded: by a depth camera at arm's length, whatever the sequence.
    """
    rng = person.rng(name, "motion")
    lights = lights_of(frames, person.rng(name, "lights"))
    strength = rng.uniform(0.8, 1.05)
    turn, place = rng.uniform(-6, 6, 3), rng.uniform(-25, 25, 3)
    swing, drift, phase = rng.uniform(-3, 3, 3), rng.uniform(-4, 4, 3), rng.uniform(0, 2 * np.pi, 3)
    aside = rng.uniform(*(TURNED_RECORDED_DEG if recorded else TURNED_DEG)) * rng.choice([-1.0, 1.0])
    side = int(rng.choice([-1, 1]))
    wander = rng.uniform(-3, 3, 2)
    amounts, head_pose, poses, views = [], [], [], []
    for k in range(frames):
        along = k / max(frames - 1, 1)
        amount = float(np.sin(np.pi * along) ** 2) if frames > 1 and name != "rigid" else 0.0
        angles = turn + swing * np.sin(np.pi * along + phase)
        if name == "turned":
            angles = angles * [1.0, 0.3, 1.0] + [0.0, aside, 0.0]
        elif name == "rigid":
            angles = angles + [
                6 * np.sin(2 * np.pi * along),
                RIGID_DEG * np.sin(2 * np.pi * along + phase[0]),
                0,
            ]
        pose = np.eye(4)
        pose[:3, :3] = head_rotation(angles)
        pose[:3, 3] = place + drift * along * 2 + np.sin(2 * np.pi * along + phase)
        amounts.append(amount)
        head_pose.append(pose)
        poses.append(act(person.actor, name, amount, strength))
        views.append(_view(person, name, pose, side, wander, recorded))
    n = len(person.studio.rig.template.vertices)
    return Filmed(
        np.array(amounts),
        np.array(head_pose),
        poses,
        np.array([pose.skin[:n] for pose in poses]),
        lights,
        views,
        np.array([pose.lips_closed for pose in poses]),
    )


def _view(person: Person, name: str, pose: Floats, side: int, wander: Floats, recorded: bool) -> View:
    marks = person.actor.neutral[person.studio.rig.landmarks]
    s = person.studio.rig.scale
    depth = recorded or name in DEPTH
    if name != "turned" and not depth:
        # behind and above: straight lines from there meet the chin's underside and the neck too
        centre = np.array([0.0, marks[27, 1] + 14 * s, marks[27, 2] - 330 * s])
        return View(centre, np.eye(3), side=side if name == "half" else 0)
    # a camera that stands before the head, whatever way it is turned
    head = pose[:3, 3] + pose[:3, :3] @ (marks[27] * [0.0, 1.0, 0.5])
    away = recorder.AWAY_MM if recorded else DEPTH_CAMERA_MM if depth else CAMERA_MM
    eye = np.array([head[0] + wander[0] * 5, head[1] + wander[1] * 5, head[2] + away])
    towards = (eye - head) / np.linalg.norm(eye - head)
    right = np.cross([0.0, 1.0, 0.0], towards)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.asarray(np.cross(towards, right), np.float64), towards])
    back = inverse(pose)
    return View(transform(back, eye), axes @ pose[:3, :3], around=False, depth=depth)


def scan_frame(
    person: Person, name: str, filmed: Filmed, k: int, triangles: int, photo_px: tuple[int, int]
) -> Scan:
    """Scan one frame; everything in the head's frame."""
    rng = person.rng(name, k, "scan")
    studio = person.studio
    rig, pose, view = studio.rig, filmed.poses[k], filmed.views[k]
    face = filmed.faces[k]
    scene, look = _scene(person, name, pose, k)
    measured = measure(scene, view, round(triangles * rng.uniform(1.03, 1.17)), rng)
    cameras = _cameras(person, filmed, k, photo_px)
    pictures = photograph(
        scene, look, cameras, filmed.lights[k], filmed.head_pose[k], person.rng(name, k, "photo")
    )

    core = np.flatnonzero(studio.core)
    seen = np.ones(len(measured.vertices), bool)
    for radius in (rng.uniform(2.0, 5.0), rng.uniform(1.5, 4.0)):
        hole = face[rng.choice(core)]
        seen &= np.linalg.norm(measured.vertices - hole, axis=1) > radius * rig.scale
    mesh, new = keep_triangles(
        Mesh(measured.vertices, measured.faces), np.asarray(seen[measured.faces].all(axis=1))
    )
    old = np.flatnonzero(new >= 0)
    _, piece = components(mesh.faces, len(mesh.vertices))
    large = np.bincount(piece, minlength=1)[piece] > SMALLEST_PIECE
    mesh, again = keep_triangles(mesh, np.asarray(large[mesh.faces].all(axis=1)))
    old = old[again >= 0]
    kept = Measured(
        mesh.vertices, mesh.faces, measured.kinds[old], measured.triangles[old], measured.towards[old]
    )
    skin_only = on_skin(kept)
    valid = _valid(kept, skin_only, face, rig, scene.surface, view)
    clean, faces, speck = with_specks(
        kept.vertices, kept.faces, vertex_normals(kept.vertices, kept.faces), rng
    )
    noisy = clean.copy()
    noisy[: len(old)] += noise(kept, view, rng)
    spike = (rng.random(len(clean)) < SPIKES) & ~speck
    height = rng.uniform(*SPIKE_MM, len(clean)) * rng.choice([-1.0, 1.0], len(clean))
    towards = view.towards(clean)
    noisy[spike] += (height[:, None] * towards)[spike]
    region = np.zeros(len(clean), bool)
    region[: len(old)] = skin_only
    region &= ~spike & (distance_to(face[rig.rim], clean) > 2.0 * rig.scale)
    uv, uv_faces = best_camera_uv(clean, faces, cameras, scene.surface)
    return Scan(Mesh(noisy, faces, uv, uv_faces), pictures, region, valid)


def record_sequence(
    person: Person, name: str, filmed: Filmed, camera: recorder.Recorder
) -> Iterator[recorder.Taken]:
    """What a depth camera takes of a sequence, one moment after the other."""
    for k in range(len(filmed.amounts)):
        rng = person.rng(name, k, "record")
        view = filmed.views[k]
        scene, look = _scene(person, name, filmed.poses[k], k)
        depth, valid = recorder.measure_depth(scene, view, camera, filmed.faces[k], rng)
        picture = photograph(
            scene,
            look,
            [recorder.color_view(view, camera)],
            filmed.lights[k],
            filmed.head_pose[k],
            person.rng(name, k, "photo"),
        )
        yield recorder.Taken(depth, recorder.through_lens(picture, camera.color), valid)


def _scene(person: Person, name: str, pose: Pose, k: int) -> tuple[Scene, Look]:
    studio, actor = person.studio, person.actor
    rng = person.rng(name, k, "scene")
    gaze = person.rng(name, "gaze").uniform(-4, 4, 2) + rng.normal(scale=0.8, size=2)
    parts = [
        eyeball(eye, (gaze[0], gaze[1]), person.iris, person.rng("eye", i))
        for i, eye in enumerate(actor.eyes)
    ]
    if not pose.lips_closed:
        parts += mouth_parts(actor, pose, person.rng("mouth"))
    parts += person.wear.shells
    if person.beard is not None:
        parts.append(person.beard.on(actor, pose))
    vertices, faces, colors, kinds = joined(parts)
    n = len(pose.skin)
    drop = studio.eyeball
    skin_faces = studio.fine.faces[~drop]
    skin_kinds = np.where(studio.lining[~drop], LINING, SKIN).astype(np.int8)
    everything = np.concatenate([pose.skin, vertices])
    all_faces = np.concatenate([skin_faces, faces + n]).astype(np.int32)
    surface = Surface(everything, all_faces)
    scene = Scene(everything, all_faces, np.concatenate([skin_kinds, kinds]), surface)
    normals = vertex_normals(everything, all_faces)
    coarse = len(actor.neutral)
    some = np.concatenate([np.arange(coarse), np.arange(n, len(everything))])
    free = openness(everything[some], normals[some], surface, person.rng("rays"))
    free = np.concatenate([studio.fine.interpolate(free[:coarse]), free[coarse:]])
    uv = np.zeros((len(everything), 2))
    uv[:n] = studio.fine.interpolate(person.skin.uv)
    tints = np.concatenate([np.zeros((n, 3)), colors])
    cover = np.zeros(len(everything))
    # creases are dark, as dirt and shadow make them
    depth = actor.relief.of(name, 1.0)
    cover[:n] = np.clip(-depth / 1.6, 0, 0.45)
    tints[:n] = person.tone * 0.55
    return scene, Look(tints, uv, cover, person.skin.albedo, free)


def _cameras(person: Person, filmed: Filmed, k: int, photo_px: tuple[int, int]) -> list[Camera]:
    view = filmed.views[k]
    if view.around:
        cameras = cameras_for(filmed.faces[0][person.studio.rig.landmarks], photo_px, person.studio.rig.scale)
        return [cameras[0 if view.side < 0 else 1]] if view.side else cameras
    marks = person.actor.neutral[person.studio.rig.landmarks]
    away = float(np.linalg.norm(view.place - marks[27]))
    target = view.place - away * view.axes[2]
    return [Camera(target, view.axes, photo_px[0] / (250.0 * person.studio.rig.scale), photo_px, away)]


def _valid(kept: Measured, skin: Bools, face: Floats, rig: Rig, surface: Surface, view: View) -> Bools:
    """(V,) where the scan has data: near, and not behind something that hides it."""
    triangles = kept.faces[skin[kept.faces].all(axis=1)]
    if not len(triangles):
        return np.zeros(len(face), bool)
    near = Surface(kept.vertices, triangles).distance(face) < VALID_MM
    normals = vertex_normals(face, rig.template.faces)
    towards = view.towards(face)
    index = np.flatnonzero(near)
    near[index] = ~surface.occluded(
        face[index] + 0.15 * normals[index] + 0.15 * towards[index], towards[index]
    )
    return np.asarray(near)


def scan_sequence(
    person: Person, name: str, filmed: Filmed, triangles: int, photo_px: tuple[int, int]
) -> Iterator[Scan]:
    """The scans of a sequence, one after the other."""
    px = (round(photo_px[0] * person.share), round(photo_px[1] * person.share))
    for k in range(len(filmed.amounts)):
        yield scan_frame(person, name, filmed, k, triangles, px)


def more_truth(studio: Studio, filmed: Filmed) -> dict[str, NDArray[Any]]:
    """What the truth of a sequence has in addition, in the scan's frame; see the module."""
    lines: dict[str, list[Floats]] = {}
    for matrix, face in zip(filmed.head_pose, filmed.faces, strict=True):
        for name, points in studio.features.of(face).items():
            lines.setdefault(name, []).append(transform(matrix, points))
    return {"lips_closed": filmed.lips_closed, **{n: np.array(v, np.float32) for n, v in lines.items()}}


def subjects_table(people: list[Person]) -> bytes:
    """subjects.csv: the ages and sexes that were made."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["subject", "age", "gender", "ethnicity", "consent"])
    for person in people:
        group = str(person.rng("table").choice(["asian", "black", "mixed", "other", "white"]))
        table.writerow(
            [person.subject, person.who.age, "female" if person.who.female else "male", group, "yes"]
        )
    return text.getvalue().encode()
