"""Pictures of the loss, computed by the loss itself: numbers first, as arrays, then a PNG of them.

Only the drawing needs matplotlib, and it leaves pyplot's state alone.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from infonce.loss_config import LossConfig, Negatives
from infonce.losses import info_nce_of_each
from infonce.pictures import figure_of, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
DIMENSIONS: Final = 64
NUM_QUERIES: Final = 256
NUM_NEGATIVES: Final = 64
VARIANCE: Final = 0.1
"""Σ = I/10, as in the loss graph of info-nce-pytorch."""

POSITIVE_SIMILARITY: Final = 0.7
NEGATIVE_SIMILARITY: Final = 0.2, 0.15  # mean and deviation: a usual order of size, not a measurement
NUM_BATCH_NEGATIVES: Final = 255  # those of a batch of 256

SHOWN_TEMPERATURES: Final = (0.02, 0.05, 0.1, 0.3)
TEMPERATURES: Final = tuple(sorted({*SHOWN_TEMPERATURES, *np.geomspace(0.01, 1.0, 81).tolist()}))

_INK: Final = "#222222"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LossSurface:
    """The mean loss at every pair of weights; `loss[i, j]` belongs to `alphas[i]` and `betas[j]`."""

    alphas: Floats
    betas: Floats
    loss: Floats
    temperature: float
    seed: int
    num_negatives: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {name: getattr(self, name).tolist() for name in ("alphas", "betas", "loss")}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TemperatureEffect:
    """How the gradient of one anchor's loss is spread, a row for each temperature.

    `shares[t, j]` is the part of all pushing that negative j, of `similarities[j]`, gets; a row sums to 1.
    `unlearned[t]` is 1 - p(positive): how strongly the pair still learns, before the factor 1/τ.
    """

    temperatures: Floats
    similarities: Floats
    shares: Floats
    unlearned: Floats

    def hardest(self, fraction: float) -> Floats:
        """The share that the most similar negatives get together, at least one of them; (T,)."""
        together: Floats = self.shares[:, -max(1, round(fraction * len(self.similarities))) :].sum(axis=1)
        return together

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the shares of all negatives are summed up."""
        return {
            "temperatures": self.temperatures.tolist(),
            "share_of_hardest": self.shares[:, -1].tolist(),
            "share_of_hardest_tenth": self.hardest(0.1).tolist(),
            "unlearned": self.unlearned.tolist(),
        }


def loss_surface(*, temperature: float = 0.1, seed: int = 0, side: int = 61) -> LossSurface:
    """The InfoNCE loss of samples whose means are interpolated, over the two weights α and β from 0 to 1.

    Queries are drawn from N(µq, Σ), positives from N(αµq + (1 - α)µp, Σ), negatives from N(βµq + (1 - β)µn, Σ), and
    every query meets every negative: the loss graph of info-nce-pytorch. The three means are orthogonal, of the
    length √D that N(0, I) has. The samples' noise is drawn once, so that the surface varies by its weights alone.

    Raises:
        ConfigError: the temperature is outside the limits of `LossConfig`.
    """
    LossConfig(temperature=temperature)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(DIMENSIONS, 3, generator=generator)).Q
    mean_query, mean_positive, mean_negative = math.sqrt(DIMENSIONS) * directions.T  # (D,) each
    of_query, of_positive, of_negative = (
        math.sqrt(VARIANCE) * torch.randn(number, DIMENSIONS, generator=generator)
        for number in (NUM_QUERIES, NUM_QUERIES, NUM_NEGATIVES)
    )
    weights = np.linspace(0, 1, side)
    queries = F.normalize(mean_query + of_query, dim=-1)  # (Q, D)
    positives = [F.normalize(torch.lerp(mean_positive, mean_query, alpha) + of_positive, dim=-1) for alpha in weights]
    negatives = [F.normalize(torch.lerp(mean_negative, mean_query, beta) + of_negative, dim=-1) for beta in weights]

    def loss(right: Tensor, wrong: Tensor) -> float:
        each = info_nce_of_each(queries, right, negatives=wrong, temperature=temperature, mode=Negatives.UNPAIRED)
        return float(each.mean())

    return LossSurface(
        alphas=weights,
        betas=weights,
        loss=np.array([[loss(right, wrong) for wrong in negatives] for right in positives]),
        temperature=temperature,
        seed=seed,
        num_negatives=NUM_NEGATIVES,
    )


