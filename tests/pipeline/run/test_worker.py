"""A worker process by itself: what it says of a job, and how it ends."""

from __future__ import annotations

import os
import pickle
import random
import signal
import threading
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_runs import Steps

from mimicme.pipeline.checkpoint import FrameStatus
from mimicme.pipeline.errors import InputError
from mimicme.pipeline.items import FrameSource, Item, Sequence, Verdict
from mimicme.pipeline.run import pool as pools
from mimicme.pipeline.run.checkpoint_index import CheckpointSummary, FigureSummary
from mimicme.pipeline.run.pool import Killed, LokyPool
from mimicme.pipeline.run.worker import GROWTH_VARIABLE, Worker


class Unreadable:
    """Can be sent, and not be read."""

    def __reduce__(self):
        return partial(int, "no number"), ()


@pytest.fixture
def worker():
    one = Worker()
    one.start({GROWTH_VARIABLE: "1e12"})
    yield one
    one.end(kill=True)


def asked(worker, work, job):
    worker.give(work, job)
    assert worker.busy
    return worker.answer()


def test_it_does_one_job_after_the_other(worker):
    assert asked(worker, len, "four").result == 4
    first, second = (asked(worker, eval, "__import__('os').getpid()").result for _ in range(2))
    assert first == second != os.getpid()
    assert not worker.busy
    worker.end(kill=False)
    assert worker.how_it_ended() == 0


def test_work_that_no_module_has_under_its_name_is_done(worker):
    """As a stage's function whose name is also that of a module beside it (`stages.register.parts`)."""
    assert asked(worker, lambda number: number + 1, 2).result == 3


@dataclass(frozen=True)
class Sharing:
    """A job that has something in common with others."""

    shared: tuple[object, ...]
    number: int


class Blob(bytes):
    """No mere bytes: what jobs share are objects of classes."""


def test_what_jobs_share_is_sent_once(worker):
    large = Blob(bytes(range(256)) * 4096)
    sent = []

    def looks(job):
        return id(job.shared[0]), len(job.shared[0]), job.number

    message = worker._message
    worker._message = lambda work, job: sent.append(message(work, job)) or sent[-1]
    first, second = (asked(worker, looks, Sharing((large, "x"), number)).result for number in (1, 2))
    assert first[1:] == (len(large), 1) and second == (first[0], len(large), 2)
    (_, before), (_, after) = sent
    assert len(before) > len(large) > 100 * len(after)
    # another of the same content is another object
    assert asked(worker, looks, Sharing((Blob(large[:100]), "x"), 3)).result[1:] == (100, 3)
    # and one that shares nothing is whole by itself
    assert asked(worker, len, "four").result == 4


def test_what_follows_from_a_job_is_done_without_a_word(worker):
    worker.give(lambda job: len(job.names) * 10, Steps("abc"))
    for left in (3, 2, 1):
        assert len(worker.jobs[0].names) == left  # what it is at is known without a word, too
        assert worker.answer().result == left * 10
    assert not worker.busy
    worker.give(lambda job: None, Steps("abc"))
    assert worker.answer().result is None and not worker.busy


def test_the_bell_rings_when_there_is_nothing_more_to_do(worker):
    assert asked(worker, len, "it has started").result == 14
    assert worker.rings.poll(10)
    worker.heard()
    worker.give(lambda job: time.sleep(0.2), Steps("a"))
    # they lie there when the first is over
    for number in (2, 3):
        worker.give(lambda job: len(job.names), Steps("a" * number))
    results = [worker.answer().result for _ in range(6)]
    assert results == [None, 2, 1, 3, 2, 1]
    assert worker.rings.poll(10)
    worker.heard()
    assert asked(worker, len, "and once alone") is not None and worker.rings.poll(10)
    worker.heard()
    assert not worker.rings.poll()


def test_a_job_that_is_too_large_is_not_given(worker):
    assert not worker.give(len, "x" * 2000, most=1000)
    assert not worker.busy
    assert worker.give(len, "xyz", most=1000)
    assert worker.answer().result == 3


