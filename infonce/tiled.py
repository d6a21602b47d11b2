"""InfoNCE over in-batch and shared hard negatives that holds one tile of the logits at a time, never the matrix.

One pass over the tiles gathers the sums of exponentials of rows and columns together; the backward pass computes the
tiles again. Both take O(B·D + tile²) memory beside the inputs and the mask, and the gradients are exact.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from infonce.errors import ConfigError
from infonce.loss_config import LossConfig
from infonce.masks import Tile, tile_mask

DEFAULT_SIDE: Final = 1024
"""Products run at full speed from about this side on, and its two buffers take 8 MB. A matrix that fits into one such
tile is held by "auto"; beyond, tiles were no slower on a CPU in either form (docs/log.md)."""


def tile_side(num_anchors: int, num_candidates: int, *, config: LossConfig) -> int:
    """The side of a tile of logits, or 0 where the whole matrix should be held."""
    if config.tile_size != "auto":
        return config.tile_size
    return DEFAULT_SIDE if num_anchors * num_candidates > DEFAULT_SIDE**2 else 0


def tiled_info_nce(
    anchors: Tensor,
    candidates: Tensor,
    *,
    also_positive: Tensor | None,
    temperature: float | Tensor,
    symmetric: bool,
    side: int,
) -> Tensor:
    """The mean InfoNCE loss, equal to that of the whole matrix.

    Shape:
        anchors (B, D), candidates (C, D) of which the first B are the anchors' positives; also_positive (B, C) bool,
        dense or sparse COO; temperature of one element. Returns a scalar.
    Raises:
        ConfigError: in the backward pass, if a second derivative is asked for (`create_graph`).
    """
    if not isinstance(temperature, Tensor):  # in float64, for 0.05 in float32 would move a float64 loss by 1e-8
        temperature = torch.tensor(temperature, dtype=torch.float64)
    form = _Form(side=side, symmetric=symmetric, mask=tile_mask(also_positive, side))
    loss: Tensor = _TiledInfoNCE.apply(anchors, candidates, temperature, form)  # type: ignore[no-untyped-call]
    return loss


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """What the loss is, beside its tensors."""

    side: int
    symmetric: bool
    mask: Callable[[Tile], object] | None
    """Sets the masked logits of a tile to minus infinity; a label among them is put back."""

    def tiles(self, anchors: Tensor, candidates: Tensor, *, scale: float) -> Iterator[Tile]:
        """Every tile of the scaled and masked logits once, all of them in the same memory."""
        area = min(self.side, len(anchors)) * min(self.side, len(candidates))
        buffers = anchors.new_empty(2, area)
        for rows in _slices(len(anchors), self.side):
            for columns in _slices(len(candidates), self.side):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                logits, scratch = (buffer[: math.prod(shape)].view(shape) for buffer in buffers)
                torch.addmm(logits, anchors[rows], candidates[columns].T, beta=0, alpha=scale, out=logits)
                tile = Tile(rows=rows, columns=columns, logits=logits, scratch=scratch)
                self._hide(tile)
                yield tile

    def _hide(self, tile: Tile) -> None:
        if self.mask is None:
            return
        labels = tile.logits.diagonal()
        kept = labels.clone()
        self.mask(tile)
        if tile.has_labels:
            labels.copy_(kept)


class _TiledInfoNCE(torch.autograd.Function):
    """The loss of anchors, candidates and temperature, with nothing of the size of the matrix kept in between."""

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, candidates: Tensor, temperature: Tensor, form: _Form) -> Tensor:
        ctx.save_for_backward(anchors, candidates, temperature)
        with torch.autocast(anchors.device.type, enabled=False):
            scale = 1 / float(temperature)
            labels = _dots(anchors, candidates[: len(anchors)]) * scale  # (B,)
            partition = _partition(anchors, candidates, labels=labels, scale=scale, symmetric=form.symmetric)
            for tile in form.tiles(anchors, candidates, scale=scale):
                if tile.has_labels:  # those that the sums hold, to the last bit
                    labels[tile.rows] = tile.logits.diagonal()
                partition.add(tile)
            ctx.form, ctx.partition = form, partition
            return (partition.mean_log() - _wide(labels).mean()).to(anchors.dtype)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():  # create_graph, under which `once_differentiable` would drop the term in silence
            raise ConfigError(
                "the loss in tiles is differentiated once; set tile_size to 0 for more", param="tile_size"
            )
        anchors, candidates, temperature = ctx.saved_tensors
        for_anchors, for_candidates, for_temperature, _ = ctx.needs_input_grad
        # Logits are linear in the vectors as in 1/temperature: its gradient is read off that of either vectors.
        by_anchors = torch.zeros_like(anchors) if for_anchors or not for_candidates else None
        by_candidates = torch.zeros_like(candidates) if for_candidates else None
        with torch.autocast(anchors.device.type, enabled=False):
            _add_gradients(ctx, by_anchors, by_candidates=by_candidates)
            both = ((anchors, by_anchors), (candidates, by_candidates))
            held = [(vectors, gradient.mul_(grad_loss)) for vectors, gradient in both if gradient is not None]
            inner = _wide(_dots(*held[0])).sum()
            by_temperature = (-inner / temperature).to(temperature) if for_temperature else None
        return by_anchors if for_anchors else None, by_candidates, by_temperature, None


def _add_gradients(ctx: Any, by_anchors: Tensor | None, *, by_candidates: Tensor | None) -> None:
    """Add the gradients of the loss to the tensors that are there."""
    anchors, candidates, temperature = ctx.saved_tensors
    num_directions = 2 if ctx.form.symmetric else 1
    scale = 1 / float(temperature)
    weight = scale / (num_directions * len(anchors))
    for tile in ctx.form.tiles(anchors, candidates, scale=scale):
        ctx.partition.to_shares(tile)
        if tile.has_labels:
            tile.logits.diagonal().sub_(num_directions)
        if by_anchors is not None:
            by_anchors[tile.rows].addmm_(tile.logits, candidates[tile.columns], alpha=weight)
        if by_candidates is not None:
            by_candidates[tile.columns].addmm_(tile.logits.T, anchors[tile.rows], alpha=weight)


@dataclass(frozen=True, kw_only=True, slots=True)
class _OneReference:
    """Sums of exp(logit - reference), the same for all: one exponential a logit serves its row and its column."""

    reference: float
    rows: Tensor  # (B,)
    columns: Tensor  # (B,), or (0,) in one direction; hard negatives have none

    def add(self, tile: Tile) -> None:
        """Add a tile's exponentials to the sums; its logits are lost."""
        exps = self._exp(tile.logits)
        self.rows[tile.rows] += exps.sum(dim=1)
        columns = self.columns[tile.columns]
        columns += exps[:, : len(columns)].sum(dim=0)

    def to_shares(self, tile: Tile) -> None:
        """Turn a tile's logits into their softmax over the row plus that over the column."""
        exps, columns = self._exp(tile.logits), self.columns[tile.columns]
        share = self.rows[tile.rows, None].reciprocal()  # (rows, 1)
        if len(columns):
            by_column = F.pad(columns.reciprocal(), (0, exps.shape[1] - len(columns)))
            share = torch.add(share, by_column, out=tile.scratch)
        exps.mul_(share)

    def mean_log(self) -> Tensor:
        """The mean log-sum-exp of rows and columns."""
        return self.reference + _wide(torch.cat([self.rows, self.columns])).log().mean()

    def _exp(self, logits: Tensor) -> Tensor:
        return (logits.sub_(self.reference) if self.reference else logits).exp_()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """Sums of exp(logit - largest) along one side of the matrix, each relative to the largest that it has met."""

    largest: Tensor  # (B,)
    sums: Tensor  # (B,)

    def add(self, part: slice, logits: Tensor, *, dim: int, scratch: Tensor) -> None:
        """Add exponentials and move to the new largest logit where there is one."""
        before = self.largest[part]
        largest = torch.maximum(before, logits.amax(dim=dim))
        exps = torch.sub(logits, largest.unsqueeze(dim), out=scratch).exp_()
        self.sums[part] = self.sums[part] * torch.exp(before - largest) + exps.sum(dim=dim)
        self.largest[part] = largest

    def shares(self, part: slice, logits: Tensor, *, dim: int, out: Tensor) -> Tensor:
        """The softmax along `dim`, written to `out`."""
        exps = torch.sub(logits, self.largest[part].unsqueeze(dim), out=out).exp_()
        return exps.mul_(self.sums[part].reciprocal().unsqueeze(dim))


