"""Versions of a collection: bodies and answers."""

from typing import Annotated, Literal, Self

from pydantic import Field

from service.schemas.collections import Hit, IndexAsked, IndexBuilt
from service.schemas.strict import Answer, Name, Request, Text
from service.store.collection_records import CollectionRecord, VersionRecord, VersionStatus
from service.store.records import JobRecord, JobStatus

MAX_COMPARED = 100
"""Queries of a comparison."""


class VersionCreate(Request):
    """The body of `POST /v1/collections/{c}/versions`."""

    model: Name
    index: IndexAsked | None = None
    """As the collection's next one if left out; becomes the collection's when the version is promoted."""


class Guard(Request):
    """An evaluation that judged both models, and how much better the new one has to be."""

    metric: Annotated[str, Field(pattern=r"^(ndcg|mrr|recall|map)@[1-9][0-9]{0,3}$")] = "ndcg@10"
    min_delta: Annotated[float, Field(ge=-1, le=1)] = 0.0
    evaluation: Annotated[str, Field(min_length=1, max_length=64)]


class Promote(Request):
    """The body of `POST /v1/collections/{c}/promote`."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    guard: Guard | None = None


class Rollback(Request):
    """The body of `POST /v1/collections/{c}/rollback`: nothing has to be said."""


class Compare(Request):
    """The body of `POST /v1/collections/{c}/compare`."""

    queries: Annotated[list[Text], Field(min_length=1, max_length=MAX_COMPARED)]
    a: Annotated[str, Field(min_length=1, max_length=64)]
    b: Annotated[str, Field(min_length=1, max_length=64)]
    k: Annotated[int, Field(ge=1, le=100)] = 10


class VersionObject(Answer):
    """One (model, index) state of a collection."""

    id: str
    object: Literal["collection.version"] = "collection.version"
    collection: str
    created_at: int
    model: str | None
    status: Literal["building", "ready", "failed"]
    active: bool
    """Whether it answers the collection's queries."""
    count: int
    """Documents in its index; what was written since is searched beside it."""
    index: IndexAsked
    """How its indexes are to be built."""
    built: IndexBuilt | None
    """How the one that it has was built; null before there is one, and where that was not written down yet."""
    job: str | None
    """That made its index, or makes it; null of what the collection answered by before it had an index."""
    warnings: list[str]
    """Documents brought vectors of their own, and not for its model."""

    @classmethod
    def of(
        cls, record: VersionRecord, collection: CollectionRecord, *, job: JobRecord | None, warnings: list[str]
    ) -> Self:
        """The answer about the record; `job` is its job."""
        has_failed = job is not None and job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        failed = record.status is VersionStatus.BUILDING and has_failed
        return cls(
            id=record.id,
            collection=collection.name,
            created_at=int(record.created_at),
            model=record.model,
            status="failed" if failed else record.status.value,
            active=collection.active_version == record.id,
            count=record.count,
            index=IndexAsked.model_validate(record.asked_index),
            built=None if record.built_index is None else IndexBuilt.model_validate(record.built_index),
            job=record.job_id,
            warnings=warnings,
        )


class VersionDeleted(Answer):
    """The version is gone."""

    id: str
    object: Literal["collection.version.deleted"] = "collection.version.deleted"
    deleted: Literal[True] = True


class RankMove(Answer):
    """One document under both versions; null where it is not among the first k."""

    id: str
    rank_a: int | None
    rank_b: int | None


class ComparedQuery(Answer):
    """One query: what each version finds, and what moved."""

    query: str
    a: list[Hit]
    b: list[Hit]
    overlap: float
    """The share of the first k that both have."""
    moves: list[RankMove]
    """Documents whose rank differs, those first that moved most."""


class Comparison(Answer):
    """Two versions side by side."""

    object: Literal["collection.comparison"] = "collection.comparison"
    collection: str
    a: str
    b: str
    k: int
    pending_a: int
    """Documents that version `a` cannot find yet: it takes them in when it is promoted."""
    pending_b: int
    warnings: list[str]
    """Of either version."""
    mean_overlap: float
    results: list[ComparedQuery]
