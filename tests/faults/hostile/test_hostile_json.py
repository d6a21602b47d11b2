"""H1 to H12, H20, H36, H37: bodies that are no JSON, no values, or values that no training can have."""

import json
from typing import Any

import pytest

from tests.faults.hostile.gateway import BASE, Hostile
from tests.faults.hostile.wire import Answer, ask, post, refused, unharmed

JOBS = "/v1/fine_tuning/jobs"
ROUTES = {
    JOBS: {"model": BASE, "training_file": "file-x"},
    "/v1/mining": {"model": BASE, "training_file": "file-x"},
    "/v1/evaluations": {"models": [BASE], "file": "file-x"},
    "/v1/uploads": {"filename": "p", "purpose": "fine-tune", "bytes": 9, "mime_type": ""},
    "/v1/model_exports": {"model": "no/such"},
    "/v1/embeddings": {"model": BASE, "input": "a dog"},
    "/v1/collections": {"name": "new", "dimension": 8},
    "/v1/collections/pets/documents": {"documents": [{"id": "a", "vector": [1, 0, 0, 0, 0, 0, 0, 0]}]},
    "/v1/collections/pets/query": {"vector": [1, 0, 0, 0, 0, 0, 0, 0]},
}
BODIES = [
    ("H1", b"[" * 100_000, "invalid_json", "nesting too deep"),
    ("H1", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "invalid_json", "nesting too deep"),
    ("H3", b'{"model": "\\ud800"}', "invalid_json", "not valid JSON"),
    ("H3", b'{"model": ["\\ud800"], "name": 1}', "invalid_json", "not valid JSON"),
    ("H5", b'{"model": "\xff"}', "invalid_json", "byte offset 11"),
    ("H6", '{"model": 1}'.encode("utf-16"), "invalid_json", "UTF-8 without BOM"),
    ("H6", '{"model": 1}'.encode("utf-32-be"), "invalid_json", "UTF-8 without BOM"),
    ("H6", b"\xef\xbb\xbf{}", "invalid_json", "UTF-8 without BOM"),
    ("H7", b'{"model": ' + b"9" * 5_000 + b"}", "invalid_json", "number out of range"),
    ("H12", b"", "invalid_json", "not valid JSON"),
    ("H12", b"null", "invalid_value", "body must be an object"),
    ("H12", b"[]", "invalid_value", "body must be an object"),
    ("H12", b'"x"', "invalid_value", "body must be an object"),
    ("H12", b"{} {}", "invalid_json", "not valid JSON"),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(("row", "raw", "code", "said"), BODIES, ids=[f"{b[0]}-{n}" for n, b in enumerate(BODIES)])
def test_what_is_no_object_in_json_is_refused_on_every_route(
    hostile: Hostile, row: str, raw: bytes, code: str, said: str, path: str
) -> None:
    with unharmed(hostile):
        assert said in refused(post(hostile, path, raw), 422, code)["detail"], row


def changed(path: str, spot: str, raw: str) -> bytes:
    """The route's good body with `raw` at the spot."""
    return json.dumps({**ROUTES[path], spot: "SPOT"}).replace('"SPOT"', raw).encode()


QUERY = "/v1/collections/pets/query"
EMBED = "/v1/embeddings"


@pytest.mark.parametrize(
    ("row", "path", "spot", "raw", "code", "said"),
    [
        ("H2", JOBS, "seed", "NaN", "invalid_value", "seed"),
        ("H2", JOBS, "hyperparameters", '{"learning_rate_multiplier": 1e999}', "invalid_value", "finite number"),
        ("H2", QUERY, "vector", "[1, NaN, 0, 0, 0, 0, 0, 0]", "invalid_value", "finite"),
        ("H2", QUERY, "vector", "[1, -Infinity, 0, 0, 0, 0, 0, 0]", "invalid_value", "finite"),
        ("H2", QUERY, "vector", "[1, 1e999, 0, 0, 0, 0, 0, 0]", "invalid_value", "finite"),
        ("H4", JOBS, "model", '"a\\u0000b"', "invalid_text", "NUL"),
        ("H4", EMBED, "input", '["ok", "a\\u0000b"]', "invalid_text", "NUL"),
        ("H4", QUERY, "query", '"a\\u0000b"', None, ""),
        ("H4", "/v1/collections", "metadata", '{"a\\u0000": "b"}', "invalid_text", "NUL"),
        ("H4", "/v1/collections/pets/documents", "documents", '[{"id": "\\u0000"}]', "invalid_text", "NUL"),
        ("H7", JOBS, "seed", "1180591620717411303424", "invalid_value", "9007199254740992"),
        ("H7", QUERY, "k", "1180591620717411303424", "invalid_value", "1000"),
        ("H2", "/v1/mining", "max_score", "NaN", "invalid_value", "max_score"),
        ("H7", "/v1/mining", "range", "[1, 1180591620717411303424]", "invalid_value", "9007199254740992"),
        ("H7", "/v1/evaluations", "ks", "[-1]", "invalid_value", "1"),
        ("H8", "/v1/mining", "per_query", '"5"', "invalid_value", "per_query"),
        ("H8", "/v1/mining", "range", "[10, true]", "invalid_value", "range"),
        ("H8", "/v1/evaluations", "models", '"a"', "invalid_value", "models"),
        ("H7", QUERY, "k", "-1", "invalid_value", "1"),
        ("H7", QUERY, "k", "0", "invalid_value", "1"),
        ("H7", EMBED, "dimensions", "0", "invalid_value", "1"),
        ("H7", "/v1/collections", "dimension", "1e400", None, ""),
        ("H7", "/v1/collections", "dimension", "9000", "invalid_value", "8192"),
        ("H7", "/v1/uploads", "bytes", "-1", "invalid_value", "1"),
        ("H8", "/v1/uploads", "bytes", "9.0", "invalid_value", "bytes"),
        ("H4", "/v1/uploads", "filename", '"a\\u0000b"', "invalid_text", "NUL"),
        ("H8", "/v1/uploads", "mapping", '["anchor"]', "invalid_value", "mapping"),
        ("H10", "/v1/model_exports", "formats", '"x"', "unknown_field", "did you mean format"),
        ("H8", JOBS, "seed", "true", "invalid_value", "seed"),
        ("H8", JOBS, "seed", '"5"', "invalid_value", "seed"),
        ("H8", JOBS, "seed", "5.0", "invalid_value", "seed"),
        ("H8", QUERY, "k", "true", "invalid_value", "k"),
        ("H8", QUERY, "exact", "0", "invalid_value", "boolean"),
        ("H8", QUERY, "offset", "false", "invalid_value", "integer"),
        ("H8", QUERY, "offset", "0.0", "invalid_value", "integer"),
        ("H8", "/v1/collections", "dimension", '"8"', "invalid_value", "dimension"),
        ("H10", JOBS, "trainig_file", "1", "unknown_field", "did you mean training_file"),
        ("H10", EMBED, "inputs", "1", "unknown_field", "did you mean input"),
        ("H10", QUERY, "__proto__", "{}", "unknown_field", "__proto__"),
    ],
)
def test_a_value_that_is_none_is_refused_where_it_stands(
    hostile: Hostile, row: str, path: str, spot: str, raw: str, code: str | None, said: str
) -> None:
    with unharmed(hostile):
        answer = post(hostile, path, changed(path, spot, raw))
        body = refused(answer, 422, code or answer.json()["error"]["code"])
        assert said in body["detail"], row


def test_h9_of_equal_keys_the_last_one_counts(hostile: Hostile) -> None:
    with unharmed(hostile):
        answer = post(hostile, EMBED, b'{"model": "no/such", "model": "tiny/base", "input": "a", "input": "b"}')
        assert (answer.status, answer.json()["model"]) == (200, BASE)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json; charset=bogus", "application/json, text/html", "multipart/form-data", "é"],
)
def test_h11_another_content_type_is_unsupported(hostile: Hostile, path: str, content_type: str) -> None:
    with unharmed(hostile):
        answer = post(hostile, path, json.dumps(ROUTES[path]).encode(), content_type=content_type)
        refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [*[(path, "application/json") for path in ROUTES], ("/v1/files", "multipart/form-data; boundary=abc")],
)
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "identity, gzip"])
def test_h20_an_encoded_body_is_unsupported(hostile: Hostile, path: str, content_type: str, encoding: str) -> None:
    with unharmed(hostile):
        answer = post(hostile, path, b"\x1f\x8b\x08", content_type=content_type, content_encoding=encoding)
        refused(answer, 415, "unsupported_encoding")


