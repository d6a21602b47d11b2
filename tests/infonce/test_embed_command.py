"""`infonce embed`: the vectors of an encoder, in the order of the texts, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from infonce.config import EncoderConfig, Precision, Side
from infonce.embed_command import embed_app
from infonce.embed_file import EmbedOrder, embed_file
from infonce.encoder import Encoder
from infonce.errors import Stopped
from tests.factories import sentences, tiny_model

TEXTS = sentences(40)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n")
    return path


def infonce_embed(model: Path, *words: str | Path, stdin: str | None = None) -> Result:
    given = [str(word) for word in (*words, "--model", model)]
    return CliRunner().invoke(embed_app, given, input=stdin, catch_exceptions=False)


def test_the_array_is_what_the_encoder_says(model: Path, texts: Path, tmp_path: Path) -> None:
    done = infonce_embed(model, texts, "--output", tmp_path / "v.npy", "--side", "query", "--json")
    told, encoder = json.loads(done.stdout), Encoder.load(model)
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, encoder.encode(TEXTS, side=Side.QUERY), atol=1e-6)
    assert (told["texts"], told["dimensions"]) == vectors.shape and told["fingerprint"] == encoder.fingerprint()


def test_standard_input_becomes_lines_on_standard_output(model: Path) -> None:
    done = infonce_embed(model, "-", stdin="\n".join(TEXTS[:3]) + "\r\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2]
    vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    assert np.allclose(vectors, Encoder.load(model).encode(TEXTS[:3]), atol=1e-6)


def test_documents_keep_their_ids(model: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "documents.jsonl", tmp_path / "v.jsonl"
    path.write_text('{"id": "a", "title": "red", "text": "cat"}\n{"text": "dog"}\n')
    assert infonce_embed(model, path, "--output", output).stdout.startswith(f"{output} has 2 vectors of 32 dimensions")
    first, second = map(json.loads, output.read_text().splitlines())
    assert first["id"] == "a" and "id" not in second
    assert np.allclose(first["embedding"], Encoder.load(model).encode(["red cat"])[0], atol=1e-6)


@pytest.mark.parametrize(
    ("content", "words", "sentence"),
    [
        ("one\n\nthree\n", ("--output", "v.npy"), "no visible character"),
        ("", ("--output", "v.npy"), "there is no text"),
        ("one\n", ("--output", "v.txt"), "ends in neither .npy nor .jsonl"),
        ("one\n", ("--output", "texts.txt"), "ends in neither"),
        ("one\n", ("--output", "nowhere/v.npy"), "the folder nowhere of the output is not there"),
        ("one\n", ("--json",), "name an --output"),
        ("one\n", ("--side", "left"), "side"),
        ("\udcff\n", ("--output", "v.npy"), "lone surrogate"),
    ],
)
def test_a_mistake_is_a_sentence_and_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_bytes(content.encode(errors="surrogateescape"))
    done = infonce_embed(model, "texts.txt", *words)
    assert done.exit_code == 1 and done.stdout == "" and sentence in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "texts.txt"]


class Stopping:
    """Asks to stop as soon as it is asked."""

    def phase(self, name: str) -> None:
        """Nobody looks."""

    def embedded(self, done: int, total: int) -> None:
        """Nobody looks."""

    def stop_requested(self) -> bool:
        return True


@pytest.mark.parametrize("name", ["v.npy", "v.jsonl"])
def test_whoever_is_stopped_leaves_no_file(model: Path, texts: Path, tmp_path: Path, name: str) -> None:
    how = {"side": Side.DOCUMENT, "encoder": EncoderConfig(), "precision": Precision.FLOAT32}
    with pytest.raises(Stopped):
        embed_file(EmbedOrder(texts=texts, model=model, output=tmp_path / name, **how), Stopping())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "texts.txt"]
