"""Samples out of a release: apex frames with their expressions, neutrals with their subjects' attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.experiment.folds import Rows, Samples
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.expressions import NEUTRAL
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.release.frames import NEUTRAL_FRAMES, ReleaseFrames, apexes

TEXTURE_PX = 48
KEPT_BYTES = 1 << 30
_FLAT = 1e-3


@dataclass(frozen=True)
class FrameSamples:
    """Samples that are frames of a release.

    Attributes:
        samples: sources `shape` (n, V, 3) mm, `landmarks` (n, L, 3) mm, `texture` (n, 48, 48) or absent.
        table: (N,) the frames, as `ReleaseFrames.table`.
        messages: what was left out, and why.
    """

    samples: Samples
    table: NDArray[Any]
    messages: tuple[str, ...]


def expression_samples(
    frames: ReleaseFrames,
    expressions: Sequence[str] = (),
    *,
    neutral_known: bool = True,
    progress: Callable[[str], None] | None = None,
) -> FrameSamples:
    """The apex frames of every expressive sequence, labelled; a sequence is a unit.

    Args:
        expressions: only these; by default all that at least two subjects show.
        neutral_known: every source is the difference to the subject's own neutral, and `neutral` is no class (its
            difference to itself would give it away).  False: sources are absolute, and the frames labelled
            neutral are a class; the neutral then serves only to find the apexes of the data that is labelled.

    Raises:
        UsageError: fewer than two expressions are left.
    """
    expressive = frames.expressive
    if progress:
        progress(f"apexes of {len(expressive)} frames")
    rows = _apex_rows(frames, expressive)
    if not neutral_known:
        rows = np.sort(np.concatenate([rows, _neutral_rows(frames)]))
    table = frames.table[rows]
    wanted, messages = _classes(table, expressions)
    rows = rows[np.isin(table["expression"], wanted)]
    table = frames.table[rows]
    units = np.array([f"{r['subject']}/{r['sequence']}" for r in table])
    sources = FrameSources(frames, rows, neutral_known)
    named: dict[str, Any] = {"shape": sources.shape, "landmarks": sources.landmarks}
    if sources.has_texture():
        named["texture"] = sources.texture
    else:
        messages.append("Not every frame has a texture: textures are not looked at.")
    size = 12 * len(frames.template.vertices)
    samples = Samples(table["subject"], table["expression"], units, named, size)
    return FrameSamples(samples, table, tuple(messages))


def _apex_rows(frames: ReleaseFrames, expressive: Rows) -> Rows:
    if not len(expressive):
        return expressive
    weights = np.ones(len(frames.template.vertices))
    gone = frames.gone(expressive, frames.amounts(weights, expressive))
    found = apexes(frames.table[expressive], gone)
    return np.sort(expressive[np.concatenate(list(found.values()))])


def _neutral_rows(frames: ReleaseFrames) -> Rows:
    """Up to `NEUTRAL_FRAMES` neutral frames a subject, evenly."""
    kept = [np.zeros(0, np.int64)]
    for subject in frames.subjects:
        rows = frames.rows_of(subject, NEUTRAL)
        kept.append(rows[even_subsample(len(rows), NEUTRAL_FRAMES)])
    return np.concatenate(kept)


def _classes(table: NDArray[Any], expressions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Labels to tell apart, and sentences on those that are left out."""
    shown = {
        str(e): len(np.unique(table["subject"][table["expression"] == e]))
        for e in np.unique(table["expression"])
    }
    unknown = [e for e in expressions if e not in shown]
    if unknown:
        raise UsageError(
            "no subject shows these expressions", seen=", ".join(unknown), expected=", ".join(shown)
        )
    wanted = [e for e in shown if not expressions or e in expressions]
    rare = [e for e in wanted if shown[e] < 2]
    messages = [f"'{e}' is left out: one subject alone shows it." for e in rare]
    wanted = [e for e in wanted if e not in rare]
    if len(wanted) < 2:
        raise UsageError("there are not two expressions to tell apart", seen=", ".join(wanted) or "none")
    return wanted, messages


