"""The commands that use a model file: they read its inputs, call the cores and write what they made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from mimicme.commands.model.fitting import FitSettings, fit_landmarks, fit_scan
from mimicme.commands.model.formats import write_mesh
from mimicme.commands.model.sheets import write_sheets
from mimicme.commands.model.use import (
    find_frame,
    interpolate,
    model_facts,
    personalise,
    project,
    reconstruct,
    sample,
    save_projection,
    transfer,
)
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.captures.units import UNITS_MM, decide_unit, gather, parse_unit, unit_of_eyes
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import MimicmeError, UsageError, counted
from mimicme.pipeline.formats.meshio import glb_bytes, read_scan
from mimicme.pipeline.geometry.cleaning import weld
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import eye_distance
from mimicme.pipeline.landmarks.files import EXTENSIONS, read_landmarks
from mimicme.pipeline.landmarks.npy import is_landmarks
from mimicme.pipeline.model_file import Blendshapes, FaceModel, read_model
from mimicme.pipeline.release.frames import ReleaseFrames, Rows
from mimicme.pipeline.whole_file import refuse_existing, refuse_input

MAX_MESH_BYTES = 1 << 30


def info_lines(path: Path, subject: str = "") -> list[str]:
    """What is in a model file; with a subject, whether that person's face went into it.

    Raises:
        UsageError: the subject's did not.
    """
    facts = model_facts(read_model(path, stale_too=True))
    if subject:
        if subject not in facts["subjects"]:
            raise UsageError(f"the model was not built from '{subject}'", where=path)
        return [
            f"{path}: built from {counted(len(facts['subjects']), 'subject')}, '{subject}' among them: build it again."
        ]
    lines = [f"It must not be used any more: {facts['stale']}."] if "stale" in facts else []
    lines += [
        f"template {facts['template'] or 'without a name'}, {counted(facts['vertices'], 'vertex', 'vertices')}"
    ]
    mirrored = " and mirror images" if facts["settings"].get("symmetric") else ""
    lines += [
        f"{name}: {m['components']} components of {counted(m['shapes'], 'shape')}{mirrored}, "
        f"{100 * m['explained']:.1f} % of the variance"
        for name, m in facts["models"].items()
    ]
    for name in ("blendshapes", "sparse"):
        if facts[name]:
            notes = {n: f" ({note})" for n, note in facts["notes"].items()}
            lines.append(f"{name}: {', '.join(n + notes.get(n, '') for n in facts[name])}")
    if facts["texture"]:
        lines.append(f"texture: {facts['texture'][1]} x {facts['texture'][0]} pixels")
    said = [
        ", ".join(f"{n} {value or 'unknown'}" for value, n in facts[k].items()) for k in ("consent", "split")
    ]
    lines.append(
        f"built from {counted(len(facts['subjects']), 'subject')} (consent: {said[0]}; split: {said[1]})"
    )
    lines.append(f"licence: {facts['licence'] or 'none given'}")
    lines.append(f"left out as outliers: {len(facts['pruned'])}")
    lines += [f"  {p['frame']}  {p['norm']:.2f}" for p in facts["pruned"]]
    return lines


def pictures(model_path: Path, folder: Path, releases: Sequence[Path] = ()) -> list[Path]:
    """Write the sheets of a model file."""
    model = read_model(model_path)
    if not releases:
        return write_sheets(model, folder)
    with ReleaseFrames(releases) as frames:
        return write_sheets(model, folder, frames)


def project_release(
    model_path: Path, release: Path, output: Path, only: str = "*/*", overwrite: bool = False
) -> tuple[int, float, float]:
    """Write coefficients and weights of frames; (frames, median residual, median residual of blendshapes), mm."""
    _refuse(output, model_path, release, overwrite)
    model = read_model(model_path)
    with ReleaseFrames([release]) as frames:
        found = project(model, frames, _selected(frames, only))
    output.parent.mkdir(parents=True, exist_ok=True)
    save_projection(output, found)
    shape = (
        float(np.median(found.blendshape_residual_mm)) if len(found.blendshape_residual_mm) else float("nan")
    )
    return len(found.table), float(np.median(found.residual_mm)), shape


def reconstruct_release(model_path: Path, release: Path, folder: Path, only: str, kind: str) -> int:
    """Write each selected frame as the model has it; returns how many."""
    model = read_model(model_path)
    with ReleaseFrames([release]) as frames:
        rows = _selected(frames, only)
        for row, vertices in zip(rows.tolist(), reconstruct(model, frames, rows), strict=True):
            entry = frames.table[row]
            parts = str(entry["subject"]), str(entry["sequence"])
            if any(safe_name(p) != p for p in parts):
                raise UsageError("a name is not safe for files", seen="/".join(parts))
            write_mesh(folder.joinpath(*parts, f"{int(entry['frame']):04d}.{kind}"), model, vertices)
    return len(rows)


def _refuse(output: Path, model: Path, release: Path, overwrite: bool) -> None:
    """A file to be written is none of those it is made from, and not there yet unless it may be replaced."""
    refuse_input(output, (model, release))
    refuse_existing(output, overwrite)


def _selected(frames: ReleaseFrames, only: str) -> Rows:
    """Rows whose 'SUBJECT/SEQUENCE' matches; 'SUBJECT' alone means all its sequences."""
    pattern = only if "/" in only else f"{only}/*"
    table = frames.table
    names = [f"{s}/{q}" for s, q in zip(table["subject"].tolist(), table["sequence"].tolist(), strict=True)]
    rows = np.flatnonzero([fnmatchcase(name, pattern) for name in names]).astype(np.int64)
    if not len(rows):
        raise UsageError("the release has no usable frame", seen=only, expected="SUBJECT/SEQUENCE")
    return rows


def write_samples(model_path: Path, folder: Path, count: int, seed: int, neutral: bool, kind: str) -> int:
    """Write random people."""
    model = read_model(model_path)
    for k, vertices in enumerate(sample(model, count, seed, expressive=not neutral)):
        write_mesh(folder / f"{k:04d}.{kind}", model, vertices)
    return count


def write_interpolation(
    model_path: Path, release: Path, first: str, last: str, folder: Path, steps: int, kind: str
) -> int:
    """Write the way from one frame to another, through the joint model."""
    model = read_model(model_path)
    with ReleaseFrames([release]) as frames:
        begin, end = (frames.vertices(find_frame(frames, text)) for text in (first, last))
    for k, vertices in enumerate(interpolate(begin, end, model.model("joint"), steps)):
        write_mesh(folder / f"{k:04d}.{kind}", model, vertices)
    return steps


def write_transfer(
    model_path: Path,
    release: Path,
    source: str,
    target: str,
    output: Path,
    detail: bool,
    overwrite: bool = False,
) -> str:
    """Write the target subject with the source frame's expression; returns which frame that was."""
    _refuse(output, model_path, release, overwrite)
    model = read_model(model_path)
    with ReleaseFrames([release]) as frames:
        row = find_frame(frames, source)
        entry = frames.table[row]
        own = frames.neutral(str(entry["subject"])).vertices
        other = frames.neutral(target).vertices
        vertices = transfer(model, own, frames.vertices(row), other, smooth=not detail)
    write_mesh(output, model, vertices)
    return f"{entry['subject']}/{entry['sequence']}/{entry['frame']}"


