"""A collection that moves between models under load answers every query, and each by one model and its own index."""

from pathlib import Path

from tests.faults.swap import MODELS, Plan, run


def test_no_answer_fails_or_is_mixed_while_a_collection_moves_and_a_gateway_dies(tmp_path: Path) -> None:
    tally = run(tmp_path, Plan(num_documents=600, seconds=8.0, num_moves=4, queries_per_second=20.0))
    assert tally.wrong == []
    assert all(tally.answered[model] > 10 for model in MODELS)
