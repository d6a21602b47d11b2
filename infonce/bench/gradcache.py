"""What gradient caching costs: one step of MiniLM on docstrings, with all, some and none of the graphs kept.

`plain` is the undivided step: every vector in one graph, one backward pass. Times are taken in turns in one process;
peaks each in a process of its own, because memory that was once taken stays with a process.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from infonce.backbone import set_dropout
from infonce.batches import Batch, PairTable
from infonce.bench.processes import in_fresh_process
from infonce.bench.report import Bars, Column, Numbers, Report
from infonce.config import Attention, EncoderConfig, Precision, TrainConfig
from infonce.docstrings import SetSizes, installed_sources, read_docstrings
from infonce.encoder import Encoder
from infonce.graph_budget import GraphBudget
from infonce.hub import MINILM, Hub, HubMode
from infonce.joint import JointBatch
from infonce.pairs import Pair
from infonce.peak_memory import peak_memory_bytes
from infonce.precision import autocast
from infonce.tokens import chunks

KEPT_SHARE: Final = 0.45
"""Of the memory of all graphs, for the form that keeps some; model, optimizer and Python come on top."""

_COLUMNS: Final = (
    Column(heading="graphs", key="name"),
    Column(heading="seconds", key="seconds", form=".2f"),
    Column(heading="× plain", key="time_ratio", form=".2f"),
    Column(heading="peak GB", key="peak_gb", form=".2f"),
    Column(heading="× plain", key="peak_ratio", form=".2f"),
)
_BARS: Final = (
    Bars(title="seconds a step", key="seconds", form=".2f"),
    Bars(title="peak memory, GB", key="peak_gb", form=".2f"),
)


class Form(StrEnum):
    """How a step goes about its graphs."""

    PLAIN = "plain"
    ALL = "all kept"
    SOME = "some kept"
    NONE = "none kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one form took; the ratios are to the plain step."""

    form: str
    batch_size: int
    tokens: int
    seconds: float
    time_ratio: float
    peak_gb: float
    """Of the whole process."""
    peak_ratio: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The batch that is measured."""

    batch_size: int = 256
    max_seq_length: int = 128
    dropout: float = 0.1
    precision: Precision = Precision.FLOAT32


def measure(setting: Setting, *, rounds: int, on_round: Callable[[str], None] = lambda text: None) -> Iterator[Row]:
    """A row a form: median seconds of `rounds` steps each, taken in turns, and the peak of a process that took one."""
    on_round("reading docstrings")
    sizes = SetSizes(pairs=setting.batch_size, queries=1, documents=1)
    pairs = read_docstrings(installed_sources(), sizes).train
    peaks = {}
    for form in Form:
        on_round(f"peak memory, {form}")
        peaks[form] = in_fresh_process(_peak_gb, setting, form, pairs=pairs)
    steps = {form: _step(setting, form, pairs=pairs) for form in Form}
    seconds: dict[Form, list[float]] = {form: [] for form in Form}
    for number in range(rounds + 1):  # the first warms caches up
        for form, (step, _) in steps.items():
            on_round(f"time, round {number} of {rounds}, {form}")
            start = time.perf_counter()
            step()
            seconds[form].append(time.perf_counter() - start)
    plain = statistics.median(seconds[Form.PLAIN][1:])
    for form, (_, tokens) in steps.items():
        median = statistics.median(seconds[form][1:])
        yield Row(
            form=form.value,
            batch_size=setting.batch_size,
            tokens=tokens,
            seconds=median,
            time_ratio=median / plain,
            peak_gb=peaks[form],
            peak_ratio=peaks[form] / peaks[Form.PLAIN],
        )


def report_of(rows: Sequence[Row], setting: Mapping[str, object]) -> Report:
    """The rows as table and picture."""
    shown = [{**asdict(row), "name": row.form} for row in rows]
    return Report(
        name="gradcache", tables=[Numbers(title="", columns=_COLUMNS, rows=shown)], bars=_BARS, setting=setting
    )


def _peak_gb(setting: Setting, form: Form, *, pairs: Sequence[Pair]) -> float:
    """The peak of this process after one step."""
    _step(setting, form, pairs=pairs)[0]()
    return peak_memory_bytes() / 1e9


def _step(setting: Setting, form: Form, *, pairs: Sequence[Pair]) -> tuple[Callable[[], object], int]:
    """A step in that form, and how many tokens it reads."""
    folder = Hub(mode=HubMode.OFF).resolve(MINILM).path
    encoder = Encoder.load(folder, EncoderConfig(max_seq_length=setting.max_seq_length))
    set_dropout(encoder.backbone, setting.dropout)
    table = PairTable.build(pairs, prompts=encoder.layout.prompts, max_negatives=0)
    tokens = encoder.tokenize(table.rows)
    config = TrainConfig(
        precision=setting.precision,
        attention=Attention.FUSED,
        dropout=setting.dropout,
        max_chunk_tokens=encoder.chunk_tokens,
        max_graph_gb=100.0,
    )
    batch = table.batch(np.arange(setting.batch_size))
    joint = JointBatch.build(encoder, table, tokens=tokens, config=config, stop=lambda: False)
    if form is Form.PLAIN:
        return (lambda: _plain(joint, batch)), int(tokens.lengths.sum())
    share = {Form.ALL: 1.0, Form.SOME: KEPT_SHARE, Form.NONE: 0.0}[form]
    padded = sum(len(rows) * int(tokens.lengths[batch.rows][rows].max()) for rows in _parts(joint, batch))
    budget = GraphBudget(
        bytes=int(share * padded * joint.budget.bytes_per_token), bytes_per_token=joint.budget.bytes_per_token
    )
    cached = replace(joint, budget=budget)
    return (lambda: _zeroed(cached, cached.backward(batch))), int(tokens.lengths.sum())


def _plain(joint: JointBatch, batch: Batch) -> float:
    """The undivided step."""
    order = np.concatenate(parts := _parts(joint, batch))
    with autocast(joint.encoder.device, joint.config.precision):
        vectors = torch.cat([joint.encoder.embed(joint.tokens, batch.rows[rows]) for rows in parts])
    loss = joint.objective.loss(vectors[torch.from_numpy(np.argsort(order))], batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return _zeroed(joint, loss.item())


def _parts(joint: JointBatch, batch: Batch) -> list[NDArray[np.int64]]:
    return list(chunks(joint.tokens.lengths[batch.rows], int(joint.config.max_chunk_tokens)))


def _zeroed(joint: JointBatch, loss: float) -> float:
    """The loss, the gradients gone as after any step."""
    joint.encoder.backbone.zero_grad()
    return loss
