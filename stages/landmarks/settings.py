"""Settings of the landmarks stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from mimicme.pipeline.config import MOVED, UNRECORDED
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.landmarks import Sides

MEDIAPIPE, OFF = "mediapipe", "none"


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
