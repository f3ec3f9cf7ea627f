"""Template -> scan: non-rigid registration, tracked through the sequence.

Reads   ingest (scans), landmarks (68 points), align (rigid start, trusted landmarks); the same stage's artefact of
        the subject's neutral sequence, whose registered neutral becomes the template of the subject's other
        sequences.  A long sequence is tracked in parts (parts.py), which this stage then reads back and joins.
Writes  vertices (F, V, 3) f4 canonical frame, mm; pose (F, 4, 4) f8 canonical -> scan, steadied on the skull;
        neutral (V, 3) f4, the calmest registered frame of a sequence that others take theirs from; of detected
        landmarks, detector_offset (68, 3) f4 mm, see `track.SequenceTracker`; quality/*.
Fails   per frame: register-no-overlap, register-misfit, register-landmarks, register-folded.

The method is the optimal-step non-rigid ICP of Amberg, Romdhani and Vetter (2007), with these changes: the local
affine maps are eliminated in closed form (stiffness.py); targets are planes, gated by normal, distance and rim, and
robustly weighted (targets.py); a landmark spline comes first and the landmarks stay to the end (spline.py,
solver.py); a coarse level finds the way and the template's own resolution only fits the surface (levels.py); the
rest shape turns with the head (track.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.stage import Stage, Task

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import Artefact, ArtefactWriter
    from mimicme.pipeline.mesh import Floats
    from mimicme.pipeline.template import TemplateKey
    from mimicme.stages.register.levels import Levels
    from mimicme.stages.register.track import Registered, SequenceTracker


@dataclass(frozen=True)
class RegisterSettings:
    """Settings of the registration; the defaults were tuned on two people of the ICT-FaceKit captures.

    Attributes:
        coarse_vertices: vertices of the coarse level.
        coarse_steps: Gauss-Newton steps there, for a frame that starts from its landmarks alone.
        tracked_steps: the same for a frame that starts from the one before it.
        neutral_fine_steps: steps on the template itself for a subject's neutral, after a first one that is stiffer.
        fine_steps: the same for every other frame.
        stiffness_start, stiffness_end: bending stiffness of the first and the last coarse step, mm^2; a feature
            narrower than about stiffness^(1/4) mm is smoothed away.
        stiffness_fine: the same on the template itself, per mm of its vertex spacing: a finer template may
            follow finer detail.
        fine_landmark_share: what is left of the landmarks' weight there.  They have led the coarse level, and
            pulling at single vertices of a fine mesh folds it.
        membrane: weight of stretching relative to bending.
        membrane_neutral: the same while a subject's neutral is fitted from the template: between two people skin
            is stretched less than by an expression.  Not where the mouth of what has to serve as neutral is open.
        landmark_weight_mm2: a landmark counts as much as this area of surface, to the very end.
        detected_share: what is left of that weight where a detector found the landmark and the neutral is fitted.  Its
            slips go the same way for neighbours, so that many points are not many witnesses: lids, nose and lips have
            relief, and there the scan knows better.  Brows have none and keep their weight; the ridge of the nose,
            which a detector's points only share out, has none left.
        landmark_smoothing_mm: smoothing of the initial landmark warp; about twice the landmarks' noise.
        scale_start_mm, scale_end_mm: residual at which a scan point's weight has fallen to a quarter.
        max_normal_angle_deg: between a template point and the scan point it is paired with.
        coarse_tolerance, fine_tolerance: relative tolerance of the linear solver.
        smooth_in_time: remove what rattles from frame to frame (pipeline/temporal.py); sequences of 9 frames and more.
        region_reach_mm: scan vertices farther from the registered surface are not skin of the template's region.
        max_s2m_median_mm, max_landmark_error_mm, min_data_share, max_folded_share,
        max_expected_error_mm: a frame beyond is rejected; with found landmarks, beyond twice as much.
        part_frames: a sequence of one and a half times as many frames or more is tracked in parts of about so many,
            side by side (parts.py); 0: never.  A sequence that has to find its neutral itself is never cut.
    """

    coarse_vertices: int = 2500
    coarse_steps: int = 6
    tracked_steps: int = 3
    neutral_fine_steps: int = 3
    fine_steps: int = 2
    stiffness_start: float = 3000.0
    stiffness_end: float = 10.0
    stiffness_fine: float = 0.25
    fine_landmark_share: float = 0.05
    membrane: float = 0.0003
    membrane_neutral: float = 0.006
    landmark_weight_mm2: float = 20.0
    detected_share: float = 0.05
    landmark_smoothing_mm: float = 2.0
    scale_start_mm: float = 10.0
    scale_end_mm: float = 0.7
    max_normal_angle_deg: float = 53.0
    coarse_tolerance: float = 1e-4
    fine_tolerance: float = 1e-3
    smooth_in_time: bool = True
    region_reach_mm: float = 10.0
    max_s2m_median_mm: float = 1.0
    max_landmark_error_mm: float = 6.0
    min_data_share: float = 0.2
    max_folded_share: float = 0.01
    max_expected_error_mm: float = 2.1
    part_frames: int = 60

    def __post_init__(self) -> None:
        least = {
            "coarse_vertices": 100,
            "coarse_steps": 1,
            "tracked_steps": 1,
            "neutral_fine_steps": 1,
            "fine_steps": 1,
        }
        for name, bound in least.items():
            self._check(name, getattr(self, name) >= bound, f"at least {bound}")
        for name in (
            "stiffness_start", "stiffness_end", "stiffness_fine", "scale_start_mm", "scale_end_mm",
            "region_reach_mm", "max_s2m_median_mm", "max_landmark_error_mm", "max_expected_error_mm",
        ):  # fmt: skip
            self._check(name, getattr(self, name) > 0, "more than 0")
        for name in (
            "membrane", "membrane_neutral", "landmark_weight_mm2", "landmark_smoothing_mm", "max_folded_share",
            "part_frames",
        ):  # fmt: skip
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("detected_share", "fine_landmark_share", "min_data_share"):
            self._check(name, 0 <= getattr(self, name) <= 1, "0 to 1")
        for name in ("coarse_tolerance", "fine_tolerance"):
            self._check(name, 0 < getattr(self, name) < 1, "between 0 and 1")
        self._check("max_normal_angle_deg", 0 < self.max_normal_angle_deg < 90, "between 0 and 90")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(
                "a setting is out of range",
                where=f"register.{name}",
                seen=getattr(self, name),
                expected=expected,
            )


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "coarse_vertices": 1500,
        "coarse_steps": 4,
        "tracked_steps": 2,
        "neutral_fine_steps": 2,
        "fine_steps": 1,
    },
    "default": {},
    "best": {
        "coarse_vertices": 4000,
        "coarse_steps": 10,
        "tracked_steps": 5,
        "neutral_fine_steps": 5,
        "fine_steps": 4,
    },
}


@lru_cache(maxsize=2)
def template_levels(key: TemplateKey, coarse_vertices: int, membrane: float) -> Levels:
    """Everything about a template that no scan changes, once per worker."""
    from mimicme.stages.register.levels import build_levels

    return build_levels(key.template, coarse_vertices, membrane)


def parts(task: Task) -> int:
    """How many parts a sequence is tracked in: by its length alone, and only from a neutral that is known."""
    from mimicme.stages.register.parts import count_parts

    count = count_parts(len(task.sequence.frames), task.settings.part_frames)
    return count if count > 1 and _neutral(task)[0] is not None else 1


def _neutral(task: Task) -> tuple[Floats | None, Floats | None]:
    """(V, 3) the registered neutral of the subject, None when this sequence has to find its own; (68, 3) the
    detector's offset found with it, None when there is none."""
    import numpy as np

    from mimicme.pipeline.checkpoint import Artefact

    if task.neutral is None:
        return None, None
    with Artefact(task.neutral) as earlier:
        neutral = earlier["neutral"][:].astype(np.float64) if "neutral" in earlier else None
        return neutral, detector_offset(earlier)


