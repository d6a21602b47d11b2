"""The process that does the work of one attempt: `python -m worker.child ORDER PARENT_PID`.

It knows its order and the pipe to its parent; no database, no broker, no secret. It dies with its parent, it is the
first that the kernel sacrifices for memory, and whatever happens in it (a segfault too) ends this process alone.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from infonce import lifeline
from infonce.errors import Stopped
from infonce.logs import at_work_on, write_logs
from service.store.records import JobKind
from worker.failures import describe
from worker.gpus import GpuBusy
from worker.progress import LineProgress, Progress

Body = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]

BODIES: Final[Mapping[JobKind, str]] = {
    JobKind.TRAIN: "worker.jobs.train",
    JobKind.MINE: "worker.jobs.mine",
    JobKind.EVALUATE: "worker.jobs.evaluate",
    JobKind.ESTIMATE: "worker.jobs.estimate",
    JobKind.INDEX: "worker.jobs.index",
    JobKind.EXPORT: "worker.jobs.export",
}
"""The module whose `run` does the work of a kind; what it imports is loaded when such a job comes, and torch with it.
"""

EXIT_FAILED = 64
"""The job cannot end well, for a reason that was sent to the parent."""
EXIT_CRASHED = 1
"""An error of ours; its traceback is in the log."""
EXIT_ORPHANED = lifeline.EXIT_ORPHANED
"""The parent is gone."""


def main(order_path: Path, parent: int, *, body: Body | None = None) -> NoReturn:
    """Work the order off, say so over fd 1, and end without running exit handlers (CUDA's may hang)."""
    lifeline.end_with(parent)
    _be_killed_first()
    faulthandler.enable()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    progress = LineProgress(_private_stdout(), stop)
    lifeline.end_with_stdin()
    code = _work(order_path, progress, body=body)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _work(order_path: Path, progress: LineProgress, *, body: Body | None) -> int:
    """The exit code of the attempt; what became of it has been sent."""
    try:
        order = json.loads(order_path.read_text())
        write_logs(sys.stderr)
        with at_work_on(**{**order.get("log_ids", {}), "job": order.get("job_id"), "attempt": order.get("attempt")}):
            run = body or _body_of(JobKind(order["kind"]))
            progress.done(run(order, progress))
    except GpuBusy as busy:
        progress.stopped(str(busy))
    except Stopped:
        progress.stopped()
    except BaseException as error:  # the process loop of the child: nothing may end it unexplained
        traceback.print_exc()
        reason = describe(error)
        if reason is None:
            return EXIT_CRASHED
        progress.failed(reason)
        return EXIT_FAILED
    return 0


def _body_of(kind: JobKind) -> Body:
    body: Body = importlib.import_module(BODIES[kind]).run
    return body


def _be_killed_first() -> None:
    """When memory runs out the kernel takes this process, not the worker, the gateway or the database."""
    with contextlib.suppress(OSError):  # no /proc, or not permitted: then the kernel chooses as it likes
        Path("/proc/self/oom_score_adj").write_text("1000")


def _private_stdout() -> int:
    """A descriptor of the pipe to the parent that no library can print into; fd 1 is the log from now on."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
