"""landmarks: 68 points on every scan, from the file beside the frame, and found in pictures of the scan elsewhere.

Reads   the landmark file of each frame that a person corrected (`pipeline.review`), else the raw one (same stem as the
        frame, `landmarks.files.EXTENSIONS` in that order), in the file's frame or in pixels of the scan's texture;
        ingest: file_from_scan, the cleaned scan and its image; the template, whose own landmarks say what a detected
        one means (`mediapipe_to_ibug`).
Writes  points (F, 68, 3) f4, scan frame, mm, NaN where absent; source (F, 68) u1, 0 none, 1 manual, 2
        detected; confidence (F, 68) f4 in [0, 1]: by hand 1 on the scan's surface, falling linearly to 0.5 at
        `max_distance_mm`; detected: see `finder.landmarks_on_scan`; absence (F, 68) u1, why a point is absent, in the
        words of the attribute `absence`; head (F, 4, 4) f8, head -> scan, where a head was found; attributes
        detector; origin_tally, how many frames have points from files, how many found ones;
        quality/landmark_distance (F,) f4: median distance of given points to the scan, mm, NaN of pixels;
        quality/landmark_confidence (F,) f4: mean over the 51 inner points, absent ones as 0.
Fails   a frame with `no-landmarks` (no file, and detection is off), `no-face` (none is found on the scan),
        `mouth-hidden` (what is worn lies before it), `texture-upside-down`, `landmark-file`, `landmark-scheme`,
        `landmarks-off-scan`, `landmarks-mirrored`, `landmarks-displaced`, `numerical-failure` (its numbers broke the
        computation).
        The whole run with `MissingDependencyError`, when detection is wanted and not installed.

The detector runs on a frame when its file lacks one of the 51 inner points, or has it where it is left out: off the
scan, or in a pixel that is no one place; and, where it is installed, when the file has pixels: these are compared.
The attribute detector is empty where no point of it was used.
Points by hand always win over detected ones, and say where the head is.  Notes: `landmarks-left-out`, a given point
lies further than `max_distance_mm` from a scan that the others lie on, or its pixel is no one place of it;
`landmarks-jump`, a detected one leaves its neighbours for a frame, and does so when it is detected again;
`landmarks-unsure`, the mean confidence is low, a scan without colours does not show brows, eyes or mouth, a hole
takes the place of the mouth, or an eye looks shut and does not show where its lids meet;
`landmarks-shifted`, a sequence's files lie on the scans of the frames before or after theirs;
`landmarks-by-hand-only`; `landmarks-not-compared`, pixels that nothing was found for;
`landmarks-axes`, which signs of x and y a file of 3D Slicer was read with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.config import MOVED, UNRECORDED
from mimicme.pipeline.errors import ConfigError, FrameRejected, MissingDependencyError, counted
from mimicme.pipeline.geometry.mesh import Mesh, inverse, transform
from mimicme.pipeline.geometry.rigid import fit_rigid
from mimicme.pipeline.geometry.spatial import Surface
from mimicme.pipeline.landmarks import (
    DETECTED,
    GROUPS,
    IBUG68,
    INNER,
    MANUAL,
    N_LANDMARKS,
    NONE,
    Detector,
    Located,
    Sides,
)
from mimicme.pipeline.landmarks.beside import Beside, read_given
from mimicme.pipeline.scan import load_colored, load_image_size, load_scan
from mimicme.pipeline.stage import Stage, Task
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.checkpoint import LandmarksCheckpoint, LandmarksWriter
from mimicme.stages.landmarks.given import (
    contradicts,
    located,
    merge,
    of_slicer,
    on_scan,
    refuse_mirrored,
)
from mimicme.stages.landmarks.no_face import say_axes, say_size
from mimicme.stages.landmarks.shifted import NeighbourCheck
from mimicme.stages.landmarks.temporal import jumps
from mimicme.stages.landmarks.texture_points import on_texture, refuse_displaced
from mimicme.stages.landmarks.unedited_points import read_found, unedited

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

__all__ = ["STAGE", "LandmarksSettings", "compute", "detector", "located", "merge", "on_scan"]

MEDIAPIPE, OFF = "mediapipe", "none"
UNSURE = 0.25  # mean confidence below which a frame is worth a look
JUMP_SHARE = 0.3  # what a point that jumps is still worth
UPSIDE_DOWN = "texture-upside-down"
UPSIDE_DOWN_MM = 15.0
"""Median distance up to which the points found in a texture that was turned are those of the bare surface: a face found
elsewhere, in a pattern say, lies further off."""


@dataclass(frozen=True)
class LandmarksSettings:
    """Settings of the landmarks stage.

    Attributes:
        sides: stands in [captures] now.
        max_distance_mm: largest distance of a landmark from the scan; one farther is left out, and when more than
            half are, the frame is rejected; so it is when the median of those over its surface is farther than a
            sixth of it, as another scan's are. Points by hand lie within 1 mm of the embedded scan but for a few over
            holes and at the ears.
        detector: what finds points that no file gives: `mediapipe`, `none`, or `package.module:function` of your
            own, which is called without arguments and returns a `pipeline.landmarks.Detector`.
        detector_model: file of MediaPipe's weights; empty: as installed.
    """

    sides: Sides = field(default="image", metadata=MOVED)
    max_distance_mm: float = 15.0
    detector: str = MEDIAPIPE
    # the same wherever it lies: its checksum is fixed
    detector_model: str = field(default="", metadata=UNRECORDED)

    def __post_init__(self) -> None:
        if self.sides not in ("image", "subject"):
            raise ConfigError(
                "`sides` says whose left is meant", seen=self.sides, expected="image or subject"
            )
        if not self.max_distance_mm > 0:
            raise ConfigError("`max_distance_mm` is a length", seen=self.max_distance_mm, expected="above 0")
        if self.detector not in (MEDIAPIPE, OFF) and ":" not in self.detector:
            raise ConfigError(
                "the landmark detector is not known",
                seen=self.detector,
                expected=f"{MEDIAPIPE}, {OFF}, or package.module:function of your own",
            )


def detector(task: Task[LandmarksSettings]) -> Detector | None:
    """What finds landmarks where no file gives them; None when that is switched off.

    Raises:
        MissingDependencyError, ConfigError: OpenCV or the weights are missing or wrong.
        ConfigError: a detector of the user's own cannot be loaded.
    """
    settings = task.settings
    if settings.detector == OFF:
        return None
    if settings.detector != MEDIAPIPE:
        return _own(settings.detector)
    from mimicme.stages.landmarks.chin import chin_for
    from mimicme.stages.landmarks.finder import FaceFinder
    from mimicme.stages.landmarks.mediapipe_to_ibug import mapping_for
    from mimicme.stages.landmarks.networks import mediapipe
    from mimicme.stages.landmarks.upper_face import upper_face_for

    networks = mediapipe(settings.detector_model)
    template = task.template
    return FaceFinder(networks, mapping_for(template, networks), chin_for(template), upper_face_for(template))


def _own(name: str) -> Detector:
    from importlib import import_module

    module, _, function = name.partition(":")
    try:
        made: Detector = getattr(import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            "the landmark detector cannot be loaded",
            where="[landmarks] detector",
            seen=f"{name}: {error}",
            expected="a module on Python's path with a function that takes nothing",
        ) from error
    return made


class Finder:
    """The detector of a sequence, made when the first frame asks for it.

    Attributes:
        bare: rows on which a face was found only without the texture.
    """

    def __init__(self, task: Task[LandmarksSettings]) -> None:
        self.bare: set[int] = set()
        self._task = task
        self._made = False
        self._detector: Detector | None = None
        self._missing: MissingDependencyError | None = None

    @property
    def name(self) -> str:
        return "" if self._detector is None else self._detector.name

    def installed(self) -> bool:
        """Whether what should find landmarks is installed.

        Raises:
            MissingDependencyError, ConfigError: it is there, but broken or wrong.
        """
        if not self._made:
            try:
                self._detector = detector(self._task)
            except MissingDependencyError as error:
                if not isinstance(error.__cause__, (ModuleNotFoundError, type(None))):
                    raise
                self._missing = error
            self._made = True
        return self._missing is None

    def detect(
        self, ingest: IngestCheckpoint, row: int, near: Floats | None, scan: Mesh | None = None
    ) -> Located | None:
        """Landmarks of a frame; None when detection is off.

        Args:
            scan: the frame's, where it was read before.

        Raises:
            FrameRejected: `no-face`, `mouth-hidden`, `texture-upside-down`, `numerical-failure`.
            MissingDependencyError: see the module.
        """
        if not self.installed():
            assert self._missing is not None
            raise self._missing
        if self._detector is None:
            return None
        # a detector of the user's own gets the image as it is
        coarser = getattr(self._detector, "texels_too_many", None)
        scan, image, _ = load_colored(ingest, row, scan, coarser)
        with frame_numerics():
            try:
                found = self._detector.detect(scan, image, near)
                # a head that stood on its head in the frame before does so in this one: nothing is new
                lay = near is not None and near[1, 1] < 0
                if image is None or lay or not _on_its_head(found):
                    return found
                return self._by_the_surface(ingest, row, scan, image, found)
            except FrameRejected as error:
                if error.reason != "no-face":
                    raise
                bare = self._without_colors(scan, image, near)
                if bare is None:
                    say_size(error, scan.vertices, ingest.file_from_scan)
                    say_axes(error, ingest.assumed.up)
                    raise
                if not ingest.statuses[row].may_have("textures-joined"):
                    self._refuse_upside_down(scan, image, bare)
                _refuse_hidden(scan, image, bare)
                self.bare.add(row)
                return bare

    def _by_the_surface(
        self, ingest: IngestCheckpoint, row: int, scan: Mesh, image: NDArray[np.uint8], found: Located
    ) -> Located:
        """Landmarks of a scan whose texture shows the face on its head: a scan may lie so, or its texture alone, as an
        image of several views side by side does on the scan where v runs the other way.  The bare surface tells.

        Raises:
            FrameRejected: `texture-upside-down`.
        """
        bare = self._found(replace(scan, colors=None), None, None)
        if bare is None or _on_its_head(bare):
            return found
        if not ingest.statuses[row].may_have("textures-joined"):
            self._refuse_upside_down(scan, image, bare)
        self.bare.add(row)
        return bare

    def _without_colors(
        self, scan: Mesh, image: NDArray[np.uint8] | None, near: Floats | None
    ) -> Located | None:
        """Landmarks of a scan whose colours show no face: by its vertices' colours, where an image was looked at, then
        by its surface alone; None where that shows none either, or where it has no colours.

        Raises:
            FrameRejected: `mouth-hidden`, as the vertices' colours show.
        """
        found = None
        if scan.colors is not None and image is not None:
            found = self._found(scan, None, near, hides="mouth-hidden")
        if found is None and (scan.colors is not None or image is not None):
            found = self._found(replace(scan, colors=None), None, near)
        return found

    def _found(
        self, scan: Mesh, image: NDArray[np.uint8] | None, near: Floats | None, hides: str = ""
    ) -> Located | None:
        """Landmarks; None where there is no face: an image that is another's, or upside down, hides it.

        Args:
            hides: a reason for which the frame is rejected all the same.
        """
        assert self._detector is not None
        try:
            return self._detector.detect(scan, image, near)
        except FrameRejected as error:
            if error.reason == hides:
                raise
            return None

    def _refuse_upside_down(self, scan: Mesh, image: NDArray[np.uint8] | None, bare: Located) -> None:
        """Refuse a texture in which the face shows when it is turned upside down, at the place where the surface has
        it.

        Args:
            image: (h, w, 3); None: there is none, and nothing is refused.
            bare: landmarks of the bare surface.

        Raises:
            FrameRejected: `texture-upside-down`.
        """
        if (
            scan.uv is None or image is None
        ):  # nothing to turn: its vertices' colours would show the face again
            return
        turned = self._found(replace(scan, uv=scan.uv * [1.0, -1.0] + [0.0, 1.0]), image, bare.pose)
        if turned is None:
            return
        apart = np.linalg.norm(turned.points - bare.points, axis=1)
        if np.isfinite(apart).any() and np.nanmedian(apart) < UPSIDE_DOWN_MM:
            raise FrameRejected(
                UPSIDE_DOWN,
                "the texture shows the face only when it is turned upside down",
                seen="v of the texture coordinates against the file's format",
                todo='Set texture_v = "flipped" under [captures] in mimicme.toml, or give the mesh its own image, '
                "and run again.",
            )


def _refuse_hidden(scan: Mesh, image: NDArray[np.uint8] | None, bare: Located) -> None:
    """Refuse a face that is found without its colours only, as a mask hides its mouth in them.

    Raises:
        FrameRejected: `mouth-hidden`.
    """
    from mimicme.stages.landmarks.hidden import refuse_hidden
    from mimicme.stages.landmarks.views import Scene

    refuse_hidden(Scene(scan, image), bare.points, bare.pose)


def _on_its_head(found: Located) -> bool:
    """Whether a face's eyes lie below its mouth, against the scan's +y."""
    eyes, mouth = found.points[36:48], found.points[48:68]
    seen = [part[np.isfinite(part).all(axis=1)] for part in (eyes, mouth)]
    if not all(map(len, seen)):
        return False
    up = seen[0].mean(axis=0) - seen[1].mean(axis=0)
    return bool(up[1] < -0.5 * np.linalg.norm(up))


@dataclass
class Frame:
    """What is known of one frame."""

    found: Located
    left_out: list[str]
    distance_mm: float
    alone: str = ""  # why there is nothing but points by hand, where more were asked for
    not_compared: str = ""  # why pixels were not compared with what is found
    axes: str = ""  # which signs of x and y the points of 3D Slicer were taken with


@dataclass
class Given:
    """A file's points on the scan of their frame.

    Attributes:
        pixels: (68, 2) as in the file; None: it has points in space.
        size: (height, width) px of the scan's texture; None: not asked for, or there is none.
        axes: see `Frame`.
    """

    manual: Located
    left_out: list[str]
    distance_mm: float
    scan: Mesh
    pixels: Floats | None = None
    size: tuple[int, int] | None = None
    axes: str = ""

    def frame(self, alone: str = "", not_compared: str = "") -> Frame:
        return Frame(self.manual, self.left_out, self.distance_mm, alone, not_compared, self.axes)


def head_by_hand(template_marks: Floats, manual: Located) -> Floats | None:
    """(4, 4) roughly where the head is, by points given by hand; None when they do not say.

    The axes are the template's; the origin lies between its eyes and the base of its nose.
    """
    there = np.asarray(np.isfinite(manual.points).all(axis=1))
    there[GROUPS["jaw"]] = False
    if there.sum() < 3:
        return None
    source, target = template_marks[there], manual.points[there]
    if np.linalg.svd(source - source.mean(axis=0), compute_uv=False)[1] < 10.0:
        return None  # in one line
    middle = (template_marks[[36, 39, 42, 45]].mean(axis=0) + template_marks[[31, 33, 35]].mean(axis=0)) / 2
    shift = np.eye(4)
    shift[:3, 3] = middle
    return np.asarray(fit_rigid(source, target) @ shift)


def _given_on_scan(
    ingest: IngestCheckpoint,
    row: int,
    beside: Beside,
    limit_mm: float,
    marks: Floats,
    neighbours: NeighbourCheck,
) -> Given:
    """A file's points or pixels on the scan; marks: (68, 3) the template's landmarks.

    Points in space are added to what compares them with other frames' scans.

    Raises:
        FrameRejected: see the module.
    """
    scan = load_scan(ingest, row)
    with frame_numerics():
        if beside.points.shape[1] == 2:
            joined, size = ingest.statuses[row].may_have("textures-joined"), load_image_size(ingest, row)
            points, lost = on_texture(beside.points, scan, size, joined, marks)
            lifted = np.where(np.isfinite(points[:, 0]), 0.0, np.nan)
            return Given(located(points, lifted, limit_mm)[0], lost, np.nan, scan, beside.points, size)
        surface, scan_from_file = Surface(scan.vertices, scan.faces), inverse(ingest.file_from_scan)
        in_file, axes = of_slicer(beside, scan_from_file, surface)
        in_scan = transform(scan_from_file, in_file)
        neighbours.add(row, in_scan, surface)
        refuse_mirrored(in_file, scan_from_file, surface)
        distances = on_scan(in_scan, surface, limit_mm, in_file, scan_from_file)
        return Given(*located(in_scan, distances, limit_mm), float(np.nanmedian(distances)), scan, axes=axes)


def _compare(given: Given, detected: Located | None) -> str:
    """Why a file's pixels could not be compared with what was detected, if so.

    Raises:
        FrameRejected: they lie off it, all alike.
    """
    if given.pixels is None or given.size is None or detected is None:
        return ""
    with frame_numerics():
        return refuse_displaced(given.pixels, given.manual, detected, given.scan, given.size)


def read_frame(
    task: Task[LandmarksSettings],
    out: CheckpointWriter,
    ingest: IngestCheckpoint,
    row: int,
    finder: Finder,
    near: Floats | None,
    neighbours: NeighbourCheck,
) -> Frame:
    """Landmarks of one frame, by hand and detected.

    Raises:
        FrameRejected: see the module.
    """
    frame = task.sequence.frames[row]
    beside = read_given(frame, out.sources, task.captures.sides)
    if beside is None:
        return Frame(merge(None, finder.detect(ingest, row, near)), [], np.nan)
    marks = task.load_template().landmarks()
    given = _given_on_scan(ingest, row, beside, task.settings.max_distance_mm, marks, neighbours)
    exported = read_found(frame, out.sources)
    if exported is not None and given.pixels is None:
        found, confidence = exported
        found = transform(inverse(ingest.file_from_scan), found)
        given.manual = unedited(given.manual, found, confidence)
    whole, pixels = bool((given.manual.source[INNER] != NONE).all()), given.pixels is not None
    if whole and not pixels:
        return given.frame()
    if whole and not finder.installed():
        return given.frame(not_compared="the landmark detector is not installed")
    by_hand = head_by_hand(marks, given.manual)
    try:
        detected = finder.detect(ingest, row, by_hand if by_hand is not None else near, given.scan)
    except FrameRejected as error:
        if error.reason == UPSIDE_DOWN:
            raise
        return given.frame("", error.what) if whole else given.frame(error.what)
    not_compared = _compare(given, detected)
    if whole:
        return given.frame(not_compared=not_compared)
    if detected is not None and contradicts(given.manual, detected):
        return given.frame("what was detected lies elsewhere")
    return replace(given.frame(not_compared=not_compared), found=merge(given.manual, detected))


def compute(task: Task[LandmarksSettings], out: CheckpointWriter) -> None:
    """The stage: see the module."""
    finder, neighbours = Finder(task), NeighbourCheck()
    with task.input(IngestCheckpoint) as ingest:
        rows = out.continue_from(ingest)
        frames: dict[int, Frame] = {}
        off_scan: dict[int, FrameRejected] = {}
        near: Floats | None = None
        for row in rows:
            try:
                frame = read_frame(task, out, ingest, row, finder, near, neighbours)
            except FrameRejected as error:
                out.reject(row, error)
                if error.reason == "landmarks-off-scan":
                    off_scan[row] = error
                continue
            frames[row] = frame
            near = frame.found.pose if frame.found.pose is not None else near
        jumping = _redetect_jumps(frames, ingest, finder, len(ingest.numbers))
    used = any((frame.found.source == DETECTED).any() for frame in frames.values())
    _write(out, frames, jumping, finder.name if used else "", task.settings)
    shift = neighbours.shift()
    if shift is not None:
        for row, frame in sorted(frames.items()):
            if (frame.found.source == MANUAL).any():
                out.note(row, "landmarks-shifted", shift.sentence())
        for row, rejection in off_scan.items():
            # else it would be told to raise a bound, and keep another scan's points
            if neighbours.may_be(row, shift):
                rejection.todo = shift.sentence()
                out.reject(row, rejection)
    for row in sorted(finder.bare):
        out.note(
            row,
            "face-without-texture",
            "The face was found only without the texture: is the image, or are the colours of the vertices, this "
            "frame's own, the right way up, and of skin?",
        )


def _local(frames: dict[int, Frame], count: int) -> Floats:
    """(F, 68, 3) detected points in the heads' own axes, NaN elsewhere."""
    points = np.full((count, N_LANDMARKS, 3), np.nan)
    for row, frame in frames.items():
        if frame.found.pose is not None:
            there = frame.found.source == DETECTED
            points[row, there] = transform(inverse(frame.found.pose), frame.found.points[there])
    return points


