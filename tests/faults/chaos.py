"""A run of jobs through two workers while everything around them breaks: `python -m tests.faults.chaos --seeds 20`.

Each seed has a process of its own and prints one line; any job lost, doubled or different ends it with an error.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.store.records import JobStatus
from tests.end_to_end.processes import until
from tests.factories import tiny_model
from tests.faults import chain_child, real_child
from tests.faults.history import Verdict, judge
from tests.faults.nemesis import FAULTS, Nemesis
from tests.faults.stack import BASE, ENDED, WORKERS, Stack, running_stack

DOOMED_SHARES = (0.3, 0.6, 0.85, 0.95, 1.0)
"""Where in the queue the jobs stand that may be cancelled: late enough that one is left whenever a cancel is dealt."""
PATIENCE_SECONDS = 300.0
RECOVERY_SECONDS = 40.0
_POLL_SECONDS = 0.05  # between two looks at what is to come true by a deadline


@dataclass(frozen=True, kw_only=True)
class Work:
    """The jobs of a run, and how many faults happen to it."""

    child: str
    num_jobs: int
    num_faults: int
    content: Callable[[int], bytes]
    """Of the training file of the job in that place."""
    read: Callable[[Path], str]
    """What counts of a published folder."""
    spec: Mapping[str, object] = field(default_factory=dict)
    slowness: float = 1.0


def chains(seed: int) -> Work:
    """Forty chains of hashes; the deck of faults is dealt twice and a third of it."""
    return Work(
        child=chain_child.__name__,
        num_jobs=40,
        num_faults=2 * len(FAULTS) + 5,
        content=lambda place: f"seed {seed}, job {place}".encode(),
        read=lambda folder: (folder / chain_child.RESULT).read_text(),
    )


def trainings(seed: int) -> Work:
    """Six trainings of one tiny model on the same pairs; the deck is dealt once and a third of it."""
    config = {
        "n_epochs": 40,
        "batch_size": 4,
        "dropout": 0.1,
        "precision": "float32",
        "attention": "sdpa",
        "seed": seed,
    }
    lines = [json.dumps({"anchor": f"a red cat {n}", "positive": f"the cat {n} is red"}) + "\n" for n in range(64)]
    return Work(
        child=real_child.__name__,
        num_jobs=6,
        num_faults=len(FAULTS) + 5,
        content=lambda place: "".join(lines).encode(),
        read=lambda folder: hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        spec={"config": config, "encoder": {"max_seq_length": 16, "device": "cpu"}},
        slowness=3.0,
    )


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


def run(seed: int, folder: Path, *, work: Work) -> Report:
    """The report of a run with that seed; the run ends when every job has, or when its time is over."""
    began, draw = time.monotonic(), random.Random(seed)
    with running_stack(folder, child=work.child) as stack:
        expected = _expected(stack, work)
        ids = [stack.submit(work.content(place), spec=work.spec) for place in range(work.num_jobs)]
        doomed = [ids[round(share * (work.num_jobs - 1))] for share in DOOMED_SHARES]
        nemesis = Nemesis(stack=stack, draw=draw, doomed=doomed, slowness=work.slowness)
        _go_on(stack, nemesis, work)
        idle = _idle_workers(stack, work)
        return Report(
            seed=seed,
            seconds=time.monotonic() - began,
            faults=nemesis.happened,
            num_starts=sum(stack.starts.values()),
            ended=Counter(job.status.value for job in stack.jobs()),
            idle=idle,
            verdict=judge(stack, doomed=doomed, read=work.read, expected=expected),
        )


def _expected(stack: Stack, work: Work) -> Callable[[bytes], str]:
    """From a training file to the right result: known of a chain, tried out undisturbed for a training."""
    if work.child == chain_child.__name__:
        return chain_child.expected
    shutil.rmtree(stack.models_root)
    tiny_model(stack.models_root / BASE)
    stack.submit(work.content(0), spec=work.spec)
    stack.tend()
    until(lambda: stack.models(), "a training that nothing disturbs", seconds=120)
    [model] = stack.models()
    right = work.read(stack.artifacts.model_path(model.folder))
    return lambda content: right


def _go_on(stack: Stack, nemesis: Nemesis, work: Work) -> None:
    """Every fault has happened and every job has ended, or the time is over; a fast machine gets more jobs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        stack.tend()
        going_on = [job for job in stack.jobs() if job.status not in ENDED]
        strikes = nemesis.happened.total() < work.num_faults
        if not (going_on or strikes):
            break
        if strikes and len(going_on) < len(WORKERS):
            nemesis.doomed.append(stack.submit(work.content(work.num_jobs), spec=work.spec))
        if nemesis.happened or any(job.status is JobStatus.RUNNING for job in going_on):  # the workers have begun
            nemesis.tend(strikes=strikes)
        time.sleep(_POLL_SECONDS)
    nemesis.rest()


def _idle_workers(stack: Stack, work: Work) -> int:
    """How many workers take no job though one is always there for each, and nothing has been broken for long."""
    deadline, busy = time.monotonic() + RECOVERY_SECONDS, 0
    while busy < len(WORKERS) and time.monotonic() < deadline:
        stack.tend()
        going_on = [job for job in stack.jobs() if job.status not in ENDED]
        busy = max(busy, sum(job.status is JobStatus.RUNNING for job in going_on))
        for place in range(len(WORKERS) - len(going_on)):
            stack.submit(work.content(place), spec=work.spec)
        time.sleep(_POLL_SECONDS)
    while any(job.status not in ENDED for job in stack.jobs()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return len(WORKERS) - busy


def main() -> None:
    """Runs seeds one after the other and says how they ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from the first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--real", action="store_true", help="trainings of a tiny model instead of chains of hashes")
    given = parser.parse_args()
    reports = []
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory(prefix=f"chaos-{seed}-") as folder:
            reports.append(run(seed, Path(folder), work=trainings(seed) if given.real else chains(seed)))
        print(reports[-1], flush=True)
        for line in (*reports[-1].verdict.lost, *reports[-1].verdict.doubled, *reports[-1].verdict.different):
            print(f"  {line}", flush=True)
    sys.exit(any(not report.is_right for report in reports))


if __name__ == "__main__":
    main()
