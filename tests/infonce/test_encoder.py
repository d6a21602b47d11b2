"""An encoder's vectors do not depend on order, neighbours or padding, and a saved folder means the same elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing

from infonce.config import EncoderConfig, Pooling, Precision, Prompts, Side, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import ConfigError, InvalidModel, Stopped
from infonce.packing import is_packed
from infonce.train import train
from tests.factories import FAMILIES, sentences, tiny_encoder, tiny_model, toy_pairs
from tests.infonce.conftest import Watcher


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_saved_and_loaded_a_model_gives_the_same_vectors_in_sentence_transformers(
    family: str, tmp_path: Path, watcher: Watcher
) -> None:
    prompts = Prompts(query="ask: ", document="tell: ")
    base = tiny_model(tmp_path / "base", family)
    encoder = Encoder.load(base, EncoderConfig(prompts=prompts, max_seq_length=24))
    before = encoder.fingerprint()
    train(encoder, toy_pairs(16), config=TrainConfig(n_epochs=1, batch_size=8, learning_rate=1e-3), progress=watcher)
    encoder.save(tmp_path / "tuned")

    again = Encoder.load(tmp_path / "tuned")
    texts = [*sentences(20), "a " * 100]
    for side in Side:
        theirs = SentenceTransformer(str(tmp_path / "tuned"), device="cpu").encode(texts, prompt_name=side.value)
        ours = again.encode(texts, side=side)
        np.testing.assert_allclose(ours, encoder.encode(texts, side=side), atol=1e-6)
        assert (ours * theirs).sum(axis=1).min() >= 0.99999
    assert again.fingerprint() == encoder.fingerprint() != before
    assert again.layout.pooling is (Pooling.LAST if family == "decoder" else Pooling.MEAN)


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("budget", [1, 40, 512])
@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_the_size_of_chunks_changes_no_vector(
    precision: str, budget: int, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, texts = tiny_encoder(tmp_path / "model", family), sentences(40)
    usual = encoder.encode(texts, precision=Precision(precision))
    name = "CHUNK_TOKENS_PACKED" if is_packed(encoder.backbone) else "CHUNK_TOKENS_CPU"
    monkeypatch.setattr(f"infonce.encoder.{name}", budget)
    found = encoder.encode(texts, precision=Precision(precision))
    assert (usual * found).sum(axis=1).min() >= (0.9995 if precision == "bf16" else 0.99999)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_of_no_tokens_has_finite_numbers(family: str, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model", family)
    encoder.tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    for precision in (Precision.FLOAT32, Precision.BF16, Precision.INT8):
        vectors = encoder.encode(["", "red cat", " \n"], precision=precision)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize("pooling", [Pooling.CLS, Pooling.MEAN, Pooling.LAST])
def test_neither_order_nor_neighbours_nor_padding_change_a_vector(pooling: Pooling, tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path / "model", pooling=pooling)
    texts = sentences(40)
    order = np.random.default_rng(0).permutation(len(texts))
    together = encoder.encode(texts)
    shuffled = encoder.encode([texts[i] for i in order])
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together[order], shuffled, atol=1e-6)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_bf16_stays_close_to_float32(encoder: Encoder) -> None:
    texts = sentences(30)
    half = encoder.encode(texts, precision=Precision.BF16)
    assert (half * encoder.encode(texts)).sum(axis=1).min() >= 0.9995


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimensions)


def test_a_wish_to_stop_is_heard_while_embedding(encoder: Encoder) -> None:
    with pytest.raises(Stopped):
        encoder.encode(sentences(3), stop=lambda: True)


def test_a_checkpoint_in_half_precision_is_loaded_as_float32(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert {tensor.dtype for tensor in Encoder.load(folder).backbone.parameters()} == {torch.float32}


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in weights.items() if "layer.1" not in n}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidModel, match="lacks 16 of the encoder's weights"):
        Encoder.load(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidModel, match=r"non-finite numbers in embeddings\.LayerNorm\.bias"):
        Encoder.load(folder)


def test_a_truncated_file_and_a_pickle_are_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InvalidModel, match="model cannot be loaded"):
        Encoder.load(folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidModel, match="model cannot be loaded"):
        Encoder.load(folder)


def test_a_pooler_that_the_file_lacks_is_not_invented(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in weights.items() if "pooler" not in n}, folder / "model.safetensors", {"format": "pt"})
    encoder = Encoder.load(folder)
    encoder.save(tmp_path / "again")
    assert not any("pooler" in name for name in load_file(tmp_path / "again" / "model.safetensors"))


def test_more_tokens_than_the_model_has_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_seq_length is 128 and the model has 79 positions"):
        Encoder.load(tiny_model(tmp_path / "model", "xlm-roberta"), EncoderConfig(max_seq_length=128))


@pytest.mark.parametrize(
    ("modules", "pooling", "sentence"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode": "mean"}, "has a Dense module"),
        (["Transformer", "Pooling"], {"pooling_mode_max_tokens": True}, "pools by 'max'"),
        (["Transformer", "Pooling"], {"pooling_mode": "mean", "include_prompt": False}, "leaves the prompt out"),
    ],
)
def test_a_folder_that_would_mean_something_else_elsewhere_is_refused(
    modules: list[str], pooling: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "model")
    listed = [{"path": "1_Pooling" if kind == "Pooling" else "", "type": f"x.{kind}"} for kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(InvalidModel, match=sentence):
        Encoder.load(folder)


def test_a_folder_saved_by_sentence_transformers_is_read_with_its_pooling_length_and_prompts(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "base", pooling=Pooling.CLS).save(tmp_path / "ours")
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu", prompts={"query": "q: ", "document": ""})
    theirs.max_seq_length = 20
    theirs.save(str(tmp_path / "theirs"))
    encoder = Encoder.load(tmp_path / "theirs")
    assert (encoder.layout.pooling, encoder.max_seq_length) == (Pooling.CLS, 20)
    texts = sentences(5)
    assert np.allclose(encoder.encode(texts, side=Side.QUERY), theirs.encode(texts, prompt_name="query"), atol=1e-6)


def test_the_bytes_of_the_weights_are_counted_and_those_of_their_copy_in_int8(encoder: Encoder) -> None:
    in_layers = sum(one.weight.numel() for one in encoder.backbone.modules() if isinstance(one, torch.nn.Linear))
    in_float = 4 * sum(one.numel() for one in encoder.backbone.parameters())
    assert in_float <= encoder.num_bytes() <= 1.1 * in_float
    assert encoder.num_bytes(Precision.INT8) == encoder.num_bytes() + in_layers
