"""H41 to H52 as far as there is a route: vectors, ids, keys, cursors, states and headers that lie."""

import sqlite3
from contextlib import closing

import pytest

from tests.faults.hostile.gateway import BASE, FAULTY, HUGE, Hostile
from tests.faults.hostile.wire import ask, connected, exchange, head, post, read, refused, unharmed

QUERY = "/v1/collections/pets/query"


@pytest.mark.parametrize(
    "vector",
    [
        b"[1, 0]",
        b"[]",
        b"[0, 0, 0, 0, 0, 0, 0, 0]",
        b'["1"]',
        b"{}",
        b"5",
        b'"AAAA"',
        b'"****"',
        b"[" + b"1," * 1_000_000 + b"1]",
        b"[" + b"1," * 8_191 + b"1]",
        b"null",
    ],
    ids=range(11),
)
def test_h41_a_vector_that_cannot_be_searched_is_refused(hostile: Hostile, vector: bytes) -> None:
    with unharmed(hostile):
        answer = post(hostile, QUERY, b'{"vector": ' + vector + b"}")
        refused(answer, 422, answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b'{"query": ""}', 422, "empty_text"),
        (b'{"query": " \xe2\x80\x8b "}', 422, "empty_text"),
        (b'{"query": "' + b"a" * (1 << 20) + b'"}', 422, "text_too_long"),
        (b'{"query": "dog"}', 400, "no_model"),
        (b'{"query": "dog", "vector": [1]}', 422, "invalid_value"),
        (b'{"k": 1000000000, "query": "dog"}', 422, "invalid_value"),
        (b'{"queries": [' + b"{}," * 100_000 + b"{}]}", 422, "invalid_value"),
    ],
    ids=range(7),
)
def test_h41_a_query_that_asks_nothing_is_refused(hostile: Hostile, raw: bytes, status: int, code: str) -> None:
    with unharmed(hostile):
        refused(post(hostile, QUERY, raw), status, code)


def test_h42_a_collection_that_is_not_there_is_not_found(hostile: Hostile) -> None:
    for name in ("nobody", "col-" + "0" * 26, "Pets", "x" * 5_000, "pets%00", "..%2fpets"):
        with unharmed(hostile):
            refused(post(hostile, f"/v1/collections/{name}/query", b'{"vector": [1]}'), 404, "not_found")


IDS = ("..%2f..%2fetc%2fpasswd", "%00", "%ff", "a" * 5_000, "'%20or%201=1--", "file-" + "0" * 26, "%2e%2e", "*", "é")


@pytest.mark.parametrize("id", IDS, ids=range(len(IDS)))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files/{}"),
        ("DELETE", "/v1/files/{}"),
        ("GET", "/v1/fine_tuning/jobs/{}"),
        ("POST", "/v1/fine_tuning/jobs/{}/cancel"),
        ("GET", "/v1/fine_tuning/jobs/{}/events"),
        ("GET", "/v1/jobs/{}"),
        ("GET", "/v1/models/{}"),
        ("DELETE", "/v1/models/{}"),
        ("GET", "/v1/files/{}/content"),
        ("POST", "/v1/uploads/{}/parts"),
        ("POST", "/v1/uploads/{}/cancel"),
        ("GET", "/v1/model_exports/{}"),
        ("GET", "/v1/model_exports/{}/content"),
        ("GET", "/v1/collections/{}"),
        ("POST", "/v1/collections/{}/export"),
        ("GET", "/v1/collections/pets/exports/{}/content"),
    ],
)
def test_h44_an_id_that_can_be_none_is_not_found(hostile: Hostile, method: str, path: str, id: str) -> None:
    with unharmed(hostile):
        raw = f"{method} {path.format(id)} HTTP/1.1\r\n".encode("latin-1")
        rest = head(method, "", key=hostile.key, content_length="0").partition(b"\r\n")[2]
        answer = exchange(hostile, raw + rest)
        if id.isascii():
            code = "model_not_found" if "models" in path else "not_found"
            assert refused(answer, 404, answer.json()["error"]["code"])["error"]["code"] in (code, "not_found")
        else:
            refused(answer, 400, "bad_request")  # a path has to be ASCII


