"""Which encoders stay in memory: the last used ones, as far as their weights fit into what was allowed."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from infonce.hub import FoundModel
from service.lanes import TextEncoder

Loader = Callable[[FoundModel], TextEncoder]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """An encoder in memory."""

    encoder: TextEncoder
    fingerprint: str
    num_bytes: int
    """Of its weights."""
    seconds: float
    """What loading took."""


class LoadedModels:
    """Used by one thread."""

    def __init__(self, load: Loader, *, max_bytes: int) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._loaded: OrderedDict[Path, Loaded] = OrderedDict()

    def get(self, model: FoundModel) -> tuple[Loaded, bool]:
        """The model, and whether it had to be loaded; then others leave until all fit, but never this one.

        They leave before it is read, as far as its weights' file tells what it will take, so that memory holds no more
        than it may meanwhile; and after, for what that did not tell.

        Raises:
            InvalidModel, ArtifactCorrupt: it cannot be loaded.
        """
        known = self._loaded.get(model.path)
        if known is not None:
            self._loaded.move_to_end(model.path)
            return known, False
        self._make_room(_expected_bytes(model.path), num_staying=0)
        loaded = self._loaded[model.path] = self._read(model)
        self._make_room(0, num_staying=1)
        return loaded, True

    def _make_room(self, num_bytes: int, *, num_staying: int) -> None:
        """Those used longest ago have left until so much fits beside the rest, or only so many are left."""
        while len(self._loaded) > num_staying and self._num_bytes + num_bytes > self._max_bytes:
            path, _ = self._loaded.popitem(last=False)
            log.info("the model in %s is no longer in memory", path.name)

    @property
    def _num_bytes(self) -> int:
        return sum(one.num_bytes for one in self._loaded.values())

    def _read(self, model: FoundModel) -> Loaded:
        began = time.perf_counter()
        encoder = self._load(model)
        fingerprint, num_bytes = encoder.fingerprint(), encoder.num_bytes
        seconds = time.perf_counter() - began
        log.info("model %s is in memory: %.1f MB, read in %.2f s", model.name, num_bytes / 1e6, seconds)
        return Loaded(encoder=encoder, fingerprint=fingerprint, num_bytes=num_bytes, seconds=seconds)


def _expected_bytes(folder: Path) -> int:
    """What the folder's weights take in memory, float32 whatever they are stored in; 0 if loading will say why not."""
    num_numbers = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as tensors:  # reads no number
                num_numbers += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (SafetensorError, OSError):
            return 0
    return num_numbers * np.dtype(np.float32).itemsize
