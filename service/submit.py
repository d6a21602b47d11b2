"""The one write path for work: checked here, written as a row, committed; the sweep rings, never the request."""

import re
from collections.abc import Callable
from dataclasses import replace

from infonce.config import AUTO, EncoderConfig, HardNegatives, TrainConfig
from infonce.errors import ConfigError
from infonce.hub import FoundModel
from infonce.loss_config import LossConfig, Negatives
from service.deploying import check_policy, check_target, is_judged
from service.errors import ServiceError
from service.mining_checks import check_searched
from service.model_lookup import ModelLookup
from service.references import find_file, find_model
from service.schemas.jobs import Contrastive, JobCreate
from service.store import jobs
from service.store.database import Database, Tx
from service.store.records import FilePurpose, FileRecord, JobKind, JobRecord
from service.store.waiting import waiting_job
from service.training_settings import encoder_config, loss_config, of_mining, train_config

_HYPERPARAMETERS = "method.contrastive.hyperparameters."
_NEGATIVES = "method.contrastive.hard_negatives."
_PLACES = {
    "hard_negatives": "method.contrastive.hard_negatives.use",
    "max_negatives": "method.contrastive.hard_negatives.max_per_query",
    "pooling": "method.contrastive.pooling",
    "prompts.query": "method.contrastive.prompts.query",
    "prompts.document": "method.contrastive.prompts.document",
    "evaluation.held_out": "method.contrastive.evaluation.held_out",
    "learning_rate_multiplier": "hyperparameters.learning_rate_multiplier",
    "training_file": "training_file",
    "validation_file": "validation_file",
    "seed": "seed",
    "mine_every_epochs": "method.contrastive.hard_negatives.mine.every_epochs",
    "deploy.policy": "method.contrastive.deploy.policy",
    "deploy.collection": "method.contrastive.deploy.collection",
}
"""Where the body has what a config calls so; the rest are hyperparameters."""

_OF_THE_EVALUATION = {"held_out", "ks", "retention", "interpolation"}

_OTHER_NAMES = {
    "hard_negatives": "hard_negatives.use",
    "max_negatives": "hard_negatives.max_per_query",
    "mine_every_epochs": "mine.every_epochs",
}
"""What messages of the library name otherwise than the body does."""


def submit_training(
    database: Database,
    lookup: ModelLookup,
    *,
    project: str,
    asked: JobCreate,
    now: float,
    insert: Callable[[Tx, JobRecord], None] = jobs.insert,
) -> JobRecord:
    """The job is checked and waits; `insert` may add to what is written with it, or refuse.

    Raises:
        ServiceError: no such base model here, and none may be downloaded; or no such file of the right purpose.
        ConfigError: a setting is outside its limits; `param` is its place in the body.
    """
    try:
        model = find_model(lookup, project, name=asked.model)
        encoder, loss = encoder_config(asked.method.contrastive), loss_config(asked.method.contrastive)
        if model is not None:
            _check_fits_model(lookup, model, encoder=encoder, loss=loss)
        width = None if model is None else lookup.dimensions(model)
        with database.write() as tx:
            training = _training_file(tx, project, asked=asked)
            _check_different(training)
            num_pairs = _num_training_pairs(training, asked=asked)
            config = train_config(asked, loss, num_pairs=num_pairs, width=width)
            _check_fits_file(config, training)
            _check_mining(tx, training, asked=asked)
            _check_judged(asked, config)
            check_policy(asked)
            check_target(tx, project, deploy=asked.method.contrastive.deploy, width=width)
            record = _record(project, asked, config=config, encoder=encoder, now=now)
            insert(tx, record)
    except ConfigError as error:
        block = _NEGATIVES if error.param.startswith("mine") else _HYPERPARAMETERS
        place = _PLACES.get(error.param, block + error.param)
        names = rf"\b({'|'.join(_OTHER_NAMES)})\b"
        raise type(error)(re.sub(names, lambda name: _OTHER_NAMES[name[0]], str(error)), param=place) from None
    return record


def _check_fits_model(lookup: ModelLookup, model: FoundModel, *, encoder: EncoderConfig, loss: LossConfig) -> None:
    """Raise `ConfigError` if more is asked of the base model than it has."""
    length, positions = encoder.max_seq_length, lookup.layout(model).max_positions
    if length is not None and length > positions:
        message = f"max_seq_length is {length} and the model has {positions} positions; lower it"
        raise ConfigError(message, param="max_seq_length")
    if loss.matryoshka_dims is None:
        return
    longest, dimensions = max(loss.matryoshka_dims), lookup.dimensions(model)
    if longest > dimensions:
        message = f"matryoshka_dims has {longest} and the model's vectors have {dimensions} dimensions"
        raise ConfigError(f"{message}; leave out what is longer", param="matryoshka_dims")


