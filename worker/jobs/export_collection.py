"""A collection becomes one file: the vectors that its index has join the documents, and all of it is packed."""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infonce.collection_file import DOCUMENTS, ROWS_AT_ONCE, VECTORS, pack_collection
from infonce.errors import IndexCorrupt, Stopped
from infonce.id_table import IdTable
from infonce.index import VectorIndex
from service.store.artifacts import EXPORTED_COLLECTION
from worker.progress import Progress


def export_collection(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The file is in the staging folder."""
    folder, facts = Path(order["parts"]), order["facts"]
    counts, dimension = facts["counts"], facts["collection"]["dimension"]
    num_vectors = 0
    if counts["documents"]:  # nothing cannot be mapped
        vectors: NDArray[np.float32] = np.memmap(folder / VECTORS, dtype="<f4", mode="r+").reshape(-1, dimension)
        if order["index"] is not None:
            fill_in(vectors, order, progress=progress)
        blocks = (vectors[at : at + ROWS_AT_ONCE] for at in range(0, len(vectors), ROWS_AT_ONCE))
        num_vectors = sum(int(block.any(axis=1).sum()) for block in blocks)
        del vectors  # what was written is in the file
    counts = {**counts, "vectors": num_vectors}
    target = Path(order["staging"]) / EXPORTED_COLLECTION
    pack_collection(folder, target, facts={**facts, "counts": counts}, stop=progress.stop_requested)
    return counts


def fill_in(vectors: NDArray[np.float32], order: Mapping[str, Any], *, progress: Progress) -> None:
    """Rows of texts that the index has are its vectors; of a damaged index none are, and their texts tell enough.

    Raises:
        Stopped: somebody wants an end.
    """
    try:
        index = VectorIndex.load(Path(order["index"]["path"]))
    except IndexCorrupt as error:
        message = f"Texts are exported without the vectors that the index had: {error}."
        progress.event("warn", "index", message=message)
        return
    table = IdTable(index.ids)
    with (Path(order["parts"]) / DOCUMENTS).open(encoding="utf-8") as lines:
        for row, line in enumerate(islice(lines, order["index"]["rows"])):
            if row % ROWS_AT_ONCE == 0 and progress.stop_requested():
                raise Stopped("stopped while vectors were read")
            document = json.loads(line)
            place = None if document["brought"] else table.row(document["id"])
            if place is not None:
                vectors[row] = index.vectors[place]
