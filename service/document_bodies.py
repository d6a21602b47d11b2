"""Documents as they come in bodies: an array at once or a line each, read in one pass where all of them are sound.

What is broken is read again, document by document, to name every place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infonce.errors import DatasetError
from infonce.jsonl import IssueLog
from service.bodies import DOCUMENTS_LIMIT, MAX_LISTED_PLACES, parse
from service.errors import InvalidInput, Place
from service.lines import parsed_lines, sound_blocks
from service.schemas.documents import DocumentBody, DocumentsUpsert
from service.schemas.vectors import UnitRows
from service.store.collection_records import CollectionRecord


def documents_in(raw: bytes) -> list[DocumentBody]:
    """The documents of a JSON body.

    Raises:
        InvalidInput: it is no such body; up to 20 places are named.
    """
    rows = UnitRows()
    found = parse(DocumentsUpsert, raw, context=rows).documents
    return found if rows.filled() else parse(DocumentsUpsert, raw).documents


def check_fit(collection: CollectionRecord, bodies: Sequence[DocumentBody]) -> None:
    """Raise `InvalidInput`, with up to 20 places, unless every document can stand in the collection."""
    found = ((place, _misfit(collection, body)) for place, body in enumerate(bodies))
    misfits = [_at(place, misfit) for place, misfit in found if misfit is not None]
    if misfits:
        raise InvalidInput(misfits[:MAX_LISTED_PLACES], param="documents")


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentLines:
    """The documents of an NDJSON file, every one of which can stand in the collection."""

    path: Path
    num: int
    kept: Sequence[DocumentBody] | None
    """All of them, where they take no more room than an array may; of more the file is read once more."""

    @classmethod
    def checked(cls, path: Path, collection: CollectionRecord) -> Self:
        """The file, every line of which was looked at.

        Raises:
            DatasetError: lines that are no documents of this collection, or no line at all.
        """
        kept: list[DocumentBody] | None = [] if path.stat().st_size <= DOCUMENTS_LIMIT else None
        num = 0
        try:
            for block in _blocks(path):
                check_fit(collection, block)
                num += len(block)
                if kept is not None:
                    kept += block
        except (InvalidInput, DatasetError):
            _refuse_lines(path, collection)
            raise
        if not num:
            _refuse_lines(path, collection)
        return cls(path=path, num=num, kept=kept)

    def __iter__(self) -> Iterator[DocumentBody]:
        if self.kept is not None:
            yield from self.kept
            return
        for block in _blocks(self.path):
            yield from block


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
