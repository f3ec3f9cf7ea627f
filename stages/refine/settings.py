"""Settings of the photometric refinement."""

from __future__ import annotations

from dataclasses import dataclass

from mimicme.pipeline.errors import ConfigError


@dataclass(frozen=True)
class RefineSettings:
    """Settings of the photometric refinement.

    Attributes:
        enabled: whether vertices are refined photometrically, by optical flow; without it they stay as registered.
        size: side length of the textures that are compared, 128 to 2048 (texels).
        iterations: number of times that a frame is compared with the reference and moved; two more where an eye
            closes.
        window_texels: standard deviation of the optical flow's Gaussian window, inside which texels are taken to move
            alike.
        levels: number of pyramid levels of the optical flow in the first iteration.
        smoothing_mm: length over which the displacement of a vertex reaches to neighbours without optical flow; on
            upper lids two fifths of it.
        max_shift_mm: longest displacement of a vertex along the surface.
        max_distance_mm: largest distance of the scan from the registered surface at which it gives colour.
        anchor_frames: number of near-neutral frames of each sequence that the subject's reference is the mean of, fewer
            where a subject has many sequences; 0: the neutral's registration alone is the reference.
        smooth_in_time: whether jitter between frames is removed, in sequences of 9 frames and more.
    """

    enabled: bool = True
    size: int = 512
    iterations: int = 2
    window_texels: float = 3.5
    levels: int = 3
    smoothing_mm: float = 1.5
    max_shift_mm: float = 6.0
    max_distance_mm: float = 4.0
    anchor_frames: int = 5
    smooth_in_time: bool = True

    def __post_init__(self) -> None:
        bounds = {
            "size": (128, 2048), "iterations": (1, 20), "window_texels": (1, 50), "levels": (1, 8),
            "smoothing_mm": (0.01, 100), "max_shift_mm": (0.01, 50), "max_distance_mm": (0.1, 100),
            "anchor_frames": (0, 100),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    "a setting is out of range",
                    where=f"refine.{name}",
                    seen=getattr(self, name),
                    expected=f"{low} to {high}",
                )
