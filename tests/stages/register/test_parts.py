"""parts: a sequence that is tracked in parts is as well registered as one tracked from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Checkpoint, writing
from mimicme.pipeline.errors import CheckpointError
from mimicme.pipeline.items import Part
from mimicme.pipeline.stage import Task
from mimicme.stages.register import STAGE
from mimicme.stages.register import compute as run_stage
from mimicme.stages.register.frame import Frame
from mimicme.stages.register.parts import count_parts, read_parts
from mimicme.stages.register.settings import RegisterSettings

COUNT = 12
QUICK = RegisterSettings(coarse_vertices=500, coarse_steps=4, tracked_steps=2, fine_steps=2, part_frames=6)
AMOUNTS = 0.5 - 0.5 * np.cos(np.linspace(0.4, 2 * np.pi + 0.4, COUNT))


def test_a_sequence_is_cut_by_its_length_alone():
    assert [count_parts(n, 60) for n in (1, 60, 89, 90, 149, 150, 200, 600)] == [1, 1, 1, 2, 2, 3, 3, 10]
    assert count_parts(100_000, 0) == 1


# ------------------------------------------------------------------------------------ the order within a part


def walk(dome, amounts, rejected=(), rows=None):
    """The order in which rows are asked for, and the row that each one starts from."""
    tracker = dome.tracker(dome.truth(0.0))
    frames = [dome.frame(k, a) for k, a in enumerate(amounts)]
    order, starts = [], []
    rows = list(range(len(frames))) if rows is None else rows
    for row in tracker.order_from_anchor(rows, lambda r: (frames[r].landmarks, frames[r].confidence)):
        order.append(row)
        starts.append(tracker._previous[0] if tracker._previous else None)
        if row not in rejected:
            tracker._previous = (row, np.zeros(3))
    return order, starts


def test_a_part_begins_with_its_most_neutral_frame_and_goes_both_ways(dome):
    assert walk(dome, [0.9, 0.6, 0.1, 0.5, 0.8]) == ([2, 3, 4, 1, 0], [None, 2, 3, 2, 1])
    assert walk(dome, [0.1, 0.5, 0.8]) == ([0, 1, 2], [None, 0, 1])
    assert walk(dome, [0.8, 0.5, 0.1]) == ([2, 1, 0], [None, 2, 1])
    assert walk(dome, [0.8, 0.5, 0.1], rows=[]) == ([], [])


def test_the_way_back_begins_beside_an_anchor_that_is_rejected(dome):
    amounts = [0.9, 0.6, 0.1, 0.5, 0.8]
    assert walk(dome, amounts, rejected=(2,)) == ([2, 3, 4, 1, 0], [None, None, 3, 3, 1])
    assert walk(dome, amounts, rejected=(2, 3, 4)) == ([2, 3, 4, 1, 0], [None, None, None, None, 1])


# ------------------------------------------------------------------------------------ the stage, file to file


@pytest.fixture(scope="module")
def frames(dome) -> list[Frame]:
    """Twelve frames that open and close the mouth; the fourth is no face."""
    return dome.noisy_sequence(AMOUNTS)


@pytest.fixture(scope="module")
def task(dome, frames, tmp_path_factory) -> Task:
    """What the earlier stages would have written, and the subject's neutral; align rejected the eighth frame."""
    root = tmp_path_factory.mktemp("parts")
    neutral = root / "neutral.h5"
    with writing(neutral, stage="register", item="S001/neutral", made_by={}) as out:
        out.frames([0])
        out.array("neutral", dome.truth(0.0).astype(np.float32))
    return replace(dome.checkpoints(root, frames, QUICK, lost=(7,)), neutral=neutral)


def made(task: Task, path: Path) -> Path:
    with writing(path, stage="register", item="S001/smile", made_by={}) as out:
        run_stage(task, out)
    return path


def in_parts(task: Task, folder: Path, count: int) -> Path:
    """The checkpoint made in so many parts, the last one first."""
    paths = [folder / f"{number}.h5" for number in range(1, count + 1)]
    for number in range(count, 0, -1):
        made(replace(task, part=Part(number, count)), paths[number - 1])
    return made(replace(task, parts=tuple(paths)), folder / "joined.h5")


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory) -> Path:
    return made(task, tmp_path_factory.mktemp("whole") / "whole.h5")


