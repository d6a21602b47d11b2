"""The rows of an upload as callers see them."""

from typing import Any, Self

from infonce.documents import Document
from infonce.pairs import Pair
from infonce.row_pages import Place
from service.schemas.strict import Answer


class PairRow(Answer):
    """A pair as a training reads it."""

    id: str
    """Line and, from 0, which pair of that line it is: a line may give several."""
    line: int
    """Of Parquet and of a zip, the number of the row."""
    anchor: str
    positive: str
    negatives: list[str]

    @classmethod
    def of(cls, place: Place, pair: Pair) -> Self:
        """The pair as an answer."""
        return cls(
            id=f"{place.line}-{place.number}",
            line=place.line,
            anchor=pair.anchor,
            positive=pair.positive,
            negatives=list(pair.negatives),
        )


class DocumentRow(Answer):
    """A document as a collection or a search reads it."""

    id: str
    """The line."""
    line: int
    document: str | None
    """The id that the file gives it."""
    text: str
    """Title and text, joined by a blank."""
    metadata: dict[str, Any]

    @classmethod
    def of(cls, document: Document) -> Self:
        """The document as an answer."""
        return cls(
            id=str(document.line),
            line=document.line,
            document=document.id,
            text=document.text,
            metadata=dict(document.metadata),
        )
