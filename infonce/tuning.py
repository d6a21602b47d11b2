"""A file of pairs becomes a tuned model in a folder, judged on held-out pairs: `infonce train`, without its printing.

The worker's job does the same with what only a service has: vectors that are kept, files of judgements, a report.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter, time
from typing import Any, Final

from infonce.calibrate import settled_precision
from infonce.checkpoint import Checkpoints
from infonce.compare import Comparison, compare
from infonce.config import TrainConfig
from infonce.digest import sha256_of
from infonce.documents import read_documents
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.evaluation import Evaluation, evaluate
from infonce.judging import AsItIsNow
from infonce.layout import WEIGHTS
from infonce.meeting import RankOrder
from infonce.qrels import EvalSet
from infonce.ranks import num_processes, ranks
from infonce.records import Beside, TrainResult
from infonce.report import about_training, by_name, machine, settings, write_report
from infonce.summary import METRIC, compare_in_detail, summarize
from infonce.train import train
from infonce.tuning_order import Order, Watch, check_used, load, metric_ranks, split
from infonce.vectors import CachedEncoder

HELD_OUT: Final = "held out"

_CHECKPOINTS = "checkpoints"
_VECTORS = "vectors"
_UNFINISHED = "unfinished"
_LOCK = "lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """What came of it."""

    trained: TrainResult
    before: Evaluation | None
    after: Evaluation | None
    comparison: Comparison | None
    seconds: float
    """From reading the texts to the last step: tokenising and measuring included, evaluating and saving not."""
    weights_sha256: str
    left_out: Mapping[str, int]
    """How many pairs of the file were copies, and how many had their query as their positive."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        curve = self.trained.curve
        judged = {"base": self.before, "tuned": self.after}
        metrics: dict[str, Any] = {name: one.metrics for name, one in judged.items() if one is not None}
        if self.comparison is not None:
            metrics["comparison"] = self.comparison.to_dict()
        return {
            "pairs_per_second": self.trained.num_trained / self.seconds,
            "seconds": self.seconds,
            "loss": curve[-1].loss,
            "metrics": metrics or None,
            "weights_sha256": self.weights_sha256,
            "num_pairs": self.trained.num_pairs,
            "left_out": dict(self.left_out),
            "num_steps": len(curve),
            "best_step": self.trained.best_step,
            "trained_tokens": self.trained.trained_tokens,
            "config": self.trained.config.to_dict(),
            "machine": self.trained.choice.to_dict(),
        }


def tune(order: Order, watch: Watch) -> Tuned:
    """The tuned model is in the folder `order.output`; a run that was broken off there goes on.

    Raises:
        ConfigError: the output is a model already or another process trains into it, or settings, pairs and model do
            not fit together.
        DatasetError, InvalidModel, CheckpointMismatch, NonFiniteLoss, Stopped: as the parts say.
    """
    _check_output(order.output)
    check_used(order)
    with _alone_in(order.output / _CHECKPOINTS):
        return _tune(order, watch)


def _tune(order: Order, watch: Watch) -> Tuned:
    watch.phase("loading")
    encoder = load(order)
    started = perf_counter()
    pairs, judged, left_out = split(order, watch)
    corpus = None if order.corpus is None else read_documents(order.corpus)
    checkpoints = Checkpoints(folder=order.output / _CHECKPOINTS, every_seconds=order.save_every_seconds)
    config, _ = settled_precision(order.config, encoder.device, checkpoints=checkpoints)
    preparing_seconds = perf_counter() - started

    vectors = partial(_cached, encoder, checkpoints.folder / _VECTORS, config=config, watch=watch)
    judge = partial(_evaluated, vectors, judged, config=config, watch=watch)
    before = judge()
    watch.phase("training")
    during = None
    if judged is not None:
        source = AsItIsNow(encoder=encoder, precision=config.precision, stop=watch.stop_requested)
        during = source.evaluation(judged, ks=metric_ranks(config))
    count, folder = num_processes(order.processes), checkpoints.folder
    loaded_as = replace(order.encoder, max_seq_length=encoder.max_seq_length)
    others = RankOrder(model=order.model, encoder=loaded_as, config=config, checkpoints=[folder], corpus=corpus)
    known = None if config.mine is None else vectors()  # which would stay in memory as long as the run lasts
    beside = Beside(evaluate=during, corpus=corpus, vectors=known)
    with ranks(others, pairs, count=count, folder=folder, stop=watch.stop_requested):
        trained = train(encoder, pairs, config=config, progress=watch, checkpoints=checkpoints, beside=beside)
    after = judge()
    comparison = None
    if before is not None and after is not None:
        comparison = compare(before.per_query, after.per_query, metric=METRIC, seed=config.seed)

    watch.phase("saving")
    staged = order.output / _UNFINISHED
    shutil.rmtree(staged, ignore_errors=True)
    encoder.save(staged)
    tuned = Tuned(
        trained=trained,
        before=before,
        after=after,
        comparison=comparison,
        seconds=preparing_seconds + trained.seconds,
        weights_sha256=sha256_of(staged / WEIGHTS),
        left_out=left_out,
    )
    write_report(staged, _report(order, tuned, encoder=encoder, judged=judged))
    _move(staged, order.output)
    shutil.rmtree(checkpoints.folder, ignore_errors=True)
    return tuned


