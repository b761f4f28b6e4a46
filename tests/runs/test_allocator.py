"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

CODE = """
import resource
import numpy as np
from rllib_ez.runs.allocator import keep_freed_memory
assert keep_freed_memory() is True
for _ in range(3):
    np.ones(25_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(25_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_a_block_that_was_freed_is_used_again_without_new_pages():
    """200 MB are 48,829 pages of 4 KiB; without the setting each round faults (huge pages: 96)."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50
