"""What `auto` becomes where the pairs and the width of the model decide; measured in docs/log.md. Knows no torch."""

from infonce.lora_config import LoraConfig


def auto_epochs(num_pairs: int) -> int:
    """Enough passes that a small set sees some hundred steps, one pass for a large one."""
    if num_pairs >= 20_000:
        return 1
    return 2 if num_pairs >= 2_000 else 3


def auto_batch(num_pairs: int) -> int:
    """More steps for a small set, more negatives for a large one."""
    return min(32 if num_pairs < 4_000 else 64, num_pairs)


def auto_rate(width: int | None, lora: LoraConfig | None) -> float:
    """1e-4 up to 384 dimensions, where it was measured, and less the wider a model is.

    A model that is not here yet counts as one of 768. Adapters start from nothing and are few: they want more.
    """
    return 1e-4 * min(1.0, 384 / (width or 768)) * (1 if lora is None else 10)
