"""What this machine computes fastest: measured once per run on its own texts, recorded, never guessed.

bf16 products ran 3 times as fast as float32 on one processor with avx512_bf16 and half as fast on another, and which
attention is the faster one depends on processor and text length (docs/log.md). What is measured takes a small share
of the run; a run too short for a measurement gets what is usual.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from infonce.checkpoint import Checkpoints, newest
from infonce.config import AUTO, Attention, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError, Stopped
from infonce.int8 import has_int8
from infonce.packing import set_attention
from infonce.precision import Choice, autocast
from infonce.tokens import TokenizedTexts, chunks

WORTH: Final = 0.95
"""Of the usual one's time: what another chunk size must stay under to be taken; less is noise."""

WORTH_OF_PLAIN: Final = 0.9
"""The same for plain attention, which needs a third more memory for the graphs of long texts."""

_PRODUCT = (1_024, 384, 1_536)  # tokens of a chunk through the widest layer of a small encoder
_PRODUCT_ROUNDS = 4
_CHUNK_ROUNDS = 2
_SHARE_OF_RUN = 0.005  # of all its tokens: a probe is computed twelve times at most
_PROBE_TOKENS = (128, 1_024)
_CHUNK_FACTORS = (0.5, 2.0)  # of the usual size
_SERVED_TEXTS = ["what a query or a paragraph is like " * repeats for repeats in (1, 1, 2, 8, 12)]
_SERVED_ROUNDS = 5


def settled_precision(
    config: TrainConfig, device: torch.device, *, checkpoints: Checkpoints
) -> tuple[TrainConfig, dict[str, float]]:
    """The config with a precision, and the seconds that decided it, if it had to be measured now.

    It is measured once a run: one that goes on from a checkpoint computes in what the first attempt did.
    """
    if config.precision is not Precision.AUTO:
        return config, {}
    if (saved := newest(checkpoints)) is not None:
        return replace(config, precision=Precision(saved.facts["config"]["precision"])), {}
    precision, seconds = fastest_precision(device)
    return replace(config, precision=precision), seconds


def measure(
    encoder: Encoder,
    tokens: TokenizedTexts,
    *,
    config: TrainConfig,
    num_tokens: int,
    stop: Callable[[], bool] = lambda: False,
) -> Choice:
    """The precision, the attention and the chunk size in which these very texts take the least time here.

    `num_tokens` is what the whole run will read. What the config names is taken as it is. The weights' gradients are
    empty afterwards.

    Raises:
        Stopped: `stop()` was true at a chunk's edge.
    """
    precision, seconds = config.precision, dict[str, float]()
    if precision is Precision.AUTO:
        precision, seconds = fastest_precision(encoder.device)
    probe = _Probe(encoder, tokens, precision=precision, stop=stop)
    usual = encoder.chunk_tokens if config.max_chunk_tokens == AUTO else config.max_chunk_tokens
    share = int(_SHARE_OF_RUN * num_tokens)
    attention = _known_attention(encoder, config)
    if attention is None:
        rows = probe.rows(min(max(share, _PROBE_TOKENS[0]), _PROBE_TOKENS[1]))
        attention, timed = fastest_attention(lambda kind: probe.run([rows], attention=kind), encoder.device)
        seconds |= timed
    size = usual
    largest = int(usual * max(_CHUNK_FACTORS))
    if config.max_chunk_tokens == AUTO and share >= largest:
        rows = probe.rows(largest)
        split = {
            chunk: [rows[part] for part in chunks(tokens.lengths[rows], chunk)]
            for chunk in [usual, *(int(factor * usual) for factor in _CHUNK_FACTORS)]
        }
        size, timed = fastest_chunk(lambda chunk: probe.run(split[chunk], attention=attention), list(split))
        seconds |= timed
    encoder.backbone.zero_grad()
    return Choice(precision=precision, attention=attention, max_chunk_tokens=size, seconds=seconds)


def fastest_precision(device: torch.device) -> tuple[Precision, dict[str, float]]:
    """The precision whose product of an encoder's shape took the least median time here, with the times."""
    seconds = {}
    for precision, dtype in ((Precision.FLOAT32, torch.float32), (Precision.BF16, torch.bfloat16)):
        left = torch.ones(_PRODUCT[0], _PRODUCT[1], device=device, dtype=dtype)
        right = torch.ones(_PRODUCT[2], _PRODUCT[1], device=device, dtype=dtype)
        run = partial(torch.nn.functional.linear, left, right)
        seconds[f"product_{precision}"] = median_seconds(run, _PRODUCT_ROUNDS, device=device)
    faster = seconds["product_bf16"] < 0.8 * seconds["product_float32"]  # below that casts eat the gain
    return (Precision.BF16 if faster else Precision.FLOAT32), seconds


