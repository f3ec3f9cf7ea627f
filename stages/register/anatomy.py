"""What a template alone says of the face it shows: the same for every person and sequence."""

from __future__ import annotations

from typing import NamedTuple

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.numerics.temporal import Regions
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.face_core import FaceCore, FaceParts
from mimicme.stages.register.ear_placing import Ears
from mimicme.stages.register.fast_motion import FastMotion
from mimicme.stages.register.forehead import Forehead
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.patches import Patches
from mimicme.stages.register.plausibility import Plausibility
from mimicme.stages.register.quality import QualityAssessor
from mimicme.stages.register.skin import SkinRegion
from mimicme.stages.register.slow_motion import SlowMotion
from mimicme.stages.register.stabilisation import skull_weights


class Anatomy(NamedTuple):
    """What a template alone says, the same for every sequence: the assessor of its frames; the core of its face, and
    parts of it; (V,) weights of the skull, and its centre (3,), mm; the regions that smoothing in time tells apart;
    fast and slow motion; where scans may show other things than skin; the ears; the figures of what a person sees; the
    top of the forehead."""

    assessor: QualityAssessor
    core: FaceCore
    parts: FaceParts
    skull: Floats
    skull_centre: Floats
    regions: Regions
    fast_motion: FastMotion
    slow_motion: SlowMotion
    skin: SkinRegion
    ears: Ears
    plausibility: Plausibility
    forehead: Forehead

    @classmethod
    def of(cls, template: Template, levels: Levels) -> Anatomy:
        """That of a template with its levels."""
        vertices, faces, areas = template.vertices, template.faces, levels.fine.areas
        core = FaceCore.of(vertices, faces, areas, template.landmarks())
        skull = skull_weights(vertices, template.landmarks(), areas)
        regions = Regions(skull > 0, core.areas > 0)
        patches = Patches(levels, vertices, regions.still)
        return cls(
            QualityAssessor(
                vertices,
                faces,
                levels.opposite,
                core.areas > 0,
                levels.eyeballs,
                template.landmarks(),
                levels.fine.ears,
            ),
            core,
            FaceParts.of(core, vertices, template.landmarks(), levels.eyeballs),
            skull,
            skull / max(skull.sum(), 1e-300) @ vertices,
            regions,
            FastMotion(patches),
            SlowMotion(patches),
            SkinRegion.of(template, levels, core),
            Ears.of(vertices, levels),
            Plausibility(
                vertices,
                faces,
                template.landmarks(),
                levels.fine.ears,
                levels.eyeballs,
                core.areas > 0,
                skull,
            ),
            Forehead.of(template, levels.coarse),
        )
