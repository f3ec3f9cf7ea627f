"""Stages that do almost nothing, for tests of the machine room; workers import this by its plain name."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mimicme.pipeline.checkpoint import Checkpoint
from mimicme.pipeline.errors import FrameRejected, InputError, MissingDependencyError
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.whole_file import whole_file


@dataclass(frozen=True)
class ReadSettings:
    scale: float = 1.0


@dataclass(frozen=True)
class FitSettings:
    steps: int = 3
    name: str = "a"
    part_frames: int = 0


@dataclass(frozen=True)
class PaintSettings:
    size: int = 8


@dataclass(frozen=True)
class BundleSettings:
    level: int = 1


@dataclass(frozen=True)
class AgreeSettings:
    pass


@dataclass(frozen=True)
class LearnSettings:
    enabled: bool = True


KEPT: list[bytes] = []
"""What a worker keeps for good."""


def log(task, stage):
    """One line per computation, beside the captures."""
    with open(task.captures.root.parent / "calls.txt", "a") as handle:
        handle.write(f"{stage} {task.sequence.item} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")


def tried_before(task, stage):
    """Whether a computation that is logged already was logged before."""
    lines = (task.captures.root.parent / "calls.txt").read_text().splitlines()
    return [line.split()[:2] for line in lines].count([stage, str(task.sequence.item)]) > 1


def read(task, out):
    """The words of a capture tell what is to happen."""
    log(task, "read")
    out.frames([f.number for f in task.sequence.frames])
    values = out.rows("value", (), "f8")
    for row, frame in enumerate(task.sequence.frames):
        text = out.sources.read(frame.path).decode()
        out.sources.exists(frame.path.with_suffix(".note"))
        if "fail" in text:
            raise InputError("this capture cannot be used", where=frame.path.name)
        if "bug" in text:
            raise ZeroDivisionError("a mistake")
        if "lacking" in text:
            raise MissingDependencyError("a package is missing", todo="Run `make install`.")
        if "kill" in text and not ("once" in text and tried_before(task, "read")):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        if "bloated" in text:
            KEPT.append(b"x" * (340 << 20))
        time.sleep(30 if "slow" in text else 0.5 if "nap" in text else 0)
        if "reject" in text:
            out.reject(row, FrameRejected("bad-words", "the frame says reject", todo="Write something else."))
            continue
        if "note" in text:
            out.note(row, "noted", "The frame says note.")
        values[row] = len(text) * task.settings.scale
    out.attrs["word_tally"] = f"{len(task.sequence.frames)} read, 1 thrown away"
    out.attrs["scale_decision"] = f"scale {task.settings.scale:g} was chosen"


def parts(task):
    frames, each = len(task.sequence.frames), task.settings.part_frames
    return 1 if not each or task.neutral is None else -(-frames // each)


def fit(task, out):
    log(task, "fit" if task.part is None else f"fit:{task.part.number}of{task.part.count}")
    if task.part is not None:
        misbehave(task.captures.root.parent / "misbehave.json", task.part)
    with Checkpoint(task.inputs["read"]) as before:
        numbers, statuses, values = before.numbers.tolist(), before.statuses, before["value"][:]
    mine = range(len(numbers)) if task.part is None else task.part.rows(len(numbers))
    if task.parts:
        pieces = [Checkpoint(path) for path in task.parts]
        found = np.concatenate([piece["value"][:] for piece in pieces])
    else:
        rng = np.random.default_rng(0).normal(size=(300, 300))
        # the sum of a product depends on the number of threads
        found = values[mine.start : mine.stop] * task.settings.steps + float((rng @ rng.T).sum())
    out.frames([numbers[row] for row in mine], [statuses[row] for row in mine])
    out.rows("value", (), "f8")[:] = found
    out.attrs["neutral"] = "" if task.neutral is None else task.neutral.parent.name + "/" + task.neutral.stem


def calmest(path):
    """The shorter a capture's text, the calmer it is."""
    with Checkpoint(path) as made:
        values = made["value"][:]
        if not np.isfinite(values).any():
            return None
        return float(np.nanmin(values)), f"frame {int(np.nanargmin(values))}"