@dataclass(frozen=True, kw_only=True, slots=True)
class _OwnReferences:
    """The sums where logits lie too far apart for one reference; at the price of a second exponential a logit."""

    rows: _Sums
    columns: _Sums  # empty in one direction

    def add(self, tile: Tile) -> None:
        """Add a tile's exponentials to the sums."""
        self.rows.add(tile.rows, tile.logits, dim=1, scratch=tile.scratch)
        if width := len(self.columns.sums[tile.columns]):
            self.columns.add(tile.columns, tile.logits[:, :width], dim=0, scratch=tile.scratch[:, :width])

    def to_shares(self, tile: Tile) -> None:
        """Turn a tile's logits into their softmax over the row plus that over the column."""
        width = len(self.columns.sums[tile.columns])
        in_batch, by_column = tile.logits[:, :width], tile.scratch[:, :width]
        self.columns.shares(tile.columns, in_batch, dim=0, out=by_column)
        self.rows.shares(tile.rows, tile.logits, dim=1, out=tile.logits)
        in_batch += by_column

    def mean_log(self) -> Tensor:
        """The mean log-sum-exp of rows and columns."""
        logs = [_wide(side.sums).log() + _wide(side.largest) for side in (self.rows, self.columns)]
        return torch.cat(logs).mean()


