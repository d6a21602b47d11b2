"""A report as one page for people: everything inside it, nothing loaded, nothing run; knows no torch.

A pure function of the report. What a report does not have (an older one, a run that was not judged) is left out.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from infonce.charts import WIDE, Chart, bars, line_chart, whiskers
from infonce.layout import WEIGHTS
from infonce.phrases import day, duration, forgets, headline, metric_name, searched, signed
from infonce.report_parts import flat, parts, shown, words

REPORT: Final = "report.json"
PAGE: Final = "report.html"
"""Beside the weights, as the report is."""

TEMPLATES: Final = Path(__file__).parent / "templates"

_BAR_HEIGHT: Final = 110
_CURVES: Final = (
    ("Learning rate", "learning_rate", "at each step"),
    ("Temperature", "temperature", "at each step"),
    ("Gradient norm", "grad_norm", "before clipping"),
    ("Speed", "pairs_per_second", "pairs/s, mean of 20 s"),
)
_DATA: Final = {
    "training_file": "training pairs",
    "validation_file": "validation pairs",
    "evaluation_file": "judgements",
}


def report_page(report: Mapping[str, Any]) -> str:
    """The page; texts of the report are text on it, whatever they look like."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(PAGE).render(
        title=f"Fine-tuning report: {report.get('model', 'a model')}",
        headline=headline(report),
        forgets=forgets(report),
        verdict=(report.get("summary") or {}).get("verdict") or "unjudged",
        tiles=list(_tiles(report)),
        evaluations=[_evaluation(report, one) for one in (report.get("summary") or {}).get("evaluations", [])],
        charts=list(_charts(report)),
        parts=parts(report),
        settings=[_setting(row) for row in report.get("settings", [])],
        data=list(_data(report)),
        times=[(name, duration(value)) for name, value in report.get("seconds", {}).items()],
        machine=[(words(name), shown(value)) for name, value in flat(report.get("machine", {}))],
        versions=list(report.get("versions", {}).items()),
        style=Markup(style),  # ours, with no value of a report in it
        style_sha256=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        wide=WIDE,
    )
    return page.lstrip() + "\n"


def _tiles(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "job_id" in report:
        yield "job", str(report["job_id"])
    if "created_at" in report:
        yield "made", day(report["created_at"])
    if "num_pairs" in report:
        yield "trained on", f"{report['num_pairs']:,} pairs"
    if "num_steps" in report:
        best = report.get("best_step")
        yield "steps", f"{report['num_steps']:,}" + (f", best after {best:,}" if best is not None else "")
    if "trained_tokens" in report:
        yield "read", f"{report['trained_tokens']:,} tokens"
    if report.get("seconds"):
        yield "took", duration(sum(report["seconds"].values()))
    if "dimensions" in report:
        yield "vectors of", f"{report['dimensions']:,} dimensions"


def _evaluation(report: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of one judged set."""
    beside = report.get("side_by_side", {}).get(one["name"], {})
    intervals, counts, comparison = beside.get("intervals", {}), beside.get("histogram", []), one["comparison"]
    drawn = whiskers(intervals)
    rows = []
    for metric, base in one["base"].items():
        found, tuned = intervals.get(metric), one["tuned"][metric]
        rows.append(
            {
                "name": metric_name(metric),
                "base": base,
                "tuned": tuned,
                "change": signed(tuned - base),
                "decides": metric == comparison["metric"],
                "interval": f"{signed(found['low'])} … {signed(found['high'])}" if found else "",
                "whisker": drawn.get(metric),
                "kind": drawn[metric].kind if metric in drawn else "none",
            }
        )
    shown = beside.get("examples", [])
    outcomes = {plural: [one for one in shown if one["outcome"] == outcome] for outcome, plural in _OUTCOMES.items()}
    changed = bool(counts) and any(counts)
    return {
        **{name: one[name] for name in ("name", "small_corpus", "comparison")},
        "searched": searched(one),
        **outcomes,
        "metric": metric_name(comparison["metric"]),
        "rows": rows,
        "whiskers": bool(drawn),
        "bars": bars(counts, height=_BAR_HEIGHT) if changed else (),
        "most": f"{max(counts):,}" if changed else "",
    }


_OUTCOMES: Final = {"win": "wins", "loss": "losses", "tie": "ties"}


def _charts(report: Mapping[str, Any]) -> Iterator[Chart]:
    """The loss first, then what changed beside it."""
    curve = report.get("curve", [])
    if not curve:
        return
    steps = [record["step"] for record in curve]
    loss = [(step, record["loss"]) for step, record in zip(steps, curve, strict=True)]
    yield line_chart(
        "Loss", loss, unit="nats a pair, by step; faint: each step, bold: moving average", height=230, smooth=True
    )
    judged = report.get("judged")
    if judged and judged["points"]:
        name = f"{metric_name(judged['metric'])} of held-out queries"
        yield line_chart(
            name, [tuple(point) for point in judged["points"]], unit="while it trained", height=120, dots=True
        )
    for title, field, unit in _CURVES:
        points = [(step, record[field]) for step, record in zip(steps, curve, strict=True)]
        yield line_chart(title, points, unit=unit, height=120, smooth=field in ("grad_norm",))


def _setting(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = row.get("asked")
    decided = "asked" in row and asked != row["became"]
    return {
        "name": row["name"],
        "asked": "–" if "asked" not in row else "auto" if decided and asked is None else shown(asked),
        "became": shown(row["became"]),
        "is_decided": decided,
    }


def _data(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Every checksum that says what went in and what came out."""
    for name, file in report.get("data", {}).items():
        known = " · ".join(str(file[key]) for key in ("filename", "id") if key in file)
        yield {"what": _DATA.get(name, name), "name": known, "sha256": file.get("sha256", "–")}
    for name, beside in report.get("side_by_side", {}).items():
        yield {"what": "judged set", "name": name, "sha256": beside["digest"]}
    if "weights_sha256" in report:
        yield {"what": "weights", "name": WEIGHTS, "sha256": report["weights_sha256"]}
    if "fingerprint" in report:
        yield {"what": "model", "name": "weights, tokenizer, pooling, prompts", "sha256": report["fingerprint"]}
