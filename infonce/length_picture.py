"""How long texts are in a model's tokens, and what its maximum length cuts off."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from infonce.config import DEFAULT_MAX_SEQ_LENGTH, Prompts, Side
from infonce.findings import FindingCode, Findings
from infonce.layout import read_layout
from infonce.pair_keys import histogram
from infonce.text_sample import SampledText
from infonce.tokens import load_tokenizer

QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_TEXTS_AT_ONCE: Final = 1_024
_CHARACTERS_AT_ONCE: Final = 100_000  # up to 360 bytes a character are alive at once


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCounter:
    """What counts the tokens of a text."""

    name: str
    """Of the model."""
    tokenizer: Tokenizer
    max_length: int
    """Tokens that the model reads, special ones included."""
    query_prompt: str = ""
    document_prompt: str = ""

    @classmethod
    def of(cls, folder: Path, name: str, *, max_length: int | None = None, prompts: Prompts | None = None) -> Self:
        """The tokenizer of a model's folder, with its prompts and a training's default length unless others are given.

        Raises:
            InvalidModel: the folder has none, or is no model.
        """
        layout = read_layout(folder)
        prompts = layout.prompts if prompts is None else prompts
        return cls(
            name=name,
            tokenizer=load_tokenizer(folder),
            max_length=max_length or min(DEFAULT_MAX_SEQ_LENGTH, layout.max_seq_length),
            query_prompt=prompts.query,
            document_prompt=prompts.document,
        )

    def lengths(self, texts: Sequence[SampledText], *, side: Side, stop: Callable[[], bool]) -> NDArray[np.int64]:
        """Tokens of each text, uncut; (n,). Those after a stop are missing."""
        prompt = self.query_prompt if side is Side.QUERY else self.document_prompt
        found: list[int] = []
        for block in _blocks(texts):
            if stop():
                break
            found += [len(one.ids) for one in self.tokenizer.encode_batch_fast([prompt + text for text in block])]
        return np.array(found, dtype=np.int64)


def length_picture(
    counter: TokenCounter,
    texts: Sequence[SampledText],
    *,
    side: Side,
    findings: Findings,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Quantiles and a histogram of the tokens of one side's texts, and what is cut; each cut text is a finding."""
    lengths = counter.lengths(texts, side=side, stop=stop)
    over = np.flatnonzero(lengths > counter.max_length)
    for place in over.tolist():
        text, length = texts[place], int(lengths[place])
        detail = f"{length} tokens, of which the model reads {counter.max_length}; split it or raise the maximum length"
        findings.add(FindingCode.TRUNCATED_TEXT, detail, line=text.line, field=text.field)
    tokens, lost = int(lengths.sum()), int((lengths[over] - counter.max_length).sum())
    quantiles = np.quantile(lengths, QUANTILES, method="nearest").tolist() if len(lengths) else []
    return {
        "texts": len(lengths),
        "tokens": tokens,
        "quantiles": {f"{share:g}": value for share, value in zip(QUANTILES, quantiles, strict=False)},
        "histogram": histogram(Counter(lengths.tolist())),
        "truncated": len(over),
        "tokens_lost": lost,
        "share_lost": lost / tokens if tokens else 0.0,
    }


def _blocks(texts: Sequence[SampledText]) -> Iterator[list[str]]:
    block: list[str] = []
    num_characters = 0
    for sampled in texts:
        if block and (len(block) == _TEXTS_AT_ONCE or num_characters + len(sampled.text) > _CHARACTERS_AT_ONCE):
            yield block
            block, num_characters = [], 0
        block.append(sampled.text)
        num_characters += len(sampled.text)
    if block:
        yield block
