"""The encoder of a job, its vectors kept between jobs; and the threads that it computes with."""

from collections.abc import Callable
from pathlib import Path

import faiss
import torch

from infonce.config import Precision
from infonce.encoder import Encoder
from infonce.vectors import CachedEncoder


def use_threads(num_threads: int) -> None:
    """Torch and faiss compute with that many threads; each brings an OpenMP of its own."""
    torch.set_num_threads(num_threads)
    faiss.omp_set_num_threads(num_threads)


def cached(
    encoder: Encoder,
    root: Path,
    *,
    precision: Precision,
    stop: Callable[[], bool],
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> CachedEncoder:
    """The encoder, asked only for texts that no job has embedded with the same weights and precision before."""
    return CachedEncoder(
        root / f"{encoder.fingerprint()}-{precision.value}",
        lambda texts, side: encoder.encode(texts, side=side, precision=precision, stop=stop),
        prompt=encoder.prompt,
        on_block=on_block,
    )
