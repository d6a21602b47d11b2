"""What other parts of a job measured (audit, retention, interpolation, deployment) as tables and curves of a page.

Audit, retention and interpolation are read as `infonce/audit.py`, `retention.py` and `soup.py` say them, what else
there is, is shown whole; knows no torch.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from infonce.charts import line_chart
from infonce.phrases import number, retention_of, shortened

_MAX_JSON: Final = 300  # characters of a value that is no number and no text
_MAX_ROWS: Final = 50  # of a table
_MAX_LINES: Final = 8  # of a finding
_MIN_CURVE: Final = 3
_OFF: Final = "off: "  # how a search that was not made begins its reason
_CURVE_HEIGHT: Final = 120


def parts(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sections that the report has something for."""
    kept = report.get("retention") or (report.get("summary") or {}).get("retention")
    made: list[tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]], Mapping[str, Any] | None]] = [
        ("Deployment", _whole, report.get("deployment")),
        ("What it kept: retention", _retention, kept),
        ("Between base and tuned: interpolation", _interpolation, report.get("interpolation")),
        ("Left out of the training file", _whole, _any(report.get("left_out"))),
        ("Audit of the data", _audit, report.get("audit")),
    ]
    empty = {"text": "", "rows": [], "tables": [], "charts": []}
    return [{"title": title, **empty, **make(value)} for title, make, value in made if value]


def _any(counts: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The counts, if one of them is more than 0."""
    return counts if counts and any(counts.values()) else None


def _retention(kept: Mapping[str, Any]) -> dict[str, Any]:
    said = retention_of(kept)
    return {"text": f"{said[0].upper()}{said[1:]}."}


def _interpolation(value: Mapping[str, Any]) -> dict[str, Any]:
    """The share of the tuned weights that was chosen, why, and what was measured between the ends."""
    alpha, by, reason = float(value["alpha"]), value.get("chosen_by"), str(value["reason"])
    if reason.startswith(_OFF):
        return {"text": f"The tuned weights are published. None between were tried: {reason.removeprefix(_OFF)}."}
    text = f"Published is α = {number(alpha)}, where 0 is the base and 1 the tuned model: {reason}."
    if by:
        among = f"{number(by['num_queries'])} held-out queries over {number(by['num_documents'])} documents chose"
        text += f" {among}; {'the other half judges' if alpha < 1 else 'all held-out queries judge'}."
    curve = value.get("curve", [])
    if len(curve) < _MIN_CURVE:  # the two ends, which other parts of the page tell of
        return {"text": text}
    marks = ["chosen" if point["alpha"] == alpha else "" for point in curve]
    rows = [
        [number(point["alpha"]), f"{point['held_out']:.3f}", f"{point['probe']:.3f}", mark]
        for point, mark in zip(curve, marks, strict=True)
    ]
    named = {"held_out": "nDCG@10 of the queries that choose", "probe": "nDCG@10 of the retention probe"}
    table = _of("What was measured", ["α", "queries that choose", "retention probe", ""], rows=rows)
    charts = [
        line_chart(
            title, [(point["alpha"], point[name]) for point in curve], unit="by α", height=_CURVE_HEIGHT, dots=True
        )
        for name, title in named.items()
    ]
    return {"text": text, "tables": [table], "charts": charts}


def _audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    """What was found in the training file, most important first, and how long its texts are."""
    levels = {"warn": "warning", "info": "note"}
    findings = sorted(audit.get("findings", []), key=lambda one: (one["level"] != "warn", -one["count"]))
    rows = [
        [levels.get(one["level"], one["level"]), one["meaning"], number(one["count"]), _lines(one["issues"])]
        for one in findings
    ]
    tables = [_of("Findings in the training file", ["", "what", "times", "first lines"], rows=rows)] if rows else []
    lengths = audit.get("lengths")
    if lengths:
        sides = [
            [
                side,
                number(of["texts"]),
                *(number(of["quantiles"].get(share, 0)) for share in ("0.5", "0.95", "1")),
                number(of["truncated"]),
                f"{of['share_lost']:.1%}",
            ]
            for side, of in ((side, lengths[side]) for side in ("queries", "documents"))
        ]
        columns = ["side", "texts", "median", "95 %", "longest", "texts cut", "tokens lost"]
        name = f"Lengths in tokens; the model reads {number(lengths['max_length'])}"
        tables.append(_of(name, columns, rows=sides))
    whole = ("version", "findings", "lengths", "structure", "sample")
    structure = {name: value for name, value in audit.get("structure", {}).items() if not isinstance(value, list)}
    rest = structure | {name: value for name, value in audit.items() if name not in whole and value is not None}
    shown_rows = [(words(name), shown(value)) for name, value in flat(rest) if value not in ([], {})]
    return {"rows": shown_rows, "tables": tables}


def _lines(issues: Sequence[Mapping[str, Any]]) -> str:
    lines = [str(one["line"]) for one in issues if one.get("line") is not None]
    return ", ".join(lines[:_MAX_LINES]) + (" …" if len(lines) > _MAX_LINES else "")


def _of(name: str, columns: list[str], *, rows: list[list[str]]) -> dict[str, Any]:
    return {"name": name, "columns": columns, "rows": rows}


def _whole(value: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as rows, lists of records as tables."""
    rows: list[tuple[str, str]] = []
    tables: list[dict[str, Any]] = []
    for name, inner in flat(value):
        if isinstance(inner, list) and inner and all(isinstance(record, Mapping) for record in inner):
            tables.append(_table(words(name), inner))
        elif inner not in ([], {}):
            rows.append((words(name), shown(inner)))
    return {"rows": rows, "tables": tables}


def _table(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(key for record in records for key in record))
    more = f", the first {_MAX_ROWS} of {len(records):,}" if len(records) > _MAX_ROWS else ""
    rows = [[shown(record.get(key)) for key in columns] for record in records[:_MAX_ROWS]]
    return _of(name + more, [words(key) for key in columns], rows=rows)


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves and lists of a nested object, by their path."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", value


def words(name: str) -> str:
    """A key as people write it."""
    return name.replace("_", " ")


def shown(value: object) -> str:
    """Any JSON value in one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return value or "(empty)"
    return shortened(json.dumps(value, ensure_ascii=False), _MAX_JSON)
