"""The gate opens for a model that is better and forgets nothing, and says why it stays shut."""

import pytest

from service.store.records import DeployPolicy
from worker.gate import Decision, decide

HELD = {"held": True, "delta": -0.002, "bound": 0.01}
FORGOTTEN = {"held": False, "delta": -0.0312, "bound": 0.01}
UNKNOWN = {"held": None, "reason": "too few texts"}


@pytest.mark.parametrize("retention", [HELD, FORGOTTEN, UNKNOWN, None])
@pytest.mark.parametrize("verdict", ["better", "inconclusive", "worse", None])
@pytest.mark.parametrize("policy", list(DeployPolicy))
def test_only_always_or_better_without_forgetting_opens_it(
    policy: DeployPolicy, verdict: str | None, retention: dict[str, object] | None
) -> None:
    decision, reason = decide(policy, {"verdict": verdict, "retention": retention})
    opens = policy is DeployPolicy.ALWAYS
    if policy is DeployPolicy.IF_BETTER and verdict == "better":
        opens = retention is not FORGOTTEN
    assert (decision is Decision.DEPLOYED) == opens and reason


@pytest.mark.parametrize(
    ("verdict", "retention", "said"),
    [
        ("worse", HELD, "the verdict is worse"),
        ("inconclusive", FORGOTTEN, "the verdict is inconclusive"),
        (None, None, "nothing was judged"),
        ("better", FORGOTTEN, "fell by 0.0312, more than 0.01"),
        ("better", UNKNOWN, "retention was not measured"),
        ("better", HELD, "retention is held"),
    ],
)
def test_the_reason_names_what_decided(verdict: str | None, retention: dict[str, object] | None, said: str) -> None:
    assert said in decide(DeployPolicy.IF_BETTER, {"verdict": verdict, "retention": retention})[1]
