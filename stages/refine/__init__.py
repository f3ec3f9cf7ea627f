"""refine: photometric refinement by optical flow - vertices displaced along the surface until textures agree.

Reads   ingest (scans, images) and repass, else register (vertices, pose) of the sequence; for the subject's neutral,
        of all the subject's sequences; for the others, this stage's checkpoint of the neutral.
Writes  vertices (F, V, 3) f4 canonical frame, mm; pose (F, 4, 4) f8 and skin_seen, as registered; quality/drift,
        drift_p95, drift_before (texels at 1024), slid (mean length of the displacement, mm) and, in place of what
        registration says, expected_error, expected_error_low, expected_error_high (mm); gain (F, 3) f4: factors on
        red, green and blue that give the frame's texture the reference's exposure and white balance.  The
        neutral's checkpoint has the subject's reference: reference/vertices (V, 3), reference/texture (size, size,
        3) u1, reference/coverage (size, size) u1, reference/expected_error (mm).
Fails   never: a frame that cannot be refined keeps its registered vertices and, if it has no texture, the note
        `not-refined`; one that drifts all the same is noted as `texture-drifts`.

The distance to the scan says nothing about tangential displacement, along the surface; the texture does.  The subject's
reference texture is the neutral's, with its vertices, near landmarks, where all near-neutral frames of the subject
together put them (reference.py).  Every frame's texture is registered to the reference texture by optical flow
(photometric.py), beginning where the frame before it ended; as all frames are compared with one reference, errors do
not add up along a sequence.  In long sequences jitter is smoothed out in time.
A frame whose texture does not lie nearer to the reference's afterwards stays as it was registered.  What is expected of
a refined frame's error is mostly what is expected of the frame that the reference is made of (expected.py); of one that
stays, that drifts all the same, whose texture is not recognised as the same skin (grey, black, noise), or of which
registration noted that it may have gone astray, it is what registration says.
What registration took for hair, a beard, a cap or clothes is not compared: it moves with the skin around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.stage import Stage, Task
from mimicme.pipeline.template import TemplateKey
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.refine.checkpoint import ReferenceTexture, RefineCheckpoint, RefineWriter
from mimicme.stages.refine.expected import of_refined
from mimicme.stages.refine.settings import RefineSettings
from mimicme.stages.register.checkpoint import RegisteredCheckpoint

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter
    from mimicme.pipeline.formats.image import Pixels
    from mimicme.pipeline.texture.flow import Comparable
    from mimicme.pipeline.texture.scan_source import Source
    from mimicme.stages.refine.photometric import Drift, Frame, Refiner

MAX_GAP = 3
"""Frames between two numbers beyond which the later one does not begin where the earlier one ended."""
MUCH_DRIFT = 5.8
"""Texels at 1024 from which on the 95th percentile of the drift is noted: twice the most of 260 frames of 20 people of
`synth`, 2.9."""
MOST_ANCHORS = 32
"""Frames of a subject that its reference is the mean of, at most: on two people of nine sequences more changed the
correspondence error by less than a hundredth."""


@lru_cache(maxsize=2)
def _refiner(key: TemplateKey, settings: RefineSettings) -> Refiner:
    """Everything that no frame changes, once per worker."""
    from mimicme.stages.refine.photometric import Parameters, Refiner

    return Refiner(key.template, Parameters.of(settings))


def _source(ingest: Checkpoint, row: int, refiner: Refiner) -> Source | None:
    """The scan of one frame ready to be asked for colours; None when it has none, or none that can be read."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.scan import load_colored
    from mimicme.pipeline.texture.baking import open_source

    scan, image, _ = load_colored(ingest, row)
    try:
        with frame_numerics():
            return open_source(scan, image, refiner.parameters.texture)
    except FrameRejected:
        return None


def _registered(register: RegisteredCheckpoint, row: int) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Vertices (V, 3), pose (4, 4) and skin (V,) of one frame."""
    return register.vertices(row), register.pose(row), register.skin(row)


class _Reference:
    """The subject's reference: vertices (V, 3), the texture that frames are to agree with, and what registration
    expects of the frame that it is made of, mm."""

    def __init__(
        self, vertices: Floats, texture: Pixels, coverage: Pixels, expected_mm: float, refiner: Refiner
    ) -> None:
        self.vertices, self.texture, self.coverage = vertices, texture, coverage
        self.expected_mm = expected_mm
        self.comparable: Comparable = refiner.parameters.comparable(texture, coverage)
        self._refiner = refiner

    @cached_property
    def own_confidence(self) -> Singles:
        """(size, size) how well it agrees with itself: `Refiner.own_confidence`."""
        return self._refiner.own_confidence(self.comparable)

    @classmethod
    def load(cls, neutral: RefineCheckpoint, refiner: Refiner) -> _Reference | None:
        """The reference that the neutral's checkpoint has; None when it could make none."""
        found = neutral.reference
        return None if found is None else cls(*found, refiner)

    def save(self, writer: RefineWriter) -> None:
        writer.reference(ReferenceTexture(self.vertices, self.texture, self.coverage, self.expected_mm))


