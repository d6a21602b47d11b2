"""A collection becomes one file: the vectors that its index has join the documents, and all of it is packed."""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from infonce.collection_file import DOCUMENTS, ROWS_AT_ONCE, VECTORS, VectorRows, pack_collection
from infonce.errors import IndexCorrupt, Stopped
from infonce.id_table import IdTable
from infonce.index import VectorIndex
from service.store.artifacts import EXPORTED_COLLECTION
from worker.progress import Progress


def export_collection(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The file is in the staging folder."""
    folder, facts = Path(order["parts"]), order["facts"]
    counts = facts["counts"]
    vectors = VectorRows(folder / VECTORS, 0, shape=(counts["documents"], facts["collection"]["dimension"]))
    if order["index"] is not None:
        fill_in(vectors, order, progress=progress)
    blocks = (vectors.block(at, at + ROWS_AT_ONCE) for at in range(0, counts["documents"], ROWS_AT_ONCE))
    counts = {**counts, "vectors": sum(int(block.any(axis=1).sum()) for block in blocks)}
    target = Path(order["staging"]) / EXPORTED_COLLECTION
    pack_collection(folder, target, facts={**facts, "counts": counts}, stop=progress.stop_requested)
    return counts


def fill_in(vectors: VectorRows, order: Mapping[str, Any], *, progress: Progress) -> None:
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
    table, folder, start = IdTable(index.ids), Path(order["parts"]), 0
    with (folder / DOCUMENTS).open(encoding="utf-8") as lines, (folder / VECTORS).open("r+b") as file:
        known = islice(lines, order["index"]["rows"])
        while told := [(one["id"], one["brought"]) for one in map(json.loads, islice(known, ROWS_AT_ONCE))]:
            if progress.stop_requested():
                raise Stopped("stopped while vectors were read")
            block = vectors.block(start, start + len(told))
            for row, (id, brought) in enumerate(told):
                if not brought and (place := table.row(id)) is not None:
                    block[row] = index.vectors[place]
            file.seek(4 * start * vectors.shape[1])
            file.write(block.tobytes())
            start += len(told)
