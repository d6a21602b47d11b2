"""Several models on one set of judged queries, each against the first: numbers, certainty, and queries to look at."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from infonce.compare import Comparison, compare
from infonce.config import EncoderConfig, Precision
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.evaluation import Evaluation, evaluate
from infonce.examples import Example, examples
from infonce.limits import check_whole
from infonce.qrels import EvalSet
from infonce.vectors import CachedEncoder

DEFAULT_KS: Final = (1, 5, 10, 100)


class Watch(Protocol):
    """Who looks on."""

    def phase(self, name: str) -> None:
        """Take note of what begins."""

    def embedded(self, done: int, total: int) -> None:
        """Take note that so many texts are embedded."""

    def stop_requested(self) -> bool:
        """Whether the work should end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """By what models are judged, and how they are run."""

    vectors: Path
    """Where embeddings are kept, by the hash of what made them."""
    ks: tuple[int, ...] = DEFAULT_KS
    metric: str = "ndcg@10"
    """That decides which of two models is better."""
    num_examples: int = 3
    """That are shown of wins, of losses and of ties."""
    seed: int = 42  # of the bootstrap
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        for k in self.ks:
            check_whole("ks", k, low=1, high=1_000)
        check_whole("num_examples", self.num_examples, low=0, high=1_000)
        known = [f"{name}@{k}" for k in self.ks for name in ("ndcg", "mrr", "recall", "map")]
        if self.metric not in known:
            message = f"metric is {self.metric!r}, which is not measured; known are {', '.join(known)}"
            raise ConfigError(f"{message}, or change ks", param="metric")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What one model reached."""

    name: str
    fingerprint: str
    evaluation: Evaluation
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """All but the single queries, as plain JSON values."""
        names = {"name": self.name, "fingerprint": self.fingerprint}
        return names | {"metrics": self.evaluation.metrics, "seconds": self.seconds}


@dataclass(frozen=True, kw_only=True, slots=True)
class AgainstBase:
    """One of the other models beside the first."""

    base: str
    tuned: str
    comparison: Comparison
    examples: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        examples = [example.to_dict() for example in self.examples]
        return {"base": self.base, "tuned": self.tuned, **self.comparison.to_dict(), "examples": examples}


@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySide:
    """All models on the same queries."""

    digest: str
    """Of the judged set."""
    num_documents: int
    num_queries: int
    models: tuple[Judged, ...]
    comparisons: tuple[AgainstBase, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "data": {"digest": self.digest, "documents": self.num_documents, "queries": self.num_queries},
            "models": [model.to_dict() for model in self.models],
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
        }


def side_by_side(models: Sequence[tuple[str, Path]], judged: EvalSet, *, judging: Judging, watch: Watch) -> SideBySide:
    """Every model of these names and folders was judged, and each but the first was compared with the first.

    Raises:
        ConfigError: a model stands there twice, or there is none.
        Stopped: the watch asked to stop; what was embedded is kept.
    """
    names = [name for name, _ in models]
    if not names:
        raise ConfigError("no model is named; name at least one", param="models")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"the model {twice[0]} is named twice; name each once", param="models")
    results = [_judged(name, folder, judged=judged, judging=judging, watch=watch) for name, folder in models]
    base, *others = results
    return SideBySide(
        digest=judged.digest,
        num_documents=base.evaluation.num_documents,
        num_queries=base.evaluation.num_queries,
        models=tuple(results),
        comparisons=tuple(_against(base, other, judged=judged, judging=judging) for other in others),
    )


def _judged(name: str, folder: Path, *, judged: EvalSet, judging: Judging, watch: Watch) -> Judged:
    watch.phase(f"evaluating {name}")
    began = time.perf_counter()
    encoder = Encoder.load(folder, judging.encoder)
    stop = watch.stop_requested
    how = judging.precision
    source = CachedEncoder.of(encoder, judging.vectors, precision=how, stop=stop, on_block=watch.embedded)
    evaluation = evaluate(source, judged, ks=judging.ks, stop=stop)
    seconds = time.perf_counter() - began
    return Judged(name=name, fingerprint=encoder.fingerprint(), evaluation=evaluation, seconds=seconds)


def _against(base: Judged, tuned: Judged, *, judged: EvalSet, judging: Judging) -> AgainstBase:
    before, after, metric = base.evaluation, tuned.evaluation, judging.metric
    return AgainstBase(
        base=base.name,
        tuned=tuned.name,
        comparison=compare(before.per_query, after.per_query, metric=metric, seed=judging.seed),
        examples=examples(before, after, judged=judged, metric=metric, count=judging.num_examples),
    )
