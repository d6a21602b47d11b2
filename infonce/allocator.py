"""What a training process asks of the C library's allocator."""

import ctypes
import sys
from collections.abc import Callable
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_MAX: Final = -4
_NEVER: Final = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Memory that a step frees stays with the process for the next one; whether the C library listened.

    glibc gives large blocks back at once and gets them anew, page by page and filled with zeros, for every tensor: 3 %
    of a float32 step of MiniLM on two cores, more where products are faster (docs/log.md). The peak is the same.
    """
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def give_back_freed_memory() -> bool:
    """The system has all whole pages that are free; whether there were any.

    What was needed for one part of a job lies between what is still needed, and the next part would come on top.
    """
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _of_glibc(name: str) -> Callable[..., int] | None:
    """The function, where the C library has it: musl and those of other systems have not."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
