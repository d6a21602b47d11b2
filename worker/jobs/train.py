"""Pairs become a tuned encoder, measured against the one it was tuned from."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from infonce.calibrate import settled_precision
from infonce.checkpoint import Checkpoints
from infonce.compare import compare
from infonce.config import DEFAULT_MAX_SEQ_LENGTH, EncoderConfig, Precision, TrainConfig
from infonce.dialects import FieldMapping
from infonce.encoder import Encoder
from infonce.errors import CheckpointMismatch
from infonce.evaluation import Evaluation, evaluate
from infonce.formats import read_pairs
from infonce.judging import AsItIsNow
from infonce.meeting import RankOrder
from infonce.pairs import Pair
from infonce.precision import Choice
from infonce.qrels import EvalSet, read_beir
from infonce.ranks import num_processes, ranks
from infonce.records import StepRecord, TrainResult
from infonce.split import held_out, judged_by
from infonce.train import train
from service.store.records import Phase
from worker.gpus import hold_gpus
from worker.jobs.audit import audit_order, without_copies
from worker.jobs.embedding import cached, gpus_of, use_threads
from worker.jobs.report import Measured, write_report
from worker.progress import Progress

METRIC: Final = "ndcg@10"
"""What decides the verdict."""
EVAL_FILE: Final = "eval file"
HELD_OUT: Final = "held out"

_MEASURED_SETTINGS = ("batch_size", "precision", "attention", "max_chunk_tokens", "max_graph_gb")


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The tuned model's folder, with its report, is in staging."""
    use_threads(order["threads"])
    progress.phase(Phase.LOADING)
    if gpus := gpus_of(order["encoder"]["device"]):
        hold_gpus(Path(order["gpu_locks"]), gpus, stop=progress.stop_requested)
    pairs, judged = read_data(order)
    base = Encoder.load(Path(order["model"]["path"]))
    config = _fitting(TrainConfig.from_dict(order["config"]), len(pairs), progress=progress)
    kept = Checkpoints(folder=Path(order["checkpoints"]), inherited=[Path(folder) for folder in order["inherited"]])
    config, products = settled_precision(config, base.device, checkpoints=kept)
    seconds = {}

    progress.phase(Phase.BASELINE)
    started = perf_counter()
    before = evaluate_all(base, judged, order=order, precision=config.precision, progress=progress)
    length = encoder_config(order["encoder"], base).max_seq_length or base.max_seq_length
    source = cached(base, Path(order["vectors_root"]), precision=config.precision, progress=progress)
    audit = audit_order(order, source, base=base, max_length=length, progress=progress)
    seconds["baseline"] = perf_counter() - started

    progress.phase(Phase.TRAINING)
    encoder = Encoder.load(Path(order["model"]["path"]), encoder_config(order["encoder"], base))
    progress.resolved({"max_seq_length": encoder.max_seq_length, "pooling": encoder.layout.pooling.value})
    now = AsItIsNow(encoder=encoder, precision=config.precision, stop=progress.stop_requested)
    chosen_by = judged.get(HELD_OUT, judged.get(EVAL_FILE))  # an eval file had better judge what it did not choose
    during = None if chosen_by is None else now.evaluation(chosen_by, ks=cutoffs(order))
    attempt = partial(train, encoder, pairs, config=config, progress=Watcher(progress), evaluate=during)
    together = partial(_together, encoder, pairs, config=config, order=order, stop=progress.stop_requested)
    trained = _trained(attempt, together, kept=kept, progress=progress)
    progress.resolved({name: getattr(trained.config, name) for name in _MEASURED_SETTINGS})
    seconds["training"] = trained.seconds
    if config.loss.learn_temperature:
        message = f"The temperature is {trained.temperature:.4g} after {len(trained.curve)} steps."
        progress.event("info", "temperature", message=message, data={"temperature": trained.temperature})
    progress.phase(Phase.EXPORTING)
    encoder.save(Path(order["staging"]))

    progress.phase(Phase.EVALUATING)
    started = perf_counter()
    tuned = Encoder.load(Path(order["staging"]))  # what will be served is judged, not what lies in memory
    after = evaluate_all(tuned, judged, order=order, precision=config.precision, progress=progress)
    seconds["evaluating"] = perf_counter() - started

    summary = summarize(before, after, seed=config.seed)
    measured = Measured(
        trained=trained, encoder=tuned, summary=summary, audit=audit, products=products, seconds=seconds
    )
    write_report(Path(order["staging"]), order, measured=measured)
    return {
        "fingerprint": tuned.fingerprint(),
        "dimensions": tuned.dimensions,
        "max_tokens": tuned.max_seq_length,
        "trained_tokens": trained.trained_tokens,
        "summary": summary,
    }


