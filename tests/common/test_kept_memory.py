"""Memory that was freed stays with the process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_what_does_not_fit_again_is_given_back():
    assert megabytes_at_the_end("bound_memory()") < 200
    assert megabytes_at_the_end("") > 600, "nothing has to be given back, and so nothing is tested"


def test_memory_that_nobody_keeps_has_no_bound():
    program = "from heredity.common.kept_memory import bound_memory; bound_memory()"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_allocated_lies_in_large_pages():
    here = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not here.exists() or "[never]" in here.read_text():
        pytest.skip("the system has no large pages")
    program = (
        "from heredity.common.kept_memory import keep_memory; keep_memory(); "
        'large = b"1" * 2**26; print(open("/proc/self/smaps").read())'
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    kilobytes = re.findall(rb"AnonHugePages: *(\d+) kB", done.stdout)
    assert sum(map(int, kilobytes)) > 2**15
