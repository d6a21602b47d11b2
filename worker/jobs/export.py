"""A model's folder, or a collection, becomes one tar."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infonce.model_tar import pack_model
from service.store.artifacts import EXPORTED
from service.store.records import Phase
from worker.progress import Progress


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The tar is in the staging folder; the same model gives the same bytes, whoever packs it and when."""
    progress.phase(Phase.EXPORTING)
    if "parts" in order:
        from worker.jobs.export_collection import export_collection  # deferred: a model needs no FAISS

        return export_collection(order, progress)
    pack_model(Path(order["model"]["path"]), Path(order["staging"]) / EXPORTED, stop=progress.stop_requested)
    return {}
