"""Memory that was freed is used again without asking the system for its pages anew."""

import subprocess
import sys

import pytest

CODE = """
import resource, torch
from infonce.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(12 << 20)  # 48 MB, 12,288 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
print(keep_freed_memory(), before, sum(faults() for _ in range(4)), faults())
"""


def numbers_of(code: str) -> list[int]:
    """What a fresh process measures, if its C library has what it asks for."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heard, *numbers = done.stdout.split()
    if heard == "False":
        pytest.skip("the C library is not glibc")
    return list(map(int, numbers))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_tensor_of_the_size_of_a_freed_one_costs_no_new_pages() -> None:
    before, _, after = numbers_of(CODE)
    assert 2 * after < before


FRAGMENTS = """
import sys
from infonce.allocator import give_back_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

blocks = [bytes(100_000) for _ in range(2_000)]  # below the size that gets a mapping of its own
kept = blocks[-1]
del blocks  # what is freed lies below what is kept
held = resident()
print(give_back_freed_memory(), held, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_below_what_is_kept_goes_back_to_the_system() -> None:
    held, after = numbers_of(FRAGMENTS)
    assert held > 100e6 and after < held / 2
