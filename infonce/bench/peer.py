"""The other side of `infonce bench train`: sentence-transformers' own trainer, in a process of its own.

Started as `python -m infonce.bench.peer ORDER`, where the order is a JSON file; prints one JSON object.
"""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any


class Peer(StrEnum):
    """The ways of sentence-transformers that are measured."""

    DEFAULT = "default"
    """MultipleNegativesRankingLoss, float32."""
    BF16 = "bf16"
    """The same with the trainer's `bf16=True`."""
    CACHED = "cached"
    """CachedMultipleNegativesRankingLoss with its own size of mini-batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerOrder:
    """What is to be trained, and how."""

    peer: str
    pairs: str
    """A JSON Lines file of anchor and positive."""
    batches: list[list[int]]
    """The pairs of each step, by their place in the file."""
    model: str
    batch_size: int
    max_length: int
    learning_rate: float
    warmup_ratio: float
    seed: int
    output: str
    save: bool

    def write(self, path: Path) -> None:
        """The order is in the file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def main(path: Path) -> None:
    """The order is done and told on stdout; the model is in the order's folder if that was asked for."""
    order = PeerOrder(**json.loads(path.read_text("utf-8")))
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

    import_module("torch._dynamo")  # what an optimizer loads at its first step: seconds that belong to no pair
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    model = SentenceTransformer(order.model)
    model.max_seq_length = order.max_length
    arguments, loss = _arguments(order), _loss(order, model)
    began = perf_counter()
    texts = [json.loads(line) for line in Path(order.pairs).read_text("utf-8").split("\n") if line]
    columns = {name: [text[name] for text in texts] for name in ("anchor", "positive")}
    result = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss
    ).train()
    seconds = perf_counter() - began
    if order.save:
        model.save(f"{order.output}/model")
    num_pairs = sum(len(batch) for batch in order.batches)
    print(
        json.dumps(
            {
                "pairs_per_second": num_pairs / seconds,
                "seconds": seconds,
                "mean_loss": result.training_loss,
                "num_pairs": num_pairs,
                "num_steps": result.global_step,
            }
        ),
        flush=True,
    )


def _loss(order: PeerOrder, model: Any) -> Any:
    """In-batch InfoNCE in both directions, averaged: infonce's own default; 1 / scale is its temperature 0.05."""
    from sentence_transformers.sentence_transformer import losses

    kind = losses.MultipleNegativesRankingLoss
    if order.peer == Peer.CACHED:
        kind = losses.CachedMultipleNegativesRankingLoss
    return kind(model, scale=20.0, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction")


def _arguments(order: PeerOrder) -> Any:
    """The trainer's defaults, but for what both sides share, and for what would write or print."""
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments

    return SentenceTransformerTrainingArguments(
        output_dir=order.output,
        num_train_epochs=1,
        per_device_train_batch_size=order.batch_size,
        learning_rate=order.learning_rate,
        warmup_steps=order.warmup_ratio,  # a share of all steps where it is below 1
        seed=order.seed,
        bf16=order.peer == Peer.BF16,
        use_cpu=not torch.cuda.is_available(),  # else it refuses bf16 there
        batch_sampler=_sampler_of(order.batches),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _sampler_of(batches: list[list[int]]) -> Any:
    """What makes a batch sampler that gives these batches in this order."""
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    class Ordered(DefaultBatchSampler):  # type: ignore[misc]
        def __iter__(self) -> Iterator[list[int]]:
            return iter(batches)

        def __len__(self) -> int:
            return len(batches)

    return lambda dataset, **settings: Ordered(
        SequentialSampler(dataset), batch_size=settings["batch_size"], drop_last=False
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
