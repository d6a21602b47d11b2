"""Documents as they come in bodies: an array at once or a line each, read in one pass where all of them are sound.

What is broken is read again, document by document, to name every place.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from infonce.errors import DatasetError
from infonce.jsonl import IssueLog
from service.bodies import DOCUMENTS_LIMIT, MAX_LISTED_PLACES, parse
from service.errors import InvalidInput, Place
from service.lines import parsed_lines, sound_blocks
from service.schemas.documents import DocumentBody, DocumentsUpsert
from service.schemas.vectors import LITTLE_ENDIAN, UnitRows
from service.spool import Spool
from service.store.collection_records import CollectionRecord
from service.store.documents import NewDocument


def documents_in(raw: bytes) -> list[DocumentBody]:
    """The documents of a JSON body.

    Raises:
        InvalidInput: it is no such body; up to 20 places are named.
    """
    rows = UnitRows()
    found = parse(DocumentsUpsert, raw, context=rows).documents
    return found if rows.filled() else parse(DocumentsUpsert, raw).documents


def as_new(body: DocumentBody) -> NewDocument:
    """The document as it will be stored."""
    vector = None if body.vector is None else body.vector.astype(LITTLE_ENDIAN, copy=False).tobytes()
    return NewDocument(id=body.id, text=body.text, metadata=body.metadata, vector=vector)


def check_fit(collection: CollectionRecord, bodies: Sequence[DocumentBody]) -> None:
    """Raise `InvalidInput`, with up to 20 places, unless every document can stand in the collection."""
    found = ((place, _misfit(collection, body)) for place, body in enumerate(bodies))
    misfits = [_at(place, misfit) for place, misfit in found if misfit is not None]
    if misfits:
        raise InvalidInput(misfits[:MAX_LISTED_PLACES], param="documents")


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentLines:
    """The documents of an NDJSON file, every one of which can stand in the collection; of equal ids the last counts."""

    num: int
    """Of lines."""
    num_ids: int
    texts: Mapping[str, str] | None
    """That are to be embedded, by id, where they are few."""
    kept: Iterable[NewDocument]
    """All of them: in memory where they take no more room than an array may, on disk where they take more."""

    @classmethod
    def checked(cls, path: Path, collection: CollectionRecord, *, few: int) -> Self:
        """The file, every line of which was looked at; `few` texts are remembered, and no more.

        Raises:
            DatasetError: lines that are no documents of this collection, or no line at all.
        """
        kept = list[NewDocument]() if path.stat().st_size <= DOCUMENTS_LIMIT else Spool(path.parent)
        texts, prints = _Texts(few), array("q")
        try:
            for block in _blocks(path):
                check_fit(collection, block)
                prints.extend(hash(body.id) for body in block)
                texts.take(block)
                kept.extend(as_new(body) for body in block)
        except (InvalidInput, DatasetError):
            _refuse_lines(path, collection)
            raise
        if not prints:
            _refuse_lines(path, collection)
        num_ids = len(np.unique(np.frombuffer(prints, dtype=np.int64)))  # two ids share a hash once in 2^64
        return cls(num=len(prints), num_ids=num_ids, texts=texts.found, kept=kept)

    def __iter__(self) -> Iterator[NewDocument]:
        return iter(self.kept)


class _Texts:
    """The texts without a vector that a stream leaves behind, until they are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.found: dict[str, str] | None = {}

    def take(self, block: Sequence[DocumentBody]) -> None:
        """These documents come next."""
        for body in block:
            if self.found is None:
                return
            if body.vector is not None or body.text is None:
                self.found.pop(body.id, None)
                continue
            self.found[body.id] = body.text
            if len(self.found) > self._most:
                self.found = None


def _blocks(path: Path) -> Iterator[list[DocumentBody]]:
    """The documents of the file, some hundred at a time.

    Raises:
        InvalidInput, DatasetError: a line is none.
    """
    rows = UnitRows()
    with path.open("rb") as stream:
        for block in sound_blocks(stream, DocumentBody, context=rows):
            if not rows.filled():
                raise InvalidInput([Place(code="invalid_value", pointer="/vector", detail="a vector has no direction")])
            yield block


def _refuse_lines(path: Path, collection: CollectionRecord) -> None:
    """Raise `DatasetError` with the first lines that are no documents of this collection, or that there is none."""
    log, num = IssueLog(), 0
    with path.open("rb") as stream:
        for line, body in parsed_lines(stream, DocumentBody, log=log):
            num += 1
            if (misfit := _misfit(collection, body)) is not None:
                log.add(misfit.code, misfit.detail, line=line, field=str(misfit.pointer).strip("/"))
    if not num and not log.num_issues:
        log.add("empty_dataset", "the stream has no documents; send one JSON object a line")
    log.raise_any()


def _misfit(collection: CollectionRecord, body: DocumentBody) -> Place | None:
    """Why the document cannot stand in the collection; nothing if it can."""
    if body.vector is None:
        if collection.model is None:
            detail = f"vector is missing; collection {collection.name!r} has no model to embed a text with"
            return Place(code="missing_field", pointer="/vector", detail=detail)
        if body.text is None:
            return Place(code="missing_field", pointer="/text", detail="text is missing; give a text or a vector")
    elif len(body.vector) != collection.dimension:
        detail = f"vector has {len(body.vector)} dimensions, collection {collection.name!r} has {collection.dimension}"
        return Place(code="index_mismatch", pointer="/vector", detail=detail)
    return None


def _at(place: int, misfit: Place) -> Place:
    pointer = f"/documents/{place}{misfit.pointer}"
    return Place(code=misfit.code, pointer=pointer, detail=f"documents.{place}: {misfit.detail}")
