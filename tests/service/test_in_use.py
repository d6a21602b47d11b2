"""A file stays as long as a job of any kind that names it has not ended, wherever it is named."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.service.conftest import BASE, Gateway, lines, problem
from tests.service.test_tenancy import TUNING, asking, judged

Order = Callable[[dict[str, str]], tuple[str, dict[str, Any]]]


def training(**more: Any) -> Order:
    """A training of pairs, with what is given; names of files stand for ids."""
    return lambda ids: (TUNING, {"model": BASE, "training_file": ids["PAIRS"], **placed(more, ids)})


def placed(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: placed(part, ids) for name, part in value.items()}
    return ids.get(value, value) if isinstance(value, str) else value


WHERE: dict[str, tuple[str, Order]] = {
    "trained on": ("PAIRS", training()),
    "held out": ("OTHERS", training(validation_file="OTHERS")),
    "judged by": ("JUDGED", training(**asking(evaluation={"file": "JUDGED"}))),
    "remembered": ("JUDGED", training(**asking(evaluation={"retention": "JUDGED"}))),
    "searched": ("TEXTS", training(**asking(hard_negatives={"mine": {"corpus_file": "TEXTS"}}))),
    "deployed": ("TEXTS", training(**asking(deploy={"collection": "new", "corpus_file": "TEXTS"}))),
    "estimated": ("PAIRS", lambda ids: (f"{TUNING}/estimate", training()(ids)[1])),
    "mined": ("PAIRS", lambda ids: ("/v1/mining", {"model": BASE, "training_file": ids["PAIRS"]})),
    "mined out of": (
        "TEXTS",
        lambda ids: ("/v1/mining", placed({"model": BASE, "training_file": "PAIRS", "corpus_file": "TEXTS"}, ids)),
    ),
    "evaluated": ("JUDGED", lambda ids: ("/v1/evaluations", {"file": ids["JUDGED"], "models": [BASE]})),
}


@pytest.mark.parametrize("where", WHERE)
def test_a_file_that_a_waiting_job_names_cannot_be_deleted(gateway: Gateway, where: str) -> None:
    ids = {"PAIRS": gateway.pairs(), "OTHERS": gateway.pairs(3), "JUDGED": judged(gateway)}
    texts = [{"text": f"a text {number}"} for number in range(30)]
    ids["TEXTS"] = gateway.upload(lines(texts), purpose="corpus").json()["id"]
    name, order = WHERE[where]
    path, body = order(ids)
    answer = gateway.http.post(path, json=body)
    assert answer.is_success, answer.text
    [job] = gateway.http.get("/v1/jobs").json()["data"]
    for named in {name, "PAIRS"} if path != "/v1/evaluations" else {name}:
        assert job["id"] in problem(gateway.http.delete(f"/v1/files/{ids[named]}"), 409, "in_use")["detail"]
    gateway.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert gateway.http.delete(f"/v1/files/{ids[name]}").is_success
