"""A report as one page for people: everything inside it, nothing loaded, nothing run; knows no torch.

A pure function of the report. What a report does not have (an older one, a run that was not judged) is left out.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from infonce.charts import WIDE, Chart, bars, line_chart, whiskers
from infonce.phrases import day, duration, headline, metric_name, number, signed

REPORT: Final = "report.json"
PAGE: Final = "report.html"
"""Beside the weights, as the report is."""

TEMPLATES: Final = Path(__file__).parent / "templates"

_BAR_HEIGHT: Final = 110
_MAX_JSON: Final = 300  # characters of a value that is no number and no text
_MAX_ROWS: Final = 50  # of a table that another part of the report brings
_CURVES: Final = (
    ("Learning rate", "learning_rate", "at each step"),
    ("Temperature", "temperature", "at each step"),
    ("Gradient norm", "grad_norm", "before clipping"),
    ("Speed", "pairs_per_second", "pairs/s, mean of 20 s"),
)
_PARTS: Final = (
    ("deployment", "Deployment"),
    ("retention", "What it kept: retention"),
    ("interpolation", "Between base and tuned: interpolation"),
    ("audit", "Audit of the data"),
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
        verdict=(report.get("summary") or {}).get("verdict") or "unjudged",
        tiles=list(_tiles(report)),
        evaluations=[_evaluation(report, one) for one in (report.get("summary") or {}).get("evaluations", [])],
        charts=list(_charts(report)),
        parts=[_part(title, report[name]) for name, title in _PARTS if report.get(name)],
        settings=[_setting(row) for row in report.get("settings", [])],
        data=list(_data(report)),
        times=[(name, duration(value)) for name, value in report.get("seconds", {}).items()],
        machine=[(_words(name), _shown(value)) for name, value in _flat(report.get("machine", {}))],
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
        **{name: one[name] for name in ("name", "num_queries", "num_documents", "small_corpus", "comparison")},
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


def _part(title: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A part that another module measured: its facts as rows, its lists of records as tables, those by α as curves."""
    rows: list[tuple[str, str]] = []
    tables: list[dict[str, Any]] = []
    charts: list[Chart] = []
    for name, inner in _flat(value):
        if isinstance(inner, list) and inner and all(isinstance(record, Mapping) for record in inner):
            tables.append(_table(_words(name), inner))
            charts += _by_alpha(inner)
        elif inner not in ([], {}):
            rows.append((_words(name), _shown(inner)))
    return {"title": title, "rows": rows, "tables": tables, "charts": charts}


def _by_alpha(records: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """How what was measured between base (0) and tuned model (1) depends on the share of the tuned one."""
    if len(records) < 2 or any("alpha" not in record for record in records):
        return []
    found = sorted(records, key=lambda record: float(record["alpha"]))
    measured = [name for name in found[0] if name != "alpha" and all(_is_number(record.get(name)) for record in found)]
    return [
        line_chart(
            _words(name).capitalize(),
            [(record["alpha"], record[name]) for record in found],
            unit="by α: 0 is base, 1 is tuned",
            height=120,
            dots=True,
        )
        for name in measured
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for record in records for key in record))
    more = f", the first {_MAX_ROWS} of {len(records):,}" if len(records) > _MAX_ROWS else ""
    rows = [[_shown(record.get(key)) for key in columns] for record in records[:_MAX_ROWS]]
    return {"name": name + more, "columns": [_words(key) for key in columns], "rows": rows}


def _setting(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = row.get("asked")
    decided = "asked" in row and asked != row["became"]
    return {
        "name": row["name"],
        "asked": "–" if "asked" not in row else "auto" if decided and asked is None else _shown(asked),
        "became": _shown(row["became"]),
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
        yield {"what": "weights", "name": "model.safetensors", "sha256": report["weights_sha256"]}
    if "fingerprint" in report:
        yield {"what": "model", "name": "weights, tokenizer, pooling, prompts", "sha256": report["fingerprint"]}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves and lists of a nested object, by their path."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", value


def _words(name: str) -> str:
    """A key as people write it."""
    return name.replace("_", " ")


def _shown(value: object) -> str:
    """Any JSON value in one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "line" in one for one in value):
        return "lines " + ", ".join(str(one["line"]) for one in value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_JSON else text[:_MAX_JSON] + "…"
