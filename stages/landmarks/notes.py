"""What a user should know of the landmarks of a frame: codes and sentences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.errors import counted
from mimicme.pipeline.landmarks import DETECTED, IBUG68, Located, labelled
from mimicme.stages.landmarks.frame import Frame

UNSURE = 0.25  # mean confidence below which a frame is worth a look


def notes(
    frame: Frame, jumping: NDArray[np.bool_] | None, sure: float, max_distance_mm: float
) -> list[tuple[str, str]]:
    """What is to be said of a frame.

    Args:
        jumping: (68,) True where a point jumps; None where none does.
        sure: mean confidence of the inner points.
        max_distance_mm: from a scan, beyond which a point was left out.
    """
    said = []
    left_out = [labelled(IBUG68.index(name)) for name in frame.left_out]
    if left_out:
        said.append(
            (
                "landmarks-left-out",
                counted(len(left_out), "landmark lies", "landmarks lie")
                + f" over {max_distance_mm:g} mm off the scan, or where its texture shows no one place of it, and "
                f"{'was' if len(left_out) == 1 else 'were'} left out: {_few(left_out)}. {_in_place(frame)}",
            )
        )
    if frame.axes:
        said.append(("landmarks-axes", frame.axes))
    if frame.alone:
        said.append(("landmarks-by-hand-only", f"The file's landmarks are alone, because {frame.alone}."))
    if frame.not_compared:
        said.append(
            (
                "landmarks-not-compared",
                f"The landmarks' pixels were not compared with what is found, because {frame.not_compared}.",
            )
        )
    if jumping is not None:
        names = [labelled(k) for k in np.flatnonzero(jumping)]
        said.append(
            (
                "landmarks-jump",
                counted(len(names), "landmark leaves its", "landmarks leave their")
                + f" neighbours for a frame: {_few(names)}.",
            )
        )
    doubt = _doubt(frame.found, sure)
    return [*said, ("landmarks-unsure", doubt)] if doubt else said


def _doubt(found: Located, sure: float) -> str:
    """Why landmarks should be looked at; "" where nothing speaks against them."""
    if sure < UNSURE and (found.source == DETECTED).any():
        return f"Landmarks were found with a confidence of only {sure:.2f}: look at them."
    if found.over_hole:
        parts = " and the ".join(found.over_hole)
        return (
            f"The scan has a hole where the {parts} should be: the landmarks that lie on its rim count next "
            "to nothing. Look at the scan."
        )
    if found.unshown:
        return (
            f"The scan has no colours, and its surface does not show the {' and the '.join(found.unshown)}: look "
            "at the landmarks there."
        )
    if found.shut:
        # `left_eye` is the image's
        sides = " and the ".join({"left_eye": "right", "right_eye": "left"}[eye] for eye in found.shut)
        return (
            f"The {sides} eye (the subject's own) looks shut, or hidden, and nothing shows where its lids meet: "
            "look at the landmarks there."
        )
    return ""


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
