"""BM25 as its formula says, one document and one word at a time, in float64."""

import math
import re
from collections.abc import Mapping, Sequence


def slow_words(text: str) -> list[str]:
    """The words of a text in a script that puts blanks between words."""
    return re.findall(r"[a-z0-9äöüß]+", text.lower())


def mean_length(texts: Sequence[str]) -> float:
    """In words."""
    return sum(len(slow_words(text)) for text in texts) / max(1, len(texts))


def slow_bm25(documents: Mapping[str, str], query: str, *, mean: float) -> dict[str, float]:
    """The score of each document that shares a word with the query; `mean` is the length of a text of mean length."""
    scores: dict[str, float] = {}
    for word in set(slow_words(query)):
        having = [id for id, text in documents.items() if word in slow_words(text)]
        rare = math.log(1 + (len(documents) - len(having) + 0.5) / (len(having) + 0.5))
        for id in having:
            words = slow_words(documents[id])
            times = words.count(word)
            norm = 1.5 * (1 - 0.75 + 0.75 * len(words) / mean)
            scores[id] = scores.get(id, 0.0) + rare * times / (times + norm)
    return scores
