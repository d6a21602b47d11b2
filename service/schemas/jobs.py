"""What a caller may ask of a fine-tuning job: keys and defaults, types only.

Ranges and combinations stand in `infonce.config` and `infonce.loss_config`, which check them once for library and
service alike.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from infonce.config import HardNegatives, Pooling, Precision
from infonce.loss_config import Negatives
from service.schemas.collections import CollectionName
from service.schemas.mining import MiningWhileTraining
from service.schemas.strict import AutoNumber, AutoWhole, Metadata, Name, Off, Request, Whole, only, sentence
from service.store.records import DeployPolicy

FILE_ID: Final = "file-[0-9a-z]{26}"


class LoraSettings(Request):
    """Low-rank adapters instead of a full fine-tune."""

    r: Whole = 16
    alpha: Whole = 32
    dropout: float = 0.0


class EarlyStoppingSettings(Request):
    """When a training ends before its last step; the best state is what it leaves."""

    metric: Annotated[str, Field(max_length=64)] = "ndcg@10"
    patience: Whole = 3


class Hyperparameters(Request):
    """What decides the weights."""

    n_epochs: AutoWhole = "auto"
    batch_size: AutoWhole = "auto"
    learning_rate: AutoNumber = "auto"
    warmup_ratio: float = 0.1
    temperature: float = 0.05
    learn_temperature: bool = False
    symmetric: bool = True
    max_seq_length: Whole | None = None
    """Null is 256, or what the model reads where that is less."""
    precision: Precision = Precision.AUTO
    matryoshka_dims: Annotated[list[Whole], Field(max_length=64)] | None = None
    """Bounded so that a refusal, which repeats the list, stays a sentence."""
    matryoshka_weights: Annotated[list[float], Field(max_length=64)] | None = None
    """One for each of the dims, null for 1 each; the whole vectors weigh 1."""
    lora: LoraSettings | None = None
    max_chunk_tokens: AutoWhole = "auto"
    early_stopping: EarlyStoppingSettings | None = None
    negatives: Negatives = Negatives.SHARED
    num_views: Whole | None = None
    queue_size: Whole = 0
    momentum: float | None = None
    dropout: AutoNumber = "auto"
    deterministic: bool = True


class HardNegativesUse(Request):
    """Which of the negatives that pairs bring are used, and whether more are looked for."""

    use: HardNegatives = HardNegatives.ALL
    max_per_query: Whole = 7
    mine: MiningWhileTraining | None = None


class JobPrompts(Request):
    """What is put before a text, by side."""

    query: str = ""
    document: str = ""


class JobEvaluation(Request):
    """How base and tuned model are judged."""

    file: Name | None = None
    held_out: float = Field(default=0.1, ge=0.0, le=0.5)
    corpus: Annotated[Literal["all"], only('"all"')] = "all"
    ks: list[Annotated[int, Field(ge=1, le=1_000)]] = Field(default=[1, 5, 10], min_length=1, max_length=10)
    retention: Annotated[str, Field(pattern=f"^(auto|off|{FILE_ID})$")] = "auto"
    """What tells whether the model forgets: a probe of this installation's texts, none, or an eval file of yours."""
    interpolation: Literal["auto", "off"] = "auto"
    """Whether weights between base and tuned ones may take the place of the tuned ones, where they do better."""


class Deploy(Request):
    """Which collection the tuned model is to serve, and on what condition."""

    collection: CollectionName
    corpus_file: Name | None = None
    """Documents that are stored in the collection first; null embeds those that it has."""
    policy: DeployPolicy = DeployPolicy.IF_BETTER


class Contrastive(Request):
    """The one method of this service."""

    hyperparameters: Hyperparameters = Hyperparameters()
    hard_negatives: HardNegativesUse = HardNegativesUse()
    prompts: JobPrompts | None = None
    """Null keeps the base model's own."""
    pooling: Pooling = Pooling.AUTO
    priority: int = Field(default=0, ge=-100, le=100)
    evaluation: JobEvaluation = JobEvaluation()
    deploy: Deploy | None = None


class Method(Request):
    """OpenAI's envelope of a method."""

    type: Annotated[Literal["contrastive"], only('"contrastive"')] = "contrastive"
    contrastive: Contrastive = Contrastive()


class OpenAIHyperparameters(Request):
    """What OpenAI's own clients can say."""

    n_epochs: AutoWhole = "auto"
    batch_size: AutoWhole = "auto"
    learning_rate_multiplier: AutoNumber = "auto"
    """Multiplies the default learning rate."""


Suffix = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    sentence("must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit"),
]
"""A part of the model's name, as long as OpenAI's; the name stands in paths, so that spaces are none of it."""


class JobCreate(Request):
    """The body of `POST /v1/fine_tuning/jobs`."""

    model: Name
    training_file: Name
    validation_file: Name | None = None
    """Pairs that are held out instead of a share of the training file."""
    suffix: Suffix | None = None
    seed: Whole | None = None
    metadata: Metadata | None = None
    method: Method = Method()
    hyperparameters: OpenAIHyperparameters = OpenAIHyperparameters()
    integrations: Off = None