def temperature_effect(temperatures: Sequence[float] = TEMPERATURES) -> TemperatureEffect:
    """Which negatives the gradient reaches at each temperature, by autograd of the loss itself.

    One anchor has a positive of similarity 0.7 and 255 negatives, whose similarities are the quantiles of
    N(0.2, 0.15²).

    Raises:
        ConfigError: a temperature is outside the limits of `LossConfig`.
    """
    for temperature in temperatures:
        LossConfig(temperature=temperature)
    mean, deviation = NEGATIVE_SIMILARITY
    quantiles = (torch.arange(NUM_BATCH_NEGATIVES, dtype=torch.float64) + 0.5) / NUM_BATCH_NEGATIVES
    similarities = mean + deviation * torch.special.ndtri(quantiles)
    anchor, positive, negatives = _vectors_with(similarities)
    shares, unlearned = [], []
    for temperature in temperatures:
        each = info_nce_of_each(anchor, positive, negatives=negatives, temperature=temperature, mode=Negatives.UNPAIRED)
        pull, push = (part.norm(dim=-1) for part in torch.autograd.grad(each.sum(), (positive, negatives)))
        shares.append((push / push.sum()).numpy())
        unlearned.append(float(pull) * temperature)
    return TemperatureEffect(
        temperatures=np.array(temperatures),
        similarities=similarities.numpy(),
        shares=np.array(shares),
        unlearned=np.array(unlearned),
    )


