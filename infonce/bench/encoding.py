"""`infonce bench encode`: documents a second of `Encoder.encode` in every precision and of sentence-transformers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infonce.bench.report import OURS, THEIRS, Bars, Column, Numbers, Report, Row
from infonce.busy import Busy
from infonce.config import EncoderConfig, Precision
from infonce.encoder import Encoder
from infonce.int8 import has_int8

PRECISIONS: Final = tuple(precision for precision in Precision if precision is not Precision.AUTO)

Vectors = NDArray[np.float32]
_PEER: Final = f"{THEIRS}, float32"
_COLUMNS: Final = (
    Column(heading="encoding", key="name"),
    Column(heading="docs/s", key="texts_per_second", form=".1f"),
    Column(heading="× theirs", key="times_theirs", form=".2f"),
    Column(heading="cosine, mean", key="cosine_mean", form=".6f"),
    Column(heading="cosine, least", key="cosine_min", form=".6f"),
    Column(heading="rounds", key="rounds", form="d"),
)
_BARS: Final = (
    Bars(title="documents a second", key="texts_per_second", form=".1f"),
    Bars(title="least cosine to theirs", key="cosine_min", form=".5f"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is encoded by what."""

    model: Path
    texts: Sequence[str]
    max_length: int | None
    rounds: int


def measure(setting: Setting, *, say: Busy) -> Iterator[Report]:
    """What is known after each round; all take turns in this process, after one round that does not count."""
    say("Loading both")
    encoder = Encoder.load(setting.model, EncoderConfig(max_seq_length=setting.max_length))
    ways: dict[str, Callable[[Sequence[str]], Vectors]] = {
        f"{OURS}, {precision.value}": partial(encoder.encode, precision=precision)
        for precision in PRECISIONS
        if precision is not Precision.INT8 or has_int8(encoder.device)
    }
    ways[_PEER] = _peer(setting.model, max_length=encoder.max_seq_length)
    for name, encode in ways.items():
        say(f"Warming up, {name}")
        encode(setting.texts[:64])
    vectors: dict[str, Vectors] = {}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(setting.rounds):
        for name, encode in list(ways.items())[:: -1 if number % 2 else 1]:
            where = f"Round {number + 1} of {setting.rounds}, {name}"
            say(where)
            began = perf_counter()
            vectors[name] = encode(setting.texts)
            speeds[name].append(len(setting.texts) / (perf_counter() - began))
            say.note(f"{where}: {speeds[name][-1]:.1f} documents/s")
        yield _report(setting, speeds, vectors=vectors)


def _peer(model: Path, *, max_length: int) -> Callable[[Sequence[str]], Vectors]:
    """Their `encode` with its own defaults: float32, 32 texts at once, sorted by their characters."""
    from sentence_transformers import SentenceTransformer

    peer: Any = SentenceTransformer(str(model))
    peer.max_seq_length = max_length

    def encode(texts: Sequence[str]) -> Vectors:
        found = np.asarray(peer.encode(list(texts), show_progress_bar=False), dtype=np.float32)
        unit: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    return encode


def _report(setting: Setting, speeds: dict[str, list[float]], *, vectors: dict[str, Vectors]) -> Report:
    rows: list[Row] = []
    for name, found in speeds.items():
        cosines = (vectors[name] * vectors[_PEER]).sum(axis=1)
        is_peer = name == _PEER
        rows.append(
            {
                "kind": "encode",
                "side": THEIRS if is_peer else OURS,
                "name": name,
                "rounds": len(found),
                "texts_per_second": median(found),
                "texts_per_second_low": min(found),
                "texts_per_second_high": max(found),
                "times_theirs": median(found) / median(speeds[_PEER]),
                "cosine_mean": None if is_peer else float(cosines.mean()),
                "cosine_min": None if is_peer else float(cosines.min()),
            }
        )
    characters = sum(map(len, setting.texts)) / len(setting.texts)
    return Report(
        name="encode",
        tables=[Numbers(title="", columns=_COLUMNS, rows=rows)],
        bars=_BARS,
        setting={
            "model": setting.model.name,
            "texts": len(setting.texts),
            "characters_a_text": round(characters),
            "rounds": setting.rounds,
        },
        notes=["Medians of rounds in one process, taken in turn; tokenising is included, loading is not."],
    )
