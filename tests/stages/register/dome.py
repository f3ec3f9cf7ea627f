"""A dome with a nose, eye sockets and lips: its surface and its deformations are formulas, so truth is exact."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation

from mimicme.pipeline.checkpoint import CheckpointWriter, FrameStatus, writing
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.items import Captures, FrameSource, Item, Sequence
from mimicme.pipeline.landmarks import DETECTED, IBUG68, MANUAL
from mimicme.pipeline.landmarks.deviation import landmark_deviation
from mimicme.pipeline.stage import Task
from mimicme.pipeline.template import Template, save_prepared
from mimicme.stages.landmarks.checkpoint import LandmarksWriter
from mimicme.stages.register import compute
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.levels import Levels, build_levels
from mimicme.stages.register.plausibility import Plausible
from mimicme.stages.register.quality import Quality
from mimicme.stages.register.rejection import Limits
from mimicme.stages.register.settings import RegisterSettings
from mimicme.stages.register.track import SequenceTracker

AS_IT_SHOULD = Plausible(1.0, 0.95, 0.2, 0.0, 0.3, 0.0, 1.0, 0.5, 0.6)
GOOD = Quality(
    0.2, 0.3, 0.9, 0.97, 1.0, 0.5, 1.1, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 3.0, 0.8, 0.6, 1.0, 0.9, 0.9, 0.9,
    1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.1,
    *AS_IT_SHOULD,
)  # fmt: skip
LIMITS = Limits(1.0, 6.0, 0.2, 0.01, 2.0, 0.25, 0.4)
HALF = np.array([75.0, 100.0])  # of the template's outline, mm
SETTINGS = RegisterSettings(coarse_vertices=500)


def bump(xy: np.ndarray, x: float, y: float, wide: float, high: float) -> np.ndarray:
    """(n,) a Gaussian of height 1."""
    return np.exp(-(((xy[:, 0] - x) / wide) ** 2 + ((xy[:, 1] - y) / high) ** 2) / 2)


def surface(xy: np.ndarray) -> np.ndarray:
    """(n, 3) mm: the points of the face above (n, 2)."""
    z = 75 * np.sqrt(np.maximum(1 - 0.8 * ((xy / HALF) ** 2).sum(1), 0.0))
    z += 18 * bump(xy, 0, -8, 8, 15) + 3 * bump(xy, 0, -36, 20, 3) + 3 * bump(xy, 0, -48, 18, 3)
    for side in (-1, 1):
        z += 4 * bump(xy, 31 * side, 44, 18, 5) - 5 * bump(xy, 31 * side, 28, 11, 7)
    return np.c_[xy, z]


@cache
def sheet(spacing: float, reach: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An irregular triangulation of the outline times `reach`: points (n, 2) mm, counter-clockwise triangles."""
    rng = np.random.default_rng(seed)
    half = reach * HALF
    x = np.arange(-half[0] - spacing, half[0] + spacing, spacing)
    y = np.arange(-half[1] - spacing, half[1] + spacing, spacing * np.sqrt(3) / 2)
    xy = np.stack([a.ravel() for a in np.meshgrid(x, y)], 1)
    xy[:, 0] += np.repeat(spacing / 2 * (np.arange(len(y)) % 2), len(x))
    xy += rng.uniform(-0.2, 0.2, xy.shape) * spacing
    xy = xy[((xy / half) ** 2).sum(1) < 1]
    faces = Delaunay(xy).simplices
    corner = xy[faces]
    longest = np.max([np.linalg.norm(corner[:, k] - corner[:, k - 1], axis=1) for k in range(3)], axis=0)
    return xy, faces[longest < 2.5 * spacing].astype(np.int32)


