"""Template -> scan: non-rigid registration, tracked through the sequence.

Reads   ingest (scans), landmarks (68 points), align (rigid start, trusted landmarks); the same stage's artefact of
        the subject's neutral sequence, whose registered neutral becomes the template of the subject's other
        sequences.
Writes  vertices (F, V, 3) f4 canonical frame, mm; pose (F, 4, 4) f8 canonical -> scan, steadied on the skull;
        neutral (V, 3) f4, the sequence's calmest registered frame; quality/*.
Fails   per frame: register-no-overlap, register-misfit, register-landmarks, register-folded.

The method is the optimal-step non-rigid ICP of Amberg, Romdhani and Vetter (2007), with these changes: the local
affine maps are eliminated in closed form (stiffness.py); targets are planes, gated by normal, distance and rim, and
robustly weighted (targets.py); a landmark spline comes first and the landmarks stay to the end (spline.py,
solver.py); a coarse level finds the way and the template's own resolution only fits the surface (levels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mimicme.pipeline.stage import Stage, Task

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import ArtefactWriter
    from mimicme.stages.register.track import Registered


@dataclass(frozen=True)
class RegisterSettings:
    """Settings of the registration; the defaults were tuned on two people of the ICT-FaceKit captures.

    Attributes:
        coarse_vertices: vertices of the coarse level.
        coarse_steps: Gauss-Newton steps there, for a frame that starts from its landmarks alone.
        tracked_steps: the same for a frame that starts from the one before it.
        fine_steps: steps on the template itself.
        stiffness_start, stiffness_end: bending stiffness of the first and the last coarse step, mm^2; a feature
            narrower than about stiffness^(1/4) mm is smoothed away.
        stiffness_fine: the same on the template itself, per mm of its vertex spacing: a finer template may
            follow finer detail.
        fine_landmark_share: what is left of the landmarks' weight there.  They have led the coarse level, and
            pulling at single vertices of a fine mesh folds it.
        membrane: weight of stretching relative to bending.
        landmark_weight_mm2: a landmark counts as much as this area of surface, to the very end.
        landmark_smoothing_mm: smoothing of the initial landmark warp; about twice the landmarks' noise.
        scale_start_mm, scale_end_mm: residual at which a scan point's weight has fallen to a quarter.
        max_normal_angle_deg: between a template point and the scan point it is paired with.
        coarse_tolerance, fine_tolerance: relative tolerance of the linear solver.
        smooth_in_time: remove what rattles from frame to frame (temporal.py); sequences of 9 frames and more.
        region_reach_mm: scan vertices farther from the registered surface are not skin of the template's region.
        max_s2m_median_mm, max_landmark_error_mm, min_data_share, max_folded_share: a frame beyond is rejected.
    """

    coarse_vertices: int = 2500
    coarse_steps: int = 6
    tracked_steps: int = 3
    fine_steps: int = 3
    stiffness_start: float = 3000.0
    stiffness_end: float = 10.0
    stiffness_fine: float = 0.25
    fine_landmark_share: float = 0.1
    membrane: float = 0.0003
    landmark_weight_mm2: float = 20.0
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


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {"coarse_vertices": 1500, "coarse_steps": 4, "tracked_steps": 2, "fine_steps": 2},
    "default": {},
    "best": {"coarse_vertices": 4000, "coarse_steps": 10, "tracked_steps": 5, "fine_steps": 5},
}


@lru_cache(maxsize=2)
def _levels(template_path: object, digest: str, coarse_vertices: int, membrane: float) -> Any:
    """Everything about a template that no scan changes, once per worker."""
    from mimicme.pipeline.template import load_prepared
    from mimicme.stages.register.levels import build_levels

    del digest  # only part of the key: the same path may later hold another template
    return build_levels(load_prepared(template_path), coarse_vertices, membrane)  # type: ignore[arg-type]


def compute(task: Task, out: ArtefactWriter) -> None:
    """Register every frame of one sequence."""
    import numpy as np

    from mimicme.pipeline.checkpoint import Artefact
    from mimicme.pipeline.errors import FrameRejected
    from mimicme.pipeline.scan import load_scan
    from mimicme.stages.register.quality import UNITS
    from mimicme.stages.register.track import Frame, SequenceTracker, steadied

    settings: RegisterSettings = task.settings
    template = task.load_template()
    levels = _levels(task.template, template.digest, settings.coarse_vertices, settings.membrane)
    neutral = None
    if task.neutral is not None:
        with Artefact(task.neutral) as earlier:
            if earlier.ok_rows:
                neutral = earlier["neutral"][:].astype(np.float64)

    with task.input("ingest") as ingest, task.input("landmarks") as points, task.input("align") as align:
        rows = out.continue_from(align)
        vertices = out.rows("vertices", (len(template.vertices), 3), np.float32, "mm")
        pose = out.rows("pose", (4, 4), np.float64, "mm")
        figures = {name: out.rows(f"quality/{name}", (), np.float32, unit) for name, unit in UNITS.items()}
        out.attrs["personal_template"] = neutral is not None

        def load(row: int) -> Frame:
            scan = load_scan(ingest, row)
            trusted = align["landmark_ok"][row].astype(bool)
            return Frame(
                number=int(ingest["frame"][row]),
                vertices=scan.vertices,
                faces=scan.faces,
                landmarks=points["points"][row].astype(np.float64),
                confidence=np.where(trusted, points["confidence"][row].astype(np.float64), 0.0),
                pose=align["pose"][row].astype(np.float64),
            )

        tracker = SequenceTracker(template, levels, settings, neutral)
        found: dict[int, Registered] = {}
        for row in tracker.order(rows, load):
            try:
                found[row] = tracker.register(load(row)).compact()
            except FrameRejected as error:
                out.reject(row, error)
        if settings.smooth_in_time:
            found |= steadied(tracker, found, load)
        for row, result in sorted(found.items()):
            vertices[row] = result.vertices
            pose[row] = result.pose
            for name, value in asdict(result.quality).items():
                figures[name][row] = value
        out.array("neutral", _calmest(found, tracker.neutral_number, template.vertices), "mm")


def _calmest(found: Mapping[int, Registered], number: int | None, like: Any) -> Any:
    """(V, 3) f4 of the frame that serves as the subject's neutral; NaN when there is none."""
    import numpy as np

    for result in found.values():
        if result.number == number:
            return result.vertices
    return np.full(like.shape, np.nan, np.float32)


STAGE = Stage(
    name="register",
    version=1,
    settings=RegisterSettings,
    needs=("ingest", "landmarks", "align"),
    compute=compute,
    scope="neutral",
    settings_by_preset=PRESETS,
    memory="about 0.5 GB for a template of 10,000 vertices, 1.2 GB for 50,000",
)
