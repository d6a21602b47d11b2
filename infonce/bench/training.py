"""`infonce bench train`: both sides train on the same batches, in turn; medians, peaks, and what the machine allows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from infonce.bench.contest import Entrant, Setting, Taken, take
from infonce.bench.judge import COLUMNS as JUDGED_COLUMNS
from infonce.bench.judge import judge
from infonce.bench.limit import lengths_of_batches, product_rates
from infonce.bench.peer import Peer
from infonce.bench.report import OURS, THEIRS, Bars, Column, Numbers, Report, Row
from infonce.busy import Busy
from infonce.config import EncoderConfig, Precision
from infonce.encoder import Encoder
from infonce.flops import Encoded
from infonce.qrels import EvalSet

_COLUMNS: Final = (
    Column(heading="training", key="name"),
    Column(heading="computed in", key="precision"),
    Column(heading="pairs", key="num_pairs", form=","),
    Column(heading="rounds", key="rounds", form="d"),
    Column(heading="pairs/s", key="pairs_per_second", form=".2f"),
    Column(heading="× default", key="times_default", form=".2f"),
    Column(heading="× bf16", key="times_bf16", form=".2f"),
    Column(heading="peak GB", key="peak_gb", form=".2f"),
    Column(heading="÷ default", key="memory_of_default", form=".2f"),
    Column(heading="of the limit", key="share_of_limit", form=".0%"),
    Column(heading="mean loss", key="mean_loss", form=".4f"),
)
_BARS: Final = (
    Bars(title="pairs a second", key="pairs_per_second", form=".1f"),
    Bars(title="peak memory, GB", key="peak_gb", form=".2f"),
    Bars(title="share of what the products allow", key="share_of_limit", form=".0%"),
)


class Work:
    """How much the batches compute, and how fast products ran here beside each round."""

    def __init__(self, setting: Setting) -> None:
        self._encoder = Encoder.load(setting.model, EncoderConfig(max_seq_length=setting.max_length))
        self._encoded = Encoded.of(self._encoder)
        self._flops = {
            seed: [
                self._encoded.flops(lengths)
                for lengths in lengths_of_batches(self._encoder, setting.pairs, batches=setting.batches(seed))
            ]
            for seed in setting.seeds
        }
        self._rates: list[dict[Precision, float]] = []

    def measure(self) -> None:
        """The products were timed once more."""
        self._rates.append(product_rates(self._encoded, self._encoder.device))

    @property
    def rates(self) -> dict[Precision, float]:
        """The median GFLOP/s by precision."""
        return {precision: median(rates[precision] for rates in self._rates) for precision in self._rates[0]}

    def share(self, taken: Taken, precision: Precision) -> float:
        """The part of that precision's rate that a training made use of."""
        flops = sum(self._flops[taken.seed][: taken.num_steps])
        return flops / taken.seconds / (self.rates[precision] * 1e9)


def measure(setting: Setting, entrants: Sequence[Entrant], *, judged: EvalSet | None, say: Busy) -> Iterator[Report]:
    """What is known after each round, and last with the judgement.

    The entrants take turns, in the other direction in every second round.
    """
    say("Counting the work")
    work = Work(setting)
    taken: dict[str, list[Taken]] = {entrant.name: [] for entrant in entrants}
    with TemporaryDirectory(prefix="infonce-bench-") as temporary:
        for number in range(setting.rounds):
            seed = setting.seeds[number % len(setting.seeds)]
            say(f"Round {number + 1} of {setting.rounds}, products")
            work.measure()
            for place, entrant in list(enumerate(entrants))[:: -1 if number % 2 else 1]:
                if number >= entrant.rounds:
                    continue
                where = f"Round {number + 1} of {setting.rounds}, {entrant.name}"
                found = take(
                    entrant,
                    setting,
                    seed=seed,
                    folder=Path(temporary) / f"{place}-{seed}",
                    on_poll=lambda seconds, where=where: say(f"{where}, {seconds:.0f} s"),  # type: ignore[misc]
                )
                taken[entrant.name].append(found)
                say.note(f"{where}: {found.pairs_per_second:.2f} pairs/s, {found.peak_bytes / 1e9:.2f} GB")
            yield _report(setting, _rows(entrants, taken, work=work), work=work)
        if judged is not None:
            rows = _rows(entrants, taken, work=work)
            against = _judged_pairs(entrants, taken)
            judgements = judge(against, judged, max_length=setting.max_length, say=say)
            yield _report(setting, rows, work=work, judgements=judgements)


