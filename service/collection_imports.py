"""A collection that a caller brings: proved, filled where nobody sees it, then its project's as a whole, or nothing."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from infonce.config import Side
from infonce.errors import IndexMismatch, UnknownModel
from infonce.hub import FoundModel
from service.collection_reading import ProvedCollection
from service.dependencies import Wiring
from service.errors import ServiceError
from service.forms import FormShape
from service.ingest import INDEXED_ANYWAY
from service.quotas import require_bytes, require_kept
from service.references import find_here
from service.repetition import Repetition
from service.schemas.collections import COLLECTION_NAME, NAME_RULE
from service.store import arrivals, catalog, documents, jobs
from service.store.answering import Encoding
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.documents import NewDocument
from service.store.errors import StoreError
from service.store.expiry import give_up
from service.store.records import new_id
from service.uploads import Upload

FORM: Final = FormShape(
    fields={"name": 256, "model": 2_048}, remedy="send the documents as NDJSON, or raise INFONCE_MAX_UPLOAD_BYTES"
)

_NEAR: Final = 0.99
"""The least cosine of a vector with what the model makes of the text here; int8 leaves 0.9999."""


def import_collection(parts: Wiring, received: Upload, *, repetition: Repetition) -> str:
    """The id of the collection of the file, which is there as a whole, now or when it came before.

    Raises:
        InvalidCollection, InvalidInput, DatasetError: it is no file of a collection that may be stored.
        ServiceError: the model is not here, or the project would have stored more than it may.
        Conflict: the name is taken.
    """
    name, model = (_field(received, field) for field in ("name", "model"))
    digest = sha256(json.dumps([name, model, received.sha256]).encode()).hexdigest()

    def make() -> str:
        with parts.database.read() as tx:
            require_bytes(tx, repetition.project, num_bytes=received.num_bytes, quotas=parts.settings.quotas)
        bringing = _Bringing.prepared(parts, received.path, project=repetition.project, name=name, model=model)
        return bringing.bring(lambda tx, id: repetition.remember(tx, digest, object_id=id))

    return repetition.once(parts.database, digest, make=make)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bringing:
    """A proved file on its way to be a collection."""

    parts: Wiring
    proved: ProvedCollection
    collection: CollectionRecord
    """What it will be."""
    fingerprint: str | None
    """Of the model's vectors that are kept; None where its texts are embedded anew."""

    @classmethod
    def prepared(cls, parts: Wiring, path: Path, *, project: str, name: str | None, model: str | None) -> "_Bringing":
        """Proved, with its model found and its name free."""
        proved = ProvedCollection.of(path)
        facts = proved.manifest.collection
        wanted = facts.name if name is None else name
        if not COLLECTION_NAME.fullmatch(wanted):
            message = f"name is {wanted[:80]!r}; it {NAME_RULE}"
            raise ServiceError("invalid_value", message, param="name")
        with parts.database.read() as tx:
            arrivals.require_free(tx, project, name=wanted)
        chosen, fingerprint, dimension = _model(parts, proved, project=project, asked=model)
        facts.index.check(dimension)
        collection = CollectionRecord(
            id=new_id("col"),
            project=project,
            name=wanted,
            created_at=parts.clock(),
            model=chosen,
            dimension=dimension,
            metadata=facts.metadata,
            watermark=0,
            asked_index=facts.index.model_dump(),
        )
        return cls(parts=parts, proved=proved, collection=collection, fingerprint=fingerprint)

    def bring(self, first: Callable[[Tx, str], None]) -> str:
        """The collection is its project's; the transaction that makes it so begins with `first`."""
        database, collection, is_whole = self.parts.database, self.collection, False
        counts, quotas = self.proved.manifest.counts, self.parts.settings.quotas
        num_known = counts.brought if self.fingerprint is None else counts.vectors
        try:
            with database.write() as tx:
                arriving = arrivals.begin(tx, collection, now=self.parts.clock())
            for batch, embedded, encoding in self._batches():
                now = self.parts.clock()
                with database.write() as tx:
                    arrivals.take_in(tx, arriving, taken=batch, embedded=embedded, now=now, brought_for=encoding)
            with database.write() as tx:
                first(tx, collection.id)  # who comes second takes no name
                whole = arrivals.finish(tx, collection)
                require_kept(tx, collection.project, quotas=quotas, now=self.parts.clock())
                if counts.documents > min(num_known, INDEXED_ANYWAY):
                    jobs.order_index(tx, whole, now=self.parts.clock())
            is_whole = True
        finally:
            if not is_whole:
                with suppress(StoreError):  # the same is done later for what a crash has left
                    give_up(database, collection.id, before=math.inf, now=self.parts.clock())
        return collection.id

    def _batches(self) -> Iterator[tuple[list[NewDocument], Embedded | None, Encoding]]:
        """Documents that are stored at once, those of their vectors that the model made, and for which others came."""
        found, facts, start = self._documents(), self.proved.manifest.collection, 0
        stretches = [(0, facts.model, facts.fingerprint)]
        stretches += [(one.row, one.model, one.fingerprint) for one in self.proved.manifest.brought_for]
        ends = [*(row for row, *_ in stretches[1:]), self.proved.manifest.counts.documents]
        for (_, model, fingerprint), end in zip(stretches, ends, strict=True):
            encoding = self._encoding(model, fingerprint)
            for batch in documents.in_transactions(islice(found, max(0, end - start))):
                yield batch, self._made(batch, start=start), encoding
                start += len(batch)

    def _made(self, batch: Sequence[NewDocument], *, start: int) -> Embedded | None:
        """Vectors of texts, from that row on, that the model made."""
        if self.fingerprint is None:
            return None
        rows = zip(batch, self.proved.vectors.block(start, start + len(batch)), strict=True)
        made = {one.id: row.tobytes() for one, row in rows if one.vector is None and row.any()}
        return Embedded(fingerprint=self.fingerprint, vectors=made)

    def _encoding(self, model: str | None, fingerprint: str | None) -> Encoding:
        """What the file says by the name that its model has here."""
        if self.collection.model is None:
            return Encoding(model=None, fingerprint=None)
        is_unsaid = fingerprint is None and model == self.proved.manifest.collection.model
        if self.fingerprint is not None and (is_unsaid or fingerprint == self.fingerprint):
            return Encoding(model=self.collection.model, fingerprint=self.fingerprint)
        return Encoding(model=model, fingerprint=fingerprint)

    def _documents(self) -> Iterator[NewDocument]:
        for row, line in enumerate(self.proved.documents()):
            vector = self.proved.vectors.row(row).tobytes() if line.brought else None
            yield NewDocument(id=line.id, text=line.text, metadata=line.metadata, vector=vector)


