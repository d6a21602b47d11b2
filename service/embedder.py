"""Loaded encoders: the one place of the gateway that needs torch, imported when the first text is to be embedded.

All computing happens in one thread: encoders are not thread-safe, and OpenMP keeps a team of threads for each
thread that ever used it. Who asks meanwhile is gathered into the next batch.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from infonce.config import Precision, Side
from infonce.hub import FoundModel, Source
from infonce.tokens import TokenizedTexts
from service.errors import Unavailable
from service.lanes import Asked, Embedded, Lane, TextEncoder
from service.loaded_models import LoadedModels, Loader

if TYPE_CHECKING:
    from infonce.encoder import Encoder

CHUNKS_A_BATCH = 4
"""Of the tokens that an encoder reads at once: enough that sorting by length leaves little padding, and so few that
who comes waits for half a second at most on two cores with a small model."""

_LONGEST_RETRY_SECONDS = 60

Observer = Callable[[int, int], None]
"""Told how many texts and how many tokens a batch had."""


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """A `TextEncoder` of one precision.

    The documents of a collection may have been embedded in another one, by a worker with another setting or with
    another fastest precision: their vectors are comparable, with a cosine of 0.995 at least to those of float32.
    """

    encoder: "Encoder"
    precision: Precision

    @property
    def chunk_tokens(self) -> int:
        """The tokens that are encoded at once."""
        return self.encoder.chunk_tokens

    @property
    def num_bytes(self) -> int:
        """What its weights take in memory, the copy of its layers in int8 included."""
        return self.encoder.num_bytes(self.precision)

    def prompt(self, side: Side) -> str:
        """What is put before a text on that side."""
        return self.encoder.prompt(side)

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """The ids of texts that already carry their prompt."""
        return self.encoder.tokenize(texts)

    def encode_tokens(self, tokens: TokenizedTexts) -> NDArray[np.float32]:
        """The unit vectors of those texts; (n, D)."""
        return self.encoder.encode_tokens(tokens, precision=self.precision)

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
    """Embeds texts by any model that was found; who asks while a batch is computed shares the next one."""

    def __init__(
        self,
        models: LoadedModels,
        *,
        max_waiting_characters: int,
        observe: Observer = lambda num_texts, num_tokens: None,
    ) -> None:
        """While texts of so many characters wait, nobody else may."""
        self._models = models
        self._max_waiting = max_waiting_characters
        self._observe = observe
        self._came: SimpleQueue[Asked | None] = SimpleQueue()
        self._lanes: OrderedDict[Path, Lane] = OrderedDict()
        self._stays_until = 0.0
        self._lock = threading.Lock()  # of what follows
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._waiting_characters = 0
        self._done_characters, self._busy_seconds = 0, 0.0

    def submit(self, model: FoundModel, texts: Sequence[str], *, side: Side) -> Future[Embedded]:
        """The vectors of `texts`, soon; InvalidModel or ArtifactCorrupt where the model cannot be loaded.

        Raises:
            Unavailable: too much waits already.
        """
        asked, num_characters = Asked(model=model, texts=texts, side=side), sum(map(len, texts))
        with self._lock:
            self._admit()
            self._waiting_characters += num_characters
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="embedder", daemon=True)
                self._thread.start()
            self._came.put(asked)
        asked.future.add_done_callback(lambda _: self._leave(num_characters))
        return asked.future

    def embed(self, model: FoundModel, texts: Sequence[str], *, side: Side) -> Embedded:
        """The vectors of `texts`; blocks its thread until they are there.

        Raises:
            Unavailable: too much waits already.
            InvalidModel, ArtifactCorrupt: the model cannot be loaded.
        """
        return self.submit(model, texts, side=side).result()

    def close(self) -> None:
        """The batch that is computed is finished, what waits is not begun."""
        with self._lock:
            self._is_closed, thread = True, self._thread
        self._came.put(None)
        if thread is not None:
            thread.join()

    def _admit(self) -> None:
        """Raise unless one more may wait."""
        if self._is_closed:
            raise Unavailable("unavailable", "The server ends; try again soon")
        if self._waiting_characters >= self._max_waiting:
            rate = self._done_characters / self._busy_seconds if self._busy_seconds else self._waiting_characters + 1
            seconds = min(_LONGEST_RETRY_SECONDS, max(1, math.ceil(self._waiting_characters / rate / 2)))
            message = f"Texts of {self._waiting_characters} characters wait for their vectors, more than "
            message += f"{self._max_waiting}; come again in {seconds} s"
            raise Unavailable("embedding_limit", message, retry_after_seconds=seconds)

    def _leave(self, num_characters: int) -> None:
        with self._lock:
            self._waiting_characters -= num_characters
            self._done_characters += num_characters

    def _run(self) -> None:
        """The computing thread, from the first request until `close`."""
        while self._gather():
            path, lane = next(iter(self._lanes.items()))
            try:
                self._turn(lane)
            except Exception as error:
                lane.fail(error)
            if not lane:
                del self._lanes[path]
            elif time.perf_counter() >= self._stays_until:
                self._lanes.move_to_end(path)
        for lane in self._lanes.values():
            lane.fail(Unavailable("unavailable", "The server ends; try again soon"))

    def _gather(self) -> bool:
        """Whoever came is in the lane of its model, one at least is in some lane; False if it is to end."""
        while not self._lanes or not self._came.empty():
            asked = self._came.get()
            if asked is None:
                return False
            self._lanes.setdefault(asked.model.path, Lane(model=asked.model)).new.append(asked)
        return True

    def _turn(self, lane: Lane) -> None:
        """One batch of the lane has its vectors.

        Models that do not fit into memory together would be loaded anew for each batch if they took turns: one that
        was loaded stays at work for as long as that took.
        """
        loaded, is_new = self._models.get(lane.model)
        began = time.perf_counter()
        if is_new:
            self._stays_until = began + loaded.seconds
        lane.read(loaded.encoder)
        tokens = lane.batch(CHUNKS_A_BATCH * loaded.encoder.chunk_tokens)
        if not lane.at_work:  # all of them are gone
            return
        started = time.perf_counter()
        vectors = loaded.encoder.encode_tokens(tokens)
        ended = time.perf_counter()
        num_texts = len(lane.at_work)
        lane.finish(vectors, seconds=ended - started, fingerprint=loaded.fingerprint)
        with self._lock:
            self._busy_seconds += ended - began
        self._observe(num_texts, len(tokens.ids))
