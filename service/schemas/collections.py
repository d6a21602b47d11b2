"""Collections, their documents and queries: bodies and answers."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from service.schemas.strict import (
    MAX_DOCUMENT_CHARACTERS,
    Answer,
    Metadata,
    Name,
    Off,
    Request,
    Text,
    Whole,
    bounded_text,
    only,
    sentence,
)
from service.schemas.vectors import MAX_DIMENSION, Vector

MAX_HITS = 1_000
_NAME = "(?!col-)[a-z0-9][a-z0-9_-]{0,62}"
COLLECTION_NAME = re.compile(_NAME)


def _no_whole(value: object) -> object:
    """A whole number beyond 2^53 must not slip in as a rounded float."""
    if isinstance(value, int):
        raise PydanticCustomError("invalid_value", "a whole number must be within ±2^53")
    return value


_Fraction = Annotated[float, BeforeValidator(_no_whole)]
_Scalar = Annotated[str, Field(max_length=4_096)] | bool | Whole | _Fraction | None
_MetadataValue = Annotated[
    _Scalar | Annotated[list[_Scalar], Field(max_length=256)],
    sentence("must be a text, a finite number, true, false, null, or a list of these"),
]
DocumentMetadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=128)], _MetadataValue], Field(max_length=64)
]


def _collection_name(name: str) -> str:
    if not COLLECTION_NAME.fullmatch(name):
        message = "must be 1 to 63 of a-z, 0-9, _ and -, begin with a letter or digit, and not with col-"
        raise PydanticCustomError("invalid_value", message)
    return name


CollectionName = Annotated[
    str, AfterValidator(_collection_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]


class CollectionCreate(Request):
    """The body of `POST /v1/collections`: a model, or a dimension for vectors that the client brings."""

    name: CollectionName
    model: Name | None = None
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)] | None = None
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sized(self) -> Self:
        if self.model is None and self.dimension is None:
            raise PydanticCustomError("missing_field", "needs a model, or a dimension for vectors of your own")
        return self


class CollectionObject(Answer):
    """A named searchable corpus."""

    id: str
    object: Literal["collection"] = "collection"
    name: str
    model: str | None
    dimension: int
    created_at: int
    metadata: dict[str, str]
    count: int
    """Documents stored."""
    pending: int
    """Of these, how many are not searchable yet."""
    active_version: str | None


class DocumentBody(Request):
    """One text to be found; a vector is taken as it is, else the server embeds the text."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    text: Annotated[str, bounded_text(MAX_DOCUMENT_CHARACTERS)] | None = None
    metadata: DocumentMetadata = Field(default_factory=dict)
    vector: Vector | None = None


class DocumentsUpsert(Request):
    """The body of `POST /v1/collections/{c}/documents`; NDJSON has one document a line instead."""

    documents: list[DocumentBody] = Field(min_length=1)


class DocumentsAccepted(Answer):
    """The documents are stored; `job` makes them searchable."""

    object: Literal["collection.documents"] = "collection.documents"
    accepted: int
    pending: int
    job: str


class CollectionQuery(Request):
    """The body of `POST /v1/collections/{c}/query`: a text or a vector."""

    query: Text | None = None
    vector: Vector | None = None
    id: Off = None
    queries: Off = None
    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 10
    filter: Off = None
    exact: Annotated[Literal[False], only("false")] = False
    offset: Annotated[Literal[0], only("0")] = 0
    include: list[Literal["text", "metadata"]] = Field(default=["text", "metadata"])
    hybrid: Off = None
    score_threshold: Off = None

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        if (self.query is None) == (self.vector is None):
            raise PydanticCustomError("invalid_value", "give either query, a text, or vector, but not both")
        return self


class Hit(Answer):
    """One document that was found; a higher score is better."""

    id: str
    score: float
    text: str | None = None
    metadata: dict[str, Any] | None = None


class QueryAnswer(Answer):
    """What was found, and by which model in which version."""

    object: Literal["collection.query"] = "collection.query"
    hits: list[Hit]
    collection: str
    version: str | None
    """Null before the first version is built: then there are no hits yet."""
    model: str | None
    pending: int
    warnings: list[str] = Field(default_factory=list)