def _field(received: Upload, name: str) -> str | None:
    given = received.fields.get(name)
    return None if given is None else given.decode("utf-8", "replace")


def _model(
    parts: Wiring, proved: ProvedCollection, *, project: str, asked: str | None
) -> tuple[str | None, str | None, int]:
    """The collection's model, the fingerprint of its vectors that are kept, and its dimension.

    Raises:
        ServiceError: the model is not here, or another one, and none was asked for in its place.
    """
    facts = proved.manifest.collection
    if facts.model is None:
        if asked is not None:
            message = f"model is {asked[:80]!r}, and the collection has none but vectors of its clients; leave it out"
            raise ServiceError("invalid_value", message, param="model")
        return None, None, facts.dimension
    found = _found(parts, proved, project=project, asked=asked)
    dimension = parts.lookup.dimensions(found)
    is_same = _is_same(parts, proved, found=found) if dimension == facts.dimension else False
    if asked is None and not is_same:
        raise _other_model(proved, f"{found.name} is another one here")
    if dimension != facts.dimension and proved.manifest.counts.brought:
        message = f"documents bring vectors of {facts.dimension} dimensions, and {found.name} has {dimension}"
        raise IndexMismatch(f"{message}; name a model that has as many")
    return found.name, facts.fingerprint if is_same else None, dimension


def _found(parts: Wiring, proved: ProvedCollection, *, project: str, asked: str | None) -> FoundModel:
    """The model that was asked for, or the project's own with that fingerprint, or the one of that name."""
    facts = proved.manifest.collection
    if asked is not None:
        return find_here(parts.lookup, project, name=asked)
    own = None
    if facts.fingerprint is not None:
        with parts.database.read() as tx:
            own = catalog.model_of_print(tx, project, fingerprint=facts.fingerprint)
    try:
        return parts.lookup.find(project, own or str(facts.model))
    except UnknownModel:
        raise _other_model(proved, f"{facts.model} is not here") from None


def _is_same(parts: Wiring, proved: ProvedCollection, *, found: FoundModel) -> bool:
    """Whether the model made the file's vectors; where there are none, any model of that name will do.

    Raises:
        ServiceError: it has their fingerprint, and makes other vectors of the same texts.
    """
    fingerprint, rows = proved.manifest.collection.fingerprint, list(proved.sample)
    if fingerprint is None or not rows:
        return True
    embedded = parts.embedder.embed(found, list(proved.sample.values()), side=Side.DOCUMENT)
    if embedded.fingerprint != fingerprint:
        return False
    cosines = np.einsum("nd,nd->n", embedded.vectors, np.stack([proved.vectors.row(row) for row in rows]))
    if (least := float(cosines.min())) < _NEAR:
        row = rows[int(cosines.argmin())] + 1
        message = f"the vector of document {row} has the cosine {least:.3f} with what {found.name} makes of its text"
        raise ServiceError("collection_invalid", f"{message}; it must be {_NEAR} or more: export the collection again")
    return True


def _other_model(proved: ProvedCollection, what: str) -> ServiceError:
    facts = proved.manifest.collection
    made_by = f"the model {facts.model} with the fingerprint {facts.fingerprint}"
    message = f"The collection's vectors were made by {made_by}, "
    remedy = "bring that model first with POST /v1/models, or name one in `model` by which its texts are embedded anew"
    return ServiceError("model_not_found", f"{message}and {what}; {remedy}", param="model")
