"""A few steps of plain gradient descent on a tiny encoder, for tests that compare ways to take a step."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from infonce.backbone import set_dropout
from infonce.batches import Batch, PairTable
from infonce.config import Attention, EncoderConfig, HardNegatives, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.joint import JointBatch
from infonce.loss_config import LossConfig
from tests.factories import toy_pairs
from tests.infonce.forms import FORMS

NUM_STEPS = 4
BATCH = 6


def joint_batch(encoder: Encoder, loss: LossConfig, *, max_graph_gb: float) -> tuple[JointBatch, PairTable]:
    """A run over toy pairs of which some share a text."""
    pairs = toy_pairs(BATCH * NUM_STEPS, negatives=2)
    pairs[1::4] = [replace(pair, anchor=pairs[0].anchor) for pair in pairs[1::4]]
    with_views = loss.num_views is not None
    config = TrainConfig(
        loss=loss,
        precision=Precision.FLOAT32,
        attention=Attention.FUSED,
        max_chunk_tokens=40,
        max_graph_gb=max_graph_gb,
        hard_negatives=HardNegatives.NONE if with_views else HardNegatives.ALL,
    )
    table = PairTable.build(pairs, prompts=encoder.layout.prompts, max_negatives=0 if with_views else 2)
    tokens = encoder.tokenize(table.rows)
    return JointBatch.build(encoder, table, tokens=tokens, config=config, stop=lambda: False), table


def undivided(joint: JointBatch, batch: Batch) -> float:
    """What `JointBatch.backward` does, in one graph and one backward pass."""
    encoder, objective = joint.encoder, joint.objective
    vectors = torch.cat([encoder.embed(joint.tokens, batch.rows[[row]]) for row in range(len(batch.rows))])
    keys = None
    if objective.past is not None and objective.past.slow is not None:
        keys = objective.past.slow.embed(joint.tokens, batch.rows, precision=Precision.FLOAT32)
    loss = objective.loss(vectors, batch, keys=keys)
    loss.backward()
    objective.remember(vectors if keys is None else keys, batch)
    return loss.item()


def descend(
    model: Path,
    loss: LossConfig,
    *,
    max_graph_gb: float = 1.0,
    max_chunk_tokens: int = 40,
    step: Callable[[JointBatch, Batch], float] = JointBatch.backward,
) -> list[Tensor]:
    """The losses of the steps, then the weights and the temperature that they lead to."""
    encoder = Encoder.load(model, EncoderConfig(max_seq_length=32))
    set_dropout(encoder.backbone, 0.0)
    joint, table = joint_batch(encoder, loss, max_graph_gb=max_graph_gb)
    joint = replace(joint, config=replace(joint.config, max_chunk_tokens=max_chunk_tokens))
    learnt = [] if joint.objective.temperature is None else list(joint.objective.temperature.parameters())
    optimizer = torch.optim.SGD([*encoder.backbone.parameters(), *learnt], lr=0.02)
    losses = []
    for first in range(0, NUM_STEPS * BATCH, BATCH):
        losses.append(step(joint, table.batch(np.arange(first, first + BATCH), loss=loss)))
        optimizer.step()
        optimizer.zero_grad()
        joint.objective.after_step()
    weights = [parameter.detach() for parameter in (*encoder.backbone.parameters(), *learnt)]
    return [torch.tensor(losses, dtype=torch.float64), *weights]


def main(folder: Path, rank: int, *, count: int, names: Sequence[str]) -> None:
    """One of several processes: every form's steps with the folder's model, the outcome in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=count)
    outcome = {name: descend(folder / "model", FORMS[name], max_graph_gb=0.0) for name in names}
    outcome["one chunk"] = descend(folder / "model", FORMS["symmetric"], max_chunk_tokens=10_000)
    torch.save(outcome, folder / f"outcome-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main(Path(sys.argv[1]), int(sys.argv[2]), count=int(sys.argv[3]), names=sys.argv[4:])
