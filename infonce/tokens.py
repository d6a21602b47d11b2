"""Texts become token ids once, and ids become padded chunks of similar length; knows `tokenizers`, not torch."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from infonce.errors import DatasetError, InvalidModel, Issue, Stopped

_TEXTS_AT_ONCE = 8_192  # bounds the Python objects alive while a large set is tokenised
_CHARACTERS_AT_ONCE = 1_000_000  # the tokens of a text are all alive before it is cut, up to 360 bytes a character


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """The token ids of many texts, back to back."""

    ids: NDArray[np.int32]  # (T,)
    offsets: NDArray[np.int64]  # (n + 1,)

    @classmethod
    def joined(cls, rows: Sequence[NDArray[np.int32]]) -> Self:
        """The texts whose ids these are."""
        ids = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        return cls(ids, np.cumsum([0, *map(len, rows)], dtype=np.int64))

    def row(self, number: int) -> NDArray[np.int32]:
        """The ids of one text."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each text has, special tokens included; (n,)."""
        return np.diff(self.offsets)

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The ids of `rows`, back to back."""
        counts = self.lengths[rows]
        before = np.repeat(np.cumsum(counts) - counts, counts)
        return self.ids[np.repeat(self.offsets[rows], counts) + np.arange(counts.sum()) - before]

    def equal_to(self, other: "TokenizedTexts") -> NDArray[np.bool_]:
        """Which texts have the same ids as the one text of `other`; (n,)."""
        same: NDArray[np.bool_] = self.lengths == len(other.ids)
        rows = np.flatnonzero(same)
        same[rows] = (self.ids_of(rows).reshape(len(rows), len(other.ids)) == other.ids).all(axis=1)
        return same

    def padded(self, rows: NDArray[np.int64], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The ids of `rows`, padded on the right to the longest of them, and which of them are real.

        Shape:
            returns ids (len(rows), L) and mask (len(rows), L); L is at least 1.
        """
        lengths = self.lengths[rows]
        columns = np.arange(max(1, int(lengths.max(initial=0))))  # (L,)
        mask = columns[None, :] < lengths[:, None]  # (n, L)
        ids = np.full(mask.shape, pad_id, dtype=np.int64)
        ids[mask] = self.ids[(self.offsets[rows][:, None] + columns[None, :])[mask]]
        return ids, mask


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, without the padding and truncation that its file may carry.

    Raises:
        InvalidModel: there is no readable `tokenizer.json`.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidModel(f"{folder.name} has no tokenizer.json; only fast tokenizers are supported: convert it first")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise InvalidModel(f"{folder.name}/tokenizer.json cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int, stop: Callable[[], bool] = lambda: False
) -> TokenizedTexts:
    """The ids of every text with its special tokens, cut to `max_length` tokens; in time linear in its length.

    Raises:
        DatasetError: a text holds a lone surrogate.
        Stopped: `stop()` was true between two blocks of some thousand texts.
    """
    tokenizer.enable_truncation(max_length)
    parts: list[NDArray[np.int32]] = []
    for number, block in enumerate(_blocks(texts)):
        if number and stop():
            raise Stopped("stopped while the texts became tokens")
        try:
            encodings = tokenizer.encode_batch_fast(block)
        except TypeError as error:  # what tokenizers makes of text that has no UTF-8
            raise _no_unicode(texts) from error
        parts.extend(np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings)
    return TokenizedTexts.joined(parts)


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, so few at once that their tokens fit into memory; a longer text stands alone."""
    block: list[str] = []
    num_characters = 0
    for text in texts:
        if block and (len(block) == _TEXTS_AT_ONCE or num_characters + len(text) > _CHARACTERS_AT_ONCE):
            yield block
            block, num_characters = [], 0
        block.append(text)
        num_characters += len(text)
    if block:
        yield block


def _no_unicode(texts: Sequence[str]) -> DatasetError:
    for number, text in enumerate(texts, start=1):
        if found := re.search("[\ud800-\udfff]", text):
            what = f"a lone surrogate (U+{ord(found[0]):04X}) at character {found.start() + 1}"
            detail = f"text {number} of {len(texts)} has {what} and is no valid Unicode; remove it"
            return DatasetError([Issue(line=None, field=None, code="invalid_text", detail=detail)])
    raise AssertionError("tokenizers refused texts that are valid Unicode")


def chunks(lengths: NDArray[np.int64], budget: int, *, padding: bool = True) -> Iterator[NDArray[np.int64]]:
    """Rows grouped longest first, so that a padded chunk holds at most `budget` tokens (one text always fits).

    Sorting by length before cutting leaves almost no padding, and touches neither which texts share a batch nor
    the order in which the caller gets its vectors: a chunk says which rows it holds.
    Without padding a chunk holds texts of one length.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = max(1, budget // longest)
        if not padding:
            size = int(np.count_nonzero(lengths[order[start : start + size]] == lengths[order[start]]))
        yield order[start : start + size]
        start += size
