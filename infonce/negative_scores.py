"""How high given negatives score beside their positives under a model: which of them may well be right answers."""

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from infonce.config import Side
from infonce.findings import FindingCode, Findings
from infonce.pairs import Pair
from infonce.vectors import TextEncoder

RELATIVE_MARGIN: Final = 0.05
"""A negative within it of the positive's score is a suspect: mining would not have taken it."""

MAX_TEXTS: Final = 2_000
"""Embedded of all at most, which is 20 to 60 seconds of a small encoder on two cores."""
_SEED: Final = 42


def score_negatives(
    encoder: TextEncoder,
    read: Callable[[], Iterator[tuple[int, Pair]]],
    *,
    name: str,
    findings: Findings,
) -> dict[str, Any]:
    """Each negative that scores above its positive, or nearly so, is a finding; a seeded sample of pairs where many.

    `read` gives all pairs with their lines, as often as it is called.
    """
    taken, num_pairs = scored_pairs(read)
    anchors = encoder.encode([pair.anchor for _, pair in taken], side=Side.QUERY)
    texts = list(dict.fromkeys(text for _, pair in taken for text in (pair.positive, *pair.negatives)))
    rows = {text: row for row, text in enumerate(texts)}
    documents = encoder.encode(texts, side=Side.DOCUMENT)
    num_above = num_suspects = num_negatives = 0
    for (line, pair), anchor in zip(taken, anchors, strict=True):
        positive, *negatives = (documents[[rows[text] for text in (pair.positive, *pair.negatives)]] @ anchor).tolist()
        num_negatives += len(negatives)
        for place, score in enumerate(negatives):
            said = f"it scores {score:.3f} and the positive {positive:.3f}"
            if score >= positive:
                num_above += 1
                code, remedy = FindingCode.NEGATIVE_ABOVE_POSITIVE, "is it an answer, or is the positive none?"
            elif score > positive - RELATIVE_MARGIN * abs(positive):
                num_suspects += 1
                code, remedy = FindingCode.FALSE_NEGATIVE_SUSPECT, "is it an answer as well?"
            else:
                continue
            findings.add(code, f"{said}; {remedy}", line=line, field=f"negatives[{place}]")
    return {
        "model": name,
        "relative_margin": RELATIVE_MARGIN,
        "pairs": len(taken),
        "pairs_with_negatives": num_pairs,
        "negatives": num_negatives,
        "above_positive": num_above,
        "suspects": num_suspects,
        "share_above": num_above / num_negatives if num_negatives else 0.0,
    }


def scored_pairs(read: Callable[[], Iterator[tuple[int, Pair]]]) -> tuple[list[tuple[int, Pair]], int]:
    """Pairs that have negatives, in their order, as many as have 2,000 texts; and how many there are of them."""
    weights = [2 + len(pair.negatives) for _, pair in read() if pair.negatives]
    order = np.array(random.Random(_SEED).sample(range(len(weights)), len(weights)), dtype=np.int64)
    room = np.cumsum(np.array(weights, dtype=np.int64)[order]) <= MAX_TEXTS
    room[:1] = True  # one pair at least
    chosen = set(order[room].tolist())
    with_negatives = (told for told in read() if told[1].negatives)
    return [told for place, told in enumerate(with_negatives) if place in chosen], len(weights)
