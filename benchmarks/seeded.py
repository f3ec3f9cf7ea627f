"""Bad results among good ones: does the report show each on its first page, and say what is wrong with it?

A corpus of people of `synth` is run, and in copies of its workspace single sequences are spoiled, of the captures
(other files) or of the fit (register's vertices are moved just before they are assessed); what follows is run again,
and the index of the report is read.  Nothing of this tunes the bounds: these come from the corpus unspoiled.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from cases import SYNTH_VERTICES, Captures, resized

from mimicme.commands.report.ranking import sequence_badness
from mimicme.commands.report.records import ItemRecord, read_item
from mimicme.commands.synth import synthesise
from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import GROUPS, MIRROR, Landmarks
from mimicme.pipeline.landmarks.files import read_landmarks, write_landmarks
from mimicme.pipeline.run.runner import RunOptions
from mimicme.pipeline.run.runner import run as run_stages
from mimicme.pipeline.template import Template, prepare
from mimicme.pipeline.workspace import Workspace
from mimicme.stages import STAGES
from mimicme.stages.register import assessment
from mimicme.stages.register.assessment import Evidence
from mimicme.stages.register.frame import Frame, Registered
from mimicme.stages.register.person import Person
from mimicme.stages.register.quality import LandmarkChecks
from mimicme.stages.register.regions import ears
from mimicme.stages.register.targets import ScanTarget

PEOPLE, SEQUENCES, FRAMES, SEED = 20, 5, 3, 21
SETS = ("run.preset=fast", "bake.size=256")
FIRST_PAGE = 50
"""Rows of the index's first page (report.js, PER_PAGE)."""
AT_REST = "neutral"

Record = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Fault:
    """A way to be bad.

    Attributes:
        reasons: codes of which one must stand beside the sequence in the index.
        files: spoils the files of a frame; given the folder, its stem, and what is true: head pose (4, 4) and
            landmarks (68, 3).
        fit: moves registered vertices (V, 3), canonical, mm.
        at_rest: whether it is done to a subject's neutral; else to another sequence.
    """

    reasons: tuple[str, ...]
    files: Callable[[Path, str, Floats, Floats], None] | None = None
    fit: Callable[[Template, Floats], Floats] | None = None
    at_rest: bool = False


# ------------------------------------------------------------------------------------------------ captures spoiled


def swapped_landmarks(folder: Path, stem: str, head: Floats, marks: Floats) -> None:
    """Every left landmark has the name of its right one."""
    _rewrite_landmarks(folder / f"{stem}.ljson", lambda points: points[MIRROR])


def low_mouth(folder: Path, stem: str, head: Floats, marks: Floats) -> None:
    """The mouth's landmarks lie 9 mm too low: lips are fitted to the chin."""
    _rewrite_landmarks(folder / f"{stem}.ljson", lambda points: points + 9.0 * _group("mouth") * -head[:3, 1])


def wrong_unit(folder: Path, stem: str, head: Floats, marks: Floats) -> None:
    """The last frame alone was exported in inches."""
    if stem != max(path.stem for path in folder.glob("*.obj")):
        return
    _rewrite_vertices(folder / f"{stem}.obj", lambda vertices: vertices / 25.4)
    _rewrite_landmarks(folder / f"{stem}.ljson", lambda points: points / 25.4)


def empty_texture(folder: Path, stem: str, head: Floats, marks: Floats) -> None:
    """The image is all grey: it was exported before the cameras were read."""
    from PIL import Image

    path = folder / f"{stem}.jpg"
    with Image.open(path) as image:
        size = image.size
    _replace(path, lambda new: Image.new("RGB", size, (128, 128, 128)).save(new, format="JPEG", quality=90))


