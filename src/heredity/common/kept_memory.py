"""Memory that was freed stays with the process, for what is computed next."""

from __future__ import annotations

import ctypes
import platform

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = -1


def keep_memory() -> bool:
    """Have the C library keep memory that is freed, for the rest of this process.

    A compiled program allocates room for what it computes on the way each time it is called, some
    400 MB for an update of a small DreamerV3 on a CPU. By default glibc gives so large a piece back
    to the system at once; then the system has to find and clear each of its 100,000 pages anew,
    which took a quarter to a third of the processors' time. The process then keeps the most that it
    ever had (docs/performance.md).

    To be called before there are threads. Other C libraries than glibc are left alone.

    Returns:
        Whether it is so now.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena, because those of other threads would ask the system for each large piece.
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1))
    return all([mallopt(option, value) == 1 for option, value in wanted])
