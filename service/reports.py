"""The report that a published model carries in its folder."""

import json
from pathlib import Path
from typing import Any

from service.store.errors import ArtifactCorrupt

REPORT_FILE = "report.json"


def read_report(folder: Path) -> dict[str, Any]:
    """What `report.json` says.

    Raises:
        ArtifactCorrupt: it is missing or no JSON object.
    """
    try:
        report = json.loads((folder / REPORT_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactCorrupt(folder.name, file=REPORT_FILE, reason=f"cannot be read ({error})") from error
    if not isinstance(report, dict):
        raise ArtifactCorrupt(folder.name, file=REPORT_FILE, reason="is no JSON object")
    return report