def write_personal(
    model_path: Path, release: Path, subject: str, output: Path, overwrite: bool = False
) -> Blendshapes:
    """Write a subject's own blendshapes as .glb or .npz."""
    _refuse(output, model_path, release, overwrite)
    model = read_model(model_path)
    with ReleaseFrames([release]) as frames:
        neutral, shapes = personalise(model, frames, subject)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() == ".npz":
        names = np.array(shapes.names)
        np.savez_compressed(
            output,
            neutral=neutral,
            names=names,
            deltas=shapes.deltas,
            faces=model.template.faces,
            units=np.array("mm"),
        )
    elif output.suffix.lower() == ".glb":
        mesh = replace(model.template.mesh, vertices=neutral.astype(np.float64))
        targets = dict(zip(shapes.names, shapes.deltas, strict=True))
        output.write_bytes(glb_bytes(mesh, scale=0.001, targets=targets))
    else:
        raise UsageError("personal blendshapes are written as", expected=".glb or .npz", seen=output.name)
    return shapes


@dataclass(frozen=True)
class FittedFile:
    """Attributes:
    path: what was written, or what could not be fitted.
    residual_mm: median distance.  landmarks: that the fit began from; 0 of a scan: it began where the model lies.
    error: why nothing was written; empty when all went well.
    """

    path: Path
    residual_mm: float = float("nan")
    landmarks: int = 0
    error: str = ""


