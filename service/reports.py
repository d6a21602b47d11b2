"""The report that a published model carries in its folder."""

import json
from pathlib import Path
from typing import Any

from service.store.artifacts import REPORT
from service.store.errors import ArtifactCorrupt


def read_report(folder: Path) -> dict[str, Any]:
    """What `report.json` says.

    Raises:
        ArtifactCorrupt: it is missing or no JSON object.
    """
    try:
        report = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactCorrupt(
            folder.name, file=REPORT, reason=f"cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    if not isinstance(report, dict):
        raise ArtifactCorrupt(folder.name, file=REPORT, reason="is no JSON object")
    return report
