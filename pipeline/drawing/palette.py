"""The colours that report, sheets and viewer share, which people with any colour vision can tell apart.

Of landmarks: Okabe, M. and Ito, K. (2008). Color universal design: how to make figures and presentations that are
friendly to colorblind people.  Of distances: `render.color_map`.
"""

from __future__ import annotations

LANDMARKS = ((0, 0, 0), (213, 94, 0), (230, 159, 0), (0, 114, 178))
"""RGB of a landmark by its source: none, by hand, found, projected."""
CROSSED = (240, 228, 66)
"""RGB of the cross over a landmark that disagrees with the others, or that a file has and was not used."""
MOVED = (204, 121, 167)
"""RGB of a landmark that a person moves just now."""
ERROR_TOP_MM = 2.0
"""Distance from which on the colour of an error stays the same."""


def as_hex(rgb: tuple[int, int, int]) -> str:
    """`#d55e00`, as pages write a colour."""
    return "#" + "".join(f"{part:02x}" for part in rgb)
