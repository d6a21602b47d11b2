"""An index opened and asked in a process that has done nothing else; loads FAISS alone."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from infonce.bench.neighbours import Found, Vectors
from infonce.index import VectorIndex
from infonce.peak_memory import private_bytes, resident_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What it took."""

    seconds: float
    """Until it could be asked, checksums included."""
    resident_bytes: int
    """That the process holds more after all queries, mapped pages of the index's files included."""
    private_bytes: int | None
    """Of these, what no file stands behind; None where the system does not tell."""
    found: Found


def open_and_ask(folder: Path, queries: Vectors, *, k: int) -> Opened:
    """The index of that folder found the places of the `k` nearest of each query, asked one after the other."""
    first = VectorIndex.build(np.eye(2, dtype=np.float32), ["0", "1"])
    first.search(first.vectors, 1)  # what the library itself holds is not the index's
    resident, private = resident_bytes(), private_bytes("self")
    began = perf_counter()
    index = VectorIndex.load(folder)
    seconds = perf_counter() - began
    found = [index.rows(query[None], k)[0].tolist() for query in queries]
    now = private_bytes("self")
    return Opened(
        seconds=seconds,
        resident_bytes=resident_bytes() - resident,
        private_bytes=None if now is None or private is None else now - private,
        found=found,
    )