WRONG_KEYS = [
    [],
    ["authorization: "],
    ["authorization: Bearer"],
    ["authorization: Bearer "],
    ["authorization: Basic dXNlcjpwYXNz"],
    ["authorization: Bearer inf_abcd1234_" + "x" * 43],
    ["authorization: Bearer inf_abcd1234_" + "é" * 43],
    ["authorization: Bearer \xff\xfe"],
    ["authorization: Bearer " + "x" * 20_000],
    ["authorization: Bearer KEY", "authorization: Bearer KEY"],
    ["x-api-key: KEY"],
    ["cookie: authorization=KEY"],
]


@pytest.mark.parametrize("fields", WRONG_KEYS, ids=range(len(WRONG_KEYS)))
@pytest.mark.parametrize("asked", ["GET /v1/files", "POST /v1/fine_tuning/jobs", "DELETE /v1/files/x"])
def test_h45_whoever_has_no_key_gets_one_and_the_same_answer(hostile: Hostile, fields: list[str], asked: str) -> None:
    with unharmed(hostile):
        lines = [f"{asked}?api_key=KEY HTTP/1.1", "host: test", "x-request-id: same", *fields, "", ""]
        raw = "\r\n".join(lines).replace("KEY", hostile.key).encode("latin-1")
        answer, other = exchange(hostile, raw), exchange(hostile, head("GET", "/v1/jobs", x_request_id="same"))
        refused(answer, 401, "invalid_api_key")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.body == other.body and hostile.key.encode() not in answer.body


def test_h45_a_key_of_1_mb_is_a_header_that_nobody_reads(hostile: Hostile) -> None:
    with unharmed(hostile):
        asked = head("GET", "/v1/files", authorization="Bearer " + "x" * (1 << 20))
        refused(exchange(hostile, asked), 400, "bad_request")


LISTS = ("/v1/files", "/v1/fine_tuning/jobs", "/v1/jobs", "/v1/models", "/v1/collections")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "invalid_value"),
        ("limit=-1", 422, "invalid_value"),
        ("limit=1000000000", 422, "invalid_value"),
        ("limit=1180591620717411303424", 422, "invalid_value"),
        ("limit=NaN", 422, "invalid_value"),
        ("limit=1e1", 422, "invalid_value"),
        ("order=sideways", 422, "invalid_value"),
        ("after=" + "a" * 300, 422, "invalid_value"),
        ("after=%00", 400, "bad_cursor"),
        ("after=%27%20or%201%3D1", 400, "bad_cursor"),
        ("after=", 400, "bad_cursor"),
        ("after=%ff%fe", 400, "bad_cursor"),
    ],
)
def test_h47_a_window_that_is_none_is_refused(hostile: Hostile, path: str, query: str, status: int, code: str) -> None:
    with unharmed(hostile):
        refused(ask(hostile, "GET", f"{path}?{query}"), status, code)


@pytest.mark.parametrize("path", LISTS)
def test_h47_a_cursor_of_another_list_is_refused(hostile: Hostile, path: str) -> None:
    with unharmed(hostile):
        refused(ask(hostile, "GET", f"{path}?after=file-{'0' * 26}"), 400, "bad_cursor")


DOCUMENTS = "/v1/collections/pets/documents"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_value"),
        ("limit=-1", "invalid_value"),
        ("limit=1000000000", "invalid_value"),
        ("limit=1180591620717411303424", "invalid_value"),
        ("order=sideways", "invalid_value"),
        ("after=" + "a" * 600, "invalid_value"),
        ("after=%00", "invalid_value"),
        ("id=", "invalid_value"),
        ("cursor=abc", "unknown_field"),
        ("limit=1&Limit=1", "unknown_field"),
        ("=1", "unknown_field"),
    ],
)
def test_h47_a_window_of_documents_that_is_none_is_refused(hostile: Hostile, query: str, code: str) -> None:
    with unharmed(hostile):
        refused(ask(hostile, "GET", f"{DOCUMENTS}?{query}"), 422, code)


@pytest.mark.parametrize("after", ["", "%27%20or%201%3D1", "%ff%fe", "file-" + "0" * 26])
def test_h47_any_id_is_a_place_in_the_list_of_documents(hostile: Hostile, after: str) -> None:
    with unharmed(hostile):
        assert ask(hostile, "GET", f"{DOCUMENTS}?after={after}").status == 200


def ordered(hostile: Hostile) -> tuple[str, str]:
    """The ids of a new job and of its file."""
    file = ask(hostile, "GET", "/v1/files?limit=1&order=asc").json()["data"][0]["id"]
    answer = post(hostile, "/v1/fine_tuning/jobs", f'{{"model": "{BASE}", "training_file": "{file}"}}'.encode())
    assert answer.status == 200, answer
    return answer.json()["id"], file


