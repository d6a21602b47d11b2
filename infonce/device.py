"""Which device a name means, and what a run is computed on."""

from importlib.metadata import version
from typing import Any

import torch


def resolve_device(device: str) -> torch.device:
    """The named device; `auto` is a GPU where torch sees one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def computed_on(device: torch.device, *, num_processes: int) -> dict[str, Any]:
    """What decides the last bits of a run beside its data and settings, by name; plain JSON values."""
    return {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": num_processes,
    }
