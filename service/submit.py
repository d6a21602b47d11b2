"""The one write path for work: checked here, written as a row, committed; the sweep rings, never the request."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from infonce.config import AUTO, MAX_LEARNING_RATE, EncoderConfig, HardNegatives, Prompts, TrainConfig
from infonce.early_stopping import EarlyStopping
from infonce.errors import ConfigError
from infonce.hub import FoundModel
from infonce.limits import check_range
from infonce.lora_config import LoraConfig
from infonce.loss_config import LossConfig, Negatives
from service.deploying import check_deploy, is_judged
from service.errors import ServiceError
from service.model_lookup import ModelLookup
from service.references import find_file, find_model
from service.schemas.jobs import Contrastive, JobCreate
from service.store import jobs
from service.store.database import Database, Tx
from service.store.records import (
    FilePurpose,
    FileRecord,
    JobKind,
    JobRecord,
    JobStatus,
    Phase,
    new_id,
)

_HYPERPARAMETERS = "method.contrastive.hyperparameters."
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
    "deploy.policy": "method.contrastive.deploy.policy",
    "deploy.collection": "method.contrastive.deploy.collection",
}
"""Where the body has what a config calls so; the rest are hyperparameters."""

_SAME_NAMES = (
    "n_epochs",
    "batch_size",
    "learning_rate",
    "warmup_ratio",
    "precision",
    "max_chunk_tokens",
    "dropout",
    "deterministic",
)

_OF_THE_LOSS = (
    "temperature",
    "learn_temperature",
    "symmetric",
    "negatives",
    "matryoshka_dims",
    "matryoshka_weights",
    "num_views",
    "queue_size",
    "momentum",
)
"""The tile size is not asked for: it is a matter of the machine's memory and stays automatic."""

