"""Audits of uploads, each beside the others below the artifact root: made once, gone with the upload."""

import json
from pathlib import Path
from typing import Any

from service.store.artifacts import Artifacts, disk_errors

AUDITS = "audits"


def read_audit(artifacts: Artifacts, file_id: str, *, key: str) -> dict[str, Any] | None:
    """The audit that was stored under that key; None where there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads(_path(artifacts, file_id, key=key).read_bytes())
    except (OSError, ValueError):
        return None
    return found


def write_audit(artifacts: Artifacts, file_id: str, *, key: str, audit: dict[str, Any]) -> None:
    """The audit is stored, whole; whatever was there under that key is replaced.

    Raises:
        StorageFull: there is no room.
    """
    with disk_errors():
        target, part = _path(artifacts, file_id, key=key), artifacts.new_part()
        target.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(audit), encoding="utf-8")
        part.rename(target)


def discard_audits(artifacts: Artifacts, file_id: str) -> None:
    """No audit of that upload is left."""
    for path in sorted((artifacts.root / AUDITS).glob(f"{file_id}.*.json")):
        artifacts.discard(path)


def _path(artifacts: Artifacts, file_id: str, *, key: str) -> Path:
    return artifacts.root / AUDITS / f"{file_id}.{key}.json"
