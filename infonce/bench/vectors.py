"""What the benchmarks of searching search: a file's vectors, a file's texts encoded, or synthetic ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infonce.bench.inputs import model_folder, some_texts
from infonce.bench.neighbours import Vectors
from infonce.busy import Busy
from infonce.encoder import Encoder
from infonce.errors import ConfigError

_BLOCK_TEXTS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the user asked for."""

    file: Path | None
    model: str
    count: int
    dimensions: int
    num_queries: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """What is searched for in what; unit vectors."""

    vectors: Vectors
    queries: Vectors
    origin: str
    texts: Sequence[str] = ()
    """Of the vectors, where these were encoded here."""


def clustered(count: int, dimensions: int, *, seed: int) -> Vectors:
    """Unit vectors around √count centres: like embeddings they have near neighbours, unlike Gaussian noise."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((max(1, int(count**0.5)), dimensions), dtype=np.float32)
    vectors = draw.standard_normal((count, dimensions), dtype=np.float32)
    vectors += centres[draw.integers(0, len(centres), count)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def vectors_to_search(wanted: Wanted, *, say: Busy) -> Searched:
    """At most so many unit vectors, and others of the same kind that ask.

    Raises:
        ConfigError: the file has too few vectors, or none.
    """
    total, texts = wanted.count + wanted.num_queries, list[str]()
    if wanted.file is None:
        say("Drawing vectors")
        found, origin = clustered(total, wanted.dimensions, seed=wanted.seed), "synthetic, in clusters"
    elif wanted.file.suffix == ".npy":
        found, origin = _read(wanted.file), wanted.file.name
        found = found[np.random.default_rng(wanted.seed).permutation(len(found))[:total]]
    else:
        texts = some_texts(wanted.file, total, seed=wanted.seed)
        found, origin = _encoded(texts, wanted.model, say=say), f"{wanted.file.name}, encoded"
    if len(found) < 2 * wanted.num_queries:
        message = f"{origin} gives {len(found)} vectors; {2 * wanted.num_queries} are needed, half of them to ask"
        raise ConfigError(f"{message}: bring more or lower --queries", param="file")
    return Searched(
        vectors=np.ascontiguousarray(found[wanted.num_queries :]),
        queries=found[: wanted.num_queries],
        origin=origin,
        texts=texts[wanted.num_queries :],
    )


def _read(path: Path) -> Vectors:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(
            f"{path} is no .npy file of numbers ({error}); write it by numpy.save", param="file"
        ) from None
    is_matrix = isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype.kind in "fiu" and found.size > 0
    if not is_matrix or not np.isfinite(found).all():
        message = f"{path} holds {found.dtype} of shape {found.shape}"
        raise ConfigError(f"{message}; a matrix of finite numbers is needed, a vector a row", param="file")
    unit = found.astype(np.float32)
    lengths = np.linalg.norm(unit, axis=1, keepdims=True)
    if not lengths.all():
        raise ConfigError(f"{path} has a vector of zeros, which has no direction; leave it out", param="file")
    vectors: Vectors = unit / lengths
    return vectors


def _encoded(texts: Sequence[str], model: str, *, say: Busy) -> Vectors:
    encoder = Encoder.load(model_folder(model))
    parts = []
    for start in range(0, len(texts), _BLOCK_TEXTS):
        say(f"Encoding, {start:,} of {len(texts):,} texts")
        parts.append(encoder.encode(texts[start : start + _BLOCK_TEXTS]))
    return np.concatenate(parts)
