"""What a training job is judged by, and base against tuned model on it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from infonce.cleaning import without_copies
from infonce.config import Precision, TrainConfig
from infonce.dialects import FieldMapping
from infonce.encoder import Encoder
from infonce.evaluation import Evaluation, evaluate
from infonce.formats import read_pairs
from infonce.pairs import Pair
from infonce.qrels import EvalSet, read_beir
from infonce.split import held_out, judged_by
from worker.jobs.embedding import cached
from worker.progress import Progress

EVAL_FILE: Final = "eval file"
HELD_OUT: Final = "held out"


def read_data(order: Mapping[str, Any]) -> tuple[list[Pair], dict[str, EvalSet]]:
    """The pairs to train on, without copies, and what to judge by: the eval file first, for its verdict counts."""
    pairs, _ = without_copies(_pairs(order["training_file"]))
    judged: dict[str, EvalSet] = {}
    if order["evaluation_file"] is not None:
        judged[EVAL_FILE] = read_beir(Path(order["evaluation_file"]["path"]))
    share, seed = order["evaluation"]["held_out"], TrainConfig.from_dict(order["config"]).seed
    if order["validation_file"] is not None:
        judged[HELD_OUT] = judged_by(pairs, _pairs(order["validation_file"]), seed=seed)
    elif share > 0:
        pairs, judged[HELD_OUT] = held_out(pairs, share, seed=seed)
    return pairs, judged


def _pairs(file: Mapping[str, Any]) -> list[Pair]:
    mapping = file["mapping"]
    return list(read_pairs(Path(file["path"]), mapping=None if mapping is None else FieldMapping.from_dict(mapping)))


def cutoffs(order: Mapping[str, Any]) -> list[int]:
    """The k of every metric: those asked for, that of the verdict, and that by which the training may end early."""
    stopping = TrainConfig.from_dict(order["config"]).early_stopping
    return sorted({*order["evaluation"]["ks"], 10} | ({stopping.rank} if stopping is not None else set()))


def evaluate_all(
    encoder: Encoder,
    judged: Mapping[str, EvalSet],
    *,
    order: Mapping[str, Any],
    precision: Precision,
    progress: Progress,
) -> dict[str, Evaluation]:
    """The encoder's numbers on each set, rank 10 always among them; no text is embedded twice."""
    source = cached(encoder, Path(order["vectors_root"]), precision=precision, progress=progress)
    found = partial(evaluate, source, ks=cutoffs(order), stop=progress.stop_requested)
    return {name: found(eval_set) for name, eval_set in judged.items()}
