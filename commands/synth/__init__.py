"""Synthetic captures with ground truth: faces that nobody has, scanned by a simulated scanner.

Writes, in millimetres:

    DIR/captures/<subject>/<sequence>/<frame>.obj .mtl .jpg .ljson   a scan, two photographs, 68 points with
                                                                     1 mm noise
    DIR/template/template.obj .ljson      the template and its 68 points, on vertices
    DIR/truth/<subject>/<sequence>.npz    ground truth of each frame; see `write_truth`
    DIR/subjects.csv                      subject, age, gender, ethnicity, consent
    DIR/synth.json                        the parameters

A sequence runs neutral - apex - neutral over an odd number of frames; `neutral` is one frame.  The faces are
smooth deformations of the template (`people`), the scans are made by `scanner`, the skin by `skin`; nobody is
portrayed.  The same parameters give the same bytes; a run that was interrupted goes on where it stopped.

The second maker, `people_maker`, writes the same, closer to scans of real people, and only judges.  In place of
scans it writes recordings of a depth camera on demand (`recorder`):

    DIR/captures/<subject>/<sequence>/rgbd.toml, depth/<frame>.png, color/<frame>.jpg, depth/<frame>.ljson
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mimicme.commands.synth.people import EXPRESSIONS, Rig, build_rig, identity
from mimicme.commands.synth.scanner import Scan, head_rotation, make_remesh, make_scan
from mimicme.commands.synth.skin import Skin, make_skin
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.template import Template, prepare, template_source_digest
from mimicme.pipeline.whole_file import write_whole

if TYPE_CHECKING:
    from mimicme.commands.synth.people_maker import Person

__all__ = ["EXPRESSIONS", "MAKERS", "Motion", "make_motion", "synthesise"]

MAKERS = ("template", "people")

# raised when the same parameters give other captures
VERSION = 1
LANDMARK_NOISE_MM = 1.0
JPEG_QUALITY = 90
TRIANGLES = 80_000
PHOTO_PX = (704, 512)
SKIN_PX = 1024
# what one triangle of a small template becomes at least
FINER_THAN_TEMPLATE = 1.5

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Motion:
    """A sequence before the scanner: who, what, and where the head is.

    Attributes:
        amounts: (F,) 0 neutral, 1 apex.
        head_pose: (F, 4, 4) model -> scan.
        faces: (F, V, 3) mm in the model's frame, the template truly registered.
    """

    amounts: Floats
    head_pose: Floats
    faces: Floats


def synthesise(
    directory: Path,
    subjects: int = 2,
    sequences: int | Sequence[str] = 5,
    frames: int = 9,
    seed: int = 0,
    template: str | Path | Template = "menpo3d",
    progress: Progress | None = None,
    triangles: int | None = None,
    maker: str = "template",
    rgbd_mm: float | None = None,
    beards: bool = False,
) -> None:
    """Write synthetic captures.

    Args:
        directory: empty or absent; or left by an earlier run with the same parameters, which then goes on.
        sequences: how many of `EXPRESSIONS`, in its order, or their names; `people` also knows `acting.ON_REQUEST`.
        frames: frames of an expression, odd: the middle one is the apex.
        seed: another seed makes other people, motion, noise and holes.
        template: as in `mimicme init --template`, or one that is prepared already.
        progress: called with frames done, frames in all, and what was made; with 0 before anything is.
        triangles: of a scan, about; by default 80,000, fewer for a small template.
        maker: of `MAKERS`; `people` only judges.
        rgbd_mm: recordings of a depth camera with so much noise, in place of scans; of `people` alone.
        beards: grown men have a beard, and all else is as without; of `people` alone.

    Raises:
        UsageError: a parameter is out of range, or the folder holds something else.
        InputError: the template cannot be used.
    """
    names = _checked(subjects, sequences, frames, maker, rgbd_mm, beards)
    digest = template.digest if isinstance(template, Template) else template_source_digest(template)
    record = _record(subjects, names, frames, seed, digest, triangles, maker, rgbd_mm, beards)
    if _claim(directory, record):
        return
    counts = {name: 1 if name == "neutral" else frames for name in names}
    if progress:
        progress(0, subjects * sum(counts.values()), "first the template is made ready ...")
    prepared = template if isinstance(template, Template) else prepare(template)
    make = _synthesise_people if maker == "people" else _synthesise_template
    make(directory, record, prepared, counts, progress)


def _checked(
    subjects: int,
    sequences: int | Sequence[str],
    frames: int,
    maker: str,
    rgbd_mm: float | None,
    beards: bool,
) -> list[str]:
    """Names of the sequences; see `synthesise` for the rest.

    Raises:
        UsageError: a parameter is out of range, or does not go with another.
    """
    if maker not in MAKERS:
        raise UsageError("that maker is not known", seen=maker, expected=" or ".join(MAKERS))
    if rgbd_mm is not None and (maker != "people" or not 0 <= rgbd_mm <= 20):
        seen = f"{maker}, {rgbd_mm:g} mm"
        raise UsageError(
            "recordings are made by the maker `people`, with 0 to 20 mm of noise",
            seen=seen,
            todo="Add --maker people.",
        )
    if beards and maker != "people":
        raise UsageError("the maker `people` alone makes beards", seen=maker, todo="Add --maker people.")
    names = _names(sequences, maker)
    if frames < 3 or frames % 2 == 0:
        raise UsageError(
            "the number of frames is odd, with the apex in the middle", seen=frames, expected="3, 5, 7, ..."
        )
    if subjects < 1:
        raise UsageError("there is at least one subject", seen=subjects, expected="1 or more")
    return names


def _record(
    subjects: int,
    names: list[str],
    frames: int,
    seed: int,
    template: str,
    triangles: int | None,
    maker: str,
    rgbd_mm: float | None,
    beards: bool,
) -> dict[str, Any]:
    """What `synth.json` keeps: captures that are made from the same are the same.

    Args:
        template: its digest.
    """
    record: dict[str, Any] = {
        "version": VERSION,
        "subjects": subjects,
        "sequences": names,
        "frames": frames,
        "seed": seed,
        "template": template,
        "triangles": triangles,
    }
    if maker != "people":
        return record
    from mimicme.commands.synth.people_maker import VERSION as PEOPLE_VERSION

    recorded = {} if rgbd_mm is None else {"rgbd_mm": rgbd_mm}
    return {
        **record,
        "version": PEOPLE_VERSION,
        "maker": maker,
        **recorded,
        **({"beards": True} if beards else {}),
    }


def _synthesise_template(
    directory: Path,
    record: dict[str, Any],
    template: Template,
    counts: Mapping[str, int],
    progress: Progress | None,
) -> None:
    """The first maker, with the parameters of `record`, and frames by sequence."""
    rig = build_rig(template, list(counts))
    triangles = _triangles_for(rig.template) if record["triangles"] is None else record["triangles"]
    share = _share(triangles)
    _write_template(directory / "template", rig)
    people = [f"S{i:03d}" for i in range(record["subjects"])]
    _write_subjects(directory / "subjects.csv", people, record["seed"])
    done, total = 0, len(people) * sum(counts.values())
    for subject in people:
        person = _Person(rig, subject, record["seed"], share)
        for name, count in counts.items():
            if not _truth_path(directory, subject, name).is_file():
                for k in _write_sequence(directory, person, name, count, triangles):
                    if progress:
                        progress(done + k + 1, total, f"{subject}/{name} frame {k}")
            done += count
    write_whole(directory / "synth.json", json.dumps({**record, "complete": True}, indent=1).encode())


def _synthesise_people(
    directory: Path,
    record: dict[str, Any],
    template: Template,
    counts: Mapping[str, int],
    progress: Progress | None,
) -> None:
    """The second maker, with the parameters of `record`, and frames by sequence."""
    from mimicme.commands.synth import people_maker as maker

    triangles = record["triangles"] or _triangles_for(template)
    studio = maker.build_studio(template, list(counts), triangles)
    _write_template(directory / "template", studio.rig)
    share = _share(triangles)
    people = [
        maker.Person(studio, f"S{i:03d}", i, record["seed"], share, SKIN_PX, record.get("beards", False))
        for i in range(record["subjects"])
    ]
    write_whole(directory / "subjects.csv", maker.subjects_table(people))
    total, done = len(people) * sum(counts.values()), 0
    for person in people:
        for name, count in counts.items():
            truth = _truth_path(directory, person.subject, name)
            if not truth.is_file() and record.get("rgbd_mm") is not None:
                for k in _write_recording(directory, person, name, count, record["rgbd_mm"]):
                    if progress:
                        progress(done + k + 1, total, f"{person.subject}/{name} frame {k}")
            elif not truth.is_file():
                filmed = maker.film(person, name, count)
                motion = Motion(filmed.amounts, filmed.head_pose, filmed.faces)
                scans = []
                for k, scan in enumerate(maker.scan_sequence(person, name, filmed, triangles, PHOTO_PX)):
                    path = directory / "captures" / person.subject / name / f"{k:04d}.obj"
                    absent = ~scan.valid[studio.rig.landmarks] if name in ("half", "turned") else None
                    _write_frame(path, studio.rig, motion, k, scan, person.rng(name, k, "marks"), absent)
                    scans.append(scan)
                    if progress:
                        progress(done + k + 1, total, f"{person.subject}/{name} frame {k}")
                valid, more = [s.valid for s in scans], maker.more_truth(studio, filmed)
                write_truth(truth, studio.rig, motion, valid, _regions(scans), studio.core, more)
            done += count
    write_whole(directory / "synth.json", json.dumps({**record, "complete": True}, indent=1).encode())


def _write_recording(
    directory: Path, person: Person, name: str, count: int, noise_mm: float
) -> Iterator[int]:
    """Record a person's sequence; yields the number of each frame that is written.  The truth is written last."""
    from mimicme.commands.synth import people_maker as maker
    from mimicme.commands.synth import recorder

    studio = person.studio
    camera = recorder.phone(noise_mm, person.share)
    filmed = maker.film(person, name, count, recorded=True)
    scan_from_head = np.array([recorder.scan_from_head(view) for view in filmed.views])
    motion = Motion(filmed.amounts, scan_from_head, filmed.faces)
    folder = directory / "captures" / person.subject / name
    recorder.write_recipe(folder, camera)
    valid = []
    for k, taken in enumerate(maker.record_sequence(person, name, filmed, camera)):
        recorder.write_taken(folder, k, taken)
        absent = ~taken.valid[studio.rig.landmarks] if name == "turned" else None
        marks = folder / "depth" / f"{k:04d}.ljson"
        _write_landmarks(marks, studio.rig, motion, k, person.rng(name, k, "marks"), absent)
        valid.append(taken.valid)
        yield k
    more = maker.more_truth(studio, replace(filmed, head_pose=scan_from_head))
    no_region = np.zeros((count, 0), bool)
    write_truth(
        _truth_path(directory, person.subject, name),
        studio.rig,
        motion,
        valid,
        no_region,
        studio.core,
        more,
    )


