"""The models of both sides on the same queries, and how sure the difference is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infonce.bench.report import Column, Row
from infonce.busy import Busy
from infonce.compare import compare
from infonce.config import EncoderConfig, Side
from infonce.encoder import Encoder
from infonce.evaluation import evaluate
from infonce.qrels import EvalSet

METRIC: Final = "ndcg@10"
COLUMNS: Final = (
    Column(heading="ours", key="ours"),
    Column(heading="theirs", key="theirs"),
    Column(heading="queries", key="num_queries", form=","),
    Column(heading="seeds", key="num_seeds", form="d"),
    Column(heading=f"{METRIC} theirs", key="mean_theirs", form=".4f"),
    Column(heading=f"{METRIC} ours", key="mean_ours", form=".4f"),
    Column(heading="difference", key="delta", form="+.4f"),
    Column(heading="95 % from", key="low", form="+.4f"),
    Column(heading="to", key="high", form="+.4f"),
)
_BLOCK_TEXTS: Final = 512

PerQuery = dict[str, dict[str, float]]
Contest = tuple[str, str, Mapping[int, tuple[Path, Path]]]
"""Names of ours and theirs, and by seed the folders of their models."""


def judge(contests: Sequence[Contest], judged: EvalSet, *, max_length: int, say: Busy) -> list[Row]:
    """A row for each contest: ours minus theirs, by the paired bootstrap over queries.

    With several seeds a query's value is its mean over them, so that the interval counts queries and not seeds.
    """
    known: dict[Path, PerQuery] = {}

    def of(folder: Path, name: str) -> PerQuery:
        if folder not in known:
            encoder = Encoder.load(folder, EncoderConfig(max_seq_length=max_length))
            found = evaluate(_Told(encoder, f"Judging {name}", say=say), judged, ks=(10,))
            say.note(f"Judged {name}: {METRIC} {found.metrics[METRIC]:.4f}")
            known[folder] = found.per_query
        return known[folder]

    rows: list[Row] = []
    for ours, theirs, folders in contests:
        tuned = _mean_of([of(folder, ours) for folder, _ in folders.values()])
        base = _mean_of([of(folder, theirs) for _, folder in folders.values()])
        found = compare(base, tuned, metric=METRIC).to_dict()
        row = {"kind": "judgement", "ours": ours, "theirs": theirs, "num_seeds": len(folders), **found}
        rows.append(row | {"mean_theirs": found["mean_base"], "mean_ours": found["mean_tuned"]})
    return rows


def _mean_of(seeds: Sequence[PerQuery]) -> PerQuery:
    return {query: {METRIC: fmean(values[query][METRIC] for values in seeds)} for query in seeds[0]}


class _Told:
    """An encoder that tells how far it is."""

    def __init__(self, encoder: Encoder, what: str, *, say: Busy) -> None:
        self._encoder = encoder
        self._what = what
        self._say = say

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """The unit vectors of `texts`, in float32."""
        parts = [np.empty((0, self._encoder.dimensions), dtype=np.float32)]
        for start in range(0, len(texts), _BLOCK_TEXTS):
            self._say(f"{self._what}, {start:,} of {len(texts):,} texts")
            parts.append(self._encoder.encode(texts[start : start + _BLOCK_TEXTS], side=side))
        return np.concatenate(parts)
