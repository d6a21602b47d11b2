"""InfoNCE: pure functions of tensors, computed in float32 whatever the encoder ran in."""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None = None,
    temperature: float = 0.05,
    symmetric: bool = True,
    also_positive: Tensor | None = None,
) -> Tensor:
    """The mean InfoNCE loss of a batch: each anchor must pick its positive out of all candidates.

    The candidates of an anchor are every positive of the batch and every hard negative. The symmetric form (CLIP,
    Radford et al. 2021) averages in the other direction, where each positive must pick its anchor; hard negatives
    take no part there, for they answer nobody. The loss itself: van den Oord et al. 2018, equation 4.

    Shape:
        anchors (B, D), positives (B, D), negatives (M, D), all of unit length; also_positive (B, B + M) bool marks
        candidates that are right without being the label: they leave the partition, in both directions. The
        label itself is never masked, so no row runs empty. Returns a scalar, float32.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        candidates = positives if negatives is None else torch.cat([positives, negatives])
        logits = anchors.float() @ candidates.float().T / temperature  # (B, B + M)
        size = len(anchors)
        if also_positive is not None:
            label = torch.eye(size, logits.shape[1], dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(also_positive & ~label, float("-inf"))
        labels = torch.arange(size, device=logits.device)
        forward = F.cross_entropy(logits, labels)
        if not symmetric:
            return forward
        return (forward + F.cross_entropy(logits[:, :size].T, labels)) / 2
