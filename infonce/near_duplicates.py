"""Texts that are nearly equal, by MinHash over their three-character shingles (Broder 1997), in linear time."""

from collections.abc import Callable, Sequence
from typing import Final

from rensa import RMinHash, RMinHashLSH

from infonce.findings import FindingCode, Findings
from infonce.split import text_key
from infonce.text_sample import SampledText

THRESHOLD: Final = 0.8
"""Of the Jaccard similarity of shingles: one character of thirty changed is still above it, one word of six is not."""

_SHINGLE: Final = 3
_NUM_PERM: Final = 96
_NUM_BANDS: Final = (
    16  # of 6: similar by 0.8 → 99 % meet in a band; by 0.5 → 22 %, which the exact number then sorts out
)
_SEED: Final = 1
_MAX_CANDIDATES: Final = 8
_TEXTS_BETWEEN: Final = 1_000


def find_near_duplicates(
    texts: Sequence[SampledText], findings: Findings, *, stop: Callable[[], bool] = lambda: False
) -> int:
    """How many texts are nearly that of an earlier one, each a finding; those after a stop are left out.

    A text is compared with those that are nobody's copy, so that a hundred copies of one are ninety-nine findings; with
    the first eight of them that may be like it, so that texts of one pattern do not cost the square of their number.
    """
    index = RMinHashLSH(threshold=THRESHOLD, num_perm=_NUM_PERM, num_bands=_NUM_BANDS)
    num_found = 0
    for place, text in enumerate(texts):
        if place % _TEXTS_BETWEEN == 0 and stop():
            break
        shingles = _shingles(text.text)
        print_of = RMinHash(num_perm=_NUM_PERM, seed=_SEED)
        print_of.update(list(shingles))
        for other in sorted(index.query(print_of))[:_MAX_CANDIDATES]:
            similarity = _jaccard(shingles, _shingles(texts[other].text))
            if similarity >= THRESHOLD:
                earlier = texts[other]
                detail = f"similar by {similarity:.2f} to {earlier.field} of line {earlier.line}; are both meant?"
                findings.add(FindingCode.NEAR_DUPLICATE, detail, line=text.line, field=text.field)
                num_found += 1
                break
        else:
            index.insert(place, print_of)
    return num_found


def _shingles(text: str) -> set[str]:
    key = text_key(text)
    return {key[start : start + _SHINGLE] for start in range(max(1, len(key) - _SHINGLE + 1))}


def _jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
