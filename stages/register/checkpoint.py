"""What registration leaves of a sequence: the names in the checkpoint, for writers and readers.

    vertices        (F, V, 3) f4 canonical frame, mm       pose (F, 4, 4) f8 canonical -> scan
    skin_seen       (F, V) u1, how sure it is that the scan shows the person's own surface there (`skin.SkinRegion`):
                    0 hair, beard, cap or clothes, 255 nothing speaks against
    neutral         (V, 3) f4, the most neutral registered frame of a sequence that others take theirs from
    worn            (k,) i4 vertices below what is worn on the neutral, and told from skin by its rim alone (shells.py)
    detector_offset (68, 3) f4 mm, what was taken off detected landmarks (`person.Person`)
    quality/*       (F,) f4: `quality.Quality`
    attrs           personal_template: whether the sequence was given its neutral; neutral_decision: in whose place it
                    was tried as the subject's; stretching_decision (mixed_landmarks.py)

A part of a long sequence (parts.py) has vertices, pose and quality alone, and
    checks/*        (F,) f8: `quality.LandmarkChecks`

repass and refine leave vertices, pose and skin_seen under the same names: `pipeline.stage.latest` says whose count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.checkpoint import QUALITY, Checkpoint
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.stage import Stage, latest
from mimicme.stages.register.notes import ASTRAY, notes
from mimicme.stages.register.quality import (
    LANDMARK_ERROR,
    S2M_MEDIAN,
    S2M_P95,
    UNITS,
    LandmarkChecks,
    Quality,
)

if TYPE_CHECKING:
    from mimicme.pipeline.checkpoint import CheckpointWriter

VERTICES, POSE, SKIN_SEEN = "vertices", "pose", "skin_seen"
_NEUTRAL, _DETECTOR_OFFSET, _PERSONAL = "neutral", "detector_offset", "personal_template"
STRETCHING_DECISION = "stretching_decision"
_WORN, _CHECKS = "worn", "checks"
EXPECTED = ("expected_error", "expected_error_low", "expected_error_high")
"""Figures of what a frame's correspondence error is likely to be, and the ends of its interval, mm."""
_DECIDED = ("neutral_decision",)
"""Written by whoever hands out the sequences (`run.neutrals`)."""