def landmarks_xy() -> np.ndarray:
    """(68, 2) where iBUG-68's points lie on a face of this size."""
    t = np.linspace(-np.pi / 2, np.pi / 2, 17)
    jaw = np.stack([66 * np.sin(t), 15 - 92 * np.cos(t)], 1)
    arch = np.linspace(0, np.pi, 5)
    brow = np.stack([-33 - 19 * np.cos(arch), 42 + 6 * np.sin(arch)], 1)
    bridge = np.stack([np.zeros(4), [28, 17, 6, -6]], 1)
    base = np.stack([[-12, -6, 0, 6, 12], [-16, -18, -19, -18, -16]], 1)
    a = np.radians([180, 120, 60, 0, -60, -120])
    eye = np.stack([14 * np.cos(a), 28 + 5 * np.sin(a)], 1)
    outer, inner = np.radians(180 - 30 * np.arange(12)), np.radians(180 - 45 * np.arange(8))
    mouth = [np.stack([26 * np.cos(outer), -42 + 10 * np.sin(outer)], 1)]
    mouth += [np.stack([19 * np.cos(inner), -42 + 2 * np.sin(inner)], 1)]
    mirrored = brow[::-1] * [-1, 1]
    eyes = [eye - [31, 0], eye + [31, 0]]
    return np.concatenate([jaw, brow, mirrored, bridge, base, *eyes, *mouth])


@cache
def template(spacing: float = 4.3) -> Template:
    """About 1,500 vertices with 68 landmarks."""
    xy, faces = sheet(spacing, 1.0, 0)
    vertices = surface(xy)
    found = Surface(vertices, faces).closest(surface(landmarks_xy()))
    uv = 0.5 + 0.45 * xy / HALF
    corners = faces[found.triangles].astype(np.int64)
    return Template(vertices, faces, uv, faces, IBUG68, corners, found.weights, name="dome", digest="d" * 64)


@cache
def levels(coarse_vertices: int = SETTINGS.coarse_vertices) -> Levels:
    """Both levels of the template."""
    return build_levels(template(), coarse_vertices, SETTINGS.membrane)


def tracker(neutral: np.ndarray | None = None, settings: RegisterSettings = SETTINGS) -> SequenceTracker:
    """A fresh tracker."""
    return SequenceTracker(template(), levels(settings.coarse_vertices), settings, neutral)


def moved(points: np.ndarray, amount: float) -> np.ndarray:
    """(n, 3) points of the face with its jaw dropped, its mouth drawn wide and its cheeks blown, up to 12 mm."""
    xy = points[:, :2]
    shift = np.zeros_like(points)
    jaw = bump(xy, 0, -62, 34, 22)
    shift[:, 1] -= 10 * jaw
    shift[:, 2] -= 3 * jaw
    for side in (-1, 1):
        shift[:, 0] += 4 * side * bump(xy, 28 * side, -42, 15, 15)
        shift[:, 2] += 4 * bump(xy, 40 * side, -20, 17, 17)
    return points + amount * shift


def rigid(seed: int, turn_deg: float = 25.0, shift_mm: float = 50.0) -> np.ndarray:
    """(4, 4) a motion of that size about a random axis."""
    rng = np.random.default_rng(seed)
    axis, shift = rng.normal(size=(2, 3))
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(turn_deg) * axis / np.linalg.norm(axis)).as_matrix()
    matrix[:3, 3] = shift_mm * shift / np.linalg.norm(shift)
    return matrix


def frame(
    number: int = 0,
    amount: float = 0.0,
    pose: np.ndarray | None = None,
    noise_mm: float = 0.05,
    landmark_noise_mm: float = 0.0,
    seed: int = 0,
    spacing: float = 3.0,
) -> Frame:
    """A scan of the deformed face at a pose, with a triangulation of its own that goes on beyond the template."""
    pose = np.eye(4) if pose is None else pose
    rng = np.random.default_rng([seed, number])
    xy, faces = sheet(spacing, 1.06, 100 + number)
    vertices = moved(surface(xy), amount) + noise_mm * rng.normal(size=(len(xy), 3))
    marks = moved(template().landmarks(), amount) + landmark_noise_mm * rng.normal(size=(68, 3))
    return Frame(number, transform(pose, vertices), faces, transform(pose, marks), np.ones(68), pose)


