"""Whether observations have room in the memory of this machine, before any of them is made.

What has none would end in the middle of numpy, or be ended by the system.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from heredity.common.errors import UsageError
from heredity.spaces import Box, Dict, MultiDiscrete, Space

GIBIBYTE = 2**30

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of this container, in bytes; "max" for none


def bytes_of(space: Space, of_box: Callable[[Box], int] | None = None) -> int:
    """How many bytes one observation takes; sizes known by name alone count as 1.

    Args:
        space: Of the observation.
        of_box: How many a part of it takes that is an array, where that is another number.

    Example:
        >>> bytes_of(Dict({"camera": Box((84, 84, 3), 0, 255, "uint8"), "state": Box((4,))}))
        21184
    """
    match space:
        case Dict():
            return sum(bytes_of(part, of_box) for _, part in space.entries)
        case Box():
            return (of_box or bytes_of_box)(space)
        case MultiDiscrete():
            return 4 * len(space.nvec)
    return 4


def bytes_of_box(space: Box) -> int:
    """How many bytes an array takes."""
    sizes = (size if isinstance(size, int) else 1 for size in space.shape)
    return math.prod(sizes) * np.dtype(space.dtype).itemsize


def memory_here() -> float:
    """Bytes of memory that programs on this machine, or in this container, can have at most."""
    limits = [math.inf]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if _LIMIT.exists() and (told := _LIMIT.read_text().strip()).isdigit():
        limits.append(int(told))
    return min(limits)


def check_room(needed: float, what: str, remedy: str, limit: float | None = None) -> None:
    """Refuse what cannot be kept in memory.

    Args:
        needed: Bytes.
        what: What takes them.
        remedy: What to do.
        limit: Bytes that there are; default: `memory_here`.

    Raises:
        UsageError: when there are fewer.

    Example:
        >>> check_room(3e12, "8 observations of ant", "make them smaller", limit=2e9)
        Traceback (most recent call last):
            ...
        heredity.common.errors.UsageError: 8 observations of ant take 3,000.0 GB, there are 2.0 GB \
of memory here: make them smaller
    """
    limit = memory_here() if limit is None else limit
    if needed > limit:
        gigabytes = [f"{number / 1e9:,.1f} GB" for number in (needed, limit)]
        raise UsageError(
            f"{what} take {gigabytes[0]}, there are {gigabytes[1]} of memory here: {remedy}"
        )
