"""What `infonce.tuning.tune` would take: its order becomes the plan that is estimated."""

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from infonce.calibrate import settled_precision
from infonce.checkpoint import Checkpoints
from infonce.errors import ConfigError
from infonce.estimate import Estimate, Plan, estimate
from infonce.judged_work import Judge
from infonce.mining_config import check_foreseen
from infonce.ranks import num_processes
from infonce.tuning_order import Order, Watch, check_used, load, metric_ranks, split
from infonce.vectors import CachedEncoder


def estimate_tuning(order: Order, watch: Watch, *, began: float) -> Estimate:
    """What the order would take; `began` is when this process did, of `perf_counter`.

    Raises:
        ConfigError: several processes would train, or what `tune` says of settings, pairs and model.
        DatasetError, InvalidModel, OutOfMemory, Stopped: as the parts say.
    """
    check_used(order)
    check_foreseen(order.config.mine)
    check_alone(num_processes(order.processes))
    watch.phase("loading")
    encoder = load(order)
    pairs, judged, _ = split(order, watch)
    with TemporaryDirectory(prefix="infonce-estimate-") as empty:
        config, _ = settled_precision(order.config, encoder.device, checkpoints=Checkpoints(folder=Path(empty)))
        judge = Judge(encoder=encoder, precision=config.precision, stop=watch.stop_requested)
        plan = Plan(
            encoder=encoder,
            pairs=pairs,
            config=config,
            judge=judge,
            judged=[] if judged is None else [judged],
            chosen_by=judged,
            ks=metric_ranks(config),
            source=CachedEncoder(Path(empty), judge.encode, prompt=encoder.prompt),
            save_every_seconds=order.save_every_seconds,
            loading_seconds=perf_counter() - began,
        )
        return estimate(plan, progress=watch, begins=watch.phase)


def check_alone(count: int) -> None:
    """Raise `ConfigError` if several processes would share the steps."""
    if count > 1:
        message = f"{count} processes would train together, and what that takes is not known from the steps of one"
        raise ConfigError(f"{message}; ask for processes 1", param="processes")