class RegisteredCheckpoint(Checkpoint):
    """Reads registered frames, of register or of a stage after it."""

    stage = "register"
    explained = MappingProxyType(
        {
            S2M_MEDIAN: "median distance of the scan's vertices in the template's region to the registered surface",
            "s2m_mean": "mean distance of the scan's vertices in the template's region to the registered surface",
            S2M_P95: "95th percentile of the distances of the scan's vertices in the template's region to the surface",
            "under_1mm": "share of the scan's vertices in the template's region that lie within 1 mm of the surface",
            LANDMARK_ERROR: "mean distance of every fourth landmark to its place on a mesh fitted without these: held "
            "out",
            "landmark_residual": "mean distance of the trusted landmarks to their places on the mesh, fitted to them "
            "too",
            "landmark_disagreement": "mean distance of each trusted landmark to where others put it on the neutral, "
            "a neutral's on the template",
            "landmarks_found": "share of the trusted landmarks that a detector found; the others are by hand",
            "data_share": "share of the template's area that has valid correspondences on the scan",
            "covered_share": "share of the template's area where the scan shows hair, a beard, a cap or clothes",
            "flipped_triangles": "triangles whose normal is turned by more than 90 degrees from the template's",
            "degenerate_triangles": "triangles with less than 2 % of their area in the template",
            "crossing_triangles": "self-intersecting triangles, looked for at lips, lids, nostrils and ears",
            "stretch_p95": "95th percentile, over the edges, of the absolute log2 of length / length in the template",
            "stretch_core": "the same of the face's core, brows to chin, after taking off the median",
            "template_distance": "distance of the face's core from the template's, moved, turned and scaled onto it; "
            "root of the mean square",
            "expected_error": "estimate of the mean correspondence error of what is seen; once a frame is refined, of "
            "the refined mesh",
            "expected_error_low": "four frames of five have an error above this and below the next; refined, of a "
            "maker that taught nothing, 33 to 67 %",
            "expected_error_high": "the upper end of that interval",
            "core_share": "share of the face's core, brows to chin, that the scan shows, if with a beard over it",
            "core_share_right": "the same of the subject's right half",
            "core_share_left": "the same of the subject's left half",
            "eye_share_right": "share of the lids of the subject's right eye within 2.5 mm of the scan's surface",
            "eye_share_left": "the same of the subject's left eye",
            "nose_share": "the same of the nose",
            "mouth_share": "the same of the lips",
            "mouth_light": "area between the lips, from the front, that the mesh leaves open though the scan has skin, "
            "or a tongue, there",
            "mouth_opening": "area between the lips, from the front, that the mesh leaves open",
            "mouth_asymmetry": "mean distance of the mesh's mouth landmarks to the symmetric mouth amid them and their "
            "mirror image",
            "mouth_relief": "correlation of the mesh's relief about the lips with the template's: 1 is lips on lips",
            "lids_shut": "how much less far the mesh's lids are open than the landmarks it is fitted to; the worse eye",
            "lids_open_right": "how much further the mesh's lids of the subject's right eye are open than landmarks "
            "that have them shut",
            "lids_open_left": "the same of the subject's left eye",
            "lids_folded": "share of the triangles about the eyes that are flipped or have no area, without eyeballs "
            "and rims of shut lids",
            "ear_drape": "95th percentile of the distance of an ear's vertices to the neutral's, moved as a whole; the "
            "worse ear",
            "ear_distance": "median distance of the scan's vertices at an ear of the mesh to it; the worse ear",
            "cheek_slide": "largest distance along the surface, averaged over 8 mm, of a cheek to where the landmarks "
            "carry the neutral's",
            "bone_apart": "median distance, over the bone between brows and tip of the nose, to the subject's neutral, "
            "moved as a whole",
        }
    )

    @classmethod
    def latest(cls, inputs: Mapping[str, Path]) -> RegisteredCheckpoint:
        """That of the last stage which has vertices of its own.

        Args:
            inputs: by stage name, in order of the flow.

        Raises:
            CheckpointError: none has.
        """
        path = latest(inputs, VERTICES)
        if path is None:
            raise CheckpointError(
                "no checkpoint has registered vertices",
                where=next(iter(inputs.values()), None),
                todo="Run `mimicme register` with --force, then `mimicme run`.",
            )
        return RegisteredCheckpoint(path)

    @classmethod
    def of_flow(cls, stages: Sequence[Stage], paths: Mapping[str, Path]) -> RegisteredCheckpoint | None:
        """That of a sequence's last stage which has vertices of its own; None when none has.

        Args:
            stages: in order of the flow.
            paths: checkpoints of the sequence, by stage name.

        Raises:
            CheckpointError: the stage does not say that vertices depend on it.
        """
        made = {stage.name: paths[stage.name] for stage in stages if stage.name in paths}
        path = latest(made, VERTICES)
        if path is None:
            return None
        if not any(stage.shapes and made.get(stage.name) == path for stage in stages):
            raise CheckpointError(
                f"the checkpoint has registered '{VERTICES}', but its stage does not shape",
                where=path,
                todo="Give the stage `shapes=True`, or its dataset another name.",
            )
        return RegisteredCheckpoint(path)

    @property
    def all_vertices(self) -> h5py.Dataset:
        """(F, V, 3) f4 canonical frame, mm, to be read frame by frame; NaN where a frame is rejected."""
        return self[VERTICES]

    @property
    def all_poses(self) -> Floats:
        """(F, 4, 4) canonical -> scan."""
        return np.asarray(self[POSE][:], np.float64)

    def vertices(self, row: int) -> Floats:
        """(V, 3) canonical frame, mm."""
        return np.asarray(self[VERTICES][row], np.float64)

    def pose(self, row: int) -> Floats:
        """(4, 4) canonical -> scan."""
        return np.asarray(self[POSE][row], np.float64)

    def skin(self, row: int) -> NDArray[np.uint8]:
        """(V,) how sure it is that the scan shows the person's own surface, 255: nothing speaks against, as where the
        checkpoint has nothing of it."""
        if SKIN_SEEN not in self:
            return np.full(self.all_vertices.shape[1], 255, np.uint8)
        return np.asarray(self[SKIN_SEEN][row], np.uint8)

    @property
    def expected(self) -> Floats:
        """(F, 3) `EXPECTED`, mm; NaN where they are not known."""
        known = self.quality
        unknown = np.full(len(self.numbers), np.nan)
        columns = [known[name].values if name in known else unknown for name in EXPECTED]
        return np.stack(columns, axis=1).astype(np.float64)

    @property
    def astray(self) -> Bools:
        """(F,) True where a note says that a face may lie where it does not belong (`notes.ASTRAY`)."""
        return np.array([not ASTRAY.isdisjoint(one.note.split(",")) for one in self.statuses], bool)

    def measured(self, row: int) -> Quality:
        """What was measured of one frame."""
        return Quality(**{f.name: float(self[f"{QUALITY}/{f.name}"][row]) for f in fields(Quality)})

    @property
    def neutral(self) -> Floats | None:
        """(V, 3) the neutral that was found in this sequence, canonical frame, mm; None where it was given."""
        return np.asarray(self[_NEUTRAL][:], np.float64) if _NEUTRAL in self else None

    @property
    def worn(self) -> NDArray[np.int64] | None:
        """(k,) vertices of the neutral that lie below what only its rim tells from skin; None where there are none."""
        return np.asarray(self[_WORN][:], np.int64) if _WORN in self else None

    @property
    def decided(self) -> dict[str, str]:
        """Whose place as the subject's neutral this sequence was tried in, and why; mostly empty."""
        return {name: str(self.attrs[name]) for name in _DECIDED if name in self.attrs}

    @property
    def personal(self) -> bool:
        """Whether the sequence was registered from a neutral found in another one."""
        return bool(self.attrs.get(_PERSONAL, False))

    @property
    def detector_offset(self) -> Floats | None:
        """(68, 3) mm, what was taken off the detected landmarks; None where nothing was."""
        return np.asarray(self[_DETECTOR_OFFSET][:], np.float64) if _DETECTOR_OFFSET in self else None


