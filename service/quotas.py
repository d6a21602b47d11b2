"""How much a project may have waiting and stored; counted in the transaction that adds to it."""

from service.errors import ServiceError, Unavailable
from service.settings import Quotas
from service.store import projects
from service.store.database import Tx
from service.store.records import ProjectRecord

_JOBS_AGAIN_SECONDS = 30


def admit_job(tx: Tx, project: str, *, quotas: Quotas, now: float) -> None:
    """One more job may wait, and what it makes may be stored.

    Raises:
        Unavailable: as many wait as may (`queue_limit`).
        ServiceError: the project has stored what it may (`storage_quota`).
    """
    record = projects.held(tx, project, now=now)
    limit = quotas.max_queued_jobs if record.max_queued_jobs is None else record.max_queued_jobs
    waiting = projects.num_waiting_jobs(tx, project)
    if waiting >= limit:
        message = f"{waiting} jobs of the project wait and {limit} may; wait for some, cancel some, or raise the limit"
        raise Unavailable("queue_limit", message, retry_after_seconds=_JOBS_AGAIN_SECONDS)
    _require_bytes(tx, project, limit=_bytes_of(record, quotas), num_bytes=0)


def admit_bytes(tx: Tx, project: str, *, num_bytes: int, quotas: Quotas, now: float) -> None:
    """So many bytes more may be stored.

    Raises:
        ServiceError: the project would have more than it may (`storage_quota`).
    """
    record = projects.held(tx, project, now=now)
    _require_bytes(tx, project, limit=_bytes_of(record, quotas), num_bytes=num_bytes)


def require_bytes(tx: Tx, project: str, *, num_bytes: int, quotas: Quotas) -> None:
    """So many bytes more could be stored just now; a look before a long body, for which nobody has to wait.

    Raises:
        ServiceError: as `admit_bytes`.
    """
    _require_bytes(tx, project, limit=_bytes_of(projects.find(tx, project), quotas), num_bytes=num_bytes)


def require_kept(tx: Tx, project: str, *, quotas: Quotas, now: float) -> None:
    """What this transaction has stored may be: for what is only known to the byte once it is written.

    Raises:
        ServiceError: the project would have more than it may (`storage_quota`).
    """
    limit = _bytes_of(projects.held(tx, project, now=now), quotas)
    if limit is not None and (stored := projects.stored_bytes(tx, project)) > limit:
        message = f"The project would have stored {stored} bytes and {limit} may be"
        raise ServiceError("storage_quota", f"{message}; delete files, or have the limit raised")


def _bytes_of(record: ProjectRecord | None, quotas: Quotas) -> int | None:
    own = None if record is None else record.max_stored_bytes
    return quotas.max_stored_bytes if own is None else own


def _require_bytes(tx: Tx, project: str, *, limit: int | None, num_bytes: int) -> None:
    if limit is None:
        return
    stored = projects.stored_bytes(tx, project)
    if stored + num_bytes > limit or stored >= limit:
        more = f" and this would add {num_bytes}" if num_bytes else ""
        message = f"The project has stored {stored} of {limit} bytes{more}"
        raise ServiceError("storage_quota", f"{message}; delete files, or have the limit raised")
