"""A collection whose model has prompts: queries carry one and documents the other, wherever they are embedded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.config import EncoderConfig, Prompts, Side
from infonce.encoder import Encoder
from tests.faults.collection_world import MODELS, NAME, PROMPTS, QUERIES, TEXTS, GatewayProcess, Ground, Home

PLAIN, PROMPTED = MODELS
MANY = {f"many{n}": f"{TEXTS[n % len(TEXTS)]} {n}" for n in range(257)}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.lay(tmp_path_factory.mktemp("ground"))


@pytest.fixture
def home(ground: Ground, tmp_path: Path) -> Iterator[Home]:
    home = Home(ground=ground, folder=tmp_path)
    yield home
    home.close()


@pytest.fixture
def gateway(home: Home) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(home)
    yield gateway
    gateway.close()


def post(gateway: GatewayProcess, path: str, body: object) -> Any:
    answer = gateway.ask("POST", path, body)
    assert answer.status_code in (200, 201, 202), answer.text
    return answer.json()


def put(gateway: GatewayProcess, texts: dict[str, str]) -> Any:
    return post(gateway, f"/{NAME}/documents", {"documents": [{"id": id, "text": text} for id, text in texts.items()]})


def expected(ground: Ground, texts: dict[str, str], query: str, *, prompts: dict[str, str]) -> dict[str, float]:
    """The score of each text by an encoder that is told of no prompt, and finds it in the text."""
    told = EncoderConfig(prompts=Prompts(query="", document=""))
    encoder = Encoder.load(ground.folder / "models" / (PROMPTED if prompts["query"] else PLAIN), told)
    vectors = encoder.encode([prompts["document"] + text for text in texts.values()], side=Side.DOCUMENT)
    [asked] = encoder.encode([prompts["query"] + query], side=Side.QUERY)
    return dict(zip(texts, (vectors @ asked).tolist(), strict=True))


def assert_scores(ground: Ground, hits: Sequence[dict[str, Any]], texts: dict[str, str], *, model: str) -> None:
    prompts = PROMPTS if model == PROMPTED else {"query": "", "document": ""}
    right = expected(ground, texts, QUERIES[0], prompts=prompts)
    assert {hit["id"] for hit in hits} == set(right)
    np.testing.assert_allclose([hit["score"] for hit in hits], [right[hit["id"]] for hit in hits], atol=1e-4)


def work(home: Home) -> None:
    """The index job that waits is done."""
    begun = home.begin()
    assert begun is not None
    home.finish(begun)


def test_the_prompts_change_the_scores(ground: Ground) -> None:
    texts = {"a": TEXTS[0]}
    without = expected(ground, texts, QUERIES[0], prompts=PROMPTS | {"document": ""})
    assert abs(expected(ground, texts, QUERIES[0], prompts=PROMPTS)["a"] - without["a"]) > 0.01


def test_each_side_carries_its_prompt_whoever_embeds_it(home: Home, gateway: GatewayProcess) -> None:
    ground, few = home.ground, {f"few{n}": text for n, text in enumerate(TEXTS[:3])}
    post(gateway, "", {"name": NAME, "model": PROMPTED})
    put(gateway, few)
    asked = {"query": QUERIES[0], "k": 1_000}
    assert_scores(ground, post(gateway, f"/{NAME}/query", asked)["hits"], few, model=PROMPTED)  # by the gateway
    put(gateway, MANY)
    work(home)
    all_of_them = few | MANY
    assert_scores(ground, post(gateway, f"/{NAME}/query", asked)["hits"], all_of_them, model=PROMPTED)  # by the worker
    version = post(gateway, f"/{NAME}/versions", {"model": PLAIN})["id"]
    work(home)
    post(gateway, f"/{NAME}/promote", {"version": version})
    late = {"late": TEXTS[5], "few0": TEXTS[6]}
    put(gateway, late)
    assert_scores(ground, post(gateway, f"/{NAME}/query", asked)["hits"], all_of_them | late, model=PLAIN)
    post(gateway, f"/{NAME}/rollback", {})
    assert_scores(ground, post(gateway, f"/{NAME}/query", asked)["hits"], all_of_them | late, model=PROMPTED)  # moving


def test_two_versions_are_asked_with_the_prompt_of_each_and_words_know_none(
    home: Home, gateway: GatewayProcess
) -> None:
    few = {f"few{n}": text for n, text in enumerate(TEXTS)}
    post(gateway, "", {"name": NAME, "model": PROMPTED})
    put(gateway, few)
    home.compact()
    work(home)
    first = home.collection().active_version
    second = post(gateway, f"/{NAME}/versions", {"model": PLAIN})["id"]
    work(home)
    both = post(gateway, f"/{NAME}/compare", {"queries": [QUERIES[0]], "a": first, "b": second, "k": 100})
    for side, model in (("a", PROMPTED), ("b", PLAIN)):
        assert_scores(home.ground, both["results"][0][side], few, model=model)
    word = PROMPTS["document"].split()[-1]
    by_words = {"query": word, "k": 100, "hybrid": {"method": "weighted", "weight": 0.0}}
    found = {hit["id"] for hit in post(gateway, f"/{NAME}/query", by_words)["hits"] if hit["score"] > 0}
    assert found == {id for id, text in few.items() if word in text.split()} and 0 < len(found) < len(few)
