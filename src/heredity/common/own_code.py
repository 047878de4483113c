"""Where somebody's own code stands in what went wrong."""

from __future__ import annotations

import sys
import traceback

_LIBRARIES = frozenset({"heredity", "jax", "jaxlib", "flax", "numpy", *sys.stdlib_module_names})


def own_line(error: BaseException) -> str:
    """The last line on the way to an exception that is not of a library that we call.

    Returns:
        `` (file:line)``, to stand behind a message; empty where there is no such line.

    Example:
        >>> try:
        ...     exec("int('three')", {"__name__": "mine"})
        ... except ValueError as error:
        ...     own_line(error)
        ' (<string>:1)'
    """
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            place = f" ({frame.f_code.co_filename}:{line})"
    return place
