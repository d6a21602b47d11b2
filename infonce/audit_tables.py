"""An audit as tables for a person at a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from infonce.audit import Audit
from infonce.findings import MEANINGS
from infonce.phrases import printable

MAX_PLACES: Final = 3
"""Of each kind of finding; `--json` names twenty."""


def show_audit(found: Audit) -> None:
    """What a person wants to know of it is on stdout."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    of = found.structure
    console.print(
        f"{found.pairs:,} pairs, {found.negatives:,} negatives; "
        f"{of['queries']:,} different queries, {of['positives']:,} different positives"
    )
    table = Table("", "", box=SIMPLE_HEAD, show_header=False)
    for name in ("positives_per_query", "queries_per_positive", "negatives_per_pair"):
        table.add_row(name.replace("_", " "), _bars(of[name]))
    console.print(table)
    if found.lengths is not None:
        console.print(f"In tokens of {found.lengths['model']}:")
        console.print(_lengths(found.lengths))
    for side in ("queries", "documents"):
        if found.sample[side]["share"] < 1:
            texts, share = found.sample[side]["texts"], found.sample[side]["share"]
            console.print(f"Near duplicates and lengths are of {texts:,} {side}, a sample of {share:.1%} of them.")
    if found.held_out is not None:
        held = found.held_out
        console.print(
            f"Of {held['pairs']:,} held-out pairs: {held['queries']:,} pairs have one of their queries, "
            f"{held['positives']:,} one of their positives, {held['both']:,} both."
        )
    if found.scores is not None:
        _show_scores(console, found.scores)
    if not found.findings:
        console.print("Nothing was found that is wrong.")
    for finding in found.findings:
        console.print(f"{finding.level.value} {finding.code.value}: {finding.count:,} × {MEANINGS[finding.code]}")
        for issue in finding.issues[:MAX_PLACES]:
            where = " ".join(part for part in (issue.line and f"line {issue.line}", issue.field) if part)
            console.print(f"    {printable(where)}{': ' if where else ''}{printable(issue.detail)}")
        if finding.count > MAX_PLACES:
            console.print(f"    {MAX_PLACES} shown of {finding.count:,}")


def _show_scores(console: Console, scores: Mapping[str, Any]) -> None:
    console.print(
        f"Under {scores['model']}, of {scores['negatives']:,} negatives {scores['above_positive']:,} score above their "
        f"positive and {scores['suspects']:,} within {scores['relative_margin']:.0%} of it "
        f"({scores['pairs']:,} of {scores['pairs_with_negatives']:,} pairs with negatives)."
    )


def _lengths(lengths: Mapping[str, Any]) -> Table:
    table = Table("", box=SIMPLE_HEAD)
    for name in ("texts", "median", "95 %", "longest", f"over {lengths['max_length']}", "tokens lost"):
        table.add_column(name, justify="right")
    for side in ("queries", "documents"):
        of = lengths[side]
        numbers = (of["texts"], *(of["quantiles"].get(key, 0) for key in ("0.5", "0.95", "1")), of["truncated"])
        table.add_row(side, *(f"{number:,}" for number in numbers), f"{of['share_lost']:.1%}")
    return table


def _bars(bars: Sequence[Mapping[str, int]]) -> str:
    names = (f"{bar['from']}" if bar["from"] == bar["to"] else f"{bar['from']}-{bar['to']}" for bar in bars)
    return " · ".join(f"{name}: {bar['count']:,}" for name, bar in zip(names, bars, strict=True))
