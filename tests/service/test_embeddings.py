"""Embeddings: OpenAI's shape, the model's prompt by side, and clear refusals."""

import base64
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infonce.config import Precision, Side
from infonce.encoder import Encoder
from infonce.hub import FoundModel, Source
from service import embedder
from service.embedder import Embedder, Loader, encoder_loader
from service.errors import Unavailable
from service.store.artifacts import Artifacts
from service.store.errors import ArtifactCorrupt
from tests.factories import tiny_model
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


class SidedEncoder(WordEncoder):
    """Has a prompt for each side, as E5 models do."""

    def prompt(self, side: Side) -> str:
        return f"{side}: "

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        return super().encode([self.prompt(side) + text for text in texts], side=side)


def model(name: str) -> FoundModel:
    return FoundModel(name=name, path=Path(name), source=Source.FOLDER)


def test_the_side_decides_the_prompt_and_the_prompt_counts_as_tokens() -> None:
    found = Embedder(lambda _: SidedEncoder())
    query, document = (found.embed(model("m"), ["dog"], side=side) for side in Side)
    assert not np.allclose(query.vectors, document.vectors) and query.num_tokens == 2
    found.close()


def test_two_models_stay_loaded_and_the_one_used_longest_ago_goes() -> None:
    loaded: list[str] = []

    def load(found: FoundModel) -> WordEncoder:
        loaded.append(found.name)
        return WordEncoder()

    found = Embedder(load)
    for name in ("a", "b", "a", "c", "a", "b"):
        found.embed(model(name), ["dog"], side=Side.QUERY)
    assert loaded == ["a", "b", "c", "b"]
    found.close()


def test_when_too_many_wait_the_next_one_is_told_to_come_again(until: Callable[..., None]) -> None:
    go = threading.Event()

    class Slow(WordEncoder):
        def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
            go.wait(10)
            return super().encode(texts, side=side)

    found = Embedder(lambda _: Slow())
    results: list[object] = []

    def ask() -> None:
        results.append(found.embed(model("m"), ["dog"], side=Side.QUERY))

    waiting = [threading.Thread(target=ask) for _ in range(embedder.MAX_WAITING)]
    for thread in waiting:
        thread.start()
    until(lambda: found._places._value == 0)
    with pytest.raises(Unavailable, match="16 requests wait"):
        ask()
    go.set()
    for thread in waiting:
        thread.join()
    assert len(results) == embedder.MAX_WAITING
    found.close()


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    """The real loader over a store of sealed models."""
    artifacts = Artifacts(tmp_path / "artifacts")
    artifacts.prepare()
    return encoder_loader(artifacts.verify, threads=1)


def sealed(tmp_path: Path) -> FoundModel:
    """A tuned model with weights, as a worker publishes it."""
    artifacts = Artifacts(tmp_path / "artifacts")
    staging = tiny_model(tmp_path / "staging")
    artifacts.prepare()
    artifacts.seal(staging)
    return FoundModel(name="ft:tiny:x:1", path=staging, source=Source.TUNED)


def test_a_real_model_gives_unit_vectors_and_counts_its_tokens(tmp_path: Path, loader: Loader) -> None:
    found = Embedder(loader)
    embedded = found.embed(sealed(tmp_path), ["red cat", "green dog runs"], side=Side.QUERY)
    assert embedded.vectors.shape == (2, 32) and np.allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-5)
    assert embedded.num_tokens >= 5 and len(embedded.fingerprint) == 64
    found.close()


def test_vectors_are_served_in_the_precision_that_was_set(tmp_path: Path) -> None:
    model = sealed(tmp_path)
    found = Embedder(encoder_loader(Artifacts(tmp_path / "artifacts").verify, threads=1, precision=Precision.INT8))
    served = found.embed(model, ["red cat", "green dog runs"], side=Side.QUERY).vectors
    exact = Encoder.load(model.path).encode(["red cat", "green dog runs"], side=Side.QUERY)
    assert (served * exact).sum(axis=1).min() >= 0.995
    assert not np.array_equal(served, exact)
    found.close()


def test_damaged_weights_of_a_tuned_model_are_not_served(tmp_path: Path, loader: Loader) -> None:
    model = sealed(tmp_path)
    with (model.path / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    found = Embedder(loader)
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors"):
        found.embed(model, ["red cat"], side=Side.QUERY)
    found.close()
