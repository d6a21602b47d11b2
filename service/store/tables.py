"""The tables: columns are named as the fields of records; a test proves that the migrations make exactly these."""

from typing import Any, TypeVar

import sqlalchemy as sa

from service.store.collection_records import VersionStatus
from service.store.columns import Json, PlainText, Whole, Word
from service.store.records import FilePurpose, JobKind, JobStatus, Phase

SCHEMA_VERSION = "0014"
"""The newest migration. A constant, so that a process checks the schema without importing Alembic (0.5 s)."""

R = TypeVar("R")

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER counts by itself on SQLite


def _column(name: str, kind: sa.types.TypeEngine[Any], *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=optional)


def _id() -> sa.Column[Any]:
    return sa.Column("id", PlainText, primary_key=True)


jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("kind", Word(JobKind)),
    _column("status", Word(JobStatus)),
    _column("phase", Word(Phase)),
    _column("created_at", sa.Double()),
    _column("started_at", sa.Double(), optional=True),
    _column("finished_at", sa.Double(), optional=True),
    _column("priority", Whole()),
    _column("spec", Json()),
    _column("metadata", Json()),
    _column("resolved", Json()),
    _column("progress", Json()),
    _column("result", Json()),
    _column("error", Json(), optional=True),
    _column("attempt", Whole()),
    _column("losses", Whole()),
    _column("max_losses", Whole()),
    _column("lease_owner", PlainText(), optional=True),
    _column("lease_until", sa.Double(), optional=True),
    _column("run_after", sa.Double()),
    _column("doorbell_at", sa.Double(), optional=True),
    _column("cancel_requested", sa.Boolean()),
    _column("pause_requested", sa.Boolean()),
    _column("keep_requested", sa.Boolean()),
    _column("saved_step", Whole()),
    _column("lost_at_step", Whole()),
    _column("subject", PlainText(), optional=True),
    _column("traceparent", PlainText(), optional=True),
    sa.Index(None, "status", "kind", "priority", "created_at"),  # claim, ring, reap
    sa.Index(None, "project", "status"),  # how many does a project run
    sa.Index(None, "project", "created_at", "id"),  # lists
    sa.Index(None, "subject", "status"),  # twins
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=False),
    _column("attempt", Whole()),
    _column("at", sa.Double()),
    _column("level", PlainText()),
    _column("type", PlainText()),
    _column("message", PlainText()),
    _column("data", Json()),
    sa.Index(None, "job_id", "id"),
    sqlite_autoincrement=True,  # an id is a cursor: never given twice
)

curve_points = sa.Table(
    "curve_points",
    metadata,
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("step", Whole(), primary_key=True),
    _column("record", Json()),
)

files = sa.Table(
    "files",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("created_at", sa.Double()),
    _column("filename", PlainText()),
    _column("purpose", Word(FilePurpose)),
    _column("num_bytes", Whole()),
    _column("sha256", PlainText()),
    _column("counts", Json()),
    _column("mapping", Json(), optional=True),
    _column("parent", PlainText(), optional=True),
    _column("job_id", PlainText(), optional=True),
    _column("metadata", Json()),
    sa.Index(None, "project", "created_at", "id"),
    sa.Index(None, "job_id", unique=True),  # a job makes at most one file, whatever its workers believe
)

models = sa.Table(
    "models",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("created_at", sa.Double()),
    sa.Column("folder", PlainText, nullable=False, unique=True),
    _column("parent", PlainText(), optional=True),
    # unique: a job publishes at most one model, whatever its workers believe
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=True, unique=True),
    _column("dimensions", Whole()),
    _column("max_tokens", Whole()),
    _column("fingerprint", PlainText()),
    _column("num_bytes", Whole()),
    _column("summary", Json()),
    _column("data_sha256", PlainText(), optional=True),
    _column("metadata", Json()),
    sa.Index(None, "project", "created_at", "id"),
)