def detector_offset(register: Artefact) -> Floats | None:
    """(68, 3) mm, what was taken off the detected landmarks of a sequence; None where nothing was."""
    import numpy as np

    return register["detector_offset"][:].astype(np.float64) if "detector_offset" in register else None


def compute(task: Task, out: ArtefactWriter) -> None:
    """Register every frame of one sequence, or of a part of one; or join the parts."""
    import numpy as np

    from mimicme.pipeline.checkpoint import frame_numerics
    from mimicme.pipeline.errors import FrameRejected
    from mimicme.pipeline.landmarks import DETECTED
    from mimicme.pipeline.scan import load_scan
    from mimicme.pipeline.template import TemplateKey
    from mimicme.stages.register.parts import read_parts, write_part
    from mimicme.stages.register.track import Frame, SequenceTracker, steadied

    settings: RegisterSettings = task.settings
    template = task.load_template()
    levels = template_levels(TemplateKey(template), settings.coarse_vertices, settings.membrane)
    neutral, offset = _neutral(task)

    with task.input("ingest") as ingest, task.input("landmarks") as points, task.input("align") as align:

        def marked(row: int) -> tuple[Floats, Floats]:
            trusted = align["landmark_ok"][row].astype(bool)
            confidence = np.where(trusted, points["confidence"][row].astype(np.float64), 0.0)
            return points["points"][row].astype(np.float64), confidence

        def load(row: int) -> Frame:
            scan = load_scan(ingest, row)
            number, pose = int(ingest["frame"][row]), align["pose"][row].astype(np.float64)
            detected = points["source"][row] == DETECTED
            return Frame(number, scan.vertices, scan.faces, *marked(row), pose, detected)

        tracker = SequenceTracker(template, levels, settings, neutral, offset)
        numbers, statuses = align.numbers.tolist(), align.statuses
        mine = range(len(numbers)) if task.part is None else task.part.rows(len(numbers))
        found: dict[int, Registered] = {}
        if task.parts:
            statuses, found = read_parts(task.parts)
        out.frames([numbers[row] for row in mine], [statuses[row] for row in mine])
        if not task.parts:
            rows = [row for row in mine if statuses[row].ok]
            order = tracker.order if task.part is None else tracker.order_from_anchor
            for row in order(rows, marked):
                frame = load(row)
                try:
                    with frame_numerics():
                        found[row] = tracker.register(frame).compact()
                except FrameRejected as error:
                    out.reject(row - mine.start, error)
        if task.part is not None:
            write_part(out, len(template.vertices), {row - mine.start: one for row, one in found.items()})
            return
        if settings.smooth_in_time:
            found |= steadied(tracker, found, load)
        _write(out, len(template.vertices), found, tracker, neutral is not None)


