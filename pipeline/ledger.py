"""What is remembered of artefacts and of failures: heads, records of what made them, and why there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.checkpoint import FrameStatus, fingerprint

DECISION = "_decision"
"""Attributes of artefacts that end so are sentences about what a stage decided; the runner prints them."""


_OK = FrameStatus()


@dataclass(frozen=True)
class Made:
    """What is remembered of an artefact; little, because a workspace may have half a million of them.

    Attributes:
        record_print: fingerprint of the record of what made it, without the raw files.
        has_sources: whether it was made from raw files.
        numbers: (F,) frame numbers.
        flagged: statuses that say something, by row; the other frames are ok.
        decisions: sentences by name.
    """

    fingerprint: str
    record_print: str
    has_sources: bool
    numbers: NDArray[np.int64]
    flagged: Mapping[int, FrameStatus]
    decisions: Mapping[str, str]

    @property
    def rejected(self) -> int:
        return sum(not s.ok for s in self.flagged.values())

    @property
    def ok(self) -> int:
        return len(self.numbers) - self.rejected

    def frames(self) -> Iterator[tuple[int, FrameStatus]]:
        """Number and status of every frame."""
        for row, number in enumerate(self.numbers.tolist()):
            yield number, self.flagged.get(row, _OK)


class Ledger:
    """Reads the heads of artefacts, each once while its file stays the same."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], Made | None]] = {}

    def look(self, path: Path) -> Made | None:
        """What is there; None when nothing is, or nothing readable."""
        try:
            stat = path.stat()
        except OSError:
            self._known.pop(path, None)
            return None
        signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, _read_head(path))
        return known[1]


def _read_head(path: Path) -> Made | None:
    try:
        # not `guarded_file`: it visits every link, and a plan opens every artefact of the workspace
        with h5py.File(path, "r") as handle:
            attrs = handle.attrs
            record = json.loads(attrs["made_by"])
            sources = record.pop("sources", {})
            table = handle["status"][:]
            speaking = np.flatnonzero(~table["ok"] | (table["note"] != b"") | (table["message"] != b""))
            flagged = {
                int(row): FrameStatus(
                    bool(table["ok"][row]),
                    table["reason"][row].decode(),
                    table["note"][row].decode(),
                    table["message"][row].decode("utf-8", "ignore"),
                )
                for row in speaking
            }
            return Made(
                str(attrs["fingerprint"]),
                fingerprint(record),
                bool(sources),
                np.asarray(handle["frame"][:], np.int64),
                flagged,
                {k: str(attrs[k]) for k in attrs if k.endswith(DECISION)},
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, str], str]:
    """The record of what made an artefact; the digests of its raw files, and their sizes and times."""
    try:
        with h5py.File(path, "r") as handle:
            record = json.loads(handle.attrs["made_by"])
            return record, record.pop("sources", {}), str(handle.attrs.get("source_stats", "{}"))
    except (OSError, KeyError, ValueError):
        return {}, {}, "{}"


@dataclass(frozen=True)
class Failure:
    """Why an item failed, as its record says."""

    kind: str
    message: str
    seconds: float = math.nan
    when: str = ""
    traceback: str = ""

    @classmethod
    def read(cls, path: Path) -> Failure | None:
        """The record at `path`, if there is one."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                **{k: record[k] for k in ("kind", "message", "seconds", "when", "traceback") if k in record}
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return cls("unknown", "its failure record cannot be read")