def picky(task, out):
    """As `fit`, but a text of an even number of letters is no neutral, and fails where there is a file that says so."""
    if (task.captures.root.parent / "no_fit" / task.sequence.item.sequence).exists():
        raise InputError("this sequence does not please today")
    fit(task, out)
    if task.neutral is None:
        with Checkpoint(task.inputs["read"]) as before:
            values = before["value"][:]
        for row in [row for row in range(len(values)) if out.statuses[row].ok and values[row] % 2 == 0]:
            out.reject(row, FrameRejected("even", "the text has an even number of letters"))


def misbehave(path, part):
    """Fail, hang or die in the parts that a file beside the captures names."""
    asked = json.loads(path.read_text()) if path.exists() else {}
    what = asked.get(str(part.number))
    if what == "fail":
        raise InputError(f"{part} does not please")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30 if what == "hang" else 0)


def paint(task, out):
    log(task, "paint")
    with Checkpoint(task.inputs["fit"]) as before:
        rows = out.continue_from(before)
        for row in rows:
            out.put(row, "image", np.full((task.settings.size,) * 2, row, np.uint8))


def bundle(*, inputs, output, fingerprint, created, config_json, **more):
    import h5py

    with whole_file(output) as temporary, h5py.File(temporary, "w", libver="v110") as handle:
        handle.attrs["fingerprint"] = fingerprint
        handle.attrs["created"] = created
        handle.attrs["config"] = config_json
        for one in inputs:
            group = handle.create_group(str(one.sequence.item))
            group.attrs["stages"] = json.dumps(sorted(one.checkpoints))
            for name, path in one.checkpoints.items():
                with h5py.File(path) as checkpoint:
                    group.attrs[name] = checkpoint.attrs["fingerprint"]
                    if "value" in checkpoint:
                        group.create_dataset(f"{name}_value", data=checkpoint["value"][:], track_times=False)


def agree(task, out):
    """What the siblings have, summed up by the neutral and handed on to the others."""
    log(task, "agree")
    with Checkpoint(task.inputs["fit"]) as before:
        out.continue_from(before)
    total = 0.0
    for item, paths in task.siblings.items():
        assert item.subject == task.sequence.item.subject
        with Checkpoint(paths["fit"]) as other:
            total += float(other["value"][:].sum())
    out.attrs["siblings"] = [item.sequence for item in task.siblings]
    if task.neutral is not None:
        with Checkpoint(task.neutral) as neutral:
            total = float(neutral.attrs["total"])
    out.attrs["total"] = total


def learn(task, out):
    """What all sequences have, summed up."""
    log(task, "learn")
    with Checkpoint(task.inputs["fit"]) as before:
        out.continue_from(before)
    corpus = task.load_corpus()
    given = {} if corpus is None else corpus.inputs
    out.attrs["taught"] = [str(item) for item in given]
    total = 0.0
    for paths in given.values():
        with Checkpoint(paths["fit"]) as other:
            total += float(other["value"][:].sum())
    out.attrs["total"] = total


READ = Stage("read", 1, ReadSettings, (), read, uses_template=False)
FIT = Stage(
    "fit",
    1,
    FitSettings,
    ("read",),
    fit,
    scope="neutral",
    parts=parts,
    settings_by_preset={"fast": {"steps": 1}, "best": {"steps": 9}},
    uses_template=False,
)
PAINT = Stage("paint", 1, PaintSettings, ("read", "fit"), paint, uses_template=False)
AGREE = Stage("agree", 1, AgreeSettings, ("fit",), agree, scope="subject", uses_template=False)
LEARN = Stage("learn", 1, LearnSettings, ("fit",), learn, scope="corpus", uses_template=False)
NEEDS = ("read", "fit", "paint")
BUNDLE = Stage("bundle", 1, BundleSettings, NEEDS, scope="everything", everything=bundle, uses_template=False)
STAGES = (READ, FIT, PAINT, BUNDLE)
WITH_SUBJECT = (READ, FIT, AGREE, PAINT, BUNDLE)
PICKY = (
    replace(READ, most_neutral=calmest),
    replace(FIT, compute=picky),
    AGREE,
    replace(PAINT, needs=("read", "fit", "agree")),
    BUNDLE,
)
WITH_CORPUS = (READ, FIT, LEARN, PAINT, BUNDLE)


def captures(root: Path, sequences: dict[str, list[str]]) -> Path:
    """Write captures: `subject/sequence` -> the text of each frame."""
    for item, texts in sequences.items():
        folder = root / item
        folder.mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(texts):
            path = folder / f"{number:04d}.obj"
            path.write_text(text)
            os.utime(path, (1_700_000_000, 1_700_000_000))
    return root
