"""align: where the head is on every scan, as a rigid motion from the canonical frame.

Reads   ingest: the cleaned scan; landmarks: points and confidence; the template.
Writes  pose (F, 4, 4) f8, canonical -> scan, rigid; landmark_ok (F, 68) bool, the points it trusts;
        landmark_doubted (F, 68) bool, those that disagree with the others, by hand or found;
        quality/align_landmark_residual (F,) f4: mean distance of the trusted points of eyes, brows and nose
        to the template's, mm; quality/align_surface_residual (F,) f4: median distance of the
        template's upper face to the scan, mm; quality/neutral_cost (F,) f4: what the neutral is chosen by;
        quality/align_scale (F,) f4: size of the face as a multiple of the template's; quality/align_height,
        align_depth (F,) f4: its height and depth against its width, as multiples of the template's (none of them is
        applied); attrs up, up_decision, size_decision where landmarks that were found say otherwise than ingest
        assumed without any.
Fails   a frame with `too-few-landmarks`, `landmarks-mirrored`, `landmark-scale`, `landmarks-misfit`, or
        `numerical-failure`: its numbers broke the computation.

A generic template is another person: 2 to 4 mm at eyes, brows and nose are what differing faces leave, and 7
mm of james on menpo3d's template, whose four points of the nose's bridge sit up to 13 mm too high.  Mouth
and jaw are left out of the figure, for they move.

1. Consensus: similarities through triples of landmarks, from a fixed random seed; the one that most landmarks
   agree with, each measured against how much faces differ there (`SPREAD_MM`), is the start (Fischler &
   Bolles 1981).
2. Iteratively re-weighted least squares with Tukey's biweight, for the similarity: its scale tells a wrong
   unit, and keeps a child's face from looking like wrong landmarks.  Where it fits badly, the same is tried with
   height and depth of the face free against its width, within bounds: that a face is short or long is no reason
   to distrust its landmarks.  Landmarks that disagree with the better of both, or with their neighbours, are not
   trusted.  The pose is the rigid fit of the trusted ones: a person is never rescaled.
3. Where landmarks are few, robust point-to-plane ICP (Chen & Medioni 1992) of the template's upper face - forehead,
   brows, nose, no eyelids, nothing of the jaw - with the landmarks kept; undone when it does not bring the surfaces
   closer.  Where there are many it would harm: a generic template is another person, and the surfaces of two people
   lie closest with one head turned.  On 11 synthetic people that leaves 2.5 degrees; all 68 points alone leave 0.9
   (1 mm of noise) to 1.7 (4 mm), five of them 1.9 to 5.4.

1 and 2 stand in by_landmarks.py, 3 in on_surface.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.captures.units import nearest_axes, size_remark
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import MANUAL, eye_distance, labelled
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import TemplateKey
from mimicme.stages.align.by_landmarks import check_fit, fit_landmarks, shown_landmarks
from mimicme.stages.align.checkpoint import AlignCheckpoint, AlignWriter, TurnedOut, most_neutral
from mimicme.stages.align.neutral_cost import Core, core_samples, neutrality
from mimicme.stages.align.on_surface import UpperFace, refine, surface_residual, upper_face
from mimicme.stages.align.settings import AlignSettings
from mimicme.stages.ingest.checkpoint import Assumed, IngestCheckpoint
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter


class Aligned(NamedTuple):
    """One frame: pose (4, 4), trusted (68,), quality figures, `stretch` (3,) as of `LandmarkFit`, whether the surface
    moved it."""

    pose: Floats
    trusted: Bools
    landmark_residual: float
    surface_residual: float
    scale: float
    stretch: Floats
    refined: bool


def align(
    template_marks: Floats,
    face: UpperFace,
    points: Floats,
    confidence: Floats | None,
    surface: Surface,
    settings: AlignSettings,
) -> Aligned:
    """Pose of one scan.

    Raises:
        FrameRejected: see the module.
    """
    given = int(np.isfinite(points).all(axis=1).sum())
    if given < settings.min_landmarks or not _spans(points):
        raise FrameRejected(
            "too-few-landmarks",
            "the landmarks given do not fix a pose",
            seen=f"{given} points",
            expected=f"at least {settings.min_landmarks}, not on one line",
            todo="Give more points: the eye corners, the nose tip and the mouth corners are enough.",
        )
    fit = fit_landmarks(template_marks, points, confidence)
    check_fit(fit, template_marks, points, confidence, settings, surface)
    if settings.needs_surface(fit.trusted):
        pose, _, after, refined = refine(
            fit.pose, face, surface, template_marks, points, fit.trusted, settings
        )
    else:
        pose, after, refined = fit.pose, surface_residual(fit.pose, face, surface), False
    shown = shown_landmarks(fit.trusted)
    residual = np.linalg.norm(transform(pose, template_marks[shown]) - points[shown], axis=1).mean()
    return Aligned(pose, fit.trusted, float(residual), after, fit.scale, fit.stretch, refined)


def _spans(points: Floats) -> bool:
    """Whether the points given do not all lie on one line."""
    given = points[np.isfinite(points).all(axis=1)]
    if len(given) < 3:
        return False
    s = np.linalg.svd(given - given.mean(0), compute_uv=False)
    return bool(s[1] > 0.05 * s[0])


@lru_cache(maxsize=2)
def _of_template(key: TemplateKey, samples: int) -> tuple[UpperFace, Core]:
    """What no scan changes, once per worker: it takes as long as a frame."""
    return upper_face(key.template, samples), core_samples(key.template)


def compute(task: Task[AlignSettings], out: CheckpointWriter) -> None:
    """The stage: see the module."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_scan

    settings = task.settings
    template = task.load_template()
    marks = template.landmarks()
    face, core = _of_template(TemplateKey(template), settings.samples)
    with task.input(IngestCheckpoint) as ingest, task.input(LandmarksCheckpoint) as landmarks:
        rows = out.continue_from(landmarks)
        writer = AlignWriter(out)
        heads: list[Floats] = []
        eyes: list[float] = []
        for row in rows:
            scan = load_scan(ingest, row)
            points, confidence = landmarks.points(row), landmarks.confidence(row).astype(np.float64)
            try:
                with frame_numerics():
                    surface = Surface(scan.vertices, scan.faces)
                    found = align(marks, face, points, confidence, surface, settings)
                    trust = np.where(found.trusted, confidence, 0.0)
                    neutral = neutrality(marks, core, points, trust, found.pose, surface)
            except FrameRejected as error:
                out.reject(row, error)
                continue
            by_hand = landmarks.source(row) == MANUAL
            doubted = np.isfinite(points).all(axis=1) & ~found.trusted
            writer.frame(
                row,
                found.pose,
                found.trusted | by_hand,
                doubted,
                found.refined,
                found.landmark_residual,
                found.surface_residual,
                found.scale,
                found.stretch,
                neutral.cost,
                neutral.sentence(int(landmarks.numbers[row])),
            )
            _note(out, row, doubted, by_hand, found, settings)
            heads.append(found.pose)
            eyes.append(whole_eyes_apart(points))
        writer.close(turned_out(ingest.assumed, ingest.file_from_scan, heads, eyes))


