"""A text encoder: backbone, tokenizer, pooling, prompts and unit length, as one thing that can be saved and loaded."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from infonce.backbone import load_backbone, quiet_transformers
from infonce.config import Attention, EncoderConfig, Pooling, Precision, Side
from infonce.device import resolve_device
from infonce.errors import ConfigError, Stopped
from infonce.int8 import Int8Copies, copy_bytes
from infonce.layout import PREFIXES, TOKENIZER_FILES, Layout, read_layout, write_layout
from infonce.os_errors import plain_os_errors
from infonce.packing import Packing, can_pack, is_packed, set_attention
from infonce.pooling import pool
from infonce.precision import autocast
from infonce.tokens import TokenizedTexts, chunks, load_tokenizer, tokenize

Words = Callable[[Tensor], Tensor]
"""Token ids (n, L) → their embeddings (n, L, E), in place of the backbone's own look-up."""

CHUNK_TOKENS_CPU = 1_024  # what stays near the cores, with little padding: docs/log.md
CHUNK_TOKENS_PACKED = 1_536  # padding, of which there is none, included
CHUNK_TOKENS_GPU = 16_384


class Encoder:
    """Text → unit vector.

    Built by `load`; the parts are open to the training loop (`backbone`, `tokenizer`, `layout`).
    """

    def __init__(
        self, backbone: nn.Module, tokenizer: Tokenizer, *, layout: Layout, files: Mapping[str, bytes]
    ) -> None:
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.layout = layout
        self._files = files  # the tokenizer's own files, kept byte for byte for `save`
        self._int8 = Int8Copies()

    @classmethod
    def load(cls, folder: Path, config: EncoderConfig | None = None) -> Self:
        """The encoder of a sentence-transformers or transformers folder.

        Raises:
            InvalidModel: the folder is not a model that can be trusted.
            ConfigError: `max_seq_length` is beyond the model's positions.
        """
        config = config or EncoderConfig()
        layout = _with_config(read_layout(folder), config)
        tokenizer = load_tokenizer(folder)
        files = {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
        backbone = load_backbone(folder).to(resolve_device(config.device))
        if can_pack(backbone):
            set_attention(backbone, Attention.FUSED)
        return cls(backbone, tokenizer, layout=layout, files=files)

    def save(self, folder: Path) -> None:
        """Write the folder that `load`, sentence-transformers and other servers read."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet_transformers(), plain_os_errors():
            self.backbone.save_pretrained(str(folder))  # type: ignore[operator]  # nn.Module hides PreTrainedModel
        for name, content in self._files.items():
            (folder / name).write_bytes(content)
        write_layout(folder, self.layout, dimensions=self.dimensions)

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return int(self.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def max_seq_length(self) -> int:
        """How many tokens of a text are read."""
        return self.layout.max_seq_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    @property
    def chunk_tokens(self) -> int:
        """The padded tokens that are encoded at once on this device."""
        if self.device.type != "cpu":
            return CHUNK_TOKENS_GPU
        return CHUNK_TOKENS_PACKED if is_packed(self.backbone) else CHUNK_TOKENS_CPU

    def num_bytes(self, precision: Precision = Precision.FLOAT32) -> int:
        """What the weights take, and the copy of them that encodes in int8; what two layers share counts once."""
        tensors = {tensor.data_ptr(): tensor for tensor in (*self.backbone.parameters(), *self.backbone.buffers())}
        return sum(tensor.nbytes for tensor in tensors.values()) + copy_bytes(self.backbone) * (
            precision is Precision.INT8
        )

    def end_training(self, prefixes: Sequence[int] | None) -> None:
        """It encodes, and the folder that `save` writes names those prefixes of its vectors that serve alone."""
        self.backbone.eval()
        config: Any = self.backbone.config
        if prefixes:
            setattr(config, PREFIXES, sorted(prefixes))
        elif hasattr(config, PREFIXES):  # of the model it was: this training did not keep them
            delattr(config, PREFIXES)

    def prompt(self, side: Side) -> str:
        """What is put before a text on that side."""
        return self.layout.prompts.query if side is Side.QUERY else self.layout.prompts.document

    def fingerprint(self) -> str:
        """A hash of everything that decides a vector; equal before `save` and after `load`."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.backbone.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        how = asdict(self.layout) | {"model_type": self.backbone.config.model_type}  # type: ignore[union-attr]
        digest.update(json.dumps(how, sort_keys=True).encode())
        digest.update(self._files["tokenizer.json"])
        return digest.hexdigest()

    def tokenize(self, texts: Sequence[str], *, stop: Callable[[], bool] = lambda: False) -> TokenizedTexts:
        """The ids of texts that already carry their prompt, cut to `max_seq_length`."""
        return tokenize(self.tokenizer, texts, max_length=self.max_seq_length, stop=stop)

    def embed(self, tokens: TokenizedTexts, rows: NDArray[np.int64], *, words: Words | None = None) -> Tensor:
        """The vectors of a few texts, with gradient where it is enabled; packed, those of one length are neighbours.

        Shape:
            rows (n,) of `tokens`; returns (n, D) float32 of unit length.
        """
        if is_packed(self.backbone):
            packing = Packing.of(tokens, rows, backbone=self.backbone, pad_id=self.layout.pad_id)
            how = {"position_ids": packing.positions, "packing": packing}
            states, mask = packing.padded(self._states(packing.ids, words, **how)[0]), packing.mask
        else:
            ids, mask = (torch.from_numpy(part).to(self.device) for part in tokens.padded(rows, self.layout.pad_id))
            states = self._states(ids, words, attention_mask=mask.long())
        with torch.autocast(self.device.type, enabled=False):
            return F.normalize(pool(states.float(), mask, pooling=self.layout.pooling), dim=-1)

    def _states(self, ids: Tensor, words: Words | None, **how: object) -> Tensor:
        """Ids (n, L) → the states of the last layer (n, L, D)."""
        given = {"input_ids": ids} if words is None else {"inputs_embeds": words(ids)}
        states: Tensor = self.backbone(**given, **how).last_hidden_state
        return states

    def encode(
        self,
        texts: Sequence[str],
        *,
        side: Side = Side.DOCUMENT,
        precision: Precision = Precision.FLOAT32,
        stop: Callable[[], bool] = lambda: False,
        on_chunk: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.float32]:
        """The unit vectors of `texts`; neither order nor neighbours change a text's vector beyond rounding.

        A long text is tokenised whole and then cut: what stands in front may be white space or marks that give no
        token, so no number of characters is sure to hold `max_seq_length` tokens.

        After each chunk `on_chunk(done, total)` tells how many of the texts are embedded.

        Shape:
            returns (len(texts), D) float32.
        Raises:
            ConfigError: int8 is asked for, and the weights are on a GPU.
            DatasetError: a text is no valid Unicode.
            Stopped: `stop()` was true at a chunk's edge.
        """
        prompt = self.prompt(side)
        tokens = self.tokenize([prompt + text for text in texts], stop=stop)
        return self.encode_tokens(tokens, precision=precision, stop=stop, on_chunk=on_chunk)

    def encode_tokens(
        self,
        tokens: TokenizedTexts,
        *,
        precision: Precision = Precision.FLOAT32,
        stop: Callable[[], bool] = lambda: False,
        on_chunk: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.float32]:
        """The unit vectors of texts that `tokenize` has read; neither order nor neighbours change one beyond rounding.

        A text without a single token has the vector of the special tokens that the tokenizer puts around it, or of
        nothing but zeros where there are none.

        In int8 nothing is padded, and a chunk that is not packed holds texts of one length: padding changes the last
        bit of an attention, that changes which way a number is rounded, and layer by layer more of them, until a
        thousandth of the vector is another.

        Shape:
            returns (number of texts, D) float32.
        Raises:
            ConfigError: int8 is asked for, and the weights are on a GPU.
            Stopped: `stop()` was true at a chunk's edge.
        """
        vectors = np.empty((len(tokens.lengths), self.dimensions), dtype=np.float32)
        in_int8 = precision is Precision.INT8
        mixed = not in_int8 or is_packed(self.backbone)
        reader = self._in_int8() if in_int8 else self
        was_training = self.backbone.training
        self.backbone.eval()
        done = 0
        with torch.inference_mode(), autocast(self.device, precision):
            for rows in chunks(tokens.lengths, self.chunk_tokens, padding=mixed):
                if stop():
                    raise Stopped("stopped while embedding")
                vectors[rows] = reader.embed(tokens, rows).cpu().numpy()
                done += len(rows)
                on_chunk(done, len(vectors))
        self.backbone.train(was_training)
        return vectors

    def _in_int8(self) -> Self:
        """An encoder with this one's weights, whose linear layers are in int8."""
        other = copy.copy(self)
        other.backbone = self._int8.of(self.backbone)
        return other


def _with_config(layout: Layout, config: EncoderConfig) -> Layout:
    length = layout.max_seq_length if config.max_seq_length is None else config.max_seq_length
    if length > layout.max_positions:
        message = f"max_seq_length is {length} and the model has {layout.max_positions} positions; lower it"
        raise ConfigError(message, param="max_seq_length")
    return replace(
        layout,
        pooling=layout.pooling if config.pooling is Pooling.AUTO else config.pooling,
        prompts=layout.prompts if config.prompts is None else config.prompts,
        max_seq_length=length,
    )
