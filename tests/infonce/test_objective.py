"""The loss of a batch equals one written over texts, a pair at a time, for every form and all that is known."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from infonce.batches import Batch, PairTable
from infonce.config import Prompts
from infonce.loss_config import LossConfig, Negatives
from infonce.momentum import KeyQueue, PastBatches
from infonce.objective import Objective
from infonce.pairs import Pair
from infonce.temperature import LearnedTemperature

PAIRS = [
    Pair("q0", "p0", ("n0", "n1")),
    Pair("q1", "p1", ("n2",)),
    Pair("q0", "p2", ("p1", "p0")),  # the same anchor again; its negatives are another's and its own positive
    Pair("q2", "p1", ()),  # the same positive as another anchor's
    Pair("q3", "p3", ("n0",)),
]
QUEUED = ["p0", "old", "p4", "older"]
DIMENSIONS = 6
TABLE = PairTable.build(
    [*PAIRS, Pair("q1", "p4"), Pair("q9", "old"), Pair("q9", "older")], prompts=Prompts(), max_negatives=7
)
KNOWN = {(pair.anchor, pair.positive) for pair in PAIRS} | {("q1", "p4")}
TAU = 0.2

Candidate = tuple[str, Tensor]


def units(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, DIMENSIONS, generator=generator, dtype=torch.float64), dim=-1)


def of_texts(vectors: Tensor, batch: Batch) -> dict[str, Tensor]:
    return {TABLE.rows[row]: vector for row, vector in zip(batch.rows, vectors, strict=True)}


def pick(asking: Candidate, label: Tensor, others: Iterable[Candidate]) -> Tensor:
    """The loss of one text that must pick its label out of it and those others that do not answer it."""
    text, vector = asking
    wrong = [c for name, c in others if name != text and not {(text, name), (name, text)} & KNOWN]
    scores = torch.stack([vector @ c for c in (label, *wrong)]) / TAU
    return scores.logsumexp(0) - scores[0]


def slow(own: dict[str, Tensor], keys: dict[str, Tensor], queue: Sequence[Candidate], config: LossConfig) -> Tensor:
    """The loss by its definition; `own` asks, `keys` are the candidates."""
    positives = [(pair.positive, keys[pair.positive]) for pair in PAIRS]
    hard = {text for pair in PAIRS for text in pair.negatives}
    shared = [(text, keys[text]) for text in sorted(hard - {text for text, _ in positives})]
    past = [(text, vector) for text, vector in queue if text not in {name for name, _ in (*positives, *shared)}]
    total = torch.zeros((), dtype=torch.float64)
    for i, pair in enumerate(PAIRS):
        others = {
            Negatives.SHARED: [*positives[:i], *positives[i + 1 :], *shared, *past],
            Negatives.UNPAIRED: [(text, keys[text]) for text in hard],
            Negatives.PAIRED: [(text, keys[text]) for text in pair.negatives],
        }[config.negatives]
        there = pick((pair.anchor, own[pair.anchor]), keys[pair.positive], others)
        anchors = [(other.anchor, keys[other.anchor]) for j, other in enumerate(PAIRS) if j != i]
        known = [(text, vector) for text, vector in anchors if text != pair.anchor]
        back = pick((pair.positive, own[pair.positive]), keys[pair.anchor], known)
        total = total + ((there + back) / 2 if config.symmetric else there)
    return total / len(PAIRS)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("negatives", list(Negatives))
@pytest.mark.parametrize("tile_size", [0, 2])
def test_a_batch_equals_a_loop_over_its_texts(negatives: Negatives, symmetric: bool, tile_size: int) -> None:
    in_batch = symmetric or negatives is Negatives.SHARED  # else there is no matrix to be held in tiles
    config = LossConfig(
        temperature=TAU, symmetric=symmetric, negatives=negatives, tile_size=tile_size if in_batch else "auto"
    )
    batch = TABLE.batch(np.arange(len(PAIRS)), loss=config)
    vectors = units(len(batch.rows), 1)
    texts = of_texts(vectors, batch)
    found = Objective(config=config, table=TABLE).loss(vectors, batch)
    torch.testing.assert_close(found, slow(texts, texts, [], config))


def past_batches() -> tuple[PastBatches, list[Candidate]]:
    queue = KeyQueue(8, dimensions=DIMENSIONS, device=torch.device("cpu"))
    numbers = np.array([TABLE.row_texts[TABLE.rows.index(text)] for text in QUEUED])
    queue.push(units(len(QUEUED), 2), numbers)
    return PastBatches(queue=queue), list(zip(QUEUED, queue.vectors.double(), strict=True))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("slow_encoder", [False, True])
def test_past_documents_are_candidates_unless_they_answer_or_stand_in_the_batch(
    slow_encoder: bool, symmetric: bool
) -> None:
    config = LossConfig(temperature=TAU, symmetric=symmetric, queue_size=8, momentum=0.9 if slow_encoder else None)
    past, queued = past_batches()
    batch = TABLE.batch(np.arange(len(PAIRS)), loss=config)
    vectors = units(len(batch.rows), 1)
    keys = units(len(batch.rows), 3) if slow_encoder else None
    found = Objective(config=config, table=TABLE, past=past).loss(vectors, batch, keys=keys)
    own = of_texts(vectors, batch)
    expected = slow(own, own if keys is None else of_texts(keys, batch), queued, config)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)  # the queue holds float32


def test_views_of_related_things_are_no_negatives() -> None:
    config = LossConfig(temperature=TAU, num_views=2)
    pairs = [Pair("a", "b"), Pair("c", "d"), Pair("a", "e"), Pair("f", "g")]
    table = PairTable.build(pairs, prompts=Prompts(), max_negatives=0)
    batch = table.batch(np.arange(4), loss=config)
    vectors = units(len(batch.rows), 1)
    both = vectors[torch.from_numpy(batch.views)].flatten(0, 1)  # (8, D): four anchors, four positives
    total = 0.0
    for i in range(8):
        thing, label = i % 4, both[(i + 4) % 8]
        others = [both[j] for j in range(8) if j % 4 != thing and {j % 4, thing} != {0, 2}]
        scores = torch.stack([both[i] @ other for other in (label, *others)]) / TAU
        total += (scores.logsumexp(0) - scores[0]).item() / 8
    assert Objective(config=config, table=table).loss(vectors, batch).item() == pytest.approx(total)


def test_a_learnt_temperature_stands_in_for_the_configs_and_gets_its_gradient() -> None:
    config = LossConfig(temperature=TAU, learn_temperature=True)
    batch = TABLE.batch(np.arange(len(PAIRS)), loss=config)
    vectors = units(len(batch.rows), 1)
    learnt = LearnedTemperature(0.4)
    objective = Objective(config=config, table=TABLE, temperature=learnt)
    objective.loss(vectors, batch).backward()
    nearby = [
        Objective(config=LossConfig(temperature=0.4 * math.exp(-step)), table=TABLE).loss(vectors, batch).item()
        for step in (1e-4, -1e-4)
    ]
    assert learnt.logit_scale.grad.item() == pytest.approx((nearby[0] - nearby[1]) / 2e-4, rel=1e-4)


def test_a_learnt_temperature_stops_at_its_bound() -> None:
    learnt = LearnedTemperature(0.02)
    with torch.no_grad():
        learnt.logit_scale += 5
    Objective(config=LossConfig(learn_temperature=True), table=TABLE, temperature=learnt).after_step()
    assert learnt().item() == pytest.approx(0.01)


def test_the_documents_of_a_batch_are_remembered() -> None:
    past, _ = past_batches()
    batch = TABLE.batch(np.arange(len(PAIRS)), loss=LossConfig(queue_size=8))
    vectors = units(len(batch.rows), 1)
    Objective(config=LossConfig(queue_size=8), table=TABLE, past=past).remember(vectors, batch)
    texts = of_texts(vectors, batch)
    names = {TABLE.row_texts[TABLE.rows.index(text)]: text for text in (*texts, *QUEUED)}
    found = [names[number] for number in past.queue.texts]
    assert set(found[-7:]) == {"p0", "p1", "p2", "p3", "n0", "n1", "n2"} and found[:-7] == ["older"]
    for text, vector in zip(found[-7:], past.queue.vectors[-7:], strict=True):
        torch.testing.assert_close(vector, texts[text].float())
