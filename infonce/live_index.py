"""An immutable index and what was written since: searched as one, each document in its newest state.

A `LiveIndex` never changes. `with_changes` gives the next one, which shares almost all memory with it, so that searches
go on in the old one while it is made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from infonce.columns import Columns, Mask
from infonce.errors import IndexCorrupt, IndexMismatch
from infonce.filters import Filter, keys_of
from infonce.id_table import IdTable
from infonce.index import Hits, VectorIndex
from infonce.ranking import highest

COLUMNS_FILE: Final = "columns.npz"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A document as it is after a write; without a vector it is gone."""

    id: str
    vector: NDArray[np.float32] | None
    """(D,), unit length."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Main:
    """An index with the metadata of its documents, row by row."""

    index: VectorIndex
    columns: Columns

    @classmethod
    def empty(cls, dimension: int) -> Self:
        """No document yet."""
        none = np.empty((0, dimension), dtype=np.float32)
        return cls(index=VectorIndex.build(none, []), columns=Columns(0))

    @classmethod
    def load(cls, folder: Path, *, is_proven: bool = False) -> Self:
        """What `save` wrote; a folder of an earlier version has no columns, as if no document had metadata.

        `is_proven`: the caller has just compared its files with their checksums.

        Raises:
            IndexCorrupt: a file is missing, changed, or says something else than the manifest.
        """
        index, path = VectorIndex.load(folder, is_proven=is_proven), folder / COLUMNS_FILE
        if not path.is_file():
            return cls(index=index, columns=Columns(index.count))
        try:
            columns = Columns.load(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IndexCorrupt(f"{folder.name}/{COLUMNS_FILE} cannot be read; rebuild the index") from error
        if columns.count != index.count:
            raise IndexCorrupt(f"{folder.name}/{COLUMNS_FILE} is not of this index; rebuild the index")
        return cls(index=index, columns=columns)

    def save(self, folder: Path) -> None:
        """Index and columns stand in the folder."""
        self.index.save(folder)
        self.columns.save(folder / COLUMNS_FILE)

    @cached_property
    def table(self) -> IdTable:
        """The rows of its ids."""
        return IdTable(self.index.ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Newer:
    """Documents that were written since, of which some are outdated again."""

    ids: Sequence[str]
    metadata: Sequence[Mapping[str, Any]]
    vectors: NDArray[np.float32]
    """(capacity, D); rows beyond the ids belong to a later state."""
    rows: Mapping[str, int]
    """Of the newest state of each id."""
    current: Mask
    """(len(ids),): what is neither outdated nor deleted."""
    columns: Columns
    """Of the first of them, as far as an earlier state had to know them."""


@dataclass(frozen=True, kw_only=True)
class LiveIndex:
    """A main index, without those of its rows that are outdated, and newer documents."""

    main: Main
    outdated: Mask
    """(main.index.count,)"""
    newer: _Newer

    @classmethod
    def over(cls, main: Main) -> Self:
        """The main index as it is."""
        none = np.empty((0, main.index.dimension), dtype=np.float32)
        newer = _Newer(
            ids=[], metadata=[], vectors=none, rows={}, current=np.zeros(0, dtype=np.bool_), columns=Columns(0)
        )
        return cls(main=main, outdated=np.zeros(main.index.count, dtype=np.bool_), newer=newer)

    @property
    def count(self) -> int:
        """How many documents can be found."""
        return int(self.main.index.count - np.count_nonzero(self.outdated) + np.count_nonzero(self.newer.current))

    def count_of(self, asked: Filter) -> int:
        """How many documents that can be found pass the filter."""
        return sum(int(np.count_nonzero(mask)) for mask in self.findable(asked))

    def findable(self, asked: Filter | None = None) -> tuple[Mask, Mask]:
        """Which rows of the main index, and which newer documents, can be found and pass the filter."""
        main, newer = ~self.outdated, self.newer.current
        if asked is None:
            return main, newer
        return main & self.main.columns.mask(asked), newer & self._newer_columns.mask(asked)

    def ids_of(self, rows: NDArray[np.int64]) -> list[str]:
        """The ids of rows, those of newer documents counted on behind those of the main index."""
        inside = self.main.index.count
        return [self.main.index.ids[row] if row < inside else self.newer.ids[row - inside] for row in rows.tolist()]

    def with_changes(self, changes: Iterable[Change]) -> Self:
        """The state after these writes, in their order.

        Raises:
            IndexMismatch: a vector has another dimension.
        """
        outdated, newer = self.outdated.copy(), self.newer
        ids, metadata, rows = list(newer.ids), list(newer.metadata), dict(newer.rows)
        stale, vectors = [], []
        for change in changes:
            row = self.main.table.row(change.id)
            if row is not None:
                outdated[row] = True
            if (old := rows.pop(change.id, None)) is not None:
                stale.append(old)
            if change.vector is None:
                continue
            if change.vector.shape != (self.main.index.dimension,):
                told = f"the index has {self.main.index.dimension} dimensions, document {change.id!r} has"
                raise IndexMismatch(f"{told} {change.vector.shape[-1]}")
            rows[change.id] = len(ids)
            ids.append(change.id)
            metadata.append(change.metadata)
            vectors.append(change.vector)
        current = np.ones(len(ids), dtype=np.bool_)
        current[: len(newer.ids)] = newer.current
        current[stale] = False
        kept = _extended(newer.vectors, len(newer.ids), more=vectors)
        columns = vars(self).get("_newer_columns", self.newer.columns)  # if somebody has asked for them
        newer = _Newer(ids=ids, metadata=metadata, vectors=kept, rows=rows, current=current, columns=columns)
        return replace(self, outdated=outdated, newer=newer)

    def vector(self, id: str) -> NDArray[np.float32] | None:
        """The document's vector, if it can be found; (D,)."""
        if (row := self.newer.rows.get(id)) is not None:
            newest: NDArray[np.float32] = self.newer.vectors[row]
            return newest
        row = self.main.table.row(id)
        if row is None or self.outdated[row]:
            return None
        found: NDArray[np.float32] = self.main.index.vectors[row]
        return found

    def sample(self, count: int, *, seed: int = 0) -> list[str]:
        """So many ids of documents that can be found, drawn at random, or all of them; in their order."""
        newer = self.main.index.count + np.flatnonzero(self.newer.current)
        rows = np.concatenate([np.flatnonzero(~self.outdated), newer])
        if len(rows) > count:
            rows = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
        return self.ids_of(rows)

    def unknown_keys(self, asked: Filter) -> list[str]:
        """Those metadata keys of the filter that no document has which can be found, in their order."""
        main, newer = self.findable()
        return [
            key
            for key in dict.fromkeys(keys_of(asked))
            if not self.main.columns.has(key, among=main) and not self._newer_columns.has(key, among=newer)
        ]

    def search(
        self, vectors: NDArray[np.float32], k: int, *, asked: Filter | None = None, exact: bool = False
    ) -> list[Hits]:
        """The `k` best documents of each query that pass the filter, or all there are; scores are exact.

        Shape:
            vectors (n, D) float32.
        Raises:
            IndexMismatch: another dimension, or a number that is not finite.
        """
        main, newer = self.findable(asked)
        found = self.main.index.search(vectors, k, allowed=None if main.all() else main, exact=exact)
        room = min(k, int(np.count_nonzero(newer)))
        if not room:
            return found
        scores = vectors @ self.newer.vectors[: len(newer)].T  # (n, len(newer))
        scores[:, ~newer] = -np.inf
        best = [highest(line, room) for line in scores]
        return [
            _merged(hits, Hits(tuple(self.newer.ids[at] for at in order), tuple(map(float, score[order]))), k=k)
            for hits, order, score in zip(found, best, scores, strict=True)
        ]

    @cached_property
    def _newer_columns(self) -> Columns:
        known = self.newer.columns
        return known.extended(self.newer.metadata[known.count :])


def _extended(vectors: NDArray[np.float32], count: int, *, more: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The first `count` rows and then the new ones; room is doubled, so that growing costs little a row.

    The array is shared with the state before, which never looks at the rows behind its own.
    """
    total = count + len(more)
    if total > len(vectors):
        grown = np.empty((max(total, 2 * len(vectors), 64), vectors.shape[1]), dtype=np.float32)
        grown[:count] = vectors[:count]
        vectors = grown
    if more:
        vectors[count:total] = more
    return vectors


def _merged(one: Hits, newer: Hits, *, k: int) -> Hits:
    """The `k` best of both, best first."""
    pairs = sorted(
        [*zip(one.scores, one.ids, strict=True), *zip(newer.scores, newer.ids, strict=True)], key=lambda pair: -pair[0]
    )[:k]
    return Hits(tuple(id for _, id in pairs), tuple(score for score, _ in pairs), one.is_exact)
