"""The commands without a server: what they print and write, and the one sentence of a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from infonce.bench.cli import bench_app
from infonce.cli import plot_app

APP = typer.Typer(pretty_exceptions_enable=False)
APP.add_typer(plot_app, name="plot")
APP.add_typer(bench_app, name="bench")


def infonce(*words: str) -> Result:
    return CliRunner().invoke(APP, words, catch_exceptions=False)


def test_a_loss_surface_is_drawn_where_it_was_asked_for(tmp_path: Path) -> None:
    done = infonce("plot", "loss-surface", "--output", str(tmp_path / "a.png"), "--temperature", "0.2")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/a.png is drawn.\n")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_json_alone_prints_the_numbers_and_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # numbers need none
    printed = json.loads(infonce("plot", "loss-surface", "--json", "--seed", "3").stdout)
    assert (printed["seed"], printed["temperature"], printed["output"]) == (3, 0.1, None)
    assert len(printed["loss"]) == len(printed["alphas"]) and len(printed["loss"][0]) == len(printed["betas"])
    assert list(tmp_path.iterdir()) == []


def test_json_with_an_output_does_both(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    printed = json.loads(infonce("plot", "temperature", "--json", "--output", str(path)).stdout)
    assert printed["output"] == str(path) and path.is_file()
    assert printed["share_of_hardest"] == sorted(printed["share_of_hardest"], reverse=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--temperature", "0"), "temperature is 0.0; it must be between 0.005 and 10.0"),
        (("--temperature", "nan"), "temperature is nan; it must be between"),
        (("--output", "a.jpg"), "a.jpg does not end with .png"),
        (("--output", "nowhere/a.png"), "nowhere/a.png cannot be written: there is no folder nowhere"),
        (("--output", "/proc/a.png"), "/proc/a.png cannot be written: "),
        (("--output", f"{'a' * 300}/a.png"), "aaa"),
    ],
    ids=["zero", "nan", "extension", "folder", "forbidden", "too long"],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(
    words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = infonce("plot", "loss-surface", *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"infonce: {sentence}") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_remedy_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = infonce("plot", "temperature")
    assert done.exit_code == 1 and "pip install 'infonce-service[plot]'" in done.stderr
    assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_bench_loss_prints_a_table_and_leaves_out_what_would_not_fit() -> None:
    done = infonce("bench", "loss", "--batch", "1024", "--rounds", "1", "--memory-limit-gb", "0.01")
    names, _rule, row, _note = [line for line in done.stdout.splitlines() if line.strip()]
    assert names.split()[:3] == ["batch", "tiled", "s"]
    batch, _seconds, megabytes, *dense = row.split()
    assert (batch, dense) == ("1,024", ["—", "—", "—"]) and float(megabytes) > 0


def test_bench_loss_prints_a_json_object_a_row() -> None:
    words = ("--batch", "64", "--rounds", "1", "--memory-limit-gb", "0", "--json")
    [row] = [json.loads(line) for line in infonce("bench", "loss", *words).stdout.splitlines()]
    assert row["batch"] == 64 and row["tiled_seconds"] > 0 and row["dense_seconds"] is None


def test_the_console_script_has_both_groups_and_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, service.cli; print(*({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []
    for group, command in (("plot", "loss-surface"), ("bench", "loss")):
        help_text = subprocess.check_output([sys.executable, "-m", "service.cli", group, "--help"], text=True)
        assert command in help_text
