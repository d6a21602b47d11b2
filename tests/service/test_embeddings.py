"""Embeddings: OpenAI's shape, the model's prompt by side, and clear refusals."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.config import Side
from service.schemas.embeddings import Embeddings
from tests.service.conftest import BASE, DIMENSIONS, Gateway, WordEncoder, problem


def embed(gateway: Gateway, **body: Any) -> Any:
    return gateway.http.post("/v1/embeddings", json={"model": BASE, **body})


def test_vectors_come_in_the_order_of_the_texts_with_the_tokens_read(gateway: Gateway) -> None:
    texts = ["the dog barks", "a cat"]
    body = embed(gateway, input=texts).json()
    assert (body["object"], body["model"], body["usage"]) == ("list", BASE, {"prompt_tokens": 5, "total_tokens": 5})
    assert [item["index"] for item in body["data"]] == [0, 1]
    expected = WordEncoder().encode(texts, side=Side.DOCUMENT)
    assert np.allclose([item["embedding"] for item in body["data"]], expected)


def test_base64_is_the_same_vector_as_little_endian_float32(gateway: Gateway) -> None:
    listed = embed(gateway, input="the dog").json()["data"][0]["embedding"]
    coded = embed(gateway, input="the dog", encoding_format="base64").json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(coded), "<f4").tolist() == pytest.approx(listed)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_refused_with_the_setting_that_avoids_them(gateway: Gateway, tokens: list[Any]) -> None:
    assert "check_embedding_ctx_length=False" in problem(embed(gateway, input=tokens), 400, "token_input")["detail"]


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"input": ""}, 422, "empty_text"),
        ({"input": ["a", " \u200b"]}, 422, "empty_text"),
        ({"input": []}, 422, "invalid_value"),
        ({"input": ["a"] * 2_049}, 422, "invalid_value"),
        ({"input": ["a", 1]}, 422, "invalid_value"),
        ({"input": None}, 422, "invalid_value"),
        ({"input": {"text": "a"}}, 422, "invalid_value"),
        ({"input": "x" * 32_769}, 422, "text_too_long"),
        ({"input": "a\0b"}, 422, "invalid_text"),
        ({"input": "a", "dimensions": 4}, 400, "unsupported_dimensions"),
        ({"input": "a", "dimensions": 0}, 422, "invalid_value"),
        ({"input": "a", "encoding_format": "hex"}, 422, "invalid_value"),
        ({"input": "a", "input_type": "passage"}, 422, "invalid_value"),
        ({"input": "a", "model": "nobody/knows"}, 404, "model_not_found"),
    ],
)
def test_what_cannot_be_embedded_is_refused(gateway: Gateway, asked: dict[str, Any], status: int, code: str) -> None:
    problem(embed(gateway, **asked), status, code)
    assert gateway.loaded == []


def test_the_models_own_dimensions_may_be_asked_for(gateway: Gateway) -> None:
    assert embed(gateway, input="a", dimensions=DIMENSIONS).status_code == 200


def test_an_answer_is_what_its_schema_says_and_its_header_tells_where_the_time_went(gateway: Gateway) -> None:
    answer = embed(gateway, input=["the dog", "a cat"])
    assert Embeddings.model_validate_json(answer.content).model_dump(mode="json") == answer.json()
    stages = dict(re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"]))
    assert list(stages) == ["tokenize", "queue", "infer"] and all(float(spent) >= 0 for spent in stages.values())


@pytest.fixture
def matryoshka(gateway: Gateway, tmp_path: Path) -> Gateway:
    """The gateway, whose base model was trained for prefixes of 4 numbers, and says so of 16 that it does not have."""
    path = tmp_path / "models" / BASE / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"matryoshka_dimensions": [4, 16]}))
    return gateway


@pytest.mark.parametrize("form", ["float", "base64"])
def test_a_prefix_that_the_model_was_trained_for_is_cut_and_of_unit_length_again(
    matryoshka: Gateway, form: str
) -> None:
    found = embed(matryoshka, input="the dog", dimensions=4, encoding_format=form).json()["data"][0]["embedding"]
    vector = np.frombuffer(base64.b64decode(found), "<f4") if form == "base64" else np.array(found)
    whole = WordEncoder().encode(["the dog"], side=Side.DOCUMENT)[0]
    assert np.allclose(vector, whole[:4] / np.linalg.norm(whole[:4]), atol=1e-6)


@pytest.mark.parametrize("dimensions", [3, 5, 16])
def test_any_other_prefix_is_refused_with_those_that_there_are(matryoshka: Gateway, dimensions: int) -> None:
    detail = problem(embed(matryoshka, input="a", dimensions=dimensions), 400, "unsupported_dimensions")["detail"]
    assert detail.endswith(f"was not trained for {dimensions}; ask for 4, or leave dimensions out")


def test_as_many_texts_as_one_call_may_bring_are_answered(gateway: Gateway) -> None:
    texts = [f"dog {number % 50}" for number in range(2_048)]
    body = embed(gateway, input=texts).json()
    expected = WordEncoder().encode(texts, side=Side.DOCUMENT)
    assert np.allclose([item["embedding"] for item in body["data"]], expected, atol=1e-6)


def test_who_comes_when_too_much_waits_is_told_when_to_come_again(
    serve: Callable[..., Gateway],
) -> None:
    gateway = serve(max_waiting_characters=0)
    answer = embed(gateway, input="the dog")
    problem(answer, 429, "embedding_limit")
    assert int(answer.headers["retry-after"]) >= 1
