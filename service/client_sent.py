"""What of a request each kind of call decides: from its arguments to what is sent."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from infonce.compare import Outcome
from infonce.config import Side
from service.client_requests import Sent
from service.schemas.collections import CollectionQuery, Hybrid
from service.schemas.strict import Request
from service.schemas.versions import Promote
from service.store.records import JobKind, JobStatus

B = TypeVar("B", bound=Request)
Purpose = Literal["fine-tune", "eval", "corpus"]
Order = Literal["asc", "desc"]
"""By creation, of a list; it begins with the newest element if nothing is said."""


def nothing() -> Sent:
    """No argument."""
    return Sent()


def listed(*, after: str | None = None, order: Order | None = None) -> Sent:
    """A list begins behind the element of that id."""
    return Sent(params={"after": after, "order": order})


def listed_of(id: str, *, after: str | None = None, order: Order | None = None) -> Sent:
    """The same of the id in the path."""
    return Sent(places={"id": id}, params={"after": after, "order": order})


def listed_in(name: str, *, after: str | None = None, order: Order | None = None) -> Sent:
    """The same of the collection in the path."""
    return Sent(places={"c": name}, params={"after": after, "order": order})


def rows_of(id: str, *, after: str | None = None) -> Sent:
    """The rows of a file stand in its own order."""
    return Sent(places={"id": id}, params={"after": after})


def of_id(id: str) -> Sent:
    """The id, or the name, stands in the path."""
    return Sent(places={"id": id})


def of_name(name: str) -> Sent:
    """The name of a collection, or its id, stands in the path."""
    return Sent(places={"c": name})


def changing(id: str) -> Sent:
    """The id stands in the path; the body is empty."""
    return Sent(places={"id": id}, body={})


def cancelling(id: str, *, keep: Literal["best"] | None = None) -> Sent:
    """The wish to keep the best of a training stands in the query string."""
    return Sent(places={"id": id}, params={"keep": keep}, body={})


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
    sha256: str | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Sent:
    """`mapping` names the fields of pairs, where need be; `on_bytes` is told of each part that was read.

    With `sha256`, in hexadecimal digits, the server refuses a file that arrives with other bytes.
    """
    form = {"purpose": purpose} | _as_json(mapping=mapping, metadata=metadata)
    return Sent(path=path, form=form, sha256=sha256, on_bytes=on_bytes)


def saved(id: str, into: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> Sent:
    """The bytes of that id become the file `into`, as they come; a file that stands there is replaced in the end."""
    return Sent(places={"id": id}, into=into, on_bytes=on_bytes)


def saved_export(name: str, id: str, *, into: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Sent:
    """The same of an export of a collection."""
    return Sent(places={"c": name, "id": id}, into=into, on_bytes=on_bytes)


def streamed(id: str, *, last_event_id: str | None = None, until: float = math.inf) -> Sent:
    """The stream begins behind that event, and is left at that time of `time.monotonic`."""
    return Sent(places={"id": id}, headers={"last-event-id": last_event_id}, until=until)


def by_purpose(
    purpose: Purpose | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
    after: str | None = None,
    order: Order | None = None,
) -> Sent:
    return Sent(params={"purpose": purpose, **_labels(metadata), "after": after, "order": order})


def audited(id: str, *, model: str | None = None, held_out: str | None = None) -> Sent:
    return Sent(places={"id": id}, params={"model": model, "held_out": held_out})


def by_metadata(
    *, metadata: Mapping[str, str] | None = None, after: str | None = None, order: Order | None = None
) -> Sent:
    return Sent(params={**_labels(metadata), "after": after, "order": order})


def by_kind(
    *,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    metadata: Mapping[str, str] | None = None,
    after: str | None = None,
    order: Order | None = None,
) -> Sent:
    return Sent(params={"kind": kind, "status": status, **_labels(metadata), "after": after, "order": order})


def oldest_first(id: str, *, after: str | None = None, order: Order = "asc") -> Sent:
    return Sent(places={"id": id}, params={"after": after, "order": order})


def outcomes(
    id: str,
    *,
    outcome: Outcome | None = None,
    model: str | None = None,
    after: str | None = None,
    order: Order | None = None,
) -> Sent:
    chosen = {"outcome": outcome and outcome.value, "model": model}
    return Sent(places={"id": id}, params={**chosen, "after": after, "order": order})


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


def asked_together(name: str, queries: Sequence[CollectionQuery]) -> Sent:
    return Sent(places={"c": name}, body={"queries": [said(query) for query in queries]})


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


def stored(name: str, ids: Sequence[str] = (), *, after: str | None = None, order: Order | None = None) -> Sent:
    return Sent(places={"c": name}, params={"id": list(ids) or None, "after": after, "order": order})


def dropped(name: str, ids: Sequence[str]) -> Sent:
    return Sent(places={"c": name}, params={"id": list(ids)})


def without_body(name: str) -> Sent:
    return Sent(places={"c": name}, body={})


def exporting(name: str, *, metadata: Mapping[str, str] | None = None) -> Sent:
    return Sent(places={"c": name}, body={} if metadata is None else {"metadata": dict(metadata)})


def promoting(name: str, asked: Promote, *, if_match: str | None = None) -> Sent:
    """Only while the version `if_match` answers, if one is named."""
    return Sent(places={"c": name}, body=said(asked), headers=_if(if_match))


def rolling_back(name: str, *, if_match: str | None = None) -> Sent:
    """The same."""
    return Sent(places={"c": name}, body={}, headers=_if(if_match))


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


def _labels(metadata: Mapping[str, str] | None) -> dict[str, str]:
    return {f"metadata[{key}]": value for key, value in (metadata or {}).items()}


def _if(version: str | None) -> dict[str, str | None]:
    return {"if-match": None if version is None else f'"{version}"'}
