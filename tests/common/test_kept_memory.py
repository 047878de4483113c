"""Memory that was freed stays with the process."""

import subprocess
import sys

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