def read_data(order: Mapping[str, Any]) -> tuple[list[Pair], dict[str, EvalSet]]:
    """The pairs to train on, without copies, and what to judge by: the eval file first, for its verdict counts."""
    pairs = without_copies(_pairs(order["training_file"]))
    judged: dict[str, EvalSet] = {}
    if order["evaluation_file"] is not None:
        judged[EVAL_FILE] = read_beir(Path(order["evaluation_file"]["path"]))
    share = order["evaluation"]["held_out"]
    if order["validation_file"] is not None:
        judged[HELD_OUT] = judged_by(pairs, _pairs(order["validation_file"]))
    elif share > 0:
        pairs, judged[HELD_OUT] = held_out(pairs, share, seed=TrainConfig.from_dict(order["config"]).seed)
    return pairs, judged


def _pairs(file: Mapping[str, Any]) -> list[Pair]:
    mapping = file["mapping"]
    return list(read_pairs(Path(file["path"]), mapping=None if mapping is None else FieldMapping.from_dict(mapping)))


def encoder_config(given: Mapping[str, Any], base: Encoder) -> EncoderConfig:
    """The order's config; a maximum length that was left open is the default, or the model's own if that is less."""
    config = EncoderConfig.from_dict(given)
    if config.max_seq_length is not None:
        return config
    return replace(config, max_seq_length=min(DEFAULT_MAX_SEQ_LENGTH, base.max_seq_length))


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


def summarize(before: Mapping[str, Evaluation], after: Mapping[str, Evaluation], *, seed: int) -> dict[str, Any]:
    """Base against tuned on every set; the first set's verdict is the job's, None where nothing was judged."""
    evaluations: list[dict[str, Any]] = []
    verdict: str | None = None
    for name, base in before.items():
        tuned = after[name]
        comparison = compare(base.per_query, tuned.per_query, metric=METRIC, seed=seed)
        verdict = verdict or comparison.verdict.value
        evaluations.append(
            {
                "name": name,
                "num_documents": base.num_documents,
                "num_queries": base.num_queries,
                "small_corpus": base.num_documents < 10 * base.num_queries,
                "base": base.metrics,
                "tuned": tuned.metrics,
                "comparison": comparison.to_dict(),
            }
        )
    return {"metric": METRIC, "evaluations": evaluations, "verdict": verdict}


