"""What was embedded once is not embedded again, by side, in this process or the next."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from infonce.config import Side
from infonce.errors import Stopped
from infonce.vectors import BLOCK_TEXTS, CachedEncoder


class Counting:
    """An encoder whose vector tells the text's length and side; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def compute(self, texts: Sequence[str], side: Side) -> np.ndarray:
        self.asked.extend(texts)
        return np.array([[len(text), side is Side.QUERY] for text in texts], dtype=np.float32)

    def cached(self, folder: Path, prompt: str = "") -> CachedEncoder:
        return CachedEncoder(folder, self.compute, prompt=lambda side: prompt if side is Side.QUERY else "")


def test_each_text_is_computed_once_and_the_next_process_finds_it(tmp_path: Path) -> None:
    counting = Counting()
    first = counting.cached(tmp_path)
    assert first.encode(["aa", "b", "aa"], side=Side.DOCUMENT)[:, 0].tolist() == [2, 1, 2]
    second = counting.cached(tmp_path)
    assert second.encode(["b", "ccc"], side=Side.DOCUMENT)[:, 0].tolist() == [1, 3]
    assert counting.asked == ["aa", "b", "ccc"]
    assert (first.computed, first.reused, second.computed, second.reused) == (2, 0, 1, 1)


def test_a_prompt_makes_another_text_of_it(tmp_path: Path) -> None:
    counting = Counting()
    cached = counting.cached(tmp_path, prompt="q: ")
    cached.encode(["a"], side=Side.DOCUMENT)
    assert cached.encode(["a"], side=Side.QUERY)[0, 1] == 1
    assert counting.asked == ["a", "a"]


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    counting = Counting()
    counting.cached(tmp_path).encode(["a"], side=Side.DOCUMENT)
    shard = next(tmp_path.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert counting.cached(tmp_path).encode(["a"], side=Side.DOCUMENT)[0, 0] == 1
    assert counting.asked == ["a", "a"]


def test_no_texts_give_no_vectors(tmp_path: Path) -> None:
    assert len(Counting().cached(tmp_path).encode([], side=Side.DOCUMENT)) == 0


def test_what_was_computed_before_a_stop_is_kept_and_progress_is_told(tmp_path: Path) -> None:
    counting, told = Counting(), []
    texts = [f"text {number}" for number in range(BLOCK_TEXTS * 2 + 3)]

    def stops(texts: Sequence[str], side: Side) -> np.ndarray:
        if len(counting.asked) >= BLOCK_TEXTS:
            raise Stopped("stopped")
        return counting.compute(texts, side)

    with pytest.raises(Stopped):
        CachedEncoder(tmp_path, stops, prompt=lambda side: "").encode(texts, side=Side.DOCUMENT)
    again = CachedEncoder(
        tmp_path, counting.compute, prompt=lambda side: "", on_block=lambda done, total: told.append((done, total))
    )
    again.encode(texts, side=Side.DOCUMENT)
    assert counting.asked == texts
    assert told == [(BLOCK_TEXTS, BLOCK_TEXTS + 3), (BLOCK_TEXTS + 3, BLOCK_TEXTS + 3)]
