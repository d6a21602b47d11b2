"""Whatever breaks around forty jobs, each ends once, with the result of an undisturbed run."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import chaos
from tests.faults.nemesis import FAULTS

SEEDS = [7, random.SystemRandom().randrange(1_000, 1_000_000)]
"""One that is always the same, and one that nobody has seen."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, chaos.Report]:
    """What became of each seed; they run side by side, for most of the time both wait."""
    with ThreadPoolExecutor(len(SEEDS)) as threads:
        running = {
            seed: threads.submit(chaos.run, seed, tmp_path_factory.mktemp(f"seed{seed}-"), work=chaos.chains(seed))
            for seed in SEEDS
        }
        return {seed: report.result() for seed, report in running.items()}


@pytest.mark.parametrize("seed", SEEDS, ids=["fixed", "random"])
def test_every_job_ends_once_and_right(
    seed: int, reports: dict[int, chaos.Report], capsys: pytest.CaptureFixture[str]
) -> None:
    report = reports[seed]
    with capsys.disabled():
        print(f"\n{report}")
    assert report.is_right, report
    assert report.faults.total() >= 35 and set(report.faults) == set(FAULTS), report.faults
    assert report.ended["succeeded"] + report.ended["cancelled"] == report.ended.total() >= 40
