"""What is said of a neutral with landmarks of both origins."""

from __future__ import annotations

import pytest

from mimicme.pipeline.run.wordings import wordings
from mimicme.stages.register.checkpoint import STRETCHING_DECISION
from mimicme.stages.register.mixed_landmarks import stretching_decision


@pytest.mark.parametrize("share", [0.0, 1 / 68, 0.25, 1.0])
def test_of_one_origin_or_nearly_there_is_nothing_to_say(share: float) -> None:
    for membrane in ("membrane_neutral", "membrane_found"):
        assert stretching_decision(membrane, share) == ""


def test_an_open_mouth_has_a_stiffness_of_its_own() -> None:
    assert stretching_decision("membrane", 0.7) == ""


@pytest.mark.parametrize(
    ("share", "which", "percent"),
    [
        (0.3, "membrane_neutral", "30 %"),
        (0.5, "membrane_neutral", "50 %"),
        (0.501, "membrane_found", "51 %"),
        (0.75, "membrane_found", "75 %"),
        (0.999, "membrane_found", "99 %"),
    ],
)
def test_it_says_on_which_side_of_the_half_the_fit_is(share: float, which: str, percent: str) -> None:
    said = stretching_decision(which, share)
    assert said.startswith(f"{which}: of the neutral's landmarks {percent} were found")
    assert all(word in said for word in ("jaw", "membrane_neutral", "membrane_found"))


def test_people_of_one_side_are_told_in_one_line() -> None:
    said = [stretching_decision("membrane_found", 0.6 + k / 100) for k in range(3)]
    told = [(STRETCHING_DECISION, one, f"S{k}/neutral") for k, one in enumerate(said)]
    (line,) = wordings(told, 10)
    assert line.startswith("3 of 10 sequences (S0/neutral, S1/neutral, S2/neutral): membrane_found")