def _vectors_with(similarities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors: an anchor (1, D), its positive (1, D) and negatives (M, D) that are that similar to the anchor."""
    anchor, *others = torch.eye(len(similarities) + 2, dtype=torch.float64)
    wanted = torch.cat([torch.tensor([POSITIVE_SIMILARITY], dtype=torch.float64), similarities])[:, None]
    candidates = wanted * anchor + (1 - wanted**2).sqrt() * torch.stack(others)  # each has a direction of its own
    return anchor[None], candidates[:1].requires_grad_(), candidates[1:].requires_grad_()


def draw_loss_surface(surface: LossSurface, path: Path) -> None:
    """A PNG of the surface is at `path`, whole or not at all.

    Raises:
        InfonceError: nothing can be written there, or matplotlib is not installed.
    """
    figure = figure_of(7.2, 5.8)
    axes = figure.add_subplot()
    shade = axes.pcolormesh(surface.alphas, surface.betas, surface.loss.T, shading="gouraud", cmap="cividis")
    _draw_isolines(axes, surface)
    axes.set_xlabel(r"$\alpha$, with positives from $N(\alpha\,\mu_q + (1-\alpha)\,\mu_p,\ I/10)$")
    axes.set_ylabel(r"$\beta$, with negatives from $N(\beta\,\mu_q + (1-\beta)\,\mu_n,\ I/10)$")
    axes.set_title(f"InfoNCE loss over interpolated means, temperature {surface.temperature:g}")
    axes.set_aspect("equal")
    figure.colorbar(shade, label="mean loss (nats)")
    write_picture(figure, path)


def _draw_isolines(axes: "Axes", surface: LossSurface) -> None:
    """Lines of equal loss; the dashed one is where a guess among all candidates is as good."""
    from matplotlib.ticker import MaxNLocator

    grid = (surface.alphas, surface.betas, surface.loss.T)
    chance, low, high = math.log(1 + surface.num_negatives), float(surface.loss.min()), float(surface.loss.max())
    apart = (high - low) / 25
    levels = sorted({0.1, 1.0, *map(float, MaxNLocator(nbins=8).tick_values(low, high))})
    kept = [level for level in levels if low < level < high - apart and abs(level - chance) > apart]
    on_light = low + 0.6 * (high - low)  # above it cividis is a light yellow
    colours = [_INK if level > on_light else "white" for level in kept]
    axes.clabel(axes.contour(*grid, levels=kept, colors=colours, linewidths=0.9), fmt="%g", fontsize=9)
    colour = _INK if chance > on_light else "white"
    guessing = axes.contour(*grid, levels=[chance], colors=colour, linewidths=2.2, linestyles="dashed")
    axes.clabel(guessing, fmt=f"guessing: log {1 + surface.num_negatives} = {chance:.2f}", fontsize=10)


def draw_temperature_effect(effect: TemperatureEffect, path: Path) -> None:
    """A PNG of the effect is at `path`, whole or not at all.

    Raises:
        InfonceError: nothing can be written there, or matplotlib is not installed.
    """
    figure = figure_of(11.0, 4.8)
    left, right = figure.subplots(1, 2)
    _draw_shares(left, effect)
    _draw_hardest(right, effect)
    write_picture(figure, path)


def _draw_shares(axes: "Axes", effect: TemperatureEffect) -> None:
    """The share of each negative over its similarity, a line for some of the temperatures."""
    from matplotlib import colormaps
    from matplotlib.ticker import FuncFormatter

    floor = 1e-4
    rows = sorted({int(np.abs(effect.temperatures - value).argmin()) for value in SHOWN_TEMPERATURES})
    for row, colour in zip(rows, colormaps["viridis"](np.linspace(0.85, 0.0, len(rows))), strict=True):
        name = f"{effect.temperatures[row]:g}"
        axes.plot(effect.similarities, effect.shares[row], color=colour, linewidth=2.2, label=name)
    axes.legend(title="temperature", loc="upper left")
    axes.plot(effect.similarities, np.full_like(effect.similarities, floor), "|", color=_INK, markersize=14, alpha=0.4)
    axes.axvline(POSITIVE_SIMILARITY, color=_INK, linewidth=1, linestyle="dashed")
    axes.text(POSITIVE_SIMILARITY, 0.01, " the positive", color=_INK, rotation=90, ha="left", va="center")
    axes.set_xlim(None, POSITIVE_SIMILARITY + 0.1)
    axes.set_yscale("log")
    axes.set_ylim(floor, 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.set_xlabel(f"similarity to the anchor (cosine); ticks mark the {len(effect.similarities)} negatives")
    axes.set_ylabel("share of the gradient on all negatives")
    axes.set_title("What one negative gets")


def _draw_hardest(axes: "Axes", effect: TemperatureEffect) -> None:
    """Over the temperature: what the hardest negatives get, and what the pair has yet to learn."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

    axes.plot(effect.temperatures, effect.hardest(0.1), color="#0072B2", linewidth=2)
    axes.plot(effect.temperatures, effect.shares[:, -1], color="#D55E00", linewidth=2)
    axes.plot(effect.temperatures, effect.unlearned, color=_INK, linewidth=2, linestyle="dashed")
    axes.text(0.3, 0.26, "gradient on the\nhardest tenth", color="#0072B2", va="bottom")
    axes.text(0.0105, 0.58, "gradient on the\nhardest negative", color="#D55E00", va="top")
    axes.text(0.2, 0.86, "1 − p(positive):\nwhat is left to learn", color=_INK, va="top")
    default = LossConfig().temperature
    axes.axvline(default, color=_INK, linewidth=1, linestyle="dotted")
    axes.text(default, 0.01, f" default {default:g}", color=_INK)
    axes.set_xscale("log")
    axes.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("temperature")
    axes.set_ylabel("share of the gradient on all negatives; 1 − p")
    axes.set_title("What the temperature spends the gradient on")
