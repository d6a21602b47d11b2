"""Pairs become a tuned encoder, measured against the one it was tuned from."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter, time
from typing import Any

from infonce.allocator import give_back_freed_memory
from infonce.calibrate import settled_precision
from infonce.checkpoint import Checkpoints
from infonce.config import DEFAULT_MAX_SEQ_LENGTH, EncoderConfig, Precision, TrainConfig
from infonce.documents import read_documents
from infonce.encoder import Encoder
from infonce.errors import CheckpointMismatch
from infonce.judging import AsItIsNow
from infonce.meeting import RankOrder
from infonce.pairs import Pair
from infonce.qrels import EvalSet
from infonce.ranks import num_processes, ranks
from infonce.records import Beside, TrainResult
from infonce.summary import compare_in_detail, summarize
from infonce.train import train
from service.store.records import Phase
from worker.gpus import hold_gpus
from worker.jobs.audit import audit_order
from worker.jobs.blended import Spent
from worker.jobs.embedding import cached, gpus_of, use_threads
from worker.jobs.judged import EVAL_FILE, HELD_OUT, cutoffs, evaluate_all, read_data
from worker.jobs.report import Measured, write_report
from worker.jobs.retained import probe_of
from worker.jobs.settled import Trained, settle
from worker.jobs.watcher import Watcher
from worker.progress import Progress

_MEASURED_SETTINGS = ("batch_size", "precision", "attention", "max_chunk_tokens", "max_graph_gb")


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The tuned model's folder, with its report, is in staging."""
    use_threads(order["threads"])
    progress.phase(Phase.LOADING)
    if gpus := gpus_of(order["encoder"]["device"]):
        hold_gpus(Path(order["gpu_locks"]), gpus, stop=progress.stop_requested)
    pairs, judged = read_data(order)
    base = Encoder.load(Path(order["model"]["path"]))
    config = fitting(TrainConfig.from_dict(order["config"]), len(pairs), progress=progress)
    kept = Checkpoints(folder=Path(order["checkpoints"]), inherited=[Path(folder) for folder in order["inherited"]])
    config, products = settled_precision(config, base.device, checkpoints=kept)
    seconds = {}

    progress.phase(Phase.BASELINE)
    started = perf_counter()
    before = evaluate_all(base, judged, order=order, precision=config.precision, progress=progress)
    reads = encoder_config(order["encoder"], base)
    probe = probe_of(order, base, precision=config.precision, wanted=bool(judged), progress=progress)
    source = cached(base, Path(order["vectors_root"]), precision=config.precision, progress=progress)
    audit = audit_order(order, source, reads=reads, progress=progress)
    del source  # with the vectors of all that was judged
    give_back_freed_memory()
    seconds["baseline"] = perf_counter() - started

    progress.phase(Phase.TRAINING)
    encoder = Encoder.load(Path(order["model"]["path"]), reads)
    progress.resolved({"max_seq_length": encoder.max_seq_length, "pooling": encoder.layout.pooling.value})
    beside = _beside(encoder, judged, order=order, precision=config.precision, progress=progress)
    attempt = partial(train, encoder, pairs, config=config, progress=Watcher(progress), beside=beside)
    loaded_as = replace(EncoderConfig.from_dict(order["encoder"]), max_seq_length=encoder.max_seq_length)
    given = RankOrder(model=Path(order["model"]["path"]), encoder=loaded_as, config=config, corpus=beside.corpus)
    together = partial(_together, given, pairs, order=order, stop=progress.stop_requested)
    trained = _trained(attempt, together, kept=kept, progress=progress)
    progress.resolved({name: getattr(trained.config, name) for name in _MEASURED_SETTINGS})
    seconds["training"] = trained.seconds
    _tell_temperature(trained, progress)
    give_back_freed_memory()
    progress.phase(Phase.EXPORTING)
    encoder.save(Path(order["staging"]))

    progress.phase(Phase.EVALUATING)
    started = perf_counter()
    ends = Trained(
        base=base,
        encoder=encoder,
        probe=probe,
        precision=config.precision,
        seed=config.seed,
        order=order,
        progress=progress,
    )
    elapsed = seconds["baseline"] + trained.seconds
    spent = Spent(clock=perf_counter, elapsed_seconds=elapsed, trained_tokens=trained.trained_tokens)
    settled = settle(ends, judged, before=before, spent=spent)
    seconds["evaluating"] = perf_counter() - started

    tuned, final = settled.encoder, settled.judged
    summary = summarize(final.before, final.after, seed=config.seed) | settled.summary
    measured = Measured(
        trained=trained,
        encoder=tuned,
        summary=summary,
        audit=audit,
        side_by_side=compare_in_detail(final.before, final.after, judged=final.sets, seed=config.seed),
        interpolation=settled.interpolation,
        products=products,
        seconds=seconds,
        made_at=time(),
    )
    write_report(Path(order["staging"]), order, measured=measured)
    return {
        "fingerprint": tuned.fingerprint(),
        "dimensions": tuned.dimensions,
        "max_tokens": tuned.max_seq_length,
        "trained_tokens": trained.trained_tokens,
        "summary": summary,
    }


def _beside(
    encoder: Encoder,
    judged: Mapping[str, EvalSet],
    *,
    order: Mapping[str, Any],
    precision: Precision,
    progress: Progress,
) -> Beside:
    """By what the training may end early, and where it looks for hard negatives."""
    now = AsItIsNow(encoder=encoder, precision=precision, stop=progress.stop_requested)
    chosen_by = judged.get(HELD_OUT, judged.get(EVAL_FILE))  # an eval file had better judge what it did not choose
    file, mines = order["mining_file"], TrainConfig.from_dict(order["config"]).mine is not None
    return Beside(
        evaluate=None if chosen_by is None else now.evaluation(chosen_by, ks=cutoffs(order)),
        corpus=None if file is None else read_documents(Path(file["path"])),
        vectors=cached(encoder, Path(order["vectors_root"]), precision=precision, progress=progress) if mines else None,
        finish=Path(order["finish"]).exists,
    )


def _tell_temperature(trained: TrainResult, progress: Progress) -> None:
    """The parent knows what a temperature that is learnt became."""
    if trained.config.loss.learn_temperature:
        message = f"The temperature is {trained.temperature:.4g} after {len(trained.curve)} steps."
        progress.event("info", "temperature", message=message, data={"temperature": trained.temperature})


def encoder_config(given: Mapping[str, Any], base: Encoder) -> EncoderConfig:
    """The order's config; a maximum length that was left open is the default, or the model's own if that is less."""
    config = EncoderConfig.from_dict(given)
    if config.max_seq_length is not None:
        return config
    return replace(config, max_seq_length=min(DEFAULT_MAX_SEQ_LENGTH, base.max_seq_length))


def fitting(config: TrainConfig, num_pairs: int, *, progress: Progress) -> TrainConfig:
    """The config for the pairs that the split left: a batch is never larger than all of them."""
    if config.batch_size == "auto" or config.batch_size <= num_pairs:
        return config
    message = f"The batch size is {num_pairs} instead of {config.batch_size}: the split left {num_pairs} pairs."
    progress.event("warn", "batch_size", message=message, data={"batch_size": num_pairs})
    return replace(config, batch_size=num_pairs)


def _together(
    given: RankOrder,
    pairs: Sequence[Pair],
    *,
    order: Mapping[str, Any],
    kept: Checkpoints,
    stop: Callable[[], bool],
) -> AbstractContextManager[None]:
    """Inside, the training is shared by the processes that this machine is to use; only this one saves and tells."""
    given = replace(given, checkpoints=[kept.folder, *kept.inherited])
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
