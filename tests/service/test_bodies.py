"""Strict JSON: every hostile input that a body alone decides."""

import pytest

from infonce.config import EncoderConfig, TrainConfig
from service.bodies import parse
from service.errors import InvalidInput
from service.schemas.collections import CollectionQuery
from service.schemas.documents import DocumentBody
from service.schemas.jobs import Hyperparameters, JobCreate
from tests.service.conftest import Gateway, problem

JOBS = "/v1/fine_tuning/jobs"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        (b"[" * 100_000, "invalid_json", "nesting too deep"),
        (b'{"model": "\\ud800"}', "invalid_json", "not valid JSON"),
        (b'{"model": "\xff"}', "invalid_json", "byte offset 11"),
        ('{"model": 1}'.encode("utf-16"), "invalid_json", "UTF-8 without BOM"),
        (b"\xef\xbb\xbf{}", "invalid_json", "UTF-8 without BOM"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "invalid_json", "number out of range"),
        (b"", "invalid_json", "not valid JSON"),
        (b"null", "invalid_value", "body must be an object"),
        (b"[]", "invalid_value", "body must be an object"),
        (b'{"model": "a\\u0000b", "training_file": "f"}', "invalid_text", "NUL"),
        (b'{"model": "m", "training_file": "f", "seed": true}', "invalid_value", "seed"),
        (b'{"model": "m", "training_file": "f", "seed": "5"}', "invalid_value", "seed"),
        (b'{"model": "m", "training_file": "f", "seed": 5.0}', "invalid_value", "seed"),
        (b'{"model": "m", "training_file": "f", "seed": 1180591620717411303424}', "invalid_value", "9007199254740992"),
        (b'{"model": "m"}', "missing_field", "training_file is missing"),
    ],
)
def test_a_hostile_body_is_refused_with_its_reason(gateway: Gateway, raw: bytes, code: str, said: str) -> None:
    body = problem(gateway.http.post(JOBS, content=raw, headers=JSON), 422, code)
    assert said in body["detail"]
    assert gateway.http.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_number_must_be_finite(gateway: Gateway, number: bytes) -> None:
    raw = b'{"model": "m", "training_file": "f", "method": {"contrastive": {"hyperparameters": {"dropout": %s}}}}'
    body = problem(gateway.http.post(JOBS, content=raw % number, headers=JSON), 422, "invalid_value")
    assert "finite number" in body["detail"]
    assert body["errors"][0]["pointer"] == "/method/contrastive/hyperparameters/dropout"


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert parse(JobCreate, b'{"model": "a", "model": "b", "training_file": "f"}').model == "b"


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    raw = b'{"model": "m", "method": {"contrastive": {"hyperparameters": {"learning_rte": 1}}}}'
    with pytest.raises(InvalidInput) as caught:
        parse(JobCreate, raw)
    assert caught.value.code == "unknown_field"
    assert str(caught.value).endswith("hyperparameters.learning_rte is not a known field; did you mean learning_rate?")


def test_an_unknown_key_like_none_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="known are id, metadata, text, vector"):
        parse(DocumentBody, b'{"id": "a", "zzzzzz": 1}')


def test_no_value_of_the_caller_is_echoed(gateway: Gateway) -> None:
    raw = b'{"model": ["s3cret"], "training_file": "f", "seed": "s3cret", "metadata": {"a": {"s3cret": 1}}}'
    assert "s3cret" not in gateway.http.post(JOBS, content=raw, headers=JSON).text


@pytest.mark.parametrize("escaped", ['"\\\\u0000"', '"\\u00001"'])
def test_nul_is_told_from_a_text_that_spells_it(escaped: str) -> None:
    raw = f'{{"id": "a", "text": {escaped}}}'.encode()
    if escaped.startswith('"\\\\'):
        assert parse(DocumentBody, raw).text == "\\u0000"
    else:
        with pytest.raises(InvalidInput, match=r"text: NUL"):
            parse(DocumentBody, raw)


@pytest.mark.parametrize("vector", ["[]", "[1, NaN]", "[1, 1e309]", "[0, 0]", "[true]", '["1"]', '"AAA"', '"é"', "{}"])
def test_a_vector_that_has_no_direction_is_refused(vector: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(CollectionQuery, f'{{"vector": {vector}}}'.encode())
    assert caught.value.places[0].pointer == "/vector"


@pytest.mark.parametrize("vector", [b"[3e307, 4e307]", b"[3e-320, 4e-320]", b"[3, 4]"])
def test_a_vector_keeps_its_direction_and_nothing_else(vector: bytes) -> None:
    unit = parse(CollectionQuery, b'{"vector": %s}' % vector).vector
    assert unit is not None and unit.tolist() == pytest.approx([0.6, 0.8], abs=1e-3)


def test_a_list_and_base64_give_the_same_unit_vector() -> None:
    listed = parse(CollectionQuery, b'{"vector": [3, 4.0]}').vector
    coded = parse(CollectionQuery, b'{"vector": "AABAQAAAgEA="}').vector
    assert listed is not None and coded is not None
    assert listed.tolist() == coded.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("value", ["1e999", "NaN", '{"nested": 1}', "[[1]]"])
def test_metadata_of_documents_holds_scalars_and_lists_of_them(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(DocumentBody, f'{{"id": "a", "metadata": {{"key": {value}}}}}'.encode())
    assert caught.value.places[0].pointer == "/metadata/key"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json; charset=bogus"])
def test_another_content_type_is_unsupported(gateway: Gateway, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    problem(gateway.http.post(JOBS, content=b"{}", headers=headers), 415, "unsupported_media_type")


def test_an_encoded_body_is_unsupported(gateway: Gateway) -> None:
    answer = gateway.http.post(JOBS, content=b"{}", headers=JSON | {"content-encoding": "gzip"})
    problem(answer, 415, "unsupported_encoding")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_with_the_limit(gateway: Gateway, chunked: bool) -> None:
    raw = b" " * ((1 << 20) + 1)
    answer = gateway.http.post(JOBS, content=iter([raw]) if chunked else raw, headers=JSON)
    assert "1048576" in problem(answer, 413, "too_large")["detail"]
    assert answer.headers["connection"] == "close"


def test_the_defaults_of_the_body_are_those_of_the_library() -> None:
    body, config = Hyperparameters(), TrainConfig()
    known = config.to_dict() | config.loss.to_dict()
    shared = set(type(body).model_fields) & set(known)
    assert {name: getattr(body, name) for name in shared} == {name: known[name] for name in shared}
    assert body.max_seq_length == EncoderConfig().max_seq_length


def test_a_whole_number_too_large_to_be_exact_is_refused_and_not_rounded(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "big", "dimension": 2})
    document = {"id": "a", "vector": [1.0, 0.0], "metadata": {"n": 2**60}}
    problem(gateway.http.post("/v1/collections/big/documents", json={"documents": [document]}), 422, "invalid_value")
    document["metadata"] = {"n": 2**50, "f": 0.5}
    assert gateway.http.post("/v1/collections/big/documents", json={"documents": [document]}).status_code == 200
