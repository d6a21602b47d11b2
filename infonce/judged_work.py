"""What the evaluations of a run take: their texts are counted, a few of them are encoded, and the search is tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.compare import compare
from infonce.config import Precision, Side
from infonce.encoder import Encoder
from infonce.evaluation import evaluate
from infonce.flops import Encoded
from infonce.halves import restricted
from infonce.peak_memory import peak_memory_bytes
from infonce.qrels import EvalSet
from infonce.vectors import BLOCK_TEXTS, CachedEncoder

Asked = Sequence[tuple[str, Side]]
"""Texts, and the side on which each stands."""

_METRIC: Final = "ndcg@10"
_SECONDS: Final = 2.5
"""In which texts are encoded to see how fast that is."""
_FIRST_TEXTS: Final = 16
_SCORES: Final = 50_000_000
"""Of queries against documents, in the search that is tried: about a second."""
_DRAWN: Final = 4_096
_BYTES_A_VECTOR: Final = 330  # of Python's around each one that is kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """So many texts, of so many floating point operations (as if they were trained on), in so many seconds."""

    num_texts: int = 0
    work: float = 0.0
    seconds: float = 0.0

    def seconds_for(self, work: float) -> float:
        """How long that much would take."""
        return self.seconds * work / self.work if self.work else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """The encoder that is judged, and how; nothing is kept of what it computes."""

    encoder: Encoder
    precision: Precision
    stop: Callable[[], bool]

    def work(self, asked: Asked) -> float:
        """How much it is to encode these."""
        texts = [self.encoder.prompt(side) + text for text, side in asked]
        return Encoded.of(self.encoder).flops(self.encoder.tokenize(texts, stop=self.stop).lengths)

    def rate(self, asked: Asked, *, seconds: float) -> Encoding:
        """Some of these were encoded, evenly spread over their lengths, for about so many seconds."""
        if not asked:
            return Encoding()
        by_length = sorted(asked, key=lambda one: len(one[0]))
        self._encode(_spread(by_length, _FIRST_TEXTS))  # not counted: at first sight shapes are compiled
        first = self._encode(_spread(by_length, _FIRST_TEXTS))
        wanted = min(BLOCK_TEXTS, int(first.num_texts * (seconds / first.seconds - 2)))
        return first if wanted <= _FIRST_TEXTS else self._encode(_spread(by_length, wanted))

    def encode(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """Their unit vectors; (n, D)."""
        return self.encoder.encode(texts, side=side, precision=self.precision, stop=self.stop)

    def _encode(self, asked: Asked) -> Encoding:
        began = perf_counter()
        for wanted in Side:
            texts = [text for text, side in asked if side is wanted]
            self.encode(texts, wanted)
        seconds = perf_counter() - began
        return Encoding(num_texts=len(asked), work=self.work(asked), seconds=seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedTime:
    """What the evaluations of a run take."""

    num_texts: int
    """That are encoded for the base model."""
    encoding: Encoding
    """What was encoded to see how fast that is."""
    search_seconds: float
    baseline_seconds: float
    evaluating_seconds: float
    """Of the tuned model, of which no vector is known."""
    once_seconds: float
    """Of an evaluation while the model is trained."""
    peak_memory_bytes: int
    """Of this process, if all vectors were there."""

    @classmethod
    def of(
        cls,
        judge: Judge,
        judged: Sequence[EvalSet],
        *,
        chosen_by: EvalSet | None,
        source: CachedEncoder,
        ks: Sequence[int],
    ) -> Self:
        """Each set was searched once, and some texts were encoded; `source` knows what is known of the base model."""
        unknown, all_of_them = _gathered(source.missing, judged), _gathered(source.distinct, judged)
        encoding = judge.rate(all_of_them, seconds=_SECONDS)
        dimensions = judge.encoder.dimensions
        searched = [search_seconds(one, dimensions=dimensions, ks=ks, stop=judge.stop) for one in judged]
        during = [] if chosen_by is None else texts_of(chosen_by)
        fingerprint = _fingerprint_seconds(judge.encoder) if judged else 0.0
        around = sum(searched) + fingerprint
        return cls(
            num_texts=len(unknown),
            encoding=encoding,
            search_seconds=sum(searched),
            baseline_seconds=encoding.seconds_for(judge.work(unknown)) + around,
            evaluating_seconds=encoding.seconds_for(judge.work(all_of_them)) + around,
            once_seconds=encoding.seconds_for(judge.work(during)) + max(searched, default=0.0),
            peak_memory_bytes=peak_memory_bytes() + vector_bytes(len(all_of_them), dimensions=dimensions),
        )

    def measuring_seconds(self, judge: Judge, sets: Sequence[EvalSet], *, ks: Sequence[int]) -> float:
        """Of other weights on these sets."""
        asked = [one for judged in sets for one in texts_of(judged)]
        dimensions = judge.encoder.dimensions
        searched = (search_seconds(one, dimensions=dimensions, ks=ks, stop=judge.stop) for one in sets)
        return self.encoding.seconds_for(judge.work(asked)) + sum(searched)

    def measured(self) -> dict[str, Any]:
        """What the numbers stand on; plain JSON values."""
        return {
            "encoded_texts": self.encoding.num_texts,
            "encoding_seconds": self.encoding.seconds,
            "search_seconds": self.search_seconds,
        }


def texts_of(judged: EvalSet) -> list[tuple[str, Side]]:
    """What an evaluation on that set asks for."""
    documents = [(text, Side.DOCUMENT) for text in judged.corpus.values()]
    return documents + [(text, Side.QUERY) for name, text in judged.queries.items() if name in judged.qrels]


def _gathered(keyed: Callable[..., dict[bytes, str]], judged: Sequence[EvalSet]) -> list[tuple[str, Side]]:
    """The texts of all these sets that `keyed` names, each key once."""
    found: dict[bytes, tuple[str, Side]] = {}
    for one in judged:
        for wanted in (Side.DOCUMENT, Side.QUERY):
            texts = [text for text, side in texts_of(one) if side is wanted]
            named = keyed(texts, side=wanted)
            found = {key: (text, wanted) for key, text in named.items()} | found
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A `TextEncoder` that knows nothing of the texts."""

    dimensions: int

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        """As many unit vectors as there are texts, drawn at random; (n, D)."""
        drawn = np.random.default_rng([*Side].index(side)).standard_normal((_DRAWN, self.dimensions), dtype=np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return np.resize(drawn, (len(texts), self.dimensions))


def search_seconds(judged: EvalSet, *, dimensions: int, ks: Sequence[int], stop: Callable[[], bool]) -> float:
    """How long one evaluation searches and compares when it has its vectors."""
    asked = [query for query in judged.queries if query in judged.qrels]
    count = max(1, min(len(asked), _SCORES // max(1, len(judged.corpus))))
    tried = set(islice(asked, count))
    began = perf_counter()
    found = evaluate(_Drawn(dimensions), restricted(judged, tried), ks=ks, stop=stop)
    compare(found.per_query, found.per_query, metric=_METRIC, seed=0)
    return (perf_counter() - began) * len(asked) / count


def vector_bytes(num_texts: int, *, dimensions: int) -> int:
    """What the vectors of so many texts take that are kept beside those that are searched."""
    return num_texts * (4 * dimensions + _BYTES_A_VECTOR)


def _spread(items: Asked, count: int) -> Asked:
    """So many of the items, evenly spread, or all there are."""
    step = max(1.0, len(items) / count)
    return [items[int(step * (number + 0.5))] for number in range(min(count, len(items)))]


def _fingerprint_seconds(encoder: Encoder) -> float:
    began = perf_counter()
    encoder.fingerprint()
    return perf_counter() - began