def _redetect_jumps(
    frames: dict[int, Frame], ingest: IngestCheckpoint, finder: Finder, count: int
) -> dict[int, NDArray[np.bool_]]:
    """Detect again, without the pose of the frame before, where points jump; those that still do, by row."""
    out: dict[int, NDArray[np.bool_]] = {}
    wrong = jumps(_local(frames, count))
    for row in np.flatnonzero(wrong.any(axis=1)).tolist():
        before = frames[row]
        again: Located | None = None
        bare_before = row in finder.bare
        finder.bare.discard(row)
        try:
            again = finder.detect(ingest, row, None)
        except FrameRejected:
            again = None
        if again is not None:
            kept = before.found.source != DETECTED
            frames[row] = replace(before, found=merge(_only(before.found, kept), again))
            now = jumps(_local(frames, count))[row]
            if now.sum() < wrong[row].sum():
                wrong[row] = now
            else:
                frames[row] = before
        if frames[row] is before:
            (finder.bare.add if bare_before else finder.bare.discard)(row)
        if wrong[row].any():
            out[row] = wrong[row]
    return out


def _only(found: Located, rows: NDArray[np.bool_]) -> Located:
    return Located(
        np.where(rows[:, None], found.points, np.nan),
        np.where(rows, found.source, NONE).astype(np.uint8),
        np.where(rows, found.confidence, 0).astype(np.float32),
    )