class Watcher:
    """What the training loop tells, in the words of a job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def step(self, record: StepRecord) -> None:
        """The parent knows of the step."""
        names = ("step", "total_steps", "epoch", "loss", "pairs_per_second", "eta_seconds")
        values = {name: getattr(record, name) for name in names}
        self._progress.step({**values, "percent": 100 * record.step / record.total_steps})

    def measured(self, choice: Choice) -> None:
        """The parent knows what this machine computes fastest, and by what times."""
        chosen = {"precision": choice.precision.value, "attention": choice.attention.value}
        self._progress.resolved(chosen)
        message = f"This machine is fastest with {choice.precision.value} and {choice.attention.value} attention."
        self._progress.event("info", "measured", message=message, data={**chosen, "seconds": choice.seconds})

    def resumed(self, step: int) -> None:
        """The parent knows from where an earlier attempt's work goes on."""
        message = f"An earlier attempt had made {step} steps and saved them; the training goes on from there."
        self._progress.event("info", "resumed", message=message, data={"step": step})

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        """The parent knows what is left out, and why."""
        reason = "the model's tokenizer makes nothing of a text of theirs"
        message = f"Left out are {num_pairs} pairs and {num_negatives} negatives: {reason}."
        data = {"pairs": num_pairs, "negatives": num_negatives}
        self._progress.event("warn", "dropped", message=message, data=data)

    def judged(self, step: int, metric: str, *, metrics: Mapping[str, float]) -> None:
        """The parent knows how good the model is by now."""
        message = f"After {step} steps {metric} is {metrics[metric]:.3f}."
        self._progress.event("info", "judged", message=message, data={"step": step, "metrics": dict(metrics)})

    def saved(self, step: int) -> None:
        """The parent knows how far the job has come for good."""
        self._progress.saved(step)

    def damaged(self, step: int) -> None:
        """The parent knows that steps are made again, and why."""
        message = f"The checkpoint of step {step} is damaged or of another version and is not used."
        self._progress.event("warn", "checkpoint_corrupt", message=message, data={"step": step})

    def elsewhere(self, difference: str) -> None:
        """The parent knows that the run goes on otherwise than it began."""
        message = f"This is not what the training began on, {difference}; its last bits may differ."
        data = {"reason": "machine", "difference": difference}
        self._progress.event("warn", "resume_not_bit_exact", message=message, data=data)

    def halved(self, max_chunk_tokens: int) -> None:
        """The parent knows that the run goes on otherwise than it began."""
        message = f"Memory did not suffice; from here on a chunk has {max_chunk_tokens} tokens, which rounds otherwise."
        data = {"reason": "out_of_memory", "max_chunk_tokens": max_chunk_tokens}
        self._progress.event("warn", "resume_not_bit_exact", message=message, data=data)

    def unsaved(self, reason: str) -> None:
        """The parent knows that the job would begin further back if it were broken off now."""
        message = f"A checkpoint could not be written ({reason}); the training goes on and tries again."
        self._progress.event("warn", "unsaved", message=message, data={"reason": reason})

    def stop_requested(self) -> bool:
        """Whether the job has to stop."""
        return self._progress.stop_requested()


def _fitting(config: TrainConfig, num_pairs: int, *, progress: Progress) -> TrainConfig:
    """The config for the pairs that the split left: a batch is never larger than all of them."""
    if config.batch_size == "auto" or config.batch_size <= num_pairs:
        return config
    message = f"The batch size is {num_pairs} instead of {config.batch_size}: the split left {num_pairs} pairs."
    progress.event("warn", "batch_size", message=message, data={"batch_size": num_pairs})
    return replace(config, batch_size=num_pairs)


def _together(
    encoder: Encoder,
    pairs: Sequence[Pair],
    *,
    config: TrainConfig,
    order: Mapping[str, Any],
    kept: Checkpoints,
    stop: Callable[[], bool],
) -> AbstractContextManager[None]:
    """Inside, the training is shared by the processes that this machine is to use; only this one saves and tells."""
    loaded_as = replace(EncoderConfig.from_dict(order["encoder"]), max_seq_length=encoder.max_seq_length)
    folders = [kept.folder, *kept.inherited]
    given = RankOrder(model=Path(order["model"]["path"]), encoder=loaded_as, config=config, checkpoints=folders)
    count, folder = num_processes(order["processes"]), Path(order["ranks"])
    return ranks(given, pairs, count=count, folder=folder, stop=stop)


def _trained(
    attempt: Callable[..., TrainResult],
    together: Callable[..., AbstractContextManager[None]],
    *,
    kept: Checkpoints,
    progress: Progress,
) -> TrainResult:
    """The run, from the checkpoints of earlier attempts, or from the beginning where they are another program's."""
    try:
        with together(kept=kept):
            return attempt(checkpoints=kept)
    except CheckpointMismatch as error:
        progress.event("warn", "checkpoint_mismatch", message=f"The training begins again: {error}.")
        for refused in kept.inherited:  # the next attempt would meet them again, before what this one saves
            shutil.rmtree(refused, ignore_errors=True)
        anew = replace(kept, inherited=())
        with together(kept=anew):
            return attempt(checkpoints=anew)
