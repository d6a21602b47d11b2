"""The memory that a process holds, and the most it ever held."""

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
    return _status_bytes(process, "VmHWM")


def resident_bytes() -> int:
    """What this process holds now; the most it ever held where the system does not tell."""
    known = _status_bytes("self", "VmRSS")
    return peak_memory_bytes() if known is None else known


def private_bytes(process: int | str) -> int | None:
    """What that process holds now that no file stands behind, from /proc; None as for `high_water_bytes`."""
    return _status_bytes(process, "RssAnon")


def _status_bytes(process: int | str, field: str) -> int | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
