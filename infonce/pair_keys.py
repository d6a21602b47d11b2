"""The pairs of a file as numbers, 28 bytes a pair: what equals what, and how many belong to how many."""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.duplicates import pair_digest
from infonce.errors import MAX_LISTED_ISSUES
from infonce.findings import FindingCode, Findings
from infonce.pairs import Pair

Words = NDArray[np.uint64]
_ODD: Final = 0x9E3779B97F4A7C15
_WORD: Final = 1 << 64
_AT_ONCE: Final = 1 << 16


def is_own_answer(pair: Pair) -> bool:
    """Whether the positive is the anchor, surrounding white space and the way its signs are composed (NFC) aside."""
    one, other = pair.anchor.strip(), pair.positive.strip()
    return one == other or unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


class PairKeys:
    """Digests of the pairs that were added, and the lines on which they stand."""

    def __init__(self) -> None:
        self._lines = array("I")
        self._pairs = array("Q")
        self._anchors = array("Q")
        self._positives = array("Q")
        self._num_negatives: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, pair: Pair, *, line: int, anchor: int, positive: int) -> None:
        """The pair counts; `anchor` and `positive` are digests of its texts."""
        self._lines.append(line)
        self._pairs.append(pair_digest(pair))
        self._anchors.append(anchor)
        self._positives.append(positive)
        self._num_negatives[len(pair.negatives)] += 1

    def find_duplicates(self, findings: Findings) -> int:
        """How many pairs equal an earlier one; each is counted, the first are named with the line that they repeat."""
        digests = _words(self._pairs)
        order = np.argsort(digests, kind="stable")
        ordered = digests[order]
        later = np.sort(order[1:][ordered[1:] == ordered[:-1]])
        for place in later[:MAX_LISTED_ISSUES]:
            first = int(np.argmax(digests == digests[place]))
            detail = f"query and positive are those of line {self._lines[first]}; keep one of the two"
            findings.add(FindingCode.DUPLICATE_PAIR, detail, line=self._lines[int(place)])
        findings.add_unnamed(FindingCode.DUPLICATE_PAIR, max(0, len(later) - MAX_LISTED_ISSUES))
        return len(later)

    def structure(self) -> dict[str, Any]:
        """Distinct queries, positives and pairs of them, and histograms of how many belong to one."""
        anchors, positives = self._distinct()
        of_queries, of_positives = (np.unique(keys, return_counts=True)[1] for keys in (anchors, positives))
        return {
            "queries": len(of_queries),
            "positives": len(of_positives),
            "distinct_pairs": len(anchors),
            "positives_per_query": histogram(Counter(of_queries.tolist())),
            "queries_per_positive": histogram(Counter(of_positives.tolist())),
            "negatives_per_pair": histogram(self._num_negatives),
        }

    def relation(self) -> "Relation":
        """Who asks and what answers, to look up."""
        return Relation(np.unique(_words(self._anchors) * np.uint64(_ODD) + _words(self._positives)))

    def overlap(self, held_out: "PairKeys", findings: Findings) -> dict[str, int]:
        """How many pairs share their query, positive or both with a held-out pair; each is a finding."""
        known = {}
        sides = (
            (FindingCode.HELD_OUT_QUERY, "anchor", self._anchors, held_out._anchors),
            (FindingCode.HELD_OUT_POSITIVE, "positive", self._positives, held_out._positives),
        )
        for code, field, ours, theirs in sides:
            shared = np.isin(_words(ours), _words(theirs))
            known[field] = shared
            places = np.flatnonzero(shared)
            for place in places[:MAX_LISTED_ISSUES].tolist():
                other = held_out._lines[int(np.argmax(_words(theirs) == _words(ours)[place]))]
                detail = f"the text stands in line {other} of the held-out file too; take it out of one of the two"
                findings.add(code, detail, line=self._lines[place], field=field)
            findings.add_unnamed(code, max(0, len(places) - MAX_LISTED_ISSUES))
        both = int(np.count_nonzero(known["anchor"] & known["positive"]))
        return {
            "pairs": len(held_out),
            "queries": int(np.count_nonzero(known["anchor"])),
            "positives": int(np.count_nonzero(known["positive"])),
            "both": both,
        }

    def _distinct(self) -> tuple[Words, Words]:
        """The anchors and positives of each different pair of them."""
        anchors, positives = _words(self._anchors), _words(self._positives)
        firsts = np.unique(anchors * np.uint64(_ODD) + positives, return_index=True)[1]
        return anchors[firsts], positives[firsts]


class Relation:
    """Which positives belong to which anchors, by digest."""

    def __init__(self, codes: Words) -> None:
        self._codes = codes

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> Self:
        """The relation of these digests of anchors and positives."""
        codes = array("Q", ((anchor * _ODD + positive) % _WORD for anchor, positive in pairs))
        return cls(np.unique(_words(codes)))

    def forbids(self, anchor: int, negative: int) -> bool:
        """Whether that negative is a positive of that anchor, or the anchor itself."""
        code = np.uint64((anchor * _ODD + negative) % _WORD)
        place = int(np.searchsorted(self._codes, code))
        return anchor == negative or bool(place < len(self._codes) and self._codes[place] == code)

    def conflicts(self, negatives: Iterator[tuple[int, int, int, str]], findings: Findings) -> None:
        """Every negative (anchor's digest, its own, line, field) that is a positive of its anchor is a finding."""
        block: list[tuple[int, int, int, str]] = []
        for told in negatives:
            block.append(told)
            if len(block) == _AT_ONCE:
                self._look_up(block, findings)
                block = []
        self._look_up(block, findings)

    def _look_up(self, block: list[tuple[int, int, int, str]], findings: Findings) -> None:
        codes = np.array([(anchor * _ODD + own) % _WORD for anchor, own, _, _ in block], dtype=np.uint64)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        for place in np.flatnonzero(self._codes[places] == codes).tolist():
            _, _, line, field = block[place]
            detail = f"{field} is a positive of the same query; it cannot be both: take one of them out"
            findings.add(FindingCode.CONFLICTING_PAIR, detail, line=line, field=field)


def histogram(counts: Mapping[int, int]) -> list[dict[str, int]]:
    """How often each number came: one bar for each up to 8, then one for each power of two; empty ones left out."""
    bars: Counter[tuple[int, int]] = Counter()
    for number, count in counts.items():
        low = number if number <= 8 else 1 << ((number - 1).bit_length() - 1)
        bars[(number, number) if number <= 8 else (low + 1, 2 * low)] += count
    return [{"from": low, "to": high, "count": count} for (low, high), count in sorted(bars.items())]


def _words(found: "array[int]") -> Words:
    return np.frombuffer(found, np.uint64) if len(found) else np.empty(0, np.uint64)
