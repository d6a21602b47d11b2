"""The report that a published model carries in its folder."""

import json
from pathlib import Path
from typing import Any

from service.store.artifacts import REPORT, Artifacts
from service.store.errors import ArtifactCorrupt
from service.store.sealed import read_sealed


def read_report(folder: Path) -> dict[str, Any]:
    """What `report.json` of the published folder says.

    Raises:
        ArtifactCorrupt: it is not the file that was written, or no JSON object.
    """
    try:
        report = json.loads(read_sealed(folder, REPORT))
    except ValueError as error:
        raise ArtifactCorrupt(folder.name, file=REPORT, reason=f"cannot be read ({error})") from error
    if not isinstance(report, dict):
        raise ArtifactCorrupt(folder.name, file=REPORT, reason="is no JSON object")
    return report


def read_page(artifacts: Artifacts, folder: Path) -> bytes:
    """The page beside it; for a model that was published before there were pages, the one that its report becomes.

    Raises:
        ArtifactCorrupt: page or report is not the file that was written.
    """
    from infonce.report_page import PAGE, report_page  # deferred: the template engine takes a third of a second

    if PAGE in artifacts.sealed_files(folder):
        return read_sealed(folder, PAGE)
    return report_page(read_report(folder)).encode()