def _partition(
    anchors: Tensor, candidates: Tensor, *, labels: Tensor, scale: float, symmetric: bool
) -> _OneReference | _OwnReferences:
    """Empty sums: with one reference if nothing that counts can leave the numbers, else with one for each."""
    columns = labels if symmetric else labels[:0]
    reference = _one_reference(anchors, candidates, labels=labels, scale=scale)
    if reference is not None:
        return _OneReference(reference=reference, rows=torch.zeros_like(labels), columns=torch.zeros_like(columns))
    # A label is never masked: starting from it, the largest is finite even where all else is masked.
    each = [_Sums(largest=start.clone(), sums=torch.zeros_like(start)) for start in (labels, columns)]
    return _OwnReferences(rows=each[0], columns=each[1])


def _one_reference(anchors: Tensor, candidates: Tensor, *, labels: Tensor, scale: float) -> float | None:
    """The whole number nearest to 0 that suits every row and column, or None.

    No logit is above the product of the largest norms, and every sum is at least the exponential of its label.
    """
    highest = torch.linalg.vector_norm(anchors, dim=1).max() * torch.linalg.vector_norm(candidates, dim=1).max() * scale
    upper, lower = torch.stack([highest, labels.min()]).tolist()  # read together: a GPU waits once
    limits = torch.finfo(labels.dtype)
    room, num_terms = -math.log(limits.tiny), math.log(len(candidates))
    least = upper + num_terms + 1 - room  # the sums and their inverses are normal numbers
    most = lower - num_terms - 1 + math.log(limits.eps) + room  # what underflows is lost in the rounding of the sum
    if not least <= most < math.inf:
        return None
    return float(round(min(max(0.0, least), most)))  # a whole number is the same in float32


def _slices(length: int, side: int) -> list[slice]:
    return [slice(start, min(start + side, length)) for start in range(0, length, side)]


def _dots(left: Tensor, right: Tensor) -> Tensor:
    """The inner products of rows; as a batched product, for `linalg.vecdot` makes a copy of the size of the input."""
    return torch.bmm(left[:, None], right[:, :, None]).flatten()  # (B,)


def _wide(tensor: Tensor) -> Tensor:
    """In float64 where the device has it: a loss near 0 is the difference of two numbers near 1/temperature."""
    return tensor if tensor.device.type == "mps" else tensor.double()
