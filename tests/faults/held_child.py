"""The real child, whose index jobs stop before a block of texts until that block is let go."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 60.0
"""How long it is held at most."""


def let_go(run: Path, number: int) -> Path:
    """The file in the folder of the attempt that lets the block of that number, from 0, begin."""
    return run / f"go-{number}"


if __name__ == "__main__":  # whoever only asks for a name of this module should not wait for torch
    from infonce.config import Side
    from infonce.vectors import CachedEncoder
    from worker.child import main
    from worker.jobs import index
    from worker.progress import Progress

    def run(order: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
        """What an index job does, a block at a time."""
        folder, blocks = Path(order["staging"]).parent, iter(range(1_000))
        real = CachedEncoder.of

        def held(*given: Any, **more: Any) -> CachedEncoder:
            made = real(*given, **more)
            compute = made._compute

            def wait(texts: Sequence[str], side: Side) -> Any:
                number, end = next(blocks), time.monotonic() + SECONDS
                while not let_go(folder, number).exists():
                    if progress.stop_requested() or time.monotonic() > end:
                        os._exit(1)
                    time.sleep(0.02)
                return compute(texts, side)

            made._compute = wait  # type: ignore[method-assign]
            return made

        CachedEncoder.of = held  # type: ignore[method-assign, assignment]
        return index.run(order, progress)

    main(Path(sys.argv[1]), int(sys.argv[2]), body=run)