def _judged_pairs(
    entrants: Sequence[Entrant], taken: Mapping[str, Sequence[Taken]]
) -> list[tuple[str, str, dict[int, tuple[Path, Path]]]]:
    """Each of ours that keeps its graphs (none kept gives the same weights) against the first whole peer.

    Returns: names of ours and theirs, and by seed the two folders.
    """
    whole = [entrant.name for entrant in entrants if entrant.peer is not None and entrant.num_steps is None]
    folders = {name: {one.seed: one.model for one in found} for name, found in taken.items()}
    kept = [entrant.name for entrant in entrants if entrant.peer is None and len(entrant.settings) == 1]
    return [
        (
            name,
            peer,
            {seed: (folders[name][seed], folders[peer][seed]) for seed in folders[name] if seed in folders[peer]},
        )
        for peer in whole[:1]
        for name in kept
    ]


def _rows(entrants: Sequence[Entrant], taken: Mapping[str, Sequence[Taken]], *, work: Work) -> list[Row]:
    fastest = max(work.rates, key=lambda precision: work.rates[precision])
    rows = [
        _row(entrant, taken[entrant.name], work=work, fastest=fastest) for entrant in entrants if taken[entrant.name]
    ]
    default, bf16 = (
        next((row for row in rows if row["name"] == f"{THEIRS}, {peer.value}"), None)
        for peer in (Peer.DEFAULT, Peer.BF16)
    )
    for row in rows:
        row["times_default"] = default and row["pairs_per_second"] / default["pairs_per_second"]
        row["times_bf16"] = bf16 and row["pairs_per_second"] / bf16["pairs_per_second"]
        row["memory_of_default"] = default and row["peak_gb"] / default["peak_gb"]
    return [dict(row) for row in rows]


def _row(entrant: Entrant, taken: Sequence[Taken], *, work: Work, fastest: Precision) -> dict[str, Any]:
    speeds = [one.pairs_per_second for one in taken]
    peaks = [one.peak_bytes / 1e9 for one in taken]
    shares = {precision: median(work.share(one, precision) for one in taken) for precision in work.rates}
    return {
        "kind": "training",
        "side": entrant.side,
        "name": entrant.name,
        "precision": taken[0].precision,
        "dropout": entrant.dropout,
        "num_pairs": taken[0].num_pairs,
        "num_steps": taken[0].num_steps,
        "rounds": len(taken),
        "seconds": median(one.seconds for one in taken),
        "pairs_per_second": median(speeds),
        "pairs_per_second_low": min(speeds),
        "pairs_per_second_high": max(speeds),
        "peak_gb": median(peaks),
        "peak_gb_low": min(peaks),
        "peak_gb_high": max(peaks),
        "mean_loss": median(one.mean_loss for one in taken),
        "share_of_limit": shares[fastest],
        "limit_precision": fastest.value,
        **{f"share_of_{precision.value}": share for precision, share in shares.items()},
        "weights_sha256": sorted({f"{one.seed}: {one.weights_sha256}" for one in taken if entrant.side == OURS}),
    }


def _report(setting: Setting, rows: Sequence[Row], *, work: Work, judgements: Sequence[Row] = ()) -> Report:
    rates = work.rates
    fastest = max(rates, key=lambda precision: rates[precision])
    said = ", ".join(f"{precision.value} {rate:.0f}" for precision, rate in rates.items())
    limit = f"Products at the encoder's shapes, GFLOP/s: {said}. The limit is {fastest.value}'s, with no padding."
    tables = [Numbers(title="", columns=_COLUMNS, rows=rows)]
    if judgements:
        tables.append(Numbers(title="Held-out quality, ours minus theirs", columns=JUDGED_COLUMNS, rows=judgements))
    return Report(
        name="train",
        tables=tables,
        bars=_BARS,
        setting={
            "model": setting.model.name,
            "pairs": len(setting.pairs),
            "batch_size": setting.batch_size,
            "max_length": setting.max_length,
            "seeds": ", ".join(map(str, setting.seeds)),
            "rounds": setting.rounds,
            **{f"gflops_{precision.value}": round(rate, 1) for precision, rate in rates.items()},
        },
        notes=[
            limit,
            "Medians of fresh processes that took turns; bars' thin lines go from the lowest to the highest.",
        ],
    )
