"""What people are told whose run ended before its time: what is saved, and how to go on."""

from __future__ import annotations

import signal


def interrupted(
    asked: signal.Signals | None, step: int, saved: bool, resume_command: str | None
) -> str:
    """Of a run that was asked to stop.

    Args:
        asked: By which signal; None where another process was.
        step: Where it stands.
        saved: Whether a checkpoint of that step was written; not without a directory.
        resume_command: That goes on from there.

    Example:
        >>> interrupted(signal.SIGINT, 4096, True, "heredity resume runs/ant")
        'SIGINT: saved at step 4,096. Go on with: heredity resume runs/ant'
    """
    who = asked.name if asked is not None else "another process was asked to stop"
    if not saved:
        return f"{who} at step {step:,}; nothing was kept (no directory)"
    return f"{who}: saved at step {step:,}{_go_on_with(resume_command)}"


def tell_how_to_go_on(error: Exception, saved_at: int | None, resume_command: str | None) -> None:
    """Of a run that failed in somebody's own code: a note below the traceback, if there is a way.

    Args:
        error: What was raised.
        saved_at: The step of the last checkpoint; None where there is none.
        resume_command: That goes on from there.
    """
    if saved_at is not None and resume_command:
        told = f"what was learnt until step {saved_at:,} is saved{_go_on_with(resume_command)}"
        error.add_note(f"heredity: {told}")


def _go_on_with(resume_command: str | None) -> str:
    return f". Go on with: {resume_command}" if resume_command else ""
