"""Rows of collections, their versions and documents: a sentence a field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

AUTO_INDEX: Final[Mapping[str, Any]] = {"type": "auto", "prefix": "auto"}
"""By the number of documents, and by what the model's vectors show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectionRecord:
    """A named searchable corpus."""

    id: str
    project: str
    name: str
    created_at: float
    model: str | None
    dimension: int
    metadata: Mapping[str, str]
    watermark: int
    """Sequence number of the newest document write."""
    active_version: str | None = None
    previous_version: str | None = None
    """That answered before, and can answer again."""
    wanted_version: str | None = None
    """That is to answer as soon as it lacks nothing of what was written since its documents were read."""
    num_bytes: int = 0
    """Of its documents: texts, metadata and vectors."""
    asked_index: Mapping[str, Any] = field(default_factory=lambda: dict(AUTO_INDEX))
    """How its next index is to be built, as it was asked: `type` and `prefix`."""


class VersionStatus(StrEnum):
    """How far a version is."""

    BUILDING = "building"
    READY = "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionRecord:
    """One (model, index) state of a collection."""

    id: str
    collection_id: str
    created_at: float
    model: str | None
    fingerprint: str | None
    dimension: int
    count: int
    watermark: int
    """The newest document write that the index contains."""
    folder: str | None
    """None while its first index is built, and of what a collection answered by before it had any."""
    job_id: str | None
    """That made its index, or makes it; None where there never was one."""
    num_bytes: int = 0
    """Of its folder; 0 where it was published before this was counted."""
    status: VersionStatus = VersionStatus.READY
    activated_at: float | None = None
    """When queries were last moved to it; None where they never were."""
    asked_index: Mapping[str, Any] = field(default_factory=lambda: dict(AUTO_INDEX))
    """How its indexes are to be built, as it was asked: `type` and `prefix`."""
    built_index: Mapping[str, Any] | None = None
    """How the one that it has was: the same keys, without `auto`; None before there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRecord:
    """One searchable text, or a vector that the client brought."""

    id: str
    text: str | None
    metadata: Mapping[str, Any]
    vector: bytes | None
    """Little-endian float32, unit length; None where the server embeds the text."""
    sequence: int
    filled_by: str | None = None
    """The deployment that wrote it from its corpus file; None where a caller did."""
