"""Which encoders stay in memory: the last used ones, as far as their weights fit into what was allowed."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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

        Raises:
            InvalidModel, ArtifactCorrupt: it cannot be loaded.
        """
        known = self._loaded.get(model.path)
        if known is not None:
            self._loaded.move_to_end(model.path)
            return known, False
        loaded = self._loaded[model.path] = self._read(model)
        while len(self._loaded) > 1 and sum(one.num_bytes for one in self._loaded.values()) > self._max_bytes:
            path, _ = self._loaded.popitem(last=False)
            log.info("the model in %s is no longer in memory", path.name)
        return loaded, True

    def _read(self, model: FoundModel) -> Loaded:
        began = time.perf_counter()
        encoder = self._load(model)
        fingerprint, num_bytes = encoder.fingerprint(), encoder.num_bytes
        seconds = time.perf_counter() - began
        log.info("model %s is in memory: %.1f MB, read in %.2f s", model.name, num_bytes / 1e6, seconds)
        return Loaded(encoder=encoder, fingerprint=fingerprint, num_bytes=num_bytes, seconds=seconds)
