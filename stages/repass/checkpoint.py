"""What repass leaves of a sequence: vertices, pose and figures as registration leaves them, or none of them."""

from __future__ import annotations

from mimicme.stages.register.checkpoint import RegisteredCheckpoint


class RepassCheckpoint(RegisteredCheckpoint):
    """Reads what repass left."""

    stage = "repass"
