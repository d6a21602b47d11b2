"""Pairs become a tuned encoder, measured against the one it was tuned from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from infonce.calibrate import fastest_precision
from infonce.checkpoint import Checkpoints, newest
from infonce.compare import compare
from infonce.config import DEFAULT_MAX_SEQ_LENGTH, EncoderConfig, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import CheckpointMismatch
from infonce.evaluation import Evaluation, evaluate
from infonce.formats import read_pairs
from infonce.meeting import RankOrder
from infonce.pairs import Pair
from infonce.precision import Choice
from infonce.qrels import EvalSet, read_beir
from infonce.ranks import num_processes, ranks
from infonce.split import held_out, judged_by
from infonce.train import StepRecord, TrainResult, train
from service.store.records import Phase
from worker.jobs.embedding import cached, use_threads
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
    pairs, judged = read_data(order)
    base = Encoder.load(Path(order["model"]["path"]))
    config = _fitting(TrainConfig.from_dict(order["config"]), len(pairs), progress=progress)
    kept = Checkpoints(folder=Path(order["checkpoints"]), inherited=[Path(folder) for folder in order["inherited"]])
    config, products = _with_precision(config, base, kept=kept)
    seconds = {}

    progress.phase(Phase.BASELINE)
    started = perf_counter()
    before = evaluate_all(base, judged, order=order, precision=config.precision, progress=progress)
    seconds["baseline"] = perf_counter() - started

    progress.phase(Phase.TRAINING)
    encoder = Encoder.load(Path(order["model"]["path"]), encoder_config(order["encoder"], base))
    progress.resolved({"max_seq_length": encoder.max_seq_length, "pooling": encoder.layout.pooling.value})
    trained = _trained(encoder, pairs, config=config, progress=progress, kept=kept, order=order)
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
    measured = Measured(trained=trained, encoder=tuned, summary=summary, products=products, seconds=seconds)
    write_report(Path(order["staging"]), order, measured=measured)
    return {
        "fingerprint": tuned.fingerprint(),
        "dimensions": tuned.dimensions,
        "max_tokens": tuned.max_seq_length,
        "trained_tokens": trained.trained_tokens,
        "summary": summary,
    }


def read_data(order: Mapping[str, Any]) -> tuple[list[Pair], dict[str, EvalSet]]:
    """The pairs to train on, and what to judge by: the eval file first, for its verdict counts."""
    pairs = list(read_pairs(Path(order["training_file"]["path"])))
    judged: dict[str, EvalSet] = {}
    if order["evaluation_file"] is not None:
        judged[EVAL_FILE] = read_beir(Path(order["evaluation_file"]["path"]))
    share = order["evaluation"]["held_out"]
    if order["validation_file"] is not None:
        judged[HELD_OUT] = judged_by(pairs, list(read_pairs(Path(order["validation_file"]["path"]))))
    elif share > 0:
        pairs, judged[HELD_OUT] = held_out(pairs, share, seed=TrainConfig.from_dict(order["config"]).seed)
    return pairs, judged


def encoder_config(given: Mapping[str, Any], base: Encoder) -> EncoderConfig:
    """The order's config; a maximum length that was left open is the default, or the model's own if that is less."""
    config = EncoderConfig.from_dict(given)
    if config.max_seq_length is not None:
        return config
    return replace(config, max_seq_length=min(DEFAULT_MAX_SEQ_LENGTH, base.max_seq_length))


def evaluate_all(
    encoder: Encoder,
    judged: Mapping[str, EvalSet],
    *,
    order: Mapping[str, Any],
    precision: Precision,
    progress: Progress,
) -> dict[str, Evaluation]:
    """The encoder's numbers on each set, rank 10 always among them; no text is embedded twice."""
    ks = sorted({*order["evaluation"]["ks"], 10})
    source = cached(encoder, Path(order["vectors_root"]), precision=precision, progress=progress)
    return {name: evaluate(source, eval_set, ks=ks) for name, eval_set in judged.items()}


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


def _trained(
    encoder: Encoder,
    pairs: Sequence[Pair],
    *,
    config: TrainConfig,
    progress: Progress,
    kept: Checkpoints,
    order: Mapping[str, Any],
) -> TrainResult:
    """The run, from the checkpoints of earlier attempts, or from the beginning where they are another program's."""
    watcher, stop = Watcher(progress), progress.stop_requested
    model, count, folder = Path(order["model"]["path"]), num_processes(order["processes"]), Path(order["ranks"])
    loaded_as = replace(EncoderConfig.from_dict(order["encoder"]), max_seq_length=encoder.max_seq_length)

    def run_from(kept: Checkpoints) -> TrainResult:
        """The run, shared by the processes that this machine is to use; only this one saves and tells."""
        saved = kept.folder, *kept.inherited
        given = RankOrder(model=model, encoder=loaded_as, config=config, checkpoints=saved)
        with ranks(given, pairs, count=count, folder=folder, stop=stop):
            return train(encoder, pairs, config=config, progress=watcher, checkpoints=kept)

    try:
        return run_from(kept)
    except CheckpointMismatch as error:
        message = f"The training begins again: {error}."
        progress.event("warn", "checkpoint_mismatch", message=message)
        return run_from(replace(kept, inherited=()))


def _with_precision(
    config: TrainConfig, encoder: Encoder, *, kept: Checkpoints
) -> tuple[TrainConfig, dict[str, float]]:
    """The config with a precision, and the seconds that decided it; the baseline is computed in it as well.

    It is measured once a job: an attempt that goes on computes in what the first one did.
    """
    if config.precision is not Precision.AUTO:
        return config, {}
    if (saved := newest(kept)) is not None:
        return replace(config, precision=Precision(saved.facts["config"]["precision"])), {}
    precision, seconds = fastest_precision(encoder.device)
    return replace(config, precision=precision), seconds
