"""The sentence-transformers folder layout: what a model's folder says about how its token states become a vector.

Read in both the old spelling (2.x to 5.x: boolean pooling flags, `max_seq_length` in `sentence_bert_config.json`)
and the new one (6.x); written in the old one, which sentence-transformers, text-embeddings-inference, vLLM and
infinity all read. Knows no torch.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infonce.config import Pooling, Prompts
from infonce.errors import InvalidModel

WEIGHTS: Final = "model.safetensors"
"""Beside the configuration, the tokenizer and what else a folder holds."""

PREFIXES: Final = "matryoshka_dimensions"
"""The key of config.json, as vLLM reads it, that lists which prefixes of a vector serve alone."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_POOLINGS = {"cls": Pooling.CLS, "mean": Pooling.MEAN, "lasttoken": Pooling.LAST}
_MODULES = {"Transformer", "Pooling", "Normalize"}
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"}  # count from pad_token_id + 1
DECODERS = {"gemma", "gemma2", "gemma3_text", "gpt2", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3"}
_DEFAULT_POSITIONS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a folder's backbone is used as a text encoder."""

    pooling: Pooling
    max_seq_length: int
    max_positions: int
    prompts: Prompts
    pad_id: int


def read_layout(folder: Path) -> Layout:
    """What the folder says, or the usual reading where it says nothing.

    Raises:
        InvalidModel: no `config.json`, or modules and poolings that this library does not have.
    """
    config = _read(folder / "config.json")
    if config is None:
        raise InvalidModel(f"{folder.name} has no config.json; it is not a transformers model")
    positions = _max_positions(config)
    prompts = (_read(folder / "config_sentence_transformers.json") or {}).get("prompts") or {}
    return Layout(
        pooling=_read_pooling(folder, config),
        max_seq_length=min(positions, _stated_length(folder) or positions),
        max_positions=positions,
        prompts=Prompts(query=prompts.get("query") or "", document=prompts.get("document") or ""),
        pad_id=config.get("pad_token_id") or 0,
    )


def read_prefixes(folder: Path) -> frozenset[int]:
    """The lengths, beside the whole, to which the model's vectors may be cut.

    Raises:
        InvalidModel: `config.json` is not JSON.
    """
    stated = (_read(folder / "config.json") or {}).get(PREFIXES)
    return frozenset(size for size in stated if isinstance(size, int)) if isinstance(stated, list) else frozenset()


def write_layout(folder: Path, layout: Layout, *, dimensions: int) -> None:
    """Write the files around `config.json`, weights and tokenizer that make the folder a sentence-transformers one."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    flags = {flag: _POOLINGS.get(mode) is layout.pooling for flag, mode in _POOLING_FLAGS.items()}
    prompts = {"query": layout.prompts.query, "document": layout.prompts.document}
    _write(folder / "modules.json", listed)
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimensions, **flags})
    _write(folder / "2_Normalize" / "config.json", {})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": layout.max_seq_length, "do_lower_case": False})
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def _read_pooling(folder: Path, config: dict[str, Any]) -> Pooling:
    modules = _read(folder / "modules.json")
    if modules is None:
        return Pooling.LAST if _is_decoder(config) else Pooling.MEAN
    path = ""
    for module in modules:
        kind = str(module.get("type")).rsplit(".", 1)[-1]
        if kind not in _MODULES:
            known = ", ".join(sorted(_MODULES))
            raise InvalidModel(f"{folder.name} has a {kind} module; only {known} are supported")
        if kind == "Pooling":
            path = module["path"]
    stated = (_read(folder / path / "config.json") or {}) if path else {"pooling_mode": "mean"}
    if stated.get("include_prompt", True) is False:
        raise InvalidModel(f"{folder.name} leaves the prompt out of pooling; that is not supported")
    modes = [mode for flag, mode in _POOLING_FLAGS.items() if stated.get(flag)]
    mode = stated.get("pooling_mode") or "+".join(modes)
    if mode not in _POOLINGS:
        raise InvalidModel(f"{folder.name} pools by {mode!r}; only {', '.join(_POOLINGS)} are supported")
    return _POOLINGS[mode]


def _is_decoder(config: dict[str, Any]) -> bool:
    names = config.get("architectures") or [""]
    return "CausalLM" in names[0] or config.get("model_type") in DECODERS


def _max_positions(config: dict[str, Any]) -> int:
    positions = int(config.get("max_position_embeddings") or _DEFAULT_POSITIONS)
    if config.get("model_type") in _OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    return positions


def _stated_length(folder: Path) -> int | None:
    bert = _read(folder / "sentence_bert_config.json") or {}
    tokenizer = _read(folder / "tokenizer_config.json") or {}
    length = bert.get("max_seq_length") or tokenizer.get("model_max_length")
    return int(length) if isinstance(length, int | float) and length >= 1 else None


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidModel(f"{path.parent.name}/{path.name} is not JSON: {error}") from error


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
