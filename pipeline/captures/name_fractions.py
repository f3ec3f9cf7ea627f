"""Digits after a second whose count differs from name to name: decimals without the zeros at their end
(`0.9, 0.95, 1.0`), or whole milliseconds without the zeros before them (`33, 66, 100`).

The two give different orders.  The one by which the frames are evenly spaced is taken, where the other is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

Reading = Literal["plain", "decimal", "whole", "counts", "seconds", "unclear"]
"""What digits after a second are.  `plain`: decimals, nothing is open; `decimal` and `whole`: of the two the even one;
`counts`: numbers of frames; `seconds`: unclear, but every name has a second of its own, which tells the order."""

_TOLERANCES = (0.1, 0.3)  # of a step; the second is for clocks that jitter, and needs more frames
_FEW = 5  # steps, of which fewer may be even by chance
_LOST = 8  # steps that one step may be, where frames were dropped


def reading_of(digits: Iterable[tuple[int, str]]) -> Reading:
    """What the digits after the seconds are.

    Args:
        digits: the second and the digits after it, of each name; no digits: none.
    """
    written = list(digits)
    lengths = {len(after) for _, after in written if after}
    zeros = {len(after) for _, after in written if len(after) > 1 and after[0] == "0"}
    if len(lengths) < 2 or (zeros and zeros != {min(lengths)}):
        return "plain"
    finest, places = max(lengths), places_of(after for _, after in written)
    decimal = sorted({second * 10**finest + int(after.ljust(finest, "0")) for second, after in written})
    whole = sorted({second * 10**places + int(after or 0) for second, after in written})
    if all(int(after.ljust(9, "0")) == int(after or 0) * 10 ** (9 - places) for _, after in written):
        return "plain"  # both readings are one: .0, .100, .200
    told: Reading = "unclear"
    for tolerance, lost in ((_TOLERANCES[0], False), (_TOLERANCES[1], False), (_TOLERANCES[1], True)):
        if told != "unclear" or (tolerance > _TOLERANCES[0] and len(whole) <= _FEW):
            continue
        # decimals without zeros at their end are one number each
        by_decimals = len(decimal) == len(whole) and _even(decimal, tolerance, lost)
        by_whole = _even(whole, tolerance, lost)
        if by_decimals and by_whole:
            break
        told = "decimal" if by_decimals else "whole" if by_whole else told
    if told != "decimal" and _count(groups((second, int(after or 0)) for second, after in written)):
        return "counts"
    if zeros and told != "whole":  # but for a counter that outgrew its zeros: 2.01 to 2.99, 2.100
        return "plain"
    if told == "unclear" and len({second for second, _ in written}) == len(written):
        return "seconds"
    return told


def places_of(digits: Iterable[str]) -> int:
    """Decimal places of whole numbers of milliseconds, else of microseconds or nanoseconds: 3, 6 or 9."""
    return -(-max(map(len, digits)) // 3) * 3


def groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The fine numbers of each coarse one, both in order."""
    found: dict[int, list[int]] = {}
    for coarse, fine in sorted(pairs):
        found.setdefault(coarse, []).append(fine)
    return list(found.values())


def _even(ordered: Sequence[int], tolerance: float, lost: bool) -> bool:
    """Whether whole numbers are evenly spaced, each rounded; `lost`: but for some that are missing."""
    steps = [b - a for a, b in pairwise(ordered)]
    if len(steps) < 2:
        return False
    middle = median(steps)
    loose = tolerance * middle + min(1, middle / 2)
    near = sum(abs(step - middle) <= loose for step in steps)
    if not lost:
        return near == len(steps)
    return 4 * near >= 3 * len(steps) and min(steps) >= middle - loose and max(steps) <= _LOST * middle


def _count(found: Sequence[Sequence[int]]) -> bool:
    """Whether numbers go up one by one, most of them, from each coarse number's first."""
    steps = [[b - a for a, b in pairwise(ordered)] for ordered in found if len(ordered) > 1]
    return bool(steps) and all(median(group) == 1 for group in steps)
