"""What of a request each kind of call decides: from its arguments to what is sent."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from infonce.compare import Outcome
from infonce.config import Side
from service.client_requests import Sent
from service.schemas.collections import Hybrid
from service.schemas.strict import Request

B = TypeVar("B", bound=Request)
Purpose = Literal["fine-tune", "eval", "corpus"]


def nothing() -> Sent:
    """No argument."""
    return Sent()


def of_id(id: str) -> Sent:
    """The id, or the name, stands in the path."""
    return Sent(places={"id": id})


def of_name(name: str) -> Sent:
    """The name of a collection, or its id, stands in the path."""
    return Sent(places={"c": name})


def changing(id: str) -> Sent:
    """The id stands in the path; the body is empty."""
    return Sent(places={"id": id}, body={})


def keeping_best(id: str) -> Sent:
    """The id stands in the path, and the wish to keep the best in the query string."""
    return Sent(places={"id": id}, params={"keep": "best"}, body={})


def posted(kind: type[B]) -> Callable[[B], Sent]:
    """A body of that kind, without what was left out."""

    def sent(asked: B) -> Sent:
        return Sent(body=said(asked))

    return sent


def changed(kind: type[B]) -> Callable[[str, B], Sent]:
    """The id stands in the path, and there is a body of that kind."""

    def sent(id: str, asked: B) -> Sent:
        return Sent(places={"id": id}, body=said(asked))

    return sent


def uploaded(
    path: Path,
    purpose: Purpose,
    *,
    mapping: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Sent:
    """`mapping` names the fields of pairs, where need be; `on_bytes` is told of each part that was read."""
    form = {"purpose": purpose} | _as_json(mapping=mapping, metadata=metadata)
    return Sent(path=path, form=form, on_bytes=on_bytes)


def by_purpose(purpose: Purpose | None = None, *, metadata: Mapping[str, str] | None = None) -> Sent:
    return Sent(params={"purpose": purpose, **by_metadata(metadata=metadata).params})


def audited(id: str, *, model: str | None = None, held_out: str | None = None) -> Sent:
    return Sent(places={"id": id}, params={"model": model, "held_out": held_out})


def by_metadata(*, metadata: Mapping[str, str] | None = None) -> Sent:
    return Sent(params={f"metadata[{key}]": value for key, value in (metadata or {}).items()})


def oldest_first(id: str) -> Sent:
    return Sent(places={"id": id}, params={"order": "asc"})


def outcomes(id: str, *, outcome: Outcome | None = None, model: str | None = None) -> Sent:
    return Sent(places={"id": id}, params={"outcome": outcome and outcome.value, "model": model})


def texts(texts: Sequence[str], *, model: str, side: Side = Side.DOCUMENT, dimensions: int | None = None) -> Sent:
    body = {"model": model, "input": list(texts), "encoding_format": "base64", "input_type": side.value}
    return Sent(body=body if dimensions is None else {**body, "dimensions": dimensions})


def documents(name: str, documents: Iterable[Mapping[str, Any]]) -> Sent:
    lines = ((json.dumps(document) + "\n").encode() for document in documents)
    return Sent(places={"c": name}, lines=lines)


def asked(name: str, text: str, *, k: int = 10, hybrid: Hybrid | None = None) -> Sent:
    body: dict[str, Any] = {"query": text, "k": k}
    return Sent(places={"c": name}, body=body if hybrid is None else {**body, "hybrid": said(hybrid)})


def asked_by_vector(name: str, vector: NDArray[np.float32], *, k: int = 10) -> Sent:
    return Sent(places={"c": name}, body={"vector": vector.tolist(), "k": k})


def named(kind: type[B]) -> Callable[[str, B], Sent]:
    """The collection's name stands in the path, and there is a body of that kind."""

    def sent(name: str, asked: B) -> Sent:
        return Sent(places={"c": name}, body=said(asked))

    return sent


def of_version(name: str, id: str) -> Sent:
    return Sent(places={"c": name, "id": id})


def drawn(name: str, *, version: str | None = None, against: str | None = None, limit: int | None = None) -> Sent:
    number = None if limit is None else str(limit)
    return Sent(places={"c": name}, params={"version": version, "against": against, "limit": number})


def stored(name: str, ids: Sequence[str] = ()) -> Sent:
    return Sent(places={"c": name}, params={"id": list(ids) or None})


def without_body(name: str) -> Sent:
    return Sent(places={"c": name}, body={})


def exporting(name: str, *, metadata: Mapping[str, str] | None = None) -> Sent:
    return Sent(places={"c": name}, body={} if metadata is None else {"metadata": dict(metadata)})


def part(id: str, path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> Sent:
    return Sent(places={"id": id}, path=path, form_name="data", on_bytes=on_bytes)


def brought_collection(
    path: Path, *, name: str | None = None, model: str | None = None, on_bytes: Callable[[int], None] = lambda _: None
) -> Sent:
    form = {key: value for key, value in {"name": name, "model": model}.items() if value is not None}
    return Sent(path=path, form=form, on_bytes=on_bytes)


def brought(
    path: Path,
    *,
    name: str,
    metadata: Mapping[str, str] | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Sent:
    return Sent(path=path, form={"name": name} | _as_json(metadata=metadata), on_bytes=on_bytes)


def delivery(id: str, delivery: str) -> Sent:
    return Sent(places={"id": id, "delivery": delivery})


def said(asked: Request) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude_unset=True)


def _as_json(**fields: Mapping[str, Any] | None) -> dict[str, str]:
    """Those fields of a form that are given."""
    return {name: json.dumps(value) for name, value in fields.items() if value is not None}
