"""Collections, their documents and queries: bodies and answers."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from infonce.fusion import Fusion, FusionMethod
from infonce.index_config import PQ_CENTRES, IndexConfig, IndexType
from service.schemas.filters import BoundedFilter
from service.schemas.strict import (
    Answer,
    DocumentId,
    Metadata,
    Name,
    Request,
    Text,
    sentence,
)
from service.schemas.vectors import MAX_DIMENSION, Vector

MAX_HITS = 1_000
MAX_QUERIES = 256
"""Of a call."""
MAX_CALL_HITS = 65_536
"""Of all queries of a call, offsets included: 256 with 256 hits each, or 64 with 1,000."""
_NAME = "(?!col-|import$)[a-z0-9][a-z0-9_-]{0,62}"
COLLECTION_NAME = re.compile(_NAME)
NAME_RULE = "must be 1 to 63 of a-z, 0-9, _ and -, begin with a letter or digit, and be neither import nor col-…"


def _collection_name(name: str) -> str:
    if not COLLECTION_NAME.fullmatch(name):
        raise PydanticCustomError("invalid_value", NAME_RULE)
    return name


CollectionName = Annotated[
    str, AfterValidator(_collection_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]


IndexName = Literal["auto", "flat", "hnsw", "ivf_sq8", "ivf_pq"]


class IndexAsked(Request):
    """How indexes are built: `auto` is by the number of documents, and a prefix of the vectors where it is enough.

    With a `prefix` so many first dimensions find the candidates, which the whole vectors rank; `auto` takes the
    shortest of those that the model was trained for whose candidates hold 99 % of a sample's true neighbours.
    """

    type: IndexName = "auto"
    prefix: Annotated[
        Annotated[int, Field(ge=1, le=MAX_DIMENSION)] | Literal["auto"] | None,
        sentence(f'must be "auto", null or a whole number from 1 to {MAX_DIMENSION}'),
    ] = "auto"

    @model_validator(mode="after")
    def _searched_in_two_steps(self) -> Self:
        if self.type == "flat" and isinstance(self.prefix, int):
            message = f"flat compares whole vectors and prefix is {self.prefix}; leave it out, or choose another type"
            raise PydanticCustomError("invalid_value", message)
        return self

    def check(self, dimension: int) -> None:
        """Raise `ConfigError` where no index of vectors of that dimension can be built so."""
        prefix = self.prefix if isinstance(self.prefix, int) else None
        IndexConfig(type=IndexType(self.type), prefix=prefix).resolve(PQ_CENTRES, dimension=dimension)


class IndexBuilt(Answer):
    """How an index was built."""

    type: IndexName
    prefix: int | None
    """Dimensions that find the candidates; null where whole vectors do."""


class CollectionCreate(Request):
    """The body of `POST /v1/collections`: a model, or a dimension for vectors that the client brings."""

    name: CollectionName
    model: Name | None = None
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)] | None = None
    index: IndexAsked = Field(default_factory=IndexAsked)
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
    brought: int
    """Of these, how many brought vectors of their own, which no model makes anew."""
    index: IndexAsked
    """How its next index is to be built."""
    active_version: str | None
    """That answers its queries."""
    previous_version: str | None
    """That answered before; a rollback returns to it."""
    warnings: list[str]
    """Documents brought vectors of their own, and not for the model that answers now."""


class CollectionDeleted(Answer):
    """The collection is gone."""

    id: str
    object: Literal["collection.deleted"] = "collection.deleted"
    deleted: Literal[True] = True


class Hybrid(Request):
    """Documents that share words with the query (BM25) are looked for too, and both rankings are joined.

    `weighted`: a document's score is `weight` times its vector's score, from 0 for the lowest to 1 for the highest, and
    the rest times its BM25, a share of the highest. `rrf`: it is the sum of 1 / (60 + its rank) over the rankings that
    it is in. Each ranking is taken 1,000 deep, whatever k and offset are; what is missing in one has 0 there.
    """

    method: Literal["weighted", "rrf"] = "weighted"
    weight: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the vectors, in `weighted`; 0.7 if nothing is said."""

    @model_validator(mode="after")
    def _weighted_alone(self) -> Self:
        if self.method == "rrf" and self.weight is not None:
            message = f"rrf weighs both alike and weight is {self.weight}; leave it out, or set method to weighted"
            raise PydanticCustomError("invalid_value", message)
        return self

    def to_library(self) -> Fusion:
        """The same in the library's words."""
        given = {} if self.weight is None else {"weight": self.weight}
        return Fusion(method=FusionMethod(self.method), **given)


