"""The catalogue: every sequence in a capture folder, what it shows, and which is its subject's neutral."""

from __future__ import annotations

import fnmatch
import gc
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mimicme.pipeline.captures import who
from mimicme.pipeline.captures.expressions import LABELS, NEUTRAL, label_of
from mimicme.pipeline.captures.frame_order import FrameOrder, natural_key
from mimicme.pipeline.captures.layouts import (
    ONLY_SEQUENCE,
    Found,
    Search,
    compile_pattern,
    safe_glob,
    safe_name,
    search,
)
from mimicme.pipeline.captures.sequence_remarks import rates_taken, remarks
from mimicme.pipeline.errors import InputError, counted, listed, out_of
from mimicme.pipeline.items import FrameSource, Item, Sequence


@dataclass(frozen=True)
class LeftOut:
    """Somebody who has captures, and withdrew or refuses: for the command that goes on, never to be written down.

    Attributes:
        names: as commands take it, and as on disk.
        withdrew: its consent; else the table of subjects leaves it out.
        folders: in which its captures lie.
    """

    names: tuple[str, str]
    withdrew: bool
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """What lies in the capture folder.

    Attributes:
        sequences: in order of subject and sequence.
        neutral: item of each subject's neutral sequence: the one labelled so, else the first by name, until landmarks
            tell (`unlabelled`).
        pattern: the layout the files fit.
        messages: sentences about decisions and about files left out.
        captured: subjects that have captures and have not withdrawn, in order, whatever their consent.
        orders: how the frames of each sequence are numbered, by item.
        unheeded: those of `messages` about verdicts and corrections that count for nothing; they are said until someone
            mends them.
        unclear: sequences that are left out because the order of their frames is not clear, with the sentence why.
        renamed: sentences about subjects and sequences whose names are not those of their folders.
        left_out: who has captures that are not listed.
        rates: sentences about the frame rates that are taken from file names: news where captures are declared and
            where they are first worked on, and none of `messages`, which every command says.
        searched: when the search began, in seconds since the epoch.
    """

    sequences: tuple[Sequence, ...]
    neutral: Mapping[str, Item]
    pattern: str
    messages: tuple[str, ...]
    captured: tuple[str, ...] = ()
    orders: Mapping[Item, FrameOrder] = field(default_factory=dict)
    unclear: Mapping[Item, str] = field(default_factory=dict)
    unheeded: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = field(default=(), repr=False)
    rates: tuple[str, ...] = ()
    searched: float = field(default=0.0, compare=False)

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(sorted({s.item.subject for s in self.sequences}))

    @property
    def unlabelled(self) -> frozenset[str]:
        """Subjects with several sequences and none labelled neutral whose frames are not all called bad: whose neutral
        has to be looked for."""
        by_subject: dict[str, list[Sequence]] = {}
        for sequence in self.sequences:
            by_subject.setdefault(sequence.item.subject, []).append(sequence)
        return frozenset(
            subject
            for subject, own in by_subject.items()
            if len(own) > 1 and all(not is_labelled_neutral(s) or s.all_bad for s in own)
        )

    @property
    def frame_count(self) -> int:
        return sum(len(s.frames) for s in self.sequences)

    def matching(self, glob: str) -> set[Item]:
        """The sequences that a glob `SUBJECT/SEQUENCE` names, or `SUBJECT`: as they are named here, else as their
        folders are."""
        for name in (glob, safe_glob(glob)):
            full = name if "/" in name else f"{name}/*"
            if found := {s.item for s in self.sequences if fnmatch.fnmatchcase(str(s.item), full)}:
                return found
        return set()


