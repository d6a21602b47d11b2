"""A collection as it is at one moment, as parts of its file: all that the database knows of it.

A vector that only the index has is a row of zeros here; the child, which may load an index, fills it in.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from infonce.collection_file import DOCUMENTS, VECTORS
from infonce.errors import Stopped
from service.store import brought, changes, documents
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Tx

_AT_ONCE: Final = 500
"""Documents in memory, and between two questions whether to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What was written."""

    facts: dict[str, Any]
    """As the manifest will say them, but for how many vectors there are."""
    num_indexed: int
    """So many rows, the first ones, were written before the index was made; it has what it has of them as they are."""


def write_snapshot(
    tx: Tx, collection: CollectionRecord, *, version: VersionRecord | None, folder: Path, stop: Callable[[], bool]
) -> Snapshot:
    """Documents and vectors lie in the folder, in the order in which they were written.

    Raises:
        Stopped: `stop()` was true between two documents.
    """
    fingerprint = changes.fingerprint_of(tx, collection.id) if version is None else version.fingerprint
    watermark = 0 if version is None else version.watermark
    stretches, brought_for = brought.of_collection(tx, collection.id), list[dict[str, Any]]()
    num = num_brought = num_indexed = 0
    found = documents.iterate(tx, collection.id, watermark=collection.watermark)
    folder.mkdir()
    with (folder / DOCUMENTS).open("w", encoding="utf-8") as lines, (folder / VECTORS).open("wb") as vectors:
        while batch := list(islice(found, _AT_ONCE)):
            if stop():
                raise Stopped("stopped while documents were read")
            ids = [one.id for one in batch if one.vector is None]
            known = {}
            if fingerprint is not None:
                known = changes.vectors_of(tx, collection.id, fingerprint=fingerprint, ids=ids)
            for row, one in enumerate(batch, start=num):
                if one.vector is not None:
                    encoding = asdict(brought.encoding_of(stretches, one.sequence))
                    if not brought_for or not encoding.items() <= brought_for[-1].items():
                        brought_for.append({"row": row, **encoding})
                said = {"id": one.id, "text": one.text, "metadata": dict(one.metadata)}
                lines.write(json.dumps({**said, "brought": one.vector is not None}) + "\n")
                vectors.write(one.vector or known.get(one.id) or bytes(4 * collection.dimension))
            num += len(batch)
            num_brought += len(batch) - len(ids)
            num_indexed += sum(one.sequence <= watermark for one in batch)
    told: dict[str, Any] = {"name": collection.name, "model": collection.model, "fingerprint": fingerprint}
    told |= {
        "dimension": collection.dimension,
        "index": dict(collection.asked_index),
        "metadata": dict(collection.metadata),
    }
    counts = {"documents": num, "brought": num_brought}
    facts = {"collection": told, "counts": counts, "brought_for": brought_for}
    return Snapshot(facts=facts, num_indexed=num_indexed)
