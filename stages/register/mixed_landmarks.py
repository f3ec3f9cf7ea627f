"""What is said of a neutral whose landmarks are partly by hand and partly found.

How its fit resists stretching jumps at half of them (`RegisterSettings.membrane_found`): whoever corrects a few points
should know on which side it is.
"""

from __future__ import annotations

from mimicme.stages.register.neutral_fit import MOSTLY_FOUND

NEAR_HALF = 0.25
"""Share of found landmarks up to which nothing is said: a few that a file lacks bring no neutral over the half."""


def stretching_decision(membrane: str, found_share: float) -> str:
    """`which: why`; nothing where all landmarks are found, or nearly all by hand, or the mouth is open, which has a
    stiffness of its own.

    Args:
        membrane: the setting that the neutral was fitted with (`FittedNeutral.membrane`).
        found_share: share, 0 to 1, of the neutral's landmarks that a detector found; the others are by hand.
    """
    if membrane == "membrane" or not NEAR_HALF < found_share < 1:
        return ""
    # rounded away from the bound, so that the sentence never says 50 % of both sides
    found = min(max(round(100 * found_share), 1), 99)
    if membrane == "membrane_found":
        found = max(found, round(100 * MOSTLY_FOUND) + 1)
        return (
            f"membrane_found: of the neutral's landmarks {found} % were found, the others are by hand. From half "
            "by hand on the fit resists stretching more (membrane_neutral): a few points more change the whole face, "
            "and gain for sure only where the jaw is among them"
        )
    return (
        f"membrane_neutral: of the neutral's landmarks {found} % were found, the others are by hand. With more than "
        "half found the fit would resist stretching less (membrane_found), which may be nearer to the face where the "
        "jaw is not by hand"
    )
