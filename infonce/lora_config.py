"""Low-rank adapters instead of a full fine-tune (LoRA, Hu et al. 2021); knows no torch."""

from dataclasses import dataclass

from infonce.limits import check_range, check_whole


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Every linear layer W becomes W + (alpha / r) · B A, of which A and B are trained; merged when the run ends."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0  # of the adapters' input

    def __post_init__(self) -> None:
        check_whole("lora.r", self.r, low=1, high=1_024, remedy="8 to 64 is usual")
        check_whole("lora.alpha", self.alpha, low=1, high=100_000, remedy="once or twice r is usual")
        check_range("lora.dropout", self.dropout, low=0.0, high=0.9)
