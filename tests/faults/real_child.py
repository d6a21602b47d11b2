"""The real child that saves a checkpoint far more often, so that a training of seconds has some to go on from."""

import sys
from functools import partial
from pathlib import Path

SECONDS_BETWEEN = 0.2

if __name__ == "__main__":  # whoever only asks for this module's name should not wait for torch
    from infonce.checkpoint import Checkpoints
    from worker.child import main
    from worker.jobs import train

    train.Checkpoints = partial(Checkpoints, every_seconds=SECONDS_BETWEEN)  # type: ignore[misc, assignment]
    main(Path(sys.argv[1]), int(sys.argv[2]), body=train.run)
