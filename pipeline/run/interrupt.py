"""Ctrl-C and polite ends."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

AGAIN_SECONDS = 2.0  # long against unwinding, short against a person's patience


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """A polite end (SIGTERM, a closed terminal) is treated like Ctrl-C, and neither is lost.

    Python drops an exception that arises in a finaliser or a weak reference's callback, a
    KeyboardInterrupt too. So it is raised again every two seconds, until somebody listens (`deaf`) or this
    context is left; and one that was dropped is no traceback on the screen.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    listening = True

    def interrupt(number: int, frame: object) -> None:
        if listening:
            _again(AGAIN_SECONDS)
            raise KeyboardInterrupt

    tell = sys.unraisablehook

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            tell(unraisable)

    # what is ignored stays ignored: nohup
    heard = [n for n in _ends() if signal.getsignal(n) is not signal.SIG_IGN]
    if heard and hasattr(signal, "SIGALRM"):
        heard.append(signal.SIGALRM)
    old = {n: signal.signal(n, interrupt) for n in heard}
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        listening = False
        _again(0)
        sys.unraisablehook = tell
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Cleaning up is not interrupted a second time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {}
    try:
        _again(0)
        for number in _ends():
            old[number] = signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _ends() -> list[signal.Signals]:
    """The signals that ask for an end, as far as this system has them."""
    return [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


def _again(seconds: float) -> None:
    """Ring every so many seconds from now on; 0: not any more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