EYE_CORNERS = [36, 39, 42, 45]


def whole_eyes_apart(points: Floats) -> float:
    """Distance of the eye centres of (68, 3) points, mm; NaN where a corner of an eye is absent: of half a face, the
    middle of what is shown of an eye is not that eye's, and the distance would say a wrong unit."""
    corners = points[EYE_CORNERS]
    return eye_distance(points) if np.isfinite(corners).all() else float("nan")


def turned_out(assumed: Assumed, file_from_scan: Floats, heads: list[Floats], eyes: list[float]) -> TurnedOut:
    """What a sequence's poses say about axes and size that ingest could not know.

    Args:
        file_from_scan: (4, 4).
        heads: (4, 4) canonical -> scan, of each frame; eyes: distance of the eye centres, mm, of each frame.
    """
    if not heads:
        return TurnedOut()
    found, size = TurnedOut(), ""
    rotation = np.mean([head[:3, :3] for head in heads], axis=0)
    up, forward = nearest_axes((np.asarray(file_from_scan)[:3, :3] @ rotation).T)
    if assumed.up is not None and up != assumed.up:
        found = TurnedOut(up, f"{up} is up: the faces found lie so; they look along {forward}")
    known = [apart for apart in eyes if np.isfinite(apart)]
    if known and assumed.unit:
        unit_mm = 1 / float(np.linalg.norm(np.asarray(file_from_scan)[:3, 0]))
        size = size_remark(float(np.median(known)) / unit_mm, unit_mm)
    return found._replace(size=size)


def _note(
    out: CheckpointWriter, row: int, doubted: Bools, by_hand: Bools, found: Aligned, settings: AlignSettings
) -> None:
    for code, those, used in (
        (
            "landmarks-doubted",
            np.flatnonzero(doubted & by_hand),
            "By hand, and so used and kept all the same.",
        ),
        ("landmarks-distrusted", np.flatnonzero(doubted & ~by_hand), "Found, and so not used."),
    ):
        if len(those):
            names = ", ".join(labelled(k) for k in those[:6]) + (" ..." if len(those) > 6 else "")
            disagree = "1 landmark disagrees" if len(those) == 1 else f"{len(those)} landmarks disagree"
            out.note(row, code, f"{disagree} with the others: {names}. {used}")
    if settings.needs_surface(found.trusted) and not found.refined:
        out.note(
            row, "pose-by-landmarks", "The surface did not improve the pose; it is the landmarks' alone."
        )


STAGE = Stage(
    name="align",
    version=7,
    settings=AlignSettings,
    needs=("ingest", "landmarks"),
    compute=compute,
    reader=AlignCheckpoint,
    most_neutral=most_neutral,
    shapes=True,
    memory="0.3 GB a worker: the template, one scan and its search tree.",
)
