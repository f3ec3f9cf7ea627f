"""Which frames and sequences a person should look at first, and why.

What is off by most comes first: `expected_error`, which tells best where no truth is known, and for each note that
often means a bad result `NOTE_MM` on top.  Where it is not known, that comes before all that is.  `s2m_p95` does not
count: a surface that lies well on the scan may have slid along it.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from mimicme.commands.report.records import EXPECTED_ERROR, REVIEWED, S2M_P95, FrameRecord, ItemRecord

NOTE_MM = 1.0
UNKNOWN_MM = 10.0
"""Stands for an expected error that is not known: a frame in use has at most `register.max_expected_error_mm`, and
seldom more than three such notes."""
SUSPICIOUS = (
    "animation-unread", "another-face", "axes-mirrored", "cheek-slid", "ear-beside", "ear-draped",
    "face-without-texture", "few-landmarks-on-scan", "few-triangles", "frame-repeated", "half-seen",
    "landmarks-by-hand-only", "landmarks-distrusted", "landmarks-doubted", "landmarks-jump",
    "landmarks-left-out", "landmarks-not-compared", "landmarks-shifted", "landmarks-unsure",
    "lids-folded", "lids-open", "lids-shut", "lips-apart", "mouth-askew", "mouth-misplaced",
    "neutral-odd", "not-skin", "part-missing", "pose-by-landmarks", "surface-layers", "texture-ambiguous",
    "texture-blurred", "texture-drifts", "texture-empty", "texture-relocated", "texture-repeated",
    "triangles-turned", "unused-vertices",
)  # fmt: skip
"""Notes that often mean a bad result; so do those of a stage that rejected a frame whose vertices are good."""
_REJECTED_BY = ("bake:", "project:")


class Badness(NamedTuple):
    """How bad something seems: `score`, the higher the worse, and `why`, in words."""

    score: float
    why: str


def suspicious(frame: FrameRecord) -> list[str]:
    """Those notes of a frame that often mean a bad result."""
    codes = [code for code in frame.note.split(",") if code]
    return [code for code in codes if code in SUSPICIOUS or code.startswith(_REJECTED_BY)]


def badness(frame: FrameRecord) -> Badness:
    """Of a frame: its expected error, mm, and `NOTE_MM` for each suspicious note; of a rejected one its reason.

    A registered frame of which the expected error is not known, for want of landmarks, counts `UNKNOWN_MM`: nothing
    speaks for it.  One that is not registered yet has only its notes.
    """
    if not frame.ok:
        return Badness(0.0, f"rejected: {frame.reason}")
    error, codes, said = frame.quality.get(EXPECTED_ERROR), suspicious(frame), []
    if error is not None:
        low, high = (frame.quality.get(f"{EXPECTED_ERROR}_{end}") for end in ("low", "high"))
        between = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
        said = [f"expected error {error:.2f} mm{between}"]
    elif S2M_P95 in frame.quality:
        error, said = UNKNOWN_MM, ["expected error not known"]
    return Badness((error or 0.0) + NOTE_MM * len(codes), ", ".join([*said, *codes]))


def worst_frame(record: ItemRecord) -> FrameRecord | None:
    """The worst of the frames that are in use, else the first of the rejected ones; None where there is none."""
    used = [frame for frame in record.frames if frame.ok]
    if used:
        return max(used, key=lambda frame: (badness(frame).score, -frame.number))
    return next(iter(record.frames), None)


def sequence_badness(record: ItemRecord) -> Badness:
    """Of a sequence: that of its worst frame in use, and `NOTE_MM` more if frames are rejected, unless by a person.

    Without any frame left, unless a person called all of them bad, or when a stage failed, it comes before all others.
    """
    if record.failure:
        return Badness(float("inf"), f"failed: {record.failure}")
    worst = worst_frame(record)
    if worst is None:
        return Badness(float("inf"), "it has no frames")
    if all(frame.reason == REVIEWED for frame in record.frames if not frame.ok) and not worst.ok:
        return Badness(
            0.0, "no frame is left: a person called all of them bad"
        )  # who looked need not look again
    if not worst.ok:
        return Badness(float("inf"), f"no frame is left, the first {badness(worst).why}")
    score, why = badness(worst)
    said = [f"frame {worst.number}: {why}"] if why else []
    lost = Counter(frame.reason for frame in record.frames if not frame.ok and frame.reason != REVIEWED)
    if lost:
        score += NOTE_MM
        said.append(", ".join(f"{count} rejected: {reason}" for reason, count in lost.most_common()))
    return Badness(score, "; ".join(said))
