"""Memory that was freed stays with the process."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

BOUNDED = hasattr(ctypes.CDLL(None), "mallinfo2")
LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

# Prints how many pages the system had to find for a piece that was allocated and freed before.
AGAIN = """
import resource
from heredity.common.kept_memory import keep_memory
{first}
for _ in range(2):
    began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(range(256)) * 2**18
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
"""


def pages_found_again(first: str) -> int:
    program = [sys.executable, "-c", AGAIN.format(first=first)]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


def test_a_large_piece_is_used_again():
    assert pages_found_again("assert keep_memory()") < 100
    assert pages_found_again("") > 100, "there is nothing to be gained, and so nothing tested"


# The second large piece does not fit where the first one was, because something small lies there.
DOES_NOT_FIT = """
from heredity.common.kept_memory import _own_bytes, bound_memory, keep_memory
assert keep_memory()
small = []
for size in (300, 310):
    large = b"1" * (size * 2**20)
    small.append(b"1" * 2**23)
    del large
    small.append(b"1" * 2**23)
    {then}
print(_own_bytes() // 2**20)
"""


def megabytes_at_the_end(then: str) -> int:
    program = [sys.executable, "-c", DOES_NOT_FIT.format(then=then)]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not BOUNDED, reason="the C library does not tell of its heap")
def test_what_does_not_fit_again_is_given_back():
    assert megabytes_at_the_end("bound_memory()") < 200
    assert megabytes_at_the_end("") > 500, "nothing has to be given back, and so nothing is tested"


def test_memory_that_nobody_keeps_has_no_bound():
    program = "from heredity.common.kept_memory import bound_memory; bound_memory()"
    subprocess.run([sys.executable, "-c", program], check=True)


# Prints how much of the heap the system was asked to hold in large pages.
ASKED = """
import re
from heredity.common.kept_memory import keep_memory
{first}
regions = re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read())
heap = [region for region in regions if "[heap]" in region]
asked = [region for region in heap if " hg " in region]
print(sum(int(re.search(r"Size: *(\\d+)", region)[1]) for region in asked))
"""


def kilobytes_asked_for(first: str) -> int:
    program = [sys.executable, "-c", ASKED.format(first=first)]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="the system has no large pages")
def test_the_heap_lies_in_large_pages():
    assert kilobytes_asked_for("keep_memory()") > 2**20
    assert kilobytes_asked_for("") == 0


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="the system has no large pages")
def test_addresses_that_are_limited_are_left_for_others():
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40)); "
    assert kilobytes_asked_for(limited + "keep_memory()") == 0


@pytest.mark.parametrize("calls", [1, 2])
def test_work_that_fits_keeps_its_memory(calls: int):
    program = (
        "from heredity.common.kept_memory import _own_bytes, bound_memory, keep_memory\n"
        f"for _ in range({calls}): keep_memory()\n"
        'for _ in range(9): large = b"1" * 2**29; del large; bound_memory()\n'
        "print(_own_bytes() // 2**20)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 512 < int(done.stdout) < 700