def _baked(
    source: Source,
    vertices: Floats,
    pose: Floats,
    skin: NDArray[np.uint8],
    expected_mm: float,
    refiner: Refiner,
) -> _Reference | None:
    """The reference that a frame with vertices (V, 3), canonical, makes of what is skin (V,); None when its numbers
    make none."""
    from mimicme.pipeline.checkpoint import frame_numerics

    try:
        with frame_numerics():
            baked = refiner.baked(source, transform(pose, vertices), skin)
            return _Reference(vertices, baked.texture, baked.coverage, expected_mm, refiner)
    except FrameRejected:
        return None


def _others(task: Task[RefineSettings]) -> Iterator[tuple[Checkpoint, RegisteredCheckpoint]]:
    """Ingest and register of the subject's other sequences, one after the other."""
    for _, paths in sorted(task.siblings.items()):
        with (
            IngestCheckpoint(paths[IngestCheckpoint.stage]) as ingest,
            RegisteredCheckpoint.latest(paths) as register,
        ):
            yield ingest, register


def _shares(total: int, parts: int) -> list[int]:
    """So many things dealt out to the parts, the first ones getting one more; each gets one at least."""
    each, more = divmod(total, parts)
    return [max(1, each + (k < more)) for k in range(parts)]


def _subject_reference(
    task: Task[RefineSettings], ingest: Checkpoint, register: RegisteredCheckpoint, rows: list[int]
) -> _Reference | None:
    """The subject's reference, made of its neutral and of the near-neutral frames of all its sequences.

    The neutral frame is the one nearest to the shape that `register` calls neutral, else the first; None when that
    frame has no texture.
    """
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.stages.refine.baked_frames import BAKED_FRAMES
    from mimicme.stages.refine.reference import landmark_weights, nearest_to_neutral, robust_mean

    settings = task.settings
    refiner = _refiner(TemplateKey(task.load_template()), settings)
    if not rows:
        return None
    faces = refiner.template.faces
    own = register.neutral
    shape = register.vertices(rows[0]) if own is None else own
    row = nearest_to_neutral(register.all_vertices, shape, faces, rows, 1)[0]
    neutral, pose, skin = _registered(register, row)
    source = _source(ingest, row, refiner)
    if source is None:
        return None
    expected_mm = float(register.expected[row, 0])
    reference = _baked(source, neutral, pose, skin, expected_mm, refiner)
    if reference is None:
        return None
    offsets = [np.zeros_like(neutral)]
    shares = _shares(MOST_ANCHORS, 1 + len(task.siblings))
    for share, (scans, shapes) in zip(shares, chain([(ingest, register)], _others(task)), strict=True):
        good = [r for r in shapes.ok_rows if not (shapes is register and r == row)]
        count = min(share, settings.anchor_frames)
        for other in nearest_to_neutral(shapes.all_vertices, neutral, faces, good, count):
            near_neutral = _source(scans, other, refiner)
            if near_neutral is None:
                continue
            try:
                with frame_numerics():
                    frame = refiner.frame(near_neutral, *_registered(shapes, other))
                    offsets.append(-refiner.first_displacement(frame, reference.comparable))
            except FrameRejected:
                continue
            # the frame's own sequence begins with it
            BAKED_FRAMES.keep(scans.path, shapes.path, other, refiner.made_with, frame.baked)
    if len(offsets) == 1:
        return reference
    template = refiner.template
    shift = landmark_weights(template.vertices, template.landmarks())[:, None] * robust_mean(offsets)
    nearer = refiner.displaced(neutral, shift)
    return _baked(source, nearer, pose, skin, expected_mm, refiner) or reference


