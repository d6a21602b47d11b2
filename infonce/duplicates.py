"""How often a pair was there before: 8 bytes a pair, whatever the texts are."""

import hashlib
import unicodedata
from array import array

import numpy as np

from infonce.pairs import Pair


class PairDigests:
    """A digest of each pair that was added, of its anchor and its positive without surrounding white space, in NFC.

    Two of 5,000,000 different pairs share one of the 2⁶⁴ digests with a probability of 7·10⁻⁷.
    """

    def __init__(self) -> None:
        self._digests = array("Q")

    def add(self, pair: Pair) -> None:
        """The pair counts."""
        self._digests.append(pair_digest(pair))

    def num_duplicates(self) -> int:
        """How many pairs equal an earlier one; the digests are sorted in place."""
        digests = np.frombuffer(self._digests, np.uint64)
        digests.sort()
        return int(np.count_nonzero(digests[1:] == digests[:-1]))


def pair_digest(pair: Pair) -> int:
    """64 bits that equal pairs share: their anchors and positives without surrounding white space, in NFC."""
    texts = [unicodedata.normalize("NFC", text.strip()) for text in (pair.anchor, pair.positive)]
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8)  # no text has a NUL
    return int.from_bytes(digest.digest(), "little")
