"""`infonce audit`: the library's numbers, tables that say how much is shown, and a cleaned file."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infonce.audit import audit_file
from infonce.audit_command import audit_app
from infonce.findings import FindingCode
from infonce.length_picture import TokenCounter
from tests.factories import sentences, tiny_model

ROWS: list[dict[str, Any]] = [
    {"query": text, "positive": f"{text} house", "negatives": [f"{text} house"] if n < 5 else ["a dog"], "score": 1}
    for n, text in enumerate(sentences(20))
]


@pytest.fixture(autouse=True)
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFONCE_CACHE", str(tmp_path / "cache"))
    tiny_model(tmp_path / "tiny")
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, ROWS[7]]))
    return path


def infonce_audit(pairs: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(audit_app, [str(word) for word in (pairs, *words)], catch_exceptions=False)


def test_the_json_is_what_the_library_says_and_what_the_model_scores(pairs: Path) -> None:
    model = pairs.parent / "tiny"
    printed = json.loads(infonce_audit(pairs, "--model", model, "--held-out", pairs, "--json").stdout)
    expected = audit_file(pairs, held_out=pairs, counter=TokenCounter.of(model, str(model))).to_dict()
    known = {finding["code"] for finding in expected["findings"]}
    assert [one for one in printed["findings"] if one["code"] in known] == expected["findings"]
    assert printed["held_out"] == expected["held_out"] and printed["lengths"] == expected["lengths"]
    assert printed["scores"]["negatives"] == 21 and printed["scores"]["above_positive"] >= 5


def test_the_tables_say_what_was_found_and_how_much_of_it_is_shown(pairs: Path) -> None:
    shown = infonce_audit(pairs, "--tokenizer", pairs.parent / "tiny", "--max-length", "4").stdout
    for words in ("21 pairs, 21 negatives", "warn conflicting_pair: 5", "3 shown of 5", "warn label_ignored: 1"):
        assert words in shown, shown
    assert "line 21: query and positive are those of line 8" in shown and "over 4" in shown


def test_a_cleaned_file_is_written_once(pairs: Path) -> None:
    cleaned = pairs.parent / "cleaned.jsonl"
    assert "20 pairs. Left out are copies: 1," in infonce_audit(pairs, "--cleaned", cleaned).stdout
    assert FindingCode.DUPLICATE_PAIR not in [finding.code for finding in audit_file(cleaned).findings]
    again = infonce_audit(pairs, "--cleaned", cleaned)
    assert again.exit_code == 1 and "already" in again.stderr


def test_what_no_model_uses_is_refused_and_what_a_model_could_not_do_is_said(pairs: Path) -> None:
    refused = infonce_audit(pairs, "--precision", "bf16")
    assert refused.exit_code == 1 and "no model is named that would compute in it" in " ".join(refused.stderr.split())
    pairs.write_text("".join(json.dumps({"query": row["query"], "positive": "p"}) + "\n" for row in ROWS))
    assert "scored nothing" in infonce_audit(pairs, "--model", pairs.parent / "tiny").stdout


def test_every_broken_line_is_named(pairs: Path) -> None:
    pairs.write_text("x\n" * 30)
    done = infonce_audit(pairs)
    assert done.exit_code == 1 and done.stderr.count("[invalid_json]") == 20 and "20 shown of 30" in done.stderr