def fit_files(
    model_path: Path, files: Sequence[Path], folder: Path, settings: FitSettings, unit: str, kind: str
) -> list[FittedFile]:
    """Fit the model to meshes with landmark files beside them, or to landmark files alone.

    What is written lies on the data, in the data's unit and axes; beside it an .npz with coefficients and pose.
    """
    model = read_model(model_path)
    places = [path.absolute() for path in files]
    # files of equal names in different folders go to different folders
    common = Path(os.path.commonpath([place.parent for place in places]))
    done = []
    for path, place in zip(files, places, strict=True):
        inside = folder / place.parent.relative_to(common)
        try:
            with frame_numerics():
                done.append(_fit_file(model, path, inside, settings, unit, kind))
        except MimicmeError as error:  # one bad scan does not stop the others
            done.append(FittedFile(path, error=str(error)))
    return done


def _fit_file(
    model: FaceModel, path: Path, folder: Path, settings: FitSettings, unit: str, kind: str
) -> FittedFile:
    alone = path.suffix.lower() in EXTENSIONS
    marks = _landmarks_beside(path)
    if alone and marks is not None:
        unit_mm = _unit_of_landmarks(marks, unit, path)
        fit = fit_landmarks(model, marks * unit_mm, settings)
    else:
        if path.stat().st_size > MAX_MESH_BYTES:
            raise UsageError("this file is larger than any scan", where=path, seen=path.stat().st_size)
        mesh = weld(read_scan(path.read_bytes(), path.name).mesh)[0]
        unit_mm = decide_unit([gather(mesh, marks)], unit, path.name).unit_mm
        scan = Mesh(mesh.vertices * unit_mm, mesh.faces)
        fit = fit_scan(model, scan, None if marks is None else marks * unit_mm, settings)
    output = folder / f"{path.stem}.{kind}"
    write_mesh(output, model, fit.vertices / unit_mm)
    np.savez_compressed(
        output.with_suffix(".npz"),
        identity=fit.identity,
        expression=fit.expression,
        pose=fit.pose,
        unit_mm=np.array(unit_mm),
        residual_mm=np.array(fit.residual_mm),
    )
    known = 0 if marks is None else int(np.isfinite(marks).all(axis=1).sum())
    return FittedFile(output, fit.residual_mm, known)


def _unit_of_landmarks(marks: Floats, unit: str, path: Path) -> float:
    """Millimetres of a file's unit, out of the distance of the eyes where it is not said."""
    said = parse_unit(unit)
    if said is not None:
        return said
    found = unit_of_eyes(eye_distance(marks))
    if found is None:
        raise UsageError(
            "the eyes' distance fits no unit", where=path, seen=eye_distance(marks), todo="Say --unit."
        )
    return UNITS_MM[found]


def _landmarks_beside(path: Path) -> Floats | None:
    """(68, 3) in the file's unit, of the file itself or of the first one beside it; None without."""
    candidates = [path] if path.suffix.lower() in EXTENSIONS else [path.with_suffix(e) for e in EXTENSIONS]
    for candidate in candidates:
        if not candidate.is_file():
            continue
        data = candidate.read_bytes()
        if candidate == path or candidate.suffix != ".npy" or is_landmarks(data):
            return np.asarray(read_landmarks(data, candidate.name).points, np.float64)
    return None
