"""A file of pairs becomes a new one with hard negatives; embeddings that were computed once are not computed again."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infonce.config import Precision
from infonce.dialects import FieldMapping
from infonce.encoder import Encoder
from infonce.formats import check_pairs
from infonce.mine_file import MineOrder, mine_file
from infonce.mining_config import MiningConfig
from service.store.artifacts import MINED
from service.store.records import Phase
from worker.jobs.embedding import serving_precision, use_threads
from worker.jobs.watching import Watching
from worker.progress import Progress


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The new file is in the staging folder, and any reader of pairs reads it."""
    use_threads(order["threads"])
    progress.phase(Phase.LOADING)
    pairs, corpus, model = order["training_file"], order["corpus_file"], Path(order["model"]["path"])
    root, precision, output = Path(order["vectors_root"]), Precision(order["precision"]), Path(order["staging"]) / MINED
    if precision is Precision.AUTO:
        precision = serving_precision(Encoder.load(model), root, wanted=precision)
    progress.resolved({"precision": precision.value})
    asked = MineOrder(
        pairs=Path(pairs["path"]),
        mapping=None if pairs["mapping"] is None else FieldMapping.from_dict(pairs["mapping"]),
        model=model,
        model_name=order["model"]["name"],
        output=output,
        vectors=root,
        corpus=None if corpus is None else Path(corpus["path"]),
        config=MiningConfig.from_dict(order["config"]),
        precision=precision,
    )
    watch = Watching(progress, phases={"mining": Phase.MINING}, embedding=Phase.EMBEDDING)
    mined = mine_file(asked, watch)
    progress.phase(Phase.EXPORTING)
    return {"counts": asdict(check_pairs(output)), "mining": mined.to_dict()}
