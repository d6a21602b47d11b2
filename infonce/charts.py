"""Curves and bars as coordinates that a template draws as SVG: no pictures, no scripts, no drawing library.

A chart is as wide as the page leaves it: x is in per cent of the plot, y in pixels from its top.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infonce.phrases import number

WIDE: Final = 1_000
"""The plot's own units from its left to its right, which a browser stretches."""

_MAX_POINTS: Final = 600  # more than a page has pixels for
_WINDOWS: Final = 25  # a smoothed line averages over this part of the curve
_NUM_TICKS: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One line of a chart."""

    kind: str
    """raw, smooth or plain: how it is drawn."""
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Curves over steps."""

    title: str
    unit: str
    height: int
    curves: tuple[Curve, ...]
    dots: tuple[tuple[float, float], ...]
    """Per cent from the left, pixels from the top."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    words: str
    """What it shows, for who cannot see it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A bar of a histogram: per cent from the left, pixels from the top."""

    x: float
    width: float
    y: float
    height: float
    is_gain: bool
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Whisker:
    """A mean and its interval on a scale that all rows of a table share, in per cent; `kind` is what it allows to say.

    An interval that holds 0 says nothing.
    """

    zero: float
    low: float
    high: float
    mean: float
    kind: str


def line_chart(
    title: str,
    points: Sequence[tuple[float, float]],
    *,
    unit: str,
    height: int,
    smooth: bool = False,
    dots: bool = False,
) -> Chart:
    """The points, at least one, as a chart; `smooth` puts a moving average over a faint line, `dots` marks each."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    left, right = min(xs), max(max(xs), min(xs) + 1e-9)
    low, high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def across(x: float) -> float:
        return (x - left) / (right - left)

    def down(y: float) -> float:
        return height * (high - y) / (high - low) if high > low else height / 2

    def path(line: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{WIDE * across(x):.1f} {down(y):.1f}" for x, y in line)

    plain = Curve(kind="raw" if smooth else "plain", path=path(_fewer(points)))
    curves = (plain, Curve(kind="smooth", path=path(_fewer(_smoothed(points))))) if smooth else (plain,)
    return Chart(
        title=title,
        unit=unit,
        height=height,
        curves=curves,
        dots=tuple((round(100 * across(x), 2), round(down(y), 1)) for x, y in points) if dots else (),
        x_ticks=tuple(Tick(at=round(100 * across(x), 2), text=number(x)) for x in x_ticks if left <= x <= right),
        y_ticks=tuple(Tick(at=round(down(y), 1), text=number(y)) for y in y_ticks),
        words=f"{title}: {number(ys[0])} at first, {number(ys[-1])} at last, {number(min(ys))} to {number(max(ys))}",
    )


def bars(counts: Sequence[int], *, height: int) -> tuple[Bar, ...]:
    """A histogram from -1 to 1, losses to the left of the middle."""
    most, width = max([*counts, 1]), 100 / len(counts)
    step = 2 / len(counts)
    return tuple(
        Bar(
            x=round(place * width + 0.1 * width, 3),
            width=round(0.8 * width, 3),
            y=round(height * (1 - count / most), 1),
            height=round(height * count / most, 1),
            is_gain=2 * place >= len(counts),
            words=f"{count:,} queries changed by {-1 + place * step:+.1f} to {-1 + (place + 1) * step:+.1f}",
        )
        for place, count in enumerate(counts)
    )


def whiskers(intervals: Mapping[str, Mapping[str, float]]) -> dict[str, Whisker]:
    """Of every metric's gain, all on one scale that holds 0."""
    low = min([0.0, *(one["low"] for one in intervals.values())])
    high = max([0.0, *(one["high"] for one in intervals.values())])
    margin = 0.05 * (high - low) or 1.0

    def across(value: float) -> float:
        return round(100 * (value - low + margin) / (high - low + 2 * margin), 2)

    def kind(one: Mapping[str, float]) -> str:
        return "gain" if one["low"] > 0 else "loss" if one["high"] < 0 else "none"

    return {
        metric: Whisker(
            zero=across(0.0),
            low=across(one["low"]),
            high=across(one["high"]),
            mean=across(one["tuned"] - one["base"]),
            kind=kind(one),
        )
        for metric, one in intervals.items()
    }


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that span the range."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / _NUM_TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= _NUM_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value as the mean of those around it; the window is cut at both ends, so that nothing lags behind."""
    half = len(points) // _WINDOWS // 2
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    found = []
    for place, (x, _) in enumerate(points):
        first, last = max(0, place - half), min(len(points), place + half + 1)
        found.append((x, (sums[last] - sums[first]) / (last - first)))
    return found


def _fewer(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most so many as a page can show, the last one included."""
    stride = math.ceil(len(points) / _MAX_POINTS)
    return points[::-1][::stride][::-1]