def hair_on_face(folder: Path, stem: str, head: Floats, marks: Floats) -> None:
    """A strand of dark, rough hair, 4 mm thick, lies over a cheek."""
    from PIL import Image, ImageDraw

    path = folder / f"{stem}.obj"
    local = transform(inverse(head), marks)
    lines = path.read_text().splitlines()
    uv = np.array([line.split()[1:3] for line in lines if line.startswith("vt ")], float)
    corners = [line.split()[1:] for line in lines if line.startswith("f ")]
    triangles = np.array([[[int(n) - 1 for n in c.split("/")[:2]] for c in corner] for corner in corners])
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    there = transform(inverse(head), vertices)
    inner, outer = local[36, 0], local[1, 0]
    under = (
        (there[:, 0] < (inner + local[39, 0]) / 2)
        & (there[:, 0] > outer)
        & (there[:, 1] > local[4, 1])
        & (there[:, 1] < local[41, 1] + 4)
    )
    under &= there[:, 2] > local[1, 2] - 10
    rng = np.random.default_rng(len(vertices))
    raised = (
        vertices
        + np.where(under[:, None], (4 + rng.normal(scale=0.7, size=(len(there), 1))), 0) * head[:3, 2]
    )
    _rewrite_vertices(path, lambda _: raised)
    with Image.open(folder / f"{stem}.jpg") as opened:
        image = opened.convert("RGB")
    draw, (width, height) = ImageDraw.Draw(image), image.size
    for triangle in triangles[under[triangles[:, :, 0]].all(axis=1)]:
        corner = uv[triangle[:, 1]] * [width, -height] + [0, height]
        shade = int(rng.integers(15, 45))
        draw.polygon([tuple(point) for point in corner], fill=(shade + 8, shade + 3, shade))
    _replace(folder / f"{stem}.jpg", lambda new: image.save(new, format="JPEG", quality=90))


def half_face(folder: Path, stem: str, head: Floats, marks: Floats) -> None:
    """The subject's left half was not seen: the triangles there are missing, its landmarks are given all the same."""
    middle = transform(inverse(head), marks)[27:31, 0].mean() + 4
    _cut(folder / f"{stem}.obj", lambda vertices: transform(inverse(head), vertices)[:, 0] > middle)


def cut_mouth(folder: Path, stem: str, _head: Floats, marks: Floats) -> None:
    """The mouth is a hole, 3 mm wider than the lips; its landmarks are given all the same."""
    lips = marks[48:60]
    middle, reach = lips.mean(axis=0), np.linalg.norm(marks[54] - marks[48]) / 2 + 3.0
    _cut(folder / f"{stem}.obj", lambda vertices: np.linalg.norm(vertices - middle, axis=1) < reach)


