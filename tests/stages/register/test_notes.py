"""notes: what a user should know of a registered frame is said, and of a good one nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.stages.register.notes import notes
from mimicme.stages.register.plausibility import Plausible


def test_much_that_is_no_skin_is_told(dome):
    assert "skin-covered" not in dict(notes(replace(dome.GOOD, covered_share=0.04)))
    assert "12%" in dict(notes(replace(dome.GOOD, covered_share=0.12)))["skin-covered"]


def test_a_part_that_the_scan_lacks_is_named(dome):
    for figure, part in (
        ("eye_share_right", "right eye's lids"),
        ("eye_share_left", "left eye's lids"),
        ("nose_share", "nose"),
        ("mouth_share", "lips"),
    ):
        ((code, said),) = notes(replace(dome.GOOD, **{figure: 0.1}))
        assert code == "part-missing" and f"10% of the {part}" in said
        assert notes(replace(dome.GOOD, **{figure: 0.6 if part != "lips" else 0.85})) == []
    ((_, said),) = notes(replace(dome.GOOD, nose_share=0.0, mouth_share=0.2))
    assert "0% of the nose and 20% of the lips" in said
    # a lower lip in the middle of a wide-open mouth: half of the lips lie on something
    ((_, said),) = notes(replace(dome.GOOD, mouth_share=0.57))
    assert "57% of the lips" in said and "across an open mouth" in said
    # an eye of a half that is hardly seen is no news beside that
    aside = replace(dome.GOOD, core_share_right=0.4, eye_share_right=0.0)
    assert [code for code, _ in notes(aside)] == ["half-seen"]


def test_what_a_guess_of_the_neutral_begins_from_is_the_template(dome):
    for change in ({"core_share_left": 0.5}, {"mouth_share": 0.2}):
        ((_, of_neutral),) = notes(replace(dome.GOOD, **change), first=True)
        ((_, of_frame),) = notes(replace(dome.GOOD, **change))
        assert "template" in of_neutral and "neutral" not in of_neutral
        assert "the subject's neutral" in of_frame


def test_what_a_user_should_know_is_noted(dome):
    assert notes(dome.GOOD) == []
    ((code, said),) = notes(replace(dome.GOOD, core_share_left=0.4))
    assert code == "half-seen" and "40%" in said and "left" in said
    ((code, said),) = notes(replace(dome.GOOD, mouth_light=12.0, mouth_opening=14.0))
    assert code == "lips-apart" and "12 mm2" in said
    assert notes(replace(dome.GOOD, mouth_light=12.0, mouth_opening=400.0)) == []  # a mouth that is open


@pytest.mark.parametrize(
    ("figures", "codes", "words"),
    [
        ({"mouth_relief": 0.4}, ["mouth-misplaced"], "0.40"),
        ({"mouth_relief": 0.7, "mouth_asymmetry": 8.0}, ["mouth-askew"], "8.0 mm"),
        ({"mouth_relief": 0.7}, [], ""),
        ({"mouth_asymmetry": 14.0}, [], ""),  # pulled aside, and the scan's lips too
        ({"lids_shut": 2.0}, ["lids-shut"], "2.0 mm"),
        ({"lids_open_left": 2.3}, ["lids-open"], "lids of the left eye are 2.3 mm apart, where"),
        (
            {"lids_open_right": 2.3, "lids_open_left": 1.2},
            ["lids-open"],
            "lids of the right eye are 2.3 mm apart, where",
        ),
        ({"lids_open_right": 2.3, "lids_open_left": 3.0}, ["lids-open"], "3.0 mm"),
        ({"lids_folded": 0.02}, ["lids-folded"], "2.0%"),
        ({"ear_drape": 4.0}, ["ear-draped"], "4.0 mm"),
        ({"ear_distance": 0.9}, ["ear-beside"], "0.9 mm"),
        ({"ear_distance": 0.7}, [], ""),  # no more than everywhere on a scan so far off
        ({"ear_distance": 0.5, "s2m_median": 0.1}, ["ear-beside"], "0.5 mm"),
        ({"ear_distance": 0.3, "s2m_median": 0.05}, [], ""),
        ({"cheek_slide": 5.0}, ["cheek-slid"], "5.0 mm"),
        ({"cheek_slide": 3.0}, [], ""),
        ({"bone_apart": 2.6}, ["another-face"], "2.6 mm"),
        ({"bone_apart": 1.3}, [], ""),
        (dict.fromkeys(Plausible._fields, np.nan), [], ""),
    ],
)
def test_what_a_person_would_see_is_noted(dome, figures, codes, words):
    found = notes(replace(dome.GOOD, **figures))
    assert [code for code, _ in found] == codes
    assert all(words in said for _, said in found)
