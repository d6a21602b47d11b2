"""Who may ask: nobody else on loopback without keys, then only those with one."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StartRefused
from service.store import keys
from service.store.database import Database
from service.store.records import KeyRecord
from tests.service.conftest import Gateway, problem

FIRST = f"inf_abcd1234_{'s' * 43}"


def made(gateway: Gateway, project: str = "default") -> tuple[KeyRecord, str]:
    with gateway.parts.database.write() as tx:
        return keys.create(tx, project, name="test", now=gateway.parts.clock())


def make(gateway: Gateway, project: str = "default") -> str:
    return made(gateway, project)[1]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_while_no_key_exists_authorization_is_ignored_on_loopback(gateway: Gateway) -> None:
    assert gateway.http.get("/v1/files", headers=bearer("anything")).status_code == 200


def test_once_a_key_exists_every_route_needs_one(gateway: Gateway) -> None:
    key = make(gateway)
    for path, methods in gateway.http.get("/openapi.json").json()["paths"].items():
        for method in methods:
            answer = gateway.http.request(method, path.replace("{id}", "x").replace("{c}", "x"))
            assert (answer.status_code == 401) is path.startswith("/v1/"), (method, path)
    assert gateway.http.get("/v1/files", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Basic abc")],
        [("authorization", f"Bearer inf_abcd1234_{'x' * 43}")],
        [("authorization", f"Bearer {'x' * 20_000}")],
        [("authorization", "Bearer inf_abcd1234_schl\xfcssel".encode("latin-1"))],
    ],
)
def test_every_wrong_key_gets_the_same_answer(gateway: Gateway, headers: list[tuple[str, bytes | str]]) -> None:
    make(gateway)
    sent = [*headers, ("x-request-id", "same")]
    answer = gateway.http.get(
        "/v1/files", headers=[(n.encode(), v.encode() if isinstance(v, str) else v) for n, v in sent]
    )
    expected = gateway.http.get("/v1/files", headers={"x-request-id": "same"})
    problem(answer, 401, "invalid_api_key")
    assert answer.content == expected.content and answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_that_has_ended_gets_the_same_answer_too(gateway: Gateway) -> None:
    now = gateway.parts.clock()
    with gateway.parts.database.write() as tx:
        _, expired = keys.create(tx, "default", name="test", now=now - 9, expires_at=now - 1)
        record, revoked = keys.create(tx, "default", name="test", now=now - 9)
        keys.revoke(tx, record.id, project=None, now=now - 1)
    nobody = gateway.http.get("/v1/files", headers={"x-request-id": "same"})
    for key in (expired, revoked):
        answer = gateway.http.get("/v1/files", headers=bearer(key) | {"x-request-id": "same"})
        problem(answer, 401, "invalid_api_key")
        assert answer.content == nobody.content and answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_that_ends_while_it_is_used_opens_nothing_more(gateway: Gateway) -> None:
    ends = gateway.parts.clock() + 0.5
    with gateway.parts.database.write() as tx:
        _, key = keys.create(tx, "default", name="test", now=ends - 9, expires_at=ends)
    while (answer := gateway.http.get("/v1/files", headers=bearer(key))).status_code == 200:
        assert gateway.parts.clock() < ends + 0.3
    assert gateway.parts.clock() >= ends
    problem(answer, 401, "invalid_api_key")


def test_what_another_process_does_to_a_key_counts_within_a_second(
    gateway: Gateway, until: Callable[..., None]
) -> None:
    record, key = made(gateway)
    assert gateway.http.get("/v1/files", headers=bearer(key)).status_code == 200
    elsewhere = Database.open(gateway.parts.settings.store.database_url)
    with elsewhere.write() as tx:
        keys.revoke(tx, record.id, project=None, now=gateway.parts.clock())
    elsewhere.close()
    began = time.monotonic()
    until(lambda: gateway.http.get("/v1/files", headers=bearer(key)).status_code == 401)
    assert time.monotonic() - began < 2


def test_what_this_gateway_does_to_a_key_counts_at_once(gateway: Gateway) -> None:
    admin, (record, key) = make(gateway), made(gateway)
    for _ in range(3):
        assert gateway.http.get("/v1/files", headers=bearer(key)).status_code == 200
    assert gateway.http.delete(f"/v1/api_keys/{record.id}", headers=bearer(admin)).status_code == 200
    problem(gateway.http.get("/v1/files", headers=bearer(key)), 401, "invalid_api_key")


def test_two_authorization_headers_are_none(gateway: Gateway) -> None:
    key = make(gateway)
    answer = gateway.http.get("/v1/files", headers=[("authorization", f"Bearer {key}")] * 2)
    problem(answer, 401, "invalid_api_key")


def test_a_foreign_object_is_not_found_as_a_random_one_is(gateway: Gateway) -> None:
    file = gateway.pairs()
    own, other = bearer(make(gateway)), bearer(make(gateway, "other"))
    assert gateway.http.get(f"/v1/files/{file}", headers=own).status_code == 200
    foreign = gateway.http.get(f"/v1/files/{file}", headers=other | {"x-request-id": "r"})
    random = gateway.http.get(f"/v1/files/file-{'0' * 26}", headers=other | {"x-request-id": "r"})
    assert foreign.text.replace(file, "X") == random.text.replace(f"file-{'0' * 26}", "X")
    assert gateway.http.get("/v1/files", headers=other).json()["data"] == []


def test_the_key_of_the_file_is_adopted_at_every_start(serve: Callable[..., Gateway], tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(FIRST + "\n")
    for _ in range(2):
        gateway = serve(api_key_file=path)
        problem(gateway.http.get("/v1/files"), 401, "invalid_api_key")
        assert gateway.http.get("/v1/files", headers=bearer(FIRST)).status_code == 200


def test_another_address_than_loopback_is_refused_without_a_key(serve: Callable[..., Gateway], tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"infonce keys create.*INFONCE_API_KEY_FILE"):
        serve(host="0.0.0.0")
    path = tmp_path / "key"
    path.write_text(FIRST)
    gateway = serve(host="0.0.0.0", api_key_file=path)
    problem(gateway.http.get("/v1/files"), 401, "invalid_api_key")
