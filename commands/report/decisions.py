"""What was decided about a sequence before any stage ran: its name, the order of its frames, its label, the consent.

Sentences as the stages write theirs (`records.decision_sentence`): what is decided, and because of what.
"""

from __future__ import annotations

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.captures.expressions import LABELS, NEUTRAL
from mimicme.pipeline.captures.metadata import UNKNOWN, SubjectTable
from mimicme.pipeline.captures.sequence_remarks import gaps
from mimicme.pipeline.errors import listed
from mimicme.pipeline.items import Sequence


def decided(catalogue: Catalogue, table: SubjectTable, sequence: Sequence) -> tuple[str, ...]:
    """Sentences about one sequence of a catalogue."""
    own = sequence.item.sequence
    said = [] if sequence.name == own else [f"name: {own}, because its folder is called '{sequence.name}'"]
    return (*said, _order(catalogue, sequence), *_label(catalogue, sequence), _consent(table, sequence))


def _order(catalogue: Catalogue, sequence: Sequence) -> str:
    order = catalogue.orders.get(sequence.item)
    first, last = sequence.frames[0], sequence.frames[-1]
    numbers = str(first.number) if first.number == last.number else f"{first.number} to {last.number}"
    by = "times" if order is not None and order.times_s else "numbers"
    files = first.path.name if first is last else f"{first.path.name} to {last.path.name}"
    missing = listed((gap.text for gap in gaps(sequence.frames, order)), 4)
    return f"order: frames {numbers}, because of the {by} in their files' names ({files})" + (
        "" if missing == "none" else f"; missing: {missing}"
    )


def _label(catalogue: Catalogue, sequence: Sequence) -> list[str]:
    known = sequence.expression in (*LABELS, NEUTRAL)
    why = (
        f"its name or the table of expressions says so of '{sequence.name}'"
        if known
        else "no label is known by it"
    )
    said = [f"shows: {sequence.expression}, because {why}"]
    subject = sequence.item.subject
    if catalogue.neutral.get(subject) == sequence.item and subject not in catalogue.unlabelled:
        said.append("neutral: this sequence, because it is labelled so, or the subject's only one")
    elif subject in catalogue.unlabelled:
        said.append(
            "neutral: the calmest of the subject's sequences, because none is labelled so (`mimicme status`)"
        )
    return said


def _consent(table: SubjectTable, sequence: Sequence) -> str:
    consent = str(table.attributes(sequence.item.subject).get("consent", UNKNOWN))
    if consent == UNKNOWN:
        return "consent: not known, because no table of subjects tells it"
    return f"consent: {consent}, because the table of subjects has it"
