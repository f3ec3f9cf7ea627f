"""One frame in the checkpoints of its sequence, opened as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from mimicme.pipeline.stage import A


class FrameRows:
    """Finds a frame, by its number, in checkpoints; a context in which they are open.

    Args:
        paths: of the checkpoints that are there, by stage name.
        number: of the frame.
    """

    def __init__(self, paths: Mapping[str, Path], number: int) -> None:
        self._paths, self._number = paths, number
        self._open = ExitStack()

    def __enter__(self) -> FrameRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def left_by(self, kind: type[A]) -> tuple[A, int] | None:
        """What a stage left of the frame, see `seen`; None where it has not run.

        Args:
            kind: its reader.
        """
        return self.seen(kind(self._paths[kind.stage])) if kind.stage in self._paths else None

    def of(self, kind: type[A]) -> tuple[A, int] | None:
        """What a stage said of the frame, also if it rejected it; None where it has not run or does not know it."""
        if kind.stage not in self._paths:
            return None
        opened = kind(self._paths[kind.stage])
        self._open.enter_context(opened)
        row = next(iter(np.flatnonzero(opened.numbers == self._number).tolist()), None)
        return None if row is None else (opened, row)

    def seen(self, opened: A | None) -> tuple[A, int] | None:
        """A checkpoint, kept open, and the row of the frame in it; None where it is not there or not ok."""
        if opened is None:
            return None
        self._open.enter_context(opened)
        row = next(iter(np.flatnonzero(opened.numbers == self._number).tolist()), None)
        return (opened, row) if row is not None and opened.statuses[row].ok else None
