"""A fit is stabilised on the skull, measured, and called registered or rejected."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import inverse, transform
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template.eyelids import EYES, open_share
from mimicme.pipeline.texture.skin_seen import is_skin
from mimicme.stages.register.annealing import Step
from mimicme.stages.register.detector_bias import CLOSED_EYE, SHUT_EYE
from mimicme.stages.register.fit import Fitter
from mimicme.stages.register.fit_target import Correspondences, FitTarget
from mimicme.stages.register.frame import Frame, Registered
from mimicme.stages.register.mouth_light import Mouth, light_between_lips
from mimicme.stages.register.person import Person
from mimicme.stages.register.quality import LandmarkChecks, Quality
from mimicme.stages.register.rejection import reject_bad
from mimicme.stages.register.setup import Setup
from mimicme.stages.register.skin import has_cover
from mimicme.stages.register.spline import disagreement
from mimicme.stages.register.stabilisation import head_motion
from mimicme.stages.register.targets import ScanTarget

THERE_MM = 2.5
"""A scan whose surface, or the end of it, is so near to a vertex shows the place: gaps between lips and lids, and
specks that are missing, are no loss."""
SURFACE_SLACK, SURFACE_SLACK_MM = 1.5, 0.03
"""How much farther from its scan a second fit, or the smoothing of scans without noise, may take a frame: this many
times its own fit's median, and mm.  A frame's own fit follows the noise of its scan; smoothing does not."""


class Seen(NamedTuple):
    """(V,) where a scan shows a shape: `valid`, where a correspondence is, and skin; `shown`, that, or hair, a beard, a
    cap or clothes over it; `there`, where it has any surface nearby, however that faces: elsewhere it has a hole, or
    ends."""

    valid: Bools
    shown: Bools
    there: Bools


class Evidence(NamedTuple):
    """What a scan says of a shape: its vertices and normals (m, 3), canonical; where it shows the shape, and light
    between the lips; `skin` (V,) uint8."""

    vertices: Floats
    normals: Floats
    seen: Seen
    mouth: Mouth
    skin: NDArray[np.uint8]


class Fit(NamedTuple):
    """A frame's fit, before the head is stabilised.

    Attributes:
        rest, displacement: (V, 3) mm, canonical; target: what was fitted to.
        known: (68,) True where a landmark was to be used.
        skin: (V,) uint8, how sure it is that the scan shows skin.
        unsaid: of `assessed`.
    """

    rest: Floats
    displacement: Floats
    target: FitTarget
    known: Bools
    skin: NDArray[np.uint8]
    unsaid: Collection[str]


def stabilised(person: Person, fitter: Fitter, frame: Frame, pose: Floats, fit: Fit) -> Registered:
    """A fit made at `pose` (4, 4), stabilised on the skull and assessed.

    Raises:
        FrameRejected: one of the reasons of rejection.py.
    """
    setup, scan = person.setup, fit.target.scan
    found = fit.rest + fit.displacement
    if not np.isfinite(found).all():
        raise FrameRejected(
            "register-misfit",
            "the solver found no finite answer",
            where=f"frame {frame.number}",
            todo="Check the scan and its landmarks; report the frame if both look right.",
        )
    last = Step(setup.settings.stiffness_end, 2 * setup.settings.scale_end_mm)
    correspondences = fitter.correspondences(found, scan, last.scale_mm)
    seen = _seen(setup, fitter, correspondences, fit.skin, scan)
    motion = head_motion(person.rest, found, setup.anatomy.skull * seen.valid)
    checks = LandmarkChecks(
        fitter.held_out_error(fit.rest, fit.target, fit.displacement, correspondences, last),
        _disagreement(person, frame, fit.known),
        float(frame.detected[fit.known].mean()) if fit.known.any() else 0.0,
    )
    mouth = seen_mouth(setup, found, scan)
    back = inverse(motion)
    evidence = Evidence(transform(back, scan.vertices), scan.normals @ back[:3, :3].T, seen, mouth, fit.skin)
    return assessed(person, frame, transform(back, found), pose @ motion, checks, evidence, fit.unsaid)


def reassessed(person: Person, frame: Frame, vertices: Floats, pose: Floats, own: Registered) -> Registered:
    """A shape (V, 3, canonical) at a pose (4, 4), assessed and within the limits, by what the frame's own fit was
    told of its landmarks, skin and eyes.

    Raises:
        FrameRejected: one of the reasons of rejection.py.
    """
    setup, fitter = person.setup, person.fitters.of(False, False)
    scan = ScanTarget(transform(inverse(pose), frame.vertices), frame.faces)
    correspondences = fitter.correspondences(vertices, scan, setup.settings.scale_end_mm)
    evidence = Evidence(
        scan.vertices,
        scan.normals,
        _seen(setup, fitter, correspondences, own.skin, scan),
        seen_mouth(setup, vertices, scan),
        own.skin,
    )
    return assessed(person, frame, vertices, pose, own.checks, evidence, eyes_unsaid(own.quality))


def assessed(
    person: Person,
    frame: Frame,
    vertices: Floats,
    pose: Floats,
    checks: LandmarkChecks,
    evidence: Evidence,
    unsaid: Collection[str],
) -> Registered:
    """A shape (V, 3, canonical) at a pose (4, 4), measured and within the limits.

    Args:
        unsaid: those of `EYES` whose lids' landmarks say nothing: the colours show that they are wrong, or an
            earlier fit of the frame was told so.  What the fit has not followed does not judge it.

    Raises:
        FrameRejected: one of the reasons of rejection.py.
    """
    setup, seen = person.setup, evidence.seen
    known, areas = frame.known, setup.levels.fine.areas
    on_mesh = setup.levels.fine.landmarks @ vertices
    given = transform(inverse(pose), frame.landmarks)
    told = _told(person, frame, given, unsaid)
    skin = is_skin(evidence.skin)
    bare_share = 0.0 if frame.coloured else checks.found_share
    quality = setup.anatomy.assessor.assess(
        vertices,
        evidence.vertices,
        evidence.normals,
        checks,
        np.linalg.norm((on_mesh - given)[known], axis=1),
        float(areas @ seen.valid / areas.sum()),
        setup.anatomy.core.shares(seen.shown),  # a beard that hides a face's half is no lack of the scan
        setup.anatomy.parts.shares(seen.there),
        evidence.mouth,
        person.plausibility.measure(vertices, on_mesh, told),
        skin,
        float(areas @ ~skin / areas.sum()),
        setup.settings.region_reach_mm,
        bare_share,
    )
    reject_bad(
        quality,
        setup.limits,
        len(setup.template.faces),
        person.neutral is None,
        bare_share,
        person.neutral_stretch,
    )
    return Registered(frame.number, vertices, pose, quality, checks, evidence.skin)


def _told(person: Person, frame: Frame, given: Floats, unsaid: Collection[str]) -> Floats:
    """(68, 3) the landmarks that tell a frame's expression, as given (68, 3, canonical), less a detector's bias; NaN
    where they say nothing."""
    known = frame.known
    told = person.without_bias(np.where(known[:, None], given, 0.0), person.judging_bias(), frame, known)
    told[~(known & frame.tells_expression)] = np.nan
    for eye in EYES if person.neutral is not None else ():
        # found between shut and open they say neither
        doubtful = SHUT_EYE <= open_share(told, person.open_eyes, eye) < CLOSED_EYE
        if eye in unsaid or (doubtful and frame.detected[GROUPS[eye]].all()):
            told[GROUPS[eye]] = np.nan
    return told


def _seen(
    setup: Setup,
    fitter: Fitter,
    correspondences: Correspondences,
    skin: NDArray[np.uint8],
    scan: ScanTarget,
) -> Seen:
    """Where a scan shows a shape, by its correspondences, and as far as that is `skin` (V,)."""
    valid = fitter.observed(correspondences, setup.settings.scale_end_mm) & is_skin(skin)
    shown, covered = valid.copy(), np.flatnonzero(~is_skin(skin))
    if len(covered):
        shown[covered] = has_cover(correspondences.vertices[covered], correspondences.normals[covered], scan)
    return Seen(valid, shown, correspondences.closest.distances < THERE_MM)


def seen_mouth(setup: Setup, vertices: Floats, scan: ScanTarget) -> Mouth:
    """What a scan shows between the lips of a shape (V, 3)."""
    return light_between_lips(
        vertices, setup.template.faces, setup.levels.fine.landmarks @ vertices, scan.surface
    )


def _disagreement(person: Person, frame: Frame, known: Bools) -> float:
    """mm: how far a frame's landmarks lie from where the others put them on its person's neutral, or the template
    while there is none; as they are given or found, without a detector's offset taken off."""
    reference = person.setup.template.landmarks(person.neutral)
    smoothing_mm = person.setup.settings.landmark_smoothing_mm
    return disagreement(reference[known], frame.landmarks[known], smoothing_mm)


def eyes_unsaid(quality: Quality) -> list[str]:
    """Those of `EYES` whose lids' landmarks said nothing when a fit was assessed; without a scan's colours, which a
    later fit of the same frame does not have, nobody could tell that again."""
    gaps = (quality.lids_open_right, quality.lids_open_left)
    return [eye for eye, gap in zip(EYES, gaps, strict=True) if np.isnan(gap)]


def as_near(later: Quality, own: Quality, noise_mm: float = 0.0) -> bool:
    """Whether a later result of a frame lies about as near to its scan as its own fit, but for the scan's noise."""
    return later.s2m_median <= SURFACE_SLACK * own.s2m_median + SURFACE_SLACK_MM + noise_mm
