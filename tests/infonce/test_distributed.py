"""Two processes over one batch take the steps of one process, for every form, and nothing is scaled on the way."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infonce.distributed import Processes
from tests.factories import tiny_model
from tests.infonce.forms import FORMS
from tests.infonce.joint_steps import descend

COUNT = 2


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    """What each of two processes found for every form."""
    folder = tiny_model(tmp_path_factory.mktemp("processes") / "model").parent
    command = [sys.executable, "-m", "tests.infonce.joint_steps", str(folder)]
    started = [subprocess.Popen([*command, str(rank), str(COUNT), *FORMS]) for rank in range(COUNT)]
    try:
        assert [process.wait(240) for process in started] == [0] * COUNT
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [torch.load(folder / f"outcome-{rank}.pt") for rank in range(COUNT)]


@pytest.mark.parametrize("name", FORMS)
def test_two_processes_equal_one(name: str, outcomes: list[dict[str, list[torch.Tensor]]], tmp_path: Path) -> None:
    alone = descend(tiny_model(tmp_path / "alone"), FORMS[name])
    for outcome in outcomes:
        torch.testing.assert_close(outcome[name][0], alone[0], rtol=0, atol=1e-5)
        for found, expected in zip(outcome[name][1:], alone[1:], strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_both_processes_hold_the_same_bits(name: str, outcomes: list[dict[str, list[torch.Tensor]]]) -> None:
    first, second = (outcome[name] for outcome in outcomes)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_every_part_belongs_to_one_process() -> None:
    parts = list("abcdefg")
    shares = [Processes(rank=rank, count=3).share(parts) for rank in range(3)]
    assert sorted(part for share in shares for part in share) == parts
    assert Processes().share(parts) == parts
