"""How much memory can still be had on this machine; knows no torch."""

from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")  # of a container, version 2
_UNKNOWN_BYTES: Final = 4 << 30  # where the system does not tell


def free_bytes() -> int:
    """What can be allocated on this machine, within the limit of a container."""
    free = _UNKNOWN_BYTES
    if (path := Path("/proc/meminfo")).is_file():
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    if (limit := _CGROUP / "memory.max").is_file() and (most := limit.read_text().strip()) != "max":
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        free = min(free, max(0, int(most) - used + int(stat["inactive_file"])))  # file pages that would give way
    return free
