"""repass: registration once more, begun from what the first one learned; it lives beside what it repeats."""

from __future__ import annotations

from mimicme.stages.register.second import STAGE, RepassSettings

__all__ = ["STAGE", "RepassSettings"]
