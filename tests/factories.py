"""Small real models, built in memory: two layers, random weights, a tokenizer trained on a few sentences."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from infonce.config import EncoderConfig, Pooling
from infonce.encoder import Encoder
from infonce.pairs import Pair

WORDS = [
    "red",
    "green",
    "blue",
    "cat",
    "dog",
    "bird",
    "runs",
    "sleeps",
    "eats",
    "fast",
    "house",
    "tree",
    "river",
    "under",
]
FAMILIES = ("bert", "mpnet", "xlm-roberta", "modernbert", "decoder")
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def sentences(count: int, *, seed: int = 0) -> list[str]:
    """Distinct sentences of 3 to 12 words."""
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=draw.randint(2, 11)))} {number}" for number in range(count)]


def toy_pairs(count: int, *, negatives: int = 0, seed: int = 0) -> list[Pair]:
    """Pairs that can be learnt: the positive repeats the anchor's words in another order."""
    draw = random.Random(seed)
    texts = sentences(count, seed=seed)
    return [
        Pair(text, " ".join(draw.sample(text.split(), len(text.split()))) + " !", tuple(draw.sample(texts, negatives)))
        for text in texts
    ]


def tiny_model(folder: Path, family: str = "bert", *, seed: int = 0) -> Path:
    """A model folder as transformers writes it: config, safetensors, tokenizer."""
    tokenizer = _tokenizer(appends_end=family == "decoder")
    torch.manual_seed(seed)
    model = _backbone(family, len(tokenizer))
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def tiny_encoder(folder: Path, family: str = "bert", *, pooling: Pooling = Pooling.AUTO) -> Encoder:
    """A tiny model, loaded."""
    return Encoder.load(tiny_model(folder, family), EncoderConfig(pooling=pooling, max_seq_length=32))


def _tokenizer(*, appends_end: bool) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.normalizer = normalizers.NFKC()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator(sentences(300), trainers.BpeTrainer(vocab_size=300, special_tokens=_SPECIAL))
    template = "$A </s>" if appends_end else "<s> $A </s>"
    raw.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=64,
    )


def _backbone(family: str, vocabulary: int) -> PreTrainedModel:
    common = {**_SIZES, "vocab_size": vocabulary, "pad_token_id": 0, "max_position_embeddings": 80}
    match family:
        case "bert":
            return BertModel(BertConfig(**common))
        case "mpnet":
            return MPNetModel(MPNetConfig(**common))
        case "xlm-roberta":
            return XLMRobertaModel(XLMRobertaConfig(**common, type_vocab_size=1))
        case "modernbert":
            ends = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
            return ModernBertModel(ModernBertConfig(**common, **ends, global_attn_every_n_layers=2, local_attention=16))
        case "decoder":
            config = Qwen3Config(**common, num_key_value_heads=2, head_dim=8)
            return Qwen3Model(config)
    raise AssertionError(family)
