"""What a benchmark found: tables for a terminal, a page and a program, and a picture of the bars that matter."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from infonce.pictures import figure_of, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
OURS: Final = "infonce"
THEIRS: Final = "sentence-transformers"

_PACKAGES: Final = ("torch", "transformers", "sentence-transformers", "faiss-cpu", "numpy")
_COLOURS: Final = {OURS: "#0072B2", THEIRS: "#E69F00"}
_OTHER_COLOUR: Final = "#777777"
_INK: Final = "#222222"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a table: its heading, the key of its values in the rows, and how they are written."""

    heading: str
    key: str
    form: str = ""

    def cell(self, row: Row) -> str:
        """The value as it is shown; a dash where there is none."""
        value = row.get(self.key)
        return "—" if value is None else format(value, self.form)


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Rows with the columns that are shown of them; a program gets every key."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def rich(self) -> Table:
        """The table for a terminal; what is said of a row stands left, its numbers right."""
        table = Table(box=SIMPLE_HEAD, title=self.title or None, title_justify="left")
        for column in self.columns:
            if column.form:
                table.add_column(column.heading, justify="right", no_wrap=True)
            else:
                table.add_column(column.heading, min_width=14, overflow="fold")
        for row in self.rows:
            table.add_row(*(column.cell(row) for column in self.columns))
        return table

    def markdown(self) -> str:
        """The table as Markdown has it."""
        lines = [
            [column.heading for column in self.columns],
            ["---:" if column.form else "---" for column in self.columns],
            *([column.cell(row) for column in self.columns] for row in self.rows),
        ]
        title = [f"### {self.title}", ""] if self.title else []
        return "\n".join([*title, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """A panel of the picture: a bar for each row that has this value, from `<key>_low` to `<key>_high` if known."""

    title: str
    key: str
    form: str
    is_log: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one benchmark found; the first table's rows are drawn, each named by its `name` and coloured by `side`."""

    name: str
    tables: Sequence[Numbers]
    bars: Sequence[Bars]
    setting: Mapping[str, Any]
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """A JSON object for each row of each table."""
        return [json.dumps(row) for table in self.tables for row in table.rows]

    def save(self, folder: Path) -> None:
        """`<name>.json`, `<name>.md` and `<name>.png` are in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        found = machine()
        content = {
            "name": self.name,
            "machine": found,
            "setting": dict(self.setting),
            "tables": {table.title or self.name: [dict(row) for row in table.rows] for table in self.tables},
            "notes": list(self.notes),
        }
        (folder / f"{self.name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        facts = " · ".join(f"{name} {value}" for name, value in found.items())
        settings = " · ".join(f"{name} {value}" for name, value in self.setting.items())
        parts = [*(table.markdown() for table in self.tables), *(f"{note}\n" for note in self.notes)]
        page = "\n".join([*parts, f"Settings: {settings}\n", f"Machine: {facts}\n"])
        (folder / f"{self.name}.md").write_text(page, encoding="utf-8")
        self._draw(folder / f"{self.name}.png")

    def _draw(self, path: Path) -> None:
        """A panel beside the other, the rows from top to bottom in their order."""
        rows = self.tables[0].rows
        figure = figure_of(3.0 + 4.0 * len(self.bars), 1.3 + 0.42 * len(rows))
        panels = figure.subplots(1, len(self.bars), sharey=True, squeeze=False)[0]
        for axes, bars in zip(panels, self.bars, strict=True):
            _draw_bars(axes, bars, rows=rows)
        write_picture(figure, path)


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES if _is_installed(name)},
    }


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    """The name that the kernel gives it, where it gives one."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _draw_bars(axes: "Axes", bars: Bars, *, rows: Sequence[Row]) -> None:
    shown = [(place, row) for place, row in enumerate(rows) if row.get(bars.key) is not None]
    places = [place for place, _ in shown]
    values = [float(row[bars.key]) for _, row in shown]
    colours = [_COLOURS.get(str(row.get("side")), _OTHER_COLOUR) for _, row in shown]
    axes.barh(places, values, color=colours, height=0.68)
    ends = list(values)
    for number, (place, row) in enumerate(shown):
        low, high = row.get(f"{bars.key}_low"), row.get(f"{bars.key}_high")
        if low is not None and high is not None and high > low:
            axes.plot([low, high], [place, place], color=_INK, linewidth=1.4, marker="|", markersize=6)
            ends[number] = max(values[number], float(high))
    for place, value, end in zip(places, values, ends, strict=True):
        axes.annotate(
            format(value, bars.form),
            (end, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
            fontsize=9,
        )
    if bars.is_log:
        axes.set_xscale("log")
        axes.set_xlim(min(values, default=1.0) / 3, max(ends, default=1.0) * 4)
    else:
        axes.set_xlim(0, max(ends, default=1.0) * 1.2 or 1.0)
    if bars.form.endswith("%"):
        axes.xaxis.set_major_formatter(lambda value, _: format(value, ".0%"))
    axes.set_yticks(range(len(rows)), [str(row["name"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(bars.title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
