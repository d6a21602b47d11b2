"""Hard negatives: as slow loops find them, never a known positive, and the same in any order."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infonce.config import Side
from infonce.errors import ConfigError, Stopped
from infonce.mining import mine
from infonce.mining_config import MiningConfig
from infonce.pairs import Pair
from tests.infonce.slow_mining import Lookup, same, slowly_mined
from tests.infonce.test_groups import intents

WIDE: Mapping[str, Any] = {"range": (1, 30), "per_query": 4, "relative_margin": None}
SETTINGS: list[Mapping[str, Any]] = [
    {},
    {"relative_margin": 0.05},
    {"relative_margin": 0.5, "max_score": 0.3},
    {"absolute_margin": 0.2},
    {"absolute_margin": 0.1, "relative_margin": 0.2, "range": (0, 200)},
    {"max_score": 0.1, "per_query": 12},
]


def unit(count: int, *, seed: int) -> NDArray[np.float32]:
    """Vectors of 6 numbers: some of many are alike."""
    rows = np.random.default_rng(seed).normal(size=(count, 6)) + 0.4
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def world(seed: int = 0) -> tuple[Lookup, list[Pair], list[str]]:
    """Queries with several positives and given negatives, and a corpus in which texts come in two spellings."""
    draw = random.Random(seed)
    corpus = [f"word{n} text{n % 7}" for n in range(80)]
    corpus += [f"  WORD{n}\ttext{n % 7}" for n in range(0, 80, 9)] + ["Caf\u00e9 word", "cafe\u0301 word"]
    anchors = [f"query {n} word{n}" for n in range(12)] + ["QUERY 3 word3"]
    pairs = [Pair(draw.choice(anchors), draw.choice(corpus), tuple(draw.sample(corpus, n % 3))) for n in range(30)]
    corpus.append(pairs[0].anchor)
    documents = dict(zip(corpus, unit(len(corpus), seed=seed), strict=True))
    documents["word11 text4"] = (documents["word4 text4"] * 0.9999 + documents["word5 text5"] * 0.0001).astype(
        np.float32
    )
    queries = dict(zip(anchors, unit(len(anchors), seed=seed + 1), strict=True))
    queries["QUERY 3 word3"] = queries["query 3 word3"]
    return Lookup(queries, documents), pairs, corpus


def texts(mined: Any) -> list[tuple[str, ...]]:
    return [found.pair.negatives for found in mined.pairs]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_it_finds_what_slow_loops_find(setting: Mapping[str, Any], seed: int) -> None:
    lookup, pairs, corpus = world(seed)
    config = MiningConfig(**{**WIDE, **setting})
    found = mine(lookup, pairs, corpus=corpus, config=config)
    assert texts(found) == slowly_mined(lookup, pairs, corpus=corpus, config=config)
    assert [(one.pair.anchor, one.pair.positive) for one in found.pairs] == [(p.anchor, p.positive) for p in pairs]


def test_every_score_is_the_similarity_to_the_anchor() -> None:
    lookup, pairs, corpus = world()
    for found in mine(lookup, pairs, corpus=corpus, config=MiningConfig(**WIDE)).pairs:
        asked = lookup.queries[found.pair.anchor]
        expected = [asked @ lookup.documents[text] for text in found.pair.negatives]
        assert found.negative_scores == pytest.approx(expected, abs=1e-6)
        assert found.positive_score == pytest.approx(asked @ lookup.documents[found.pair.positive], abs=1e-6)
        mined = found.negative_scores[found.num_given :]
        assert list(mined) == sorted(mined, reverse=True)


@pytest.mark.parametrize("retriever", ["dense", "bm25", "both"])
@pytest.mark.parametrize("sampling", ["top", "random"])
def test_never_a_known_positive_nor_a_text_twice(retriever: str, sampling: str) -> None:
    lookup, pairs, corpus = world()
    config = MiningConfig(**{**WIDE, "range": (0, 90), "per_query": 90}, retriever=retriever, sampling=sampling)
    for found in mine(lookup, pairs, corpus=corpus, config=config).pairs:
        own = {other.positive for other in pairs if same(other.anchor, found.pair.anchor)}
        mined = found.pair.negatives[found.num_given :]
        assert mined and not any(same(text, other) for text in found.pair.negatives for other in own)
        assert not any(same(text, found.pair.anchor) for text in mined)
        assert not any(same(one, other) for place, one in enumerate(mined) for other in found.pair.negatives[:place])


@pytest.mark.parametrize("retriever", ["dense", "bm25", "both"])
@pytest.mark.parametrize("sampling", ["top", "random"])
def test_no_order_changes_what_is_mined(retriever: str, sampling: str) -> None:
    lookup, pairs, corpus = world()
    config = MiningConfig(**WIDE, retriever=retriever, sampling=sampling)
    order = random.Random(1).sample(range(len(pairs)), len(pairs))
    straight = texts(mine(lookup, pairs, corpus=corpus, config=config))
    turned = texts(mine(lookup, [pairs[n] for n in order], corpus=corpus[::-1], config=config))
    assert turned == [straight[n] for n in order]


def test_a_random_draw_repeats_with_its_seed_and_more_documents_leave_it_what_it_was() -> None:
    lookup, pairs, corpus = world()
    first, again, other = (
        texts(mine(lookup, pairs, corpus=corpus, config=MiningConfig(**WIDE, sampling="random", seed=seed)))
        for seed in (5, 5, 6)
    )
    assert first == again and first != other
    window = {**WIDE, "range": (0, 200), "sampling": "random", "seed": 5}
    few, many = (
        texts(mine(lookup, pairs, corpus=part, config=MiningConfig(**window))) for part in (corpus[:40], corpus)
    )
    for one, more in zip(few, many, strict=True):
        assert set(more) & set(corpus[:40]) <= set(one)


def test_bm25_finds_shared_words_alone_and_both_finds_what_either_finds() -> None:
    lookup, pairs, corpus = world()
    window = {**WIDE, "range": (0, 30), "per_query": 30}
    dense, words, both = (
        [found.pair.negatives[found.num_given :] for found in mine(lookup, pairs, corpus=corpus, config=config).pairs]
        for config in (MiningConfig(**window, retriever=name) for name in ("dense", "bm25", "both"))
    )
    for one, other, found in zip(words, dense, both, strict=True):
        assert set(found) <= {*one, *other} and len(found) == min(30, len({*one, *other}))
        assert one and all("word" in text.casefold() for text in one)


def test_what_one_retriever_ranks_before_the_window_the_other_does_not_bring_back() -> None:
    lookup, pairs, corpus = world()
    first = {**WIDE, "range": (0, 5), "per_query": 5}
    before = texts(mine(lookup, pairs, corpus=corpus, config=MiningConfig(**first)))
    both = MiningConfig(**{**WIDE, "range": (5, 60), "per_query": 40}, retriever="both")
    for early, found in zip(before, mine(lookup, pairs, corpus=corpus, config=both).pairs, strict=True):
        mined = found.pair.negatives[found.num_given :]
        assert mined and not set(mined) & set(early)


class Counting(Lookup):
    """Remembers which documents it was asked for."""

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        ASKED.extend(texts if side is Side.DOCUMENT else ())
        return super().encode(texts, side=side)


ASKED: list[str] = []


def test_bm25_embeds_no_document_that_it_does_not_look_at() -> None:
    lookup, pairs, corpus = world()
    ASKED.clear()
    config = MiningConfig(**{**WIDE, "range": (0, 1), "per_query": 1}, retriever="bm25")
    found = mine(Counting(lookup.queries, lookup.documents), pairs, corpus=corpus, config=config)
    assert found.counts.candidates <= found.counts.queries
    assert len(ASKED) == len(set(ASKED)) < len(corpus) - 10


def test_a_given_negative_that_is_a_positive_is_taken_away_and_counted() -> None:
    lookup, _, corpus = world()
    anchor = next(iter(lookup.queries))
    pairs = [Pair(anchor, corpus[0], (corpus[1], corpus[2])), Pair(anchor, corpus[1])]
    found = mine(lookup, pairs, corpus=corpus, config=MiningConfig(**WIDE))
    assert found.counts.conflicting_negatives == 1
    assert [one.num_given for one in found.pairs] == [1, 0] and found.pairs[0].pair.negatives[0] == corpus[2]


@pytest.mark.parametrize("retriever", ["dense", "bm25"])
def test_what_a_chain_of_pairs_joins_is_not_mined(retriever: str) -> None:
    pairs = intents(20, 10)
    vectors = dict(zip((pair.anchor for pair in pairs), unit(200, seed=1), strict=True))
    config = MiningConfig(retriever=retriever, per_query=5, range=(0, 100), relative_margin=None)
    mined = mine(Lookup(queries=vectors, documents=vectors), pairs, config=config).pairs
    assert sum(len(one.pair.negatives) for one in mined) >= 500
    for one in mined:
        group = one.pair.anchor.rpartition(" says ")[0]
        assert not any(text.startswith(f"{group} says ") for text in one.pair.negatives)


def test_the_counts_add_up() -> None:
    lookup, pairs, corpus = world()
    config = MiningConfig(range=(0, 60), per_query=60, absolute_margin=0.1, max_score=0.8)
    counts = mine(lookup, pairs, corpus=corpus, config=config).counts
    dropped = counts.dropped
    left_out = dropped.over_max_score + dropped.within_absolute_margin + dropped.within_relative_margin
    assert counts.mined == counts.candidates - left_out - dropped.near_duplicates
    assert counts.queries_with_fewer == counts.queries >= counts.queries_without > 0


def test_without_a_corpus_the_texts_of_the_pairs_are_searched() -> None:
    lookup, pairs, _ = world()
    own = [text for pair in pairs for text in (pair.positive, *pair.negatives)]
    config = MiningConfig(**WIDE)
    assert texts(mine(lookup, pairs, config=config)) == texts(mine(lookup, pairs, corpus=own, config=config))


def test_a_corpus_without_a_candidate_leaves_the_given_negatives() -> None:
    lookup, pairs, _ = world()
    for corpus in ([], [pairs[0].positive]):
        found = mine(lookup, pairs[:1], corpus=corpus, config=MiningConfig(**WIDE, retriever="both"))
        assert found.counts.queries_without == 1 and texts(found) == [pairs[0].negatives]
    with pytest.raises(ConfigError, match="no pairs to mine for"):
        mine(lookup, [])


def test_it_ends_between_two_blocks_when_asked_to() -> None:
    lookup, pairs, corpus = world()
    with pytest.raises(Stopped):
        mine(lookup, pairs, corpus=corpus, config=MiningConfig(**WIDE), stop=lambda: True)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"per_query": 0}, "per_query is 0; it must be between 1 and 100"),
        ({"range": [10, 12]}, r"range is \[10, 12\], which holds 2 ranks, and per_query is 5; widen"),
        ({"range": [50, 20]}, "which holds 0 ranks"),
        ({"range": "10"}, "it must be the ranks to skip and the last one to look at"),
        ({"range": [0, 20_000]}, "range is 20000; it must be between 1 and 10000"),
        ({"relative_margin": 1.5}, "relative_margin is 1.5; it must be between 0.0 and 1.0"),
        ({"absolute_margin": -0.1}, "absolute_margin is -0.1"),
        ({"max_score": float("nan")}, "max_score is nan"),
        ({"retriever": "colbert"}, "retriever is 'colbert'; it must be one of dense, bm25, both"),
        ({"sampling": "best"}, "sampling is 'best'; it must be one of top, random"),
        ({"seed": -1}, "seed is -1"),
        ({"margin": 0.1}, "margin is not a setting; known are"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        MiningConfig.from_dict(setting)


def test_a_config_survives_json() -> None:
    config = MiningConfig(range=(0, 50), retriever="both", sampling="random", relative_margin=None)
    assert MiningConfig.from_dict(config.to_dict()) == config
