"""Audits of uploads, each beside the others below the artifact root: made once, gone with the upload."""

import json
from pathlib import Path
from typing import Any

from service.store.artifacts import Artifacts, disk_errors

AUDITS = "audits"
KEPT_OF_A_FILE = 8
"""With as many models and held-out files; who asks by turns for more has the oldest one made again."""


def read_audit(artifacts: Artifacts, file_id: str, *, key: str) -> dict[str, Any] | None:
    """The audit that was stored under that key; None where there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads(_path(artifacts, file_id, key=key).read_bytes())
    except (OSError, ValueError):
        return None
    return found


def write_audit(artifacts: Artifacts, file_id: str, *, key: str, audit: dict[str, Any]) -> None:
    """The audit is stored, whole, in place of what was there under that key, and of the oldest one if there are many.

    Nothing of an upload that was deleted meanwhile is left.

    Raises:
        StorageFull: there is no room.
    """
    with disk_errors():
        target, part = _path(artifacts, file_id, key=key), artifacts.new_part()
        target.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(audit), encoding="utf-8")
        part.rename(target)
    if not artifacts.file_path(file_id).exists():  # looked at last, as the file goes before its audits
        discard_audits(artifacts, file_id)
    for path in _of(artifacts, file_id)[:-KEPT_OF_A_FILE]:
        artifacts.discard(path)


def discard_audits(artifacts: Artifacts, file_id: str) -> None:
    """No audit of that upload is left."""
    for path in _of(artifacts, file_id):
        artifacts.discard(path)


def _of(artifacts: Artifacts, file_id: str) -> list[Path]:
    """Its audits, the oldest one first."""
    found = {path: _made_at(path) for path in (artifacts.root / AUDITS).glob(f"{file_id}.*.json")}
    return sorted(found, key=lambda path: (found[path], path))


def _made_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another gateway was faster
        return 0.0


def _path(artifacts: Artifacts, file_id: str, *, key: str) -> Path:
    return artifacts.root / AUDITS / f"{file_id}.{key}.json"
