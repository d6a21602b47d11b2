"""What is kept for a time and then goes by itself: parts of uploads that nobody completed, exports, half an import.

First the rows say so, then the bytes go; a process that dies in between leaves what no row names, for `unused.py`.
"""

from service.store import arrivals, exports, removal, uploads
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.upload_status import UploadStatus


def expire(database: Database, artifacts: Artifacts, *, now: float) -> None:
    """Uploads, exports and imports whose time is over have ended, and what they left is gone.

    Raises:
        DatabaseUnavailable, ArtifactsUnavailable: one of them does not answer; the rest goes the next time.
    """
    with database.read() as tx:  # most often nothing is, and a read waits for nobody
        overdue, exported = uploads.overdue(tx, now=now), exports.any_overdue(tx, now=now)
        silent = arrivals.overdue(tx, now=now)
    for project, id in overdue:
        _expire_upload(database, artifacts, project=project, id=id)
    if exported:
        with database.write() as tx:
            folders = exports.expire(tx, now=now)
        for folder in folders:
            artifacts.discard(artifacts.export_path(folder))
    for id in silent:
        give_up(database, id, before=now - arrivals.SILENT_SECONDS, now=now)


def give_up(database: Database, id: str, *, before: float, now: float) -> None:
    """What arrived of the collection is gone, a few rows at a time, unless it showed life after `before`.

    Raises:
        DatabaseUnavailable: it does not answer; the rest goes the next time.
    """
    with database.write() as tx:
        collection = arrivals.give_up(tx, id, before=before)
    is_left = collection is not None
    while collection is not None and is_left:
        with database.write() as tx:
            is_left = removal.go_on(tx, collection, now=now)


def _expire_upload(database: Database, artifacts: Artifacts, *, project: str, id: str) -> None:
    with database.write() as tx:
        upload = uploads.locked(tx, project, id=id)
        if upload.status is not UploadStatus.PENDING:
            return  # it was completed or cancelled at this moment
        uploads.end(tx, upload, status=UploadStatus.EXPIRED)
    artifacts.discard(artifacts.upload_path(id))
