"""What a gateway stores a second: documents with their vectors, in every form, and texts that are embedded."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, Final

from infonce.bench.report import OURS, Column, Row
from infonce.bench.stored import JSON, NDJSON, Collection, Documents, array
from infonce.encoder import Encoder

WRITING_COLUMNS: Final = (
    Column(heading="written", key="name"),
    Column(heading="documents/s", key="per_second", form=",.1f"),
    Column(heading="÷ encoding", key="share", form=".2f"),
    Column(heading="documents", key="count", form=",d"),
    Column(heading="rounds", key="rounds", form="d"),
)
_TEXTS_A_CALL: Final = 256
"""As many as are embedded before the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """How vectors are sent."""

    name: str
    as_lists: bool
    media_type: str
    callers: int = 1


_FORMS: Final = (
    _Form(name="vectors, base64, arrays", as_lists=False, media_type=JSON),
    _Form(name="vectors, base64, arrays, 2 callers", as_lists=False, media_type=JSON, callers=2),
    _Form(name="vectors, base64, a stream", as_lists=False, media_type=NDJSON),
    _Form(name="vectors, JSON lists, arrays", as_lists=True, media_type=JSON),
    _Form(name="vectors, JSON lists, a stream", as_lists=True, media_type=NDJSON),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What is written each round."""

    documents: Documents
    count: int
    """Of these, how many."""
    texts: Sequence[str]
    """Distinct ones, to be embedded."""


class Written:
    """The rates of all rounds; every way writes into an empty collection, which is dropped afterwards."""

    def __init__(self, source: Source, encoder: Encoder) -> None:
        self._source, self._encoder = source, encoder
        self._rates: dict[str, list[float]] = {}
        self._shares: dict[str, list[float]] = {}
        self._counts: dict[str, int] = {}

    def round(self, url: str, model: str, *, backwards: bool) -> None:
        """Each way wrote once to a gateway whose jobs wait, so that nothing else takes the cores."""
        turns = [partial(self._vectors, url, form) for form in _FORMS]
        turns.append(partial(self._few_texts, url, model))
        for turn in turns[:: -1 if backwards else 1]:
            turn()

    def add_job(self, collection: Collection, *, number: int) -> None:
        """All texts came in one stream, and a worker embedded them."""
        texts = [f"{number}: {text}" for text in self._source.texts]  # what a worker knows it does not embed again
        bulk = self._bulk(texts)
        body = b"\n".join(_lines(texts, prefix=f"r{number}-"))
        load = collection.write([body], media_type=NDJSON)
        job = json.loads(load.answers[0].body)["job"]
        seconds = load.seconds + (0.0 if job is None else collection.wait_until_ended(job))
        self._add("texts, a stream, by a job", len(texts), rate=len(texts) / seconds, bulk=bulk)

    def add_fill(self, count: int, *, seconds: float) -> None:
        """A whole collection of so many documents was filled once."""
        self._add("vectors, base64, the whole collection", count, rate=count / seconds, bulk=None)

    def rows(self) -> list[Row]:
        """A row a way, medians of its rounds."""
        rows: list[Row] = []
        for name, rates in self._rates.items():
            row: dict[str, Any] = {"kind": "writing", "side": OURS, "name": name, "per_second": median(rates)}
            if name in self._shares:
                row["share"] = median(self._shares[name])
            rows.append(row | {"count": self._counts[name], "rounds": len(rates)})
        return rows

    def _vectors(self, url: str, form: _Form) -> None:
        documents, count = self._source.documents, self._source.count
        size = count if form.media_type == NDJSON else documents.at_once
        parts = [range(start, min(start + size, count)) for start in range(0, count, size)]
        lines = [documents.lines(part, as_lists=form.as_lists) for part in parts]
        bodies = [b"\n".join(some) if form.media_type == NDJSON else array(some) for some in lines]
        collection = Collection(url, "scratch")
        collection.make(model=None, dimension=documents.vectors.shape[1])
        load = collection.write(bodies, media_type=form.media_type, callers=form.callers)
        self._add(form.name, count, rate=count / load.seconds, bulk=None)
        collection.drop()

    def _few_texts(self, url: str, model: str) -> None:
        """As many a call as are embedded before it is answered."""
        texts = self._source.texts
        bulk = self._bulk(texts)
        starts = range(0, len(texts), _TEXTS_A_CALL)
        bodies = [array(_lines(texts[at : at + _TEXTS_A_CALL], prefix=f"c{at}-")) for at in starts]
        collection = Collection(url, "scratch")
        collection.make(model=model, dimension=None)
        rate = len(texts) / collection.write(bodies).seconds
        self._add(f"texts, {_TEXTS_A_CALL} a call", len(texts), rate=rate, bulk=bulk)
        collection.drop()

    def _bulk(self, texts: Sequence[str]) -> float:
        """Texts a second of the library alone, in this process while the gateway rests."""
        began = perf_counter()
        self._encoder.encode(texts)
        return len(texts) / (perf_counter() - began)

    def _add(self, name: str, count: int, *, rate: float, bulk: float | None) -> None:
        self._rates.setdefault(name, []).append(rate)
        self._counts[name] = count
        if bulk is not None:
            self._shares.setdefault(name, []).append(rate / bulk)


def _lines(texts: Sequence[str], *, prefix: str) -> Iterator[bytes]:
    return (json.dumps({"id": f"{prefix}{place}", "text": text}).encode() for place, text in enumerate(texts))