def test_what_it_has_not_begun_can_be_taken_back(worker):
    assert asked(worker, len, "it has started").result == 14
    assert worker.rings.poll(10)
    worker.heard()
    worker.give(time.sleep, 0.5)
    for text in ("a", "bb", "ccc"):
        worker.give(len, text)
    time.sleep(0.2)  # it is at the first
    assert worker.take_back() == ["a", "bb", "ccc"]
    assert list(worker.jobs) == [0.5] and worker.take_back() == []
    assert worker.answer().result is None and not worker.busy
    assert worker.rings.poll(10)  # it has nothing more to do
    worker.heard()
    worker.give(len, "dddd")
    worker.give(len, "eeeee")
    assert [worker.answer().result for _ in range(2)] == [4, 5]
    assert not worker.answered()


@pytest.fixture
def stopped(worker):
    """One that does nothing at all until it is told to go on."""
    pid = asked(worker, eval, "__import__('os').getpid()").result
    os.kill(pid, signal.SIGSTOP)
    yield worker, lambda: os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)


def test_the_first_stays_with_it_though_it_was_not_begun(stopped):
    worker, go_on = stopped
    for text in ("a", "bb", "ccc"):
        worker.give(len, text)
    assert worker.take_back() == ["bb", "ccc"]
    assert worker.take_back() == []
    worker.give(len, "dddd")
    go_on()
    assert [worker.answer().result for _ in range(2)] == [1, 4]
    assert not worker.busy and not worker.answered()


def test_what_was_taken_back_leaves_room_for_as_much_again(stopped):
    """Nobody waits for a worker that hangs."""
    worker, go_on = stopped
    text = "x" * (pools.AHEAD_BYTES - 200)
    assert worker.give(len, "")
    for _ in range(2):
        for k in range(pools.MOST_AHEAD):
            assert worker.give(len, text + "x" * k, pools.AHEAD_BYTES)
        assert len(worker.take_back()) == pools.MOST_AHEAD
    worker.give(len, "the last")
    go_on()
    assert [worker.answer().result for _ in range(2)] == [0, 8]


def test_what_a_job_brought_that_was_taken_back_is_kept(stopped):
    worker, go_on = stopped
    kept = Blob(b"kept")
    worker.give(len, "first")
    worker.give(number_of, Sharing((kept,), 1))
    (back,) = worker.take_back()
    worker.give(number_of, back)
    go_on()
    assert [worker.answer().result for _ in range(2)] == [5, (kept, 1)]
    assert sum(one is kept for one in worker._sent) == 1


def test_each_is_either_done_or_taken_back(worker):
    """However the two ends meet; more jobs than there are numbers for them."""
    assert asked(worker, len, "it has started").result == 14
    chance, queue, done, taken = random.Random(5), deque(range(2000)), [], 0
    while queue or worker.busy:
        while queue and len(worker.jobs) < 5:
            worker.give(int, queue.popleft())
        if chance.random() < 0.3:
            back = worker.take_back()
            taken += len(back)
            queue.extendleft(reversed(back))
        done.append(worker.answer().result)
    assert done == list(range(2000))  # each once, in order
    assert taken > 0


def test_a_fresh_worker_is_sent_it_again():
    pool = LokyPool(1)
    kept = ("shared",)
    try:
        assert [r for _, r in pool.map(number_of, deque([Sharing(kept, 1)]))] == [("shared", 1)]
        os.kill(pool._alive[0]._process.pid, signal.SIGKILL)
        time.sleep(0.2)
        assert [r for _, r in pool.map(number_of, deque([Sharing(kept, 2)]))] == [("shared", 2)]
    finally:
        pool.close()


def number_of(job):
    return job.shared[0], job.number


def test_what_work_raises_comes_back_with_where(worker):
    answer = asked(worker, len, 7)
    assert isinstance(answer.error, TypeError)
    assert "in serve" in answer.error.__notes__[0]
    # it goes on
    assert asked(worker, len, "x").result == 1


def test_an_error_of_ours_keeps_its_sentence(worker):
    answer = asked(
        worker, exec, "from mimicme.pipeline.errors import InputError; raise InputError('so', seen=3)"
    )
    assert isinstance(answer.error, InputError)
    assert str(answer.error) == str(InputError("so", seen=3))


