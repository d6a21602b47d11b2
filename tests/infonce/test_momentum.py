"""The queue holds the newest vector of each text; the slow encoder follows the trained one and no further."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from infonce.config import Precision
from infonce.momentum import KeyQueue, SlowEncoder
from tests.factories import sentences, tiny_encoder

CPU = torch.device("cpu")
BATCHES = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def vectors_of(numbers: list[int], stamp: int) -> torch.Tensor:
    """One vector a text, which tells text and batch."""
    return torch.tensor([[number, stamp] for number in numbers], dtype=torch.float32).reshape(-1, 2)


@given(batches=BATCHES, size=st.integers(1, 8))
def test_the_queue_equals_a_list_without_repeats_cut_at_its_old_end(batches: list[list[int]], size: int) -> None:
    queue, expected = KeyQueue(size, dimensions=2, device=CPU), list[tuple[int, int]]()
    for stamp, numbers in enumerate(batches):
        queue.push(vectors_of(numbers, stamp), np.array(numbers, dtype=np.int64))
        for number in numbers:
            expected = [entry for entry in expected if entry[0] != number] + [(number, stamp)]
        expected = expected[-size:]
    assert [tuple(map(int, vector)) for vector in queue.vectors] == expected
    assert queue.texts.tolist() == [number for number, _ in expected]


def test_what_stands_in_the_batch_is_left_out() -> None:
    queue = KeyQueue(9, dimensions=2, device=CPU)
    queue.push(vectors_of([1, 2, 3], 0), np.array([1, 2, 3]))
    vectors, texts = queue.without(np.array([2, 7]))
    assert texts.tolist() == [1, 3]
    assert vectors[:, 0].tolist() == [1, 3]


def test_a_queue_goes_on_from_its_state() -> None:
    queue, other = (KeyQueue(3, dimensions=2, device=CPU) for _ in range(2))
    queue.push(vectors_of([1, 2, 3], 0), np.array([1, 2, 3]))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(vectors_of([4, 1], 1), np.array([4, 1]))
    assert other.texts.tolist() == queue.texts.tolist() == [3, 4, 1]
    assert torch.equal(other.vectors, queue.vectors)


def test_the_slow_encoder_keeps_its_share_of_itself_at_every_step(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "m")
    slow = SlowEncoder(encoder, momentum=0.75)
    start = [parameter.detach().clone() for parameter in encoder.backbone.parameters()]
    with torch.no_grad():
        for parameter in encoder.backbone.parameters():
            parameter += 1.0
    slow.follow()
    slow.follow()
    followed = slow.state_dict()
    for (name, parameter), before in zip(encoder.backbone.named_parameters(), start, strict=True):
        torch.testing.assert_close(followed[name], before + (1 - 0.75**2), msg=name)
        assert not followed[name].requires_grad and parameter.requires_grad


def test_the_slow_encoder_draws_no_dropout_and_the_trained_one_still_does(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "m")
    expected = encoder.encode(sentences(4))
    encoder.backbone.train()
    slow = SlowEncoder(encoder, momentum=0.9)
    made = slow.embed(encoder.tokenize(sentences(4)), np.arange(4), precision=Precision.FLOAT32)
    torch.testing.assert_close(made, torch.from_numpy(expected), atol=1e-6, rtol=0)
    assert encoder.backbone.training and not made.requires_grad


def test_a_slow_encoder_goes_on_from_its_state(tmp_path: Path) -> None:
    slow = SlowEncoder(tiny_encoder(tmp_path / "a"), momentum=0.5)
    other = SlowEncoder(tiny_encoder(tmp_path / "b"), momentum=0.5)
    other.load_state_dict(
        {name: tensor + 1 for name, tensor in slow.state_dict().items() if tensor.is_floating_point()}
    )
    for name, tensor in slow.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor + 1)
