"""What can be known of a stranger's model folder before anything of it is loaded: no code, sane sizes, sound weights.

Knows no torch. What only loading shows (missing weights, numbers that are none) `model_apart.py` sees afterwards.
"""

import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from infonce.errors import InvalidModel, UnsafeModel
from infonce.layout import DECODERS, WEIGHTS
from infonce.model_tar import CONFIG

MODEL_TYPES: Final = DECODERS | {
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta",
    "xlm-roberta",
}  # fmt: skip
"""Text encoders of transformers itself; its other some hundred kinds are code that nobody here has looked at."""

_SIZES: Final = {
    ("hidden_size", "dim", "n_embd", "embedding_size"): (1, 1 << 14),
    ("num_hidden_layers", "n_layers", "n_layer"): (1, 256),
    ("num_attention_heads", "n_heads", "n_head", "num_key_value_heads"): (1, 1 << 10),
    ("intermediate_size", "hidden_dim", "n_inner"): (1, 1 << 18),
    ("max_position_embeddings", "n_positions"): (1, 1 << 20),
    ("vocab_size",): (1, 1 << 22),
    ("type_vocab_size",): (0, 1 << 10),
    ("head_dim",): (1, 1 << 12),
}
"""Every size that decides how much is allocated, by its names; several times the largest that is known."""
_LAYERS: Final = ("num_hidden_layers", "n_layers", "n_layer")
_WIDTHS: Final = ("hidden_size", "dim", "n_embd", "embedding_size")
_HEADS: Final = ("num_attention_heads", "n_heads", "n_head")
_INNER: Final = ("intermediate_size", "hidden_dim", "n_inner")
_NUMBERS: Final = ("F32", "F16", "BF16")
_WHOLE: Final = ("I64", "I32", "U8", "BOOL")  # positions and masks that old checkpoints carry
_MODULE_PATHS: Final = ("", "1_Pooling", "2_Normalize")
_PARSED: Final = (
    CONFIG,
    "tokenizer_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Normalize/config.json",
)
_MAX_JSON_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 16 << 20  # 100,000 tensors; a model of 100 layers has 1,600


def check_model(folder: Path) -> None:
    """The folder asks for no code, says what it is in sizes that fit its weights, and those are laid out soundly.

    Raises:
        UnsafeModel: it asks for code of its own.
        InvalidModel: anything else is wrong.
    """
    for name in (CONFIG, WEIGHTS, "tokenizer.json"):
        if not (folder / name).is_file():
            raise InvalidModel(f"the model has no {name}; it needs {CONFIG}, {WEIGHTS} and tokenizer.json")
    read = {name: _read(folder / name, name) for name in _PARSED if (folder / name).is_file()}
    for name, value in read.items():
        if "auto_map" in _keys(value):
            raise UnsafeModel(f"{name} has an auto_map, which names code to be run; only models without are taken")
    _check_modules(read.get("modules.json"))
    for name, value in read.items():
        if name != "modules.json" and not isinstance(value, dict):
            raise InvalidModel(f"{name} is no JSON object")
    config = read[CONFIG]
    _check_config(config)
    _check_fits(config, _shapes(folder / WEIGHTS))


def _read(path: Path, name: str) -> Any:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise InvalidModel(f"{name} has {path.stat().st_size} bytes; the limit is {_MAX_JSON_BYTES}")
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{name} is not JSON: {error}") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _keys(value: Any) -> set[str]:
    """The keys at any depth."""
    if isinstance(value, dict):
        return {*value, *(key for inner in value.values() for key in _keys(inner))}
    return {key for inner in value for key in _keys(inner)} if isinstance(value, list) else set()


def _check_modules(modules: Any) -> None:
    """Raise unless every module is sentence-transformers' own and its folder is the model's."""
    if modules is None:
        return
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InvalidModel("modules.json is no list of objects")
    for module in modules:
        if not str(module.get("type")).startswith("sentence_transformers."):
            raise UnsafeModel(f"modules.json names the module {module.get('type')!r:.100}, which is none of ours")
        if module.get("path") not in _MODULE_PATHS:
            allowed = ", ".join(map(repr, _MODULE_PATHS))
            raise InvalidModel(f"modules.json has the path {module.get('path')!r:.100}; it must be one of {allowed}")


def _check_config(config: Mapping[str, Any]) -> None:
    """Raise `InvalidModel` unless it is of a known kind and every size is a number that can be."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        known = ", ".join(sorted(MODEL_TYPES))
        raise InvalidModel(f"{CONFIG} has the model_type {kind!r:.60}; it must be one of {known}")
    if config.get("quantization_config") is not None:
        raise InvalidModel(f"{CONFIG} has a quantization_config; save the weights as float32, float16 or bfloat16")
    for names, (low, high) in _SIZES.items():
        for name in names:
            value = config.get(name)
            if value is None and (name in ("head_dim", "n_inner", "num_key_value_heads") or name not in config):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InvalidModel(f"{CONFIG}: {name} is {value!r:.60}; it must be a whole number from {low} to {high}")
    width, heads = _first(config, _WIDTHS), _first(config, _HEADS)
    if width is None or "vocab_size" not in config:
        raise InvalidModel(f"{CONFIG} does not say hidden_size and vocab_size; add them")
    if heads is not None and config.get("head_dim") is None and width % heads:
        raise InvalidModel(f"{CONFIG}: hidden_size {width} cannot be divided among {heads} attention heads")


def _first(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    return next((config[name] for name in names if config.get(name) is not None), None)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor; the file is as long as they are together, and none lies over another."""
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(8), "little")
    if num_bytes > _MAX_HEADER_BYTES:
        raise InvalidModel(f"{WEIGHTS} says that its header has {num_bytes} bytes; the limit is {_MAX_HEADER_BYTES}")
    shapes = {}
    try:
        with safe_open(path, framework="numpy") as tensors:  # checks lengths and places; reads no number yet
            for name in tensors.keys():  # noqa: SIM118  # a handle, not a dict
                found = tensors.get_slice(name)
                shapes[name] = tuple(found.get_shape())
                if found.get_dtype() not in _NUMBERS + _WHOLE:
                    allowed = ", ".join(_NUMBERS)
                    raise InvalidModel(f"{WEIGHTS}: {name:.100} is of type {found.get_dtype()}; save it as {allowed}")
    except (SafetensorError, OSError) as error:
        raise InvalidModel(f"{WEIGHTS} is no safetensors file that can be read: {error}") from None
    return shapes


def _check_fits(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `InvalidModel` unless the sizes are those of the weights, so that no more is allocated than was sent."""
    widths = {config.get(name) for name in _WIDTHS}
    words = [shape for shape in shapes.values() if len(shape) == 2 and shape[0] == config["vocab_size"]]
    if not any(shape[1] in widths for shape in words):
        raise InvalidModel(
            f"{WEIGHTS} has no embeddings of {config['vocab_size']} words in {_first(config, _WIDTHS)} dimensions, "
            f"as {CONFIG} says"
        )
    layers, num_numbers = _first(config, _LAYERS), sum(prod(shape) for shape in shapes.values())
    inner = _first(config, _INNER)
    if layers is not None and layers > len(shapes):
        raise InvalidModel(f"{CONFIG} says {layers} layers and {WEIGHTS} has {len(shapes)} tensors")
    if inner is not None and inner * (_first(config, _WIDTHS) or 1) > num_numbers:
        raise InvalidModel(f"{CONFIG}: intermediate_size is {inner}, more than all of {WEIGHTS} could hold")
