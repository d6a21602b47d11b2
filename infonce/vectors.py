"""Embeddings that were computed once are not computed again: a content-addressed cache of one encoder's vectors.

The folder belongs to one fingerprint and precision; the key of a vector is the hash of the text with its prompt.
Shards are immutable safetensors files, named by the hash of their content, so several processes may write at once.
"""

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from infonce.config import Precision, Side

if TYPE_CHECKING:
    from infonce.encoder import Encoder

BLOCK_TEXTS = 256  # about 5 seconds of a small encoder on two cores


class TextEncoder(Protocol):
    """Whatever turns texts into unit vectors."""

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """The unit vectors of `texts`; (n, D)."""


class CachedEncoder:
    """A `TextEncoder` that asks another one only for the texts it has never seen.

    `reused` and `computed` count texts, for the report.
    """

    def __init__(
        self,
        folder: Path,
        compute: Callable[[Sequence[str], Side], NDArray[np.float32]],
        *,
        prompt: Callable[[Side], str],
        on_block: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._folder = folder
        self._compute = compute
        self._prompt = prompt
        self._on_block = on_block
        self._known = _read_shards(folder)
        self.reused = 0
        self.computed = 0

    @classmethod
    def of(
        cls,
        encoder: "Encoder",
        root: Path,
        *,
        precision: Precision,
        stop: Callable[[], bool],
        on_block: Callable[[int, int], None],
    ) -> Self:
        """The encoder, asked only for texts that nobody embedded before with the same weights and precision."""
        return cls(
            folder_of(encoder, root, precision=precision),
            lambda texts, side: encoder.encode(texts, side=side, precision=precision, stop=stop),
            prompt=encoder.prompt,
            on_block=on_block,
        )

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """The unit vectors of `texts`; each distinct text that was unknown is computed once and kept.

        Block by block: what was computed before a stop or a crash is there for the next attempt. After each block
        `on_block(done, total)` tells how many of the unknown texts are done.
        """
        found, given = np.empty((0, 0), dtype=np.float32), 0
        for vectors in self.encode_in_order(texts, side=side):
            found = found if given else np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
            found[given : given + len(vectors)] = vectors
            given += len(vectors)
        return found

    def encode_in_order(self, texts: Sequence[str], *, side: Side) -> Iterator[NDArray[np.float32]]:
        """The same vectors from that of the first text on, at most a block at once, as soon as they are known."""
        waiting, missing = deque(self._keys(texts, side)), self.missing(texts, side=side)
        self.reused += len(set(waiting)) - len(missing)
        while ready := self._take(waiting):
            yield np.stack(ready)
        for start in range(0, len(missing), BLOCK_TEXTS):
            block = dict(islice(missing.items(), start, start + BLOCK_TEXTS))
            vectors = self._compute(list(block.values()), side)
            _write_shard(self._folder, list(block), vectors=vectors)
            self._known.update(zip(block, vectors, strict=True))
            self.computed += len(block)
            self._on_block(start + len(block), len(missing))
            while ready := self._take(waiting):
                yield np.stack(ready)

    def _take(self, waiting: deque[bytes]) -> list[NDArray[np.float32]]:
        """The vectors of the first keys, as far as they are known; those keys wait no longer."""
        ready: list[NDArray[np.float32]] = []
        while waiting and len(ready) < BLOCK_TEXTS and (vector := self._known.get(waiting[0])) is not None:
            ready.append(vector)
            waiting.popleft()
        return ready

    def missing(self, texts: Sequence[str], *, side: Side) -> dict[bytes, str]:
        """The distinct ones of `texts` whose vectors would have to be computed, by the key of the vector."""
        return {key: text for key, text in self.distinct(texts, side=side).items() if key not in self._known}

    def distinct(self, texts: Sequence[str], *, side: Side) -> dict[bytes, str]:
        """The distinct ones of `texts`, by the key of the vector."""
        return dict(zip(self._keys(texts, side), texts, strict=True))

    def _keys(self, texts: Sequence[str], side: Side) -> list[bytes]:
        return [hashlib.sha256((self._prompt(side) + text).encode()).digest() for text in texts]


def folder_of(encoder: "Encoder", root: Path, *, precision: Precision) -> Path:
    """Where among the folders of `root` the vectors of these weights in that precision are kept."""
    return root / f"{encoder.fingerprint()}-{precision.value}"


def _read_shards(folder: Path) -> dict[bytes, NDArray[np.float32]]:
    known: dict[bytes, NDArray[np.float32]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != path.stem:
            path.unlink(missing_ok=True)  # damaged: its texts are computed again
            continue
        try:
            shard = load(content)
        except SafetensorError:
            continue
        known.update(zip((row.tobytes() for row in shard["keys"]), shard["vectors"], strict=True))
    return known


def _write_shard(folder: Path, keys: list[bytes], *, vectors: NDArray[np.float32]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32)
    content = save({"keys": rows, "vectors": np.ascontiguousarray(vectors)})
    handle, part = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(part).rename(folder / f"{hashlib.sha256(content).hexdigest()}.safetensors")