class RegisteredWriter:
    """Writes registered frames, after `CheckpointWriter.frames`.

    Args:
        vertex_count: of the template.
    """

    def __init__(self, out: CheckpointWriter, vertex_count: int) -> None:
        self._out = out
        self.vertices = out.rows(VERTICES, (vertex_count, 3), np.float32, "mm")
        self.pose = out.rows(POSE, (4, 4), np.float64, "mm")
        self.skin = out.rows(SKIN_SEEN, (vertex_count,), np.uint8, "1")
        self._figures: dict[str, h5py.Dataset] = {}

    def frame(self, row: int, vertices: NDArray[np.floating], pose: Floats, skin: NDArray[np.uint8]) -> None:
        """Write one frame: vertices (V, 3) canonical frame, mm; pose (4, 4) canonical -> scan; skin (V,)."""
        self.vertices[row], self.pose[row], self.skin[row] = vertices, pose, skin

    def measured(self, row: int, quality: Quality, first: bool = False) -> None:
        """Write what was measured of one frame, and what a user should know of it; `first`: see `notes`."""
        known = self._out.statuses[row].note.split(",")
        for code, sentence in notes(quality, first):
            if code not in known:
                self._out.note(row, code, sentence)
        for name, value in asdict(quality).items():
            self._figures[name][row] = value

    def begin_figures(self) -> None:
        """Make room for what is measured; call before `measured`."""
        self._figures = {name: self._out.figure(name, unit) for name, unit in UNITS.items()}

    def stretching(self, decision: str) -> None:
        """Write how the neutral resisted stretching, and why, if there is anything to say; see `mixed_landmarks`."""
        if decision:
            self._out.attrs[STRETCHING_DECISION] = decision

    def neutral(
        self,
        vertices: NDArray[np.floating] | None,
        detector_offset: Floats,
        worn: NDArray[np.int64],
        personal: bool,
    ) -> None:
        """Write the neutral (V, 3), None where it was not found here, and what was found with it."""
        self._out.attrs[_PERSONAL] = personal
        if vertices is not None:
            self._out.array(_NEUTRAL, vertices, "mm")
            if len(worn):
                self._out.array(_WORN, worn.astype(np.int32), "1")
        if detector_offset.any():
            self._out.array(_DETECTOR_OFFSET, detector_offset.astype(np.float32), "mm")


class PartCheckpoint(RegisteredCheckpoint):
    """Reads a part of a sequence."""

    @property
    def all_measured(self) -> list[Quality]:
        """(F,) what was measured of every frame."""
        columns = self._columns(QUALITY, Quality)
        return [Quality(*values) for values in zip(*columns, strict=True)]

    @property
    def all_checks(self) -> list[LandmarkChecks]:
        """(F,) what the landmarks said while a frame was fitted."""
        columns = self._columns(_CHECKS, LandmarkChecks)
        return [LandmarkChecks(*values) for values in zip(*columns, strict=True)]

    def _columns(self, group: str, kind: type[Quality | LandmarkChecks]) -> list[list[float]]:
        return [self[f"{group}/{f.name}"][:].tolist() for f in fields(kind)]


class PartWriter(RegisteredWriter):
    """Writes a part of a sequence, bit by bit as it was found; `close` at the end."""

    def __init__(self, out: CheckpointWriter, vertex_count: int) -> None:
        super().__init__(out, vertex_count)
        self._columns = {
            f"{group}/{f.name}": np.full(len(out.statuses), np.nan)
            for group, kind in ((QUALITY, Quality), (_CHECKS, LandmarkChecks))
            for f in fields(kind)
        }

    def assessed(self, row: int, quality: Quality, checks: LandmarkChecks) -> None:
        """Write what was measured of one frame, and what the landmarks said."""
        for group, values in ((QUALITY, quality), (_CHECKS, checks)):
            for name, value in asdict(values).items():
                self._columns[f"{group}/{name}"][row] = value

    def close(self) -> None:
        for name, column in self._columns.items():
            self._out.array(name, column)