def compute(task: Task[RefineSettings], out: CheckpointWriter) -> None:
    """Refine every frame of one sequence."""
    settings = task.settings
    with task.input(IngestCheckpoint) as ingest, RegisteredCheckpoint.latest(task.inputs) as register:
        rows = out.continue_from(register)
        writer = RefineWriter(out, register.all_vertices.shape[1])
        for row in rows:
            writer.frame(row, register.all_vertices[row], register.pose(row), register.skin(row))
        if not settings.enabled:
            return
        refiner = _refiner(TemplateKey(task.load_template()), settings)
        missing = (
            "The subject's neutral has no texture to refine by: the frame stays as it is registered. Of a scanner "
            "without textures nothing is to be mended."
        )
        if task.neutral is None:
            reference = _subject_reference(task, ingest, register, rows)
            if reference is not None:
                reference.save(writer)
        else:
            with RefineCheckpoint(task.neutral) as neutral:
                reference = _Reference.load(neutral, refiner)
                if not neutral.ok_rows:
                    missing = (
                        "All frames of the subject's neutral are rejected, so that this one is registered from the "
                        "template and not refined: mend the neutral, or label another `neutral`, and run again."
                    )
        if reference is None:
            for row in rows:
                out.note(row, "not-refined", missing)
            return
        given = _Sequence(ingest, register, rows, refiner, reference, settings, register.expected)
        _refine_rows(given, out, writer)


NO_TEXTURE = (
    "The frame has no texture to refine it by, and stays as it is registered. Of a scanner without textures nothing "
    "is to be mended."
)


@dataclass(frozen=True)
class _Sequence:
    """What refining a sequence reads; and what registration expects of its frames, (F, 3) mm, `EXPECTED`."""

    ingest: Checkpoint
    register: RegisteredCheckpoint
    rows: list[int]
    refiner: Refiner
    reference: _Reference
    settings: RefineSettings
    expected: Floats


def _refine_rows(given: _Sequence, out: CheckpointWriter, writer: RefineWriter) -> None:
    """Refine frame by frame, smooth the vertices in time, and write those that made things better.

    A frame is finished while its scan is open, unless its vertices are to be smoothed: these are known only when its
    whole run has been seen, and its scan is then opened again.  That takes a twentieth of the time of refining it;
    keeping the scans of a run open would take tens of megabytes for each frame.
    """
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.numerics.temporal import MIN_FRAMES, runs

    writer.begin_figures()
    for row in given.rows:
        writer.expected(row, given.expected[row])
    astray = given.register.astray
    numbers = given.register.numbers
    rows = sorted(given.rows, key=lambda row: int(numbers[row]))
    for run in runs(np.array([int(numbers[row]) for row in rows]), MAX_GAP):
        displaced = _displaced(given, [rows[k] for k in run], out)
        if given.settings.smooth_in_time and len(run) >= MIN_FRAMES:
            displaced = _smoothed(given, displaced, len(run))
        for frame in displaced:
            row = frame.row
            try:
                with frame_numerics():
                    done = _finished(given, frame)
            except FrameRejected as error:
                out.note(row, "not-refined", str(error))
                continue
            writer.refined(
                row,
                done.vertices,
                done.gain,
                drift=done.after.median,
                drift_p95=done.after.p95,
                drift_before=done.before.median,
                slid=done.displacement_mm,
            )
            drifts = done.after.p95 > MUCH_DRIFT
            reference_mm = given.reference.expected_mm
            mended = done.moved and done.recognised and not drifts
            if mended and not astray[row] and np.isfinite(reference_mm):
                writer.expected(row, of_refined(given.expected[row], reference_mm))
            if drifts:
                out.note(
                    row,
                    "texture-drifts",
                    f"The texture lies up to {done.after.p95:.0f} texels of 1024 from the subject's reference: part of "
                    "the mesh has slid along the surface, or the skin looks different here.",
                )


class _Displaced(NamedTuple):
    """A frame's displaced vertices (V, 3), canonical, mm; its drift before, as `refine` saw it; the frame, None when
    its scan is closed."""

    row: int
    vertices: Singles
    before: Drift
    frame: Frame | None


def _displaced(given: _Sequence, rows: list[int], out: CheckpointWriter) -> Iterator[_Displaced]:
    """The frames of a run, in order of time, that could be refined."""
    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.texture.open_sources import OPEN_SOURCES
    from mimicme.stages.refine.baked_frames import BAKED_FRAMES

    numbers = given.register.numbers
    last: tuple[int, Singles] | None = None
    for row in rows:
        shape, pose, skin = _registered(given.register, row)
        source = _source(given.ingest, row, given.refiner)
        if source is None:
            out.note(row, "not-refined", NO_TEXTURE)
            continue
        OPEN_SOURCES.keep(given.ingest.path, row, source)  # `bake` comes next
        baked = BAKED_FRAMES.take(given.ingest.path, given.register.path, row, given.refiner.made_with)
        near = last is not None and abs(int(numbers[row]) - last[0]) <= MAX_GAP
        start = last[1].astype(np.float64) if near and last is not None else np.zeros_like(shape)
        try:
            with frame_numerics():
                frame = given.refiner.frame(source, shape, pose, skin, baked)
                d, before = given.refiner.refine(
                    frame, given.reference.comparable, start, given.reference.vertices
                )
        except FrameRejected as error:
            out.note(row, "not-refined", str(error))
            continue
        last = (int(numbers[row]), d.astype(np.float32))
        yield _Displaced(row, (shape + d).astype(np.float32), before, frame)


