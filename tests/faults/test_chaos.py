"""Whatever breaks around forty jobs, each ends once, with the result of an undisturbed run."""

import random
from pathlib import Path

import pytest

from tests.faults import chaos
from tests.faults.nemesis import FAULTS

SEEDS = [7, random.SystemRandom().randrange(1_000, 1_000_000)]
"""One that is always the same, and one that nobody has seen."""


@pytest.mark.parametrize("seed", SEEDS, ids=["fixed", "random"])
def test_every_job_ends_once_and_right(seed: int, tmp_path: Path) -> None:
    report = chaos.run(seed, tmp_path, work=chaos.chains(seed))
    print(report)
    assert report.is_right, report
    assert report.faults.total() >= 35 and set(report.faults) == set(FAULTS), report.faults
    assert report.ended["succeeded"] + report.ended["cancelled"] == report.ended.total() >= 40
