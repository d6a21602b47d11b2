"""Whatever breaks around trainings of a real model, each ends once, with the weights of an undisturbed one."""

import random
from dataclasses import replace
from pathlib import Path

from tests.faults import chaos

NUM_JOBS, NUM_FAULTS = 4, 10
"""Fewer than `python -m tests.faults.chaos --real` has, which takes five minutes."""


def test_every_training_ends_once_with_the_same_bits(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000, 1_000_000)
    work = replace(chaos.trainings(seed), num_jobs=NUM_JOBS, num_faults=NUM_FAULTS)
    report = chaos.run(seed, tmp_path, work=work)
    print(report)
    assert report.is_right, report
    assert report.faults.total() >= NUM_FAULTS