def _report(order: Order, tuned: Tuned, *, encoder: Encoder, judged: EvalSet | None) -> dict[str, Any]:
    """What stands in the model's folder, in the form of a job's report."""
    trained, config, sets = tuned.trained, tuned.trained.config, {} if judged is None else {HELD_OUT: judged}
    before, after = ({HELD_OUT: one} if one is not None else {} for one in (tuned.before, tuned.after))
    asked = {**by_name(order.config), "max_seq_length": order.encoder.max_seq_length}
    return {
        "created_at": int(time()),
        "model": order.model_name or order.model.resolve().name,
        "data": _checksums(order.pairs),
        "left_out": dict(tuned.left_out),
        "evaluation": {"held_out": order.held_out, "ks": metric_ranks(config)},
        "summary": summarize(before, after, seed=config.seed),
        "side_by_side": compare_in_detail(before, after, judged=sets, seed=config.seed),
        "settings": settings(asked, trained, encoder=encoder),
        "machine": machine(trained, encoder),
        "seconds": {"training": tuned.seconds},
        "pairs_per_second": tuned.to_dict()["pairs_per_second"],
        "weights_sha256": tuned.weights_sha256,
        **about_training(trained, encoder),
    }


def _checksums(pairs: Path) -> dict[str, Any]:
    """Of the file of pairs, or of every file of a folder."""
    if pairs.is_file():
        return {"training_file": {"filename": pairs.name, "sha256": sha256_of(pairs)}}
    found = sorted(path for path in pairs.rglob("*") if path.is_file())
    names = [path.relative_to(pairs).as_posix() for path in found]
    return {
        f"training_file {name}": {"filename": name, "sha256": sha256_of(path)}
        for name, path in zip(names, found, strict=True)
    }


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Inside, no other process saves there; the kernel ends the lock with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)  # better now than after the last step
    with (folder / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process trains into {folder.parent}; wait for its end, or name another folder"
            raise ConfigError(message, param="output") from None
        try:
            yield
        finally:
            if folder.exists() and [path.name for path in folder.iterdir()] == [_LOCK]:  # nothing was made
                shutil.rmtree(folder)


def _check_output(folder: Path) -> None:
    """Raise `ConfigError` unless the folder is new, empty, or holds a run that was broken off."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder", param="output")
    goes_on = {_CHECKPOINTS, _UNFINISHED} & set(found) and WEIGHTS not in found
    if found and not goes_on:
        message = f"{folder} holds {found[0]} already and nothing is overwritten"
        raise ConfigError(f"{message}; name a new folder or empty this one", param="output")


def _evaluated(
    vectors: Callable[[], CachedEncoder], judged: EvalSet | None, *, config: TrainConfig, watch: Watch
) -> Evaluation | None:
    """What the encoder finds as it is now."""
    if judged is None:
        return None
    watch.phase("evaluating")
    return evaluate(vectors(), judged, ks=metric_ranks(config))


def _cached(encoder: Encoder, folder: Path, *, config: TrainConfig, watch: Watch) -> CachedEncoder:
    """The encoder as it is now; its vectors are kept in case the run is broken off."""
    encode = partial(encoder.encode, precision=config.precision, stop=watch.stop_requested)
    return CachedEncoder(
        folder / encoder.fingerprint(),
        lambda texts, side: encode(texts, side=side),
        prompt=encoder.prompt,
        on_block=watch.embedded,
    )


def _move(part: Path, folder: Path) -> None:
    """All that is in the part is in the folder, the weights last: where they are, everything is."""
    for path in sorted(part.iterdir(), key=lambda path: path.name == WEIGHTS):
        if (folder / path.name).is_dir():  # of a run that was killed in this very loop
            shutil.rmtree(folder / path.name)
        path.rename(folder / path.name)
    part.rmdir()