class CollectionQuery(Request):
    """A text, a vector or a document whose neighbours are wanted; or several `queries` that one version answers."""

    query: Text | None = None
    vector: Vector | None = None
    id: DocumentId | None = None
    """A document of the collection, which is not among its own neighbours."""
    queries: Annotated[list["CollectionQuery"], Field(min_length=1, max_length=MAX_QUERIES)] | None = None
    """Each as if it were asked alone; all of them have at most 65,536 hits to look for, offsets included."""
    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 10
    filter: BoundedFilter | None = None
    exact: bool = False
    """Compare with all that the filter allows, whatever the type of the index."""
    offset: Annotated[int, Field(ge=0, le=MAX_HITS)] = 0
    """So many of the best are left out; offset and k together are at most 1,000."""
    include: list[Literal["text", "metadata"]] = Field(default=["text", "metadata"])
    hybrid: Hybrid | None = None
    """Look by words too; takes a text query."""
    score_threshold: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Hits with a lower score are left out; of a hybrid query the joint score counts."""

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        if self.queries is not None:
            if self.model_fields_set != {"queries"}:
                raise PydanticCustomError("invalid_value", "queries stand alone; say k, filter and the like in each")
            if any(one.queries is not None for one in self.queries):
                raise PydanticCustomError("invalid_value", "queries hold no queries of their own")
            if (num := sum(one.offset + one.k for one in self.queries)) > MAX_CALL_HITS:
                message = f"queries have {num:,} hits to look for, offsets included; the limit of a call is "
                raise PydanticCustomError("invalid_value", f"{message}{MAX_CALL_HITS:,}; ask some of them in another")
            return self
        if sum(one is not None for one in (self.query, self.vector, self.id)) != 1:
            message = "give one of query (a text), vector, id (of a document) and queries, and no two of them"
            raise PydanticCustomError("invalid_value", message)
        if self.hybrid is not None and self.query is None:
            given = "a vector" if self.id is None else "an id"
            message = f"hybrid looks by words and the query is {given}; give query, a text, or leave hybrid out"
            raise PydanticCustomError("invalid_value", message)
        if self.offset + self.k > MAX_HITS:
            message = f"offset and k are {self.offset + self.k} together; the limit is {MAX_HITS}"
            raise PydanticCustomError("invalid_value", message)
        return self


class Hit(Answer):
    """One document that was found; a higher score is better.

    It is the inner product of unit vectors, or for a hybrid query the joint score of its method.
    """

    id: str
    score: float
    text: str | None = None
    metadata: dict[str, Any] | None = None


class Hits(Answer):
    """What one of several queries found."""

    hits: list[Hit]
    warnings: list[str] = Field(default_factory=list)


class QueryAnswer(Answer):
    """What was found, and by which model in which version.

    A filter's key that no document has is a warning, and so are vectors that were brought for another model.
    """

    object: Literal["collection.query"] = "collection.query"
    hits: list[Hit]
    collection: str
    version: str | None
    """Null before the first version is built: only what was written with its vector is found then."""
    model: str | None
    pending: int
    warnings: list[str] = Field(default_factory=list)


class QueryAnswers(Answer):
    """What each query found, in the order of the queries, by one model in one version."""

    object: Literal["collection.query"] = "collection.query"
    results: list[Hits]
    collection: str
    version: str | None
    model: str | None
    pending: int
