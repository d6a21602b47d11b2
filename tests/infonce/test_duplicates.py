"""Duplicates are counted as a set of texts would count them."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from infonce.duplicates import PairDigests
from infonce.pairs import Pair

TEXTS = st.sampled_from(["a", "a ", "b", "é", "e\u0301", "ab", "\ta\n"])


def plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


@given(st.lists(st.builds(Pair, TEXTS, TEXTS)))
def test_a_pair_counts_if_it_was_there_before(pairs: list[Pair]) -> None:
    digests = PairDigests()
    for pair in pairs:
        digests.add(pair)
    assert digests.num_duplicates() == len(pairs) - len({(plain(p.anchor), plain(p.positive)) for p in pairs})
