"""What in a table is an age in years, and what is none."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.ages import AS_TEXT, AS_YEARS, BIRTH, OUTSIDE, age_of


@pytest.mark.parametrize(
    ("cell", "age", "remark"),
    [
        ("31", 31, ""),
        ("0", 0, ""),
        ("120", 120, ""),
        ("4.5", 4.5, ""),
        ("4,5", 4.5, ""),
        ("31.0", 31.0, ""),
        ("23y", 23, AS_YEARS),
        ("23 Years old", 23, AS_YEARS),
        ("23 J.", 23, AS_YEARS),
        ("130y", None, OUTSIDE),
        ("20-29", "20-29", AS_TEXT),
        ("60+", "60+", AS_TEXT),
        ("8 months", "8 months", AS_TEXT),
        ("adult", "adult", AS_TEXT),
        ("121", None, OUTSIDE),
        ("-3", None, OUTSIDE),
        ("999", None, OUTSIDE),
        ("33000", None, OUTSIDE),  # a date as a spreadsheet counts it
        ("1e3", "1e3", AS_TEXT),
        ("1990", None, BIRTH),
        ("1990-05-01", None, BIRTH),
        ("1990-05-01 00:30:00", None, BIRTH),
        ("01.05.1990", None, BIRTH),
        ("5/1/90", None, BIRTH),
        ("1 May 90", None, BIRTH),
        ("born 1990", None, BIRTH),
        ("n/a", None, ""),
        ("?", None, ""),
        ("9" * 400, None, OUTSIDE),
    ],
)
def test_ages(cell, age, remark):
    assert age_of(cell) == (age, remark)
    assert type(age_of(cell)[0]) is type(age)
