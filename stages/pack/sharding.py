"""Which subjects lie in which shard, and what a shard is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from mimicme.pipeline.release.shards import WHOLE

_BITS = 256


def shards_of(sizes: Mapping[str, int], shard: Literal["none", "subject"] | float) -> dict[str, list[str]]:
    """Subjects, in order, by the label of their shard.

    With a size, subjects lie together whose ids' SHA-256 begin alike, on as few bits as bring a shard below that size
    (a trie): where one subject is added, changed or leaves, all others stay together as they are, but for those of its
    shard, which may become two.  Nothing depends on the order in which subjects came.

    Args:
        sizes: bytes by subject, about.
        shard: `subject`: each its own; a number: GB that a shard has at most, where a single subject has not more.

    Returns:
        Subjects by label: the subject's own id, or the bits that their digests begin with (`all`: none).
    """
    if shard == "subject":
        return {subject: [subject] for subject in sorted(sizes)}
    if not isinstance(shard, float | int):
        raise ValueError(f"no shards are asked for: {shard!r}")
    bits = {
        s: f"{int(hashlib.sha256(s.encode('utf-8', 'surrogateescape')).hexdigest(), 16):0256b}" for s in sizes
    }
    found: dict[str, list[str]] = {}

    def divide(prefix: str, subjects: list[str]) -> None:
        if len(subjects) < 2 or sum(sizes[s] for s in subjects) <= shard * 1e9 or len(prefix) == _BITS:
            found[prefix or WHOLE] = subjects
            return
        for bit in "01":
            part = [s for s in subjects if bits[s][len(prefix)] == bit]
            if part:
                divide(prefix + bit, part)

    divide("", sorted(sizes))
    return found


def shard_fingerprint(settings: Any, **made_of: Any) -> str:
    """SHA-256 of everything that a shard is made of: its settings but for how shards are cut, and the rest as JSON."""
    chosen = {name: value for name, value in asdict(settings).items() if name != "shard"}
    text = json.dumps({"settings": chosen, **made_of}, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def planned_bytes(frames: int, vertices: int, encoding: str, images: Sequence[int]) -> int:
    """Bytes that a sequence will take, about and rather too many: those of its vertices, packed, and of its images, and
    what there is besides."""
    return (
        frames * (vertices * _BYTES_OF_A_VERTEX[encoding] + _BESIDES_A_FRAME)
        + sum(images)
        + _BESIDES_A_SEQUENCE
    )


_BYTES_OF_A_VERTEX = {"float32": 10, "int32um": 5, "int16": 4}
"""Measured on registered faces: 9.1, 3.7 and 3.1."""
_BESIDES_A_FRAME, _BESIDES_A_SEQUENCE = 4_000, 32_000
