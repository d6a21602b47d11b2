"""LangChain's and LlamaIndex's classes against a gateway, by the blocks of docs/openai.md as they stand there.

Not run by the tests: both are other projects' packages. In an environment of their own:

    python -m venv outside && outside/bin/pip install langchain-openai llama-index-embeddings-openai
    infonce serve &
    outside/bin/python tests/outside/frameworks.py http://127.0.0.1:8000
"""

import re
import sys
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/openai.md"
TEXTS = ["git bisect searches the history for the commit that introduced a bug", "a recipe for apple cake"]
QUERY = "find the commit that broke it"


def checked(embeddings: object, documents: list[list[float]], query: list[float]) -> None:
    """Raise unless the vectors are of unit length and the right document is the nearest."""
    lengths = [sum(number * number for number in vector) for vector in (*documents, query)]
    scores = [sum(a * b for a, b in zip(vector, query, strict=True)) for vector in documents]
    assert all(abs(length - 1) < 1e-3 for length in lengths), lengths
    assert scores[0] > scores[1] + 0.2, scores
    print(f"{type(embeddings).__module__}.{type(embeddings).__name__}: {len(query)} dimensions, scores {scores}")


def main(url: str) -> None:
    """Both blocks were run, and what they make was used."""
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    langchain, llama_index = (block.replace("http://127.0.0.1:8000", url) for block in blocks)
    print({name: version(name) for name in ("langchain-openai", "llama-index-embeddings-openai", "openai")})

    made: dict[str, object] = {}
    exec(langchain, made)
    embeddings = made["embeddings"]
    checked(embeddings, embeddings.embed_documents(TEXTS), embeddings.embed_query(QUERY))

    exec(llama_index, made)
    embeddings = made["embeddings"]
    documents, query = embeddings.get_text_embedding_batch(TEXTS), embeddings.get_query_embedding(QUERY)
    checked(embeddings, documents, query)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["http://127.0.0.1:8000"])
