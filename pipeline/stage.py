"""What a stage is and what it is given: the contract between the runner and the rooms in `stages/`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from mimicme.pipeline.checkpoint import Checkpoint, CheckpointWriter
from mimicme.pipeline.items import Captures, Item, Part, Sequence

if TYPE_CHECKING:
    from mimicme.pipeline.corpus import Corpus
    from mimicme.pipeline.template import Template


S = TypeVar("S")
A = TypeVar("A", bound=Checkpoint)


@dataclass(frozen=True)
class Task(Generic[S]):
    """Everything a stage is given for one item.  A stage reads nothing else and writes only through `out`.

    Attributes:
        sequence: the item and its frames on disk.
        settings: an instance of the stage's own settings class.
        captures: declared unit, axes, rate and root of the captures.
        inputs: paths of the checkpoints of this sequence, by stage name, for every stage in `Stage.needs`.
        neutral: the same stage's checkpoint of the subject's neutral sequence; None for the neutral itself,
            for stages that do not ask for it, and when that sequence failed.
        template: path of the prepared template.
        siblings: for the neutral of a stage of scope `subject`: what `inputs` is for this sequence, of every other
            sequence of the subject that has all of it and whose frames are not all called bad; in order of the items.
        corpus: for a stage of scope `corpus`: where it is written down what `inputs` is of every sequence of the
            workspace's catalogue, this one among them (`load_corpus`); None while the stage is not enabled.
        part: the part of the item that is to be made; None: the whole.  See `Stage.parts`.
        parts: checkpoints of all parts, in order, that are to be joined; empty: the item is made in one piece.
    """

    sequence: Sequence
    settings: S
    captures: Captures
    inputs: Mapping[str, Path]
    neutral: Path | None
    template: Path
    siblings: Mapping[Item, Mapping[str, Path]] = field(default_factory=dict)
    corpus: Path | None = None
    part: Part | None = None
    parts: tuple[Path, ...] = ()

    def input(self, kind: type[A]) -> A:
        """The opened checkpoint of this sequence that a stage's own reader is for; use as a context manager.

        Raises:
            KeyError: the stage's `needs` do not name it.
        """
        if kind.stage not in self.inputs:
            raise KeyError(f"'{kind.stage}' is not among the `needs` of this stage: {list(self.inputs)}")
        return kind(self.inputs[kind.stage])

    def load_template(self) -> Template:
        """The skin of the prepared template (`pipeline.template.skin`), cached per process: what scans show."""
        from mimicme.pipeline.template.skin import load_skin

        return load_skin(self.template)

    def load_corpus(self) -> Corpus | None:
        """What is given of all sequences, cached per process; see `corpus`."""
        from mimicme.pipeline.corpus import load_corpus

        return None if self.corpus is None else load_corpus(self.corpus)


def latest(inputs: Mapping[str, Path], dataset: str) -> Path | None:
    """The last checkpoint, in order of the flow, that has a dataset of its own under this name; None when none has.

    A stage that improves on what an earlier one wrote leaves the dataset out where it has no say: whose vertices
    count, say, is answered here alone.

    Args:
        inputs: by stage name, in order of the flow.
    """
    for path in reversed(list(inputs.values())):
        with Checkpoint(path) as checkpoint:
            if dataset in checkpoint:
                return path
    return None


Scope = Literal["sequence", "neutral", "subject", "corpus", "everything"]
NEUTRAL_FIRST: tuple[Scope, ...] = ("neutral", "subject")
"""Scopes whose items wait for the same stage's checkpoint of their subject's neutral."""


def _of_no_sequence(task: Task[Any], out: CheckpointWriter) -> None:
    raise NotImplementedError("a stage of scope `everything` works no single sequence")


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage as the runner sees it; whatever its functions are given has the settings `settings`.

    Attributes:
        name: command name and folder name of its checkpoints.
        version: raised when the same settings give other results; part of every fingerprint.
        settings: frozen dataclass of its settings; every field has a default.
        needs: names of the earlier stages whose checkpoints of the same sequence it reads; of scope `everything`
            left empty, they are all the earlier stages (`in_order`).
        scope: what an item waits for: its own `needs` (`sequence`); also the same stage of its subject's
            neutral sequence (`neutral`); that, and the neutral itself waits for the `needs` of all the subject's
            sequences (`subject`); the `needs` of all sequences of the workspace (`corpus`; while the settings'
            field `enabled` is false, its own only); or every item of the earlier stages (`everything`: the
            stage has one item, the release).
        compute: `compute(task, out)` for all scopes but the last: reads its inputs, writes its checkpoint through
            `out`, rejects single frames through `out.reject`, and raises only when the whole sequence is
            lost.
        everything: what stands for `compute` where the scope is `everything`: called with keywords, see `releasing`.
        settings_by_preset: field values that `--preset` changes, by preset name.
        memory: one sentence: memory a worker needs, for the documentation and `--dry-run`.
        takes: of its settings and the number of vertices of a template, about how many MB of address space a worker
            takes for it beyond what its libraries do, with a scan and an image as scanners deliver them; None: little.
        shapes: whether a frame's registered vertices depend on it: a frame that it rejects is rejected in the
            release; what the other stages reject is only missing there, and noted.
        reader: reads its checkpoints; of a stage that others read, its own (`stages/<stage>/checkpoint.py`).
        uses_template: whether `compute` reads the template; False: another template leaves its checkpoints
            current.
        uses_label: whether `compute` reads the sequence's label: another one makes its checkpoints stale.
        collect: for `everything`: makes one of its inputs from a sequence and the paths of its
            checkpoints by stage name.
        held: for `everything`: of some items, those of which the release at a path has frames that are ok, with the
            names of the stages whose results it has of each, None where that cannot be read.  Without it a release is
            packed anew whatever is lacking.
        ok_frames: for `everything`: of a release at a path, its sequences, with how many frames of each are ok; raises
            where it cannot be read.  Without it nobody is told which sequences left a release.
        keep: for `everything`: of a release at a path that is not packed anew: takes out who may not be in it any more
            (`stages/pack/keeping.py`); called with keywords, see `releasing`.
        most_neutral: of the stage that knows how neutral frames are: of a checkpoint's path, the cost of its most
            neutral frame and why it is, None where it has none.  A subject without a sequence labelled neutral takes
            its neutral from the sequence with the least.  Frames that a person called bad are left out of its
            checkpoints where they could be a neutral (`CheckpointWriter.continue_from`).
        corrected: whether it reads landmarks that a person corrected (`FrameSource.correction`).
        parts: how many parts an item is worked in, if that can be more than one; must follow from the item, the
            settings and the inputs alone.  `compute` is then called for each part (`Task.part`), in any order and
            side by side, with a writer for the part's own checkpoint, whose form is the stage's affair; and at last
            for the whole with `Task.parts`, to join them.  Not for a stage that reads raw files: what it read is
            remembered of whole items.
    """

    name: str
    version: int
    settings: type[S]
    needs: tuple[str, ...]
    compute: Callable[[Task[S], CheckpointWriter], None] = _of_no_sequence
    scope: Scope = "sequence"
    settings_by_preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    memory: str = ""
    takes: Callable[[S, int], float] | None = None
    shapes: bool = False
    reader: type[Checkpoint] = Checkpoint
    uses_template: bool = True
    uses_label: bool = False
    corrected: bool = False
    collect: Callable[[Sequence, Mapping[str, Path]], Any] | None = None
    held: Callable[[Path, Iterable[Item]], Mapping[Item, Collection[str] | None]] | None = None
    ok_frames: Callable[[Path], Mapping[Item, int]] | None = None
    keep: Callable[..., Any] | None = None
    parts: Callable[[Task[S]], int] | None = None
    most_neutral: Callable[[Path], tuple[float, str] | None] | None = None
    everything: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        whole = self.scope == "everything"
        if whole != (self.everything is not None) or whole != (self.compute is _of_no_sequence):
            raise ValueError(f"stage '{self.name}' has `compute`, or `everything` of scope `everything`")
        if self.parts is not None and (self.scope == "everything" or not self.needs):
            raise ValueError(f"stage '{self.name}' cannot be worked in parts")


def is_off(settings: object) -> bool:
    """Whether a stage's settings switch it off: it then hands on what it was given and changes nothing."""
    return getattr(settings, "enabled", True) is False


def in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The stages of a flow, each with what it needs before it and in that order.

    Raises:
        ValueError: two have one name, or one needs what does not come before it.
    """
    known: list[Stage] = []
    for stage in stages:
        before = tuple(s.name for s in known)
        if stage.name in before:
            raise ValueError(f"stage '{stage.name}' stands twice")
        if lacking := [need for need in stage.needs if need not in before]:
            raise ValueError(
                f"stage '{stage.name}' needs {lacking}, of what comes before it there is only {list(before)}"
            )
        whole = stage.scope == "everything" and not stage.needs
        needs = before if whole else tuple(name for name in before if name in stage.needs)
        known.append(replace(stage, needs=needs))
    return tuple(known)
