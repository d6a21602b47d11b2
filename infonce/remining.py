"""The hard negatives of a run, looked for with the model as it is: before the first step, and again between epochs.

ANCE (Xiong et al. 2020, arXiv 2007.00808) looks for them again as the model learns, because what was hard for the base
model is soon easy. Only the negatives change: every text that may become one was tokenised before the first step.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from infonce.batches import PairTable
from infonce.config import TrainConfig
from infonce.distributed import Processes
from infonce.encoder import Encoder
from infonce.joint import check_negatives
from infonce.judging import AsItIsNow
from infonce.mining import mine
from infonce.mining_config import MiningConfig
from infonce.pairs import Pair
from infonce.prepare import Prepared
from infonce.records import Beside, Progress
from infonce.run_state import Tensors

_NEVER: Final = -1


class Remining:
    """The table of a run's pairs with the negatives of this moment, which are a part of the run's state."""

    def __init__(self, encoder: Encoder, ready: Prepared, *, pairs: Sequence[Pair], beside: Beside) -> None:
        self._encoder = encoder
        self._ready = ready
        self._pairs = [pair for pair, kept in zip(pairs, ready.kept, strict=True) if kept]
        self._beside = beside
        self._table = ready.table
        self._mined_epoch = _NEVER

    def table(self, epoch: int, step: int, *, progress: Progress) -> PairTable:
        """The table for a step of that epoch; if its negatives were to be looked for, they have been.

        Raises:
            ConfigError: the loss needs negatives, and too few were found.
            Stopped: the run should end.
        """
        config = self._ready.config
        if config.mine is not None:
            every = config.mine_every_epochs
            due = 0 if every is None else epoch - epoch % every
            if due != self._mined_epoch:
                self._table = self._mined(config.mine, config, step=step, progress=progress)
                self._mined_epoch = due
        return self._table

    def tensors(self) -> dict[str, Tensor]:
        """What a run that goes on has to know; nothing before the first look."""
        if self._mined_epoch == _NEVER:
            return {}
        negatives, offsets = self._table.negatives, self._table.negative_offsets
        epoch = torch.tensor(self._mined_epoch)
        return {"epoch": epoch, "rows": torch.from_numpy(negatives), "offsets": torch.from_numpy(offsets)}

    def load(self, tensors: dict[str, Tensor] | Tensors) -> None:
        """The negatives are those of when these tensors were taken."""
        if tensors:
            self._mined_epoch = int(tensors["epoch"])
            rows, offsets = tensors["rows"].numpy(), tensors["offsets"].numpy()
            self._table = self._ready.table.with_negatives(rows, offsets=offsets)

    def _mined(self, how: MiningConfig, config: TrainConfig, *, step: int, progress: Progress) -> PairTable:
        """The table with what the first process found, of which it tells the others."""

        def find() -> dict[str, Any]:
            progress.mining(step)
            stop = progress.stop_requested
            told = progress.embedded
            now = AsItIsNow(encoder=self._encoder, precision=config.precision, stop=stop, on_chunk=told)
            source = now if step or self._beside.vectors is None else self._beside.vectors
            found = mine(source, self._pairs, corpus=self._beside.corpus, config=how, stop=stop)
            most = config.max_negatives
            without_room = sum(max(0, len(one.pair.negatives) - max(one.num_given, most)) for one in found.pairs)
            progress.mined(step, {**found.to_dict(), "without_room": without_room})
            rows, offsets = self._rows([one.pair.negatives for one in found.pairs], most=most)
            return {"rows": rows.tolist(), "offsets": offsets.tolist()}

        told = Processes.current().from_first(find, device=self._encoder.device)
        rows, offsets = (np.array(told[name], dtype=np.int64) for name in ("rows", "offsets"))
        table = self._ready.table.with_negatives(rows, offsets=offsets)
        check_negatives(config, table)
        return table

    def _rows(self, negatives: Sequence[Sequence[str]], *, most: int) -> tuple[Any, Any]:
        """The rows of each pair's negatives that the model can read, at most so many, and where each pair's begin."""
        prompt = self._encoder.layout.prompts.document
        row_of = {text: row for row, text in enumerate(self._ready.table.rows)}
        rows = [[row_of[prompt + text] for text in texts] for texts in negatives]
        chosen = [[row for row in some if not self._ready.unread[row]][:most] for some in rows]
        flat = np.array([row for some in chosen for row in some], dtype=np.int64)
        return flat, np.cumsum([0, *map(len, chosen)], dtype=np.int64)
