"""What the gateway is told by its environment, read once when the process starts."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from infonce.config import Precision
from infonce.hub import Hub
from service.errors import StartRefused
from service.store.settings import StoreSettings

MIN_FREE_BYTES = "INFONCE_MIN_FREE_BYTES"
WEBHOOK_ALLOW_PRIVATE = "INFONCE_WEBHOOK_ALLOW_PRIVATE"
DEFAULT_MIN_FREE_BYTES = 256 << 20  # a tuned MiniLM takes 90 MB; database and indexes of jobs that run now grow too
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
DEFAULT_MAX_UPLOAD_BYTES = 1 << 30
DEFAULT_MODEL_BYTES = 2 << 30  # MiniLM takes 90 MB, a base model 440 MB, one of the large ones 1.3 GB
DEFAULT_OPEN_INDEXES = 8  # of a million documents one takes some 100 MB of its own, and seconds to be opened
DEFAULT_WAITING_CHARACTERS = 4 << 20  # about a million tokens: one or two minutes of two cores with a small model


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeLimits:
    """How many callers are served at once, and how slow one may be."""

    max_connections: int = 1_000
    """Each holds a file descriptor and about 20 KB; a proxy or a busy client keeps some tens of them open."""
    num_searches: int = 20
    """Queries and embeddings that hold a thread; an embedding holds none while it waits for its vectors."""
    num_uploads: int = 6
    """Bodies that are written to disk or are large; two cores and one disk read no more lines at once."""
    num_bodies: int = 24
    """Bodies of more than 64 KB on their way, up to 32 MB of each in memory."""
    num_changes: int = 4
    """Other requests that write: SQLite has one writer at a time."""
    num_reads: int = 8
    """A read takes milliseconds."""
    num_streams: int = 500
    """Readers of events; each keeps a connection and up to 64 KB for as long as its job lasts, and no thread."""
    key_seconds: float = 15.0
    """After which it is asked whether a reader's key still counts; asking takes a millisecond."""
    num_audits: int = 4
    """Each waits for seconds, or has a process of up to 1 GiB for minutes; fixed, as that process's limits are."""
    num_downloads: int = 8
    """Each may last for hours; none needs a thread of its own, but for a millisecond a piece."""
    num_hooks: int = 4
    """Each waits for up to 10 s for a receiver; fixed, for they are few and of administrators."""
    wait_seconds: float = 5.0
    """For a place; a burst is over by then, and an upload may hold its own for hours."""
    header_seconds: float = 10.0
    """From the first moment of a connection, or the first byte of its next request, to the end of the header."""
    body_idle_seconds: float = 15.0
    """Without a byte of a body that is waited for."""
    body_grace_seconds: float = 10.0
    """Of waiting for a body, before it must have come with `body_bytes_per_second` on average."""
    body_bytes_per_second: int = 1_024
    unread_seconds: float = 30.0
    """In which a caller takes nothing of an answer that waits for it."""

    @property
    def num_threads(self) -> int:
        """One for each place of work, and two that are always left for health."""
        work = self.num_searches + self.num_uploads + self.num_audits + self.num_changes + self.num_reads
        return work + self.num_hooks + 2

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Limits from `INFONCE_MAX_CONNECTIONS`, `_MAX_SEARCHES`, `_MAX_UPLOADS`, `_MAX_BODIES`, `_MAX_CHANGES`,
        `_MAX_READS` and `_MAX_STREAMS`.

        Raises:
            StartRefused: a value is not a whole number in its range.
        """
        usual = cls()
        return cls(
            max_connections=_whole(env, "INFONCE_MAX_CONNECTIONS", default=usual.max_connections, low=8, high=100_000),
            num_searches=_whole(env, "INFONCE_MAX_SEARCHES", default=usual.num_searches, low=1, high=1_000),
            num_uploads=_whole(env, "INFONCE_MAX_UPLOADS", default=usual.num_uploads, low=1, high=1_000),
            num_bodies=_whole(env, "INFONCE_MAX_BODIES", default=usual.num_bodies, low=1, high=1_000),
            num_changes=_whole(env, "INFONCE_MAX_CHANGES", default=usual.num_changes, low=1, high=1_000),
            num_reads=_whole(env, "INFONCE_MAX_READS", default=usual.num_reads, low=1, high=1_000),
            num_streams=_whole(env, "INFONCE_MAX_STREAMS", default=usual.num_streams, low=1, high=100_000),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotas:
    """How much a project may use that has no limits of its own; None is without a limit."""

    max_queued_jobs: int = 100
    """On one machine that is days of work; more are most often a script gone wrong."""
    max_stored_bytes: int | None = None
    max_requests_per_minute: int | None = None
    """In each gateway."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Limits from `INFONCE_MAX_QUEUED_JOBS`, `INFONCE_MAX_STORED_BYTES` and `INFONCE_MAX_REQUESTS_PER_MINUTE`.

        Raises:
            StartRefused: a value is not a whole number in its range.
        """
        jobs = _whole(env, "INFONCE_MAX_QUEUED_JOBS", default=cls().max_queued_jobs, low=1, high=1_000_000)
        stored = _whole(env, "INFONCE_MAX_STORED_BYTES", default=0, low=1, high=1 << 50)
        requests = _whole(env, "INFONCE_MAX_REQUESTS_PER_MINUTE", default=0, low=1, high=10_000_000)
        return cls(max_queued_jobs=jobs, max_stored_bytes=stored or None, max_requests_per_minute=requests or None)


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """Where the gateway listens, what it stands on, and how much it takes."""

    store: StoreSettings
    hub: Hub
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    """0 lets the system choose a free one."""
    api_key_file: Path | None = None
    """A file whose only line is the first key."""
    max_upload_bytes: int = DEFAULT_MAX_UPLOAD_BYTES
    min_free_bytes: int = DEFAULT_MIN_FREE_BYTES
    """`INFONCE_MIN_FREE_BYTES`: stay free where the artifacts lie; uploads, documents and jobs are refused below."""
    threads: int = 1
    """Of the products of an embedding."""
    precision: Precision = Precision.FLOAT32
    """Of those products; `auto` measures each encoder when it is loaded."""
    model_bytes: int = DEFAULT_MODEL_BYTES
    """`INFONCE_MODEL_BYTES`: of the weights that stay in memory; the last used model stays whatever it takes."""
    max_open_indexes: int = DEFAULT_OPEN_INDEXES
    """`INFONCE_MAX_OPEN_INDEXES`: of collections; the one asked longest ago is closed, and opened when it is asked."""
    max_waiting_characters: int = DEFAULT_WAITING_CHARACTERS
    """`INFONCE_MAX_WAITING_CHARACTERS`: of texts that wait to be embedded; then 429 is answered."""
    edge: EdgeLimits = EdgeLimits()
    quotas: Quotas = Quotas()
    webhook_allow_private: bool = False
    """`INFONCE_WEBHOOK_ALLOW_PRIVATE`: webhooks may go to private addresses, this machine's included, and by http."""
    telemetry: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The variables of OpenTelemetry, whose headers may hold a key."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Settings from `INFONCE_HOST`, `_PORT`, `_API_KEY_FILE`, `_MAX_UPLOAD_BYTES`, `_THREADS`,
        `_SERVING_PRECISION`, `_WEBHOOK_ALLOW_PRIVATE` and those of store, hub, edge and quotas.

        Raises:
            StartRefused: a value is not what its name asks for.
            InvalidSetting: a place of the store is not set.
            ConfigError: there is no such precision, or hub mode.
        """
        key_file = env.get("INFONCE_API_KEY_FILE")
        return cls(
            store=StoreSettings.from_env(env),
            hub=Hub.from_env(env),
            host=env.get("INFONCE_HOST") or DEFAULT_HOST,
            port=_whole(env, "INFONCE_PORT", default=DEFAULT_PORT, low=0, high=65_535),
            api_key_file=Path(key_file) if key_file else None,
            max_upload_bytes=_whole(
                env, "INFONCE_MAX_UPLOAD_BYTES", default=DEFAULT_MAX_UPLOAD_BYTES, low=1, high=1 << 50
            ),
            min_free_bytes=_whole(env, MIN_FREE_BYTES, default=DEFAULT_MIN_FREE_BYTES, low=0, high=1 << 50),
            threads=_whole(env, "INFONCE_THREADS", default=os.cpu_count() or 1, low=1, high=1_024),
            model_bytes=_whole(env, "INFONCE_MODEL_BYTES", default=DEFAULT_MODEL_BYTES, low=1, high=1 << 50),
            max_open_indexes=_whole(env, "INFONCE_MAX_OPEN_INDEXES", default=DEFAULT_OPEN_INDEXES, low=1, high=100_000),
            max_waiting_characters=_whole(
                env, "INFONCE_MAX_WAITING_CHARACTERS", default=DEFAULT_WAITING_CHARACTERS, low=1, high=1 << 40
            ),
            precision=Precision.for_serving(env, default=Precision.FLOAT32),
            edge=EdgeLimits.from_env(env),
            quotas=Quotas.from_env(env),
            webhook_allow_private=_whole(env, WEBHOOK_ALLOW_PRIVATE, default=0, low=0, high=1) == 1,
            telemetry={name: env[name] for name in env if name.removeprefix("INFONCE_").startswith("OTEL_")},
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name may resolve to anything

    def first_key(self) -> str | None:
        """The key in `api_key_file`, if one is set.

        Raises:
            StartRefused: the file cannot be read or is empty.
        """
        if self.api_key_file is None:
            return None
        try:
            key = self.api_key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartRefused(f"INFONCE_API_KEY_FILE cannot be read: {error}") from error
        if not key:
            raise StartRefused(f"INFONCE_API_KEY_FILE {self.api_key_file} is empty; put a key into it or unset it")
        return key


def _whole(env: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or not low <= int(text[:20]) <= high:
        raise StartRefused(f"{name} is {text[:40]!r}; it must be a whole number between {low} and {high}")
    return int(text)
