"""A run that is killed or interrupted."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import weakref

import pytest
from fake_runs import GOOD, alive, calls, calls_seen, child, digests, go, wait_for

from mimicme.pipeline.run.interrupt import ignore_interrupts, interruptible
from mimicme.pipeline.run.status import read_status
from mimicme.pipeline.workspace import Workspace


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_and_started_again_gives_the_same_bytes(make, fake):
    clean = make(name="clean")
    go(clean, fake, jobs=1)
    workspace = make(GOOD | {"S2/sad": ["slow"]}, name="killed")
    process = child(workspace)
    wait_for(
        lambda: (
            list(workspace.root.glob("read/S2/.sad*.tmp"))
            and len(list(workspace.root.glob("read/*/*.h5"))) == 3
        )
    )
    workers = {int(c[2]) for c in calls(workspace)}
    status = read_status(Workspace.open(workspace.root), fake.STAGES)
    assert status.running
    assert status.stages[0].states == {"done": 3, "pending": 1}
    process.kill()
    process.communicate()
    wait_for(lambda: not any(alive(w) for w in workers), 5)  # workers do not outlive their parent
    status = read_status(Workspace.open(workspace.root), fake.STAGES)
    head, last, *_ = status.lines()
    assert head.endswith("no run is going on")
    assert "the last run ended without a word" in last and f"`mimicme run {workspace.root} --jobs 2`" in last
    assert [run["how"] for run in status.to_record()["unfinished"]] == ["killed"]
    assert list(workspace.root.rglob(".*.tmp"))
    path = workspace.captures.root / "S2/sad/0000.obj"
    path.write_text("g")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    result = go(workspace, fake, jobs=2)
    assert result.counts("read") == (1, 3, 0, 0)
    assert list(workspace.root.rglob(".*.tmp")) == []
    assert digests(workspace) == digests(clean)
    assert read_status(Workspace.open(workspace.root), fake.STAGES).unfinished == ()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_leaves_a_clean_workspace(make, fake, number):
    workspace = make({"S1/a": ["x"], "S1/b": ["slow"], "S1/c": ["slow"]})
    process = child(workspace)
    wait_for(lambda: len(calls_seen(workspace)) >= 3)
    workers = {int(c[2]) for c in calls_seen(workspace)}
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted; run again to continue." in err
    assert "Traceback" not in err
    assert list(workspace.root.rglob(".*.tmp")) == []
    assert not any(alive(w) for w in workers)
    assert (workspace.root / "read/S1/a.h5").is_file()
    (last,) = read_status(Workspace.open(workspace.root), fake.STAGES).unfinished
    assert last.how == "interrupted" and last.sentence.startswith("the last run was interrupted after 20")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_interrupted_run_tells_the_frames_of_what_was_made(make, fake, capfd):
    """Also of a stage that is not over: what it rejected is to be mended while the run goes on."""
    workspace = make({"S1/a": ["x", "reject"], "S1/b": ["slow"]})
    process = child(workspace)
    wait_for(lambda: (workspace.root / "read/S1/a.h5").is_file() and len(calls_seen(workspace)) >= 2)
    time.sleep(0.5)  # until its result is taken up
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    out = capfd.readouterr().out
    assert re.search(r"^read +1 +0 +0 +0 +1 +1 ", out, re.MULTILINE), out
    assert "S1/a frame 1: read rejected it (bad-words): the frame says reject" in out


@pytest.fixture
def sigint_handled():
    """A test run in the background of a shell inherits a SIGINT that is ignored."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.usefixtures("sigint_handled")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_python_drops_is_raised_again(number):
    """What is raised in a weak reference's callback is only printed; of an interrupt not even that."""

    class Thing:
        pass

    def called(reference):
        os.kill(os.getpid(), number)
        dropped.append(True)  # the signal's handler runs before this line

    dropped: list[bool] = []
    thing = Thing()
    reference = weakref.ref(thing, called)
    before = signal.getsignal(number)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012 - where it is raised is what is tested
        del thing
        assert dropped == [] and reference() is None
        time.sleep(20)
    assert time.monotonic() - began < 15
    assert signal.getsignal(number) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_else_a_callback_raises_is_told(monkeypatch):
    class Thing:
        pass

    def called(reference):
        raise ValueError("a word")

    told: list[str] = []
    hook = lambda unraisable: told.append(str(unraisable.exc_value))  # noqa: E731
    monkeypatch.setattr(sys, "unraisablehook", hook)
    thing = Thing()
    reference = weakref.ref(thing, called)
    with interruptible():
        del thing
    assert told == ["a word"]
    assert reference() is None
    assert sys.unraisablehook is hook


@pytest.mark.usefixtures("sigint_handled")
def test_interrupts_are_ignored_while_cleaning_up():
    with interruptible():
        with ignore_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the handler may run a little later
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(20)
        with ignore_interrupts():
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