def test_h49_what_has_ended_cannot_be_ended_again(hostile: Hostile) -> None:
    job, _ = ordered(hostile)
    with closing(sqlite3.connect(hostile.home / "store.db")) as database, database:
        database.execute("UPDATE jobs SET status = 'failed' WHERE id = ?", (job,))
    for path in (f"/v1/fine_tuning/jobs/{job}/cancel", f"/v1/jobs/{job}/cancel"):
        with unharmed(hostile):
            answer = ask(hostile, "POST", path)
            refused(answer, 409, "job_terminal")
            assert answer.headers["x-should-retry"] == "false"


def test_h49_a_cancelled_job_may_be_cancelled_again(hostile: Hostile) -> None:
    job, _ = ordered(hostile)
    answers = [ask(hostile, "POST", f"/v1/jobs/{job}/cancel") for _ in range(2)]
    assert [(answer.status, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2


def test_h49_a_file_that_a_job_needs_stays_and_what_is_gone_is_not_found(hostile: Hostile) -> None:
    job, file = ordered(hostile)
    with unharmed(hostile):
        refused(ask(hostile, "DELETE", f"/v1/files/{file}"), 409, "in_use")
    assert ask(hostile, "POST", f"/v1/jobs/{job}/cancel").status == 200
    with unharmed(hostile):
        refused(ask(hostile, "DELETE", f"/v1/files/file-{'0' * 26}"), 404, "not_found")


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "https://evil.example"},
        {"origin": "null", "access_control_request_method": "POST"},
        {"x_forwarded_for": "6.6.6.6", "x_forwarded_proto": "https", "x_forwarded_host": "evil.example"},
        {
            "forwarded": "for=6.6.6.6;host=evil.example",
            "x_original_url": "/v1/files",
            "x_http_method_override": "DELETE",
        },
        {"host": "evil.example"},
    ],
    ids=range(5),
)
def test_h52_headers_that_lie_change_nothing(hostile: Hostile, fields: dict[str, str]) -> None:
    with unharmed(hostile):
        for method, path, status in (("GET", "/v1/collections/pets", 200), ("OPTIONS", "/v1/files", 405)):
            raw = head(method, path, key=hostile.key, **fields)
            if "host" in fields:
                raw = raw.replace(b"host: test\r\n", b"")
            answer = exchange(hostile, raw)
            assert answer.status == status and b"evil" not in answer.body
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["x-content-type-options"] == "nosniff" and "server" not in answer.headers


def test_h52_a_redirect_does_not_follow_a_forged_host(hostile: Hostile) -> None:
    answer = exchange(hostile, b"GET / HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: evil.example\r\n\r\n")
    assert (answer.status, answer.headers["location"]) == (307, "/docs")


@pytest.mark.parametrize("path", ["/<script>alert(1)</script>", "/v1/models/<script>", "/docs/<script>"])
def test_h52_what_is_shown_of_a_path_is_json(hostile: Hostile, path: str) -> None:
    with unharmed(hostile):
        answer = ask(hostile, "GET", path)
        refused(answer, 404, answer.json()["error"]["code"])


def test_after_a_fault_of_ours_the_connection_says_that_it_ends_and_the_next_one_works(hostile: Hostile) -> None:
    with unharmed(hostile), connected(hostile) as wire:
        body = f'{{"model": "{FAULTY}", "input": "a"}}'.encode()
        fields = {"content_type": "application/json", "content_length": str(len(body))}
        wire.sendall(head("POST", "/v1/embeddings", key=hostile.key, **fields) + body)
        answer = read(wire)
        assert answer is not None and answer.is_closed
        assert "ZeroDivision" not in refused(answer, 500, "internal_error")["detail"]


def test_a_number_that_every_check_let_through_is_still_the_callers_mistake(hostile: Hostile) -> None:
    with unharmed(hostile):
        answer = post(hostile, "/v1/embeddings", f'{{"model": "{HUGE}", "input": "a"}}'.encode())
        refused(answer, 422, "invalid_value")


def test_an_error_of_the_caller_keeps_the_connection(hostile: Hostile) -> None:
    with unharmed(hostile), connected(hostile) as wire:
        for path, status in (("/nowhere", 404), ("/v1/files?limit=0", 422), ("/v1/collections/pets", 200)) * 2:
            wire.sendall(head("GET", path, key=hostile.key))
            answer = read(wire)
            assert answer is not None and answer.status == status
