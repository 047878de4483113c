"""The errors people meet. Each says what was given, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


def first_few(told: Sequence[str], most: int = 5, *, between: str = ", ") -> str:
    """The first of several things, and how many more there are.

    Example:
        >>> first_few(["kernel", "bias", "scale"], 2)
        'kernel, bias and 1 more'
    """
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return between.join(told[:most]) + more


class HeredityError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(HeredityError, ValueError):
    """A wrong name, value or combination of settings was given."""

    exit_code = 2


class UnknownNameError(UsageError):
    """An unknown name.

    Args:
        what: What kind of thing was named, for example ``"environment"``.
        given: The name as it was given.
        known: Every name that would have been accepted.
        hint: What else could be done.
        brief: Whether to name the nearest alone, where a list of all would only be in the way.

    Example:
        >>> print(UnknownNameError("backend", "positionnal", ["mjx", "positional", "spring"]))
        unknown backend 'positionnal': did you mean 'positional'? (known: mjx, positional, spring)
    """

    def __init__(
        self, what: str, given: object, known: Iterable[str], hint: str = "", *, brief: bool = False
    ) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.5)
        guess = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        listed = ", ".join(names) if len(names) <= 40 else ", ".join(names[:40]) + ", …"
        if not brief:
            hint = f"(known: {listed or 'none'})" + (f"; {hint}" if hint else "")
        told = " ".join(part for part in (guess, hint) if part)
        colon = ": " if not told.startswith("(") else " "
        super().__init__(f"unknown {what} {str(given)!r}" + (f"{colon}{told}" if told else ""))


class MissingExtraError(UsageError):
    """Something that needs an optional dependency which is not installed here."""

    def __init__(self, what: str, extra: str, cause: str = "") -> None:
        because = f" ({cause})" if cause else ""
        super().__init__(f"{what} needs an extra{because}: pip install 'heredity[{extra}]'")


class UntrustedError(UsageError):
    """A file names something that would run code, and no person has vouched for it."""


class RefusedError(HeredityError):
    """An input file that is missing, torn, altered, from the future or of another kind.

    Args:
        path: The file or folder that was refused.
        problem: What was found, and what was expected.
        remedy: What the person can do now.
    """

    exit_code = 3

    def __init__(self, path: Path | str, problem: str, remedy: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        super().__init__(f"{path}: {problem}" + (f". {remedy}" if remedy else ""))


class MismatchError(RefusedError):
    """Weights, observations or actions that do not fit what they are put into."""

    def __init__(self, problem: str, remedy: str = "", path: Path | str = "") -> None:
        HeredityError.__init__(self, f"{path}: {problem}" if path else problem, remedy)
        self.path = Path(path)
        self.problem = problem

    def __str__(self) -> str:
        return ". ".join(str(part) for part in self.args if part)


class StorageError(HeredityError):
    """A file could not be written: disk full, read-only, no permission."""

    def __init__(self, path: Path | str, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(
            f"{path}: could not be written ({reason}). Earlier checkpoints and snapshots are "
            "whole; free space or choose another --directory, then resume"
        )


class LostFolderError(StorageError):
    """A folder that is in use is not where it was.

    Args:
        folder: Where it was.
        problem: What was found.
    """

    def __init__(self, folder: Path | str, problem: str) -> None:
        HeredityError.__init__(
            self,
            f"{folder}: {problem}, so nothing more is written there. Put it back, or resume it "
            "where it lies now, from its newest checkpoint",
        )


class DivergedError(HeredityError):
    """Training produced a loss or a parameter that is not finite."""


class LostProcessError(HeredityError):
    """Another process of the same run is gone, so that this one cannot go on."""

    exit_code = 4


class FrozenError(HeredityError):
    """A weight that was declared frozen has moved."""
