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
