"""Held-out queries in two halves, one to choose by and one to judge by, and a sample that a choice can afford."""

import random
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from infonce.qrels import EvalSet
from infonce.split import components, with_fewer_documents

MAX_QUERIES: Final = 500
MAX_DOCUMENTS: Final = 2_000
"""Of a sample to choose by: a difference of 0.01 between two models shows in 500 paired queries, and what is searched
is embedded anew for each of them."""


def halves(judged: EvalSet, *, seed: int) -> tuple[set[str], set[str]]:
    """The judged queries in two parts that share no relevant document; equal seeds, equal halves.

    The parts are of about one size, unless more queries than that hang together by their documents.
    """
    edges = [
        (f"query {query}", f"document {document}")
        for query, grades in judged.qrels.items()
        for document, grade in grades.items()
        if grade > 0
    ]
    groups = [{edges[place][0].removeprefix("query ") for place in places} for places in components(edges)]
    random.Random(seed).shuffle(groups)
    first: set[str] = set()
    second: set[str] = set()
    for group in groups:
        smaller = first if len(first) <= len(second) else second
        smaller |= group
    return first, second


def restricted(judged: EvalSet, queries: Collection[str]) -> EvalSet:
    """Only these queries, over the whole corpus."""
    return replace(
        judged,
        queries={query: text for query, text in judged.queries.items() if query in queries},
        qrels={query: grades for query, grades in judged.qrels.items() if query in queries},
    )


def sampled(judged: EvalSet, *, seed: int) -> EvalSet:
    """At most 500 of the queries, and every document that is judged for them with others up to 2,000; seeded."""
    draw = random.Random(seed)
    asked = sorted(judged.qrels)
    part = restricted(judged, set(draw.sample(asked, min(MAX_QUERIES, len(asked)))))
    return with_fewer_documents(part, MAX_DOCUMENTS, draw=draw)