exports = sa.Table(
    "exports",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("created_at", sa.Double()),
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=False, unique=True),
    _column("model", PlainText(), optional=True),
    _column("collection_id", PlainText(), optional=True),
    sa.Column("folder", PlainText, nullable=True, unique=True),
    _column("num_bytes", Whole()),
    _column("sha256", PlainText(), optional=True),
    _column("expires_at", sa.Double(), optional=True),
    _column("metadata", Json()),
    sa.Index(None, "project", "created_at", "id"),
    sa.Index(None, "expires_at"),  # what has to go
)

evaluations = sa.Table(
    "evaluations",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("created_at", sa.Double()),
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=False, unique=True),
    _column("file_id", PlainText()),
    _column("models", Json()),
    _column("ks", Json()),
    _column("metadata", Json()),
    sa.Column("folder", PlainText, nullable=True, unique=True),
    _column("num_bytes", Whole()),
    _column("summary", Json()),
    sa.Index(None, "project", "created_at", "id"),
)

collections = sa.Table(
    "collections",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("name", PlainText()),
    _column("created_at", sa.Double()),
    _column("model", PlainText(), optional=True),
    _column("dimension", Whole()),
    _column("metadata", Json()),
    _column("watermark", Whole()),
    _column("active_version", PlainText(), optional=True),
    _column("previous_version", PlainText(), optional=True),
    _column("wanted_version", PlainText(), optional=True),
    _column("asked_index", Json()),
    _column("num_bytes", Whole()),
    sa.UniqueConstraint("project", "name"),
    sa.Index(None, "project", "created_at", "id"),
)

versions = sa.Table(
    "versions",
    metadata,
    _id(),
    sa.Column("collection_id", PlainText, sa.ForeignKey("collections.id"), nullable=False, index=True),
    _column("created_at", sa.Double()),
    _column("model", PlainText(), optional=True),
    _column("fingerprint", PlainText(), optional=True),
    _column("dimension", Whole()),
    _column("count", Whole()),
    _column("watermark", Whole()),
    _column("num_bytes", Whole()),
    sa.Column("folder", PlainText, nullable=True, unique=True),
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=True, unique=True),
    _column("status", Word(VersionStatus)),
    _column("activated_at", sa.Double(), optional=True),
    _column("asked_index", Json()),
    _column("built_index", Json(), optional=True),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("collection_id", PlainText, sa.ForeignKey("collections.id"), primary_key=True),
    _id(),
    _column("text", PlainText(), optional=True),
    _column("metadata", Json()),
    _column("vector", sa.LargeBinary(), optional=True),
    _column("sequence", Whole()),
    _column("filled_by", PlainText(), optional=True),
    sa.Index(None, "collection_id", "sequence", unique=True),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("name", PlainText()),
    _column("secret_sha256", sa.LargeBinary()),
    _column("scopes", Json()),
    _column("created_at", sa.Double()),
    _column("expires_at", sa.Double(), optional=True),
    _column("revoked_at", sa.Double(), optional=True),
    _column("rotated_at", sa.Double(), optional=True),
    _column("last_used_at", sa.Double(), optional=True),
    _column("metadata", Json()),
)

projects = sa.Table(
    "projects",
    metadata,
    _id(),
    _column("created_at", sa.Double()),
    _column("max_queued_jobs", Whole(), optional=True),
    _column("max_stored_bytes", Whole(), optional=True),
    _column("max_requests_per_minute", Whole(), optional=True),
    _column("metadata", Json()),
)

repeats = sa.Table(
    "repeats",
    metadata,
    sa.Column("project", PlainText, primary_key=True),
    sa.Column("route", PlainText, primary_key=True),
    sa.Column("key", PlainText, primary_key=True),
    _column("body_sha256", PlainText()),
    _column("object_id", PlainText()),
    _column("created_at", sa.Double()),
    sa.Index(None, "created_at"),
)


def values_of(record: object, table: sa.Table) -> dict[str, Any]:
    """The record's fields as a row of the table."""
    return {column.name: getattr(record, column.name) for column in table.columns if hasattr(record, column.name)}


def record_of(kind: type[R], row: sa.Row[Any]) -> R:
    """The row as a record of that kind; columns must be the record's fields."""
    return kind(**row._mapping)
