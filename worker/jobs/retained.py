"""What a tuned model still knows of what its base knew, measured on a probe that no job is trained on."""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from infonce.config import Precision
from infonce.docstrings import installed_sources
from infonce.encoder import Encoder
from infonce.errors import DatasetError
from infonce.evaluation import evaluate
from infonce.judging import AsItIsNow
from infonce.qrels import EvalSet, read_beir, write_beir
from infonce.retention import METRIC, Retention, build_probe
from infonce.vectors import TextEncoder
from worker.jobs.embedding import cached
from worker.jobs.watching import Pace
from worker.progress import Progress

_OFF: Final = "off"
_RANK: Final = 10
_RECIPE: Final = "1"  # another one makes other probes of the same installation


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """The probe of one job and what the base gets on it; without one, why."""

    judged: EvalSet | None
    base: float = 0.0
    reason: str | None = None

    def measure(self, encoder: TextEncoder, *, progress: Progress) -> float:
        """The metric of an encoder on the probe."""
        assert self.judged is not None, "whoever asks has seen that there is a probe"
        return _measure(encoder, self.judged, progress=progress)

    def summary(self, tuned: float | None) -> dict[str, Any]:
        """Base against tuned, and whether that is held; null where it was not measured, with the reason."""
        if self.judged is None or tuned is None:
            return {"held": None, "reason": self.reason}
        sizes = {"num_queries": len(self.judged.queries), "num_documents": len(self.judged.corpus)}
        return Retention(base=self.base, tuned=tuned, **sizes).to_dict()


def probe_of(
    order: Mapping[str, Any], base: Encoder, *, precision: Precision, wanted: bool, progress: Progress
) -> Probe:
    """The probe that the order asks for, and the base on it, whose vectors are kept for the next job.

    A job in which nothing is judged has none: it is not `wanted`.
    """
    found = unmeasured(order, wanted=wanted, progress=progress)
    if found.judged is None:
        return found
    source = cached(base, Path(order["vectors_root"]), precision=precision, progress=progress)
    return replace(found, base=_measure(source, found.judged, progress=progress))


def unmeasured(order: Mapping[str, Any], *, wanted: bool, progress: Progress) -> Probe:
    """The probe that the order asks for, if it can be read."""
    if not wanted:
        return Probe(judged=None, reason="nothing is judged in this job")
    asked = order["evaluation"].get("retention", _OFF)  # an order of an older version has none
    if asked == _OFF:
        return Probe(judged=None, reason="evaluation.retention is off")
    try:
        return Probe(judged=_read(order, Path(order["vectors_root"]), progress=progress))
    except DatasetError as error:
        progress.event("warn", "retention", message=f"Retention is not measured: {error}.")
        return Probe(judged=None, reason=str(error))


def as_it_is(encoder: Encoder, *, precision: Precision, progress: Progress) -> AsItIsNow:
    """An encoder none of whose vectors is kept: nobody will ask for those of the probe again."""
    told = Pace(progress).tell
    return AsItIsNow(encoder=encoder, precision=precision, stop=progress.stop_requested, on_chunk=told)


def _measure(encoder: TextEncoder, judged: EvalSet, *, progress: Progress) -> float:
    return evaluate(encoder, judged, ks=[_RANK], stop=progress.stop_requested).metrics[METRIC]


def _read(order: Mapping[str, Any], root: Path, *, progress: Progress) -> EvalSet:
    """The user's own file; else the installation's, which is read once a week and installation."""
    if (own := order.get("retention_file")) is not None:
        return read_beir(Path(own["path"]))
    installed = sorted(f"{found.name} {found.version}" for found in distributions())
    digest = hashlib.sha256("\n".join([_RECIPE, sys.version, *installed]).encode()).hexdigest()
    path = root / f"probe-{digest[:16]}.zip"
    if not path.is_file():
        message = "A retention probe is made of the texts of this Python installation; it is kept for other jobs."
        progress.event("info", "retention", message=message)
        judged = build_probe(installed_sources(), stop=progress.stop_requested)
        root.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        write_beir(judged, part)
        part.replace(path)
    return read_beir(path)
