"""The curves of a report as an event file that TensorBoard draws."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from infonce.errors import ConfigError

_CURVES: Final = ("loss", "learning_rate", "grad_norm", "temperature", "pairs_per_second")


def write_events(report: Mapping[str, Any], folder: Path) -> int:
    """The folder holds an event file of every curve; returns how many points those have.

    Raises:
        ConfigError: an event file is there already, which TensorBoard would draw into the same curves.
    """
    found = sorted(folder.glob("events.out.tfevents.*")) if folder.is_dir() else []
    if found:
        message = f"{folder} holds {found[0].name} already, and TensorBoard would draw both into one curve"
        raise ConfigError(f"{message}; name a new folder", param="tensorboard")
    from tensorboardX import SummaryWriter  # it takes seconds where torch is installed

    points = list(scalars(report))
    began = _began(report)
    with SummaryWriter(logdir=str(folder)) as writer:
        for name, step, value, seconds in points:
            writer.add_scalar(name, value, step, walltime=began + seconds)
    return len(points)


def scalars(report: Mapping[str, Any]) -> Iterator[tuple[str, int, float, float]]:
    """Name, step, value and seconds since the training began, of all that has a course.

    The numbers of base and tuned model stand at the first and the last step.
    """
    curve = report.get("curve", [])
    at = {record["step"]: record["elapsed_seconds"] for record in curve}
    last = curve[-1]["step"] if curve else 0
    for record in curve:
        for field in _CURVES:
            yield f"training/{field}", record["step"], record[field], record["elapsed_seconds"]
    judged = report.get("judged") or {"points": []}
    for step, value in judged["points"]:
        yield _tag("judged", judged["metric"]), step, value, at.get(step, 0.0)
    for one in (report.get("summary") or {}).get("evaluations", []):
        for metric, value in one["base"].items():
            name = _tag(one["name"], metric)
            yield name, 0, value, 0.0
            yield name, last, one["tuned"][metric], at.get(last, 0.0)


def _tag(group: str, metric: str) -> str:
    """A name of letters that TensorBoard keeps as it is."""
    return f"{group}/{metric}".replace(" ", "_").replace("@", "_at_")


def _began(report: Mapping[str, Any]) -> float:
    """When the training began, about; older reports do not say when they were made."""
    curve = report.get("curve", [])
    return float(report.get("created_at", 0.0)) - (curve[-1]["elapsed_seconds"] if curve else 0.0)
