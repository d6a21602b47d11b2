"""Held-out queries that share nothing with the training pairs.

Texts are one and the same if they differ in case, white space and composition alone. Pairs hang together when a chain
of shared anchors and positives joins them; a split goes between such components, never through one.
"""

import random
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from infonce.errors import ConfigError
from infonce.limits import check_whole
from infonce.pairs import Pair
from infonce.qrels import EvalSet

N = TypeVar("N", bound=Hashable)

MIN_TRAINING_PAIRS = 2
"""One pair alone has no in-batch negative."""

MAX_SEARCHED: Final = 20_000
"""Documents that held-out queries are looked for in: each is embedded by the base and by the tuned model."""


def held_out(pairs: Sequence[Pair], share: float, *, seed: int) -> tuple[list[Pair], EvalSet]:
    """About `share` of the pairs as queries to be judged by, and the other pairs, in their order, to train on.

    The corpus is every distinct positive and negative of all pairs, or a sample of 20,000 that keeps every relevant
    one; relevant are all positives that any pair names for the query. Equal arguments give equal splits. A negative of
    a training pair may be a held-out positive.

    Raises:
        ConfigError: `share` is not between 0 and 1, or too few pairs are left on a side.
    """
    check_whole("seed", seed, low=0, high=2**53)
    if not 0 < share < 1:
        raise ConfigError(
            f"evaluation.held_out is {share}; it must be above 0 and below 1", param="evaluation.held_out"
        )
    keys = [(text_key(pair.anchor), text_key(pair.positive)) for pair in pairs]
    chosen = _choose(components(keys), share, seed=seed)
    train = [pair for place, pair in enumerate(pairs) if place not in chosen]
    if not chosen or len(train) < MIN_TRAINING_PAIRS:
        raise _too_few(len(pairs), len(train), share=share)
    return train, _eval_set(pairs, keys, chosen=chosen, seed=seed)


def judged_by(pairs: Sequence[Pair], validation: Sequence[Pair], *, seed: int) -> EvalSet:
    """The anchors of `validation` as queries; the corpus is made of all pairs' texts as `held_out` makes it.

    Relevant are all positives that any pair, a training one too, names for the query.
    """
    everything = [*validation, *pairs]
    keys = [(text_key(pair.anchor), text_key(pair.positive)) for pair in everything]
    asked = {anchor for anchor, _ in keys[: len(validation)]}
    chosen = {place for place, (anchor, _) in enumerate(keys) if anchor in asked}
    return _eval_set(everything, keys, chosen=chosen, seed=seed)


def with_fewer_documents(judged: EvalSet, limit: int, *, draw: random.Random) -> EvalSet:
    """Every document that is judged, and others drawn up to `limit` in all, in their order."""
    if len(judged.corpus) <= limit:
        return judged
    needed = {document for grades in judged.qrels.values() for document in grades}
    others = [document for document in judged.corpus if document not in needed]
    kept = needed.union(draw.sample(others, max(0, min(len(others), limit - len(needed)))))
    corpus = {document: text for document, text in judged.corpus.items() if document in kept}
    return replace(judged, corpus=corpus, drawn_from=judged.drawn_from or len(judged.corpus))


def text_key(text: str) -> str:
    """What two texts share that differ in case, white space and the way their signs are composed (NFC) alone."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def components(edges: Sequence[tuple[N, N]]) -> list[list[int]]:
    """The connected components of a graph, each as the places of its edges; in the order of their first edges."""
    parent: dict[N, N] = {}

    def root(node: N) -> N:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]  # halves the path, so that no chain stays long
            node = parent[node]
        return node

    for one, other in edges:
        parent[root(one)] = root(other)
    found: defaultdict[N, list[int]] = defaultdict(list)
    for place, (one, _) in enumerate(edges):
        found[root(one)].append(place)
    return list(found.values())


def _choose(found: list[list[int]], share: float, *, seed: int) -> set[int]:
    """The places of the pairs that are held out: components in a random order, each that still fits."""
    if len(found) < 2:
        return set()
    num_pairs = sum(len(places) for places in found)
    room = max(round(share * num_pairs), min(len(places) for places in found))
    chosen: set[int] = set()
    for places in random.Random(seed).sample(found, len(found)):
        if len(chosen) + len(places) <= room:
            chosen.update(places)
    return chosen


def _eval_set(pairs: Sequence[Pair], keys: Sequence[tuple[str, str]], *, chosen: set[int], seed: int) -> EvalSet:
    """The anchors of the chosen pairs as queries; every pair that names one of these anchors must be chosen."""
    corpus: dict[str, str] = {}
    document_of: dict[str, str] = {}
    for pair in pairs:
        for text in (pair.positive, *pair.negatives):
            name = document_of.setdefault(text_key(text), f"d{len(document_of)}")
            corpus.setdefault(name, text)
    queries: dict[str, str] = {}
    query_of: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for place in sorted(chosen):
        anchor, positive = keys[place]
        query = query_of.setdefault(anchor, f"q{len(query_of)}")
        queries.setdefault(query, pairs[place].anchor)
        qrels.setdefault(query, {})[document_of[positive]] = 1
    whole = EvalSet(corpus=corpus, queries=queries, qrels=qrels)
    return with_fewer_documents(whole, MAX_SEARCHED, draw=random.Random(seed))


def _too_few(num_pairs: int, num_train: int, *, share: float) -> ConfigError:
    held = num_pairs - num_train
    message = f"held_out {share} of {num_pairs} pairs leaves {num_train} for training and {held} as held-out queries"
    if held == 0 and num_pairs > MIN_TRAINING_PAIRS:
        message += ", because shared anchors and positives join all of them"
    remedy = f"at least {MIN_TRAINING_PAIRS} and 1 are needed: bring more pairs, change held_out, or set it to 0"
    return ConfigError(f"{message}; {remedy}", param="evaluation.held_out")
