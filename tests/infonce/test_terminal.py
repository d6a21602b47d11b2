from io import StringIO
from threading import Event

from rich.console import Console
from rich.progress import Progress

from infonce.terminal import Watch


def test_what_a_run_is_judged_by_is_said_under_its_own_name() -> None:
    said = StringIO()
    watch = Watch(Progress(console=Console(file=said)), Event())
    watch.judged(5, "mrr@10", metrics={"ndcg@10": 0.25, "mrr@10": 0.5})
    assert said.getvalue().strip() == "after 5 steps mrr@10 is 0.500"
