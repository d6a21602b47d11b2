"""A file of pairs with mined negatives: any reader of pairs reads it, and it says where it comes from.

A line has `anchor`, `positive`, `negatives`, and beside them `positive_score` and `negative_scores`, in the order of
the negatives. The first line has `mining` too: the parent file, the model and the settings. A reader that knows none
of the three ignores and counts them.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from infonce.config import EncoderConfig, Precision
from infonce.dialects import FieldMapping
from infonce.digest import sha256_of
from infonce.documents import read_documents
from infonce.encoder import Encoder
from infonce.errors import ConfigError, InfonceError
from infonce.formats import DEFAULT_LIMITS, FileLimits, read_pairs
from infonce.mining import MinedPair, Mining, mine
from infonce.mining_config import MiningConfig
from infonce.vectors import CachedEncoder

SCORE_DIGITS: Final = 6
"""About what a float32 near 1 holds."""


class Watch(Protocol):
    """Who looks on."""

    def phase(self, name: str) -> None:
        """Take note of what begins."""

    def embedded(self, done: int, total: int) -> None:
        """Take note that so many texts are embedded."""

    def searched(self, done: int, total: int) -> None:
        """Take note that so many queries were searched."""

    def stop_requested(self) -> bool:
        """Whether the work should end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MineOrder:
    """What to mine, with what, and where to."""

    pairs: Path
    model: Path
    model_name: str
    output: Path
    vectors: Path
    """Where embeddings are kept, by the hash of what made them."""
    corpus: Path | None = None
    """Documents to search; None searches the positives and negatives of the pairs."""
    mapping: FieldMapping | None = None
    """Which fields hold the pairs, where the file itself does not show it."""
    config: MiningConfig = field(default_factory=MiningConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    precision: Precision = Precision.FLOAT32


@dataclass(frozen=True, kw_only=True, slots=True)
class MinedFile:
    """What was written, and from what."""

    sha256: str
    origin: Mapping[str, Any]
    mining: Mining

    def to_dict(self) -> dict[str, Any]:
        """All but the texts, as plain JSON values."""
        return {"sha256": self.sha256, "pairs": len(self.mining.pairs), **self.origin, **self.mining.to_dict()}


def mine_file(order: MineOrder, watch: Watch) -> MinedFile:
    """The new file is there: the pairs of the old one, in their order, with negatives.

    Raises:
        InfonceError: nothing was found that could be a negative; no file is written.
        ConfigError: the output is there already, or its folder is not.
        DatasetError: pairs or corpus are broken.
        Stopped: the watch asked to stop; what was embedded is kept.
    """
    _check_output(order.output)
    watch.phase("reading")
    pairs = list(read_pairs(order.pairs, mapping=order.mapping))
    corpus = None if order.corpus is None else read_documents(order.corpus)
    watch.phase("loading")
    encoder = Encoder.load(order.model, order.encoder)
    stop = watch.stop_requested
    source = CachedEncoder.of(encoder, order.vectors, precision=order.precision, stop=stop, on_block=watch.embedded)
    watch.phase("mining")
    mining = mine(source, pairs, corpus=corpus, config=order.config, stop=stop, on_block=watch.searched)
    if not mining.counts.mined:
        raise InfonceError(_nothing(mining, order.config))
    origin = {
        "parent": _named(order.pairs),
        "corpus": None if order.corpus is None else _named(order.corpus),
        "model": {"name": order.model_name, "fingerprint": encoder.fingerprint(), "precision": order.precision.value},
        "config": order.config.to_dict(),
    }
    write_mined(order.output, mining, origin=origin)
    return MinedFile(sha256=sha256_of(order.output), origin=origin, mining=mining)


def _check_output(path: Path) -> None:
    """Raise `ConfigError` unless a new file can be there: better now than after an hour."""
    if path.exists():
        raise ConfigError(f"{path} is there already and nothing is overwritten; name a new file", param="output")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} of the output is not there; make it first", param="output")


def _named(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": sha256_of(path)}


def _nothing(mining: Mining, config: MiningConfig) -> str:
    counts, (first, last) = mining.counts, config.range
    if not counts.candidates:
        searched = f"{counts.documents} documents were searched and none stands at the ranks {first + 1} to {last}"
        return f"nothing was mined: {searched}; lower the beginning of range or bring a larger corpus"
    remedy = "loosen the margins or max_score, or widen range"
    return f"nothing was mined: none of {counts.candidates} candidates passed the filter; {remedy}"


def write_mined(path: Path, mining: Mining, *, origin: Mapping[str, Any], limits: FileLimits = DEFAULT_LIMITS) -> None:
    """The file is there, whole; equal pairs, scores and origin give equal bytes.

    Raises:
        ConfigError: a line would be longer than readers of pairs take.
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            for number, mined in enumerate(mining.pairs, start=1):
                values = _values(mined) if number > 1 else _values(mined) | {"mining": dict(origin)}
                line = json.dumps(values, ensure_ascii=False).encode() + b"\n"
                if len(line) > limits.max_line_bytes:
                    message = f"line {number} would have {len(line)} bytes; the limit is {limits.max_line_bytes}"
                    raise ConfigError(f"{message}; lower per_query or shorten the documents", param="per_query")
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _values(mined: MinedPair) -> dict[str, Any]:
    pair = mined.pair
    return {
        "anchor": pair.anchor,
        "positive": pair.positive,
        "negatives": list(pair.negatives),
        "positive_score": round(mined.positive_score, SCORE_DIGITS),
        "negative_scores": [round(score, SCORE_DIGITS) for score in mined.negative_scores],
    }
