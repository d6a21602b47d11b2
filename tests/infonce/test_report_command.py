"""`infonce report` says the verdict, writes the page, and writes curves that TensorBoard's own format gives back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event
from typer.testing import CliRunner, Result

from infonce.report_command import report_app
from infonce.report_page import report_page
from tests.infonce.reported import toy_report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "report.json").write_text(json.dumps(toy_report()))
    return tmp_path / "model"


def infonce_report(*words: str | Path) -> Result:
    return CliRunner().invoke(report_app, [str(word) for word in words], catch_exceptions=False)


def events(path: Path) -> Iterator[Event]:
    """The records of an event file: length, its checksum, the event, its checksum."""
    content = path.read_bytes()
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]


def test_the_curves_come_back_from_the_event_file(folder: Path, tmp_path: Path) -> None:
    said = infonce_report(folder, "--tensorboard", tmp_path / "runs").stdout
    (path,) = (tmp_path / "runs").glob("events.out.tfevents.*")
    found: dict[str, list[tuple[int, float, float]]] = {}
    for event in events(path):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value, event.wall_time))
    report = toy_report()
    assert [step for step, _, _ in found["training/loss"]] == list(range(1, 41))
    for field in ("loss", "learning_rate", "grad_norm", "temperature", "pairs_per_second"):
        expected = [record[field] for record in report["curve"]]
        assert [value for _, value, _ in found[f"training/{field}"]] == pytest.approx(expected)
    assert [(step, round(value, 3)) for step, value, _ in found["held_out/ndcg_at_10"]] == [(0, 0.377), (40, 0.519)]
    assert [step for step, _, _ in found["judged/ndcg_at_10"]] == [0, 20, 40]
    assert found["training/loss"][-1][2] == pytest.approx(report["created_at"])
    assert f"{sum(map(len, found.values())):,} points are in" in said


def test_the_page_is_written_and_the_verdict_said(folder: Path, tmp_path: Path) -> None:
    done = infonce_report(folder / "report.json", "--html", tmp_path / "page.html")
    assert done.stdout.startswith("better: nDCG@10 0.377 → 0.519, +0.142, 95 % interval")
    assert (tmp_path / "page.html").read_text() == report_page(toy_report())


def test_a_mistake_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    infonce_report(folder, "--tensorboard", tmp_path / "runs")
    assert "name a new folder" in infonce_report(folder, "--tensorboard", tmp_path / "runs").stderr
    assert "does not exist; name the folder of a model" in infonce_report(tmp_path / "none").stderr
    for content, why in (("{", "is not JSON"), ("[]", "is no report of a training"), ("{}", "is no report")):
        (folder / "report.json").write_text(content)
        done = infonce_report(folder)
        assert done.exit_code == 1 and why in done.stderr
