"""A file from a stranger, checked where it can do no harm: Parquet in a process of its own, text right here.

`python -m infonce.apart PATH LIMITS MAPPING` is that process; it says what it found as one JSON object.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from infonce.dialects import FieldMapping
from infonce.errors import DatasetError, Issue
from infonce.file_limits import DEFAULT_LIMITS, FileLimits
from infonce.formats import PairCounts, check_pairs, is_parquet
from infonce.lifeline import end_with

_MEMORY_BYTES: Final = 1 << 30  # a file of 1 GB takes a third of it
_CPU_SECONDS: Final = 900
_OURS: Final = "INFONCE_"  # where the database and the keys are is no business of a file's


def check_foreign_pairs(
    path: Path, limits: FileLimits = DEFAULT_LIMITS, *, mapping: FieldMapping | None = None
) -> PairCounts:
    """Every row was read and holds a pair; pyarrow, which trusts what a file says of itself, ran in another process.

    Raises:
        DatasetError: as `check_pairs`, or the file took that process down.
    """
    if not is_parquet(path):
        return check_pairs(path, limits, mapping=mapping)
    asked = [str(path), json.dumps(asdict(limits)), json.dumps(None if mapping is None else mapping.to_dict())]
    environment = bare_environment()
    command = [sys.executable, "-m", "infonce.apart", str(os.getpid()), *asked]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    if ended.returncode != 0:
        detail = f"reading the Parquet file ended with code {ended.returncode}, most often for lack of memory"
        remedy = "write it anew with row groups of 100,000 rows, or as JSON Lines"
        raise DatasetError([Issue(line=None, field=None, code="corrupt_parquet", detail=f"{detail}; {remedy}")])
    found: dict[str, Any] = json.loads(ended.stdout)
    if "counts" in found:
        return PairCounts(**found["counts"])
    raise DatasetError([Issue(**issue) for issue in found["issues"]], num_issues=found["num_issues"])


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


def _main(parent: str, path: str, *, limits: str, mapping: str) -> None:
    confine(int(parent))
    given = json.loads(mapping)
    try:
        counts = check_pairs(
            Path(path),
            FileLimits(**json.loads(limits)),
            mapping=None if given is None else FieldMapping.from_dict(given),
        )
        found: dict[str, Any] = {"counts": asdict(counts)}
    except DatasetError as error:
        found = {"issues": [asdict(issue) for issue in error.issues], "num_issues": error.num_issues}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:3], limits=sys.argv[3], mapping=sys.argv[4])
