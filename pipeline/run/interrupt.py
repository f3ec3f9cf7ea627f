"""Signals that end a run: Ctrl-C (SIGINT), SIGTERM and SIGHUP."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

REPEAT_SECONDS = 2.0  # long against unwinding the stack, short against a person's patience


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP (a closed terminal) like Ctrl-C: as a KeyboardInterrupt that is never lost.

    Python drops an exception that arises in a finaliser or a weak reference's callback, a KeyboardInterrupt too.
    So a timer raises it again every two seconds, until it is handled (`ignore_interrupts`) or this context is left;
    and one that was dropped prints no traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    active = True

    def interrupt(number: int, frame: object) -> None:
        if active:
            _set_timer(REPEAT_SECONDS)
            raise KeyboardInterrupt

    old_hook = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            old_hook(unraisable)

    # a signal that is ignored stays ignored: nohup
    handled = [n for n in _termination_signals() if signal.getsignal(n) is not signal.SIG_IGN]
    if handled and hasattr(signal, "SIGALRM"):
        handled.append(signal.SIGALRM)
    old = {n: signal.signal(n, interrupt) for n in handled}
    sys.unraisablehook = hook
    try:
        yield
    finally:
        active = False
        _set_timer(0)
        sys.unraisablehook = old_hook
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore the signals that end a run, so that cleaning up is not interrupted a second time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {}
    try:
        _set_timer(0)
        for number in _termination_signals():
            old[number] = signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _termination_signals() -> list[signal.Signals]:
    """The signals that ask a process to end, as far as this system has them."""
    return [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


def _set_timer(seconds: float) -> None:
    """Send this process a SIGALRM every so many seconds from now on; 0: not any more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