def ordered(hostile: Hostile, **body: Any) -> Answer:
    """The answer to an order of a training with the file that there is."""
    file = ask(hostile, "GET", "/v1/files?limit=1&order=asc").json()["data"][0]["id"]
    return post(hostile, JOBS, json.dumps({"model": BASE, "training_file": file, **body}).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", 1e9),
        ("n_epochs", 0),
        ("n_epochs", 10**9),
        ("batch_size", 0),
        ("batch_size", 10**7),
        ("max_seq_length", 0),
        ("max_seq_length", 10**6),
        ("temperature", 0.0),
        ("temperature", -0.05),
        ("warmup_ratio", 1.1),
        ("warmup_ratio", -0.1),
        ("dropout", 1.0),
        ("queue_size", -1),
        ("queue_size", 2**53),
        ("momentum", 2.0),
        ("max_chunk_tokens", 0),
        ("num_views", 0),
        ("matryoshka_dims", [0]),
        ("matryoshka_dims", [10**9]),
        ("lora", {"r": 0}),
        ("lora", {"r": 10**9}),
        ("early_stopping", {"patience": 0}),
        ("early_stopping", {"metric": "x" * 65}),
        ("precision", "int128"),
        ("negatives", "imagined"),
    ],
)
def test_h36_a_hyperparameter_out_of_range_is_refused_by_name(hostile: Hostile, name: str, value: Any) -> None:
    with unharmed(hostile):
        answer = ordered(hostile, method={"type": "contrastive", "contrastive": {"hyperparameters": {name: value}}})
        body = refused(answer, 422, answer.json()["error"]["code"])
        assert name in body["detail"], body["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"suffix": "../x"},
        {"suffix": "x" * 65},
        {"hyperparameters": {"n_epochs": 0}},
        {"hyperparameters": {"learning_rate_multiplier": -1.0}},
        {"method": {"contrastive": {"evaluation": {"held_out": 0.9}}}},
        {"method": {"contrastive": {"evaluation": {"ks": [0]}}}},
        {"method": {"contrastive": {"priority": 10**6}}},
        {"method": {"contrastive": {"hard_negatives": {"max_per_query": -1}}}},
        {"metadata": {f"k{number}": "v" for number in range(17)}},
        {"metadata": {"k" * 65: "v"}},
        {"integrations": ["wandb"]},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_h36_an_order_that_no_worker_could_follow_is_refused_at_the_door(
    hostile: Hostile, body: dict[str, Any]
) -> None:
    with unharmed(hostile):
        answer = ordered(hostile, **body)
        refused(answer, 422, answer.json()["error"]["code"])


MODELS = [
    "../../etc/passwd",
    "/etc",
    "..",
    ".",
    "http://169.254.169.254/latest/meta-data",
    "file:///etc/passwd",
    "org/repo",
    "tiny/base/../base",
    "tiny/./base",
    "tiny//base",
    "tiny\\base",
    "ft:tiny:x:0000",
    "~",
    "x" * 512,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model[:40])
@pytest.mark.parametrize("path", [JOBS, EMBED, "/v1/collections"])
def test_h37_a_model_that_is_none_opens_no_file(hostile: Hostile, path: str, model: str) -> None:
    with unharmed(hostile):
        answer = post(hostile, path, json.dumps({**ROUTES[path], "model": model}).encode())
        code = answer.json()["error"]["code"]
        assert code in ("unknown_base_model", "model_not_found")
        assert "passwd:" not in refused(answer, 404 if code == "model_not_found" else 422, code)["detail"]


@pytest.mark.parametrize("model", ["", "x" * 10_240])
def test_h37_a_model_whose_name_is_no_name_is_refused(hostile: Hostile, model: str) -> None:
    with unharmed(hostile):
        refused(post(hostile, EMBED, json.dumps({"model": model, "input": "a"}).encode()), 422, "invalid_value")
