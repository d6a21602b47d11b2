"""How a report says numbers, durations and a verdict to people; the same on a page, a card and a terminal."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_METRICS = {"ndcg": "nDCG", "mrr": "MRR", "recall": "Recall", "map": "MAP"}


def metric_name(key: str) -> str:
    """`ndcg@10` as the literature writes it."""
    name, at, rank = key.partition("@")
    return f"{_METRICS.get(name, name)}{at}{rank}"


def signed(value: float) -> str:
    """Three decimals and a sign that is as wide as the other one."""
    return f"{value:+.3f}".replace("-", "−")


def number(value: float) -> str:
    """Few digits, but all that a person would miss: 1,234 · 0.0523 · 1e-4."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    mantissa, exponent, power = text.partition("e")
    return (f"{mantissa}e{int(power)}" if exponent else text).replace("-", "−")


def duration(seconds: float) -> str:
    """In the units that a person would choose."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def day(at: float) -> str:
    """The date of a unix time, and the minute, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def shortened(text: str, num_characters: int) -> str:
    """At most so many characters of it, and an ellipsis for the others."""
    return text if len(text) <= num_characters else text[:num_characters] + "…"


def printable(text: str) -> str:
    """Blanks instead of what a terminal or a page would obey."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def verdict_of(comparison: Mapping[str, Any]) -> str:
    """What a comparison found, in one sentence that begins with the verdict."""
    found = comparison
    metric = f"{metric_name(found['metric'])} {found['mean_base']:.3f} → {found['mean_tuned']:.3f}"
    interval = f"95 % interval {signed(found['low'])} … {signed(found['high'])}"
    outcomes = f"{_count(found['wins'], 'win')}, {_count(found['losses'], 'loss')}, {_count(found['ties'], 'tie')}"
    return f"{found['verdict']}: {metric}, {signed(found['delta'])}, {interval}, {outcomes}"


def retention_of(kept: Mapping[str, Any]) -> str:
    """Whether a tuned model still knows what its base knew, in one sentence that begins with the answer."""
    if kept.get("held") is None:
        return f"not measured: {kept.get('reason') or 'nothing is known of it'}"
    metric = f"{metric_name(kept['metric'])} {kept['base']:.3f} → {kept['tuned']:.3f}, {signed(kept['delta'])}"
    on = f"on a probe of {kept['num_queries']:,} queries over {kept['num_documents']:,} texts"
    return f"{'held' if kept['held'] else 'not held'}: {metric}, {on}; it may fall by {kept['bound']:g}"


def searched(evaluation: Mapping[str, Any]) -> str:
    """How many queries were looked for, and in what."""
    text = f"{evaluation['num_queries']:,} queries searched in {evaluation['num_documents']:,} documents"
    whole = evaluation.get("drawn_from")  # which a report of an older version does not say
    return text if whole is None else f"{text}, a sample of {whole:,} that keeps every relevant one"


def forgets(report: Mapping[str, Any]) -> str | None:
    """What has to stand beside a verdict: that the model lost more of what its base knew than it may."""
    kept = (report.get("summary") or {}).get("retention") or {}
    return f"it forgets: retention is {retention_of(kept)}" if kept.get("held") is False else None


def headline(report: Mapping[str, Any]) -> str:
    """The verdict of the whole report; the first judged set decides."""
    evaluations = (report.get("summary") or {}).get("evaluations") or []
    if not evaluations:
        return "not judged: nothing was held out and no file of judgements was given"
    return verdict_of(evaluations[0]["comparison"])


def _count(count: int, noun: str) -> str:
    plural = {"win": "wins", "loss": "losses", "tie": "ties"}[noun]
    return f"{count:,} {noun if count == 1 else plural}"
