"""A model that a caller brings: proved in a process apart, then published and named by a row, or nothing is kept."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from infonce.model_import import ImportedModel, import_model
from service.errors import ServiceError, Unavailable
from service.quotas import admit_bytes
from service.settings import Quotas
from service.store import catalog
from service.store.artifacts import Artifacts, disk_errors
from service.store.database import Database, Tx
from service.store.records import ModelRecord, new_id

NAME_BYTES: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAR: Final = re.compile(r"(\.safetensors)?\.tar$", re.IGNORECASE)
_WAIT_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 10


def model_label(given: bytes | None, filename: str) -> str:
    """What a model is to be called: as it was given, or after its file.

    Raises:
        ServiceError: the name that was given is none.
    """
    if given is None:
        return re.sub(r"[^A-Za-z0-9.]+", "-", _TAR.sub("", filename)).strip("-.")[:64] or "model"
    name = given.decode("utf-8", "replace")
    if not _NAME.fullmatch(name):
        message = f"name is {name[:80]!r}; it must be 1 to 64 letters, digits, dots, hyphens or underscores"
        raise ServiceError("invalid_value", message, param="name")
    return name


class ModelImports:
    """One model at a time is loaded: each takes memory for all of its weights."""

    def __init__(self, database: Database, artifacts: Artifacts, *, quotas: Quotas) -> None:
        self._database = database
        self._artifacts = artifacts
        self._quotas = quotas
        self._one = threading.Lock()

    def bring(
        self,
        tar: Path,
        *,
        project: str,
        name: str,
        metadata: Mapping[str, str],
        now: float,
        first: Callable[[Tx, str], None],
    ) -> str:
        """The model of the tar is published; returns its id, with which `first` begins the transaction.

        Raises:
            ForbiddenFile, UnsafeModel, InvalidModel: the tar holds no model that can be trusted.
            Unavailable: another one is being loaded.
            ServiceError: the project would have stored more than it may (`storage_quota`).
            StorageFull: there is no room.
        """
        staging = self._artifacts.new_part()
        try:
            found = self._proved(tar, staging)
            num_bytes = self._artifacts.seal(staging)
            id = catalog.model_name(name, "imported", unique=new_id("model"))
            record = _record(id, found, project=project, now=now, num_bytes=num_bytes)
            self._publish(staging, replace(record, metadata=metadata), first=first)
        finally:
            self._artifacts.discard(staging)
        return record.id

    def _proved(self, tar: Path, staging: Path) -> ImportedModel:
        if not self._one.acquire(timeout=_WAIT_SECONDS):
            message = "Another model is being loaded to be looked at; try again when it is done"
            raise Unavailable("overloaded", message, retry_after_seconds=_AGAIN_SECONDS)
        try:
            with disk_errors():
                return import_model(tar, staging)
        finally:
            self._one.release()

    def _publish(self, staging: Path, record: ModelRecord, *, first: Callable[[Tx, str], None]) -> None:
        """The folder is in its place and the row names it, or neither."""
        target, recorded = self._artifacts.model_path(record.folder), False
        self._artifacts.publish(staging, target)
        try:
            with self._database.write() as tx:
                first(tx, record.id)  # who comes second is not too much
                quotas, now = self._quotas, record.created_at
                admit_bytes(tx, record.project, num_bytes=record.num_bytes, quotas=quotas, now=now)
                catalog.insert_model(tx, record)
            recorded = True
        finally:
            if not recorded:
                self._artifacts.discard(target)


def _record(id: str, found: ImportedModel, *, project: str, now: float, num_bytes: int) -> ModelRecord:
    return ModelRecord(
        id=id,
        project=project,
        created_at=now,
        folder=new_id("model"),
        parent=None,
        job_id=None,
        dimensions=found.dimensions,
        max_tokens=found.max_tokens,
        fingerprint=found.fingerprint,
        summary={},
        num_bytes=num_bytes,
    )