def _cut(path: Path, lost: Callable[[Floats], Bools]) -> None:
    """An OBJ without the triangles of lost vertices: of (n, 3), True (n,)."""
    lines = path.read_text().splitlines()
    gone = lost(np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float))

    def kept(line: str) -> bool:
        return not (
            line.startswith("f ") and any(gone[int(corner.split("/")[0]) - 1] for corner in line.split()[1:])
        )

    _replace(path, lambda new: new.write_text("\n".join(filter(kept, lines)) + "\n"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Files of the copies are links to the corpus' own."""
    new = path.with_name(f".{path.name}.new")
    write(new)
    os.replace(new, path)


def _rewrite_landmarks(path: Path, change: Callable[[Floats], Floats]) -> None:
    points = change(read_landmarks(path.read_bytes(), path.name).points)
    _replace(path, lambda new: new.write_bytes(write_landmarks(Landmarks(points), path.name)))


def _rewrite_vertices(path: Path, change: Callable[[Floats], Floats]) -> None:
    lines = path.read_text().splitlines()
    rows = [k for k, line in enumerate(lines) if line.startswith("v ")]
    changed = change(np.array([lines[k].split()[1:4] for k in rows], float))
    for k, place in zip(rows, changed, strict=True):
        lines[k] = " ".join(["v", *(f"{x:.12g}" for x in place)])
    _replace(path, lambda new: new.write_text("\n".join(lines) + "\n"))


def _group(name: str) -> Floats:
    """(68, 1) 1 in a group of landmarks."""
    mask = np.zeros((68, 1))
    mask[GROUPS[name]] = 1
    return mask


# ------------------------------------------------------------------------------------------------------ fits spoiled


def open_mouth(template: Template, vertices: Floats) -> Floats:
    """The lower lip and what is below it lie 7 mm lower, on a face whose mouth is shut."""
    rest, marks = template.vertices, template.landmarks()
    seam = np.polynomial.Polynomial.fit(marks[60:68, 0], marks[60:68, 1], 2)
    below = seam(rest[:, 0]) - rest[:, 1]
    lip = (below > 0) & (np.abs(rest[:, 0] - marks[62, 0]) < np.ptp(marks[[60, 64], 0]) / 2)
    weight = np.where(lip, np.exp(-(np.maximum(below - 8, 0) ** 2) / 200), 0.0)
    weight *= rest[:, 2] > marks[48:60, 2].min() - 12
    return vertices - weight[:, None] * [0, 7.0, 0]


def folded_lid(template: Template, vertices: Floats) -> Floats:
    """The rim of an upper lid is pulled up by 7 mm, over the lid above it."""
    weight = _near(template, [37, 38], 3.5)
    return vertices + weight[:, None] * [0, 7.0, 1.0]


def shut_lids(template: Template, vertices: Floats) -> Floats:
    """The upper lids lie on the lower ones, though the eyes are open."""
    marks = template.landmarks(vertices)
    for upper, lower in (((37, 38), (41, 40)), ((43, 44), (47, 46))):
        gap = (marks[list(upper)] - marks[list(lower)]).mean(axis=0)
        rest = template.vertices
        above = rest[:, 1] > template.landmarks()[[*upper, *lower], 1].mean() + 1.0
        weight = np.where(above, _near(template, list(upper), 9.0, 5.0), 0.0)
        vertices = vertices - weight[:, None] * gap
    return vertices


def drifted_cheek(template: Template, vertices: Floats) -> Floats:
    """A cheek has slid 9 mm down along the surface."""
    marks = template.landmarks()
    inside = marks[[2, 31, 48]].mean(axis=0)
    middle = template.vertices[np.linalg.norm(template.vertices - inside, axis=1).argmin()]
    weight = np.exp(-(((template.vertices - middle) ** 2).sum(axis=1)) / 22**2)
    return _slid(template, vertices, weight[:, None] * [0, -9.0, 0])


def askew_mouth(template: Template, vertices: Floats) -> Floats:
    """The mouth has slid 9 mm to a side, along the surface."""
    return _slid(template, vertices, _near(template, range(48, 60), 14.0, 6.0)[:, None] * [9.0, 0, 0])


def draped_ear(template: Template, vertices: Floats) -> Floats:
    """Both ears hang back and down over hair, by up to 15 mm."""
    masks = ears(template.vertices, template.faces, template.landmarks())
    for mask in masks.T:
        own = mask > 0
        if own.any():
            height = template.vertices[:, 1] - template.vertices[own, 1].min()
            share = mask * np.clip(height / max(np.ptp(template.vertices[own, 1]), 1.0), 0, 1)
            vertices = vertices + share[:, None] * [0, -4.0, -15.0]
    return vertices


def _near(template: Template, rows: Sequence[int], width: float, flat: float = 0.0) -> Floats:
    """(V,) 1 within `flat` mm of landmarks, and down to 0 over `width` mm, at rest."""
    from scipy.spatial import cKDTree

    away = cKDTree(template.landmarks()[list(rows)]).query(template.vertices)[0]
    return np.exp(-((np.maximum(away - flat, 0) / width) ** 2) * 2)


def _slid(template: Template, vertices: Floats, by: Floats) -> Floats:
    """Moved, and back onto the surface where that happened."""
    surface = Surface(vertices, template.faces)
    moved = np.linalg.norm(by, axis=1) > 0.05
    out = vertices.copy()
    out[moved] = surface.closest(vertices[moved] + by[moved]).points
    return out


FAULTS: dict[str, Fault] = {
    "swapped landmarks": Fault(("landmarks-mirrored",), files=swapped_landmarks),
    "mouth too low": Fault(("mouth-misplaced", "landmarks-misfit", "register-landmarks"), files=low_mouth),
    "open mouth": Fault(("lips-apart",), fit=open_mouth, at_rest=True),
    "mouth askew": Fault(("mouth-askew", "mouth-misplaced"), fit=askew_mouth),
    "folded lid": Fault(("lids-folded", "register-folded"), fit=folded_lid),
    "shut lids": Fault(("lids-shut",), fit=shut_lids),
    "wrong unit": Fault(("unit-mismatch", "landmark-scale"), files=wrong_unit),
    "drifted cheek": Fault(("cheek-slid", "texture-drifts"), fit=drifted_cheek),
    "draped ears": Fault(("ear-draped",), fit=draped_ear),
    "empty texture": Fault(("texture-empty",), files=empty_texture),
    "hair as skin": Fault(("not-skin",), files=hair_on_face),
    "mouth cut out": Fault(("part-missing",), files=cut_mouth),
    "half a face as neutral": Fault(
        ("register-half", "half-seen", "neutral-odd"), files=half_face, at_rest=True
    ),
}


# ------------------------------------------------------------------------------------------------------------ the run


def run(build: Path, seeds: Sequence[int], work: Path, jobs: int | None, say: Say) -> Record:
    """All faults, once for each seed; the record to save.  `jobs`: as in `RunOptions`."""
    corpus, base = _corpus(build, work, jobs, say)
    clean = _index(base)
    noted = _alarms(clean)
    say(f"  unspoiled: {len(clean)} sequences; with notes that count: {noted or 'none'}")
    trials: list[Record] = []
    for seed in seeds:
        trials += _trial(corpus, base, work / f"seeded-{seed}", seed, jobs, say)
    found = sum(trial["right"] and trial["rank"] <= FIRST_PAGE for trial in trials)
    say(f"  {found} of {len(trials)} on the first page with the right reason")
    return {"sequences": len(clean), "unspoiled": noted, "trials": trials, "found": found}


def _corpus(build: Path, work: Path, jobs: int | None, say: Say) -> tuple[Captures, Path]:
    """The corpus, and its workspace, made once and brought up to date."""
    folder = build / f"bench-seeded-{PEOPLE}x{SEQUENCES}x{FRAMES}"
    if not (folder / "synth.json").is_file():
        say(f"making captures in {folder} (some minutes, once)")
    template = resized(prepare("menpo3d"), SYNTH_VERTICES, layout=True)
    synthesise(folder, PEOPLE, SEQUENCES, FRAMES, SEED, template)
    base = work / "seeded"
    if not (base / "mimicme.toml").is_file():
        Workspace.create(
            base,
            captures=folder / "captures",
            template=folder / "template" / "template.obj",
            metadata=folder / "subjects.csv",
            stages=STAGES,
        )
    _run(base, RunOptions(jobs=jobs, last="intensity"))
    return Captures(folder), base


def _run(workspace: Path, options: RunOptions) -> None:
    run_stages(Workspace.open(workspace, sets=SETS), options, STAGES)


def _trial(corpus: Captures, base: Path, folder: Path, seed: int, jobs: int | None, say: Say) -> list[Record]:
    """All faults in one copy of the workspace, each in a person of its own; where each stands in the index."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(corpus.folder / "captures", folder / "captures", copy_function=os.link)
    shutil.copytree(base, folder / "ws", copy_function=_linked)
    text = (base / "mimicme.toml").read_text()
    own_captures = text.replace(str(corpus.folder / "captures"), str(folder / "captures"))
    (folder / "ws" / "mimicme.toml").write_text(own_captures)
    rng = np.random.default_rng(seed)
    subjects = sorted({name.split("/")[0] for name in corpus.sequences})
    chosen = dict(zip(FAULTS, rng.permutation(subjects)[: len(FAULTS)].tolist(), strict=True))
    places: dict[str, str] = {}
    for name, fault in FAULTS.items():
        own = [s for s in corpus.sequences if s.startswith(f"{chosen[name]}/")]
        places[name] = str(rng.choice([s for s in own if s.endswith(f"/{AT_REST}") == fault.at_rest]))
    for name, fault in FAULTS.items():
        if fault.files is not None:
            for frame in range(corpus.frames(places[name])):
                answer = corpus.case(places[name], frame).answer
                assert answer is not None
                folder_of_frames = folder / "captures" / places[name]
                fault.files(folder_of_frames, f"{frame:04d}", answer.head, answer.landmarks)
    _run(folder / "ws", RunOptions(jobs=jobs, last="intensity"))
    for name, fault in FAULTS.items():
        if fault.fit is not None:
            with _fits_moved(fault.fit):
                options = RunOptions(
                    jobs=0, first="register", last="intensity", only=(places[name],), force=True
                )
                _run(folder / "ws", options)
    rows = _index(folder / "ws")
    ranks = {str(record.item): k + 1 for k, record in enumerate(rows)}
    records = {str(record.item): record for record in rows}
    trials = []
    for name, fault in FAULTS.items():
        record = records[places[name]]
        why = sequence_badness(record).why
        right = any(code in why for code in fault.reasons)
        trials.append(
            {"seed": seed, "fault": name, "item": places[name], "rank": ranks[places[name]], "why": why}
        )
        trials[-1]["right"] = right
        say(
            f"  {seed:3d} {name:<24}{places[name]:<18}rank {ranks[places[name]]:3d} "
            f"{'right' if right else 'WRONG'}  {why}"
        )
    return trials


def _linked(source: str, target: str) -> None:
    """Checkpoints are replaced and never written to: links will do; logs are written to."""
    (os.link if source.endswith(".h5") else shutil.copy2)(source, target)


@contextmanager
def _fits_moved(move: Callable[[Template, Floats], Floats]) -> Iterator[None]:
    """Inside, register's vertices are moved before they are assessed, once a frame."""
    judge = assessment.assessed
    moved: set[int] = set()

    def spoiled(
        person: Person,
        frame: Frame,
        vertices: Floats,
        pose: Floats,
        checks: LandmarkChecks,
        evidence: Evidence,
        unsaid: Collection[str],
    ) -> Registered:
        if frame.number not in moved:
            moved.add(frame.number)
            vertices = move(person.setup.template, np.asarray(vertices, np.float64))
            # what is seen between the lips was measured before
            scan = ScanTarget(transform(inverse(pose), frame.vertices), frame.faces)
            evidence = evidence._replace(mouth=assessment.seen_mouth(person.setup, vertices, scan))
        return judge(person, frame, vertices, pose, checks, evidence, unsaid)

    with mock.patch.object(assessment, "assessed", spoiled):
        yield


def _index(workspace: Path) -> list[ItemRecord]:
    """The records of all sequences, in the order of the report's index."""
    from mimicme.commands.report.index import order

    opened = Workspace.open(workspace, sets=SETS)
    return order([read_item(opened, sequence, STAGES) for sequence in opened.sequences()])


def _alarms(records: Sequence[ItemRecord]) -> dict[str, int]:
    """How many sequences have each note that counts, by code."""
    from mimicme.commands.report.ranking import suspicious

    found: dict[str, int] = {}
    for record in records:
        for code in {code for frame in record.frames if frame.ok for code in suspicious(frame)}:
            found[code] = found.get(code, 0) + 1
    return dict(sorted(found.items()))
