"""What is told of documents that were found or are listed, counted in bytes before an answer is made of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pydantic_core

from service.asking import Asked
from service.errors import ServiceError
from service.hybrid import Ranked
from service.schemas.collections import Hit
from service.schemas.documents import DocumentObject
from service.schemas.strict import MAX_DOCUMENT_CHARACTERS
from service.store import excerpts
from service.store.database import Tx
from service.store.excerpts import EVERYTHING, Excerpt, Field

MAX_ANSWER_BYTES: Final = 32 << 20
"""Of the hits of an answer as JSON, as much as a query itself may have: 20,000 passages of 1,500 characters. Twenty
callers at once, each with the largest, take 2 GB."""

_CHARACTER_BYTES: Final = 6
"""Of a character as JSON, at most: a control character is \\u and four digits."""
_HIT_BYTES: Final = len('{"id":,"score":0.1234567890123456,"text":null,"metadata":null},')
_AT_ONCE: Final = max(1, MAX_ANSWER_BYTES // MAX_DOCUMENT_CHARACTERS)


class AnswerRoom:
    """How many bytes the hits of an answer may still have.

    To count them takes longer than to read them, so they are counted only where there could be too many.
    """

    def __init__(self) -> None:
        self._num_hits = 0
        self._num_bytes = 0
        """Of those that were counted."""
        self._at_most = 0
        """Of all."""
        self._uncounted: list[tuple[Excerpt, frozenset[Field]]] = []

    def take(self, excerpt: Excerpt, fields: frozenset[Field]) -> None:
        """One more hit, told with these fields.

        Raises:
            ServiceError: it has no place (`answer_too_large`).
        """
        self._at_most += _HIT_BYTES + _CHARACTER_BYTES * (len(excerpt.id) + excerpt.num_characters)
        self._uncounted.append((excerpt, fields))
        if self._at_most > MAX_ANSWER_BYTES:
            self._count()

    def _count(self) -> None:
        for excerpt, fields in self._uncounted:
            num_bytes = _num_bytes(excerpt, fields)
            if self._num_bytes + num_bytes > MAX_ANSWER_BYTES:
                told = f"{self._num_hits:,} hits have {self._num_bytes:,} bytes and the next one has {num_bytes:,}"
                remedy = "ask for fewer hits or for fewer queries a call, or leave text or metadata out of include"
                limit = f"the limit of an answer is {MAX_ANSWER_BYTES:,}"
                raise ServiceError("answer_too_large", f"{told}; {limit}; {remedy}")
            self._num_hits += 1
            self._num_bytes += num_bytes
        self._at_most, self._uncounted = self._num_bytes, []


def _num_bytes(excerpt: Excerpt, fields: frozenset[Field]) -> int:
    """Of a hit as JSON."""
    parts = {Field.TEXT: excerpt.text, Field.METADATA: excerpt.metadata}
    told = [part for name, part in parts.items() if name in fields and part is not None]
    return _HIT_BYTES + sum(len(pydantic_core.to_json(part)) for part in (excerpt.id, *told))


def shown(
    tx: Tx, collection_id: str, *, queries: Sequence[Asked], found: Sequence[Ranked], room: AnswerRoom
) -> list[list[Hit]]:
    """What is told of each query's hits; a document that has just been deleted is none.

    Raises:
        ServiceError: the answer would be too large (`answer_too_large`); no more of it was read than it may have.
    """
    wanted: defaultdict[str, frozenset[Field]] = defaultdict(frozenset)
    for one, hits in zip(queries, found, strict=True):
        for id, _ in hits:
            wanted[id] |= one.include
    told = _read(tx, collection_id, wanted=wanted)
    return [_hits(hits, told, fields=one.include, room=room) for one, hits in zip(queries, found, strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentWindow:
    """Which documents of a collection are asked for."""

    after: str | None
    """The id that it begins behind, whether or not there is such a document."""
    limit: int
    descending: bool

    def read(self, tx: Tx, collection_id: str) -> tuple[list[DocumentObject], bool]:
        """The documents, fewer where they would be too large together, and whether more follow."""
        found, num_bytes = list[DocumentObject](), 0
        at_once = min(_AT_ONCE, self.limit + 1)
        for excerpt in excerpts.walk(tx, collection_id, after=self.after, descending=self.descending, at_once=at_once):
            num_bytes += _num_bytes(excerpt, EVERYTHING)
            if len(found) == self.limit or (found and num_bytes > MAX_ANSWER_BYTES):
                return found, True
            found.append(DocumentObject.of(excerpt))
        return found, False


def documents_of(tx: Tx, collection_id: str, *, ids: Sequence[str]) -> list[DocumentObject]:
    """Those of the documents that exist, each once, in the order of the ids."""
    wanted = list(dict.fromkeys(ids))
    read = excerpts.read(tx, collection_id, ids=wanted, fields=EVERYTHING, at_once=_AT_ONCE)
    found = {excerpt.id: DocumentObject.of(excerpt) for excerpt in read}
    return [found[id] for id in wanted if id in found]


def _read(tx: Tx, collection_id: str, *, wanted: Mapping[str, frozenset[Field]]) -> dict[str, Excerpt]:
    """Those of the documents that exist, by id, each with what some query wants of it."""
    alike: defaultdict[frozenset[Field], list[str]] = defaultdict(list)
    for id, fields in wanted.items():
        alike[fields].append(id)
    told: dict[str, Excerpt] = {}
    room = AnswerRoom()
    for fields, ids in alike.items():
        for excerpt in excerpts.read(tx, collection_id, ids=ids, fields=fields, at_once=_AT_ONCE):
            told[excerpt.id] = excerpt
            room.take(excerpt, fields)  # each is shown at least once
    return told


def _hits(hits: Ranked, told: Mapping[str, Excerpt], *, fields: frozenset[Field], room: AnswerRoom) -> list[Hit]:
    made = []
    for id, score in hits:
        if (one := told.get(id)) is None:
            continue
        room.take(one, fields)
        text = one.text if Field.TEXT in fields else None
        metadata = one.metadata if Field.METADATA in fields else None
        made.append(Hit(id=id, score=score, text=text, metadata=None if metadata is None else dict(metadata)))
    return made
