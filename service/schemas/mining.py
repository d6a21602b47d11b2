"""What a caller may ask of mining: keys and defaults, types only; ranges stand in `infonce.mining_config`."""

from dataclasses import fields
from typing import Annotated

from pydantic import BaseModel, Field

from infonce.mining_config import MiningConfig, Retriever, Sampling
from service.schemas.strict import Metadata, Name, Request, Whole

_DEFAULT = MiningConfig()
_Ranks = Annotated[list[Whole], Field(min_length=2, max_length=2)]
"""The ranks to skip, and the last one to look at."""


class MiningSettings(BaseModel):
    """By what negatives are looked for, wherever they are; strict in the bodies that have it as a part."""

    corpus_file: Name | None = None
    """Documents to search; null searches the positives and negatives of the pairs."""
    per_query: Whole = _DEFAULT.per_query
    range: _Ranks = Field(default=list(_DEFAULT.range))
    relative_margin: float | None = _DEFAULT.relative_margin
    absolute_margin: float | None = None
    max_score: float | None = None
    retriever: Retriever = _DEFAULT.retriever
    sampling: Sampling = _DEFAULT.sampling
    seed: Whole = _DEFAULT.seed

    def config(self) -> MiningConfig:
        """The settings, checked.

        Raises:
            ConfigError: one is outside its limits.
        """
        return MiningConfig.from_dict({field.name: getattr(self, field.name) for field in fields(MiningConfig)})


class MiningCreate(MiningSettings, Request):
    """The body of `POST /v1/mining`."""

    training_file: Name
    model: Name
    metadata: Metadata | None = None


class MiningWhileTraining(MiningSettings, Request):
    """Hard negatives that a training looks for itself, by the same settings."""

    every_epochs: Whole | None = None
    """Again before each so many-th epoch, with the model as it is then; null looks once, before the first step."""