_OTHER_NAMES = {"hard_negatives": "hard_negatives.use", "max_negatives": "hard_negatives.max_per_query"}
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
        UnknownModel: no such base model here, and none may be downloaded.
        ServiceError: a file does not exist or has another purpose.
        ConfigError: a setting is outside its limits; `param` is its place in the body.
    """
    try:
        model = find_model(lookup, project, name=asked.model)
        encoder, loss = _encoder_config(asked.method.contrastive), _loss_config(asked.method.contrastive)
        if model is not None:
            _check_fits_model(lookup, model, encoder=encoder, loss=loss)
        width = None if model is None else lookup.dimensions(model)
        with database.write() as tx:
            training = _training_file(tx, project, asked=asked)
            _check_different(training)
            num_pairs = _num_training_pairs(training, asked=asked)
            config = _train_config(asked, loss, num_pairs=num_pairs, width=width)
            _check_fits_file(config, training)
            _check_judged(asked, config)
            check_deploy(tx, project, asked=asked, width=width)
            record = _record(project, asked, config=config, encoder=encoder, now=now)
            insert(tx, record)
    except ConfigError as error:
        place = _PLACES.get(error.param, _HYPERPARAMETERS + error.param)
        names = rf"\b({'|'.join(_OTHER_NAMES)})\b"
        raise ConfigError(re.sub(names, lambda name: _OTHER_NAMES[name[0]], str(error)), param=place) from None
    return record


def _encoder_config(method: Contrastive) -> EncoderConfig:
    prompts = method.prompts
    return EncoderConfig(
        pooling=method.pooling,
        max_seq_length=method.hyperparameters.max_seq_length,
        prompts=None if prompts is None else Prompts(query=prompts.query, document=prompts.document),
    )


def _loss_config(method: Contrastive) -> LossConfig:
    return LossConfig.from_dict({name: getattr(method.hyperparameters, name) for name in _OF_THE_LOSS})


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
    if asked.validation_file is not None:
        if evaluation.held_out > 0 and "held_out" in evaluation.model_fields_set:
            message = f"held_out is {evaluation.held_out} and a validation_file is given, which replaces it; keep one"
            raise ConfigError(message, param="evaluation.held_out")
        find_file(tx, project, id=asked.validation_file, purpose=FilePurpose.FINE_TUNE, param="validation_file")
    return training


def _num_training_pairs(training: FileRecord, *, asked: JobCreate) -> int:
    """About how many pairs are trained on; the split keeps connected ones together, so it may differ by a few."""
    num_pairs, share = training.counts["pairs"], asked.method.contrastive.evaluation.held_out
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
    if loss.negatives is not Negatives.SHARED and count == 0:
        message = f"negatives is {loss.negatives.value!r} and {training.id} has no hard negatives"
        raise ConfigError(f"{message}; bring a file that has, or set negatives to 'shared'", param="negatives")
    used = config.hard_negatives is HardNegatives.ALL and config.max_negatives > 0
    if loss.num_views is not None and used and count:
        message = f"num_views is {loss.num_views} and {training.id} has {count} hard negatives, which views do not use"
        raise ConfigError(f"{message}; set hard_negatives to 'none' or leave num_views out", param="num_views")


def _train_config(asked: JobCreate, loss: LossConfig, *, num_pairs: int, width: int | None) -> TrainConfig:
    method, top = asked.method.contrastive, asked.hyperparameters
    settings: dict[str, Any] = {name: getattr(method.hyperparameters, name) for name in _SAME_NAMES}
    for name in ("n_epochs", "batch_size"):
        settings[name] = _given_once(name, top=getattr(top, name), inner=settings[name])
    multiplier = top.learning_rate_multiplier
    if multiplier != AUTO:
        check_range("learning_rate_multiplier", multiplier, low=1e-3, high=1e3)
        _given_once("learning_rate", top=multiplier, inner=settings["learning_rate"])
    if asked.seed is not None:
        settings["seed"] = asked.seed
    settings |= _parts(method)
    negatives = method.hard_negatives
    config = TrainConfig(**settings, loss=loss, hard_negatives=negatives.use, max_negatives=negatives.max_per_query)
    config = config.resolve(num_pairs, width=width)
    if multiplier != AUTO:
        assert config.learning_rate != AUTO, "resolve leaves no automatic rate"
        rate = config.learning_rate * multiplier
        if rate > MAX_LEARNING_RATE:
            message = f"learning_rate_multiplier is {multiplier}, which makes the learning rate {rate:.3g}"
            remedy = f"at most {MAX_LEARNING_RATE}; lower it"
            raise ConfigError(f"{message}; it can be {remedy}", param="learning_rate_multiplier")
        config = replace(config, learning_rate=rate)
    return config


def _parts(method: Contrastive) -> dict[str, Any]:
    """Adapters and early stopping, where they are asked for."""
    lora, stopping = method.hyperparameters.lora, method.hyperparameters.early_stopping
    return {
        "lora": None if lora is None else LoraConfig(**lora.model_dump()),
        "early_stopping": None if stopping is None else EarlyStopping(**stopping.model_dump()),
    }


def _check_judged(asked: JobCreate, config: TrainConfig) -> None:
    """Raise `ConfigError` if the training is to end by a metric and nothing is held out."""
    if config.early_stopping is not None and not is_judged(asked):
        message = "early_stopping is set, held_out is 0 and no file is given to judge by; give one or leave it out"
        raise ConfigError(message, param="early_stopping")


def _given_once(name: str, *, top: Any, inner: Any) -> Any:
    """The value that is not automatic."""
    if top != AUTO and inner != AUTO:
        message = f"{name} is given both in hyperparameters and in method.contrastive.hyperparameters; keep one"
        raise ConfigError(message, param=name)
    return inner if top == AUTO else top


def _record(project: str, asked: JobCreate, *, config: TrainConfig, encoder: EncoderConfig, now: float) -> JobRecord:
    method = asked.method.contrastive
    multiplier = asked.hyperparameters.learning_rate_multiplier
    spec = {
        "model": asked.model,
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "evaluation_file": method.evaluation.file,
        "suffix": asked.suffix,
        "config": config.to_dict(),
        "encoder": encoder.to_dict(),
        "evaluation": {"held_out": method.evaluation.held_out, "ks": list(method.evaluation.ks)},
        "method": asked.method.model_dump(mode="json"),
        "hyperparameters": asked.hyperparameters.model_dump(mode="json"),
        "deploy": None if method.deploy is None else method.deploy.model_dump(mode="json"),
        "learning_rate_multiplier": 1.0 if multiplier == AUTO else multiplier,
    }
    return JobRecord(
        id=new_id("ftjob"),
        project=project,
        kind=JobKind.TRAIN,
        status=JobStatus.QUEUED,
        phase=Phase.WAITING,
        created_at=now,
        priority=method.priority,
        spec=spec,
        metadata=asked.metadata or {},
    )
