"""The log of a run: what happened as JSON lines, with which settings, versions and machine."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from mimicme.pipeline.whole_file import of_disk, write_whole
from mimicme.pipeline.workspace import OVERRIDES_NAME

# what setup.cfg asks for, and the extras that a run can use (a test compares)
PACKAGES = (
    "mimicme", "click", "numpy", "scipy", "open3d", "joblib", "loky", "numba", "h5py", "Pillow",
    "opencv-python-headless", "menpo", "matplotlib", "scikit-learn", "jinja2", "markupsafe", "openpyxl", "trimesh",
    "menpo3d", "dask", "distributed", "threadpoolctl", "DracoPy",
)  # fmt: skip


def versions() -> dict[str, Any]:
    """Versions and machine, without names of people or hosts."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": found,
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


class RunLog:
    """Writes `log.jsonl`, `config.toml`, `given.json` and `versions.json` of one run.

    Every line has `time` (UTC) and `event`; items are named by subject id and sequence and nothing else.
    """

    def __init__(self, folder: Path, config_toml: str, overrides: Iterable[str] = ()) -> None:
        self.folder = folder
        write_whole(folder / OVERRIDES_NAME, json.dumps(list(overrides)) + "\n")
        write_whole(folder / "config.toml", config_toml)
        write_whole(folder / "versions.json", json.dumps(versions(), indent=1) + "\n")
        self._path = folder / "log.jsonl"
        # nothing is kept back that a full disk would refuse again when it is closed
        self._handle = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
        self._begun = time.monotonic()
        self._cut = False  # the last line, in the middle

    def write(self, event: str, **fields: Any) -> None:
        """Add one line and hand it to the system, so that a killed run leaves it.  After one that was written in part,
        it begins on a line of its own.

        Raises:
            OutputError: there is no room for it, or the disk fails.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"time": now, "event": event, **fields}) + "\n"
        line = memoryview(("\n" + text if self._cut else text).encode())
        length = len(line)
        try:
            while line:
                line = line[self._handle.write(line) :]
        except OSError as error:
            known = of_disk(self._path, error)
            if known is None:
                raise
            raise known from error
        finally:
            self._cut = bool(line) and (self._cut or len(line) < length)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def close(self) -> None:
        self._handle.close()


@dataclass(frozen=True)
class Cost:
    """What a checkpoint cost to make, parts included.

    Attributes:
        seconds: wall time of its worker.
        cpu_s: CPU seconds of its worker.
        peak_mb: largest resident memory of a worker that made it, in MB.
    """

    seconds: float
    cpu_s: float
    peak_mb: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.cpu_s + other.cpu_s, max(self.peak_mb, other.peak_mb))


def _cost(record: dict[str, Any]) -> Cost | None:
    """What a line of the log says of cost; None: it does not."""
    try:
        peak_mb = float(record.get("peak_mb", math.nan))  # some systems do not tell
        return Cost(float(record["seconds"]), float(record["cpu_s"]), peak_mb)
    except (ValueError, KeyError, TypeError):
        return None


def read_costs(logs: Iterable[Path]) -> dict[tuple[str, str], Cost]:
    """What the checkpoints of a workspace cost when they were made last, by stage and item.

    Lines that cannot be read, or were written before CPU seconds were, are passed over; of what a worker made and died
    before it could say so nobody knows the cost.

    Args:
        logs: folders of the runs, oldest first.
    """
    found: dict[tuple[str, str], Cost] = {}
    parts: dict[tuple[str, str], dict[str, Cost | None]] = {}
    for folder in logs:
        try:
            lines = (folder / "log.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                record = json.loads(line)
                if record["event"] not in ("item", "part") or record["outcome"] != "done":
                    continue
                key = str(record["stage"]), str(record["item"])
                cost = _cost(record)
                if record["event"] == "part":
                    parts.setdefault(key, {})[str(record["part"])] = cost
                    continue
                found.pop(key, None)  # it was made again: what it cost before says nothing any more
                costs = [cost, *parts.pop(key, {}).values()]
                known = [one for one in costs if one is not None]
                if len(known) == len(costs):
                    found[key] = sum(known[1:], known[0])
            except (ValueError, KeyError, TypeError):
                continue
    return found
