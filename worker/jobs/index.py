"""A collection's documents become an index; embeddings that were computed once are not computed again."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from infonce.bm25 import Bm25Index
from infonce.columns import Columns
from infonce.config import Precision, Side
from infonce.encoder import Encoder
from infonce.errors import IndexCorrupt, IndexMismatch
from infonce.id_table import IdTable
from infonce.index import VectorIndex
from infonce.index_config import PQ_CENTRES, IndexConfig, IndexType
from infonce.layout import read_prefixes
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from infonce.prefixes import shortest_prefix
from infonce.vectors import CachedEncoder
from service.store.records import Phase
from worker.jobs.early import EarlyBlocks
from worker.jobs.embedding import cached, serving_precision, use_threads
from worker.progress import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """The documents of an order: a row each, and the texts of those rows that have no vector yet."""

    ids: list[str]
    vectors: NDArray[np.float32]
    """(n, D); rows of texts are still to be filled."""
    texts: dict[int, str]
    sequences: list[int]
    """When each was written."""
    embedded: dict[int, str]
    """Vectors of texts that were made when the texts came, as base64."""
    columns: Columns
    """Their metadata."""

    @classmethod
    def read(cls, path: Path, dimension: int) -> Self:
        """The documents of the file that the parent wrote.

        Raises:
            IndexMismatch: a vector has another dimension.
        """
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        vectors = np.zeros((len(rows), dimension), dtype=np.float32)
        texts: dict[int, str] = {}
        for number, row in enumerate(rows):
            if row["vector"] is None:
                texts[number] = row["text"]
            else:
                vectors[number] = _vector(row["vector"], row["id"], dimension=dimension)
        return cls(
            ids=[row["id"] for row in rows],
            vectors=vectors,
            texts=texts,
            sequences=[row["sequence"] for row in rows],
            embedded={number: row["embedded"] for number, row in enumerate(rows) if row["embedded"] is not None},
            columns=Columns.build([row["metadata"] for row in rows]),
        )


def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """The index over the order's documents is in the staging folder."""
    use_threads(order["threads"])
    progress.phase(Phase.LOADING)
    documents = Documents.read(Path(order["documents"]), order["dimension"])
    fingerprint, precision, reused, embedded = None, None, 0, 0
    if order["model"] is not None:
        encoder = Encoder.load(Path(order["model"]["path"]))
        fingerprint = encoder.fingerprint()
        root = Path(order["vectors_root"])
        precision = serving_precision(encoder, root, wanted=Precision(order["precision"]))
        source = cached(encoder, root, precision=precision, progress=progress)
        progress.phase(Phase.EMBEDDING)
        reused = take_known(documents, order, fingerprint=fingerprint, progress=progress)
        embed(documents, source, early=EarlyBlocks(order, progress, fingerprint=fingerprint))
        reused, embedded = reused + source.reused, source.computed
    progress.phase(Phase.BUILDING)
    config = _config(order, documents.vectors, progress=progress)
    index = VectorIndex.build(documents.vectors, documents.ids, fingerprint=fingerprint, config=config)
    staging = Path(order["staging"])
    Main(index=index, columns=documents.columns).save(staging)
    if order["model"] is not None:  # without one no text can be asked for
        Bm25Index.build(texts_in(Path(order["documents"]))).save(staging / WORDS_FOLDER)
    return {
        "count": index.count,
        "dimension": index.dimension,
        "fingerprint": fingerprint,
        "index": {"type": index.type.value, "prefix": None if index.is_exact else config.prefix},
        "precision": precision,
        "reused": reused,
        "embedded": embedded,
    }


def _config(order: Mapping[str, Any], vectors: NDArray[np.float32], *, progress: Progress) -> IndexConfig:
    """The order's, with what `auto` comes to for these vectors."""
    asked, (count, dimension) = order["index"], vectors.shape
    type = IndexType(asked["type"])
    if type is IndexType.IVF_PQ and count < PQ_CENTRES:
        message = f"Until there are {PQ_CENTRES} documents, as ivf_pq needs, all {count} are compared."
        progress.event("info", "index", message=message)
        type = IndexType.FLAT
    config = IndexConfig(type=type).resolve(count, dimension=dimension)
    if config.type is IndexType.FLAT:  # which compares whole vectors
        return config
    prefix = asked["prefix"]
    if prefix == "auto":
        is_rough = config.type is IndexType.IVF_PQ  # its candidates are, without leaving anything out before
        trained = () if is_rough or order["model"] is None else read_prefixes(Path(order["model"]["path"]))
        prefix = shortest_prefix(vectors, trained, config=config)
    return replace(config, prefix=prefix).resolve(count, dimension=dimension)


def texts_in(path: Path) -> list[str]:
    """The text of each document of the file, empty where it has none; those that were embedded are read again."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] or "" for line in lines]


def take_known(documents: Documents, order: Mapping[str, Any], *, fingerprint: str, progress: Progress) -> int:
    """Vectors that this encoder made of a text when it came, or for the index that answers now, are not made again."""
    before = len(documents.texts)
    if order["embedded_by"] == fingerprint:
        for row, coded in documents.embedded.items():
            documents.vectors[row] = _vector(coded, documents.ids[row], dimension=documents.vectors.shape[1])
            del documents.texts[row]
    previous = order["previous"]
    if previous is not None and documents.texts:
        try:
            index = VectorIndex.load(Path(previous["path"]))
        except IndexCorrupt as error:
            progress.event("warn", "index", message=f"All texts are embedded again: {error}.")
            return before - len(documents.texts)
        if index.fingerprint == fingerprint:
            table = IdTable(index.ids)
            for row in list(documents.texts):
                place = table.row(documents.ids[row])
                if place is not None and documents.sequences[row] <= previous["watermark"]:
                    documents.vectors[row] = index.vectors[place]
                    del documents.texts[row]
    return before - len(documents.texts)


def embed(documents: Documents, source: CachedEncoder, *, early: EarlyBlocks) -> None:
    """Every row of a text holds its vector, and those that hold it first are told first.

    Raises:
        IndexMismatch: the model's vectors have another dimension than the collection's.
    """
    rows, start = list(documents.texts), 0
    for vectors in source.encode_in_order(list(documents.texts.values()), side=Side.DOCUMENT):
        if vectors.shape[1] != documents.vectors.shape[1]:
            sizes = f"{documents.vectors.shape[1]} dimensions and its model {vectors.shape[1]}"
            raise IndexMismatch(f"the collection has {sizes}; make a new collection for this model")
        some = rows[start : start + len(vectors)]
        documents.vectors[some] = vectors
        early.tell({documents.ids[row]: documents.sequences[row] for row in some}, vectors)
        start += len(vectors)


def _vector(coded: str, id: str, *, dimension: int) -> NDArray[np.float32]:
    vector = np.frombuffer(base64.b64decode(coded), dtype="<f4")
    if len(vector) != dimension:
        found = f"the vector of document {id!r} has {len(vector)} dimensions"
        raise IndexMismatch(f"{found}, the collection has {dimension}")
    return vector
