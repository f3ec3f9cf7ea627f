"""Checkpoints of a long build, beside its output, so that an interrupted one resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mimicme.pipeline.numerics.linear_model import LinearModel
from mimicme.pipeline.whole_file import whole_file

VERSION = 1
"""Raised when a build makes other models of the same frames and settings: an earlier version's parts are not used."""
_ARRAYS = ("mean", "components", "variances", "weights")


class BuildCheckpoints:
    """Finished linear models, and sketches of unfinished ones, in `OUTPUT.parts/`.

    Args:
        output: the model file that is being built.
        record: everything the parts depend on; parts of another record are not used.
    """

    def __init__(self, output: Path, record: Any) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        text = json.dumps([VERSION, record], sort_keys=True, default=str)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def model(self, name: str, make: Callable[[Path, str], LinearModel]) -> LinearModel:
        """The named model: read when it is done, else made.

        Args:
            make: given the checkpoint file and the fingerprint for `fit_streaming`.
        """
        safe = hashlib.sha256(name.encode()).hexdigest()[:16]
        path = self.folder / f"{safe}.npz"
        signature = f"{self.fingerprint} {name}"
        found = self._load(path, signature)
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        model = make(self.folder / f"{safe}.sketch.npz", signature)
        self._save(path, signature, model)
        return model

    def remove(self) -> None:
        """Remove the folder: the build is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _load(path: Path, signature: str) -> LinearModel | None:
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                if str(stored["signature"]) != signature:
                    return None
                mean, components, variances, weights = (stored[n] for n in _ARRAYS)
                total, count, kind = float(stored["total"]), int(stored["count"]), str(stored["kind"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # cut short: made again
            return None
        return LinearModel(mean, components, variances, total, weights, count, kind)

    @staticmethod
    def _save(path: Path, signature: str, model: LinearModel) -> None:
        arrays: dict[str, Any] = {n: getattr(model, n) for n in _ARRAYS}
        with whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                signature=np.asarray(signature),
                total=np.asarray(model.total_variance),
                count=np.asarray(model.count),
                kind=np.asarray(model.kind),
                **arrays,
            )