def _write(
    out: CheckpointWriter,
    frames: dict[int, Frame],
    jumping: dict[int, NDArray[np.bool_]],
    detector: str,
    settings: LandmarksSettings,
) -> None:
    from mimicme.stages.landmarks.finder import ABSENCE, NOT_GIVEN, OFF_SCAN

    writer = LandmarksWriter(out, detector, ABSENCE, _origins(frames))
    for row, frame in sorted(frames.items()):
        found = frame.found
        worth = found.confidence.copy()
        if row in jumping:
            worth[jumping[row]] *= JUMP_SHARE
        why = np.where(found.source == NONE, NOT_GIVEN, 0) if found.absent is None else found.absent
        why = np.where(np.isin(IBUG68, frame.left_out) & (found.source == NONE), OFF_SCAN, why)
        sure = float(worth[INNER].mean())
        writer.frame(
            row,
            found.points,
            found.source,
            worth,
            why.astype(np.uint8),
            found.pose,
            frame.distance_mm,
            sure,
            found.shown_shut,
        )
        _write_notes(out, row, frame, jumping.get(row), sure, settings)


def _origins(frames: dict[int, Frame]) -> str:
    """How many frames have their landmarks from where: `checkpoint_index.TALLY`."""
    by_hand = [(f.found.source == MANUAL).any() for f in frames.values()]
    detected = [(f.found.source == DETECTED).any() for f in frames.values()]
    both = sum(b and d for b, d in zip(by_hand, detected, strict=True))
    told = f"{sum(by_hand) - both} from files beside them, {sum(detected) - both} found"
    return told + (f", {both} from files and found" if both else "")


