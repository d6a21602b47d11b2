"""What other parts of a job measured (audit, retention, interpolation, deployment) as tables and curves of a page.

The audit is read as `infonce/audit.py` says; the others are shown whole, whatever they hold; knows no torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from infonce.charts import Chart, line_chart
from infonce.phrases import number, shortened

_MAX_JSON: Final = 300  # characters of a value that is no number and no text
_MAX_ROWS: Final = 50  # of a table
_MAX_LINES: Final = 8  # of a finding


def parts(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sections that the report has something for."""
    kept = report.get("retention") or (report.get("summary") or {}).get("retention")
    shown_whole = [
        ("Deployment", report.get("deployment")),
        ("What it kept: retention", kept),
        ("Between base and tuned: interpolation", report.get("interpolation")),
    ]
    found = [_part(title, value) for title, value in shown_whole if value]
    if any(report.get("left_out", {}).values()):
        found.append(_part("Left out of the training file", report["left_out"]))
    if report.get("audit"):
        found.append(_audit(report["audit"]))
    return found


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
    return {"title": "Audit of the data", "rows": shown_rows, "tables": tables, "charts": []}


def _lines(issues: Sequence[Mapping[str, Any]]) -> str:
    lines = [str(one["line"]) for one in issues if one.get("line") is not None]
    return ", ".join(lines[:_MAX_LINES]) + (" …" if len(lines) > _MAX_LINES else "")


def _of(name: str, columns: list[str], *, rows: list[list[str]]) -> dict[str, Any]:
    return {"name": name, "columns": columns, "rows": rows}


def _part(title: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A part that another module measured: its facts as rows, its lists of records as tables, those by α as curves."""
    rows: list[tuple[str, str]] = []
    tables: list[dict[str, Any]] = []
    charts: list[Chart] = []
    for name, inner in flat(value):
        if isinstance(inner, list) and inner and all(isinstance(record, Mapping) for record in inner):
            tables.append(_table(words(name), inner))
            charts += _by_alpha(inner)
        elif inner not in ([], {}):
            rows.append((words(name), shown(inner)))
    return {"title": title, "rows": rows, "tables": tables, "charts": charts}


def _by_alpha(records: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """How what was measured between base (0) and tuned model (1) depends on the share of the tuned one."""
    if len(records) < 2 or any("alpha" not in record for record in records):
        return []
    found = sorted(records, key=lambda record: float(record["alpha"]))
    measured = [name for name in found[0] if name != "alpha" and all(_is_number(record.get(name)) for record in found)]
    return [
        line_chart(
            words(name).capitalize(),
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
