"""Who takes part in `infonce bench train`, and what one measurement of each leaves."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from infonce.batches import batch_rows, num_batches
from infonce.bench.peer import Peer, PeerOrder
from infonce.bench.processes import run
from infonce.bench.report import OURS, THEIRS
from infonce.errors import ConfigError, InfonceError
from infonce.pairs import Pair

LEARNING_RATE: Final = 5e-5
WARMUP_RATIO: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What both sides share."""

    pairs: Sequence[Pair]
    model: Path
    batch_size: int
    max_length: int
    seeds: tuple[int, ...]
    """The rounds take them in turn."""
    rounds: int

    def check(self) -> None:
        """Raise `ConfigError` unless the pairs fill a batch."""
        if len(self.pairs) < self.batch_size:
            message = f"there are {len(self.pairs)} pairs and a batch has {self.batch_size}"
            raise ConfigError(f"{message}; raise --pairs, bring more, or lower --batch-size", param="batch_size")

    def batches(self, seed: int) -> list[list[int]]:
        """The pairs of each step, which both sides take in this order."""
        size, count = self.batch_size, len(self.pairs)
        numbers = range(num_batches(count, size))
        return [batch_rows(count, size, seed=seed, epoch=0, batch=number).tolist() for number in numbers]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """One way to train, of either side."""

    side: str
    name: str
    rounds: int
    dropout: float
    settings: tuple[str, ...] = ()
    """Ours: NAME=VALUE of the command line."""
    peer: Peer | None = None
    num_steps: int | None = None
    """Theirs: so many of the epoch's first batches; all if not given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one measurement of one entrant found."""

    seed: int
    pairs_per_second: float
    seconds: float
    peak_bytes: int
    num_pairs: int
    num_steps: int
    mean_loss: float
    precision: str
    weights_sha256: str | None
    model: Path


def ours(dropout: float, *, rounds: int, keeps_graphs: bool = True) -> Entrant:
    """`infonce train` with that dropout; without graphs every chunk is encoded twice (gradient caching)."""
    name = f"{OURS}, dropout {dropout:g}" + ("" if keeps_graphs else ", no graph kept")
    settings = (f"dropout={dropout}",) + (() if keeps_graphs else ("max_graph_gb=0",))
    return Entrant(side=OURS, name=name, rounds=rounds, dropout=dropout, settings=settings)


def theirs(peer: Peer, *, rounds: int, num_steps: int | None = None) -> Entrant:
    """sentence-transformers' trainer; its dropout is the model's own, 0.1 in every BERT."""
    return Entrant(
        side=THEIRS, name=f"{THEIRS}, {peer.value}", rounds=rounds, dropout=0.1, peer=peer, num_steps=num_steps
    )


def take(entrant: Entrant, setting: Setting, *, seed: int, folder: Path, on_poll: Callable[[float], None]) -> Taken:
    """The entrant trained once, in a process of its own; the model is in the folder.

    Raises:
        InfonceError: the process failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pairs = folder / "pairs.jsonl"
    with pairs.open("w", encoding="utf-8") as lines:
        for pair in setting.pairs:
            lines.write(json.dumps({"anchor": pair.anchor, "positive": pair.positive}) + "\n")
    if entrant.peer is None:
        return _take_ours(entrant, setting, seed=seed, pairs=pairs, on_poll=on_poll)
    batches = setting.batches(seed)[: entrant.num_steps]
    order = PeerOrder(
        peer=entrant.peer,
        pairs=str(pairs),
        batches=batches,
        model=str(setting.model),
        batch_size=setting.batch_size,
        max_length=setting.max_length,
        learning_rate=LEARNING_RATE,
        warmup_ratio=WARMUP_RATIO,
        seed=seed,
        output=str(folder),
        save=entrant.num_steps is None,
    )
    order.write(folder / "order.json")
    ended = run([sys.executable, "-P", "-m", "infonce.bench.peer", str(folder / "order.json")], on_poll=on_poll)
    precision = "bf16" if entrant.peer is Peer.BF16 else "float32"
    return _taken(
        ended.printed | {"precision": precision, "weights_sha256": None},
        ended.peak_bytes,
        seed=seed,
        model=folder / "model",
    )


def _take_ours(
    entrant: Entrant, setting: Setting, *, seed: int, pairs: Path, on_poll: Callable[[float], None]
) -> Taken:
    output = pairs.parent / "model"
    command = [_program(), "train", str(pairs), "--model", str(setting.model), "--output", str(output), "--epochs", "1"]
    command += ["--batch-size", str(setting.batch_size), "--max-length", str(setting.max_length)]
    command += ["--learning-rate", str(LEARNING_RATE), "--seed", str(seed), "--held-out", "0", "--json"]
    for given in entrant.settings:
        command += ["--set", given]
    ended = run(command, on_poll=on_poll)
    report = json.loads((output / "report.json").read_text("utf-8"))
    found = {
        "mean_loss": fmean(record["loss"] for record in report["curve"]),
        "num_pairs": len(setting.pairs),
        "precision": ended.printed["machine"]["precision"],
    }
    return _taken(ended.printed | found, ended.peak_bytes, seed=seed, model=output)


def _taken(printed: dict[str, Any], peak_bytes: int, *, seed: int, model: Path) -> Taken:
    names = ("pairs_per_second", "seconds", "num_pairs", "num_steps", "mean_loss", "precision", "weights_sha256")
    return Taken(seed=seed, peak_bytes=peak_bytes, model=model, **{name: printed[name] for name in names})


def _program() -> str:
    """The command that users type, of this very environment."""
    beside = Path(sys.executable).with_name("infonce")
    found = str(beside) if beside.exists() else shutil.which("infonce")
    if found is None:
        raise InfonceError(f"the command infonce is not installed beside {sys.executable}; pip install infonce-service")
    return found
