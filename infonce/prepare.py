"""Before the first step: pairs become tokens, and a config becomes one without any `auto`."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from infonce.backbone import set_dropout
from infonce.batches import PairTable, num_batches
from infonce.calibrate import measure
from infonce.checkpoint import Saved, difference
from infonce.config import AUTO, HardNegatives, TrainConfig
from infonce.device import computed_on
from infonce.distributed import Processes
from infonce.encoder import Encoder
from infonce.errors import ConfigError
from infonce.graph_budget import affordable_gb
from infonce.joint import check_together
from infonce.mining_config import check_read
from infonce.packing import set_attention
from infonce.pairs import Pair
from infonce.precision import Choice
from infonce.records import Progress, StepRecord
from infonce.tokens import TokenizedTexts


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What a run is made of."""

    table: PairTable
    tokens: TokenizedTexts
    config: TrainConfig
    """Without any `auto`."""
    choice: Choice
    machine: Mapping[str, Any]
    """What it is computed on."""
    kept: NDArray[np.bool_]
    """Which of the pairs given are in the table; (pairs given,)."""
    unread: NDArray[np.bool_]
    """Of which rows the model reads nothing, as documents; (rows,)."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return num_batches(len(self.table), int(self.config.batch_size))


def prepare(
    encoder: Encoder,
    pairs: Sequence[Pair],
    *,
    config: TrainConfig,
    progress: Progress,
    saved: Saved | None,
    corpus: Sequence[str] | None = None,
) -> Prepared:
    """The pairs are tokenised, the settings decided, and the encoder has its dropout, its mode and its attention.

    Raises:
        ConfigError: config, pairs and model do not fit together.
    """
    table, tokens, kept, unread = _read(encoder, pairs, config=config, progress=progress, corpus=corpus)
    config = _with_batch_of(config, table, given=len(pairs)).resolve(len(table), width=encoder.dimensions)
    check_together(config, table, encoder=encoder)
    dropout = float(config.dropout)
    if set_dropout(encoder.backbone, dropout) == 0 < dropout:
        raise ConfigError(f"dropout is {dropout} and this model has no layer for it; set it to 0", param="dropout")
    choose = partial(measure, encoder, tokens, stop=progress.stop_requested)
    config, choice = _decided(choose, encoder.device, config=config, saved=saved, num_tokens=_num_read(table, tokens))
    progress.measured(choice)
    machine = computed_on(encoder.device, num_processes=Processes.current().count)
    if saved is not None and (elsewhere := difference("machine", saved.facts.get("machine", machine), now=machine)):
        progress.elsewhere(elsewhere)
    set_attention(encoder.backbone, choice.attention)
    return Prepared(table=table, tokens=tokens, config=config, choice=choice, machine=machine, kept=kept, unread=unread)


def _read(
    encoder: Encoder, pairs: Sequence[Pair], *, config: TrainConfig, progress: Progress, corpus: Sequence[str] | None
) -> tuple[PairTable, TokenizedTexts, NDArray[np.bool_], NDArray[np.bool_]]:
    """The pairs that the model can read, the tokens of all texts, and which pairs and which documents it can read."""
    check_read(config.mine, has_corpus=corpus is not None)
    prompts = encoder.layout.prompts
    documents: list[str] = []
    if config.mine is not None:  # any of them may become a negative of any pair, those beyond max_negatives too
        documents = [*(corpus or ()), *(text for pair in pairs for text in pair.negatives)]
    max_negatives = config.max_negatives if config.hard_negatives is HardNegatives.ALL else 0
    whole = PairTable.build(pairs, prompts=prompts, max_negatives=max_negatives, documents=documents)
    tokens = encoder.tokenize(whole.rows, stop=progress.stop_requested)
    query, document = (tokens.equal_to(encoder.tokenize([prompt])) for prompt in (prompts.query, prompts.document))
    table = whole.without(anchors=query, documents=document)
    lost = len(whole) - len(table), len(whole.negatives) - len(table.negatives)
    if any(lost):
        progress.dropped(*lost)
    if whole.groups.num:
        progress.joined(whole.groups)
    kept = ~(query[whole.anchors] | document[whole.positives])
    return table, tokens, kept, document


def _with_batch_of(config: TrainConfig, table: PairTable, *, given: int) -> TrainConfig:
    """A batch that fits the pairs that were given fits those as well that can be read."""
    size = config.batch_size
    if size == AUTO or not len(table) < size <= given:
        return config
    return replace(config, batch_size=max(2, len(table)))


def _num_read(table: PairTable, tokens: TokenizedTexts) -> int:
    """How many tokens an epoch reads."""
    return int(tokens.lengths[np.concatenate([table.anchors, table.positives, table.negatives])].sum())


def _decided(
    choose: Callable[..., Choice], device: torch.device, *, config: TrainConfig, saved: Saved | None, num_tokens: int
) -> tuple[TrainConfig, Choice]:
    """The config without any `auto`, and what decided it: measured once, by the attempt that began the run.

    The memory for graphs is what this machine has now; it changes no bit.
    """
    processes = Processes.current()
    if config.max_graph_gb == AUTO:
        config = replace(config, max_graph_gb=affordable_gb(device, num_processes=processes.count))
    if saved is not None:
        earlier = TrainConfig.from_dict(saved.facts["config"])
        return replace(earlier, max_graph_gb=config.max_graph_gb), Choice.from_dict(saved.facts["choice"])
    measured_now = partial(choose, config=config, num_tokens=int(config.n_epochs) * num_tokens)
    choice = Choice.from_dict(processes.from_first(lambda: measured_now().to_dict(), device=device))
    measured = {name: getattr(choice, name) for name in ("precision", "attention", "max_chunk_tokens")}
    return replace(config, **measured), choice


def identity(
    encoder: Encoder, pairs: Sequence[Pair], *, config: TrainConfig, corpus: Sequence[str] | None = None
) -> dict[str, Any]:
    """What two attempts at one run have in common; the memory that graphs may take changes no bit."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.anchor, pair.positive, *pair.negatives]).encode())
    for text in corpus or ():
        digest.update(json.dumps(text).encode())
    given = {name: value for name, value in config.to_dict().items() if name != "max_graph_gb"}
    records = [field.name for field in fields(StepRecord)]
    return {"encoder": encoder.fingerprint(), "pairs": digest.hexdigest(), "config as given": given, "records": records}
