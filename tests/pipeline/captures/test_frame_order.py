"""Which digits of names count the frames, and which are times."""

from __future__ import annotations

import pytest

from mimicme.pipeline.captures.frame_order import order_frames


def numbered(names: str) -> list[int]:
    texts = names.split(" ")
    order = order_frames(texts)
    assert not order.problem
    return [order.numbers[text] for text in texts]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        ("0012", [12]),
        ("DemoFace_10K", [0]),
        ("scan_3_0.5mm", [3]),
        ("head_10k_0007", [7]),
        ("12kate", [12]),
        ("1 2 10 9", [1, 2, 10, 9]),
        ("0003 0001 0007", [3, 1, 7]),
        ("scan_0001_v2 scan_0002_v2 scan_0010_v2", [1, 2, 10]),
        ("take2_frame003 take2_frame004", [3, 4]),
        ("12_0001_34 12_0002_34", [1, 2]),
        ("bareteeth.000044 bareteeth.000045", [44, 45]),
        ("1.0001 1.0002 1.0003", [1, 2, 3]),
        ("1.8 1.9 1.10 1.11", [8, 9, 10, 11]),
        ("2.0005 2.0010 2.0015", [5, 10, 15]),
        ("x-3 x-4", [3, 4]),
        ("-1 0 1", [-1, 0, 1]),
        ("frame1 frame01 frame2", [1, 1, 2]),
        ("0001 0002 0003_2 0003", [1, 2, 3, 3]),
        ("0001_v1 0002_v3 0003_v2", [1, 2, 3]),
        ("take1_0001 take1_0002 take2_0003", [1, 2, 3]),
        ("neutral 0001 0002 0003", [0, 1, 2, 3]),
        ("20260131_000012 20260131_000013", [12, 13]),
        ("20260131_130000_0001 20260131_130000_0002", [1, 2]),
        ("Frame_9 frame_10 frame_11", [9, 10, 11]),
        ("1.8 1.9 1.11 1.12", [8, 9, 11, 12]),
        ("1.5 1.10 1.15", [5, 10, 15]),
        ("2.01 2.02 2.99 2.100 2.101", [1, 2, 99, 100, 101]),
        ("2.85 2.90 2.95 2.100 2.105", [85, 90, 95, 100, 105]),
        ("1.9 2.10 3.11", [9, 10, 11]),
        ("t0.33 t0.66 t0.100", [33, 66, 100]),
        ("12-00-00_9 12-00-00_10 12-00-00_11", [9, 10, 11]),
    ],
)
def test_the_digits_that_vary_count(names, numbers):
    assert numbered(names) == numbers
    assert not order_frames(names.split(" ")).times_s


@pytest.mark.parametrize(
    ("names", "times", "fps"),
    [
        ("0.933 0.967 1.000 1.033", [0, 0.034, 0.067, 0.1], 30),
        ("0,967 1,000 1,033", [0, 0.033, 0.066], 30),
        ("0.033 0.067 0.100", [0, 0.034, 0.067], 30),
        ("0 0.5 1 1.5", [0, 0.5, 1, 1.5], 2),
        ("9.96s 9.98s 10.00s", [0, 0.02, 0.04], 50),
        ("t_-0.04 t_-0.02 t_0.00 t_0.02", [0, 0.02, 0.04, 0.06], 50),
        ("t=980ms t=1000ms", [0, 0.02], 50),
        ("2026-11-28_12-59-59 2026-11-28_13-00-00 2026-11-28_13-00-01", [0, 1, 2], 1),
        ("20260131T235959.980 20260201T000000.000 20260201T000000.020", [0, 0.02, 0.04], 50),
        ("2026-01-31_13-00-00-980 2026-01-31_13-00-01-000", [0, 0.02], 50),
        ("20260131130000980 20260131130001000", [0, 0.02], 50),
        ("12-59-59.980 13-00-00.000 13-00-00.020", [0, 0.02, 0.04], 50),
        ("23-59-59.98 00-00-00.00 00-00-00.02", [0, 0.02, 0.04], 50),
        ("1769864400 1769864401 1769864402", [0, 1, 2], 1),
        ("f_1769864400.98 f_1769864401.00", [0, 0.02], 50),
        ("1769864400980 1769864401000", [0, 0.02], 50),
        ("1769864400980000 1769864401000000", [0, 0.02], 50),
        ("12-00-00-33 12-00-00-66 12-00-00-100", [0, 0.033, 0.067], 30),
        ("12-00-00-933 12-00-00-967 12-00-01-0 12-00-01-33", [0, 0.034, 0.067, 0.1], 30),
        ("12-00-00-33333 12-00-00-66667 12-00-00-100000", [0, 0.033334, 0.066667], 30),
        ("12-00-00.9 12-00-00.95 12-00-01.0", [0, 0.05, 0.1], 20),
        ("1769864400.33 1769864400.66 1769864400.100", [0, 0.033, 0.067], 30),
        ("0.9 0.95 1.0", [0, 0.05, 0.1], 20),
        ("0.33 0.66 0.100", [0, 0.033, 0.067], 30),
        ("t0.85 t0.9 t0.95", [0, 0.05, 0.1], 20),
        ("0.98 0.99 1.0 1.01", [0, 0.01, 0.02, 0.03], 100),
        ("12-59-59_PM 01-00-00_PM 01-00-01_PM", [0, 1, 2], 1),
        ("11-59-59AM 12-00-00PM 12-00-01PM", [0, 1, 2], 1),
        ("2026-01-31_11-59-59.98am 2026-01-31_12-00-00.00pm", [0, 0.02], 50),
        ("12-59-59_p.m. 1-00-00_p.m. 1-00-01_p.m.", [0, 1, 2], 1),
        ("AM_11-59-59 PM_12-00-00 PM_12-00-01", [0, 1, 2], 1),
        ("11-59-59_PM 12-00-00_AM 12-00-01_AM", [0, 1, 2], 1),
        ("0.0000 0.0334 0.0667 0.1001 0.1335", [0, 0.0334, 0.0667, 0.1001, 0.1335], 30 / 1.001),
    ],
)
def test_times_count_in_their_order(names, times, fps):
    texts = names.split(" ")
    order = order_frames(reversed(texts))
    assert [order.numbers[text] for text in texts] == list(range(len(texts)))
    assert [order.times_s[text] for text in texts] == pytest.approx(times, abs=1e-9)
    assert order.fps == pytest.approx(fps, rel=1e-3)


