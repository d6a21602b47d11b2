"""The InfoNCE family: pure functions of tensors, computed in float32 or wider whatever the encoder ran in.

The gradient of every function is exact for whatever it is given, temperature included. Vectors are taken as they
are: normalise them before. `docs/losses.md` tells which form is for what.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from infonce.errors import LossInputError
from infonce.loss_config import LossConfig, Negatives
from infonce.shapes import check_batch, check_candidates, check_config, check_mask, check_temperature, check_views
from infonce.tiled import tile_side, tiled_info_nce

_DEFAULT = LossConfig()


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None = None,
    also_positive: Tensor | None = None,
    temperature: float | Tensor | None = None,
    config: LossConfig = _DEFAULT,
) -> Tensor:
    """The mean InfoNCE loss of a batch: each anchor must pick its positive out of its candidates.

    Which candidates it has `config.negatives` says; without negatives they are the batch's positives in every mode.
    The symmetric form (CLIP, Radford et al. 2021) averages in the other direction, where each positive must pick its
    anchor out of the batch's anchors; hard negatives take no part there, for they answer nobody. With
    `matryoshka_dims` the loss is Σ weight · loss / Σ weight over renormalised prefixes and the whole (MRL, Kusupati et
    al. 2022), each weighing 1 or its `matryoshka_weights`. The loss itself: van den Oord et al. 2018, equation 4.
    `temperature` stands in for the config's where it is learnt.

    Shape:
        anchors (B, D), positives (B, D), negatives (M, D), or (B, M, D) when paired, all of unit length;
        also_positive (B, B + M) bool, dense or sparse COO, marks candidates that are right without being the label:
        they leave the partition, in both directions. The label itself is never masked, so no row runs empty.
        Returns a scalar.
    Raises:
        LossInputError: shapes or types do not belong together; the temperature is no finite number above 0, or is to
            be learnt and not given; one of `matryoshka_dims` is longer than the vectors; `num_views`, `queue_size` or
            `momentum` is set, of which one batch of pairs knows nothing.
    """
    check_config(config)
    check_batch(anchors, positives, negatives=negatives, also_positive=also_positive, config=config)
    tau = _temperature(temperature, config)
    compute = partial(_info_nce, also_positive=also_positive, temperature=tau, config=config)
    vectors = (anchors, positives) if negatives is None else (anchors, positives, negatives)
    with torch.autocast(anchors.device.type, enabled=False):
        return _over_prefixes(compute, vectors, config=config)


def info_nce_of_each(
    anchors: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None = None,
    also_positive: Tensor | None = None,
    temperature: float | Tensor | None = None,
    mode: Negatives = Negatives.SHARED,
) -> Tensor:
    """The loss of every anchor against its candidates, in the one direction from anchor to document.

    Shape:
        as `info_nce`; returns (B,).
    Raises:
        LossInputError: shapes or types do not belong together.
    """
    config = LossConfig(negatives=mode)
    check_batch(anchors, positives, negatives=negatives, also_positive=also_positive, config=config)
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, positives, *hard = _wide(*(part for part in (anchors, positives, negatives) if part is not None))
        compute = partial(_each, anchors, positives, negatives=hard[0] if hard else None, also_positive=also_positive)
        return compute(temperature=_temperature(temperature, config), mode=config.negatives)


def nt_xent(
    views: Tensor,
    *,
    also_positive: Tensor | None = None,
    temperature: float | Tensor | None = None,
    config: LossConfig | None = None,
) -> Tensor:
    """NT-Xent (SimCLR, Chen et al. 2020, equation 1) over any number of views of the same things.

    Every view must pick each other view of its thing out of that one and all views of all other things; its
    similarity to itself takes no part. Views of one thing are never each other's negatives. Holds the whole matrix of
    (V·B)² logits. Prefixes are weighed as in `info_nce`.

    Shape:
        views (V, B, D) of unit length; also_positive (V·B, V·B) bool over `views.flatten(0, 1)` marks further
        positives that leave the partition. Returns a scalar, the mean over all V·B views and their V - 1 positives.
    Raises:
        LossInputError: shapes or types do not belong together; the temperature is no finite number above 0, or is to
            be learnt and not given; one of `matryoshka_dims` is longer than the vectors; the config's `num_views` is
            not V.
    """
    check_views(views)
    num_views, size, _ = views.shape
    total = num_views * size
    if also_positive is not None:
        check_mask("also_positive", also_positive, shape=(total, total))
    if config is not None and config.num_views != num_views:
        expected = f"config.num_views is {config.num_views}; expected their number, {num_views}"
        raise LossInputError(f"views is {tuple(views.shape)} and {expected}")
    config = config or _DEFAULT
    same = torch.eye(size, dtype=torch.bool, device=views.device).repeat(num_views, num_views)  # (V·B, V·B)
    itself = torch.eye(total, dtype=torch.bool, device=views.device)
    apart = same if also_positive is None else same | also_positive.to_dense()
    tau = _temperature(temperature, config)
    compute = partial(_multi_positive, is_positive=same & ~itself, apart=apart, temperature=tau)
    flat = views.flatten(0, 1)
    with torch.autocast(views.device.type, enabled=False):
        return _over_prefixes(compute, (flat, flat), config=config)


def multi_positive_info_nce(
    anchors: Tensor,
    candidates: Tensor,
    *,
    is_positive: Tensor,
    also_positive: Tensor | None = None,
    temperature: float | Tensor | None = None,
) -> Tensor:
    """InfoNCE with several positives an anchor, none of which is a negative of another.

    As SupCon (Khosla et al. 2020, equation 2), but each positive competes with the negatives alone: where SupCon
    keeps all positives in the partition, an anchor with k of them cannot fall under log k.

    Shape:
        anchors (B, D), candidates (C, D) of unit length; is_positive (B, C) bool with at least one true a row;
        also_positive (B, C) bool marks candidates that are neither. Returns a scalar, the mean over anchors of the
        mean over their positives.
    Raises:
        LossInputError: shapes or types do not belong together, or an anchor has no positive.
    """
    check_candidates(anchors, candidates)
    shape = (len(anchors), len(candidates))
    check_mask("is_positive", is_positive, shape=shape)
    if also_positive is not None:
        check_mask("also_positive", also_positive, shape=shape)
    right = is_positive.to_dense()
    if not bool(right.any(dim=1).all()):
        missing = int((~right.any(dim=1)).nonzero()[0])
        raise LossInputError(f"is_positive is {shape} and row {missing} marks nothing; expected a positive a row")
    apart = right if also_positive is None else right | also_positive.to_dense()
    with torch.autocast(anchors.device.type, enabled=False):
        tau = _temperature(temperature, _DEFAULT)
        return _multi_positive(*_wide(anchors, candidates), is_positive=right, apart=apart, temperature=tau)


def _info_nce(
    *vectors: Tensor,
    also_positive: Tensor | None,
    temperature: float | Tensor,
    config: LossConfig,
) -> Tensor:
    """One prefix of `info_nce`."""
    anchors, positives, *hard = vectors
    negatives = hard[0] if hard else None
    if negatives is None or config.negatives is Negatives.SHARED:
        candidates = positives if negatives is None else torch.cat([positives, negatives])
        return _in_batch(anchors, candidates, also_positive=also_positive, temperature=temperature, config=config)
    there = _each(
        anchors,
        positives,
        negatives=negatives,
        also_positive=also_positive,
        temperature=temperature,
        mode=config.negatives,
    ).mean()
    if not config.symmetric:
        return there
    among = None if also_positive is None else also_positive.narrow_copy(1, 0, len(anchors)).t()
    config = replace(config, symmetric=False, negatives=Negatives.SHARED)  # the form in which tiles may be asked for
    return (there + _in_batch(positives, anchors, also_positive=among, temperature=temperature, config=config)) / 2


def _in_batch(
    anchors: Tensor,
    candidates: Tensor,
    *,
    also_positive: Tensor | None,
    temperature: float | Tensor,
    config: LossConfig,
) -> Tensor:
    """The loss over candidates of which the first B are the positives, whole or in tiles."""
    size = len(anchors)
    if side := tile_side(size, len(candidates), config=config):
        return tiled_info_nce(
            anchors,
            candidates,
            also_positive=also_positive,
            temperature=temperature,
            symmetric=config.symmetric,
            side=side,
        )
    logits = _in_batch_logits(anchors, candidates, also_positive=also_positive, temperature=temperature)  # (B, C)
    labels = torch.arange(size, device=logits.device)
    there = F.cross_entropy(logits, labels)
    return (there + F.cross_entropy(logits[:, :size].T, labels)) / 2 if config.symmetric else there


def _each(
    anchors: Tensor,
    positives: Tensor,
    *,
    negatives: Tensor | None,
    also_positive: Tensor | None,
    temperature: float | Tensor,
    mode: Negatives,
) -> Tensor:
    """The loss of each anchor over its candidates; (B,)."""
    size = len(anchors)
    if negatives is None or mode is Negatives.SHARED:
        candidates = positives if negatives is None else torch.cat([positives, negatives])
        logits = _in_batch_logits(anchors, candidates, also_positive=also_positive, temperature=temperature)
        return F.cross_entropy(logits, torch.arange(size, device=logits.device), reduction="none")
    label = (anchors * positives).sum(dim=1, keepdim=True) / temperature  # (B, 1)
    paired = mode is Negatives.PAIRED
    scores = torch.bmm(negatives, anchors[:, :, None])[:, :, 0] if paired else anchors @ negatives.T  # (B, M)
    wrong = scores / temperature  # masked after it: an infinity divided by τ gives τ a gradient of NaN
    if also_positive is not None:
        wrong = wrong.masked_fill(also_positive.narrow_copy(1, size, wrong.shape[1]).to_dense(), float("-inf"))
    logits = torch.cat([label, wrong], dim=1)  # (B, 1 + M)
    return F.cross_entropy(logits, torch.zeros(size, dtype=torch.long, device=logits.device), reduction="none")


def _in_batch_logits(
    anchors: Tensor, candidates: Tensor, *, also_positive: Tensor | None, temperature: float | Tensor
) -> Tensor:
    """Every anchor against every candidate, minus infinity where masked, the label never; (B, C)."""
    logits = anchors @ candidates.T / temperature
    if also_positive is None:
        return logits
    label = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    return logits.masked_fill(also_positive.to_dense() & ~label, float("-inf"))


def _multi_positive(
    anchors: Tensor,
    candidates: Tensor,
    *,
    is_positive: Tensor,
    apart: Tensor,
    temperature: float | Tensor,
) -> Tensor:
    """The mean over anchors of the mean over positives of log(exp(positive) + sum of exp(negatives)) - positive.

    `apart` (B, C) marks what is no negative, positives included.
    """
    logits = anchors @ candidates.T / temperature  # (B, C)
    lowest = torch.finfo(logits.dtype).min  # not -inf, of which a row without negatives has a NaN in its gradient
    negatives = logits.masked_fill(apart, lowest).logsumexp(dim=1, keepdim=True)  # (B, 1)
    each = F.softplus(negatives - logits, threshold=40).masked_fill(~is_positive, 0.0)  # (B, C); e^-40 is below float64
    return (each.sum(dim=1) / is_positive.sum(dim=1)).mean()


def _over_prefixes(compute: Callable[..., Tensor], vectors: Sequence[Tensor], *, config: LossConfig) -> Tensor:
    """The weighted mean of `compute` over every prefix that the config names and the whole vectors."""
    wide = _wide(*vectors)
    if config.matryoshka_dims is None:
        return compute(*wide)
    whole = wide[0].shape[-1]
    if max(config.matryoshka_dims) > whole:
        raise LossInputError(
            f"matryoshka_dims is {list(config.matryoshka_dims)} and the vectors have shape {tuple(wide[0].shape)}; "
            f"expected lengths of at most {whole}"
        )
    weights = config.weights_of_prefixes(whole)
    cuts = ([F.normalize(part[..., :dim], dim=-1) if dim < whole else part for part in wide] for dim in weights)
    losses = [weight * compute(*cut) for weight, cut in zip(weights.values(), cuts, strict=True)]
    return torch.stack(losses).sum() / sum(weights.values())


def _temperature(given: float | Tensor | None, config: LossConfig) -> float | Tensor:
    if given is None:
        if config.learn_temperature:
            remedy = "pass the tensor of a LearnedTemperature as temperature"
            raise LossInputError(f"config.learn_temperature is true and no temperature is given: {remedy}")
        return config.temperature
    check_temperature(given)
    return given.reshape(()) if isinstance(given, Tensor) else given


def _wide(*tensors: Tensor) -> list[Tensor]:
    """In the widest type of all, float32 at least: bf16 logits at a temperature of 0.01 are off by up to 0.44."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return [tensor.to(dtype) for tensor in tensors]
