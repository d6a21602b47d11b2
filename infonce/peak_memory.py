"""The most memory that a process ever held."""

import resource
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """Of this process."""
    if (known := high_water_bytes("self")) is not None:
        return known
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def high_water_bytes(process: int | str) -> int | None:
    """Of that process, from /proc; None where it is gone, or the system has no such file.

    `ru_maxrss` would count from the start of whoever started the process: it survives exec.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
