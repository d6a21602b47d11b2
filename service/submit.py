"""The one write path for work: checked here, written as a row, committed; the sweep rings, never the request."""

from dataclasses import replace
from typing import Any

from infonce.config import AUTO, EncoderConfig, Prompts, TrainConfig, check_range
from infonce.errors import ConfigError, UnknownModel
from infonce.hub import FoundModel
from service.errors import ServiceError
from service.model_lookup import ModelLookup
from service.schemas.jobs import Contrastive, JobCreate
from service.store import files, jobs
from service.store.database import Database, Tx
from service.store.errors import NotFound
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
}
"""Where the body has what a config calls so; the rest are hyperparameters."""

_SAME_NAMES = (
    "n_epochs",
    "batch_size",
    "learning_rate",
    "warmup_ratio",
    "temperature",
    "symmetric",
    "precision",
    "max_chunk_tokens",
    "dropout",
    "deterministic",
)


def submit_training(
    database: Database, lookup: ModelLookup, *, project: str, asked: JobCreate, now: float
) -> JobRecord:
    """The job is checked and waits.

    Raises:
        UnknownModel: no such base model here, and none may be downloaded.
        ServiceError: a file does not exist or has another purpose.
        ConfigError: a setting is outside its limits; `param` is its place in the body.
    """
    try:
        model = _find_model(lookup, project, name=asked.model)
        encoder = _encoder_config(
            asked.method.contrastive, positions=None if model is None else lookup.layout(model).max_positions
        )
        with database.write() as tx:
            config = _train_config(asked, _num_training_pairs(tx, project, asked=asked))
            record = _record(project, asked, config=config, encoder=encoder, now=now)
            jobs.insert(tx, record)
    except ConfigError as error:
        place = _PLACES.get(error.param, _HYPERPARAMETERS + error.param)
        message = str(error).removeprefix(error.param)
        renamed = message if message == str(error) else place.rsplit(".", 1)[-1] + message
        raise ConfigError(renamed, param=place) from None
    return record


def _find_model(lookup: ModelLookup, project: str, *, name: str) -> FoundModel | None:
    """The model; None where the worker will download it first."""
    try:
        return lookup.find(project, name)
    except UnknownModel:
        if lookup.may_fetch(name):
            return None
        raise


def _encoder_config(method: Contrastive, *, positions: int | None) -> EncoderConfig:
    """The settings of the encoder; `positions` are those of the base model, if it is here already."""
    length = method.hyperparameters.max_seq_length
    prompts = method.prompts
    config = EncoderConfig(
        pooling=method.pooling,
        max_seq_length=length,
        prompts=None if prompts is None else Prompts(query=prompts.query, document=prompts.document),
    )
    if length is not None and positions is not None and length > positions:
        message = f"max_seq_length is {length} and the model has {positions} positions; lower it"
        raise ConfigError(message, param="max_seq_length")
    return config


def _num_training_pairs(tx: Tx, project: str, *, asked: JobCreate) -> int:
    """About how many pairs are trained on, after every file proved to exist and to be of the right purpose.

    The split keeps connected pairs together, so it may hold out a few more or fewer.
    """
    evaluation = asked.method.contrastive.evaluation
    training = _file(tx, project, id=asked.training_file, purpose=FilePurpose.FINE_TUNE, param="training_file")
    if evaluation.file is not None:
        param = "method.contrastive.evaluation.file"
        _file(tx, project, id=evaluation.file, purpose=FilePurpose.EVAL, param=param)
    if asked.validation_file is not None:
        if evaluation.held_out > 0 and "held_out" in evaluation.model_fields_set:
            message = f"held_out is {evaluation.held_out} and a validation_file is given, which replaces it; keep one"
            raise ConfigError(message, param="evaluation.held_out")
        _file(tx, project, id=asked.validation_file, purpose=FilePurpose.FINE_TUNE, param="validation_file")
        return training.counts["pairs"]
    num_pairs = training.counts["pairs"]
    return num_pairs - (max(1, round(evaluation.held_out * num_pairs)) if evaluation.held_out > 0 else 0)


def _file(tx: Tx, project: str, *, id: str, purpose: FilePurpose, param: str) -> FileRecord:
    try:
        record = files.get_file(tx, project, id=id)
    except NotFound as error:
        raise ServiceError("not_found", f"{param}: {error}", param=param) from None
    if record.purpose is not purpose:
        message = f"{param}: file {id} has purpose {record.purpose}; one with purpose {purpose} is needed"
        raise ServiceError("invalid_value", message, param=param)
    return record


def _train_config(asked: JobCreate, num_pairs: int) -> TrainConfig:
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
    negatives = method.hard_negatives
    config = TrainConfig(**settings, hard_negatives=negatives.use, max_negatives=negatives.max_per_query)
    config = config.resolve(num_pairs)
    if multiplier != AUTO:
        assert config.learning_rate != AUTO, "resolve leaves no automatic rate"
        config = replace(config, learning_rate=config.learning_rate * multiplier)  # in its range by both their limits
    return config


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