def _triangles_for(template: Template) -> int:
    return min(TRIANGLES, max(6_000, round(FINER_THAN_TEMPLATE * len(template.faces))))


def _share(triangles: int) -> float:
    """Small scans come from small cameras."""
    return float(np.clip(np.sqrt(triangles / TRIANGLES), 0.3, 1.0))


@dataclass(frozen=True)
class _Person:
    """Who stands before the scanner; face and skin are made when they are first needed."""

    rig: Rig
    subject: str
    seed: int
    share: float
    """Size of the cameras' pictures and of the skin's, 1 for a full scan."""

    @cached_property
    def neutral(self) -> Floats:
        return identity(self.rig, self.rng("identity"))

    @cached_property
    def skin(self) -> Skin:
        return make_skin(self.rig, self.rng("skin"), round(SKIN_PX * self.share))

    def rng(self, *what: str | int) -> np.random.Generator:
        return _rng(self.seed, self.subject, *what)


def _write_sequence(directory: Path, person: _Person, name: str, count: int, triangles: int) -> Iterator[int]:
    """Scan a person's sequence; yields the number of each frame that is written.  The truth is written last."""
    rig = person.rig
    photo_px = (round(PHOTO_PX[0] * person.share), round(PHOTO_PX[1] * person.share))
    motion = make_motion(rig, person.neutral, name, count, person.rng(name, "motion"))
    remesh = make_remesh(rig, triangles // 2, person.rng(name, "net"))
    scans = []
    for k in range(count):
        rng = person.rng(name, k)
        scan = make_scan(rig, motion.faces[k], person.skin, remesh, rng, triangles, photo_px)
        path = directory / "captures" / person.subject / name / f"{k:04d}.obj"
        _write_frame(path, rig, motion, k, scan, rng)
        scans.append(scan)
        yield k
    truth = _truth_path(directory, person.subject, name)
    write_truth(truth, rig, motion, [s.valid for s in scans], _regions(scans))


def _truth_path(directory: Path, subject: str, name: str) -> Path:
    return directory / "truth" / subject / f"{name}.npz"


def make_motion(rig: Rig, neutral: Floats, name: str, frames: int, rng: np.random.Generator) -> Motion:
    """A person's (V, 3) face goes to the apex of an expression and back, while the head drifts.

    One frame is the neutral face, whatever the expression.
    """
    strength = rng.uniform(0.85, 1.0)
    turn, place = rng.uniform(-8, 8, 3), rng.uniform(-40, 40, 3)
    swing, drift = rng.uniform(-4, 4, 3), rng.uniform(-5, 5, 3)
    phase = rng.uniform(0, 2 * np.pi, 3)
    amounts, poses, faces = [], [], []
    for k in range(frames):
        along = k / max(frames - 1, 1)
        amount = np.sin(np.pi * along) ** 2 if frames > 1 else 0.0
        pose = np.eye(4)
        pose[:3, :3] = head_rotation(turn + swing * np.sin(np.pi * along + phase))
        pose[:3, 3] = place + drift * along * 2 + np.sin(2 * np.pi * along + phase)
        amounts.append(amount)
        poses.append(pose)
        faces.append(rig.express(neutral, name, amount, strength))
    return Motion(np.array(amounts), np.array(poses), np.array(faces))


def write_truth(
    path: Path,
    rig: Rig,
    motion: Motion,
    valid: Sequence[Bools],
    region: Bools,
    core: Bools | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write the ground truth of one sequence, in the scan's frame (mm).

    vertices (F, V, 3) f4; valid (F, V) bool; core (V,) bool; landmarks (F, 68, 3) f4; region (F, n) bool, per
    `v` line of the frame's OBJ, padded with False; head_pose (F, 4, 4) f8 model -> scan; amount (F,) f8.

    Args:
        valid: (F, V), region: (F, n) as above; a recording's n is 0.
        core: (V,) by default the rig's.
        more: further arrays by name.
    """
    placed = np.array([transform(m, v) for m, v in zip(motion.head_pose, motion.faces, strict=True)])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        vertices=placed.astype(np.float32),
        valid=np.array(valid),
        core=rig.core if core is None else core,
        landmarks=placed[:, rig.landmarks].astype(np.float32),
        region=region,
        head_pose=motion.head_pose,
        amount=motion.amounts,
        **(more or {}),
    )
    write_whole(path, buffer.getvalue())


def _regions(scans: Sequence[Scan]) -> Bools:
    region = np.zeros((len(scans), max(len(s.region) for s in scans)), bool)
    for row, scan in zip(region, scans, strict=True):
        row[: len(scan.region)] = scan.region
    return region


def _names(sequences: int | Sequence[str], maker: str) -> list[str]:
    if isinstance(sequences, int):
        if not 1 <= sequences <= len(EXPRESSIONS):
            raise UsageError(
                "that many expressions are not known", seen=sequences, expected=f"1 to {len(EXPRESSIONS)}"
            )
        return list(EXPRESSIONS)[:sequences]
    known = list(EXPRESSIONS)
    if maker == "people":
        from mimicme.commands.synth.acting import ON_REQUEST

        known += ON_REQUEST
    unknown = [name for name in sequences if name not in known]
    if unknown or not sequences:
        raise UsageError("an expression is not known", seen=unknown, expected=", ".join(known))
    return list(sequences)


def _claim(directory: Path, record: dict[str, object]) -> bool:
    """Whether the folder is complete already; marks it as ours otherwise."""
    mark = directory / "synth.json"
    if mark.is_file():
        try:
            found = json.loads(mark.read_text())
        except ValueError:
            found = {}
        if {k: v for k, v in found.items() if k != "complete"} != record:
            raise UsageError(
                "the folder holds synthetic captures with other parameters",
                where=directory,
                todo="Name another folder, or remove this one.",
            )
        if found.get("complete"):
            return True
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            "the folder is not empty", where=directory, todo="Name a folder that is empty or not there yet."
        )
    write_whole(mark, json.dumps({**record, "complete": False}, indent=1).encode())
    return False


def _rng(*names: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode()))


def _write_frame(
    path: Path,
    rig: Rig,
    motion: Motion,
    k: int,
    scan: Scan,
    rng: np.random.Generator,
    absent: Bools | None = None,
) -> None:
    """Write a scan, its photographs and its landmarks without those that are `absent` (68,)."""
    from mimicme.pipeline.formats.image import encode
    from mimicme.pipeline.formats.meshio import write_obj

    path.parent.mkdir(parents=True, exist_ok=True)
    pose = motion.head_pose[k]
    photographs = path.with_suffix(".jpg")
    photographs.write_bytes(encode(scan.photographs, "jpeg", JPEG_QUALITY))
    placed = scan.mesh.with_vertices(transform(pose, scan.mesh.vertices))
    write_obj(path, placed, image_name=photographs.name, decimals=4)
    _write_landmarks(path.with_suffix(".ljson"), rig, motion, k, rng, absent)


def _write_landmarks(
    marks: Path, rig: Rig, motion: Motion, k: int, rng: np.random.Generator, absent: Bools | None
) -> None:
    from mimicme.pipeline.landmarks import Landmarks
    from mimicme.pipeline.landmarks.files import write_landmarks

    pose = motion.head_pose[k]
    points = transform(pose, motion.faces[k][rig.landmarks])
    points = points + rng.normal(scale=LANDMARK_NOISE_MM / np.sqrt(3), size=points.shape)
    if absent is not None:
        points[absent] = np.nan
    marks.write_bytes(write_landmarks(Landmarks(np.round(points, 4)), marks.name))


def _write_template(folder: Path, rig: Rig) -> None:
    from mimicme.pipeline.formats.meshio import write_obj
    from mimicme.pipeline.landmarks import Landmarks
    from mimicme.pipeline.landmarks.files import write_landmarks

    folder.mkdir(parents=True, exist_ok=True)
    write_obj(folder / "template.obj", rig.template.mesh)
    # on vertices, so that nearest vertex and nearest surface point agree about them
    points = np.round(rig.template.vertices[rig.landmarks], 6)
    (folder / "template.ljson").write_bytes(write_landmarks(Landmarks(points), "template.ljson"))


def _write_subjects(path: Path, people: Sequence[str], seed: int) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["subject", "age", "gender", "ethnicity", "consent"])
    for subject in people:
        rng = _rng(seed, subject, "table")
        table.writerow(
            [
                subject,
                int(rng.integers(18, 80)),
                str(rng.choice(["female", "male"])),
                str(rng.choice(["asian", "black", "mixed", "other", "white"])),
                "yes",
            ]
        )
    write_whole(path, text.getvalue().encode())
