"""Memory that was freed stays with the process, for what is computed next."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from pathlib import Path

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = -1

# Of Linux's mman.h.
_HUGE_PAGES = 14
_HUGE_PAGE = 2**21

_SPARE = 256 * 2**20
"""Bytes that are not worth giving back, nor looking at."""

_STATM, _SMAPS = Path("/proc/self/statm"), Path("/proc/self/smaps")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_STRICT = "2"


def keep_memory() -> bool:
    """Have the C library keep memory that is freed, in large pages, for the rest of this process.

    A compiled program allocates room for what it computes on the way each time it is called, some
    400 MB for an update of a small DreamerV3 on a CPU. By default glibc gives so large a piece back
    to the system at once; then the system has to find and clear each of its 100,000 pages anew,
    which took a quarter to a third of the processors' time. Pages of 2 MB, where the system has
    them, make reading faster as well, above all that of weights (docs/performance.md).

    To be called before there are threads. Other C libraries than glibc are left alone. Zeros that
    a program asks for are written out then, and take memory at once.

    See `bound_memory` for how much is kept; before glibc 2.33 it has no bound.

    Returns:
        Whether it is so now.
    """
    global _bound
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # One arena, because those of other threads would ask the system for each large piece.
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1))
    kept = all([libc.mallopt(option, value) == 1 for option, value in wanted])
    if kept:
        _in_huge_pages(libc)
        is_known = _SMAPS.exists() and hasattr(libc, "mallinfo2")  # how much there is
        _bound = _Bound(libc) if is_known else None
    return kept


def bound_memory() -> None:
    """Give back what is kept when it is half as much again as it was at first.

    To be called after each repetition of the same work. A piece that was freed does not always fit
    again: something small lies where it was, and a new place is found for it, whose pages are kept
    as well. That happens now and then, and without a bound each time would cost the size of the
    piece.

    Does nothing where `keep_memory` was not called, or gave no bound.
    """
    if _bound is not None:
        _bound.keep()


def _in_huge_pages(libc: ctypes.CDLL) -> None:
    """Have what is allocated from now on lie in large pages, as far as this machine's memory goes.

    The heap grows by that much at once, so that its addresses can be told to the system. Pages are
    taken when they are first written to. Another thread that allocates meanwhile does no harm: the
    place is then not at the end of the heap, and is found all the same.
    """
    if _is_promise_dear():
        return
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10 * 9
    place = libc.malloc(size)
    if not place:
        return
    first = -(-place // _HUGE_PAGE) * _HUGE_PAGE
    # Refused where the system was built without them: pages are small ones then.
    libc.madvise(first, place + size - first, _HUGE_PAGES)
    libc.free(place)


def _is_promise_dear() -> bool:
    """Whether addresses count that nothing was written to: little would be left for the rest."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return True
    return _OVERCOMMIT.exists() and _OVERCOMMIT.read_text().strip() == _STRICT


class _Information(ctypes.Structure):
    """What glibc tells of its heap: ``struct mallinfo2``."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class _Bound:
    """Knows how much was kept at first, and gives all back when it is half as much again.

    Not more often: of large pages a part is given back, and small ones are left of the rest until
    the system joins them again.

    Args:
        libc: The C library of this process.
    """

    def __init__(self, libc: ctypes.CDLL) -> None:
        libc.mallinfo2.restype = _Information
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
        self._libc = libc
        self._seen = 0  # bytes this process had when last looked at
        self._needed: int | None = None

    def keep(self) -> None:
        now = _own_bytes()
        if now <= self._seen + _SPARE:  # the rest takes longer to know
            return
        self._seen = now
        # Less than nothing, where much is in use and was never written to.
        kept = max(_heap_bytes() - self._libc.mallinfo2().uordblks, _SPARE)
        if self._needed is None:
            self._needed = kept
        elif kept > self._needed * 1.5:
            self._libc.malloc_trim(0)
            _in_huge_pages(self._libc)  # the end of the heap was given back as well
            self._seen = _own_bytes()
            self._needed = None


_bound: _Bound | None = None


def _own_bytes() -> int:
    """Of memory, that no file is behind."""
    _, resident, of_files, *_ = _STATM.read_text().split()
    return (int(resident) - int(of_files)) * os.sysconf("SC_PAGE_SIZE")


def _heap_bytes() -> int:
    """Of memory behind the heap."""
    found, is_heap = 0, False
    for line in _SMAPS.read_text().splitlines():
        if line.endswith("[heap]"):
            is_heap = True
        elif is_heap and line.startswith("Rss:"):
            found, is_heap = found + int(line.split()[1]) * 1024, False
    return found
