"""`run --shard i/n`: n runs side by side on one workspace, on one machine or many, each on subjects of its own.

Who belongs to which shard follows from the catalogue alone, so that the runs need not talk to each other.  Each holds a
lock of its own, and the lock that keeps whole runs away together with the others (`Workspace.lock`); it removes
nothing, and writes nothing, that is not its own: checkpoints and failures of its subjects, its log, its checkpoint
index and its ledger.  The whole run that comes after them takes these over, and writes the release.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from mimicme.pipeline.captures.catalogue import Catalogue
from mimicme.pipeline.items import Shard
from mimicme.pipeline.whole_file import text_digest


def assigned(catalogue: Catalogue, count: int) -> Mapping[str, int]:
    """The number of each subject's shard, from 1: every subject whole, and about as many frames in each.

    The subjects with the most frames come first, each into the shard that has the fewest so far (LPT scheduling); among
    equals the digest of the name decides, so that people who were captured one after the other lie in different ones.
    """
    frames = Counter[str]()
    for sequence in catalogue.sequences:
        frames[sequence.item.subject] += len(sequence.frames)
    loads = [(0, number) for number in range(1, count + 1)]
    found = {}
    for subject in sorted(frames, key=lambda subject: (-frames[subject], text_digest(subject), subject)):
        load, number = heapq.heappop(loads)
        found[subject] = number
        heapq.heappush(loads, (load + frames[subject], number))
    return found


def of_shard(catalogue: Catalogue, shard: Shard) -> tuple[Catalogue, str]:
    """What the catalogue lists of a shard's subjects; and a digest of who is in which shard, on which all shards that
    run at the same time must agree."""
    numbers = assigned(catalogue, shard.count)
    own = {subject for subject, number in numbers.items() if number == shard.number}
    part = replace(
        catalogue,
        sequences=tuple(s for s in catalogue.sequences if s.item.subject in own),
        neutral={subject: item for subject, item in catalogue.neutral.items() if subject in own},
    )
    return part, text_digest("\n".join(f"{subject}\0{numbers[subject]}" for subject in sorted(numbers)))