def _write_notes(
    out: CheckpointWriter,
    row: int,
    frame: Frame,
    jumping: NDArray[np.bool_] | None,
    sure: float,
    settings: LandmarksSettings,
) -> None:
    if frame.left_out:
        out.note(
            row,
            "landmarks-left-out",
            counted(len(frame.left_out), "landmark lies", "landmarks lie")
            + f" over {settings.max_distance_mm:g} mm off the scan, or where its texture shows no one place of it, and "
            f"{'was' if len(frame.left_out) == 1 else 'were'} left out: {_few(frame.left_out)}. {_in_place(frame)}",
        )
    if frame.axes:
        out.note(row, "landmarks-axes", frame.axes)
    if frame.alone:
        out.note(row, "landmarks-by-hand-only", f"The file's landmarks are alone, because {frame.alone}.")
    if frame.not_compared:
        out.note(
            row,
            "landmarks-not-compared",
            f"The landmarks' pixels were not compared with what is found, because {frame.not_compared}.",
        )
    if jumping is not None:
        names = [IBUG68[k] for k in np.flatnonzero(jumping)]
        out.note(
            row,
            "landmarks-jump",
            counted(len(names), "landmark leaves its", "landmarks leave their")
            + f" neighbours for a frame: {_few(names)}.",
        )
    if sure < UNSURE and (frame.found.source == DETECTED).any():
        out.note(
            row,
            "landmarks-unsure",
            f"Landmarks were found with a confidence of only {sure:.2f}: look at them.",
        )
    elif frame.found.over_hole:
        parts = " and the ".join(frame.found.over_hole)
        out.note(
            row,
            "landmarks-unsure",
            f"The scan has a hole where the {parts} should be: the landmarks that lie on its rim count next "
            "to nothing. Look at the scan.",
        )
    elif frame.found.unshown:
        out.note(
            row,
            "landmarks-unsure",
            f"The scan has no colours, and its surface does not show the {' and the '.join(frame.found.unshown)}: look "
            "at the landmarks there.",
        )
    elif frame.found.shut:
        # `left_eye` is the image's
        sides = " and the ".join({"left_eye": "right", "right_eye": "left"}[eye] for eye in frame.found.shut)
        out.note(
            row,
            "landmarks-unsure",
            f"The {sides} eye (the subject's own) looks shut, or hidden, and nothing shows where its lids meet: "
            "look at the landmarks there.",
        )


def _in_place(frame: Frame) -> str:
    """What stands in place of the landmarks that were left out."""
    found = int((frame.found.source[np.isin(IBUG68, frame.left_out)] == DETECTED).sum())
    if found == len(frame.left_out):
        return "Found ones stand in their place." if found > 1 else "A found one stands in its place."
    if found:
        return f"For {found} of them found ones stand in their place; the others are absent."
    return "None was found in their place: they are absent."


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")


STAGE = Stage(
    name="landmarks",
    version=21,
    settings=LandmarksSettings,
    needs=("ingest",),
    compute=compute,
    reader=LandmarksCheckpoint,
    shapes=True,
    corrected=True,
    memory="0.5 GB a worker: one scan, its search tree and image, and the detector's networks.",
)
