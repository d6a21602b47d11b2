"""The mask of known false negatives as the tiles of the logits need it: a rectangle at a time, never made dense."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infonce.errors import LossInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A rectangle of logits in memory that the next tile overwrites, and room for as much again."""

    rows: slice
    columns: slice
    logits: Tensor
    scratch: Tensor

    @property
    def has_labels(self) -> bool:
        """Whether the labels of its rows are its diagonal; they are nowhere else, for tiles are square."""
        return bool(self.rows.start == self.columns.start)


def tile_mask(also_positive: Tensor | None, side: int) -> Callable[[Tile], object] | None:
    """What sets the masked logits of a tile to minus infinity; None where nothing is masked.

    Shape:
        also_positive (B, C) bool, dense or sparse COO.
    Raises:
        LossInputError: when a tile is masked, if a dense mask was changed since.
    """
    if also_positive is None or also_positive.is_sparse:
        return None if also_positive is None else _sparse_mask(also_positive, side)
    version = None if also_positive.is_inference() else also_positive._version

    def mask(tile: Tile) -> None:
        if version is not None and also_positive._version != version:  # the backward pass reads it again
            message = f"also_positive {tuple(also_positive.shape)} was changed between the loss and its backward pass"
            raise LossInputError(f"{message}; expected the same mask: give a copy, or set tile_size to 0")
        tile.logits.masked_fill_(also_positive[tile.rows, tile.columns], -math.inf)

    return mask


def _sparse_mask(also_positive: Tensor, side: int) -> Callable[[Tile], object]:
    """The coordinates of a sparse mask, sorted by tile once; it is never made dense."""
    entries = also_positive.coalesce()
    rows, columns = entries.indices()[:, entries.values()]  # (K,) each
    num_down, num_across = (-(-length // side) for length in also_positive.shape)
    tiles, order = torch.sort(rows // side * num_across + columns // side)
    starts = torch.searchsorted(tiles, torch.arange(num_down * num_across + 1, device=tiles.device)).tolist()
    rows, columns = rows[order] % side, columns[order] % side

    def mask(tile: Tile) -> None:
        number = tile.rows.start // side * num_across + tile.columns.start // side
        part = slice(starts[number], starts[number + 1])
        tile.logits[rows[part], columns[part]] = -math.inf

    return mask
