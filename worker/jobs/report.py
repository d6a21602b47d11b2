"""The report of a training job: everything that decided the model, and everything that was measured of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any, Final

from infonce.encoder import Encoder
from infonce.records import StepRecord, TrainResult
from service.store.artifacts import REPORT

MAX_CURVE_POINTS: Final = 2_000
"""What a picture of the curve can show; the last step is always among them."""

_DISTRIBUTIONS = ("infonce-service", "torch", "transformers", "tokenizers", "faiss-cpu", "numpy")
_FILES = ("training_file", "validation_file", "evaluation_file")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a training job found out."""

    trained: TrainResult
    encoder: Encoder
    summary: Mapping[str, Any]
    audit: Mapping[str, Any]
    """Of the training file, as `infonce/audit.py` says."""
    products: Mapping[str, float]
    """Seconds of a matrix product by precision, where that was to be chosen."""
    seconds: Mapping[str, float]
    """baseline, training, evaluating"""


def write_report(folder: Path, order: Mapping[str, Any], *, measured: Measured) -> None:
    """`report.json` stands in the model's folder; it names no path of this machine."""
    trained = measured.trained
    report = {
        "job_id": order["job_id"],
        "model": order["model"]["name"],
        "fingerprint": measured.encoder.fingerprint(),
        "dimensions": measured.encoder.dimensions,
        "config": trained.config.to_dict(),
        "encoder": asdict(measured.encoder.layout),
        "seed": trained.config.seed,
        "data": {name: _data(order[name]) for name in _FILES if order[name] is not None},
        "evaluation": order["evaluation"],
        "num_pairs": trained.num_pairs,
        "num_steps": len(trained.curve),
        "best_step": trained.best_step,
        "trained_tokens": trained.trained_tokens,
        "loss": {"first": trained.curve[0].loss, "last": trained.curve[-1].loss},
        "temperature": {"first": trained.curve[0].temperature, "last": trained.temperature},
        "attempt": order["attempt"],
        "summary": measured.summary,
        "audit": measured.audit,
        "machine": _machine(measured, order["threads"]),
        "seconds": measured.seconds,
        "versions": {name: version(name) for name in _DISTRIBUTIONS},
        "curve": [asdict(record) for record in thinned(trained.curve)],
    }
    (folder / REPORT).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def thinned(curve: Sequence[StepRecord]) -> list[StepRecord]:
    """At most `MAX_CURVE_POINTS` records, evenly spaced, the last one included."""
    stride = ceil(len(curve) / MAX_CURVE_POINTS)
    return list(reversed(curve[::-1][::stride]))


def _machine(measured: Measured, threads: int) -> dict[str, Any]:
    """What was computed on, and what was chosen there by which times."""
    choice = measured.trained.choice
    return {
        "precision": choice.precision.value,
        "attention": choice.attention.value,
        "max_chunk_tokens": choice.max_chunk_tokens,
        "seconds": {**measured.products, **choice.seconds},
        "device": str(measured.encoder.device),
        "threads": threads,
    }


def _data(file: Mapping[str, str]) -> dict[str, str]:
    return {"id": file["id"], "sha256": file["sha256"]}
