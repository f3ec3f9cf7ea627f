"""What a run and `status` tell of a stage's items, subject by subject; and which subjects are settled with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from mimicme.pipeline.items import Sequence
from mimicme.pipeline.run.checkpoint_index import FigureSummary, merge_summaries, read_record
from mimicme.pipeline.run.findings import count_called_bad, new_findings
from mimicme.pipeline.run.plan import Plan, newest_frame
from mimicme.pipeline.run.settled import Settled, Signatures, Tally, source_folders
from mimicme.pipeline.stage import NEUTRAL_FIRST, Stage


def tallies(plan: Plan, stage: Stage, sequences: Iterable[Sequence]) -> Iterator[Tally]:
    """A tally a subject, over its items that are done; the states of those that are not settled must be there."""
    for subject, own in groupby(sequences, key=lambda sequence: sequence.item.subject):
        settled = plan.settled.get(subject)
        yield tally(plan, stage, own) if settled is None else settled.tally(stage.name)


def rejected_by(plan: Plan, stage: Stage, sequences: Iterable[Sequence], with_bad: bool = True) -> int:
    """How many frames are rejected so far, as `tallies` counts them, without what else those tell.

    Args:
        with_bad: with those that a person called bad.
    """
    count = 0
    for subject, own in groupby(sequences, key=lambda sequence: sequence.item.subject):
        settled = plan.settled.get(subject)
        if settled is None:
            for _, summary in plan.current_checkpoints(stage.name, own):
                count += summary.rejected
                count -= 0 if with_bad else count_called_bad(summary.flagged.values())
        else:
            told = settled.tally(stage.name)
            count += told.rejected - (0 if with_bad else told.called_bad)
    return count


def tally(plan: Plan, stage: Stage, sequences: Iterable[Sequence]) -> Tally:
    """The tally of these sequences, from their checkpoints."""
    told = Tally()
    figures: list[FigureSummary] = []
    for item, summary in plan.current_checkpoints(stage.name, sequences):
        told.items += 1
        told.ok += summary.ok
        told.rejected += summary.rejected
        told.called_bad += count_called_bad(summary.flagged.values())
        findings, remarks, bad = new_findings(plan, stage, item)
        told.newly_called_bad += bad
        told.findings += findings
        told.remarks += remarks
        told.decisions += [(name, sentence, str(item)) for name, sentence in summary.decisions.items()]
        figures += summary.figures
    told.figures = merge_summaries(figures)
    return told


def settle(plan: Plan, now: Collection[str] = ()) -> None:
    """Find of whom everything is done after a run, for the ledger, so that the next run need not look at each item.

    Args:
        now: of whom that was found while the run went on (`settle_one`).

    The signature is taken first and every state determined anew after it: a raw file that changed while the run went
    on is either seen here, or makes another signature.
    """
    ledger = plan.ledger
    if ledger is None:
        return
    stages = [stage for stage in plan.stages if stage.scope != "everything"]
    signatures = plan.signatures()
    for stage in stages:
        plan.begin(stage)
    # with those who were settled while the run went on
    known = {
        s: one for s, one in ledger.subjects.items() if plan.of_subject(s) and (s in now or s in plan.settled)
    }
    for subject, own in groupby(plan.catalogue.sequences, key=lambda sequence: sequence.item.subject):
        if subject not in known:
            found = _settled(plan, signatures, stages, subject, list(own))
            if found is not None:
                known[subject] = found
    ledger.subjects = known
    plan.settled = known


def settle_one(plan: Plan, signatures: Signatures, subject: str) -> Settled | None:
    """Write down of one subject that everything is done, if it is: a run that is killed later begins after it.

    Returns:
        what was written down; None: not everything is done.

    Raises:
        OSError: it cannot be written.
    """
    if plan.ledger is None:
        return None
    plan.look_again(subject)
    stages = [stage for stage in plan.stages if stage.scope != "everything"]
    found = _settled(plan, signatures, stages, subject, plan.of_subject(subject))
    if found is not None:
        plan.ledger.append(subject, found)
    return found


def _settled(
    plan: Plan, signatures: Signatures, stages: list[Stage], subject: str, sequences: list[Sequence]
) -> Settled | None:
    for stage in stages:
        for sequence in sequences:
            state = plan.states.get((stage.name, sequence.item))
            if state is None or state.state != "done":
                return None
    folders: set[str] = set()
    said = {}
    for stage in stages:
        for sequence in sequences:
            path = plan.checkpoint(stage.name, sequence.item)
            # as it was looked at last: what it is now is looked at below, after the signature was taken
            summary = said[path] = plan.index.known(path)
            if summary is not None and summary.has_sources:
                found = source_folders(read_record(path)[1])
                if found is None:
                    return None
                folders.update(found)
    ordered = tuple(sorted(folders))
    signature = signatures.take(subject, sequences, ordered)
    with plan.index.each_once():  # after the signature was taken
        for stage in stages:
            if stage.scope in NEUTRAL_FIRST:
                sequences = sorted(sequences, key=lambda s: not plan.is_neutral(s.item))
            if any(plan.state_of(stage, sequence).state != "done" for sequence in sequences):
                return None
        if any(plan.index.read(path) is not summary for path, summary in said.items()):
            return None
        by_name = sorted(sequences, key=lambda sequence: sequence.item)
        told = {stage.name: tally(plan, stage, by_name).to_json() for stage in stages}
    return Settled(signature, ordered, told, newest_frame(sequences))