class FrameSources:
    """Reads what the samples of frames show.  What was read is kept, up to a gigabyte: every fold reads it again.

    Args:
        rows: (N,) rows of the frames' table, sample by sample.
        difference: to the subject's own neutral.
    """

    def __init__(self, frames: ReleaseFrames, rows: Rows, difference: bool) -> None:
        self._frames, self._rows, self._difference = frames, rows, difference
        self._kept: dict[tuple[str, int], NDArray[np.float32]] = {}
        self._room = KEPT_BYTES
        self._neutral_texture: tuple[str, Floats] | None = None

    def shape(self, rows: Rows) -> NDArray[np.float32]:
        """(n, V, 3) mm."""
        return self._read("shape", rows, self._shape)

    def landmarks(self, rows: Rows) -> NDArray[np.float32]:
        """(n, L, 3) mm: the template's landmarks on the registered mesh."""
        carried = self._frames.template.landmarks
        return self._read("landmarks", rows, lambda row: carried(self._shape(row).astype(np.float64)))

    def texture(self, rows: Rows) -> NDArray[np.float32]:
        """(n, 48, 48) grey, of mean 0 and deviation 1 over what was seen; NaN elsewhere."""
        return self._read("texture", rows, self._texture)

    def has_texture(self) -> bool:
        """Whether the frames have textures: a handful is looked at, a frame without one is all holes."""
        some = self._rows[even_subsample(len(self._rows), 8)]
        return all(self._frames.texture(int(row)) is not None for row in some)

    def _read(self, name: str, rows: Rows, one: Callable[[int], NDArray[Any]]) -> NDArray[np.float32]:
        found = []
        for sample in rows.tolist():
            data = self._kept.get((name, sample))
            if data is None:
                data = np.asarray(one(int(self._rows[sample])), np.float32)
                if data.nbytes <= self._room:
                    self._kept[name, sample] = data
                    self._room -= data.nbytes
            found.append(data)
        return np.stack(found)

    def _shape(self, row: int) -> NDArray[np.float32]:
        shape = self._frames.vertices(row)
        if self._difference:
            shape = shape - self._frames.neutral(str(self._frames.table["subject"][row])).vertices
        return shape

    def _texture(self, row: int) -> Floats:
        picture = small_grey(self._frames.texture(row))
        if not self._difference:
            return picture
        subject = str(self._frames.table["subject"][row])
        if self._neutral_texture is None or self._neutral_texture[0] != subject:
            neutral = self._frames.neutral(subject).rows
            pictures = np.stack([small_grey(self._frames.texture(int(r))) for r in neutral])
            self._neutral_texture = subject, np.median(pictures, axis=0)
        return picture - self._neutral_texture[1]


def small_grey(texture: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None, size: int = TEXTURE_PX) -> Floats:
    """(size, size) a texture made small and grey, light and contrast taken out; NaN where nothing was seen.

    Args:
        texture: (h, w, 3) uint8 and coverage (h, w) uint8; None: all NaN.
    """
    if texture is None:
        return np.full((size, size), np.nan)
    image, coverage = texture
    grey = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    seen = (coverage > 0).astype(np.float64)
    weight, light = _shrunk(seen, size), _shrunk(grey * seen, size)
    picture = np.divide(light, weight, out=np.full_like(light, np.nan), where=weight > 0.5)
    if not np.isfinite(picture).any():
        return picture
    spread = float(np.nanstd(picture))
    return np.asarray((picture - np.nanmean(picture)) / max(spread, _FLAT))


def _shrunk(image: Floats, size: int) -> Floats:
    """(size, size) means over blocks; the image's edges are cut into `size` equal parts."""
    for axis in (0, 1):
        edges = np.linspace(0, image.shape[axis], size + 1).astype(int)[:-1]
        n = np.diff([*edges, image.shape[axis]])
        if (n == 0).any():  # smaller than `size`: repeat pixels
            places = np.linspace(0, image.shape[axis] - 1, size).round().astype(int)
            image = np.take(image, places, axis=axis)
            continue
        sums = np.add.reduceat(image, edges, axis=axis)
        image = sums / (n[:, None] if axis == 0 else n)
    return image


def attribute_samples(frames: ReleaseFrames, labels: Mapping[str, Any]) -> Samples:
    """The neutral of every subject that has a label; a subject is a unit.

    Raises:
        UsageError: two subjects have the same neutral, to the last bit: one person under two names would be on both
            sides of a fold.
    """
    subjects = np.array(sorted(labels))
    seen: dict[bytes, str] = {}
    for subject in subjects:
        digest = hashlib.sha256(frames.neutral(str(subject)).vertices.tobytes()).digest()
        if digest in seen:
            raise UsageError(
                "two subjects have the very same face", seen=f"{seen[digest]} and {subject}",
                todo="Give one person one name: nobody may be trained on and tested.",
            )  # fmt: skip
        seen[digest] = str(subject)

    def shape(rows: Rows) -> NDArray[np.float32]:
        return np.stack([frames.neutral(str(subjects[row])).vertices for row in rows])

    values = np.array([labels[str(s)] for s in subjects])
    return Samples(subjects, values, subjects, {"shape": shape}, 12 * len(frames.template.vertices))