def test_a_number_beside_the_time_counts():
    order = order_frames(["0011_1769864400980", "0012_1769864401000", "0014_1769864401040"])
    assert sorted(order.numbers.values()) == [11, 12, 14]
    assert order.times_s["0014_1769864401040"] == pytest.approx(0.06)
    assert order.fps == pytest.approx(50)


def test_a_dropped_frame_shows_in_the_times_and_not_in_the_rate():
    names = [f"{k / 25:.2f}" for k in range(20, 60) if k != 33]
    order = order_frames(names)
    assert order.fps == 25
    assert list(order.numbers.values()) == list(range(39))


@pytest.mark.parametrize(
    ("names", "instead"),
    [
        ("scan_0001_v1 scan_0001_v2 scan_0002_v1 scan_0002_v2", "scan_{frame}_v2"),
        ("take1_0005 take1_0006 take2_0001", "take1_{frame}"),
        ("1.1 1.2 2.1 2.2", "2.{frame}"),
        ("01-01-01 01-01-02 01-02-01 01-02-02", "01-02-{frame}"),
        ("left_1 right_1 left_2 right_2", "right_{frame}"),
        ("cam1_0.98s cam2_0.98s cam1_1.00s cam2_1.00s", "cam2_{frame}"),
        ("take1_0.96 take1_1.00 take2_0.98 take2_1.02", "take2_{frame}"),
        ("smile neutral anger", ""),
        ("12-00-00-9 12-00-00-95", "12-00-00-{frame}"),
        ("12-00-00-5 12-00-00-31 12-00-00-160", "12-00-00-{frame}"),
        ("12-00-00_1 12-00-00_2 12-00-00_10 12-00-01_1 12-00-01_2 12-00-01_10", "12-00-01_{frame}"),
        ("1.5 1.10 2.5 2.10", "2.{frame}"),
        ("11-59-59_AM 01-00-00", ""),
    ],
)
def test_an_order_that_is_not_clear_is_a_problem(names, instead):
    order = order_frames(names.split(" "))
    assert order.problem
    assert order.instead == instead


def test_other_sequences_tell_what_a_short_one_cannot():
    shape = order_frames(["12-59-59", "13-00-00"]).shape
    assert order_frames(["13-00-01", "13-00-02"]).times_s == {}
    assert order_frames(["13-00-01", "13-00-02"], frozenset([shape])).times_s["13-00-02"] == 1


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["28.02.2026", "01.03.2026", "15.01.2027"], [0, 1, 2]),
        (["S000_14.03.2026", "S000_02.04.2026"], [0, 1]),
        (["31-01-2026", "01-02-2026"], [0, 1]),  # a day over 12 tells
        (["01-20-2026", "02-15-2026"], [0, 1]),
        (["01-02-2026", "02-03-2026"], [0, 1]),  # either way
        (["1.5.2", "1.5.3"], [2, 3]),
    ],
)
def test_dates_with_the_year_last(names: list[str], order: list[int]) -> None:
    found = order_frames(names)
    assert [found.numbers[name] for name in names] == order and not found.problem


def test_a_date_whose_day_and_month_cannot_be_told_is_a_problem() -> None:
    assert "year first" in order_frames(["01-02-2026", "03-01-2026"]).problem


def test_dropped_frames_do_not_hide_whole_milliseconds() -> None:
    ms = [round(k * 1000 / 30) for k in range(3, 70) if k not in (20, 21, 40)]
    order = order_frames([f"12-00-0{t // 1000}-{t % 1000}" for t in ms])
    assert sorted(order.times_s.values()) == pytest.approx([(t - ms[0]) / 1000 for t in ms])
    assert order.fps == 30


def test_a_number_beside_a_time_tells_what_its_digits_are() -> None:
    order = order_frames(["0011_12-00-00-33", "0012_12-00-00-66", "0014_12-00-00-140"])
    assert sorted(order.numbers.values()) == [11, 12, 14]
    assert order.times_s["0014_12-00-00-140"] == pytest.approx(0.107)
    same = order_frames(["0011_12-00-00-9", "0012_12-00-00-95"])
    assert sorted(same.numbers.values()) == [11, 12] and not same.times_s and not same.problem


def test_other_sequences_tell_what_digits_after_the_second_are() -> None:
    shape = order_frames(["12-00-00-33", "12-00-00-66", "12-00-00-100"]).shape
    short = ["12-00-00-9", "12-00-00-95"]
    assert order_frames(short).problem and not order_frames(short).shape
    assert order_frames(short, frozenset([shape])).times_s[short[1]] == pytest.approx(0.086)


def test_seconds_apart_tell_the_order_by_themselves() -> None:
    names = ["12-00-00-33", "12-00-05-120", "12-00-10-7"]
    order = order_frames(names)
    assert [order.times_s[name] for name in names] == [0, 5, 10] and order.resolution_s == 1