def fastest_serving(encoder: Encoder) -> tuple[Precision, dict[str, float]]:
    """The precision in which this encoder encodes the fastest here, with the times; int8 only if by a tenth.

    Whether that would be float32 or bf16 is told by their products, as for a training; int8 is timed with all that is
    around its products, and left out where this processor cannot compute it.
    """
    best, seconds = fastest_precision(encoder.device)
    if not has_int8(encoder.device):
        return best, seconds
    for precision in (best, Precision.INT8):
        run = partial(encoder.encode, _SERVED_TEXTS, precision=precision)
        try:
            seconds[f"encode_{precision}"] = median_seconds(run, _SERVED_ROUNDS, device=encoder.device)
        except (ConfigError, RuntimeError):
            if precision is best:
                raise
            return best, seconds
    faster = seconds["encode_int8"] < 0.9 * seconds[f"encode_{best}"]
    return (Precision.INT8 if faster else best), seconds


def fastest_attention(run: Callable[[Attention], None], device: torch.device) -> tuple[Attention, dict[str, float]]:
    """The attention with which `run` (one chunk forward and backward) took the least time here, with the times.

    The fused one needs the least memory, so the plain one must be faster by a tenth.
    """
    kinds = (Attention.FUSED, Attention.PLAIN)
    seconds = {f"attention_{kind}": median_seconds(partial(run, kind), _CHUNK_ROUNDS, device=device) for kind in kinds}
    plain = seconds["attention_eager"] < WORTH_OF_PLAIN * seconds["attention_sdpa"]
    return (Attention.PLAIN if plain else Attention.FUSED), seconds


def fastest_chunk(run: Callable[[int], None], sizes: Sequence[int]) -> tuple[int, dict[str, float]]:
    """The chunk size with which `run` (the same texts) took the least time here, with the times.

    The first size is the usual one and must be beaten by more than chance; one that does not fit the memory of the
    device is out of the question.
    """
    seconds = {size: min(_seconds_or_never(partial(run, size)) for _ in range(_CHUNK_ROUNDS)) for size in sizes}
    best = min(sizes, key=lambda size: seconds[size])
    chosen = best if seconds[best] < WORTH * seconds[sizes[0]] else sizes[0]
    return chosen, {f"chunk_{size}": time for size, time in seconds.items() if math.isfinite(time)}


def median_seconds(run: Callable[[], object], rounds: int, *, device: torch.device) -> float:
    """The median time of `run` after one warm-up, the device's queue emptied around each round."""
    times = []
    for _ in range(rounds + 1):
        _synchronize(device)
        start = time.perf_counter()
        run()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[(rounds - 1) // 2]


@dataclass(frozen=True, slots=True)
class _Probe:
    """Texts of a run, forward and backward."""

    encoder: Encoder
    tokens: TokenizedTexts
    precision: Precision
    stop: Callable[[], bool]

    def rows(self, num_tokens: int) -> NDArray[np.int64]:
        """The texts around the middle one by length, together about so many tokens, at least one text."""
        order = np.argsort(self.tokens.lengths, kind="stable")
        size = max(1, round(num_tokens / max(1.0, float(np.median(self.tokens.lengths)))))
        start = max(0, (len(order) - size) // 2)
        return order[start : start + size]

    def run(self, parts: Sequence[NDArray[np.int64]], *, attention: Attention) -> None:
        """Each part was encoded and sent back; whatever the device still has to do is done."""
        set_attention(self.encoder.backbone, attention)
        for rows in parts:
            if self.stop():
                raise Stopped("stopped while the machine was measured")
            with autocast(self.encoder.device, self.precision):
                vectors = self.encoder.embed(self.tokens, rows)
            vectors.backward(torch.ones_like(vectors))  # type: ignore[no-untyped-call]
        _synchronize(self.encoder.device)


def _known_attention(encoder: Encoder, config: TrainConfig) -> Attention | None:
    if encoder.backbone._supports_sdpa:
        return None if config.attention is Attention.AUTO else config.attention
    if config.attention is Attention.FUSED:  # MPNet among others
        raise ConfigError("attention is 'sdpa', which this model does not have; use 'eager'", param="attention")
    return Attention.PLAIN


def _seconds_or_never(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    try:
        run()
    except torch.OutOfMemoryError:
        return math.inf
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
