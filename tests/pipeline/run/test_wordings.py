"""What a stage decided, in few sentences."""

from __future__ import annotations

from mimicme.pipeline.run.wordings import wordings


def test_each_wording_of_a_decision_is_told_with_its_sequences():
    told = [("unit", f"mm: the eyes are {k} apart", f"S{k}/a") for k in range(60, 66)]
    assert wordings(told, 6) == [
        "every sequence: mm: the eyes are 60 apart (one of them; the others have other numbers)"
    ]
    told[5:] = [("unit", "mm: declared", "S65/a"), ("up", "+y: as most", "S60/a")]
    assert wordings(told, 6) == [
        "5 of 6 sequences (S60/a, S61/a, S62/a, S63/a and 1 more): mm: the eyes are 60 apart "
        "(one of them; the others have other numbers)",
        "1 of 6 sequences (S65/a): mm: declared",
        "1 of 6 sequences (S60/a): +y: as most",
    ]
    told = [("side", f"left: {letter}", f"S1/{letter}") for letter in "abcdefg"]
    assert wordings(told, 7)[2:] == [
        "1 of 7 sequences (S1/c): left: c",
        "4 of 7 sequences (S1/d, S1/e, S1/f, S1/g): decided otherwise, in 4 more ways, which the report tells",
    ]
