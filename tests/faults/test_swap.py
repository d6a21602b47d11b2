"""A collection that moves between models under load answers every query, and each by one model and its own index."""

from pathlib import Path

from tests.faults.swap import MODELS, Plan, run


def test_nothing_fails_is_mixed_or_missed_while_a_collection_moves_and_a_gateway_dies(tmp_path: Path) -> None:
    plan = Plan(num_documents=600, seconds=8.0, num_moves=4, queries_per_second=20.0, writes_per_second=10.0)
    tally = run(tmp_path, plan)
    print(tally)
    assert tally.told == []
    assert tally.num["moves"] >= plan.num_moves and len(tally.kills) == 1
    assert all(tally.answered[model] > 10 for model in MODELS)
    assert tally.num["writes"] > 20 and tally.num["late"] > 50 and tally.num["deleted"] > 5
