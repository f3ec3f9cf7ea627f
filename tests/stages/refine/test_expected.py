"""What is expected of a refined frame's error."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.stages.refine.expected import OWN_SHARE, mean_of_refined, of_refined
from mimicme.stages.register import notes


def test_a_refined_frame_has_mostly_its_neutrals_error():
    expected = of_refined(np.array([2.0, 1.6, 2.6]), 1.0)
    assert expected[0] == pytest.approx(np.sqrt(4 * OWN_SHARE + 1 - OWN_SHARE))
    assert 1.0 < expected[0] < 1.5
    np.testing.assert_allclose(expected / expected[0], [1.0, 0.8, 1.3])


def test_it_lies_between_both_and_rises_with_each():
    """Whatever registration says of a face unlike any that taught: nothing is extrapolated."""
    for own, neutral in ((0.1, 9.0), (9.0, 0.1), (0.4, 0.5)):
        assert min(own, neutral) < mean_of_refined(own, neutral) < max(own, neutral)
        assert mean_of_refined(own + 0.1, neutral) > mean_of_refined(own, neutral)
        assert mean_of_refined(own, neutral + 0.1) > mean_of_refined(own, neutral)
    assert mean_of_refined(0.7, 0.7) == pytest.approx(0.7)


def test_what_is_not_known_stays_so():
    assert np.isnan(of_refined(np.full(3, np.nan), 1.0)).all()


def test_the_notes_that_keep_what_registration_expects_are_notes_of_registration(repository):
    said = (repository / "stages/register/notes.py").read_text(encoding="utf-8").partition("\ndef notes(")[2]
    assert [code for code in sorted(notes.ASTRAY) if f'"{code}"' not in said] == []
