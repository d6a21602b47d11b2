"""What this machine computes fastest: measured once per job on its own texts, recorded, never guessed.

bf16 products ran 3 times as fast as float32 on one processor with avx512_bf16 and half as fast on another, and which
attention is the faster one depends on processor and text length (docs/log.md).
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from infonce.config import Attention, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.int8 import has_int8
from infonce.precision import Choice, autocast
from infonce.tokens import TokenizedTexts

_PROBE_TOKENS = 1_024
_PRODUCT = (2_048, 384, 1_536)  # tokens of a chunk through the widest layer of a small encoder
_PRODUCT_ROUNDS = 8
_CHUNK_ROUNDS = 2
_SERVED_TEXTS = ["what a query or a paragraph is like " * repeats for repeats in (1, 1, 2, 8, 12)]
_SERVED_ROUNDS = 5


def measure(encoder: Encoder, tokens: TokenizedTexts, *, config: TrainConfig) -> Choice:
    """The precision and the attention in which a chunk of these very texts takes the least time here.

    What the config names is taken as it is. The weights' gradients are empty afterwards.
    """
    precision, seconds = config.precision, dict[str, float]()
    if precision is Precision.AUTO:
        precision, seconds = fastest_precision(encoder.device)
    if (known := _known_attention(encoder, config)) is not None:
        return Choice(precision=precision, attention=known, seconds=seconds)
    middle = int(np.median(tokens.lengths))
    near = np.argsort(np.abs(tokens.lengths - middle), kind="stable")[: max(1, _PROBE_TOKENS // max(1, middle))]

    def run(attention: Attention) -> None:
        encoder.backbone.set_attn_implementation(attention.value)  # type: ignore[operator]
        with autocast(encoder.device, precision):
            vectors = encoder.embed(tokens, near)
        vectors.backward(torch.ones_like(vectors))  # type: ignore[no-untyped-call]

    attention, timed = fastest_attention(run, encoder.device)
    encoder.backbone.zero_grad()
    return Choice(precision=precision, attention=attention, seconds=seconds | timed)


def _known_attention(encoder: Encoder, config: TrainConfig) -> Attention | None:
    if encoder.backbone._supports_sdpa:
        return None if config.attention is Attention.AUTO else config.attention
    if config.attention is Attention.FUSED:  # MPNet among others
        raise ConfigError("attention is 'sdpa', which this model does not have; use 'eager'", param="attention")
    return Attention.PLAIN


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
    around its products.
    """
    best, seconds = fastest_precision(encoder.device)
    if not has_int8(encoder.device):
        return best, seconds
    for precision in (best, Precision.INT8):
        run = partial(encoder.encode, _SERVED_TEXTS, precision=precision)
        seconds[f"encode_{precision}"] = median_seconds(run, _SERVED_ROUNDS, device=encoder.device)
    faster = seconds["encode_int8"] < 0.9 * seconds[f"encode_{best}"]
    return (Precision.INT8 if faster else best), seconds


def fastest_attention(run: Callable[[Attention], None], device: torch.device) -> tuple[Attention, dict[str, float]]:
    """The attention with which `run` (one chunk forward and backward) took the least time here, with the times."""
    kinds = (Attention.FUSED, Attention.PLAIN)
    seconds = {f"attention_{kind}": median_seconds(partial(run, kind), _CHUNK_ROUNDS, device=device) for kind in kinds}
    return min(kinds, key=lambda kind: seconds[f"attention_{kind}"]), seconds


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


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
