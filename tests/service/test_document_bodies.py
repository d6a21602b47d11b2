"""Documents of a body, read many at once: the same as one by one, what is broken in them included."""

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.errors import DatasetError
from service.bodies import DOCUMENTS_LIMIT, parse
from service.document_bodies import DocumentLines, documents_in
from service.errors import InvalidInput
from service.schemas.documents import DocumentBody
from service.schemas.vectors import to_base64
from service.spool import Spool
from service.store.collection_records import CollectionRecord
from service.store.documents import NewDocument
from service.store.errors import StorageFull
from tests.service.conftest import lines

OWN = CollectionRecord(
    id="col-1", project="p", name="own", created_at=1.0, model=None, dimension=2, metadata={}, watermark=0
)


def coded(*numbers: float) -> str:
    return to_base64(np.array([numbers], dtype=np.float32))[0]


def array(rows: list[Any]) -> bytes:
    return json.dumps({"documents": rows}).encode()


@pytest.mark.parametrize("first", ["base64", "list"])
def test_many_vectors_at_once_are_what_each_would_be_alone(first: str) -> None:
    draw = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for place in range(700):
        numbers = draw.standard_normal(5 if place in (300, 301) else 3) * 10.0 ** draw.integers(-30, 30)
        is_list = (place % 7 == 1) != (first == "list")
        rows.append({"id": f"d{place}", "vector": numbers.tolist() if is_list else coded(*numbers)})
    for row, body in zip(rows, documents_in(array(rows)), strict=True):
        alone = parse(DocumentBody, json.dumps(row).encode()).vector
        assert body.vector is not None and alone is not None
        assert body.vector.tolist() == alone.tolist() and np.linalg.norm(alone) == pytest.approx(1)


BROKEN = [
    pytest.param(coded(0, 0), "length 0", id="no direction"),
    pytest.param(coded(1, np.inf), "finite", id="infinite"),
    pytest.param(coded(np.nan, 1), "finite", id="not a number"),
    pytest.param("AAA", "base64", id="no base64"),
    pytest.param("", "has 0 numbers", id="empty"),
    pytest.param([1, True], "list of numbers", id="not only numbers"),
]


@pytest.mark.parametrize("place", [0, 255, 256, 599])
@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_of_many_vectors_the_broken_one_is_named(broken: object, reason: str, place: int) -> None:
    rows: list[Any] = [{"id": f"d{place}", "vector": coded(1, place)} for place in range(600)]
    rows[place]["vector"] = broken
    with pytest.raises(InvalidInput, match=reason) as caught:
        documents_in(array(rows))
    assert [one.pointer for one in caught.value.places] == [f"/documents/{place}/vector"]


@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_of_many_lines_the_broken_ones_are_named_in_their_order(broken: object, reason: str, tmp_path: Path) -> None:
    rows: list[Any] = [{"id": f"d{place}", "vector": coded(1, place)} for place in range(600)]
    rows[3]["text"] = ""
    rows[400]["vector"] = coded(1, 2, 3)
    rows[298]["vector"] = broken
    path = tmp_path / "documents"
    path.write_bytes(lines(rows[:299]) + b"\n\xff\n" + lines(rows[299:]))
    with pytest.raises(DatasetError, match="no visible") as caught:
        DocumentLines.checked(path, OWN, few=2)
    assert [issue.line for issue in caught.value.issues] == [4, 299, 301, 403]
    assert reason in caught.value.issues[1].detail and caught.value.issues[3].code == "index_mismatch"


@pytest.mark.parametrize("characters", [1, 262_144])
def test_sound_lines_are_read_as_often_as_wanted_and_of_many_little_is_kept(characters: int, tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "vector": coded(1, n), "text": "x" * characters} for n in range(140)]
    path = tmp_path / "documents"
    path.write_bytes(lines(rows))
    read = DocumentLines.checked(path, OWN, few=2)
    is_on_disk = isinstance(read.kept, Spool)
    assert read.num == 140 and is_on_disk == (path.stat().st_size > DOCUMENTS_LIMIT) == (characters > 1)
    for _ in range(2):
        found = [(one.id, len(one.text or ""), np.frombuffer(one.vector or b"", "<f4")[0]) for one in read]
        assert found == [(f"d{n}", characters, pytest.approx(1 / np.hypot(1, n))) for n in range(140)]


def test_no_line_is_no_document(tmp_path: Path) -> None:
    path = tmp_path / "documents"
    path.write_bytes(b"\n \n")
    with pytest.raises(DatasetError, match="no documents"):
        DocumentLines.checked(path, OWN, few=2)


def test_what_is_kept_on_disk_comes_back_as_it_was(tmp_path: Path) -> None:
    told = [
        NewDocument(
            id="ß\u2028", text="line\nbreak \U0001f600", metadata={"n": 2**53, "f": 0.1, "l": [None, True, "x\\u0000"]}
        ),
        NewDocument(id="v", vector=b"\n[]\n" * 3),
        NewDocument(id="empty", text="", vector=b""),
    ]
    spool = Spool(tmp_path)
    spool.extend(told[:1])
    spool.extend([])
    spool.extend(told[1:])
    assert list(spool) == list(spool) == told
    assert list(tmp_path.iterdir()) == []  # without a name


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    spool, (soft, hard) = Spool(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageFull):
            spool.extend(NewDocument(id=str(number), text="x" * 1_000) for number in range(1_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
