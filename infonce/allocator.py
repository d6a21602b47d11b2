"""What a training process asks of the C library's allocator."""

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_MAX: Final = -4
_NEVER: Final = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Memory that a step frees stays with the process for the next one; whether the C library listened.

    glibc gives large blocks back at once and gets them anew, page by page and filled with zeros, for every tensor: 3 %
    of a float32 step of MiniLM on two cores, more where products are faster (docs/log.md). The peak is the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
