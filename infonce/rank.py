"""One of the processes that train together, not the first: `python -m infonce.rank FOLDER RANK COUNT PID_OF_RANK_0`.

It goes through the same `train` as rank 0, says nothing, saves nothing, and ends with rank 0. Torch is loaded only
once the process is bound to that.
"""

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from infonce import lifeline
from infonce.errors import InfonceError, Stopped
from infonce.meeting import Meeting

if TYPE_CHECKING:
    from infonce.encoder import Encoder
    from infonce.records import Progress

EXIT_FAILED: Final = 1


class Silence:
    """A `Progress` that says nothing and never asks to stop: that is rank 0's."""

    def step(self, record: Any) -> None:
        """Nothing happens."""

    def measured(self, choice: Any) -> None:
        """Nothing happens."""

    def dropped(self, num_pairs: int, num_negatives: int) -> None:
        """Nothing happens."""

    def joined(self, groups: Any) -> None:
        """Nothing happens."""

    def judged(self, step: int, metric: str, *, metrics: Any) -> None:
        """Nothing happens."""

    def resumed(self, step: int) -> None:
        """Nothing happens."""

    def saved(self, step: int) -> None:
        """Nothing happens."""

    def damaged(self, step: int) -> None:
        """Nothing happens."""

    def elsewhere(self, difference: str) -> None:
        """Nothing happens."""

    def halved(self, max_chunk_tokens: int) -> None:
        """Nothing happens."""

    def unsaved(self, reason: str) -> None:
        """Nothing happens."""

    def mining(self, step: int) -> None:
        """Nobody listens."""

    def embedded(self, done: int, total: int) -> None:
        """Nobody listens."""

    def mined(self, step: int, counts: Any) -> None:
        """Nobody listens."""

    def stop_requested(self) -> bool:
        """Whether to stop: rank 0's wish is heard by all before a step."""
        return False


def main(folder: Path, rank: int, *, count: int, parent: int, part: Callable[..., object] | None = None) -> NoReturn:
    """Take part and end without running exit handlers; the folder holds why, if it did not end well."""
    lifeline.end_with(parent)
    lifeline.end_with_stdin()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group they are meant for rank 0
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    code = _work(folder, rank, count=count, part=part or take_part)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def take_part(folder: Path, rank: int, *, count: int, progress: "Progress | None" = None) -> "Encoder":
    """The encoder after the training that the folder's order describes; all ranks have the same weights."""
    from infonce.checkpoint import Checkpoints
    from infonce.distributed import Processes, join_group
    from infonce.encoder import Encoder
    from infonce.ranks import device_of
    from infonce.records import Beside
    from infonce.train import train

    meeting = Meeting(folder)
    order, pairs = meeting.read()
    device = device_of(rank, order.encoder)
    encoder = Encoder.load(order.model, replace(order.encoder, device=str(device)))
    meeting.ready(rank).touch()
    join_group(Processes(rank=rank, count=count), meeting.group, device=device)
    saved = Checkpoints(folder=order.checkpoints[0], inherited=order.checkpoints[1:]) if order.checkpoints else None
    beside = Beside(corpus=order.corpus)
    train(encoder, pairs, config=order.config, progress=progress or Silence(), checkpoints=saved, beside=beside)
    return encoder


def _work(folder: Path, rank: int, *, count: int, part: Callable[..., object]) -> int:
    """The exit code; rank 0 can read what went wrong."""
    try:
        part(folder, rank, count=count)
    except Stopped:
        pass
    except BaseException as error:  # the process loop of a rank: nothing may end it unexplained
        traceback.print_exc()
        said = str(error) if isinstance(error, InfonceError) else f"{type(error).__name__}: {error}"
        Meeting(folder).said(rank).write_text(said, encoding="utf-8", errors="replace")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), count=int(sys.argv[3]), parent=int(sys.argv[4]))