@pytest.fixture(scope="module")
def joined(task, tmp_path_factory) -> Path:
    return in_parts(task, tmp_path_factory.mktemp("joined"), 2)


def test_parts_have_the_rejections_and_the_rows_of_the_whole(joined, whole):
    with Checkpoint(joined) as a, Checkpoint(whole) as b:
        assert a.numbers.tolist() == b.numbers.tolist()
        assert a.statuses == b.statuses
        assert [s.reason for s in a.statuses if not s.ok] == ["register-misfit", "off"]
        assert sorted(a._h5) == sorted(b._h5) and "neutral" not in a
        assert a.attrs["personal_template"] and b.attrs["personal_template"]


def test_parts_are_as_accurate_as_the_whole_also_where_they_meet(dome, joined, whole):
    with Checkpoint(joined) as a, Checkpoint(whole) as b:
        ok = a.ok_rows
        truth = np.stack([dome.truth(amount) for amount in AMOUNTS[ok]])
        error, reference = (np.linalg.norm(x["vertices"][:][ok] - truth, axis=2).mean(1) for x in (a, b))
        assert reference.mean() > 0.05
        assert error.mean() < 1.1 * reference.mean()
        step, usual = (
            np.linalg.norm(np.diff(x["vertices"][:][ok] - truth, axis=0), axis=2).mean(1) for x in (a, b)
        )
        at = ok.index(6) - 1  # from the last frame of the first part to the first of the second
        assert step[at] < 2 * usual.mean()
        np.testing.assert_allclose(a["quality/s2m_median"][:][ok], b["quality/s2m_median"][:][ok], atol=0.03)
        # they are two trackings, not one
        assert not np.array_equal(a["vertices"][:][ok], b["vertices"][:][ok])


def test_writing_and_joining_loses_nothing(task, tmp_path):
    first = replace(task, part=Part(1, 1))
    with Checkpoint(made(first, tmp_path / "1.h5")) as part:
        assert part["pose"].dtype == np.float64
        rows = part.ok_rows
    statuses, found = read_parts((tmp_path / "1.h5",))
    assert sorted(found) == rows and len(statuses) == COUNT
    raw = replace(task, settings=replace(QUICK, smooth_in_time=False), parts=(tmp_path / "1.h5",))
    with Checkpoint(made(raw, tmp_path / "raw.h5")) as joined:
        for row, one in found.items():
            np.testing.assert_array_equal(joined["vertices"][row], one.vertices)
            np.testing.assert_array_equal(joined["pose"][row], one.pose)
            assert joined["quality/s2m_median"][row] == np.float32(one.quality.s2m_median)


def test_a_damaged_part_is_named(task, tmp_path):
    path = made(replace(task, part=Part(1, 6)), tmp_path / "1.h5")
    content = bytearray(path.read_bytes())
    with Checkpoint(path) as part:
        place = part["vertices"].id.get_chunk_info(0).byte_offset
    content[place + 20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged.*1\.h5.*Delete"):
        read_parts((path,))


def test_a_sequence_is_cut_when_its_neutral_is_known(task, whole, tmp_path):
    assert STAGE.parts is not None
    assert STAGE.parts(task) == 2
    assert STAGE.parts(replace(task, settings=replace(QUICK, part_frames=0))) == 1
    assert STAGE.parts(replace(task, settings=RegisterSettings())) == 1
    assert STAGE.parts(replace(task, neutral=None)) == 1
    # the neutral's checkpoint is there, but none of its frames could be registered
    assert STAGE.parts(replace(task, neutral=whole)) == 1


def test_a_frame_is_rejected_by_a_part_at_its_own_row(task, tmp_path):
    with Checkpoint(made(replace(task, part=Part(2, 6)), tmp_path / "2.h5")) as part:
        assert part.numbers.tolist() == [2, 3]
        assert [s.reason for s in part.statuses] == ["", "register-misfit"]
        assert np.isfinite(part["vertices"][0]).all() and np.isnan(part["vertices"][1]).all()
