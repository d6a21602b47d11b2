"""The report of a training job: everything that decided the model, and everything that was measured of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infonce import report as reports
from infonce.config import AUTO
from infonce.encoder import Encoder
from infonce.records import TrainResult

_FILES: Final = ("training_file", "validation_file", "evaluation_file", "mining_file")
_BESIDE_MINING: Final = ("corpus_file", "every_epochs")  # what stands elsewhere in the report
_OF_A_FILE: Final = ("id", "filename", "sha256")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a training job found out."""

    trained: TrainResult
    encoder: Encoder
    summary: Mapping[str, Any]
    audit: Mapping[str, Any]
    """Of the training file, as `infonce/audit.py` says."""
    side_by_side: Mapping[str, Any]
    """Of every judged set what the summary does not tell: intervals, examples."""
    interpolation: Mapping[str, Any]
    """The alpha that was chosen, why, and the curve of held-out and probe values over alpha."""
    products: Mapping[str, float]
    """Seconds of a matrix product by precision, where that was to be chosen."""
    seconds: Mapping[str, float]
    """baseline, training, evaluating"""
    made_at: float
    """Unix seconds."""


def write_report(folder: Path, order: Mapping[str, Any], *, measured: Measured) -> None:
    """The report stands in the model's folder; it names no path of this machine."""
    trained, encoder = measured.trained, measured.encoder
    machine = reports.machine(trained, encoder)
    report = {
        "job_id": order["job_id"],
        "created_at": int(measured.made_at),
        "attempt": order["attempt"],
        "model": order["model"]["name"],
        "data": {name: _data(order[name]) for name in _FILES if order[name] is not None},
        "evaluation": order["evaluation"],
        "summary": measured.summary,
        "interpolation": measured.interpolation,
        "audit": measured.audit,
        "side_by_side": measured.side_by_side,
        "settings": reports.settings(_asked(order.get("asked", {})), trained, encoder=encoder),
        "machine": {
            **machine,
            "seconds": {**measured.products, **machine["seconds"]},
            "threads": order["threads"],
        },
        "seconds": measured.seconds,
        **reports.about_training(trained, encoder),
    }
    reports.write_report(folder, report)


def _asked(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the body of the job said, or its default, by the names of the report."""
    if "method" not in asked:
        return {}
    method, top = asked["method"]["contrastive"], asked.get("hyperparameters", {})
    negatives = method["hard_negatives"]
    found = {**method["hyperparameters"], "pooling": method["pooling"]}
    found |= {f"hard_negatives.{name}": negatives[name] for name in ("use", "max_per_query")}
    if (mine := negatives.get("mine")) is not None:
        found["hard_negatives.mine"] = {name: value for name, value in mine.items() if name not in _BESIDE_MINING}
        found["hard_negatives.mine.every_epochs"] = mine["every_epochs"]
    if method["prompts"] is not None:
        found["prompts"] = method["prompts"]
    found |= {name: value for name, value in top.items() if name in found and value != AUTO}
    multiplier = asked.get("learning_rate_multiplier", 1.0)
    if multiplier != 1.0:
        found["learning_rate"] = f"{AUTO} × {multiplier:g}"
    return found


def _data(file: Mapping[str, str]) -> dict[str, str]:
    return {name: file[name] for name in _OF_A_FILE if name in file}
