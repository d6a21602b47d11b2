"""The tables, and the column types that make SQLite and PostgreSQL hold the same values.

Column names are the field names of `records.py`; a test proves that the migrations make exactly these tables.
"""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from service.store.errors import InvalidValue
from service.store.records import FilePurpose, JobKind, JobStatus, Phase

SCHEMA_VERSION = "0001"
"""The newest migration. A constant, so that a process checks the schema without importing Alembic (0.5 s)."""

MAX_INTEGER = 2**53
"""Beyond it JSON readers round, and beyond 2**63 SQLite and PostgreSQL fail in different ways."""

R = TypeVar("R")


def plain_text(value: str) -> str:
    """The text itself.

    Raises:
        InvalidValue: it holds NUL (SQLite stores it, PostgreSQL refuses it) or a lone surrogate.
    """
    if "\x00" in value:
        raise InvalidValue("A text holds the NUL character, which cannot be stored; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue("A text holds a lone surrogate and is no valid Unicode; remove it") from error
    return value


def bounded(value: int) -> int:
    """The integer itself.

    Raises:
        InvalidValue: it is beyond ±2**53.
    """
    if abs(value) > MAX_INTEGER:
        raise InvalidValue("An integer lies outside ±9007199254740992 and cannot be stored")
    return value


def json_value(value: Any) -> Any:
    """A copy made of dicts, lists and scalars that reads back equal on every backend.

    Raises:
        InvalidValue: it holds what JSON or a backend cannot: NaN, infinity, NUL, a surrogate, a large integer.
    """
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return bounded(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {plain_text(str(key)): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    raise InvalidValue(f"{value!r} cannot be stored as JSON; numbers must be finite")


class PlainText(TypeDecorator[str]):
    """Text without NUL and lone surrogates."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """The text, checked."""
        return None if value is None else plain_text(value)


class Whole(TypeDecorator[int]):
    """An integer within ±2**53."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        """The integer, checked."""
        return None if value is None else bounded(value)


class Json(TypeDecorator[Any]):
    """A JSON value as text: the same bytes on both backends, and the order of keys is kept."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """The value as JSON text, checked."""
        return None if value is None else json.dumps(json_value(value), ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """The value that was stored."""
        return None if value is None else json.loads(value)


class Word(TypeDecorator[StrEnum]):
    """One word of a closed set; no CHECK in the schema, so that a new word needs no migration."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, dialect: sa.Dialect) -> str | None:
        """The word's text, checked."""
        if value is None:
            return None
        if value not in set(self.words):
            raise InvalidValue(f"{value!r} is none of {', '.join(self.words)}")
        return str(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> StrEnum | None:
        """The member of the set."""
        return None if value is None else self.words(value)


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
    _column("subject", PlainText(), optional=True),
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
    sa.Index(None, "project", "created_at", "id"),
)

models = sa.Table(
    "models",
    metadata,
    _id(),
    _column("project", PlainText()),
    _column("created_at", sa.Double()),
    sa.Column("folder", PlainText, nullable=False, unique=True),
    _column("parent", PlainText()),
    # unique: a job publishes at most one model, whatever its workers believe
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=False, unique=True),
    _column("dimensions", Whole()),
    _column("max_tokens", Whole()),
    _column("fingerprint", PlainText()),
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
    sa.Column("folder", PlainText, nullable=False, unique=True),
    sa.Column("job_id", PlainText, sa.ForeignKey("jobs.id"), nullable=False, unique=True),
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
)


def values_of(record: object, table: sa.Table) -> dict[str, Any]:
    """The record's fields as a row of the table."""
    return {column.name: getattr(record, column.name) for column in table.columns if hasattr(record, column.name)}


def record_of(kind: type[R], row: sa.Row[Any]) -> R:
    """The row as a record of that kind; columns must be the record's fields."""
    return kind(**row._mapping)
