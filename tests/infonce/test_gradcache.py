"""A batch in chunks has the gradient of the undivided batch, whatever is kept and whatever the encoder does."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infonce.backbone import set_dropout
from infonce.encoder import Encoder
from infonce.errors import LossInputError, Stopped
from infonce.gradcache import GradCache, graph_bytes
from infonce.losses import info_nce
from infonce.temperature import LearnedTemperature
from infonce.tokens import TokenizedTexts
from tests.factories import sentences, tiny_encoder

NUM_PAIRS = 7
CHUNKS = [np.arange(0, 4), np.arange(4, 8), np.arange(8, 12), np.arange(12, 14)]  # the last one is uneven
DEVICE = torch.device("cpu")


def dropout(encoder: Encoder) -> None:
    set_dropout(encoder.backbone, 0.3)


def checkpointing(encoder: Encoder) -> None:
    set_dropout(encoder.backbone, 0.3)
    encoder.backbone.activation_checkpointing_enable()


def lora(encoder: Encoder) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(r=4, lora_dropout=0.2, target_modules=["query", "value"], init_lora_weights=False)
        encoder.backbone = get_peft_model(encoder.backbone, config)
    encoder.backbone.train()


def nothing(encoder: Encoder) -> None:
    encoder.backbone.train()


class Step:
    """One encoder, one batch of texts, one loss with a learnt temperature."""

    def __init__(self, folder: Path, prepare: Callable[[Encoder], None], *, bf16: bool) -> None:
        self.encoder = tiny_encoder(folder)
        prepare(self.encoder)
        self.tokens: TokenizedTexts = self.encoder.tokenize(sentences(2 * NUM_PAIRS))
        self.temperature = LearnedTemperature(0.1)
        self.bf16 = bf16
        torch.manual_seed(11)

    def embed(self, rows: np.ndarray) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16) if self.bf16 else nullcontext():
            return self.encoder.embed(self.tokens, rows)

    def loss(self, vectors: Tensor) -> Tensor:
        return info_nce(vectors[:NUM_PAIRS], vectors[NUM_PAIRS:], temperature=self.temperature())

    def gradients(self) -> dict[str, Tensor]:
        named = [*self.encoder.backbone.named_parameters(), *self.temperature.named_parameters()]
        return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


@pytest.mark.parametrize("num_kept", [0, 1, 3, 4])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("prepare", [nothing, dropout, checkpointing, lora])
def test_it_equals_one_backward_pass_through_everything(
    prepare: Callable[[Encoder], None], bf16: bool, num_kept: int, tmp_path: Path
) -> None:
    plain, cached = Step(tmp_path / "a", prepare, bf16=bf16), Step(tmp_path / "b", prepare, bf16=bf16)
    torch.manual_seed(11)
    whole = plain.loss(torch.cat([plain.embed(rows) for rows in CHUNKS]))
    whole.backward()

    torch.manual_seed(11)
    cache = GradCache(embed=cached.embed, device=DEVICE, num_kept=lambda chunks: num_kept)
    value, vectors = cache.backward(CHUNKS, cached.loss)

    assert value.item() == whole.item()
    assert vectors.shape == (2 * NUM_PAIRS, 32)
    expected, found = plain.gradients(), cached.gradients()
    assert found.keys() == expected.keys() and "logit_scale" in found and len(found) > 5
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=2e-3 if bf16 else 2e-6, msg=name)


@pytest.mark.parametrize("num_kept", [0, 2])
def test_pitfall_generator_state_not_captured_which_graphs_are_kept_changes_no_bit(
    num_kept: int, tmp_path: Path
) -> None:
    steps = [Step(tmp_path / name, dropout, bf16=False) for name in "ab"]
    for step, kept in zip(steps, (4, num_kept), strict=True):
        torch.manual_seed(11)
        GradCache(embed=step.embed, device=DEVICE, num_kept=lambda chunks, kept=kept: kept).backward(CHUNKS, step.loss)
    for name, gradient in steps[0].gradients().items():
        assert torch.equal(steps[1].gradients()[name], gradient), name


def test_the_generator_goes_on_as_if_every_chunk_had_been_encoded_once(tmp_path: Path) -> None:
    after = []
    for name, kept in (("a", 4), ("b", 0)):
        step = Step(tmp_path / name, dropout, bf16=False)
        torch.manual_seed(11)
        GradCache(embed=step.embed, device=DEVICE, num_kept=lambda chunks, kept=kept: kept).backward(CHUNKS, step.loss)
        after.append(torch.rand(4))
    assert torch.equal(*after)


def test_without_graphs_each_chunk_is_encoded_twice_and_only_one_graph_lives_at_a_time() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    calls: list[tuple[int, bool]] = []

    def embed(rows: np.ndarray) -> Tensor:
        calls.append((int(rows[0]), torch.is_grad_enabled()))
        return torch.eye(3)[torch.from_numpy(rows)] @ weight

    chunks = [np.array([0]), np.array([1]), np.array([2])]
    GradCache(embed=embed, device=DEVICE, num_kept=lambda own: 1).backward(chunks, lambda vectors: vectors.sum())
    assert calls == [(0, False), (1, False), (2, True), (1, True), (0, True)]
    assert torch.equal(weight.grad, torch.ones(3, 2))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_pitfall_cached_gradient_scaled_by_chunk_count_or_batch(size: int) -> None:
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    weight = nn.Parameter(torch.eye(4))
    info_nce(inputs[:3] @ weight, inputs[3:] @ weight).backward()
    expected, weight.grad = weight.grad, None
    cache = GradCache(embed=lambda rows: inputs[torch.from_numpy(rows)] @ weight, device=DEVICE, num_kept=lambda own: 0)
    chunks = [np.arange(start, min(start + size, 6)) for start in range(0, 6, size)]
    cache.backward(chunks, lambda vectors: info_nce(vectors[:3], vectors[3:]))
    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.parametrize("size", [1, 3, 6])
def test_pitfall_temperature_ignored_or_its_gradient_multiplied_by_the_number_of_chunks(size: int) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    weight = nn.Parameter(vectors)
    gradients = []
    for cached in (False, True):
        learnt = LearnedTemperature(0.3)
        chunks = [np.arange(start, min(start + size, 6)) for start in range(0, 6, size)] if cached else [np.arange(6)]
        cache = GradCache(embed=lambda rows: weight[torch.from_numpy(rows)], device=DEVICE, num_kept=lambda own: 0)
        value, _ = cache.backward(chunks, lambda all, learnt=learnt: info_nce(all[:3], all[3:], temperature=learnt()))
        assert value.item() == pytest.approx(info_nce(vectors[:3], vectors[3:], temperature=0.3).item())
        gradients.append(learnt.logit_scale.grad.item())
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-6) and gradients[0] != 0


def test_a_gradient_that_is_there_already_is_added_to() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    cache = GradCache(embed=lambda rows: weight[torch.from_numpy(rows)], device=DEVICE, num_kept=lambda own: 0)
    for _ in range(2):
        cache.backward([np.array([1]), np.array([0])], lambda vectors: (vectors * torch.tensor([1.0, 2.0])).sum())
    assert torch.equal(weight.grad, torch.tensor([[2.0, 4.0], [2.0, 4.0]]))


def test_a_wish_to_stop_is_heard_at_every_chunk_of_every_pass() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    chunks = [np.array([number]) for number in range(3)]
    for allowed in range(6):
        left = iter(range(allowed))
        cache = GradCache(
            embed=lambda rows: weight[torch.from_numpy(rows)],
            device=DEVICE,
            num_kept=lambda own: 0,
            stop=lambda left=left: next(left, None) is None,
        )
        with pytest.raises(Stopped):
            cache.backward(chunks, lambda vectors: vectors.sum())


@pytest.mark.parametrize("chunks", [[[0, 1, 2], [4, 4]], [[0, 2]], [[0], [-1]], []])
def test_chunks_that_leave_a_row_out_or_hold_one_twice_are_refused(chunks: list[list[int]]) -> None:
    cache = GradCache(embed=lambda rows: torch.ones(len(rows), 2), device=DEVICE)
    with pytest.raises(LossInputError, match="each of 0 … U - 1 once"):
        cache.backward([np.array(rows) for rows in chunks], lambda vectors: vectors.sum())


def test_the_bytes_of_a_graph_count_each_tensor_once_and_no_parameter() -> None:
    weight = nn.Parameter(torch.ones(8, 8))

    def embed(rows: np.ndarray) -> Tensor:
        inputs = torch.ones(len(rows), 8)  # kept for the weight's gradient
        hidden = (inputs @ weight).exp()  # kept for its own gradient, and as an input
        return hidden @ weight

    held = graph_bytes(embed, np.arange(16), parameters=[weight])
    assert held == 2 * 16 * 8 * 4
