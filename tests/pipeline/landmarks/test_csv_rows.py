"""A `.csv` that is no list of points is told by the line, what stands there, and what should."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.landmarks.files import read_points

ROWS = "\n".join(f"{k},2.5,{k}.5" for k in range(68))


@pytest.mark.parametrize(
    ("text", "what", "seen"),
    [
        (ROWS.replace("\n5,2.5", "\n5,abc"), "line 6 has no number for y", "'abc' in '5,abc,5.5'"),
        ("# by Ann\n\n" + ROWS.replace("\n5,2.5", "\n5,"), "line 8 has no number for y", "'' in '5,,5.5'"),
        (ROWS.replace("\n7,2.5", "\n7,inf"), "line 8 has no number for y", "'inf' in '7,inf,7.5'"),
        (ROWS.replace("\n7,2.5,7.5", "\n7,2.5"), "line 8 has 2 cells", "'7,2.5'"),
        ("0,nose,1,2,3\n", "line 1 has 5 cells", "'0,nose,1,2,3'"),
        ("left eye,1,2,n/a\n" + ROWS, "line 1 is neither a point nor a header", "'left eye,1,2,n/a'"),
        ("Point,X [mm],Y [mm],Z [mm]\n", "line 1 is neither", "'Point,X [mm],Y [mm],Z [mm]'"),
        (ROWS.replace(",", " "), "line 1 is neither", "'0 2.5 0.5'"),
        ("0;2,5;0,5\n", "line 1 has a decimal comma", "'0,5' in '0;2,5;0,5'"),
        ("x;y;z\n0;2,5;0,5\n", "line 2 has a decimal comma", "'2,5' in '0;2,5;0,5'"),
        ("name,x,y,z\nnose_tip,1,2\n", "line 2 has 3 cells", "'nose_tip,1,2'"),
        ("name,x,y,z\nnose_tip,1,2,drei\n", "line 2 has no number for z", "'drei' in 'nose_tip,1,2,drei'"),
        (",".join(["1.0"] * 204), "line 1 has 204 cells", "'" + ("1.0," * 15)[:57] + "...'"),
    ],
)
def test_a_line_that_is_no_point(text, what, seen):
    with pytest.raises(FrameRejected) as caught:
        read_points(text.encode(), "0000.csv")
    error = caught.value
    assert (error.reason, error.where, error.seen) == ("landmark-file", "0000.csv", seen)
    assert what in error.what and error.expected and "name,x,y,z" in error.todo
    assert "Error" not in str(error)


def test_separators_headers_and_absent_points():
    for text in (ROWS, ROWS.replace(",", ";"), ROWS.replace(",", "\t"), "x,y,z\n" + ROWS):
        assert read_points(text.encode(), "a.csv")[7].tolist() == [7.0, 2.5, 7.5]
    trailing = "x,y,z,\n" + ROWS.replace("\n", ",\n")
    assert read_points(trailing.encode(), "a.csv")[7].tolist() == [7.0, 2.5, 7.5]
    for absent in ("nan,nan,nan", "5,nan,5.5"):
        points = read_points(ROWS.replace("\n5,2.5,5.5", "\n" + absent).encode(), "a.csv")
        assert np.flatnonzero(np.isnan(points[:, 0])).tolist() == [5]
    points = read_points(b"id,z,y,x\nnose_tip,3,2,1\nchin_middle,,5,4\n", "a.csv")
    assert points[30].tolist() == [1.0, 2.0, 3.0] and np.isnan(points[8]).all()
