"""Loaded encoders: the one place of the gateway that needs torch, imported when the first text is to be embedded.

All computing happens in one thread: encoders are not thread-safe, and OpenMP keeps a team of threads for each
thread that ever used it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from infonce.config import Precision, Side
from infonce.hub import FoundModel, Source
from infonce.tokens import TokenizedTexts
from service.errors import Unavailable

if TYPE_CHECKING:
    from infonce.encoder import Encoder

MAX_MODELS = 2
"""How many encoders stay loaded; MiniLM takes 90 MB, the largest base models in use about 1.3 GB."""

MAX_WAITING = 16
"""Requests that may wait for the one computing thread; each holds one of the 40 threads that answer requests."""


class TextEncoder(Protocol):
    """What is needed of `infonce.encoder.Encoder`."""

    def prompt(self, side: Side) -> str:
        """What is put before a text on that side."""

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """The ids of texts that already carry their prompt."""

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """The unit vectors of `texts`; (n, D)."""

    def fingerprint(self) -> str:
        """A hash of everything that decides a vector."""


Loader = Callable[[FoundModel], TextEncoder]


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Vectors of unit length, (n, D), and what it took to make them."""

    vectors: NDArray[np.float32]
    num_tokens: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    encoder: TextEncoder
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """A `TextEncoder` of one precision.

    The documents of a collection may have been embedded in another one, by a worker with another setting or with
    another fastest precision: their vectors are comparable, with a cosine of 0.995 at least to those of float32.
    """

    encoder: "Encoder"
    precision: Precision

    def prompt(self, side: Side) -> str:
        """What is put before a text on that side."""
        return self.encoder.prompt(side)

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """The ids of texts that already carry their prompt."""
        return self.encoder.tokenize(texts)

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """The unit vectors of `texts`; (n, D)."""
        return self.encoder.encode(texts, side=side, precision=self.precision)

    def fingerprint(self) -> str:
        """A hash of everything that decides a vector, but for the precision."""
        return self.encoder.fingerprint()


def encoder_loader(
    verify: Callable[[Path], object], *, threads: int, precision: Precision = Precision.FLOAT32
) -> Loader:
    """Loads from disk; `verify` raises if a published folder is not the one that was sealed.

    With `auto` each encoder is served in the precision that is the fastest when it is loaded.
    """

    def load(found: FoundModel) -> TextEncoder:
        import torch

        from infonce.calibrate import fastest_serving
        from infonce.encoder import Encoder

        torch.set_num_threads(threads)  # of the computing thread, which is the one that loads
        if found.source is Source.TUNED:
            verify(found.path)
        encoder = Encoder.load(found.path)
        return ServedEncoder(encoder, fastest_serving(encoder)[0] if precision is Precision.AUTO else precision)

    return load


class Embedder:
    """Embeds texts by any model that was found, keeping the last used ones loaded."""

    def __init__(self, load: Loader) -> None:
        self._load = load
        self._loaded: OrderedDict[Path, _Loaded] = OrderedDict()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._places = threading.BoundedSemaphore(MAX_WAITING)

    def embed(self, model: FoundModel, texts: Sequence[str], *, side: Side) -> Embedded:
        """The vectors of `texts`; blocks its thread until they are there.

        Raises:
            Unavailable: too many others wait already.
            InvalidModel, ArtifactCorrupt: the model cannot be loaded.
        """
        if not self._places.acquire(blocking=False):
            message = f"{MAX_WAITING} requests wait for embeddings already; try again, or send more texts in one call"
            raise Unavailable("overloaded", message)
        try:
            return self._thread.submit(self._compute, model, texts, side=side).result()
        finally:
            self._places.release()

    def close(self) -> None:
        """What computes is finished, what waits is not begun."""
        self._thread.shutdown(cancel_futures=True)

    def _compute(self, model: FoundModel, texts: Sequence[str], *, side: Side) -> Embedded:
        loaded = self._get(model)
        prompt = loaded.encoder.prompt(side)
        tokens = loaded.encoder.tokenize([prompt + text for text in texts])
        return Embedded(
            vectors=loaded.encoder.encode(texts, side=side),
            num_tokens=int(tokens.lengths.sum()),
            fingerprint=loaded.fingerprint,
        )

    def _get(self, model: FoundModel) -> _Loaded:
        loaded = self._loaded.get(model.path)
        if loaded is None:
            encoder = self._load(model)
            loaded = _Loaded(encoder, encoder.fingerprint())
            self._loaded[model.path] = loaded
            if len(self._loaded) > MAX_MODELS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(model.path)
        return loaded
