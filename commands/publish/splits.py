"""Who is trained on and who is tested on: by subject, alike in age, gender and ethnicity."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.release import years_of

NAMES = ("train", "val", "test")
BAND_YEARS = 10


def age_band(attributes: Mapping[str, Any]) -> str:
    """The ten years that an age is in, as `20-29`; `unknown`."""
    years = years_of(attributes)
    if not math.isfinite(years) or years < 0:
        return "unknown"
    low = BAND_YEARS * int(years // BAND_YEARS)
    return f"{low}-{low + BAND_YEARS - 1}"


def stratum(attributes: Mapping[str, Any]) -> tuple[str, str, str]:
    """Age band, gender and ethnicity."""
    return age_band(attributes), str(attributes.get("gender", "")), str(attributes.get("ethnicity", ""))


def shares_of(text: str) -> dict[str, float]:
    """Shares of train, val and test from text like `80,10,10`.

    Raises:
        UsageError: it is not such text.
    """
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != len(NAMES) or not all(math.isfinite(p) and p >= 0 for p in parts) or sum(parts) <= 0:
        raise UsageError("these are no shares", seen=text, expected="those of train, val and test: 80,10,10")
    return {name: part / sum(parts) for name, part in zip(NAMES, parts, strict=True)}


def assign(
    people: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, float],
    seed: int,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A split for everybody.

    Subjects stand in order of their strata (age band, gender, ethnicity), within one by a seeded hash of their name,
    and each comes to the split that lacks most: so every split has its share of each stratum and of all, to within one.

    Args:
        people: attributes by name.
        shares: by split; they add up to 1.
        known: splits that some have already and keep.
    """
    found = {name: split for name, split in (known or {}).items() if name in people}
    counts = {split: 0 for split in shares}
    for split in found.values():
        counts[split] = counts.get(split, 0) + 1

    def place(name: str) -> tuple[tuple[str, str, str], str]:
        return stratum(people[name]), hashlib.sha256(f"{seed} {name}".encode()).hexdigest()

    for name in sorted((n for n in people if n not in found), key=place):
        lacks = {split: share * (len(found) + 1) - counts[split] for split, share in shares.items()}
        chosen = max(lacks, key=lambda split: lacks[split])
        found[name] = chosen
        counts[chosen] += 1
    return found
