"""What a stage decided over all sequences, in few sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from mimicme.pipeline.errors import counted, listed, out_of
from mimicme.pipeline.run.checkpoint_index import TALLY
from mimicme.pipeline.run.findings import sum_tallies

MOST_WORDINGS = 3
"""Of the decisions of a stage that begin alike, so many are said."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def wordings(told: Iterable[tuple[str, str, str]], sequences: int) -> list[str]:
    """What a stage decided, as sentences: each wording with how many sequences it is of, and of those that begin alike
    (`mm: ...`) the `MOST_WORDINGS` most frequent.  Sentences that differ in their numbers alone are one wording.

    Args:
        told: see `Tally.decisions`.
        sequences: that the stage ran over.
    """
    groups: dict[tuple[str, str], dict[str, list[tuple[str, str]]]] = {}
    counts: dict[str, list[str]] = {}
    for name, sentence, item in told:
        if name.endswith(TALLY):
            counts.setdefault(name, []).append(sentence)
            continue
        alike = groups.setdefault((name, sentence.split(":")[0]), {})
        alike.setdefault(_NUMBER.sub("0", sentence), []).append((sentence, item))
    lines = []
    for alike in groups.values():
        # stable: of equals, the one that was met first
        most = sorted(alike.values(), key=len, reverse=True)
        lines += [_wording(said, sequences) for said in most[:MOST_WORDINGS]]
        if rest := most[MOST_WORDINGS:]:
            others = [item for said in rest for _, item in said]
            lines.append(
                f"{out_of(len(others), sequences, 'sequence')} ({listed(others, 4)}): decided otherwise, in "
                f"{counted(len(rest), 'more way')}, which the report tells"
            )
    return lines + [line for said in counts.values() if (line := sum_tallies(said))]


def _wording(said: list[tuple[str, str]], sequences: int) -> str:
    """A sentence that was said of some sequences, (sentence, item) each, with which they are."""
    sentence, times = Counter(sentence for sentence, _ in said).most_common(1)[0]
    if len(said) == sequences:
        words = "every sequence"
    else:
        words = f"{out_of(len(said), sequences, 'sequence')} ({listed((item for _, item in said), 4)})"
    return f"{words}: {sentence}" + (
        " (one of them; the others have other numbers)" if times < len(said) else ""
    )
