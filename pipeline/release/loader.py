"""The frames of a release as data sets for training: every sample a dict of arrays, of one shape each.

`Frames` is map-style (a length, and samples by number), `Stream` goes through the file and shares it out over workers.
Both are numpy alone; `as_torch` and `stream_torch` make tensors of the arrays, which PyTorch's default collate stacks.

What has no shape of its own is made to have one, or is left out by name: a frame without texture has a black one and
False in `texture_there`; names (subject, expression, split ...) are numbers, and `names` says of what; text that
explains (`message`, `reason`, `note`) is no field, and `Release.frame` has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimicme.pipeline.errors import MissingDependencyError, ReleaseError, UsageError
from mimicme.pipeline.formats.map_coding import MAPS
from mimicme.pipeline.release import layout

Sample = dict[str, Any]
Transform = Callable[[Sample], Any]

ROW = "row"
"""The field that every sample has: its row in the release's index."""
NAMES = ("subject", "sequence", "expression", "gender", "ethnicity", "split")
IMAGES = (*layout.IMAGES, *MAPS)
_TEXT = ("message", "reason", "note", "status")
_OF_SUBJECT = ("gender", "ethnicity", "split", "age")


class Readable(Protocol):
    """What is asked of a release."""

    @property
    def index(self) -> NDArray[Any]: ...
    @property
    def subjects(self) -> Mapping[str, Mapping[str, Any]]: ...
    def __len__(self) -> int: ...
    def select(self, *, status: str = "*") -> NDArray[np.int64]: ...
    def vertices(self, row: int) -> NDArray[np.float32]: ...
    def field(self, row: int, name: str) -> Any: ...
    def figure(self, row: int, name: str) -> float: ...
    def texture(self, row: int) -> NDArray[np.uint8] | None: ...
    def coverage(self, row: int) -> NDArray[np.uint8] | None: ...
    def surface_map(self, row: int, name: str) -> NDArray[np.float32] | None: ...
    def figures(self) -> tuple[str, ...]: ...


