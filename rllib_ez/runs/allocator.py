"""Keeps freed memory in the process, for training on the CPU with large images.

glibc hands large blocks back to the system when they are freed and asks for new, zeroed pages
at the next operation. With the paper's network and batch 256 that took more time than the
arithmetic: benchmarks.pong_paper ran 259 s without this and 153 s with it, at 1.5 GiB more.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
TRIM_THRESHOLD = 2**31 - 1  # bytes that may lie free at the heap's end; the largest int


def keep_freed_memory() -> bool:
    """Tells glibc's malloc; returns whether it took it (elsewhere nothing happens)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD))
