"""Texts that wait for vectors, a lane for each model: who gets how much of the next batch."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from infonce.hub import FoundModel
from infonce.tokens import TokenizedTexts

Rows = NDArray[np.int32]


class TextEncoder(Protocol):
    """What is needed of `infonce.encoder.Encoder`."""

    @property
    def chunk_tokens(self) -> int:
        """The tokens that are encoded at once."""

    @property
    def num_bytes(self) -> int:
        """What its weights take in memory."""

    def prompt(self, side: Side) -> str:
        """What is put before a text on that side."""

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """The ids of texts that already carry their prompt."""

    def encode_tokens(self, tokens: TokenizedTexts) -> NDArray[np.float32]:
        """The unit vectors of those texts; (n, D)."""

    def fingerprint(self) -> str:
        """A hash of everything that decides a vector."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Vectors of unit length, (n, D), and what it took to make them."""

    vectors: NDArray[np.float32]
    num_tokens: int
    fingerprint: str
    seconds: dict[str, float]
    """By stage: tokenize, queue, infer; together the time from asking to the last vector."""


@dataclass(kw_only=True, slots=True, eq=False)
class Asked:
    """One request for vectors, and how far it is."""

    model: FoundModel
    texts: Sequence[str]
    side: Side
    came: float = field(default_factory=time.perf_counter)
    future: Future[Embedded] = field(default_factory=Future)
    tokens: TokenizedTexts | None = None
    left: list[int] = field(default_factory=list)
    """The texts without a vector, the longest last."""
    vectors: NDArray[np.float32] | None = None
    num_missing: int = 0
    tokenize_seconds: float = 0.0
    infer_seconds: float = 0.0

    def read(self, tokens: TokenizedTexts, *, seconds: float) -> None:
        """Its texts are tokens."""
        self.tokens, self.tokenize_seconds = tokens, seconds
        self.left = [int(row) for row in np.argsort(tokens.lengths, kind="stable")]
        self.num_missing = len(self.left)

    def take(self, room: int | None) -> tuple[int, Rows] | None:
        """Its longest text without a vector, unless that has more tokens than there is room for."""
        assert self.tokens is not None
        ids = self.tokens.row(self.left[-1])
        if room is not None and len(ids) > room:
            return None
        return self.left.pop(), ids

    def put(self, row: int, vector: NDArray[np.float32]) -> None:
        """The vector of that text is known."""
        if self.vectors is None:
            self.vectors = np.empty((len(self.texts), len(vector)), dtype=np.float32)
        self.vectors[row] = vector
        self.num_missing -= 1

    def answer(self, fingerprint: str) -> None:
        """Who asked has all vectors."""
        assert self.vectors is not None and self.tokens is not None
        spent = {"tokenize": self.tokenize_seconds, "infer": self.infer_seconds}
        waited = time.perf_counter() - self.came - sum(spent.values())
        answer = Embedded(
            vectors=self.vectors,
            num_tokens=len(self.tokens.ids),
            fingerprint=fingerprint,
            seconds={"tokenize": spent["tokenize"], "queue": max(0.0, waited), "infer": spent["infer"]},
        )
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Who asked is told why there are no vectors."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


@dataclass(kw_only=True, slots=True)
class Lane:
    """The requests for one model: in each batch they take turns, a text each time.

    A request of one text is in the next batch or soon after, whatever number of texts another brings; who was served
    stands behind those who were not.
    """

    model: FoundModel
    new: list[Asked] = field(default_factory=list)
    """Not read yet."""
    line: deque[Asked] = field(default_factory=deque)
    """With texts that have no vector yet, first come first."""
    at_work: list[tuple[Asked, int]] = field(default_factory=list)
    """The batch that is being encoded: a request and a row of it for each text."""

    def __bool__(self) -> bool:
        return bool(self.new or self.line)

    def read(self, encoder: TextEncoder) -> None:
        """All that came is tokens, read in one go, and stands in line."""
        if not self.new:
            return
        began = time.perf_counter()
        texts = [encoder.prompt(asked.side) + text for asked in self.new for text in asked.texts]
        tokens = encoder.tokenize(texts)
        seconds, start = time.perf_counter() - began, 0
        for asked in self.new:
            end = start + len(asked.texts)
            asked.read(_part(tokens, start, end=end), seconds=seconds)
            start = end
        self.line.extend(self.new)
        self.new.clear()

    def batch(self, budget: int) -> TokenizedTexts:
        """The next texts, of at most so many tokens unless the first one alone has more."""
        rows: list[Rows] = []
        room: int | None = None
        while self.line:
            asked = self.line[0]
            if asked.future.cancelled():  # whoever asked is gone
                self.line.popleft()
                continue
            if (taken := asked.take(room)) is None:
                break
            self.line.popleft()
            row, ids = taken
            self.at_work.append((asked, row))
            rows.append(ids)
            room = (budget if room is None else room) - len(ids)
            if asked.left:
                self.line.append(asked)
        return TokenizedTexts.joined(rows)

    def finish(self, vectors: NDArray[np.float32], *, seconds: float, fingerprint: str) -> None:
        """The batch has its vectors; who has all of theirs is answered."""
        for asked in {id(asked): asked for asked, _ in self.at_work}.values():
            asked.infer_seconds += seconds
        for (asked, row), vector in zip(self.at_work, vectors, strict=True):
            asked.put(row, vector)
            if not asked.num_missing:
                asked.answer(fingerprint)
        self.at_work.clear()

    def fail(self, error: Exception) -> None:
        """Everybody in the lane is told why there are no vectors."""
        waiting = [*self.new, *self.line, *(asked for asked, _ in self.at_work)]
        self.new.clear()
        self.line.clear()
        self.at_work.clear()
        for asked in {id(asked): asked for asked in waiting}.values():
            asked.fail(error)


def _part(tokens: TokenizedTexts, start: int, *, end: int) -> TokenizedTexts:
    offsets = tokens.offsets[start : end + 1]
    return TokenizedTexts(tokens.ids[offsets[0] : offsets[-1]], offsets - offsets[0])
