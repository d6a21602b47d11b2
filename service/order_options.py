"""What the options of `infonce submit` and `infonce search` say, as the bodies of their requests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infonce.errors import ConfigError
from infonce.fusion import FusionMethod
from service.bodies import parse
from service.schemas.collections import CollectionQuery
from service.schemas.jobs import JobCreate

_NO_FILE = "file-0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The options that name no file; None and what is empty was left out."""

    model: str
    suffix: str | None
    seed: int | None
    hyperparameters: Mapping[str, Any]
    settings: Sequence[str]
    """`NAME=JSON`, of further hyperparameters."""
    held_out: float | None
    deploy: str | None
    metadata: Sequence[str]
    """`NAME=TEXT`."""

    def check(self, *, has_corpus: bool) -> None:
        """Raise as `body` does, before a file is uploaded."""
        self.body(_NO_FILE, corpus=_NO_FILE if has_corpus else None)

    def body(self, training_file: str, *, judged: str | None = None, corpus: str | None = None) -> JobCreate:
        """The body of the request, with the ids of uploaded files.

        Raises:
            ConfigError: an option is not of its form, or stands beside none that it belongs to.
            InvalidInput: a name or a value is none that a training has.
        """
        if corpus is not None and self.deploy is None:
            raise ConfigError("--corpus fills a collection and none is named; name it by --deploy", param="corpus")
        evaluation = _given({"file": judged, "held_out": self.held_out})
        deploy = None if self.deploy is None else _given({"collection": self.deploy, "corpus_file": corpus})
        parts = {"hyperparameters": self._hyperparameters(), "evaluation": evaluation, "deploy": deploy}
        asked = {
            "model": self.model,
            "training_file": training_file,
            "suffix": self.suffix,
            "seed": self.seed,
            "metadata": named_texts("--metadata", self.metadata),
            "method": {"type": "contrastive", "contrastive": {name: part for name, part in parts.items() if part}},
        }
        return parse(JobCreate, json.dumps(_given(asked)).encode())

    def _hyperparameters(self) -> dict[str, Any]:
        named = _given(self.hyperparameters)
        others = {name: _value(text) for name, text in named_texts("--set", self.settings).items()}
        if twice := sorted(named.keys() & others.keys()):
            raise ConfigError(f"{twice[0]} is given by --set and by an option of its own; use one", param=twice[0])
        return named | others


def query_of(
    text: str, *, k: int, hybrid: FusionMethod | None, weight: float | None, filter: str | None
) -> CollectionQuery:
    """The body of a query.

    Raises:
        ConfigError: an option is not of its form, or stands beside none that it belongs to.
        InvalidInput: it is none that a collection answers.
    """
    if weight is not None and hybrid is None:
        message = "--weight joins two rankings and there is one; give --hybrid weighted as well"
        raise ConfigError(message, param="weight")
    fusion = None if hybrid is None else _given({"method": hybrid.value, "weight": weight})
    chosen = None if filter is None else _json("--filter", filter)
    asked = _given({"query": text, "k": k, "hybrid": fusion, "filter": chosen})
    return parse(CollectionQuery, json.dumps(asked).encode())


def _json(option: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option} is no JSON: {error}", param=option) from None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def named_texts(option: str, texts: Sequence[str]) -> dict[str, str]:
    """By its name what each text says, as NAME=VALUE.

    Raises:
        ConfigError: one is not of that form, or names what another one has named.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            wrong = f"names {name} a second time" if equals else "has no '='; write NAME=VALUE"
            raise ConfigError(f"{option} {text!r} {wrong}", param=name)
        found[name] = value
    return found


def _value(text: str) -> Any:
    """JSON, or the text itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
