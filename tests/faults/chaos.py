"""A run of jobs through two workers while everything around them breaks: `python -m tests.faults.chaos --seeds 20`.

Each seed has a process of its own and prints one line; any job lost, doubled or different ends it with an error.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from service.store.records import JobStatus
from tests.faults import chain_child
from tests.faults.history import Verdict, judge
from tests.faults.nemesis import FAULTS, Nemesis
from tests.faults.stack import ENDED, WORKERS, Stack, running_stack

NUM_JOBS = 40
MIN_FAULTS = 2 * len(FAULTS) + 5
"""The deck twice and a third of it: every kind happens at least twice."""
DOOMED_PLACES = (12, 24, 33, 37, 39)
"""Of the jobs that may be cancelled: late enough that one is left whenever a cancel is dealt."""
PATIENCE_SECONDS = 240.0
RECOVERY_SECONDS = 40.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a seed came to."""

    seed: int
    seconds: float
    faults: Counter[str]
    num_starts: int
    """Of workers."""
    ended: Counter[str]
    idle: int
    """Workers that take no job any more though nothing is broken."""
    verdict: Verdict

    @property
    def is_right(self) -> bool:
        """Whether every promise was kept."""
        return self.verdict.is_right and not self.idle

    def __str__(self) -> str:
        verdict, jobs = self.verdict, ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        wrong = f"lost {len(verdict.lost)}, doubled {len(verdict.doubled)}, different {len(verdict.different)}"
        work = f"{verdict.num_attempts} attempts, {verdict.num_resumed} resumed, {verdict.num_fenced} given up"
        return (
            f"seed {self.seed}: {self.faults.total()} faults of {len(self.faults)} kinds, {self.num_starts} starts of "
            f"workers; {self.ended.total()} jobs: {jobs}; {work}; {wrong}, idle {self.idle}; {self.seconds:.0f} s"
        )


def run(seed: int, folder: Path) -> Report:
    """The report of a run with that seed; the run ends when every job has, or after four minutes."""
    began, draw = time.monotonic(), random.Random(seed)
    with running_stack(folder, child=chain_child.__name__) as stack:
        ids = [stack.submit(f"seed {seed}, job {place}".encode(), spec={}) for place in range(NUM_JOBS)]
        doomed = [ids[place] for place in DOOMED_PLACES]
        nemesis = Nemesis(stack=stack, draw=draw, doomed=doomed)
        _go_on(stack, nemesis, until=began + PATIENCE_SECONDS)
        idle = _idle_workers(stack)
        verdict = judge(
            stack,
            doomed=doomed,
            read=lambda folder: (folder / chain_child.RESULT).read_text(),
            expected=chain_child.expected,
        )
        return Report(
            seed=seed,
            seconds=time.monotonic() - began,
            faults=nemesis.happened,
            num_starts=sum(stack.starts.values()),
            ended=Counter(job.status.value for job in stack.jobs()),
            idle=idle,
            verdict=verdict,
        )


def _go_on(stack: Stack, nemesis: Nemesis, *, until: float) -> None:
    """Every job has ended and every fault has happened, or the time is over."""
    while time.monotonic() < until:
        stack.tend()
        jobs = stack.jobs()
        if all(job.status in ENDED for job in jobs):
            break
        if any(job.attempt for job in jobs):  # the first one has begun
            nemesis.tend(strikes=nemesis.happened.total() < MIN_FAULTS)
        time.sleep(_POLL_SECONDS)
    nemesis.rest()


def _idle_workers(stack: Stack) -> int:
    """How many workers take no job though one is always there for each, and nothing has been broken for long."""
    deadline, busy = time.monotonic() + RECOVERY_SECONDS, 0
    while busy < len(WORKERS) and time.monotonic() < deadline:
        stack.tend()
        going_on = [job for job in stack.jobs() if job.status not in ENDED]
        busy = max(busy, sum(job.status is JobStatus.RUNNING for job in going_on))
        for place in range(len(WORKERS) - len(going_on)):
            stack.submit(f"afterwards {time.monotonic()}, {place}".encode(), spec={})
        time.sleep(_POLL_SECONDS)
    while any(job.status not in ENDED for job in stack.jobs()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return len(WORKERS) - busy


def main() -> None:
    """Runs seeds one after the other and says how they ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from the first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--folder", type=Path, default=None, help="kept; a temporary one otherwise")
    given = parser.parse_args()
    reports = []
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory(prefix=f"chaos-{seed}-", dir=given.folder) as folder:
            reports.append(run(seed, Path(folder)))
        print(reports[-1], flush=True)
        for line in (*reports[-1].verdict.lost, *reports[-1].verdict.doubled, *reports[-1].verdict.different):
            print(f"  {line}", flush=True)
    sys.exit(any(not report.is_right for report in reports))


if __name__ == "__main__":
    main()
