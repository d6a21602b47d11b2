"""Two processes over one batch take the steps of one process, for every form, and nothing is scaled on the way."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from infonce.config import EncoderConfig
from infonce.distributed import Processes
from infonce.encoder import Encoder
from infonce.tokens import chunks
from infonce.train import step_seed
from tests.factories import tiny_model
from tests.infonce.forms import FORMS
from tests.infonce.joint_steps import BATCH, descend, joint_batch

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


def test_a_process_without_a_chunk_of_its_own_takes_the_same_steps(
    outcomes: list[dict[str, list[torch.Tensor]]], tmp_path: Path
) -> None:
    alone = descend(tiny_model(tmp_path / "alone"), FORMS["symmetric"], max_chunk_tokens=10_000)
    for outcome in outcomes:
        for found, expected in zip(outcome["one chunk"], alone, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_processes_draw_different_dropout() -> None:
    seeds = {step_seed(42, step, rank=rank) for step in range(50) for rank in range(4)}
    assert len(seeds) == 200 and max(seeds) < 2**63
    assert step_seed(2**53, 10**6, rank=0) < 2**63


@pytest.mark.parametrize("name", FORMS)
def test_both_processes_hold_the_same_bits(name: str, outcomes: list[dict[str, list[torch.Tensor]]]) -> None:
    first, second = (outcome[name] for outcome in outcomes)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_pitfalls_duplicates_across_processes_and_labels_offset_by_rank(
    outcomes: list[dict[str, list[torch.Tensor]]], tmp_path: Path
) -> None:
    encoder = Encoder.load(tiny_model(tmp_path / "m"), EncoderConfig(max_seq_length=32))
    joint, table = joint_batch(encoder, FORMS["symmetric"], max_graph_gb=1.0)
    batch = table.batch(np.arange(BATCH))
    assert batch.also_positive.size, "pairs of the first batch share an anchor, whose texts two processes may encode"
    parts = list(chunks(joint.tokens.lengths[batch.rows], joint.config.max_chunk_tokens))
    owners = {int(row): rank for rank in range(COUNT) for rows in parts[rank::COUNT] for row in rows}
    pairs = zip(batch.anchors, batch.positives, strict=True)
    assert any(owners[int(anchor)] != owners[int(positive)] for anchor, positive in pairs)
    with torch.no_grad():
        vectors = torch.cat([encoder.embed(joint.tokens, batch.rows[[row]]) for row in range(len(batch.rows))])
    expected = joint.objective.loss(vectors, batch).item()  # one process, one text at a time
    assert [outcome["symmetric"][0][0].item() for outcome in outcomes] == pytest.approx([expected] * COUNT, abs=1e-5)


def test_every_part_belongs_to_one_process() -> None:
    parts = list("abcdefg")
    shares = [Processes(rank=rank, count=3).share(parts) for rank in range(3)]
    assert sorted(part for share in shares for part in share) == parts
    assert Processes().share(parts) == parts