def _smoothed(given: _Sequence, displaced: Iterable[_Displaced], count: int) -> Iterator[_Displaced]:
    """At most `count` frames, smoothed in time where enough of them follow each other; their scans are closed.

    What is smoothed is how far the texture has displaced them: the motion itself is as register smoothed it, and what
    moves faster than the frame rate can show stays.  No mode is left out: where register has held back part of a smile,
    the displacements have it, in few frames less than a test would ask of them.  They are projected back onto their
    surfaces afterwards.
    """
    from mimicme.pipeline.numerics.temporal import MIN_FRAMES, runs, smooth

    registered = given.register.all_vertices
    displacements = np.empty((count, *registered.shape[1:]), np.float32)
    found: list[tuple[int, Drift]] = []
    for frame in displaced:
        displacements[len(found)] = frame.vertices - registered[frame.row]
        found.append((frame.row, frame.before))
    times = np.array([int(given.register.numbers[row]) for row, _ in found])
    for part in runs(times, MAX_GAP):
        if len(part) >= MIN_FRAMES:
            together = slice(part[0], part[-1] + 1)
            smooth(displacements[together], times[together], every_mode=True)
    for (row, before), displacement in zip(found, displacements, strict=False):
        yield _Displaced(row, registered[row] + displacement, before, None)


class _Finished(NamedTuple):
    """A refined frame: vertices (V, 3) canonical, mm, and whether they are other than as registered; whether its
    texture is recognised as the reference's; its drift before and after; gain (3,); mean length of its
    displacement."""

    vertices: Floats
    moved: bool
    recognised: bool
    before: Drift
    after: Drift
    gain: Floats
    displacement_mm: float


def _finished(given: _Sequence, displaced: _Displaced) -> _Finished:
    """One frame's displaced vertices projected back onto its surface, and measured; as registered where it drifts
    more then."""
    from mimicme.stages.refine.photometric import better, gain, recognised
    from mimicme.stages.refine.warp import warped, warped_pixels

    refiner, reference = given.refiner, given.reference
    frame = displaced.frame
    if frame is None:
        registered = _registered(given.register, displaced.row)
        source = _source(given.ingest, displaced.row, refiner)
        assert source is not None
        frame = refiner.frame(source, *registered)
    shape = frame.vertices
    moved, reading = refiner.placed(frame, displaced.vertices.astype(np.float64))
    before = refiner.drift_before(reference.comparable, frame.texture, displaced.before)
    texture = warped(frame.texture, reading)
    after = refiner.drift_left(reference.comparable, texture)
    same_skin = recognised(after, reference.own_confidence, texture.mask)
    pixels = warped_pixels(frame.baked.texture, frame.baked.coverage, reading)
    factors = gain(*pixels, reference.texture, reference.coverage)
    kept = better(before, after) or not np.isfinite(moved).all()
    if kept:
        moved, after = shape, before
    slid = float(np.linalg.norm(moved - shape, axis=1).mean())
    return _Finished(moved, not kept, same_skin, before, after, factors, slid)


def _takes_mb(settings: RefineSettings, vertices: int) -> float:
    """`Stage.takes`, measured on a template of 2,200 vertices at 256 to 2048 texels (25, 51, 215, 846 MB) and on one
    of 53,349 at 512 (143 MB)."""
    return 210.0 * (settings.size / 1024) ** 2 + 0.0018 * vertices


STAGE = Stage(
    name="refine",
    version=16,
    settings=RefineSettings,
    needs=("ingest", "register", "repass"),
    compute=compute,
    reader=RefineCheckpoint,
    shapes=True,
    scope="subject",
    settings_by_preset={
        "fast": {"size": 256, "window_texels": 5.0},
        "best": {"size": 1024, "iterations": 4, "window_texels": 8.0},
    },
    memory="0.85 GB for a template of 10,000 vertices, 1.15 GB for 50,000, with scans left open for "
    "bake; and 12 bytes a vertex and frame; for a neutral, 32 bytes a vertex and near-neutral frame of all the "
    "subject's sequences",
    takes=_takes_mb,
)
