"""The documents of the state machine's dictionary, and what a query has to find among them, by brute force."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.faults.collection_world import TEXTS, Ground, Vector

BULK = 257
"""Texts of a call, one more than are embedded before it is answered."""
IDS = st.integers(0, 7).map(lambda number: f"d{number}")
LANGS = st.sampled_from(["en", "de"])
UNITS = np.eye(5, 32, dtype=np.float32)
"""Vectors of clients; of length 1 to the last bit, so that they are stored as they are sent."""
_NEAR = 1e-4  # float32, padded differently in each batch


@dataclass(frozen=True, kw_only=True)
class Written:
    """A document as the last write left it."""

    text: str | None
    lang: str
    brought: int | None = None
    """Which of `UNITS` the client gave for it."""

    @property
    def metadata(self) -> dict[str, Any]:
        return {"lang": self.lang}

    @property
    def stored(self) -> tuple[str | None, dict[str, Any], bytes | None]:
        return self.text, self.metadata, None if self.brought is None else UNITS[self.brought].astype("<f4").tobytes()

    def body(self, id: str) -> dict[str, Any]:
        vector = None if self.brought is None else UNITS[self.brought].tolist()
        return {"id": id, "text": self.text, "metadata": self.metadata, "vector": vector}

    def vector(self, ground: Ground, model: str) -> Vector:
        if self.brought is not None:
            return UNITS[self.brought]
        assert self.text is not None
        return ground.of_texts[model][self.text]


_BROUGHT = st.integers(0, len(UNITS) - 1)
_TEXT = st.sampled_from(TEXTS)
WRITTEN = st.builds(Written, text=_TEXT, lang=LANGS, brought=st.none() | st.none() | _BROUGHT) | st.builds(
    Written, text=st.none() | _TEXT, lang=LANGS, brought=_BROUGHT
)


def many(shift: int, *, lang: str, brought: int | None = None) -> dict[str, Written]:
    """More documents than are embedded at once, by id; some of them may be there already."""
    texts = {f"d{n}": TEXTS[(n + shift) % len(TEXTS)] for n in range(BULK)}
    return {id: Written(text=text, lang=lang, brought=brought) for id, text in texts.items()}


def equal(lang: str) -> dict[str, Any]:
    """A filter."""
    return {"type": "eq", "key": "lang", "value": lang}


def scores_of(documents: Mapping[str, Written], query: Vector, *, ground: Ground, model: str) -> dict[str, float]:
    """Of every document by that model."""
    return {id: float(one.vector(ground, model) @ query) for id, one in documents.items()}


def check_hits(
    hits: Sequence[Mapping[str, Any]], documents: Mapping[str, Written], *, scores: Mapping[str, float] | None = None
) -> set[str]:
    """The ids of the hits, each of which is a document as it is now, once, by its score; best first."""
    ids = [hit["id"] for hit in hits]
    assert len(ids) == len(set(ids)) and set(ids) <= documents.keys()
    for hit in hits:
        one = documents[hit["id"]]
        assert (hit["text"], hit["metadata"]) == (one.text, one.metadata), hit
        assert scores is None or abs(hit["score"] - scores[hit["id"]]) < _NEAR, (hit, scores[hit["id"]])
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    return set(ids)


def check_best(hits: Sequence[Mapping[str, Any]], scores: Mapping[str, float], *, k: int) -> None:
    """They have the scores of the best of these."""
    assert {hit["id"] for hit in hits} <= scores.keys()
    expected = sorted(scores.values(), reverse=True)[:k]
    np.testing.assert_allclose([hit["score"] for hit in hits], expected, atol=_NEAR)


def shares_a_word(one: Written, query: str) -> bool:
    """Whether BM25 can find it."""
    return bool(_words(one.text or "") & _words(query))


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))
