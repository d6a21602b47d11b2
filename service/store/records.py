"""What the database holds, one frozen record per table, a sentence per field that needs one.

All times are unix seconds as float; every record belongs to a project.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

DEFAULT_PROJECT = "default"
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A time-sortable id: the prefix, 48 bits of milliseconds and 80 random bits in Crockford's base 32 (ULID)."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}-" + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


class JobKind(StrEnum):
    """What a job does; the queue of each kind stands in `queue.py`."""

    TRAIN = "train"
    MINE = "mine"
    EVALUATE = "evaluate"
    ESTIMATE = "estimate"
    INDEX = "index"
    EXPORT = "export"


class JobStatus(StrEnum):
    """Where a job stands; the last three never change, and a paused one waits for a word of its user."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a running job is doing just now."""

    WAITING = "waiting"
    LOADING = "loading"
    BASELINE = "baseline"
    MINING = "mining"
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    EMBEDDING = "embedding"
    BUILDING = "building"
    PROMOTING = "promoting"


class FilePurpose(StrEnum):
    """What an upload is for, and so how its lines are read."""

    FINE_TUNE = "fine-tune"
    EVAL = "eval"
    CORPUS = "corpus"


class DeployPolicy(StrEnum):
    """When a tuned model is to serve a collection."""

    IF_BETTER = "if_better"
    ALWAYS = "always"
    NEVER = "never"


class Scope(StrEnum):
    """What a key may do; admin holds all others."""

    READ = "read"
    TRAIN = "train"
    INDEX = "index"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """An immutable file of one purpose, uploaded or made of another one."""

    id: str
    project: str
    created_at: float
    filename: str
    purpose: FilePurpose
    num_bytes: int
    sha256: str
    counts: Mapping[str, int]
    """fine-tune: pairs, negatives, duplicates, empty_lines, ignored_fields; eval: documents, queries, judgements;
    corpus: documents, longest_characters, empty_lines, ignored_fields."""
    mapping: Mapping[str, Any] | None = None
    """Which fields hold the pairs, where the caller said so; without it the file itself shows it."""
    parent: str | None = None
    """The file that it was made of; None for an upload. It may have been deleted since."""
    job_id: str | None = None
    """The job that made it, which makes no other."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job failed, for the user."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None
    retryable: bool = False
    user: bool = False
    """Whether the user's input is the cause (`class: user`), not the system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """One order of work, from submission to its end."""

    id: str
    project: str
    kind: JobKind
    status: JobStatus
    phase: Phase
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    priority: int = 0
    spec: Mapping[str, Any]
    """What was asked for, checked and with defaults filled in; never changes."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """What the worker measured and chose where the spec said `auto`."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    error: JobError | None = None
    attempt: int = 0
    """How often it was claimed; the fencing token of every write."""
    losses: int = 0
    """How many attempts ended without a word (crash, lost worker); drains do not count."""
    max_losses: int = 3
    lease_owner: str | None = None
    lease_until: float | None = None
    run_after: float = 0.0
    doorbell_at: float | None = None
    cancel_requested: bool = False
    pause_requested: bool = False
    keep_requested: bool = False
    """Whether it is to end early and publish the best of what it has made."""
    saved_step: int = 0
    """The step of the newest checkpoint that an attempt has told of."""
    lost_at_step: int = 0
    """What `saved_step` was at the last loss; a job that has come further since has its losses forgiven."""
    subject: str | None = None
    """What it works on where that is one object (a collection's id), so that twins can be found."""
    traceparent: str | None = None
    """The trace to which the request belongs that ordered it, as W3C's Trace Context writes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRecord:
    """One thing that happened to a job, written in the transaction that made it happen."""

    id: int
    job_id: str
    attempt: int
    at: float
    level: str
    """info, warn or error, as OpenAI has it."""
    type: str
    """An action word: submitted, claimed, phase, measured, finished, released, paused, unpaused, failed, cancelled …"""
    message: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRecord:
    """A finished, immutable encoder that a job published, or that a caller brought."""

    id: str
    """ft:<base-slug>:<suffix>:<id8>"""
    project: str
    created_at: float
    folder: str
    """Its folder's name under the artifact root's `models`."""
    parent: str | None
    """What it was tuned from; None where a caller brought it."""
    job_id: str | None
    """None where a caller brought it."""
    dimensions: int
    max_tokens: int
    fingerprint: str
    """Hash of weights, pooling, prompts, tokenizer and maximum length: equal prints give equal vectors."""
    summary: Mapping[str, Any]
    """Evaluation summary as in the report: base, tuned, verdict."""
    num_bytes: int = 0
    """Of its folder; 0 where it was published before this was counted."""
    data_sha256: str | None = None
    """Of the pairs that it was trained on; None where nobody here knows."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Its job's, or what its caller gave it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """An API key as stored: never its secret."""

    id: str
    project: str
    name: str
    secret_sha256: bytes = field(repr=False)
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    rotated_at: float | None = None
    """When another key took its place; it still counts until it expires."""
    last_used_at: float | None = None
    """Within a minute."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectRecord:
    """Who owns objects, and how much it may use; None is the server's default."""

    id: str
    created_at: float
    max_queued_jobs: int | None = None
    max_stored_bytes: int | None = None
    max_requests_per_minute: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RepeatRecord:
    """A POST that may come again under the same Idempotency-Key, and what it made."""

    project: str
    route: str
    key: str
    body_sha256: str
    object_id: str
    """Of the object; where it made none, the answer itself."""
    created_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A window of a list: at most `limit` after the element `after`, in creation order or its reverse."""

    after: str | None = None
    limit: int = 20
    descending: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Elements without all of it are left out; of tables that have none it asks nothing."""
