"""The file of a collection, read as a stranger's: all of it is proved before anything is stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.collection_file import DOCUMENTS, MANIFEST, ROWS_AT_ONCE, VECTORS, CollectionFile, VectorRows
from infonce.errors import DatasetError, InvalidCollection, Issue
from infonce.jsonl import IssueLog
from service.bodies import parse
from service.lines import parsed_lines
from service.schemas.collection_files import CollectionManifest, DocumentLine

_SAMPLE: Final = 4
"""Texts that are embedded again, to see whether the vectors are the model's."""
_OFF_UNIT: Final = 1e-3  # of the length; what float32 leaves of a unit vector is off by 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class ProvedCollection:
    """A file in which every part is what the manifest says, and every document one that may be stored."""

    manifest: CollectionManifest
    vectors: VectorRows
    """A row of zeros where none is known."""
    sample: dict[int, str]
    """The texts of a few rows whose vectors the model made."""
    _file: CollectionFile

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file, proved.

        Raises:
            InvalidCollection: it is no such file, or parts are not what the manifest says.
            InvalidInput: the manifest has a broken place.
            DatasetError: lines that are no documents, or vectors that are none.
        """
        file = CollectionFile.open(path)
        manifest = parse(CollectionManifest, file.manifest(), where=f"{MANIFEST}: ")
        facts, counts = manifest.collection, manifest.counts
        for name, part in ((DOCUMENTS, manifest.parts.documents), (VECTORS, manifest.parts.vectors)):
            file.check_part(name, num_bytes=part.bytes, sha256=part.sha256)
        vectors = file.vectors(counts.documents, dimension=facts.dimension)
        has_vector = _check_vectors(vectors)
        brought, sample = _check_lines(file, manifest, has_vector=has_vector)
        found = {"documents": len(has_vector), "brought": brought, "vectors": int(has_vector.sum())}
        for name, number in found.items():
            if (said := getattr(counts, name)) != number:
                raise InvalidCollection(
                    f"counts.{name} of {MANIFEST} is {said} and there are {number}; export it again"
                )
        return cls(manifest=manifest, vectors=vectors, sample=sample, _file=file)

    def documents(self) -> Iterator[DocumentLine]:
        """Each document, in the order of the rows."""
        yield from (line for _, line in _lines(self._file, IssueLog()))


def _lines(file: CollectionFile, log: IssueLog) -> Iterator[tuple[int, DocumentLine]]:
    """Number and document of each line; broken ones are counted in the log."""
    with file.documents() as stream:
        yield from parsed_lines(stream, DocumentLine, log=log)


def _check_vectors(vectors: VectorRows) -> NDArray[np.bool_]:
    """Which rows are vectors of unit length; the others are zeros.

    Raises:
        DatasetError: a row is neither.
    """
    has_vector = np.zeros(vectors.shape[0], dtype=np.bool_)
    for start in range(0, len(has_vector), ROWS_AT_ONCE):
        rows = vectors.block(start, start + ROWS_AT_ONCE).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        is_fit = (lengths == 0) | (np.abs(lengths - 1) <= _OFF_UNIT)  # NaN is neither
        if not is_fit.all():
            row = int(np.argmin(is_fit))
            detail = f"the vector of row {start + row + 1} in {VECTORS} has length {lengths[row]:.4g}; it must be 1"
            issue = Issue(line=start + row + 1, field="vector", code="invalid_value", detail=detail)
            raise DatasetError([issue])
        has_vector[start : start + ROWS_AT_ONCE] = lengths != 0
    return has_vector


def _check_lines(
    file: CollectionFile, manifest: CollectionManifest, *, has_vector: NDArray[np.bool_]
) -> tuple[int, dict[int, str]]:
    """How many documents brought their vectors, and a sample of the texts that have one by the model.

    Raises:
        InvalidCollection: there are more or fewer lines than documents.
        DatasetError: a line is no document that may be stored, or an id comes twice.
    """
    log, num, num_brought = IssueLog(), 0, 0
    sample: dict[int, str] = {}
    prints = np.zeros(len(has_vector), dtype=np.int64)
    for line, document in _lines(file, log):
        if num < len(prints):
            prints[num] = hash(document.id)
            if (misfit := _misfit(manifest, document, has_vector=bool(has_vector[num]))) is not None:
                log.add("invalid_value", misfit, line=line)
            elif document.text is not None and not document.brought and has_vector[num] and len(sample) < _SAMPLE:
                sample[num] = document.text
        num += 1
        num_brought += document.brought
    log.raise_any()
    if num != len(prints):
        message = f"{DOCUMENTS} has {num} documents and {MANIFEST} says {len(prints)}"
        raise InvalidCollection(f"{message}; export it again")
    _refuse_twins(file, prints)
    return num_brought, sample


def _misfit(manifest: CollectionManifest, document: DocumentLine, *, has_vector: bool) -> str | None:
    if document.brought and not has_vector:
        return "brought says that the client brought a vector, and its row is zeros"
    if not document.brought and document.text is None:
        return "text is missing; without one a document has to bring its vector"
    if not document.brought and manifest.collection.model is None:
        return "brought is false, and the collection has no model to embed a text with"
    if not document.brought and has_vector and manifest.collection.fingerprint is None:
        return "there is a vector of the text, and the manifest has no fingerprint of who made it"
    return None


def _refuse_twins(file: CollectionFile, prints: NDArray[np.int64]) -> None:
    """Raise where an id stands twice: hashes tell which few may, and those are looked at."""
    found, counts = np.unique(prints, return_counts=True)
    suspects = set(found[counts > 1].tolist())
    seen: dict[str, int] = {}
    for line, document in _lines(file, IssueLog()) if suspects else ():
        if hash(document.id) in suspects and (first := seen.setdefault(document.id, line)) != line:
            detail = f"id {document.id[:80]!r} stands on line {first} too; each document has its own"
            raise DatasetError([Issue(line=line, field="id", code="duplicate_id", detail=detail)])
