"""Which device a name means."""

import torch


def resolve_device(device: str) -> torch.device:
    """The named device; `auto` is a GPU where torch sees one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