def build(
    root: Path,
    layout: str = "",
    mapping: Mapping[str, str] | None = None,
    withdrawn: Callable[[str], bool] | None = None,
    refused: Callable[[Iterable[str]], Mapping[str, str]] | None = None,
    fps: float = math.nan,
) -> Catalogue:
    """Search the capture folder.

    Args:
        root: the capture folder.
        layout: pattern or name of a layout; empty: decided by trying.
        mapping: expression label by sequence name (`expressions.read_mapping`).
        withdrawn: says of a subject whether it has withdrawn its consent; such captures are not listed,
            and no message names it.
        refused: says of the captured subjects which the table of subjects leaves out, with the sentence why, which
            becomes a message; their captures are not listed either.
        fps: the frame rate that is declared; NaN: none.

    Raises:
        InputError: nothing fits, two names on disk give one safe name, or of no sequence the order of the frames is
            clear.
        ConfigError: the layout is wrong.
    """
    searched = time.time()
    with no_garbage_collection():
        found = _build(search(root, layout), root, mapping, withdrawn, refused, fps)
    return replace(found, searched=searched)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A million objects are made that all stay; looking through them for cycles takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def left_alone_by_garbage_collection() -> Iterator[None]:
    """What there is stays; of a large database, to look through it for cycles again and again takes a tenth of the
    time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _build(
    result: Search,
    root: Path,
    mapping: Mapping[str, str] | None,
    withdrawn: Callable[[str], bool] | None,
    refused: Callable[[Iterable[str]], Mapping[str, str]] | None,
    fps: float,
) -> Catalogue:
    by_name: dict[tuple[str, str], list[Found]] = {}
    for found in result.found:
        by_name.setdefault((found.subject, found.sequence), []).append(found)
    groups: dict[Item, list[Found]] = {}
    raw_names: dict[str, dict[str, str]] = {}
    for files in by_name.values():
        found = files[0]
        item = Item(safe_name(found.subject), safe_name(found.sequence))
        for kind, safe, raw in (
            ("subject", item.subject, found.subject),
            (f"sequence of {item.subject}", item.sequence, found.sequence),
        ):
            known = raw_names.setdefault(kind, {}).setdefault(safe, raw)
            if known != raw:
                raise InputError(
                    f"two names of a {kind} become the same once they are safe for files",
                    where=root,
                    seen=f"'{known}' and '{raw}', both '{safe}'",
                    todo="Rename one of them.",
                )
        groups[item] = files
    gone = {s for s in {i.subject for i in groups} if withdrawn is not None and withdrawn(s)}
    messages = [
        _unnamed(message, [raw_names["subject"][s] for s in sorted(gone)]) for message in result.messages
    ]
    if gone:
        have = counted(len(gone), "subject has", "subjects have")
        messages.append(f"{have} withdrawn their consent; left out.")
    withdrew = frozenset(gone)
    captured = {i.subject for i in groups} - gone
    messages += [
        f"The capture folders {' and '.join(repr(s) for s in alike)} may be one person; they are worked on as two."
        for alike in who.alike(captured)
    ]
    refusals = refused(captured) if refused is not None else {}
    kept_out = sorted(captured & set(refusals))
    messages += [refusals[subject] for subject in kept_out]
    gone.update(kept_out)
    kept = [item for item in sorted(groups) if item.subject not in gone]
    orders = {item: result.orders[groups[item][0].subject, groups[item][0].sequence] for item in kept}
    unclear: dict[Item, str] = {}
    for item, order in orders.items():
        if order.problem:  # how many files of all a layout takes is told of the first: it takes a while
            everything = [] if unclear else result.found
            unclear[item] = _unclear(item, groups[item], order, result.pattern, everything)
    sequences = tuple(
        _sequence(item, groups[item], mapping, orders[item]) for item in kept if item not in unclear
    )
    if unclear and not sequences:
        raise unclear_error(unclear, root)
    if unclear:
        messages.append(
            f"{next(iter(unclear.values()))} "
            + ("It is left out." if len(unclear) == 1 else f"{len(unclear)} such sequences are left out.")
        )
    messages += remarks(sequences, orders, result.pattern, fps)
    rates = tuple(rates_taken(sequences, fps))
    return Catalogue(
        sequences,
        neutrals(sequences),
        result.pattern,
        tuple(messages),
        tuple(sorted(captured)),
        orders,
        unclear,
        renamed=_renamed(groups[item][0] for item in kept),
        left_out=_left_out(groups, gone, withdrew),
        rates=rates,
    )


def _left_out(
    groups: Mapping[Item, list[Found]], gone: Collection[str], withdrew: Collection[str]
) -> tuple[LeftOut, ...]:
    files: dict[str, list[Found]] = {}
    for item, group in groups.items():
        if item.subject in gone:
            files.setdefault(item.subject, []).extend(group)
    return tuple(
        LeftOut(
            (subject, own[0].subject),
            subject in withdrew,
            tuple(sorted({os.path.dirname(found.path) for found in own})),
        )
        for subject, own in sorted(files.items())
    )


def _renamed(found: Iterable[Found]) -> tuple[str, ...]:
    """Which subjects and sequences, of a file of each sequence, are named otherwise than their folders, and why."""
    subjects, sequences = {}, {}
    for one in found:
        subjects[one.subject], sequences[one.sequence] = safe_name(one.subject), safe_name(one.sequence)
    said = []
    for name, plural, names in (
        ("subject", "subjects", subjects),
        ("name of a sequence", "names of sequences", sequences),
    ):
        others = [f"'{raw}' is {safe}" for raw, safe in sorted(names.items()) if raw != safe]
        if others:
            said.append(
                f"{out_of(len(others), len(names), name, plural, ('is', 'are'))} spelled otherwise here than on disk, "
                "because in files and in the release names have letters a to z, digits and _ . + - alone: "
                f"{listed(others, 6)}. Commands take either name."
            )
    return tuple(said)


def unknown_labels(sequences: tuple[Sequence, ...], mapping: Mapping[str, str] | None = None) -> list[str]:
    """A sentence on sequences whose names say nothing that is known, and that no mapping speaks of.

    Of single scans, which a layout without `{sequence}` gave their only sequence's name itself, nothing is said: nobody
    called them so.
    """
    mapping = mapping or {}
    counts: Counter[str] = Counter()
    for sequence in sequences:
        name = sequence.item.sequence.lower()
        said = name in mapping or f"{sequence.item.subject.lower()}/{name}" in mapping
        if sequence.expression not in (*LABELS, ONLY_SEQUENCE) and not said:
            counts[sequence.expression] += 1
    if not counts:
        return []
    named = listed((f"'{label}' ({count})" for label, count in counts.most_common()), 6)
    called = ("is labelled as it is called", "are labelled as they are called")
    how_many = out_of(sum(counts.values()), len(sequences), "sequence", verbs=called)
    return [
        f"{how_many}, which is no expression that is known: {named}. If they show one, say so in a table of "
        "sequence and expression (`file` in [expressions] of mimicme.toml; `init`: --expressions)."
    ]


def unclear_error(unclear: Mapping[Item, str], root: Path) -> InputError:
    """The error that the order of some sequences' frames is not clear, with what settles it."""
    more = f" {len(unclear) - 1} more sequences are like it." if len(unclear) > 1 else ""
    return InputError(
        "the order of the frames is not clear", where=root, todo=f"{next(iter(unclear.values()))}{more}"
    )


