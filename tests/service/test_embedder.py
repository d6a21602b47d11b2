"""The embedder: who waits is gathered into fair batches, models stay while they fit, a vector is its text's own."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from infonce.config import Precision, Side
from infonce.encoder import Encoder
from infonce.hub import FoundModel, Source
from infonce.layout import WEIGHTS
from infonce.tokens import TokenizedTexts
from service.embedder import Embedder, encoder_loader
from service.errors import Unavailable
from service.loaded_models import LoadedModels, Loader
from service.store.artifacts import Artifacts
from service.store.errors import ArtifactCorrupt
from tests.factories import sentences, tiny_model
from tests.service.conftest import WordEncoder

Starts = Callable[..., Embedder]


@pytest.fixture
def start() -> Iterator[Starts]:
    """Starts an embedder over a loader; all of them are closed in the end."""
    started: list[Embedder] = []

    def make(load: Loader, *, max_bytes: int = 1 << 30, max_waiting_characters: int = 1 << 20) -> Embedder:
        models = LoadedModels(load, max_bytes=max_bytes)
        started.append(Embedder(models, max_waiting_characters=max_waiting_characters))
        return started[-1]

    yield make
    for embedder in started:
        embedder.close()


class Held(WordEncoder):
    """Computes a batch each time it is let; remembers the lengths of what it was given."""

    chunk_tokens = 2  # 8 a batch

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may = threading.Semaphore(0), threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def encode_tokens(self, tokens: TokenizedTexts) -> NDArray[np.float32]:
        self.batches.append(tokens.lengths.tolist())
        self.began.release()
        assert self.may.acquire(timeout=10)
        return super().encode_tokens(tokens)


def model(name: str) -> FoundModel:
    return FoundModel(name=name, path=Path(name), source=Source.FOLDER)


def test_the_side_decides_the_prompt_and_the_prompt_counts_as_tokens(start: Starts) -> None:
    class Sided(WordEncoder):
        def prompt(self, side: Side) -> str:
            return f"{side}: "

    found = start(lambda _: Sided())
    query, document = (found.embed(model("m"), ["dog"], side=side) for side in Side)
    assert not np.allclose(query.vectors, document.vectors) and query.num_tokens == 2


def test_whoever_waits_shares_the_next_batch(start: Starts) -> None:
    encoder = Held()
    found = start(lambda _: encoder)
    first = found.submit(model("m"), ["dog"], side=Side.QUERY)
    assert encoder.began.acquire(timeout=10)
    others = [found.submit(model("m"), [f"dog {n}"], side=Side.QUERY) for n in range(4)]
    encoder.may.release(2)
    expected = WordEncoder().encode(["dog 3"], side=Side.QUERY)
    assert np.allclose(others[3].result(10).vectors, expected) and first.result(10).num_tokens == 1
    assert encoder.batches == [[1], [2, 2, 2, 2]]


def test_a_large_request_gives_a_small_one_its_turn_in_the_next_batch(start: Starts) -> None:
    encoder = Held()
    found = start(lambda _: encoder)
    large = found.submit(model("m"), ["the dog barks"] * 100, side=Side.QUERY)
    assert encoder.began.acquire(timeout=10)
    small = found.submit(model("m"), ["a cat"], side=Side.QUERY)
    encoder.may.release(2)
    assert small.result(10).num_tokens == 2 and encoder.batches[1] == [3, 2, 3]
    assert not large.done()
    encoder.may.release(100)
    assert large.result(10).vectors.shape == (100, 8)


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own(start: Starts) -> None:
    encoder = Held()
    found = start(lambda _: encoder)
    encoder.may.release(9)
    assert found.embed(model("m"), ["a " * 20, "a b", "c"], side=Side.QUERY).num_tokens == 23
    assert encoder.batches == [[20], [2, 1]]


def test_who_does_not_wait_any_more_takes_no_part_of_a_batch(start: Starts) -> None:
    encoder = Held()
    found = start(lambda _: encoder)
    first = found.submit(model("m"), ["dog"], side=Side.QUERY)
    assert encoder.began.acquire(timeout=10)
    gone, other = (found.submit(model("m"), ["dog"] * 2, side=Side.QUERY) for _ in range(2))
    assert gone.cancel()
    encoder.may.release(2)
    assert other.result(10).num_tokens == 2 and first.done() and encoder.batches == [[1], [1, 1]]


def loads(loaded: list[str]) -> Loader:
    def load(found: FoundModel) -> WordEncoder:
        loaded.append(found.name)
        return WordEncoder()

    return load


@pytest.mark.parametrize(("max_bytes", "expected"), [(3, "abc"), (2, "abcb"), (1, "abacab"), (0, "abacab")])
def test_models_stay_while_their_weights_fit_and_the_one_used_longest_ago_goes(
    start: Starts, max_bytes: int, expected: str
) -> None:
    loaded: list[str] = []
    found = start(loads(loaded), max_bytes=max_bytes)
    for name in "abacab":
        found.embed(model(name), ["dog"], side=Side.QUERY)
    assert "".join(loaded) == expected


def test_others_leave_before_a_model_is_read_that_would_not_fit_beside_them(start: Starts, tmp_path: Path) -> None:
    beside, alive = list[int](), WeakSet[WordEncoder]()

    def load(found: FoundModel) -> WordEncoder:
        beside.append(len(alive))
        encoder = WordEncoder()
        encoder.num_bytes = 8
        alive.add(encoder)
        return encoder

    embedder = start(load, max_bytes=16)
    for name in "abca":
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        save_file({"weight": np.zeros(2, np.float16)}, folder / WEIGHTS)  # 8 bytes in float32
        found = FoundModel(name=name, path=folder, source=Source.FOLDER)
        embedder.embed(found, ["dog"], side=Side.QUERY)
    assert beside == [0, 1, 1, 1]


def test_what_fails_reaches_those_who_wait_for_it_and_nobody_else(start: Starts) -> None:
    def load(found: FoundModel) -> WordEncoder:
        if found.name == "broken":
            raise ZeroDivisionError("broken")
        return WordEncoder()

    found = start(load)
    broken, whole = (found.submit(model(name), ["dog"], side=Side.QUERY) for name in ("broken", "whole"))
    with pytest.raises(ZeroDivisionError, match="broken"):
        broken.result(10)
    assert whole.result(10).num_tokens == 1


def test_when_too_much_waits_the_next_one_is_told_to_come_again(start: Starts) -> None:
    encoder = Held()
    found = start(lambda _: encoder, max_waiting_characters=10)
    waiting = found.submit(model("m"), ["the dog barks"], side=Side.QUERY)
    with pytest.raises(Unavailable, match="13 characters wait for their vectors, more than 10") as caught:
        found.submit(model("m"), ["dog"], side=Side.QUERY)
    assert (caught.value.code, caught.value.retry_after_seconds) == ("embedding_limit", 1)
    encoder.may.release(2)
    waiting.result(10)
    assert found.embed(model("m"), ["dog"], side=Side.QUERY).num_tokens == 1


def test_what_waits_when_the_server_ends_is_told_so(start: Starts) -> None:
    encoder = Held()
    found = start(lambda _: encoder)
    at_work = found.submit(model("m"), ["dog"], side=Side.QUERY)
    assert encoder.began.acquire(timeout=10)
    waiting = found.submit(model("n"), ["dog"], side=Side.QUERY)
    ending = threading.Thread(target=found.close)
    ending.start()
    encoder.may.release(2)
    ending.join(10)
    assert at_work.result(10).num_tokens == 1
    with pytest.raises(Unavailable, match="ends"):
        waiting.result(10)


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    """The real loader over a store of sealed models."""
    artifacts = Artifacts(tmp_path / "artifacts")
    artifacts.prepare()
    return encoder_loader(artifacts.verify, threads=1)


def sealed(tmp_path: Path, family: str = "bert") -> FoundModel:
    """A tuned model with weights, as a worker publishes it."""
    artifacts = Artifacts(tmp_path / "artifacts")
    staging = tiny_model(tmp_path / "staging", family)
    artifacts.prepare()
    artifacts.seal(staging)
    return FoundModel(name="ft:tiny:x:1", path=staging, source=Source.TUNED)


def test_a_real_model_gives_unit_vectors_and_counts_its_tokens(tmp_path: Path, loader: Loader, start: Starts) -> None:
    embedded = start(loader).embed(sealed(tmp_path), ["red cat", "green dog runs"], side=Side.QUERY)
    assert embedded.vectors.shape == (2, 32) and np.allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-5)
    assert embedded.num_tokens >= 5 and len(embedded.fingerprint) == 64


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_a_vector_does_not_depend_on_what_its_text_was_batched_with(
    tmp_path: Path, loader: Loader, start: Starts, family: str
) -> None:
    found, tuned, texts = start(loader), sealed(tmp_path, family), sentences(60)
    alone = [found.embed(tuned, [text], side=Side.QUERY).vectors[0] for text in texts]
    asked = [found.submit(tuned, texts[place : place + 7], side=Side.QUERY) for place in range(0, 60, 7)]
    together = np.concatenate([one.result(30).vectors for one in asked])
    assert (np.stack(alone) * together).sum(axis=1).min() >= 0.99999


def test_vectors_are_served_in_the_precision_that_was_set(tmp_path: Path, start: Starts) -> None:
    tuned = sealed(tmp_path)
    found = start(encoder_loader(Artifacts(tmp_path / "artifacts").verify, threads=1, precision=Precision.INT8))
    served = found.embed(tuned, ["red cat", "green dog runs"], side=Side.QUERY).vectors
    exact = Encoder.load(tuned.path).encode(["red cat", "green dog runs"], side=Side.QUERY)
    assert (served * exact).sum(axis=1).min() >= 0.995
    assert not np.array_equal(served, exact)


def test_damaged_weights_of_a_tuned_model_are_not_served(tmp_path: Path, loader: Loader, start: Starts) -> None:
    tuned = sealed(tmp_path)
    with (tuned.path / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors"):
        start(loader).embed(tuned, ["red cat"], side=Side.QUERY)
