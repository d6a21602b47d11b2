"""The rows of an upload are shown a page at a time, as a training reads them."""

from typing import Any

import pytest

from service.client import Client
from service.schemas.rows import DocumentRow, PairRow
from tests.service.conftest import Gateway, Live, lines, problem
from tests.service.test_tenancy import judged

PAIRS = [{"query": f"q{number}", "positive": f"p{number}", "negatives": ["n"] * number} for number in range(5)]


def page(gateway: Gateway, id: str, **params: Any) -> dict[str, Any]:
    answer = gateway.http.get(f"/v1/files/{id}/rows", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_pairs_come_in_pages_with_the_lines_they_stand_in(gateway: Gateway) -> None:
    id = gateway.upload(b"\n" + lines(PAIRS)).json()["id"]
    first = page(gateway, id, limit=2)
    assert first["data"][1] == {"id": "3-0", "line": 3, "anchor": "q1", "positive": "p1", "negatives": ["n"]}
    assert (first["has_more"], first["last_id"], page(gateway, id)["has_more"]) == (True, "3-0", False)
    rest = page(gateway, id, after=first["last_id"])
    assert [row["line"] for row in rest["data"]] == [4, 5, 6] and page(gateway, id, after="3") == rest
    assert page(gateway, id, after="6")["data"] == [] and page(gateway, id, after="999999999")["last_id"] is None


def test_a_line_with_several_positives_is_parted_between_pages(gateway: Gateway) -> None:
    id = gateway.upload(lines([{"query": "q", "pos": ["a", "b", "c"], "neg": []}])).json()["id"]
    assert [row["positive"] for row in page(gateway, id, after="1-0")["data"]] == ["b", "c"]
    assert page(gateway, id, after="1")["data"] == []


def test_a_mapping_holds_for_its_rows(gateway: Gateway) -> None:
    form = {"purpose": "fine-tune", "mapping": '{"anchor": "q", "positive": "a"}'}
    sent = gateway.http.post("/v1/files", files={"file": ("f.tsv", b"q\ta\nx\ty\n")}, data=form)
    assert page(gateway, sent.json()["id"])["data"][0]["anchor"] == "x"


def test_documents_are_rows_and_judgements_have_none(gateway: Gateway) -> None:
    rows = [{"id": "a", "title": "t", "text": "x", "metadata": {"n": 1}}, {"text": "y"}]
    corpus = gateway.upload(lines(rows), purpose="corpus").json()["id"]
    expected = {"id": "1", "line": 1, "document": "a", "text": "t x", "metadata": {"n": 1}}
    assert page(gateway, corpus, limit=1) | {"data": [expected]} == page(gateway, corpus, limit=1)
    assert page(gateway, corpus, after="1")["data"][0]["document"] is None
    problem(gateway.http.get(f"/v1/files/{judged(gateway)}/rows"), 422, "invalid_value")


@pytest.mark.parametrize("after", ["x", "-1", "1-", "1-2-3", "1e3", "file-1", "²", "1" * 10])
def test_what_is_no_place_is_refused(gateway: Gateway, after: str) -> None:
    problem(gateway.http.get(f"/v1/files/{gateway.pairs(3)}/rows", params={"after": after}), 400, "bad_cursor")


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_page_has_1_to_100_rows(gateway: Gateway, limit: str) -> None:
    problem(gateway.http.get(f"/v1/files/{gateway.pairs(3)}/rows", params={"limit": limit}), 422, "invalid_value")


@pytest.mark.parametrize("damage", [b"", b"x" * 10_000], ids=["cut short", "other bytes"])
def test_a_damaged_file_is_said_to_be_one(gateway: Gateway, damage: bytes) -> None:
    id = gateway.pairs(3)
    path = gateway.parts.artifacts.file_path(id)
    path.write_bytes(damage[: path.stat().st_size])
    answer = gateway.http.get(f"/v1/files/{id}/rows")
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "artifact_corrupt", answer.text


def test_the_client_goes_through_all_of_them(live: Live, tmp_path: Any) -> None:
    with Client(live.url, api_key=live.key) as client:
        (tmp_path / "pairs.jsonl").write_bytes(lines(PAIRS * 50))
        (tmp_path / "corpus.jsonl").write_bytes(lines([{"text": "x"}]))
        found = list(client.pair_rows(client.upload(tmp_path / "pairs.jsonl", "fine-tune").id))
        assert len(found) == 250 and isinstance(found[-1], PairRow) and found[-1].anchor == "q4"
        [document] = client.document_rows(client.upload(tmp_path / "corpus.jsonl", "corpus").id)
        assert isinstance(document, DocumentRow) and document.text == "x"
