"""A file from a stranger, read where it can do no harm: Parquet and zips in a process of their own, text right here.

`python -m infonce.apart PARENT ORDER` is that process; it says what it found as one JSON object.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from infonce.dialects import FieldMapping
from infonce.errors import DatasetError, Issue
from infonce.file_limits import DEFAULT_LIMITS, FileLimits
from infonce.formats import PairCounts, check_pairs, is_parquet, is_text
from infonce.lifeline import end_with
from infonce.qrels import EvalCounts, check_beir
from infonce.row_pages import PairPage, Place, page_of_pairs

_MEMORY_BYTES: Final = 1 << 30  # a file of 1 GB takes a third of it
_CPU_SECONDS: Final = 900
_OURS: Final = "INFONCE_"  # where the database and the keys are is no business of a file's

_PAIRS: Final = "pairs"
_JUDGEMENTS: Final = "judgements"
_PAGE: Final = "page"


def check_foreign_pairs(
    path: Path, limits: FileLimits = DEFAULT_LIMITS, *, mapping: FieldMapping | None = None
) -> PairCounts:
    """Every row was read and holds a pair; pyarrow, which trusts what a file says of itself, ran in another process.

    Raises:
        DatasetError: as `check_pairs`, or the file took that process down.
    """
    if is_text(path):
        return check_pairs(path, limits, mapping=mapping)
    return PairCounts(**_said(_PAIRS, path, asked={"limits": asdict(limits), "mapping": _told(mapping)}))


def check_foreign_beir(path: Path, limits: FileLimits = DEFAULT_LIMITS) -> EvalCounts:
    """Every line was read; the ids of millions of judgements, which all have to be known, lay in another process.

    Raises:
        DatasetError: as `check_beir`, or the file took that process down.
    """
    return EvalCounts(**_said(_JUDGEMENTS, path, asked={"limits": asdict(limits)}))


def foreign_page(path: Path, after: Place, *, limit: int, mapping: FieldMapping | None) -> PairPage:
    """At most `limit` pairs behind that place.

    Raises:
        DatasetError: as `page_of_pairs`, or the file took that process down.
    """
    if is_text(path):
        return page_of_pairs(path, after, limit=limit, mapping=mapping)
    return PairPage.from_dict(_said(_PAGE, path, asked={"after": after, "limit": limit, "mapping": _told(mapping)}))


def _told(mapping: FieldMapping | None) -> Mapping[str, Any] | None:
    return None if mapping is None else mapping.to_dict()


def _said(what: str, path: Path, *, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the other process found.

    Raises:
        DatasetError: it found issues, or ended without a word.
    """
    order = json.dumps({"what": what, "path": str(path), **asked})
    command = [sys.executable, "-m", "infonce.apart", str(os.getpid()), order]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=bare_environment())
    if ended.returncode != 0:
        detail = f"reading the file ended with code {ended.returncode}, most often for lack of memory"
        code, remedy = "too_large", "shorten its ids, or split it"
        if is_parquet(path):
            code, remedy = "corrupt_parquet", "write it anew with row groups of 100,000 rows, or as JSON Lines"
        raise DatasetError([Issue(line=None, field=None, code=code, detail=f"{detail}; {remedy}")])
    found: dict[str, Any] = json.loads(ended.stdout)
    if "issues" in found:
        raise DatasetError([Issue(**issue) for issue in found["issues"]], num_issues=found["num_issues"])
    result: dict[str, Any] = found["result"]
    return result


def bare_environment() -> dict[str, str]:
    """What a process that reads a stranger's file may know of ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return environment | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}  # other pools reserve GBs


def confine(parent: int, *, memory_bytes: int = _MEMORY_BYTES) -> None:
    """This process ends with its parent, and may use so much memory and time, and no more."""
    end_with(parent)
    _bound(resource.RLIMIT_DATA, memory_bytes)
    _bound(resource.RLIMIT_CPU, _CPU_SECONDS)
    _bound(resource.RLIMIT_CORE, 0)


def _bound(kind: int, limit: int) -> None:
    """This process may use so much, or as much less as it may already."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (limit, hard) if hard == resource.RLIM_INFINITY else (min(limit, hard), hard))


def _main(parent: str, given: str) -> None:
    confine(int(parent))
    try:
        found: dict[str, Any] = {"result": _made(json.loads(given))}
    except DatasetError as error:
        found = {"issues": [asdict(issue) for issue in error.issues], "num_issues": error.num_issues}
    print(json.dumps(found))


def _made(order: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(order["path"])
    if order["what"] == _JUDGEMENTS:
        return asdict(check_beir(path, FileLimits(**order["limits"])))
    mapping = None if order["mapping"] is None else FieldMapping.from_dict(order["mapping"])
    if order["what"] == _PAIRS:
        return asdict(check_pairs(path, FileLimits(**order["limits"]), mapping=mapping))
    return page_of_pairs(path, Place(*order["after"]), limit=order["limit"], mapping=mapping).to_dict()


if __name__ == "__main__":
    _main(*sys.argv[1:3])
