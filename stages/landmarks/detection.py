"""The detector of a sequence: made when a frame asks for it, and asked again without the texture that hides a face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.checkpoint import frame_numerics
from mimicme.pipeline.errors import ConfigError, FrameRejected, MissingDependencyError
from mimicme.pipeline.geometry.mesh import Mesh
from mimicme.pipeline.landmarks import Detector, Located
from mimicme.pipeline.scan import load_colored
from mimicme.pipeline.stage import Task
from mimicme.stages.ingest.checkpoint import IngestCheckpoint
from mimicme.stages.landmarks.no_face import say_axes, say_size
from mimicme.stages.landmarks.settings import MEDIAPIPE, OFF, LandmarksSettings

UPSIDE_DOWN = "texture-upside-down"
UPSIDE_DOWN_MM = 15.0
"""Median distance up to which the points found in a texture that was turned are those of the bare surface: a face found
elsewhere, in a pattern say, lies further off."""


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
