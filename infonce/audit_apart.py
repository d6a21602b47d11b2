"""An audit, or a cleaned file, made in a process of its own: bounded in memory and time, and it ends with its parent.

`python -m infonce.audit_apart PARENT ORDER` is that process; it says as JSON lines how far it is and what it found.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infonce.apart import confine
from infonce.audit import audit_file
from infonce.audit_process import StoredPairs
from infonce.cleaning import clean_file
from infonce.errors import DatasetError, InvalidModel
from infonce.length_picture import TokenCounter


class _Telling:
    """The parent hears how far the audit is."""

    def audited(self, done: int) -> None:
        """It is said."""
        print(json.dumps({"done": done}), flush=True)

    def stop_requested(self) -> bool:
        """Whoever wants it to end ends the process."""
        return False


def _main(parent: str, given: str) -> None:
    confine(int(parent))
    order = json.loads(given)
    pairs = StoredPairs.from_dict(order["pairs"])
    try:
        said = {"result": _made(order, pairs)}
    except DatasetError as error:
        said = {"issues": [asdict(issue) for issue in error.issues], "num_issues": error.num_issues}
    except InvalidModel as error:
        said = {"invalid_model": str(error)}
    print(json.dumps(said), flush=True)


def _made(order: Mapping[str, Any], pairs: StoredPairs) -> Any:
    if order["cleaned"] is not None:
        return asdict(clean_file(pairs.path, Path(order["cleaned"]), mapping=pairs.mapping))
    model, held_out = order["model"], order["held_out"]
    judged = None if held_out is None else StoredPairs.from_dict(held_out)
    found = audit_file(
        pairs.path,
        mapping=pairs.mapping,
        held_out=None if judged is None else judged.path,
        held_out_mapping=None if judged is None else judged.mapping,
        counter=None if model is None else TokenCounter.of(Path(model[1]), model[0]),
        watch=_Telling(),
    )
    return found.to_dict()


if __name__ == "__main__":
    _main(*sys.argv[1:3])
