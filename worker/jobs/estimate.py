"""What a training job would take: the order is that of the training, and the result is numbers."""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from infonce.calibrate import settled_precision
from infonce.checkpoint import Checkpoints
from infonce.config import TrainConfig
from infonce.encoder import Encoder
from infonce.estimate import Part, Plan, estimate
from infonce.extra_work import ExtraWork
from infonce.judged_work import Judge
from infonce.length_picture import TokenCounter
from infonce.qrels import EvalSet
from infonce.ranks import num_processes
from infonce.tuning_estimate import check_alone
from service.store.records import Phase
from worker.gpus import hold_gpus
from worker.jobs.blended import to_choose_by, why_not
from worker.jobs.embedding import cached, gpus_of, use_threads
from worker.jobs.judged import EVAL_FILE, HELD_OUT, cutoffs, read_data
from worker.jobs.retained import unmeasured
from worker.jobs.train import encoder_config, fitting
from worker.jobs.watcher import Watcher
from worker.progress import Progress

_PHASES: Final = {Part.ENCODING: Phase.BASELINE, Part.STEPS: Phase.TRAINING, Part.SAVING: Phase.EXPORTING}


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """How long the training of this order would take, and how much memory; nothing is left anywhere."""
    began = perf_counter()
    use_threads(order["threads"])
    progress.phase(Phase.LOADING)
    check_alone(num_processes(order["processes"]))
    if gpus := gpus_of(order["encoder"]["device"]):
        hold_gpus(Path(order["gpu_locks"]), gpus, stop=progress.stop_requested)
    pairs, judged = read_data(order)
    loading = perf_counter()
    base = Encoder.load(Path(order["model"]["path"]))
    reloading_seconds = perf_counter() - loading
    nothing = Checkpoints(folder=Path(order["checkpoints"]))  # of its own attempt, which saves none
    config = fitting(TrainConfig.from_dict(order["config"]), len(pairs), progress=progress)
    config, _ = settled_precision(config, base.device, checkpoints=nothing)
    encoder = Encoder.load(Path(order["model"]["path"]), encoder_config(order["encoder"], base))
    progress.resolved({"max_seq_length": encoder.max_seq_length, "pooling": encoder.layout.pooling.value})
    probe = unmeasured(order, wanted=bool(judged), progress=progress).judged
    plan = Plan(
        encoder=encoder,
        pairs=pairs,
        config=config,
        judge=Judge(encoder=base, precision=config.precision, stop=progress.stop_requested),
        judged=[*judged.values(), *([] if probe is None else [probe])],
        chosen_by=judged.get(HELD_OUT, judged.get(EVAL_FILE)),
        ks=cutoffs(order),
        source=cached(base, Path(order["vectors_root"]), precision=config.precision, progress=progress),
        save_every_seconds=nothing.every_seconds,
        loading_seconds=perf_counter() - began,
        reloading_seconds=reloading_seconds,
        extra=_extra(order, judged, probe=probe, max_length=encoder.max_seq_length, seed=config.seed),
        scratch=Path(order["staging"]),
    )

    def begins(part: Part) -> None:
        if part in _PHASES:
            progress.phase(_PHASES[part])

    return estimate(plan, progress=Watcher(progress), begins=begins).to_dict()


def _extra(
    order: Mapping[str, Any], judged: Mapping[str, EvalSet], *, probe: EvalSet | None, max_length: int, seed: int
) -> ExtraWork:
    """The audit of the order's training, and the search for weights between base and tuned if there will be one."""
    held_out, model = judged.get(HELD_OUT), order["model"]
    chosen_by = None
    if held_out is not None and why_not(order, held_out, is_probed=probe is not None, seed=seed) is None:
        assert probe is not None, "nothing would be tried"
        chosen_by = to_choose_by(held_out, seed=seed), probe
    counter = TokenCounter.of(Path(model["path"]), model["name"], max_length=max_length)
    return ExtraWork(counter=counter, judged=list(judged.values()), chosen_by=chosen_by)
