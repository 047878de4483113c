"""How a recorded episode ended, in words, and how long its last moment is held."""

from __future__ import annotations

from heredity.common.recording import Recording
from heredity.common.words import counted
from heredity.viewer.formatting import value_text
from heredity.viewer.motion import MAX_SECONDS, checked_seconds

# A loop that jumps from its end to its beginning at once does not show how it ended.
HOLD_SECONDS = 1.2


def seconds_text(seconds: float) -> str:
    """A time in seconds, with a digit after the point where it matters.

    Example:
        >>> seconds_text(1.3), seconds_text(0.04), seconds_text(50.0)
        ('1.3 s', '0.04 s', '50 s')
    """
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def end_text(recording: Recording) -> str:
    """How the episode ended and when; empty if nobody wrote it down.

    An environment that shows nothing but numbers is told in steps: most of them have no time.

    Example:
        >>> import numpy as np
        >>> fallen = Recording(np.ones(65), step_seconds=0.02, frames=(b"",), end="terminated")
        >>> end_text(fallen)
        'episode ended at 1.3 s: terminated'
    """
    if recording.kind == "signals":
        when = counted(recording.episode_length, "step")
    else:
        when = seconds_text(recording.episode_length * checked_seconds(recording.step_seconds))
    match recording.end:
        case "terminated" | "truncated":
            return f"episode ended at {when}: {recording.end}"
        case "cut":
            return f"still going at {when}, no longer watched"
    return ""


def beginning_text(recording: Recording, most: float = MAX_SECONDS) -> str:
    """Which part is shown of an episode that is longer than `most` seconds; else empty.

    Example:
        >>> import numpy as np
        >>> beginning_text(Recording(np.ones(1000), step_seconds=0.05))
        'first 20 s of 50 s'
    """
    whole = recording.episode_length * checked_seconds(recording.step_seconds)
    if whole <= most * 1.05:
        return ""
    return f"first {seconds_text(most)} of {seconds_text(whole)}"


def episode_text(recording: Recording) -> tuple[str, str]:
    """The return of the recorded episode, and how long it was.

    Example:
        >>> import numpy as np
        >>> episode_text(Recording(np.full(65, 0.5), step_seconds=0.02))
        ('32.5', 'in 65 steps')
    """
    steps = counted(recording.episode_length, "step")
    return value_text(recording.episode_return), f"in {steps}"


def hold_of(recording: Recording, cut: str) -> float:
    """For how many seconds the last moment is held: where it is how the episode ended.

    Args:
        recording: The rollout.
        cut: What is not shown of it; empty if all is.
    """
    return HOLD_SECONDS if recording.end in ("terminated", "truncated") and not cut else 0.0