def truth(amount: float) -> np.ndarray:
    """(V, 3) where the template's vertices are on a frame with the identity as its pose."""
    return moved(template().vertices, amount)


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) mm between corresponding points."""
    return np.linalg.norm(a - b, axis=1)


def noisy_sequence(amounts: np.ndarray) -> list[Frame]:
    """Frames of these amounts, the head turning a little from one to the next; the fourth is no face."""
    poses = [rigid(9, 0.5 * k, 1.0 * k) for k in range(len(amounts))]
    made = [frame(k, a, poses[k], landmark_noise_mm=0.7, spacing=4.0) for k, a in enumerate(amounts)]
    made[3] = frame(3, amounts[3], poses[3], noise_mm=4.0)
    return made


def put_landmarks(out: CheckpointWriter, frames: list[Frame]) -> None:
    """What landmarks would have written."""
    writer = LandmarksWriter(out, "", ["present"], "")
    for row, one in enumerate(frames):
        source = np.where(one.detected, DETECTED, MANUAL).astype(np.uint8)
        confidence, absence = one.confidence.astype(np.float32), np.zeros(68, np.uint8)
        writer.frame(row, one.landmarks, source, confidence, absence, None, 0.0, 1.0, one.shown_shut)


def checkpoints(
    root: Path, frames: list[Frame], settings: RegisterSettings, lost: tuple[int, ...] = ()
) -> Task:
    """What ingest, landmarks and align would have written; rows in `lost` were rejected by align."""
    item = Item("S001", "smile")
    numbers = [f.number for f in frames]
    paths = {stage: root / stage / f"{item}.h5" for stage in ("ingest", "landmarks", "align")}
    for stage, path in paths.items():
        statuses = [
            FrameStatus(row not in lost, "" if row not in lost else "off") for row in range(len(frames))
        ]
        with writing(path, stage=stage, item=str(item), made_by={"stage": stage}) as out:
            out.frames(numbers, statuses if stage == "align" else None)
            if stage == "ingest":
                for row, frame in enumerate(frames):
                    out.put(row, "vertices", frame.vertices.astype(np.float32))
                    out.put(row, "faces", frame.faces)
            elif stage == "landmarks":
                put_landmarks(out, frames)
            else:
                out.array("pose", np.stack([f.pose for f in frames]))
                out.array("landmark_ok", np.stack([f.confidence > 0 for f in frames]))
                marks = template().landmarks()
                out.figure("neutral_cost", "mm")[:] = [
                    landmark_deviation(f.landmarks, f.confidence, marks) for f in frames
                ]
    prepared = root / "template.h5"
    if not prepared.exists():
        save_prepared(template(), prepared)
    sources = tuple(FrameSource(n, Path(f"/nowhere/{n:04d}.obj")) for n in numbers)
    sequence = Sequence(item, "smile", "smile", sources)
    return Task(sequence, settings, Captures(Path("/nowhere")), paths, None, prepared)


ALL_DETECTED = np.ones(68, bool)
QUICK = RegisterSettings(coarse_vertices=500, coarse_steps=4, tracked_steps=2, fine_steps=2)


def quick_task(root: Path, frames: list[Frame], lost: tuple[int, ...] = ()) -> Task:
    """The task of a quick registration, with what the earlier stages would have written."""
    return checkpoints(root, frames, QUICK, lost)


def seen_beside(frame: Frame, offset: np.ndarray) -> Frame:
    """The frame with landmarks found by a detector that sees them beside their places."""
    return replace(frame, landmarks=frame.landmarks + offset @ frame.pose[:3, :3].T, detected=ALL_DETECTED)


def turned_landmarks(frame: Frame, degrees: float = 3.0) -> Frame:
    """The frame, on which a detector sees the whole face a little turned about its middle, upwards."""
    middle = frame.landmarks.mean(axis=0)
    turn = Rotation.from_rotvec(np.radians(degrees) * frame.pose[:3, 0]).as_matrix()
    return replace(frame, landmarks=middle + (frame.landmarks - middle) @ turn.T)


def in_scan(result):
    """(V, 3) the registered vertices in the scan's own frame."""
    return transform(result.pose, np.asarray(result.vertices, float))


def made(task: Task, path: Path) -> Path:
    with writing(path, stage="register", item="S001/smile", made_by={}) as out:
        compute(task, out)
    return path
