"""The loss that an order asks for: taken down, echoed, and refused at the door where model or file cannot serve it."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from infonce.config import TrainConfig
from infonce.hub import Hub, HubMode
from service.store import files, jobs
from service.store.records import DEFAULT_PROJECT, FilePurpose, FileRecord, JobRecord, new_id
from tests.service.conftest import DIMENSIONS, PAIR, Gateway, lines, problem

JOBS = "/v1/fine_tuning/jobs"
INNER = "method.contrastive.hyperparameters"


def order(gateway: Gateway, file: str, *, use: Any = None, **hyperparameters: Any) -> httpx2.Response:
    negatives = {} if use is None else {"hard_negatives": use}
    return gateway.order(training_file=file, method={"contrastive": {"hyperparameters": hyperparameters, **negatives}})


def stored(gateway: Gateway, id: str) -> JobRecord:
    with gateway.parts.database.read() as tx:
        return jobs.get(tx, DEFAULT_PROJECT, id=id)


def with_negatives(gateway: Gateway) -> str:
    """The id of an uploaded file of 40 pairs with a hard negative each."""
    rows = [{**PAIR, "query": f"which pet barks {n}", "negatives": [f"the cat sleeps {n}"]} for n in range(40)]
    return str(gateway.upload(lines(rows)).json()["id"])


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0.02, "learn_temperature": True},
        {"symmetric": False},
        {"negatives": "paired"},
        {"negatives": "unpaired"},
        {"matryoshka_dims": [DIMENSIONS, 4]},
        {"matryoshka_dims": [DIMENSIONS, 4], "matryoshka_weights": [1.0, 0.25]},
        {"queue_size": 4_096, "momentum": 0.99},
    ],
)
def test_a_setting_of_the_loss_is_taken_down_and_echoed(gateway: Gateway, asked: dict[str, Any]) -> None:
    job = order(gateway, with_negatives(gateway), **asked).json()
    assert asked.items() <= job["method"]["contrastive"]["hyperparameters"].items()
    assert gateway.http.get(f"{JOBS}/{job['id']}").json() == job
    config = stored(gateway, job["id"]).spec["config"]
    assert asked.items() <= config["loss"].items() and config["loss"]["tile_size"] == "auto"
    assert TrainConfig.from_dict(config).to_dict() == config


def test_views_are_taken_down_with_the_dropout_that_tells_them_apart(gateway: Gateway) -> None:
    job = order(gateway, with_negatives(gateway), use={"use": "none"}, num_views=3, dropout=0.1).json()
    settings = job["method"]["contrastive"]["hyperparameters"]
    assert (settings["num_views"], settings["dropout"]) == (3, 0.1)
    assert stored(gateway, job["id"]).spec["config"]["loss"]["num_views"] == 3


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"temperature": 0}, "temperature", "is 0.0; it must be between 0.005 and 10.0; 0.02 to 0.1 is usual"),
        ({"temperature": 0.005, "learn_temperature": True}, "temperature", "is 0.005; it must be between 0.01"),
        ({"momentum": 1.5, "queue_size": 8}, "momentum", "is 1.5; it must be between 0.0 and 0.99999"),
        ({"momentum": 0.9}, "momentum", "is 0.9 and cannot be used with queue_size 0"),
        ({"queue_size": 8, "negatives": "paired"}, "queue_size", "is 8 and cannot be used with negatives 'paired'"),
        ({"queue_size": -1}, "queue_size", "is -1; it must be between 0 and 131072"),
        ({"num_views": 1}, "num_views", "is 1; it must be between 2 and 16"),
        ({"num_views": 3}, "dropout", "is 0.0, which auto is too, and num_views is 3"),
        ({"matryoshka_dims": []}, "matryoshka_dims", "is []; it must list different lengths"),
        ({"matryoshka_dims": [4, 4]}, "matryoshka_dims", "is [4, 4]; it must list different lengths"),
        ({"matryoshka_dims": [4, 9]}, "matryoshka_dims", "has 9 and the model's vectors have 8 dimensions"),
        ({"matryoshka_weights": [1.0]}, "matryoshka_weights", "is [1.0] and matryoshka_dims is not given"),
        ({"matryoshka_dims": [4], "matryoshka_weights": [0]}, "matryoshka_weights", "is 0.0; it must be between 1e-06"),
        ({"matryoshka_dims": [4], "matryoshka_weights": 1.0}, "matryoshka_weights", "should be a valid array"),
        ({"negatives": "separate"}, "negatives", "should be 'shared', 'paired' or 'unpaired'"),
        ({"learn_temperature": 1}, "learn_temperature", "should be a valid boolean"),
        ({"queue_size": 1.5}, "queue_size", "should be a valid integer"),
        ({"matryoshka_dims": list(range(1, 66))}, "matryoshka_dims", "at most 64 items"),
    ],
)
def test_a_loss_that_cannot_be_is_refused_in_its_place(
    gateway: Gateway, asked: dict[str, Any], param: str, said: str
) -> None:
    body = problem(order(gateway, gateway.pairs(), **asked), 422, "invalid_value")
    assert body["error"]["param"] == f"{INNER}.{param}" and param in body["detail"] and said in body["detail"]
    assert body["errors"][0]["pointer"] == "/" + f"{INNER}.{param}".replace(".", "/")
    assert gateway.http.get(JOBS).json()["data"] == []


def test_the_tile_size_is_not_asked_for(gateway: Gateway) -> None:
    body = problem(order(gateway, gateway.pairs(), tile_size=64), 422, "unknown_field")
    assert body["error"]["param"] == f"{INNER}.tile_size"


def test_prefixes_of_a_model_that_is_not_here_yet_are_left_to_the_worker(serve: Callable[..., Gateway]) -> None:
    gateway = serve(hub=Hub(mode=HubMode.ALLOW))
    method = {"contrastive": {"hyperparameters": {"matryoshka_dims": [4_096]}}}
    assert gateway.order(model="org/new", training_file=gateway.pairs(), method=method).status_code == 200


@pytest.mark.parametrize("negatives", ["paired", "unpaired"])
@pytest.mark.parametrize(
    ("use", "name"),
    [({"use": "none"}, "hard_negatives.use is 'none'"), ({"max_per_query": 0}, "hard_negatives.max_per_query is 0")],
)
def test_hard_negatives_that_are_asked_for_and_switched_off_are_refused(
    gateway: Gateway, negatives: str, use: dict[str, Any], name: str
) -> None:
    body = problem(order(gateway, with_negatives(gateway), use=use, negatives=negatives), 422, "invalid_value")
    assert body["error"]["param"] == f"method.contrastive.hard_negatives.{next(iter(use))}"
    assert body["detail"].startswith(f"{name} and negatives is '{negatives}', ")


@pytest.mark.parametrize("negatives", ["paired", "unpaired"])
def test_a_file_without_hard_negatives_cannot_train_on_them_alone(gateway: Gateway, negatives: str) -> None:
    file = gateway.pairs()
    body = problem(order(gateway, file, negatives=negatives), 422, "invalid_value")
    assert body["error"]["param"] == f"{INNER}.negatives"
    assert body["detail"].startswith(f"negatives is '{negatives}' and {file} has no hard negatives; bring a file that")


def test_a_file_of_which_no_negatives_were_counted_is_left_to_the_worker(gateway: Gateway) -> None:
    record = FileRecord(
        id=new_id("file"),
        project=DEFAULT_PROJECT,
        created_at=gateway.parts.clock(),
        filename="pairs.jsonl",
        purpose=FilePurpose.FINE_TUNE,
        num_bytes=1,
        sha256="0" * 64,
        counts={"pairs": 40},
    )
    with gateway.parts.database.write() as tx:
        files.insert_file(tx, record)
    assert order(gateway, record.id, negatives="paired").status_code == 200
    assert order(gateway, record.id, num_views=2).status_code == 200


def test_views_refuse_the_hard_negatives_of_a_file_until_they_are_switched_off(gateway: Gateway) -> None:
    file = with_negatives(gateway)
    body = problem(order(gateway, file, num_views=2), 422, "invalid_value")
    assert body["error"]["param"] == f"{INNER}.num_views"
    assert f"num_views is 2 and {file} has 40 hard negatives" in body["detail"]
    assert "set hard_negatives.use to 'none'" in body["detail"]
    assert order(gateway, file, num_views=2, use={"use": "none"}).status_code == 200
    assert order(gateway, gateway.pairs(), num_views=2).status_code == 200
