"""What the client can say: all that the document offers, each part of a query, conditions, keys, bytes to a file."""

import asyncio
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
import pytest

from infonce.compare import Outcome
from infonce.config import Side
from service.client import AsyncClient, Client
from service.client_requests import ATTEMPTS, Sent
from service.client_routes import Routes
from service.client_rows import Call, Listed, Streamed
from service.errors import ApiError
from service.schemas.collections import CollectionCreate, CollectionQuery, Hybrid
from service.schemas.filters import DocumentFilter
from service.schemas.jobs import JobCreate
from service.schemas.versions import Promote, Rollback
from service.store.records import JobKind, JobStatus
from tests.service.conftest import BASE, DIMENSIONS, PAIR, Live, lines

DOCUMENT = Path(__file__).with_name("openapi.json")
SAMPLES: Final[Mapping[str, Any]] = {
    "asked": Rollback(),
    "documents": [{"id": "d"}],
    "hybrid": Hybrid(),
    "ids": ["d"],
    "into": Path("there"),
    "mapping": {"anchor": "q"},
    "metadata": {"team": "search"},
    "outcome": Outcome.WIN,
    "path": Path("here"),
    "queries": [CollectionQuery(query="dog")],
    "side": Side.QUERY,
    "texts": ["dog"],
    "vector": np.ones(DIMENSIONS, np.float32),
}
"""What is given for an argument of that name; "x" for any other."""
OF_ITSELF = {"limit"}
"""Chosen by the client: a list is read window by window."""
OF_CLIENT = {"Idempotency-Key"}
"""Said of a client, for all that it posts (`Client.once`)."""
WITHOUT_EFFECT = {"user"}
"""Taken for the sake of OpenAI's client."""
Row = Call[..., Any] | Listed[..., Any] | Streamed[...]


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.url, api_key=live.key) as made:
        yield made


@pytest.fixture
def pairs(client: Client, tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([PAIR | {"query": f"which pet barks {n}"} for n in range(2_000)]))
    return client.upload(path, "fine-tune").id


@pytest.fixture
def pets(client: Client) -> str:
    client.create_collection(CollectionCreate(name="pets", model=BASE))
    texts = {"d": ("the dog barks", 3), "c": ("the cat purrs", 9), "b": ("the bird sings", 2)}
    rows = [{"id": id, "text": text, "metadata": {"age": age}} for id, (text, age) in texts.items()]
    client.add_documents("pets", rows)
    return "pets"


def filled(row: Row) -> tuple[Sent, set[str]]:
    """What the row sends when every argument is given, and the arguments' names."""
    names = set(inspect.signature(row.sent).parameters)
    return row.sent(**{name: SAMPLES.get(name, "x") for name in names}), names


def rows_of(method: str, path: str) -> list[Row]:
    rows = [row for row in vars(Routes).values() if isinstance(row, Call | Listed | Streamed)]
    return [row for row in rows if (row.method, row.path) == (method, path)]


def missing(document: Mapping[str, Any]) -> Iterator[str]:
    """What routes of the document take and no row can send."""
    operations = [(path, *one) for path, methods in document["paths"].items() for one in methods.items()]
    for path, method, operation in operations:
        rows = rows_of(method.upper(), path)
        sent = [filled(row) for row in rows]
        said = {name.partition("[")[0] for one, _ in sent for name in (*one.params, *one.headers)}
        said |= OF_ITSELF if any(isinstance(row, Listed) for row in rows) else set()
        taken = {one["name"] for one in operation.get("parameters", []) if one["in"] != "path"}
        yield from (f"{method} {path}: {name}" for name in taken - said - OF_CLIENT)
        if any("asked" in names or one.lines is not None for one, names in sent):
            continue  # a body of the route's own kind, or rows with whatever fields
        said = {name for one, _ in sent for name in (*one.form, one.form_name)}
        said |= {name for one, _ in sent if isinstance(one.body, dict) for name in one.body}
        fields = set(fields_of(document, operation)) - WITHOUT_EFFECT
        yield from (f"{method} {path}: {name} of its body" for name in fields - said)


