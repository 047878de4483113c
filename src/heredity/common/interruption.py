"""Ctrl-C that cannot be lost: handlers that remember which signal came."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import threading
import time
import weakref
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Shorter than what somebody who counts signals takes for two of them.
_AGAIN_SECONDS = 0.05


class RememberedInterrupt:
    """A signal handler that raises KeyboardInterrupt and remembers which signal came.

    Python ignores exceptions that leave a callback of the garbage collector or a finaliser, and JAX
    installs such a callback. A KeyboardInterrupt raised inside one would be printed and gone, and
    the program would go on. There nothing is raised, and the signal comes again a moment later;
    whoever takes over the signals meanwhile finds it in `received`.

    Attributes:
        received: The signal that came last; None before the first.

    Example:
        >>> handler = RememberedInterrupt()
        >>> try:
        ...     handler(signal.SIGINT, None)
        ... except KeyboardInterrupt:
        ...     handler.received.name
        'SIGINT'
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal.

        Raises:
            KeyboardInterrupt: unless it would be lost where it comes.
        """
        self.received = signal.Signals(number)
        if _would_be_lost(frame):
            # Not a Timer: the lock of `threading` may be held where this interrupts.
            _thread.start_new_thread(_come_again, (number,))
            return
        raise KeyboardInterrupt


# Where Python calls functions of its own, and of others, when something is gone.
_OF_WEAK_REFERENCES = {
    kind.__init__.__code__.co_filename for kind in (weakref.WeakKeyDictionary, weakref.WeakSet)
}


def _would_be_lost(frame: FrameType | None) -> bool:
    """Whether a frame is one from which Python lets no exception out."""
    callbacks = [getattr(one, "__code__", None) for one in gc.callbacks]
    while frame is not None:
        code = frame.f_code
        if (
            code in callbacks
            or code.co_name == "__del__"
            or code.co_filename in _OF_WEAK_REFERENCES
        ):
            return True
        frame = frame.f_back
    return False


def _come_again(number: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    os.kill(os.getpid(), number)


class NotedInterrupt:
    """A signal handler that raises nothing: whoever has set it looks at `received` in time.

    Attributes:
        received: The signal that came last; None before the first.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal."""
        del frame
        self.received = signal.Signals(number)


def is_asked_to_stop() -> bool:
    """Whether a signal has been noted, so that the program ends as soon as what it does is done.

    Somebody who waits for what may never come asks this, to say so.

    Example:
        >>> handler = NotedInterrupt()
        >>> before = signal.signal(signal.SIGTERM, handler)
        >>> is_asked_to_stop(), handler(signal.SIGTERM, None), is_asked_to_stop()
        (False, None, True)
        >>> _ = signal.signal(signal.SIGTERM, before)
    """
    handlers = (signal.getsignal(number) for number in STOP_SIGNALS)
    return any(isinstance(one, NotedInterrupt) and one.received for one in handlers)


def remember_interrupts() -> None:
    """From here on SIGINT and SIGTERM raise KeyboardInterrupt, and are remembered.

    A SIGINT that is ignored, as that of a program in the background is, stays so. Outside the main
    thread, where handlers cannot be set, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    handler = RememberedInterrupt()
    for number in STOP_SIGNALS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def received_before(handler: object) -> signal.Signals | None:
    """The signal that a handler which is being replaced has received, if it remembers one."""
    return handler.received if isinstance(handler, RememberedInterrupt) else None
