"""What a report says of a training, wherever it ran, and the files that say it: JSON, a page, a model card."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any, Final

from infonce.config import TrainConfig
from infonce.encoder import Encoder
from infonce.model_card import MODEL_CARD, model_card
from infonce.records import StepRecord, TrainResult
from infonce.report_page import PAGE, REPORT, report_page

MAX_CURVE_POINTS: Final = 2_000
"""What a picture of the curve can show; the last step is always among them."""

_DISTRIBUTIONS: Final = ("infonce-service", "torch", "transformers", "tokenizers", "faiss-cpu", "numpy")
_NAMED_OTHERWISE: Final = {
    "hard_negatives": "hard_negatives.use",
    "max_negatives": "hard_negatives.max_per_query",
    "mine": "hard_negatives.mine",
    "mine_every_epochs": "hard_negatives.mine.every_epochs",
}


def about_training(trained: TrainResult, encoder: Encoder) -> dict[str, Any]:
    """What a run was, and what came of it, as plain JSON values without a path of this machine."""
    curve, config = trained.curve, trained.config
    stopping = config.early_stopping
    judged = None
    if stopping is not None:
        judged = {"metric": stopping.metric, "points": [list(judgement) for judgement in trained.judgements]}
    return {
        "fingerprint": encoder.fingerprint(),
        "dimensions": encoder.dimensions,
        "config": config.to_dict(),
        "encoder": asdict(encoder.layout),
        "seed": config.seed,
        "num_pairs": trained.num_pairs,
        "num_steps": len(curve),
        "best_step": trained.best_step,
        "trained_tokens": trained.trained_tokens,
        "loss": {"first": curve[0].loss, "last": curve[-1].loss},
        "temperature": {"first": curve[0].temperature, "last": trained.temperature},
        "judged": judged,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _DISTRIBUTIONS}},
        "curve": [asdict(record) for record in thinned(curve)],
    }


def machine(trained: TrainResult, encoder: Encoder) -> dict[str, Any]:
    """What was computed on, and what was chosen there by which times."""
    choice = trained.choice
    return {
        "precision": choice.precision.value,
        "attention": choice.attention.value,
        "max_chunk_tokens": choice.max_chunk_tokens,
        "seconds": dict(choice.seconds),
        "device": str(encoder.device),
    }


def settings(asked: Mapping[str, Any], trained: TrainResult, *, encoder: Encoder) -> list[dict[str, Any]]:
    """Every setting with what it became, and with what was asked where somebody could ask."""
    layout = asdict(encoder.layout)
    became = by_name(trained.config) | {
        "pooling": layout["pooling"],
        "max_seq_length": layout["max_seq_length"],
        "prompts": layout["prompts"],
    }
    return [
        {"name": name, **({"asked": asked[name]} if name in asked else {}), "became": value}
        for name, value in became.items()
    ]


def by_name(config: TrainConfig) -> dict[str, Any]:
    """Every setting of the training and its loss, named as the body of a job names it."""
    values = config.to_dict()
    loss = values.pop("loss")
    return {_NAMED_OTHERWISE.get(name, name): value for name, value in {**values, **loss}.items()}


def thinned(curve: Sequence[StepRecord]) -> list[StepRecord]:
    """At most `MAX_CURVE_POINTS` records, evenly spaced, the last one included."""
    stride = ceil(len(curve) / MAX_CURVE_POINTS)
    return list(reversed(curve[::-1][::stride]))


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """The report stands in the model's folder: for programs, for people, and as the model's card.

    Raises:
        OSError: there is no room.
    """
    (folder / REPORT).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(report_page(report), encoding="utf-8")
    (folder / MODEL_CARD).write_text(model_card(report), encoding="utf-8")