def _unclear(item: Item, files: list[Found], order: FrameOrder, pattern: str, everything: list[Found]) -> str:
    """Why the frames of a sequence cannot be put in order, and what settles it, as sentences."""
    names = sorted({Path(found.relative).stem for found in files}, key=natural_key)
    said = f"{item}: {order.problem}: {listed(names, 4)}."
    layout = pattern.replace("{frame}", order.instead)
    if order.instead and "{frame}" in pattern:
        fits = compile_pattern(layout).fullmatch
        here, everywhere = (
            sum(fits(found.relative) is not None for found in group) for group in (files, everything)
        )
        share = f", which takes {here} of its {counted(len(files), 'file')}" if here < len(files) else ""
        if everywhere < len(everything):
            share += f"{' and' if share else ', which takes'} {everywhere} of all {len(everything)}"
        return (
            f"{said} Say which number counts: --layout '{layout}'{share}; or name the files by number alone."
        )
    return f"{said} Name them by number; or give a layout in which {{sequence}} stands for the names, with --layout."


def _unnamed(message: str, names: list[str]) -> str:
    """A message, which may list files, without these subjects' names in their paths; a number is a name too."""
    for name in names:
        message = re.sub(rf"(?<!\w){re.escape(name)}(?=[/.])", "(withdrawn)", message)
    return message


def _sequence(
    item: Item, files: list[Found], mapping: Mapping[str, str] | None, order: FrameOrder
) -> Sequence:
    by_number: dict[int, list[Found]] = {}
    for found in sorted(files, key=lambda f: f.relative):
        by_number.setdefault(found.number, []).append(found)
    frames = tuple(
        FrameSource(
            number,
            claims[0].path,
            tuple(claim.path for claim in claims[1:]),
            claims[0].time_s,
            recipe=claims[0].recipe,
        )
        for number, claims in sorted(by_number.items())
    )
    name = files[0].sequence
    return Sequence(item, name, label_of(name, mapping, files[0].subject), frames, order.fps)


def is_labelled_neutral(sequence: Sequence) -> bool:
    """Whether a sequence is labelled neutral."""
    return sequence.expression == NEUTRAL


def neutrals(sequences: tuple[Sequence, ...]) -> dict[str, Item]:
    """Each subject's neutral sequence: the first one labelled neutral, else the first by name; one whose frames are all
    called bad only where there is no other."""
    chosen: dict[str, Sequence] = {}
    for sequence in sorted(sequences, key=lambda s: (s.all_bad, not is_labelled_neutral(s), s.item)):
        chosen.setdefault(sequence.item.subject, sequence)
    return {subject: sequence.item for subject, sequence in sorted(chosen.items())}
