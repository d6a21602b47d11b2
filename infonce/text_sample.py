"""Some of the distinct texts of a stream of any length: all of them while they are few, else a seeded share."""

import hashlib
from dataclasses import dataclass

from infonce.split import text_key

_WORD = 1 << 64


def text_digest(text: str) -> int:
    """64 bits that texts share which differ in case, white space and composition alone."""
    return int.from_bytes(hashlib.blake2b(text_key(text).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class SampledText:
    """A text and where it first stands."""

    text: str
    line: int
    field: str


class TextSample:
    """Distinct texts, as many as there are or about half of the limit or more.

    Which ones is decided by the hash of each text and the seed (adaptive sampling, Flajolet 1990), not by their order:
    when there are too many, those above half of the threshold go, and the like of them are not taken any more.
    """

    def __init__(self, *, max_texts: int, max_characters: int, seed: int) -> None:
        self._max_texts = max_texts
        self._max_characters = max_characters
        drawn = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=8).digest()
        self._factor = int.from_bytes(drawn, "little") | 1
        self._below = _WORD
        self._characters = 0
        self._texts: dict[int, SampledText] = {}

    def add(self, digest: int, text: str, *, line: int, field: str) -> None:
        """The text counts; its digest is `text_digest`'s."""
        mixed = (digest * self._factor) % _WORD
        if mixed >= self._below or mixed in self._texts:
            return
        self._texts[mixed] = SampledText(text, line, field)
        self._characters += len(text)
        while len(self._texts) > self._max_texts or (self._characters > self._max_characters and len(self._texts) > 1):
            self._below //= 2
            self._texts = {key: kept for key, kept in self._texts.items() if key < self._below}
            self._characters = sum(len(kept.text) for kept in self._texts.values())

    @property
    def texts(self) -> list[SampledText]:
        """Those taken, in the order in which they came."""
        return list(self._texts.values())

    @property
    def share(self) -> float:
        """About which part of the distinct texts was taken; 1 if all."""
        return self._below / _WORD
