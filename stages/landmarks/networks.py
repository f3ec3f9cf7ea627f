"""The networks for images: a face detector, and 478 points on the face.

MediaPipe Face Landmarker (Kartynnik et al. 2019, "Real-time Facial Surface Geometry from Monocular Video on
Mobile GPUs"; face detector: Bazarevsky et al. 2019, "BlazeFace"), run by OpenCV's DNN module on one thread.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.formats.image import opencv
from mimicme.pipeline.landmarks import detector_weights

FACE_SIDE, POINT_SIDE = 128, 256  # px, what the two networks take
N_POINTS = 478


class FaceBox(NamedTuple):
    """A face in a picture.

    Attributes:
        score: 0 to 1.
        centre: (2,) px; side: px, the longer side of its box.
        roll_deg: from the picture's x axis to the line of the eyes, clockwise.
    """

    score: float
    centre: Floats
    side: float
    roll_deg: float


class PictureNetworks(Protocol):
    """What is asked of networks for images; another pair can stand in for MediaPipe's."""

    name: str

    def __hash__(self) -> int: ...

    def face(self, picture: NDArray[np.float32]) -> FaceBox:
        """The likeliest face of a (128, 128, 3) picture, RGB in [0, 255]."""
        ...

    def points(self, picture: NDArray[np.float32]) -> tuple[Floats, float]:
        """(478, 3) points of the face that fills a (256, 256, 3) picture - x and y in px, z in px away from the
        viewer - and the logit that there is a face."""
        ...


class MediaPipe:
    """The two networks of the official bundle.

    Args:
        model: file of the bundle; empty: where it is installed.

    Raises:
        MissingDependencyError, ConfigError: see `detector_weights`.
    """

    def __init__(self, model: str = "") -> None:
        members = detector_weights.read(detector_weights.find(model))
        cv2 = opencv("the landmark detector")
        with tempfile.TemporaryDirectory() as folder:  # OpenCV 5 heeds the engine only for files
            self._face, self._points = (
                _load(cv2, Path(folder) / name, members[name])
                for name in (detector_weights.FACES, detector_weights.POINTS)
            )
        self._anchors = _anchors()
        self.name = f"mediapipe face_landmarker {detector_weights.SHA256[:8]}"

    def face(self, picture: NDArray[np.float32]) -> FaceBox:
        self._face.setInput(_blob(picture / np.float32(127.5) - 1))
        boxes, logits = self._face.forward(["regressors", "classificators"])
        boxes, logits = boxes.reshape(-1, 8, 2), logits.ravel()
        best = int(logits.argmax())
        box = boxes[best] / FACE_SIDE
        centre, size = box[0] + self._anchors[best], box[1]
        eyes = box[3] - box[2]
        return FaceBox(
            float(1 / (1 + np.exp(-np.clip(logits[best], -60, 60)))),
            centre.astype(np.float64) * FACE_SIDE,
            float(size.max()) * FACE_SIDE,
            float(np.degrees(np.arctan2(eyes[1], eyes[0]))),
        )

    def points(self, picture: NDArray[np.float32]) -> tuple[Floats, float]:
        self._points.setInput(_blob(picture / np.float32(255)))
        points, presence = self._points.forward(["Identity", "Identity_1"])
        return points.reshape(N_POINTS, 3).astype(np.float64), float(presence.ravel()[0])


@lru_cache(maxsize=2)
def mediapipe(model: str = "") -> MediaPipe:
    """The networks, loaded once per process; see `MediaPipe`."""
    return MediaPipe(model)


def _load(cv2: Any, path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    if classic is None:  # before OpenCV 4.11
        return cv2.dnn.readNetFromTFLite(str(path))
    # OpenCV 5's new engine hides all outputs but the last one
    return cv2.dnn.readNetFromTFLite(str(path), engine=classic)


def _blob(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def _anchors() -> Floats:
    """(896, 2) centres of the face detector's anchors in [0, 1]: two a cell of 16 x 16, six a cell of 8 x 8."""
    rows = []
    for cells, times in ((16, 2), (8, 6)):
        line = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(line, line, indexing="ij")
        rows.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), times, axis=0))
    return np.concatenate(rows)
