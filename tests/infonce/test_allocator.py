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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_tensor_of_the_size_of_a_freed_one_costs_no_new_pages() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    heard, before, _, after = done.stdout.split()
    if heard == "False":
        pytest.skip("this C library has no mallopt")
    assert 2 * int(after) < int(before)


FRAGMENTS = """
import sys
from infonce.allocator import give_back_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

blocks = [bytes(100_000) for _ in range(2_000)]  # below the size that gets a mapping of its own
before = resident()
kept = blocks[-1]
del blocks  # what is freed lies below what is kept
held = resident()
print(give_back_freed_memory(), before, held, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_below_what_is_kept_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", FRAGMENTS], capture_output=True, text=True, check=True)
    heard, _, held, after = done.stdout.split()
    if heard == "False":
        pytest.skip("this C library has no malloc_trim")
    assert int(held) > 100e6 and int(after) < int(held) / 2