def test_a_result_that_cannot_be_sent_is_an_error(worker):
    answer = asked(worker, eval, "(n for n in (1, 2))")
    assert isinstance(answer.error, RuntimeError) and "cannot be sent" in str(answer.error)


def test_a_job_that_it_cannot_read_ends_it(worker):
    answer = asked(worker, len, Unreadable())
    assert "ValueError" in answer.unread
    assert worker.how_it_ended() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_dies_gives_no_answer(worker, number):
    pid = asked(worker, eval, "__import__('os').getpid()").result
    worker.give(time.sleep, 60)
    os.kill(pid, number)
    assert worker.answer() is None
    assert worker.how_it_ended() == -number
    worker.give(len, "nobody takes it")  # is no error: `answer` finds it
    assert worker.answer() is None


def test_a_job_that_no_worker_can_read_is_named():
    pool = LokyPool(1)
    try:
        outcomes = [result for _, result in pool.map(len, deque(["a", Unreadable(), "ccc"]))]
    finally:
        pool.close()
    assert [one for one in outcomes if not isinstance(one, Killed)] == [1, 3]
    killed = next(one for one in outcomes if isinstance(one, Killed))
    assert "no worker process can read what it is to do (ValueError" in killed.why


def test_the_death_of_one_without_a_job_costs_nothing():
    pool = LokyPool(2)
    pid = "__import__('os').getpid()"
    slow = f"[__import__('time').sleep(1.5), {pid}][1]"
    try:
        first, second = (result for _, result in pool.map(eval, deque([slow, slow])))
        assert first != second
        outcomes = pool.map(eval, deque([f"[__import__('time').sleep(2), {pid}][1]"]))
        # the first that is free gets the only job: the other one has none
        killer = threading.Timer(0.5, os.kill, (pool._alive[1]._process.pid, signal.SIGKILL))
        killer.start()
        assert next(outcomes)[1] in (first, second)
        assert list(outcomes) == []
        killer.join()
        assert len({result for _, result in pool.map(eval, deque([slow, slow]))}) == 2
    finally:
        pool.close()


def test_answers_that_nobody_asks_for_are_no_other_jobs():
    pool = LokyPool(2)
    try:
        with closing(pool.map(eval, deque(["1", "__import__('time').sleep(0.5)", "3"]))) as outcomes:
            next(outcomes)
        assert sorted(result for _, result in pool.map(len, deque(["a", "bb", "ccc"]))) == [1, 2, 3]
        with pytest.raises(TypeError):
            list(pool.map(len, deque([7, "a"])))
        assert [result for _, result in pool.map(len, deque(["bb"]))] == [2]
    finally:
        pool.close()


def test_one_that_grew_says_so_and_ends():
    worker = Worker()
    worker.start({GROWTH_VARIABLE: "30e6"})
    assert not asked(worker, len, "the first is what growth is measured from").leaving
    grown = asked(worker, exec, "import builtins; builtins.kept = b'x' * (60 << 20)")
    assert grown.leaving and grown.error is None
    worker.end(kill=False)
    assert worker.how_it_ended() == 0


def test_what_is_sent_with_every_job_comes_back_equal():
    """Sequences and summaries say themselves how they are written down."""
    item = Item("S1", "smile")
    frame = FrameSource(
        4, Path("/c/4.obj"), (Path("/c/4.ply"),), 0.5, Verdict(False, "blurred"), None, Path("/c/r")
    )
    sequence = Sequence(item, "Smile", "happiness", (frame, FrameSource(5, Path("/c/5.obj"))), 30.0)
    assert pickle.loads(pickle.dumps(sequence)) == sequence
    status = FrameStatus(False, "no-faces", "", "It has none.")
    figures = (FigureSummary("residual", "mm", 2, 0.5, 0.7),)
    summary = CheckpointSummary(
        "a", "b", True, np.array([4, 5]), {1: status}, {"unit_decision": "mm"}, figures
    )
    again = pickle.loads(pickle.dumps(summary))
    assert again.to_record() == summary.to_record()
    assert again.numbers.dtype == np.int64 and again.rejected == 1
