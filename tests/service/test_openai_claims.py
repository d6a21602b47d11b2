"""What docs/openai.md claims of the official `openai` package is what the tests drive it through, no more, no less."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.service.conftest import BASE, Live
from tests.service.test_openai import PAIRS, client

__all__ = ["client"]  # the fixture

ROOT = Path(__file__).parents[2]
DRIVEN = ("test_openai.py", "test_webhooks.py")
NATIVE = {"get", "post"}
"""How the package is made to ask for what it has no method for."""


def table() -> dict[bool, list[str]]:
    """The first column's words of the page's table, by what stands in the second."""
    page = (ROOT / "docs/openai.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| (yes|no) \|", page[page.index("## What is supported") :], re.MULTILINE)
    return {supported: [words for words, said in rows if (said == "yes") is supported] for supported in (True, False)}


def claimed() -> set[str]:
    """Every method that the table says yes to; the first of a row has the place that the others share."""
    found = set()
    for words in table()[True]:
        first, *others = re.findall(r"`([\w.]+)`", words)
        place = first.rpartition(".")[0]
        found |= {first, *(f"{place}.{name}" for name in others)}
    return found


def driven() -> set[str]:
    """Every method of `client` that a test names."""
    trees = (ast.parse((Path(__file__).parent / name).read_text("utf-8")) for name in DRIVEN)
    return {name for tree in trees for name in _chains(tree)}


def _chains(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        words = []
        while isinstance(node, ast.Attribute):
            words.append(node.attr)
            node = node.value
        if words and isinstance(node, ast.Name) and node.id == "client":
            yield ".".join(reversed(words))


def test_what_is_claimed_is_what_is_driven() -> None:
    names = driven()
    methods = {name for name in names if not any(other.startswith(f"{name}.") for other in names)}
    assert methods - NATIVE == claimed() and len(claimed()) >= 30


DENIED: dict[str, Callable[[openai.OpenAI], object]] = {
    "chat": lambda client: client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "a"}]),
    "completions": lambda client: client.completions.create(model=BASE, prompt="a"),
    "responses": lambda client: client.responses.create(model=BASE, input="a"),
    "images": lambda client: client.images.generate(model=BASE, prompt="a"),
    "audio": lambda client: client.audio.speech.create(model=BASE, input="a", voice="alloy"),
    "batches": lambda client: client.batches.list(),
    "vector stores": lambda client: client.vector_stores.list(),
}


def test_what_the_table_says_no_to_is_what_is_tried() -> None:
    tokens, others = table()[False]
    assert "token ids" in tokens and others.split(", ") == list(DENIED)


@pytest.mark.parametrize("what", DENIED)
def test_what_is_not_there_is_not_found(client: openai.OpenAI, what: str) -> None:
    with pytest.raises(openai.NotFoundError):
        DENIED[what](client)


class LosesAnswers(httpx2.HTTPTransport):
    """Sends every request, and breaks off before the first two answers to an order."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.tried: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = super().handle_request(request)
        if request.url.path.endswith("/fine_tuning/jobs") and request.method == "POST":
            self.tried.append(request.headers["x-stainless-retry-count"])
            if len(self.tried) < 3:
                answer.read()
                raise httpx2.ReadError("the connection was lost")
        return answer


def test_the_package_that_tries_again_by_itself_orders_one_job(live: Live) -> None:
    network = LosesAnswers()
    http = openai.DefaultHttpxClient(transport=network)
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.key, http_client=http) as retrying:
        file = retrying.files.create(file=PAIRS, purpose="fine-tune")
        job = retrying.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        assert network.tried == ["0", "1", "2"]
        assert [found.id for found in retrying.fine_tuning.jobs.list()] == [job.id]


def test_a_call_may_have_as_many_texts_as_openais_and_its_label_of_a_user(client: openai.OpenAI) -> None:
    texts: Any = [f"dog {number}" for number in range(2_048)]
    answer = client.embeddings.create(model=BASE, input=texts, user="somebody")
    assert [item.index for item in answer.data] == list(range(2_048))
