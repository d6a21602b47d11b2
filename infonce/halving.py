"""What a run does when the device's memory does not suffice for a step: it goes on in smaller chunks, once.

Other chunks round otherwise, so that it does not end with the bits it would have ended with. Its checkpoints carry the
new size, and every later attempt keeps to it.
"""

from dataclasses import replace

import torch

from infonce.batches import Batch
from infonce.checkpoint import Keeper
from infonce.config import TrainConfig
from infonce.errors import OutOfMemory
from infonce.joint import JointBatch
from infonce.records import Progress

_SMALLEST_CHUNK = 16  # tokens, as in `TrainConfig`


class Halving:
    """The gradients of a run's steps; one that finds no memory is taken again in chunks of half the size.

    Several processes do not halve: the others are in the middle of the same step and would wait for this one's share.
    """

    def __init__(self, joint: JointBatch, *, usual: int, keeper: Keeper, progress: Progress) -> None:
        """`usual` is the size with which the run began."""
        self._joint = joint
        self._keeper = keeper
        self._progress = progress
        self._halved = int(joint.config.max_chunk_tokens) < usual  # by an attempt before this one
        if self._halved:
            self._keep_fewer_graphs()

    @property
    def config(self) -> TrainConfig:
        """What the steps are computed with by now."""
        return self._joint.config

    def backward(self, batch: Batch, *, seed: int) -> float:
        """The batch's loss, with its gradient added; dropout is drawn from `seed`, whatever was drawn before.

        Raises:
            OutOfMemory: a step had been halved before, or cannot be.
            Stopped: as `JointBatch.backward`.
        """
        while True:
            torch.manual_seed(seed)
            try:
                return self._joint.backward(batch)
            except torch.OutOfMemoryError as error:
                size = int(self.config.max_chunk_tokens)
                if self._halved or size < 2 * _SMALLEST_CHUNK or self._joint.processes.count > 1:
                    raise OutOfMemory(_sentence(size, self._halved)) from error
            self._halve()  # outside of the handler, whose error holds the frames that hold the memory

    def _halve(self) -> None:
        """Nothing of the failed step is left, and the next chunks are half as large."""
        self._halved = True
        self._joint.forget_gradients()
        if self._joint.encoder.device.type == "cuda":
            torch.cuda.empty_cache()  # blocks of the old size would stay reserved
        config = replace(self.config, max_chunk_tokens=int(self.config.max_chunk_tokens) // 2)
        self._joint = replace(self._joint, config=config)
        self._keep_fewer_graphs()
        self._progress.halved(int(config.max_chunk_tokens))
        self._keeper.amend({"config": config.to_dict()})

    def _keep_fewer_graphs(self) -> None:
        """Half of the memory that the graphs of a batch were to take; that changes time, and no bit."""
        budget = self._joint.budget
        self._joint = replace(self._joint, budget=replace(budget, bytes=budget.bytes // 2))


def _sentence(size: int, halved: bool) -> str:
    again = ", half of what the run began with" if halved else ""
    remedy = "lower max_seq_length, batch_size or max_chunk_tokens, or take a smaller model"
    return f"the device has no memory for a step in chunks of {size} tokens{again}; {remedy}"