def _write(
    out: ArtefactWriter,
    vertex_count: int,
    found: Mapping[int, Registered],
    tracker: SequenceTracker,
    personal: bool,
) -> None:
    """Write the registered frames of a whole sequence, by row, and the neutral if it was found here."""
    import numpy as np

    from mimicme.stages.register.quality import UNITS

    vertices = out.rows("vertices", (vertex_count, 3), np.float32, "mm")
    pose = out.rows("pose", (4, 4), np.float64, "mm")
    figures = {name: out.rows(f"quality/{name}", (), np.float32, unit) for name, unit in UNITS.items()}
    out.attrs["personal_template"] = personal
    for row, result in sorted(found.items()):
        vertices[row] = result.vertices
        pose[row] = result.pose
        for name, value in asdict(result.quality).items():
            figures[name][row] = value
    calm = [result.vertices for result in found.values() if result.number == tracker.neutral_number]
    if calm:
        out.array("neutral", calm[0], "mm")
    if tracker.detector_offset.any():
        out.array("detector_offset", tracker.detector_offset.astype(np.float32), "mm")


STAGE = Stage(
    name="register",
    version=9,
    settings=RegisterSettings,
    needs=("ingest", "landmarks", "align"),
    compute=compute,
    scope="neutral",
    settings_by_preset=PRESETS,
    memory="0.5 GB for a template of 10,000 vertices, 1.2 GB for 50,000; and 36 bytes a vertex and frame, "
    "a third of that for a part of a sequence",
    parts=parts,
)