def _training_file(tx: Tx, project: str, *, asked: JobCreate) -> FileRecord:
    """The file of training pairs, after every file proved to exist and to be of the right purpose."""
    evaluation = asked.method.contrastive.evaluation
    training = find_file(tx, project, id=asked.training_file, purpose=FilePurpose.FINE_TUNE, param="training_file")
    if evaluation.file is not None:
        param = "method.contrastive.evaluation.file"
        find_file(tx, project, id=evaluation.file, purpose=FilePurpose.EVAL, param=param)
    if (probe := _retention_file(asked.method.contrastive)) is not None:
        find_file(tx, project, id=probe, purpose=FilePurpose.EVAL, param="method.contrastive.evaluation.retention")
    if asked.validation_file is not None:
        if evaluation.held_out > 0 and "held_out" in evaluation.model_fields_set:
            message = f"held_out is {evaluation.held_out} and a validation_file is given, which replaces it; keep one"
            raise ConfigError(message, param="evaluation.held_out")
        find_file(tx, project, id=asked.validation_file, purpose=FilePurpose.FINE_TUNE, param="validation_file")
    return training


def _retention_file(method: Contrastive) -> str | None:
    """The user's own probe of what the model still knows."""
    asked = method.evaluation.retention
    return asked if asked.startswith("file-") else None


def _num_training_pairs(training: FileRecord, *, asked: JobCreate) -> int:
    """About how many pairs are trained on; the split keeps connected ones together, so it may differ by a few.

    Copies do not count where there are no negatives; elsewhere a copy may have others, and is trained on.
    """
    num_pairs, share = training.counts["pairs"], asked.method.contrastive.evaluation.held_out
    if training.counts.get("negatives") == 0:
        num_pairs -= training.counts.get("duplicates", 0)
    if asked.validation_file is not None or share == 0:
        return num_pairs
    return num_pairs - max(1, round(share * num_pairs))


def _check_different(training: FileRecord) -> None:
    """Raise `ServiceError` (`too_few_pairs`) if there are not two different pairs."""
    different = training.counts["pairs"] - training.counts.get("duplicates", 0)
    if different < 2:
        message = f"{training.id} has {different} different pair in {training.counts['pairs']}"
        raise ServiceError("too_few_pairs", f"{message}; at least 2 are needed: bring more", param="training_file")


def _check_fits_file(config: TrainConfig, training: FileRecord) -> None:
    """Raise `ConfigError` if the loss needs hard negatives that are not there, or uses none.

    A file that was stored without a count is judged when the job reads it.
    """
    count, loss = training.counts.get("negatives"), config.loss
    if loss.negatives is not Negatives.SHARED and count == 0 and config.mine is None:
        message = f"negatives is {loss.negatives.value!r} and {training.id} has no hard negatives"
        raise ConfigError(f"{message}; bring a file that has, or set negatives to 'shared'", param="negatives")
    used = config.hard_negatives is HardNegatives.ALL and config.max_negatives > 0
    if loss.num_views is not None and used and count:
        message = f"num_views is {loss.num_views} and {training.id} has {count} hard negatives, which views do not use"
        raise ConfigError(f"{message}; set hard_negatives to 'none' or leave num_views out", param="num_views")


def _check_mining(tx: Tx, training: FileRecord, *, asked: JobCreate) -> None:
    """Raise where hard negatives are to be looked for and none can be found."""
    mine = asked.method.contrastive.hard_negatives.mine
    if mine is None:
        return
    try:
        corpus_file, place = mine.corpus_file, f"{_NEGATIVES}mine."
        check_searched(tx, training, config=mine.config(), corpus_file=corpus_file, place=place)
    except ConfigError as error:
        raise of_mining(error) from None


def _check_judged(asked: JobCreate, config: TrainConfig) -> None:
    """Raise `ConfigError` if the training is to end by a metric and nothing is held out."""
    if config.early_stopping is not None and not is_judged(asked):
        message = "early_stopping is set, held_out is 0 and no file is given to judge by; give one or leave it out"
        raise ConfigError(message, param="early_stopping")


def _record(project: str, asked: JobCreate, *, config: TrainConfig, encoder: EncoderConfig, now: float) -> JobRecord:
    method = asked.method.contrastive
    multiplier = asked.hyperparameters.learning_rate_multiplier
    spec = {
        "model": asked.model,
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "evaluation_file": method.evaluation.file,
        "mining_file": None if method.hard_negatives.mine is None else method.hard_negatives.mine.corpus_file,
        "suffix": asked.suffix,
        "config": config.to_dict(),
        "encoder": encoder.to_dict(),
        "evaluation": method.evaluation.model_dump(mode="json", include=_OF_THE_EVALUATION),
        "retention_file": _retention_file(method),
        "method": asked.method.model_dump(mode="json"),
        "hyperparameters": asked.hyperparameters.model_dump(mode="json"),
        "deploy": None if method.deploy is None else method.deploy.model_dump(mode="json"),
        "learning_rate_multiplier": 1.0 if multiplier == AUTO else multiplier,
    }
    job = waiting_job(JobKind.TRAIN, project=project, spec=spec, now=now, metadata=asked.metadata)
    return replace(job, priority=method.priority)