class _Fields:
    """What a sample is made of, of one release and some of its rows."""

    def __init__(
        self,
        release: Readable,
        rows: ArrayLike | None = None,
        fields: Sequence[str] = ("vertices",),
        transform: Transform | None = None,
    ) -> None:
        self.release = release
        chosen = release.select(status=layout.OK) if rows is None else np.asarray(rows, np.int64).ravel()
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(release)):
            raise UsageError(
                "the release has no such row", seen=int(chosen.max()), expected=f"0 to {len(release) - 1}"
            )
        self.rows = chosen
        self.fields = tuple(dict.fromkeys(fields))
        self.transform = transform
        for name in self.fields:
            self._check(name)

    def _check(self, name: str) -> None:
        if name in _TEXT:
            raise UsageError(
                f"'{name}' is text, which is no tensor",
                todo="Leave it out here; `Release.frame(row)` has it, and `Release.select` chooses by it.",
            )
        known = (*layout.ROW_FIELDS, *layout.OPTIONAL_ROW_FIELDS, *IMAGES, *NAMES, "age", ROW)
        if name not in known and name not in self.release.figures():
            raise UsageError(
                f"a release has no field '{name}'",
                expected=", ".join(dict.fromkeys((*known, *self.release.figures()))),
            )

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """What the numbers of `NAMES` stand for, of the whole release: `names["expression"][number]`."""
        return {name: self._codes[name][0] for name in NAMES if name in self.fields}

    @cached_property
    def _codes(self) -> dict[str, tuple[list[str], NDArray[np.int64]]]:
        """By field: the names there are, in order, and the number of each row of the index."""
        index = self.release.index
        codes: dict[str, tuple[list[str], NDArray[np.int64]]] = {}
        for name in (n for n in NAMES if n in self.fields):
            if name in _OF_SUBJECT:
                people, of_row = np.unique(index["subject"], return_inverse=True)
                values = np.array([str(self._said(str(one), name, "unknown")) for one in people], dtype=str)
                known, number = np.unique(values, return_inverse=True)
                codes[name] = known.tolist(), number[of_row].astype(np.int64)
            else:
                known, number = np.unique(index[name], return_inverse=True)
                codes[name] = known.tolist(), number.astype(np.int64)
        return codes

    def _said(self, subject: str, name: str, default: Any) -> Any:
        return self.release.subjects.get(subject, {}).get(name, default)

    @cached_property
    def _image_shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Shape of each wanted image: that of the first row that has one; None where none has."""
        wanted = [name for name in self.fields if name in IMAGES]
        found: dict[str, tuple[int, ...] | None] = dict.fromkeys(wanted)
        for row in self.rows.tolist():
            for name in [n for n in wanted if found[n] is None]:
                image = self._image(row, name)
                found[name] = None if image is None else image.shape
            if None not in found.values():
                break
        return found

    def _image(self, row: int, name: str) -> NDArray[Any] | None:
        if name in MAPS:
            return self.release.surface_map(row, name)
        return self.release.texture(row) if name == "texture" else self.release.coverage(row)

    def sample(self, row: int) -> Any:
        """One sample, of a row of the release's index."""
        made: Sample = {ROW: np.int64(row)}
        for name in self.fields:
            if name == "vertices":
                made[name] = self.release.vertices(row)
            elif name in IMAGES:
                made |= self._padded(row, name)
            elif name in NAMES:
                made[name] = self._codes[name][1][row]
            elif name == "age":
                made[name] = np.float32(
                    _number(self._said(str(self.release.index["subject"][row]), name, ""))
                )
            elif name in layout.ROW_FIELDS or name in layout.OPTIONAL_ROW_FIELDS:
                made[name] = self.release.field(row, name)
            elif name != ROW:
                made[name] = np.float32(self.release.figure(row, name))
        made = self._finished(made)
        return made if self.transform is None else self.transform(made)

    def _padded(self, row: int, name: str) -> Sample:
        shape = self._image_shapes[name]
        if shape is None:
            raise UsageError(f"no frame of these has a '{name}'", todo=f"Leave '{name}' out of the fields.")
        image = self._image(row, name)
        if image is None:
            image = np.zeros(shape, np.float32 if name in MAPS else np.uint8)
            return {name: image, f"{name}_there": np.bool_(False)}
        if image.shape != shape:
            raise ReleaseError(
                f"the {name} of row {row} has another size than the others",
                seen=image.shape,
                expected=shape,
                todo="Choose rows of one size.",
            )
        return {name: image, f"{name}_there": np.bool_(True)}

    def _finished(self, sample: Sample) -> Sample:
        return sample


