"""The pictures show what the loss computes, and a picture is there whole or not at all."""

import logging
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infonce import plots
from infonce.errors import ConfigError, InfonceError
from infonce.plots import LossSurface, draw_loss_surface, draw_temperature_effect, loss_surface, temperature_effect

PAGE = Path(__file__).parents[2] / "docs/losses.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def surface() -> LossSurface:
    return loss_surface(side=5)


def test_the_surface_falls_with_nearer_positives_and_rises_with_nearer_negatives(surface: LossSurface) -> None:
    assert surface.loss.shape == (5, 5)
    assert (np.diff(surface.loss, axis=0) < 0).all() and (np.diff(surface.loss, axis=1) > 0).all()


def test_the_surface_is_that_of_a_guess_where_positives_and_negatives_are_drawn_alike(surface: LossSurface) -> None:
    assert surface.loss[-1, -1] == pytest.approx(math.log(1 + surface.num_negatives), abs=0.1)
    assert surface.loss[-1, 0] < 0.05


def test_a_seed_names_one_surface(surface: LossSurface) -> None:
    assert (loss_surface(side=5).loss == surface.loss).all()
    assert (loss_surface(side=5, seed=1).loss != surface.loss).all()


def test_a_negative_gets_its_softmax_weight_of_the_gradient() -> None:
    effect = temperature_effect([0.02, 0.1, 1.0])
    for temperature, shares, unlearned in zip(effect.temperatures, effect.shares, effect.unlearned, strict=True):
        weights = np.exp(effect.similarities / temperature)
        assert shares == pytest.approx(weights / weights.sum(), rel=1e-9)
        positive = math.exp(plots.POSITIVE_SIMILARITY / temperature)
        assert unlearned == pytest.approx(weights.sum() / (positive + weights.sum()), rel=1e-9)


def test_the_hardest_are_the_most_similar_and_at_least_one() -> None:
    effect = temperature_effect([0.05])
    assert effect.hardest(0.0) == pytest.approx(effect.shares[:, -1])
    assert effect.hardest(1.0) == pytest.approx([1.0])


@pytest.mark.parametrize("temperature", [0.005, 0.1, 10.0])
def test_a_surface_of_any_temperature_is_drawn_without_a_warning(
    temperature: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        draw_loss_surface(loss_surface(temperature=temperature, side=5), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 600
    assert [record.message for record in caplog.records if "glyph" in record.message.lower()] == []


def test_drawing_leaves_pyplot_alone_and_nothing_but_the_picture(tmp_path: Path) -> None:
    draw_temperature_effect(temperature_effect(), tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_remedy_is_named(
    surface: LossSurface, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # importing it fails, as where it is not installed
    with pytest.raises(InfonceError, match=re.escape("pip install 'infonce-service[plot]'")):
        draw_loss_surface(surface, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_replaces_the_one_that_was_there(surface: LossSurface, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    draw_loss_surface(surface, tmp_path / "a.png")
    draw_loss_surface(surface, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_cannot_be_written_leaves_no_part_behind(surface: LossSurface, tmp_path: Path) -> None:
    name = "a" * 250 + ".png"  # short enough for a file, too long with the mark of an unfinished one
    with pytest.raises(ConfigError, match="cannot be written: File name too long"):
        draw_loss_surface(surface, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, 11.0])
def test_a_temperature_outside_the_limits_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match=r"temperature is .* it must be between"):
        loss_surface(temperature=temperature)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_example_of_the_page_on_losses_runs(number: int) -> None:
    assert len(BLOCKS) >= 3
    exec(compile(BLOCKS[number], f"{PAGE.name}, example {number + 1}", "exec"), {})


def test_the_page_shows_pictures_that_exist() -> None:
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text("utf-8"))
    assert len(shown) == 2 and all((PAGE.parent / path).is_file() for path in shown)
