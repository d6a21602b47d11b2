"""What the demo shows is what was found, and it fits into 80 columns."""

from io import StringIO

import pytest
from rich.console import Console

from service.demo_view import Neighbours, View, duration
from service.schemas.collections import Hit

METRICS = dict.fromkeys(("ndcg@10", "mrr@10", "recall@1", "recall@5", "recall@10"), 0.5)
COMPARISON = {
    "metric": "ndcg@10", "delta": 0.125, "low": 0.1, "high": 0.15, "num_queries": 500,
    "wins": 210, "losses": 40, "ties": 250, "verdict": "better",
}  # fmt: skip


def hits(*ids: str) -> list[Hit]:
    return [Hit(id=id, score=0.5) for id in ids]


def shown(width: int = 80) -> tuple[View, StringIO]:
    out = StringIO()
    return View(Console(file=out, width=width, highlight=False)), out


def test_ranks_and_gain_are_those_of_the_right_answer() -> None:
    found = Neighbours(query="q", answer="a", before=hits("x", "y", "z", "a"), after=hits("a", "x"))
    assert (found.rank_before, found.rank_after, found.gain) == (4, 1, 0.75)
    lost = Neighbours(query="q", answer="a", before=hits("x", "a"), after=hits("x"))
    assert (lost.rank_after, lost.gain) == (None, -0.5)


def test_table_says_interval_and_verdict() -> None:
    view, out = shown()
    view.metrics({"base": METRICS, "tuned": METRICS | {"ndcg@10": 0.625}, "comparison": COMPARISON})
    text = out.getvalue()
    assert "0.500   0.625   +0.125" in text
    assert "95 % interval +0.100 to +0.150" in text and "verdict: better" in text


def test_long_names_and_queries_stay_within_the_terminal() -> None:
    view, out = shown()
    name = "package.module.Class." + "method" * 20
    view.neighbours(Neighbours(query="word " * 40, answer=name, before=hits("x", "y"), after=hits(name, "y")))
    view.step(2, "data", text="[not markup] " * 3, note="much " * 60)
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80
    assert "✓ …" in out.getvalue()


def test_brackets_and_colons_of_docstrings_and_paths_come_out_as_they_are() -> None:
    view, out = shown()
    text, note, line = "matches [a-z] and [/foo]", "such as “[bold]x[/bold] :warning:”", "files in /home/[/foo]/[red]"
    view.step(2, "data", text=text, note=note)
    view.line(line)
    assert [text in out.getvalue(), note in out.getvalue(), line in out.getvalue()] == [True, True, True]


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2s"), (59.96, "1m00s"), (61.0, "1m01s")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
