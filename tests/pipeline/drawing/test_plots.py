"""Tables and plots: whole, and the same bytes for the same figures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mimicme.pipeline.drawing import plots


def band(values):
    return np.stack([values, np.asarray(values) - 0.1, np.asarray(values) + 0.1])


def test_a_table_has_empty_cells_where_there_is_no_number(tmp_path):
    plots.write_table(tmp_path / "t.csv", ("name", "value"), [("a", float("nan")), ("b, c", 1 / 3), ("d", 7)])
    assert (tmp_path / "t.csv").read_text() == 'name,value\na,\n"b, c",0.333333\nd,7\n'


def test_plots_are_pictures_and_the_same_every_time(tmp_path):
    x = np.arange(4)
    curve = plots.Curve("one", x, band(np.array([3.0, 2, 1.5, 1])))
    bare = plots.Curve("two", x, np.stack([x + 1.0, np.full(4, np.nan), np.full(4, np.nan)]))
    counts = np.array([[5, 1], [0, 4]])
    made = {}
    for turn in ("a", "b"):
        folder = tmp_path / turn
        plots.curve_panels(folder / "curves.png", {"left": [curve, bare], "right": [curve]}, "k", "mm")
        plots.bar_chart(
            folder / "bars.png", ["x", "y"], {"g": band(np.array([1.0, 2]))}, "mm", {"chance": 0.5}
        )
        plots.confusion_chart(folder / "confusion.png", ["happy", "sad"], counts, "title")
        plots.scatter_chart(folder / "scatter.png", np.arange(3.0), np.arange(3.0) ** 2, "x", "y", "t", 1.0)
        made[turn] = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert made["a"] == made["b"]
    assert sorted(made["a"]) == ["bars.png", "confusion.png", "curves.png", "scatter.png"]
    for data in made["a"].values():
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert picture.shape[0] > 200
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20  # something is drawn


def test_shade_of_confusion_follows_the_row(tmp_path):
    right, wrong = np.array([[9, 0], [0, 9]]), np.array([[0, 9], [9, 0]])
    for name, counts in (("right", right), ("wrong", wrong)):
        plots.confusion_chart(tmp_path / f"{name}.png", ["a", "b"], counts, "")
    a, b = (np.asarray(Image.open(tmp_path / f"{n}.png").convert("L"), float) for n in ("right", "wrong"))
    # mirrored tables are other pictures, of the same darkness
    assert not np.array_equal(a, b)
    assert abs(a.mean() - b.mean()) < 1
