"""What the body of a training asks for becomes the library's settings; ranges and combinations are checked there."""

from dataclasses import replace
from typing import Any

from infonce.config import AUTO, MAX_LEARNING_RATE, EncoderConfig, Prompts, TrainConfig
from infonce.early_stopping import EarlyStopping
from infonce.errors import ConfigError
from infonce.limits import check_range
from infonce.lora_config import LoraConfig
from infonce.loss_config import LossConfig
from infonce.mining_config import MiningConfig
from service.schemas.jobs import Contrastive, JobCreate
from service.schemas.mining import MiningWhileTraining

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


def encoder_config(method: Contrastive) -> EncoderConfig:
    """How the model is read."""
    prompts = method.prompts
    return EncoderConfig(
        pooling=method.pooling,
        max_seq_length=method.hyperparameters.max_seq_length,
        prompts=None if prompts is None else Prompts(query=prompts.query, document=prompts.document),
    )


def loss_config(method: Contrastive) -> LossConfig:
    """The loss, checked."""
    return LossConfig.from_dict({name: getattr(method.hyperparameters, name) for name in _OF_THE_LOSS})


def train_config(asked: JobCreate, loss: LossConfig, *, num_pairs: int, width: int | None) -> TrainConfig:
    """The settings of a training over about so many pairs, with a model of that width.

    Raises:
        ConfigError: a setting is outside its limits, or is given twice.
    """
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
    """Adapters, early stopping and mining, where they are asked for."""
    lora, stopping, mine = (
        method.hyperparameters.lora,
        method.hyperparameters.early_stopping,
        method.hard_negatives.mine,
    )
    return {
        "lora": None if lora is None else LoraConfig(**lora.model_dump()),
        "early_stopping": None if stopping is None else EarlyStopping(**stopping.model_dump()),
        "mine": None if mine is None else _mining(mine),
        "mine_every_epochs": None if mine is None else mine.every_epochs,
    }


def _mining(mine: MiningWhileTraining) -> MiningConfig:
    try:
        return mine.config()
    except ConfigError as error:
        raise of_mining(error) from None


def of_mining(error: ConfigError) -> ConfigError:
    """The error at its place in a training's settings."""
    return ConfigError(f"mine.{error}", param=f"mine.{error.param}")


def _given_once(name: str, *, top: Any, inner: Any) -> Any:
    """The value that is not automatic."""
    if top != AUTO and inner != AUTO:
        message = f"{name} is given both in hyperparameters and in method.contrastive.hyperparameters; keep one"
        raise ConfigError(message, param=name)
    return inner if top == AUTO else top
