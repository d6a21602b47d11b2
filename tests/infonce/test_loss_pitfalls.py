"""The mistakes that other implementations of these losses made, each by its name."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from infonce.loss_config import LossConfig, Negatives
from infonce.losses import info_nce, info_nce_of_each, multi_positive_info_nce, nt_xent
from infonce.modules import InfoNCE, SymmetricInfoNCE
from tests.infonce.obvious import mask, units, value_and_gradients

FORMS: dict[str, Callable[..., Tensor]] = {
    "symmetric": lambda anchors, positives, **given: info_nce(anchors, positives, **given),
    "one direction": lambda anchors, positives, **given: info_nce(
        anchors, positives, config=LossConfig(symmetric=False), **given
    ),
    "each": lambda anchors, positives, **given: info_nce_of_each(anchors, positives, **given),
    "prefixes": lambda anchors, positives, **given: info_nce(
        anchors, positives, config=LossConfig(matryoshka_dims=(4,)), **given
    ),
    "several positives": lambda anchors, positives, **given: multi_positive_info_nce(
        anchors, positives, is_positive=torch.eye(len(anchors), dtype=torch.bool), **given
    ),
}
"""Every form that takes anchors and as many positives, and a mask over the two."""


APART = torch.cat([torch.eye(4), -torch.eye(4)]).double().repeat(1, 2) / math.sqrt(2)
"""Eight vectors of unit length with cosines of 0 or -1, whole and in their first half."""


def of_views(anchors: Tensor, positives: Tensor, **given: Any) -> Tensor:
    """NT-Xent with the anchors and the positives as the two views; a mask is over both."""
    return nt_xent(torch.stack([anchors, positives]), **given)


def equal_positives(copies: int) -> tuple[Tensor, Tensor]:
    """Which of 9 - `copies` texts each of 8 positives is, and which pairs of rows hold the same one."""
    texts = torch.tensor([0] * copies + list(range(1, 9 - copies)))
    return texts, texts[:, None] == texts[None, :]


def optimised(texts: Tensor, *, also_positive: Tensor | None) -> float:
    """The symmetric loss that 60 steps over free anchors and free vectors for the texts reach."""
    generator = torch.Generator().manual_seed(0)
    free = [torch.randn(8, 16, generator=generator).requires_grad_() for _ in range(2)]
    loss, optimizer = SymmetricInfoNCE(0.05), torch.optim.Adam(free, lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(free[0], free[1][texts], also_positive=also_positive)
        value.backward()
        optimizer.step()
    return value.item()


@pytest.mark.parametrize(("copies", "floor"), [(2, 0.17), (4, 0.69), (8, 2.07)])
def test_duplicate_positives_as_negatives_keep_training_over_a_floor_that_the_mask_removes(
    copies: int, floor: float
) -> None:
    texts, same = equal_positives(copies)
    assert floor < optimised(texts, also_positive=None) < floor + 0.02
    assert optimised(texts, also_positive=same) < 0.001


@pytest.mark.parametrize("copies", [2, 4, 8])
@pytest.mark.parametrize("form", FORMS)
def test_duplicate_positives_as_negatives_cost_the_logarithm_of_their_number(copies: int, form: str) -> None:
    texts, same = equal_positives(copies)
    vectors = APART[texts]
    loss = FORMS[form](vectors, vectors, temperature=0.005).mean().item()
    assert loss == pytest.approx(copies / 8 * math.log(copies), abs=1e-6)
    assert FORMS[form](vectors, vectors, temperature=0.005, also_positive=same).mean().item() < 1e-6


def test_duplicate_things_as_negatives_leave_the_views_with_the_mask() -> None:
    texts, same = equal_positives(4)
    views = torch.eye(8)[texts].repeat(2, 1, 1)
    assert nt_xent(views, temperature=0.01).item() > 0.69
    assert nt_xent(views, temperature=0.01, also_positive=same.repeat(2, 2)).item() < 1e-6


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_mask_that_hits_the_true_positive_is_as_one_that_does_not(form: str, sparse: bool) -> None:
    anchors, positives, label = units(6, 8, seed=0), units(6, 8, seed=1), torch.eye(6, dtype=torch.bool)
    masked = mask(6, 6, seed=2)
    losses = []
    for marks in (masked | label, masked & ~label):
        marks = marks.to_sparse() if sparse else marks
        losses.append(FORMS[form](anchors, positives, temperature=0.1, also_positive=marks))
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_a_mask_that_hits_the_other_views_of_a_thing_is_as_one_that_does_not() -> None:
    views, same = units(3, 4, 8, seed=0), torch.eye(4, dtype=torch.bool).repeat(3, 3)
    masked = mask(12, 12, seed=2)
    losses = [nt_xent(views, also_positive=marks) for marks in (masked | same, masked & ~same)]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


@contextmanager
def anomalies_raise() -> Iterator[None]:
    """A NaN anywhere in the backward pass is an error, also where a later step would have hidden it."""
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        yield


@pytest.mark.parametrize("form", [*FORMS, "views"])
def test_a_mask_over_a_whole_row_gives_loss_0_and_finite_gradients(form: str) -> None:
    inputs = [units(4, 8, seed=0), units(4, 8, seed=1), torch.tensor(0.05, dtype=torch.float64)]
    size = 8 if form == "views" else 4
    loss = {**FORMS, "views": of_views}[form]
    everything = torch.ones(size, size, dtype=torch.bool)
    with anomalies_raise():
        value, *gradients = value_and_gradients(
            lambda anchors, positives, tau: loss(anchors, positives, temperature=tau, also_positive=everything), *inputs
        )
    assert (value == 0).all()
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("mode", Negatives)
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_mask_over_all_hard_negatives_gives_finite_gradients(mode: Negatives, symmetric: bool) -> None:
    own = [4] if mode is Negatives.PAIRED else []
    tau, negatives = torch.tensor(0.05, dtype=torch.float64), units(*own, 3, 8, seed=2)
    config = LossConfig(negatives=mode, symmetric=symmetric)

    def loss(anchors: Tensor, positives: Tensor, tau: Tensor, negatives: Tensor) -> Tensor:
        given = {"negatives": negatives, "also_positive": torch.ones(4, 7, dtype=torch.bool), "temperature": tau}
        return info_nce(anchors, positives, config=config, **given)

    with anomalies_raise():
        value, *gradients = value_and_gradients(loss, units(4, 8, seed=0), units(4, 8, seed=1), tau, negatives)
    assert value == 0
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("mode", Negatives)
def test_hard_negatives_stay_out_of_the_column_direction(mode: Negatives) -> None:
    anchors, positives = units(5, 8, seed=0), units(5, 8, seed=1)
    negatives = units(5, 3, 8, seed=2) if mode is Negatives.PAIRED else units(3, 8, seed=2)
    there = info_nce(anchors, positives, negatives=negatives, config=LossConfig(symmetric=False, negatives=mode))
    back = info_nce(positives, anchors, config=LossConfig(symmetric=False))
    both = info_nce(anchors, positives, negatives=negatives, config=LossConfig(negatives=mode))
    torch.testing.assert_close(both, (there + back) / 2)


@pytest.mark.parametrize("form", [*FORMS, "views"])
def test_a_positive_counted_twice_in_the_partition_would_leave_a_floor_of_ln_2(form: str) -> None:
    loss = {**FORMS, "views": of_views}[form](APART, APART, temperature=0.005)
    assert loss.max().item() < 1e-6 < math.log(2)


@pytest.mark.parametrize("mode", [Negatives.PAIRED, Negatives.UNPAIRED])
def test_a_positive_counted_twice_beside_hard_negatives_would_leave_a_floor_of_ln_2(mode: Negatives) -> None:
    vectors = torch.eye(8)
    negatives = vectors[4:, None] if mode is Negatives.PAIRED else vectors[4:]
    loss = info_nce_of_each(vectors[:4], vectors[:4], negatives=negatives, temperature=0.01, mode=mode)
    assert loss.max().item() < 1e-6 < math.log(2)


class LargestTensor(TorchDispatchMode):
    """Knows the size of the largest storage that was made while it was on."""

    def __init__(self, *inputs: Tensor) -> None:
        super().__init__()
        self.known = {part.untyped_storage().data_ptr() for part in inputs}
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for part in made if isinstance(made, tuple | list) else [made]:
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in self.known:
                self.num_bytes = max(self.num_bytes, part.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("mode", [Negatives.PAIRED, Negatives.UNPAIRED])
def test_no_broadcast_cosine_of_every_anchor_times_every_negative_times_every_dimension(mode: Negatives) -> None:
    anchors, positives = (units(32, 64, seed=seed).float().requires_grad_() for seed in (0, 1))
    negatives = units(*([32, 16] if mode is Negatives.PAIRED else [128]), 64, seed=2).float()
    with LargestTensor(anchors, positives, negatives) as largest:
        info_nce_of_each(anchors, positives, negatives=negatives, mode=mode).sum().backward()
    assert 0 < largest.num_bytes <= 4 * 32 * 129  # logits over the label and at most 128 negatives


def test_the_watch_for_a_broadcast_cosine_sees_one() -> None:
    anchors, negatives = units(32, 64, seed=0), units(32, 16, 64, seed=1)
    with LargestTensor(anchors, negatives) as largest:
        F.cosine_similarity(anchors[:, None], negatives, dim=-1)
    assert largest.num_bytes >= 8 * 32 * 16 * 64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", [*FORMS, "views", "module"])
def test_logits_in_bf16_under_autocast_are_not_made(form: str, dtype: torch.dtype) -> None:
    inputs = [part.to(dtype) for part in (units(16, 64, seed=0), units(16, 64, seed=1))]
    forms = {**FORMS, "views": of_views, "module": lambda query, key, temperature: InfoNCE(temperature)(query, key)}

    def loss(anchors: Tensor, positives: Tensor) -> Tensor:
        return forms[form](anchors, positives, temperature=0.01)

    def inside(anchors: Tensor, positives: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss(anchors, positives)

    found = value_and_gradients(inside, *inputs)
    assert found[0].dtype is torch.float32
    torch.testing.assert_close(found, value_and_gradients(loss, *inputs), rtol=0, atol=0)
