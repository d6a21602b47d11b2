"""The page says what the report says, holds all of it, and no text of a user becomes anything but text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infonce.audit import audit_file
from infonce.charts import bars, line_chart, whiskers
from infonce.model_card import model_card
from infonce.phrases import duration, headline, number, signed
from infonce.report_page import report_page
from tests.infonce.reported import toy_report, with_retention

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><iframe src=//evil.example>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)\u202e\x00 'quote' &amp;",
]
ALLOWED = {"class", "dir", "lang", "charset", "name", "content", "http-equiv", "scope", "role", "data-is"}
DRAWING = {"aria-label", "aria-hidden", "viewbox", "preserveaspectratio", "overflow", "d", "r", "cx", "cy"}
PLACES = {"x", "y", "x1", "x2", "y1", "y2", "width", "height"}


class Page(HTMLParser):
    """What a browser would find: its elements, its attributes, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_page_and_card_say_that_a_corpus_is_a_sample() -> None:
    report = toy_report()
    report["summary"]["evaluations"][0]["drawn_from"] = 28_795
    said = "1,000 queries searched in 5,000 documents, a sample of 28,795 that keeps every relevant one"
    assert said in report_page(report) and said in model_card(report)


def test_the_verdict_stands_in_words_at_the_top() -> None:
    said = "nDCG@10 0.377 → 0.519, +0.142, 95 % interval +0.120 … +0.165, 512 wins, 88 losses, 400 ties"
    assert headline(toy_report()) == f"better: {said}"
    assert said in report_page(toy_report()).split("</header>")[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_a_text(text: str) -> None:
    plain, hostile = (Page(report_page(toy_report(text=one) | {"model": one})) for one in ("plain", text))
    assert hostile.tags == plain.tags and hostile.attributes == plain.attributes
    assert hostile.attributes <= ALLOWED | DRAWING | PLACES
    assert not {"script", "iframe", "img", "link", "object", "a", "form"} & {*hostile.tags}
    assert sum(text in found for found in hostile.texts) == 4  # the title twice, a win, a file's name


def test_the_page_forbids_itself_to_load_anything_and_names_its_one_style() -> None:
    page = report_page(toy_report())
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page
    assert not re.search(r"https?:|url\(|@import|style=|\son\w+=", page)


def test_what_the_model_still_knows_is_a_sentence_and_a_curve() -> None:
    page = report_page(with_retention(held=True, alpha=0.75))
    said = "Held: nDCG@10 0.725 → 0.720, −0.005, on a probe of 1,000 queries over 3,000 texts; it may fall by 0.01."
    assert said in page and "it forgets" not in page
    assert "Published is α = 0.75" in page and "the best &lt;of&gt; them" in page and "the other half judges" in page
    assert 'aria-label="nDCG@10 of the queries that choose: 0.4 at first, 0.48 at last' in page
    assert page.count("<td>chosen</td>") == 1
    assert "interpolation" not in report_page(toy_report())


def test_a_better_model_that_forgets_says_so_beside_its_verdict() -> None:
    report = with_retention(held=False)
    top = report_page(report).split("</header>")[0]
    assert "But it forgets: retention is not held: nDCG@10 0.725 → 0.650, −0.075" in top
    assert "it forgets" in model_card(report) and "0.75 × tuned + 0.25 × base" not in model_card(report)
    assert "0.75 × tuned + 0.25 × base" in model_card(with_retention(held=True, alpha=0.75))


def test_what_was_not_measured_is_told_with_its_reason() -> None:
    report = toy_report()
    report["summary"]["retention"] = {"held": None, "reason": "evaluation.retention is off"}
    report["interpolation"] = {"alpha": 1.0, "reason": "off: retention is not measured", "curve": [], "chosen_by": None}
    page = report_page(report | {"deployment": {"policy": "if_better", "job": "job-1"}})
    assert "Not measured: evaluation.retention is off." in page
    assert "None between were tried: retention is not measured." in page
    assert "if_better" in page


def test_the_audit_of_a_real_file_is_told_with_its_lines(tmp_path: Path) -> None:
    rows = [{"anchor": f"q{place}", "positive": f"p{place}"} for place in range(20)]
    rows += [{**rows[3], "negatives": ["p3"]}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit = audit_file(tmp_path / "pairs.jsonl").to_dict()
    page = report_page(toy_report() | {"audit": audit})
    for finding in audit["findings"]:
        assert finding["meaning"] in page
    assert "<td>21</td>" in page and "Audit of the data" in page


def test_a_report_that_has_nothing_but_its_model_is_a_page_too() -> None:
    for report in ({}, {"model": "m", "summary": {"metric": "ndcg@10", "evaluations": [], "verdict": None}}):
        assert "not judged" in report_page(report).replace("<b>", "").replace("</b>", "")


def test_a_long_report_stays_a_page_that_can_be_sent() -> None:
    report = toy_report(num_steps=2_000)
    assert len(json.dumps(report, indent=2)) < 2_000_000 and len(report_page(report)) < 200_000


def test_the_curve_goes_through_its_points() -> None:
    chart = line_chart("Loss", [(1, 4.0), (2, 2.0), (3, 0.0)], unit="nats", height=100)
    assert chart.curves[0].path == "M0.0 0.0L500.0 50.0L1000.0 100.0"
    assert [tick.text for tick in chart.y_ticks] == ["0", "1", "2", "3", "4"]
    assert line_chart("Flat", [(5, 1.0)], unit="", height=100).curves[0].path == "M0.0 50.0"


def test_bars_are_as_high_as_their_counts_and_losses_stand_left() -> None:
    found = bars([1, 0, 0, 4], height=100)
    assert [bar.height for bar in found] == [25, 0, 0, 100]
    assert [bar.is_gain for bar in found] == [False, False, True, True]


def test_an_interval_that_holds_nothing_says_nothing() -> None:
    gains = {"a": (0.1, 0.3), "b": (-0.3, -0.1), "c": (-0.1, 0.1)}
    found = whiskers({name: {"base": 0, "tuned": 0, "low": low, "high": high} for name, (low, high) in gains.items()})
    assert {name: one.kind for name, one in found.items()} == {"a": "gain", "b": "loss", "c": "none"}
    assert found["b"].high < found["b"].zero == found["a"].zero < found["a"].low


def test_numbers_are_said_as_people_read_them() -> None:
    assert [number(value) for value in (1234, 0.05, 1e-4, 2.5e-5, 12345.6)] == [
        "1,234",
        "0.05",
        "0.0001",
        "2.5e−5",
        "12,346",
    ]
    assert [duration(value) for value in (0.1234, 59, 61, 7265)] == ["0.123 s", "59 s", "1 min 1 s", "2 h 1 min"]
    assert (signed(-0.0301), signed(0.5)) == ("−0.030", "+0.500")
