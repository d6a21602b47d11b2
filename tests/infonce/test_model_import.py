"""What a stranger's model has to be before it is kept: each lie of its config and of its weights is told by name."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from infonce.encoder import Encoder
from infonce.errors import InvalidModel, UnsafeModel
from infonce.foreign_model import check_model
from infonce.model_import import import_model
from infonce.model_tar import pack_model
from tests.factories import FAMILIES, tiny_model

Change = Callable[[Path], object]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_model_of_every_family_passes(tmp_path: Path, family: str) -> None:
    check_model(tiny_model(tmp_path / family, family))


def test_what_was_exported_is_the_same_model_when_it_is_brought_back(tmp_path: Path, model: Path) -> None:
    before = Encoder.load(model)
    before.save(tmp_path / "saved")
    pack_model(tmp_path / "saved", tmp_path / "a.tar", stop=lambda: False)
    found = import_model(tmp_path / "a.tar", tmp_path / "brought")
    assert found.fingerprint == before.fingerprint() and (found.dimensions, found.max_tokens) == (32, 64)
    pack_model(tmp_path / "brought", tmp_path / "b.tar", stop=lambda: False)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def config(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def side(name: str, value: Any) -> Change:
    return lambda folder: (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))


def module(**changes: Any) -> Change:
    common = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Pooling"}
    return side("modules.json", [common | changes])


UNSAFE: dict[str, Change] = {
    "auto_map": config(auto_map={"AutoModel": "own--modeling.Own"}),
    "auto_map of the tokenizer": side("tokenizer_config.json", {"auto_map": {}}),
    "auto_map deep inside": config(text_config={"list": [{"auto_map": {}}]}),
    "a module of one's own": module(type="own.Pooling"),
}


@pytest.mark.parametrize("what", UNSAFE)
def test_a_model_that_asks_for_code_is_unsafe(model: Path, what: str) -> None:
    UNSAFE[what](model)
    with pytest.raises(UnsafeModel):
        check_model(model)


CONFIGS: dict[str, tuple[Change, str]] = {
    "a billion words": (config(vocab_size=10**9), "vocab_size is 1000000000"),
    "a million layers": (config(num_hidden_layers=10**6), "num_hidden_layers is 1000000"),
    "more layers than tensors": (config(num_hidden_layers=200), "200 layers"),
    "no heads": (config(num_attention_heads=0), "num_attention_heads is 0"),
    "a negative width": (config(hidden_size=-16), "hidden_size is -16"),
    "another width": (config(hidden_size=64), "no embeddings of"),
    "another vocabulary": (config(vocab_size=10_000), "no embeddings of 10000 words"),
    "a text": (config(hidden_size="32"), "hidden_size is '32'"),
    "true": (config(intermediate_size=True), "intermediate_size is True"),
    "a fraction": (config(hidden_size=32.0), "hidden_size is 32.0"),
    "nothing": (config(hidden_size=None), "hidden_size is None"),
    "an inner width beyond the file": (config(intermediate_size=200_000), "intermediate_size is 200000"),
    "heads that do not fit": (config(num_attention_heads=5), "cannot be divided among 5"),
    "an unknown kind": (config(model_type="timm_wrapper"), "model_type 'timm_wrapper'"),
    "a kind that is no text": (config(model_type=["bert"]), "model_type"),
    "quantized": (config(quantization_config={"quant_method": "own"}), "quantization_config"),
    "NaN": (side("config.json", '{"hidden_size": NaN}'), "NaN is no number"),
    "no JSON": (side("config.json", "{"), "config.json is not JSON"),
    "a list": (side("config.json", "[]"), "no JSON object"),
    "brackets": (side("config.json", "[" * 100_000), "config.json is not JSON"),
    "a way out of the folder": (module(path="../../etc"), "has the path '../../etc'"),
    "modules of no kind": (side("modules.json", "[1]"), "modules.json is no list"),
    "pooling that is a list": (
        lambda f: ((f / "1_Pooling").mkdir(), side("1_Pooling/config.json", "[]")(f)),
        "1_Pooling/config.json is no JSON object",
    ),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_that_cannot_be_is_refused_before_anything_is_loaded(model: Path, what: str) -> None:
    change, said = CONFIGS[what]
    change(model)
    with pytest.raises(InvalidModel, match=said):
        check_model(model)


def written(header: dict[str, Any] | bytes, data: bytes = b"", *, length: int | None = None) -> Change:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<Q", len(raw) if length is None else length) + raw + data
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def tensor(begin: int, end: int, *, kind: str = "F32", shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


WEIGHTS: dict[str, tuple[Change, str]] = {
    "truncated": (cut, "no safetensors file"),
    "empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "no safetensors file"),
    "a pickle": (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x05K\x01."), "header has|no safe"),
    "a header of 2^40": (written(b"{}", length=1 << 40), "its header has 1099511627776 bytes"),
    "no header": (written(b"[1"), "no safetensors file"),
    "one over another": (written({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "no safetensors file"),
    "a gap": (written({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20)), "no safetensors file"),
    "another length": (written({"a": tensor(0, 4)}, bytes(4)), "no safetensors file"),
    "f64": (written({"a": tensor(0, 16, kind="F64")}, bytes(16)), "of type F64"),
    "another model's": (written({"a": tensor(0, 8)}, bytes(8)), "no embeddings of"),
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_that_are_not_laid_out_soundly_are_refused(model: Path, what: str) -> None:
    change, said = WEIGHTS[what]
    change(model)
    with pytest.raises(InvalidModel, match=said):
        check_model(model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_every_model_has_may_not_be_missing(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(InvalidModel, match=f"no {name}"):
        check_model(model)


def edited(change: Callable[[dict[str, Any]], object]) -> Change:
    def write(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return write


QUERY = "encoder.layer.0.attention.self.query.weight"
LOADED: dict[str, tuple[Change, str]] = {
    "NaN": (edited(lambda tensors: tensors[QUERY].__setitem__(0, np.nan)), f"non-finite numbers in {QUERY}"),
    "missing": (edited(lambda tensors: tensors.pop(QUERY)), "lacks 1 of the encoder's weights"),
    "another shape": (edited(lambda tensors: tensors.update({QUERY: np.zeros((2, 2), np.float32)})), "shape|size"),
    "numbers beyond float32": (
        edited(lambda tensors: [t.__imul__(1e38) for name, t in tensors.items() if "intermediate" in name]),
        "makes no numbers of a text",
    ),
    "a broken tokenizer": (side("tokenizer.json", '{"version": "1.0"}'), "tokenizer.json cannot be read"),
}


@pytest.mark.parametrize("what", LOADED)
def test_what_only_loading_shows_is_shown_by_loading_it(tmp_path: Path, model: Path, what: str) -> None:
    change, said = LOADED[what]
    change(model)
    pack_model(model, tmp_path / "a.tar", stop=lambda: False)
    with pytest.raises(InvalidModel, match=said):
        import_model(tmp_path / "a.tar", tmp_path / "brought")