def fields_of(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for body in operation.get("requestBody", {}).get("content", {}).values():
        schema = body.get("schema", {})
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        yield from schema.get("properties", {})


def test_the_client_can_send_all_that_the_routes_take() -> None:
    assert list(missing(json.loads(DOCUMENT.read_text("utf-8")))) == []


def test_a_query_says_all_that_a_query_can_say(client: Client, pets: str) -> None:
    old = DocumentFilter(type="gt", key="age", value=2)
    asked = CollectionQuery(query="the dog barks", k=2, filter=old, exact=True, offset=1, include=["text"])
    [hit] = client.ask(pets, asked).hits
    assert (hit.id, hit.text, hit.metadata) == ("c", "the cat purrs", None)
    assert "d" not in [hit.id for hit in client.ask(pets, CollectionQuery(id="d")).hits]
    assert client.ask(pets, CollectionQuery(query="the dog barks", score_threshold=0.99)).hits[0].id == "d"
    found = client.ask_together(pets, [CollectionQuery(query="the dog barks", k=1), CollectionQuery(id="c", k=1)])
    assert [len(one.hits) for one in found.results] == [1, 1] and found.results[0].hits[0].id == "d"


def test_a_move_is_made_only_while_the_named_version_answers(client: Client, pets: str) -> None:
    moves: list[Callable[[str | None], Any]] = [
        lambda version: client.roll_back(pets, if_match=version),
        lambda version: client.promote(pets, Promote(version="ver-" + "0" * 26), if_match=version),
    ]
    for move in moves:
        with pytest.raises(ApiError) as caught:
            move("ver-another")
        assert (caught.value.status, caught.value.code) == (412, "precondition_failed")
        with pytest.raises(ApiError) as caught:
            move(None)
        assert caught.value.status != 412


def test_what_is_ordered_under_a_key_is_ordered_once(client: Client, pairs: str) -> None:
    order = client.once("order-7")
    asked = JobCreate(model=BASE, training_file=pairs)
    assert order.create_job(asked).id == order.create_job(asked).id != client.create_job(asked).id
    with pytest.raises(ApiError) as caught:
        order.create_job(JobCreate(model=BASE, training_file=pairs, seed=3))
    assert caught.value.code == "idempotency_mismatch" and len(list(client.jobs())) == 2


def test_a_change_under_a_key_is_sent_again_to_a_busy_server() -> None:
    keys = list[str | None]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers.get("idempotency-key"))
        return httpx2.Response(503, headers={"retry-after": "0"}, json={"error": {"code": "overloaded"}})

    async def use() -> None:
        async with AsyncClient("http://nowhere", transport=httpx2.MockTransport(answer)) as client:
            with pytest.raises(ApiError):
                await client.once("k").resume("ftjob-x")
            with pytest.raises(ApiError):
                await client.once("k").add_documents("pets", [{"id": "d", "text": "dog"}])

    asyncio.run(use())
    assert keys == ["k"] * (ATTEMPTS + 1)  # lines that were sent are gone


def test_jobs_of_one_kind_or_status_are_listed_from_any_place_in_any_order(client: Client, pairs: str) -> None:
    made = [client.create_job(JobCreate(model=BASE, training_file=pairs, seed=n)).id for n in range(3)]
    estimate = client.estimate(JobCreate(model=BASE, training_file=pairs)).id
    client.cancel(made[1])
    assert [job.id for job in client.jobs(kind=JobKind.ESTIMATE)] == [estimate]
    assert [job.id for job in client.jobs(kind=JobKind.TRAIN, status=JobStatus.QUEUED)] == [made[2], made[0]]
    assert [job.id for job in client.tuning_jobs(order="asc", after=made[0])] == made[1:]


def test_bytes_go_to_a_file_as_they_come(live: Live, client: Client, pairs: str, tmp_path: Path) -> None:
    read = list[int]()
    path = client.file_content(pairs, tmp_path / "back.jsonl", on_bytes=read.append)
    sent = (tmp_path / "pairs.jsonl").read_bytes()
    assert path.read_bytes() == sent and sum(read) == len(sent) and max(read) < len(sent)

    async def use() -> Path:
        async with AsyncClient(live.url, api_key=live.key) as awaited:
            return await awaited.file_content(pairs, path)  # it stands there already, and is replaced

    path.write_bytes(b"old")
    assert asyncio.run(use()).read_bytes() == sent
    with pytest.raises(ApiError):
        client.file_content("file-" + "0" * 26, tmp_path / "none")
    assert {one.name for one in tmp_path.glob("*.json*")} == {"pairs.jsonl", "back.jsonl"}
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize("broken", ["digest", "connection"])
def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path: Path, broken: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half "
        if broken == "connection":
            raise httpx2.ReadError("lost")
        yield b"a file"

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"repr-digest": "sha-256=:AAAA:"}, content=pieces())

    with (
        Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client,
        pytest.raises((ApiError, httpx2.ReadError)) as caught,
    ):
        client.model_export_content("exp-x", tmp_path / "model.tar")
    assert list(tmp_path.iterdir()) == [] and ("Repr-Digest" in str(caught.value)) == (broken == "digest")


def test_a_file_that_arrives_with_other_bytes_is_refused(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([PAIR]))
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ApiError) as caught:
        client.upload(path, "fine-tune", sha256="0" * 64)
    assert caught.value.code == "digest_mismatch" and client.upload(path, "fine-tune", sha256=right).bytes > 0