class Frames(_Fields):
    """Map-style: sample `k` is of row `rows[k]`.

    Attributes:
        release, rows: (N,) of its index.  fields: what a sample has, besides `row`.

    Args:
        rows: of the release's index; default: all that are ok.
        fields: of `vertices`, `pose`, `landmarks` and the release's other fields, its images, figures and names.
        transform: makes of a sample what the data set gives.

    Raises:
        UsageError: there is no such field or row.
    """

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> Any:
        return self.sample(int(self.rows[k]))

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Samples of a batch, read in the order of the file and given in the order asked for."""
        rows = self.rows[np.asarray(numbers, np.int64)]
        samples: list[Any] = [None] * len(rows)
        for k in np.argsort(rows, kind="stable").tolist():
            samples[k] = self.sample(int(rows[k]))
        return samples


class Stream(_Fields):
    """Goes through the rows once a time, sequence by sequence, which reads a file on a slow disk in order.

    The sequences are shuffled, and within `buffer` samples the frames of neighbouring ones are too; both follow from
    seed and epoch alone.  Workers, and ranks of several machines, share the sequences out: together they give every
    row once.

    Args:
        shuffle: False: in the order of the rows.
        buffer: samples that are held and drawn from at random; memory for as many.
        part: of how many ranks this is which one, (0, 1): the only one.
        rows, fields, transform: as of `Frames`.
    """

    def __init__(
        self,
        release: Readable,
        rows: ArrayLike | None = None,
        fields: Sequence[str] = ("vertices",),
        transform: Transform | None = None,
        *,
        shuffle: bool = True,
        buffer: int = 64,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(release, rows, fields, transform)
        if not (0 <= part[0] < part[1] and buffer >= 1):
            raise UsageError(
                "a stream's part or buffer is wrong", seen=(part, buffer), expected="(k, n), k < n; >= 1"
            )
        self.shuffle, self.buffer, self.seed, self.part = shuffle, buffer, seed, part
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which time it is: another has another order."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._shares(*self.part))

    def __iter__(self) -> Iterator[Any]:
        return self.samples(0, 1)

    def samples(self, worker: int, workers: int) -> Iterator[Any]:
        """What one of several workers gives."""
        at, of = self.part
        yield from self._from(self._shares(at, of)[worker::workers])

    def _shares(self, which: int, of: int) -> list[NDArray[np.int64]]:
        """The rows of every `of`-th sequence, in the epoch's order."""
        index = self.release.index
        runs = np.unique(index[["subject", "sequence"]][self.rows], return_inverse=True)[1].ravel()
        order = np.argsort(runs, kind="stable")
        cuts = np.flatnonzero(np.diff(runs[order])) + 1
        sequences = [self.rows[part] for part in np.split(order, cuts)] if len(order) else []
        if not self.shuffle:
            sequences.sort(key=lambda rows: int(rows[0]))
            return sequences[which::of]
        rng = np.random.default_rng([self.seed, self.epoch])
        return [sequences[k] for k in rng.permutation(len(sequences)).tolist()][which::of]

    def _from(self, sequences: list[NDArray[np.int64]]) -> Iterator[Any]:
        rows = (int(row) for part in sequences for row in part.tolist())
        if not self.shuffle:
            yield from (self.sample(row) for row in rows)
            return
        first = int(sequences[0][0]) if sequences else 0
        rng, held = np.random.default_rng([self.seed, self.epoch, first]), []
        for row in rows:
            held.append(self.sample(row))
            if len(held) >= self.buffer:
                at = int(rng.integers(len(held)))
                held[at], held[-1] = held[-1], held[at]
                yield held.pop()
        while held:
            yield held.pop(int(rng.integers(len(held))))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


# -- PyTorch


def torch_module(user: str) -> Any:
    """PyTorch, imported when first needed.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"{user} needs PyTorch, which is not installed",
            todo="Run `pip install torch`; without it, `as_arrays` gives the same samples as numpy arrays.",
        ) from error
    return torch


def tensors(sample: Sample) -> Sample:
    """A sample's arrays as tensors that share their memory; numbers as tensors without axes."""
    torch = torch_module("a sample of tensors")
    return {name: torch.as_tensor(np.asarray(value)) for name, value in sample.items()}


class TorchFrames(Frames):
    """`Frames` whose samples are tensors; a map-style data set of `torch.utils.data`."""

    def _finished(self, sample: Sample) -> Sample:
        return tensors(sample)


class _TorchStream(Stream):
    def _finished(self, sample: Sample) -> Sample:
        return tensors(sample)


def stream_torch(*arguments: Any, **options: Any) -> Any:
    """A `Stream` of tensors as an `IterableDataset`, which shares itself out over a DataLoader's workers."""
    data = torch_module("a stream of tensors").utils.data

    class TorchStream(data.IterableDataset):  # type: ignore[name-defined]
        """Arguments as of `Stream`."""

        def __init__(self) -> None:
            super().__init__()
            self.stream = _TorchStream(*arguments, **options)

        def set_epoch(self, epoch: int) -> None:
            self.stream.set_epoch(epoch)

        @property
        def names(self) -> dict[str, list[str]]:
            return self.stream.names

        def __len__(self) -> int:
            return len(self.stream)

        def __iter__(self) -> Iterator[Any]:
            worker = data.get_worker_info()
            return self.stream.samples(*((0, 1) if worker is None else (worker.id, worker.num_workers)))

        def __reduce__(
            self,
        ) -> tuple[Any, ...]:  # a class made in a function cannot be named to another process
            return _again, (arguments, options, self.stream.epoch)

    return TorchStream()


def _again(arguments: tuple[Any, ...], options: dict[str, Any], epoch: int) -> Any:
    made = stream_torch(*arguments, **options)
    made.set_epoch(epoch)
    return made
