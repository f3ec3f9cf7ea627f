"""Models of a part of the population: by age band, gender and ethnicity, as LSFM has them.

Booth et al., "Large scale 3D morphable models" (2018), section 6: a bespoke model of a person's group explains them
with fewer components than the global one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mimicme.pipeline.captures.ages import age_band
from mimicme.pipeline.captures.metadata import UNKNOWN


def groups_of(people: Mapping[str, Mapping[str, Any]], minimum: int) -> dict[str, list[str]]:
    """Subjects by group, `gender=female`, `age=18to49`, `ethnicity=asian`, of at least `minimum` people, in order.

    Args:
        people: attributes by subject.
    """
    found: dict[str, list[str]] = {}
    for subject in sorted(people):
        attributes = people[subject]
        band = age_band(attributes.get("age"))
        keys = [f"age={band}"] if band else []
        for name in ("gender", "ethnicity"):
            value = str(attributes.get(name, UNKNOWN)).strip().lower().replace("/", "-")
            if value and value != UNKNOWN:
                keys.append(f"{name}={value}")
        for key in keys:
            found.setdefault(key, []).append(subject)
    everyone = len(people)
    return {k: found[k] for k in sorted(found) if minimum <= len(found[k]) < everyone}
