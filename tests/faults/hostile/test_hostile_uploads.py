"""H22 to H35 as far as there is a route: forms that are none, names that lead elsewhere, lines that are no pairs."""

import base64
import gzip
import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.hostile.gateway import Hostile
from tests.faults.hostile.wire import Answer, ask, connected, head, post, read, refused, unharmed
from tests.service.conftest import BASE

FORM = "multipart/form-data; boundary=abc"
PAIR = {"query": "which pet barks", "positive": "the dog barks"}
END = b"--abc--\r\n"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    return b"--abc\r\ncontent-disposition: form-data; name=%b%b\r\n\r\n%b\r\n" % (
        json.dumps(name).encode(),
        named.encode("utf-8", "surrogateescape"),
        content,
    )


PURPOSE = part("purpose", b"fine-tune")
FILE = part("file", json.dumps(PAIR).encode(), "p.jsonl")


def upload(hostile: Hostile, content: bytes, filename: str = "pairs.jsonl") -> Answer:
    return send(hostile, PURPOSE + part("file", content, filename) + END)


def send(hostile: Hostile, body: bytes, content_type: str = FORM) -> Answer:
    return ask(hostile, "POST", "/v1/files", body=body, content_type=content_type)


FORMS = {
    "no boundary": ("multipart/form-data", PURPOSE + FILE + END, 400, "malformed_multipart"),
    "another boundary": ("multipart/form-data; boundary=xyz", PURPOSE + FILE + END, 400, "malformed_multipart"),
    "a long boundary": ("multipart/form-data; boundary=" + "a" * 300, b"", 400, "malformed_multipart"),
    "no form": ("application/json", b"{}", 415, "unsupported_media_type"),
    "garbage": (FORM, bytes(range(256)) * 100, 400, "malformed_multipart"),
    "nothing": (FORM, b"", 400, "malformed_multipart"),
    "no part": (FORM, END, 422, "missing_field"),
    "truncated": (FORM, PURPOSE + FILE[:-20], 400, "malformed_multipart"),
    "no end": (FORM, PURPOSE + FILE, 400, "malformed_multipart"),
    "no file": (FORM, PURPOSE + END, 422, "missing_field"),
    "no purpose": (FORM, FILE + END, 422, "missing_field"),
    "five files": (FORM, PURPOSE + FILE * 5 + END, 422, "invalid_value"),
    "1,500 fields": (FORM, b"".join(part(f"f{n}", b"x") for n in range(1_500)) + END, 422, "unknown_field"),
    "1,500 purposes": (FORM, PURPOSE * 1_500 + FILE + END, 422, "invalid_value"),
    "a long field": (FORM, part("purpose", b"x" * 5_000) + FILE + END, 413, "too_large"),
    "an unknown purpose": (FORM, part("purpose", b"fun") + FILE + END, 422, "invalid_value"),
    "a purpose of bytes": (FORM, part("purpose", b"\xff\x00") + FILE + END, 422, "invalid_value"),
    "a part without a name": (FORM, b"--abc\r\nx: y\r\n\r\nz\r\n" + END, 422, "unknown_field"),
    "a part of 1,000 headers": (
        FORM,
        b"--abc\r\n" + b"x: y\r\n" * 1_000 + b"\r\nz\r\n" + END,
        400,
        "malformed_multipart",
    ),
    "a header of 1 MB": (FORM, b"--abc\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\nz\r\n" + END, 400, "malformed_multipart"),
}


@pytest.mark.parametrize("name", FORMS)
def test_h22_a_form_that_is_none_is_refused(hostile: Hostile, name: str) -> None:
    content_type, body, status, code = FORMS[name]
    with unharmed(hostile):
        refused(send(hostile, body, content_type), status, code)


@pytest.mark.parametrize(
    ("filename", "label"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\windows\\\\cmd.exe", "cmd.exe"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("n" * 5_000, "n" * 255),
        ("CON", "CON"),
        ("..", ".."),
        ("<script>alert(1)</script>", "script>"),
        ("\udcff\udcfe", "\ufffd\ufffd"),
        ("", "upload"),
        ("a\0b.jsonl", "ab.jsonl"),
        ("\0", "upload"),
    ],
    ids=range(11),
)
def test_h23_a_name_is_a_label_and_no_place(hostile: Hostile, tmp_path: Path, filename: str, label: str) -> None:
    before = set(hostile.files())
    outside = sorted(hostile.home.glob("*")) + sorted(hostile.home.parent.glob("*"))
    answer = upload(hostile, json.dumps(PAIR).encode(), filename)
    assert answer.status == 200, answer
    assert answer.json()["filename"] == label and answer.headers["x-content-type-options"] == "nosniff"
    assert set(hostile.files()) - before == {f"files/{answer.json()['id']}"}
    assert sorted(hostile.home.glob("*")) + sorted(hostile.home.parent.glob("*")) == outside
    assert ask(hostile, "DELETE", f"/v1/files/{answer.json()['id']}").status == 200


def endless(num_bytes: int, sent: list[int]) -> Iterator[bytes]:
    """A form whose file is one line of so many bytes, in chunks that are made as they are sent, and counted."""
    start = (PURPOSE + FILE)[: -len(b'"}\r\n')]
    for size in (len(start), *[64 << 10] * (num_bytes >> 16)):
        sent.append(size)
        yield b"%x\r\n%b\r\n" % (size, start if len(sent) == 1 else b"a" * size)


def test_h24_a_line_of_two_gigabytes_is_refused_and_memory_stays_flat(hostile: Hostile) -> None:
    fields = {"content_type": FORM, "transfer_encoding": "chunked"}
    asked = head("POST", "/v1/files", key=hostile.key, **fields)
    peak = hostile.memory()[1]
    sent: list[int] = []
    with unharmed(hostile), connected(hostile) as wire:
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.sendall(asked)
            for piece in endless(2 << 30, sent):
                wire.sendall(piece)
        answer = read(wire)
        assert answer is not None and answer.is_closed
        [error] = refused(answer, 422, "dataset_invalid")["errors"]
        assert (error["line"], error["code"]) == (1, "line_too_long")
    assert 1 << 20 < sum(sent) < 96 << 20  # what is thrown away has a limit, and the kernel keeps some megabytes
    assert hostile.memory()[1] < peak + 16


def rows(*found: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in found)


def zeros(content: bytes = bytes(200 << 20)) -> bytes:
    return gzip.compress(content)


TABLE = b"query,positive\n"
LINES: dict[str, tuple[bytes, int | None, str]] = {
    "H24 one line of 3 MB": (b'{"query": "' + b"a" * (3 << 20) + b'"}', 1, "line_too_long"),
    "H25 nothing": (b"", None, "empty_dataset"),
    "H25 empty lines": (b"\n" * 20_000, None, "empty_dataset"),
    "H25 empty objects": (b"{}\n" * 20_000, 1, "missing_field"),
    "H27 one broken line of 1,000": (rows(*[PAIR] * 16, "x", *[PAIR] * 983), 17, "not_an_object"),
    "H28 an array": (rows(PAIR, []), 2, "not_an_object"),
    "H28 a number": (rows(PAIR, 5), 2, "not_an_object"),
    "H28 null": (rows(PAIR, None), 2, "not_an_object"),
    "H28 a number for a text": (rows(PAIR | {"positive": 5}), 1, "wrong_type"),
    "H28 no positive": (rows(PAIR, {"query": "a"}), 2, "missing_field"),
    "H28 negatives that are none": (rows(PAIR | {"negatives": [None]}), 1, "wrong_type"),
    "H29 nothing": (rows(PAIR | {"positive": ""}), 1, "empty_text"),
    "H29 blank": (rows(PAIR | {"positive": " \t "}), 1, "empty_text"),
    "H29 without width": (rows(PAIR | {"query": "\u200b\u200d"}), 1, "empty_text"),
    "H29 control characters": (rows(PAIR | {"query": "\x01\x02"}), 1, "empty_text"),
    "H30 a million characters": (rows(PAIR | {"query": "a" * 1_000_000}), 1, "text_too_long"),
    "H30 one word": (rows(PAIR | {"query": "pneumono" * 62_500}), 1, "text_too_long"),
    "H30 a million marks": (
        ('{"query": "e' + "\u0301" * 400_000 + '", "positive": "a"}').encode(),
        1,
        "text_too_long",
    ),
    "H34 a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), 1, "not_utf8"),
    "H34 an archive": (b"PK\x03\x04" + bytes(100), None, "corrupt_zip"),
    "H34 a pickle": (pickle.dumps(PAIR), 1, "not_utf8"),
    "H34 parquet": (b"PAR1" + bytes(100) + b"PAR1", None, "corrupt_parquet"),
    "H34 UTF-16": (json.dumps(PAIR).encode("utf-16"), 1, "not_utf8"),
    "H21 gzip that ends early": (gzip.compress(rows(PAIR))[:-5], None, "corrupt_gzip"),
    "H21 gzip and more": (gzip.compress(rows(PAIR)) + b"more", None, "corrupt_gzip"),
    "H21 gzip in gzip": (gzip.compress(gzip.compress(rows(PAIR))), None, "nested_compression"),
    "H21 gzip in gzip of 200 MB": (zeros(zeros()), None, "nested_compression"),
    "H33 an open quote": (TABLE + b'a,"b\nc,d\n', 2, "invalid_csv"),
    "H33 ragged rows": (TABLE + b"a,b\nc\nd,e,f\n", 3, "ragged_row"),
    "H33 semicolons": (b"query;positive\na;b\n", 1, "unknown_header"),
    "H33 NUL": (TABLE + b"a\0,b\n", 2, "invalid_text"),
    "H33 a cell of 200 KB": (TABLE + b"a," + b"b" * 200_000, 2, "invalid_csv"),
    "H33 no header": (b"which pet barks,the dog barks\n", 1, "unknown_header"),
    "H33 a column twice": (b"query,positive,positive\na,b,c\n", 1, "duplicate_field"),
    "H4 NUL": (rows(PAIR | {"query": "a\0b"}), 1, "invalid_text"),
    "H3 a lone surrogate": (b'{"query": "\\ud800", "positive": "a"}', 1, "invalid_text"),
    "H1 deep": (b'{"query": ' + b"[" * 100_000 + b"}", 1, "invalid_json"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_file_with_a_line_that_is_no_pair_is_refused_whole(hostile: Hostile, name: str) -> None:
    content, line, code = LINES[name]
    with unharmed(hostile):
        errors = refused(upload(hostile, content), 422, "dataset_invalid")["errors"]
        assert (errors[0]["line"], errors[0]["code"]) == (line, code) and len(errors) <= 20


@pytest.mark.parametrize("pack", [zeros, lambda: gzip.compress(rows(PAIR) * 40_000)], ids=["zeros", "equal lines"])
def test_h21_a_bomb_is_refused_and_memory_stays_flat(hostile: Hostile, pack: Callable[[], bytes]) -> None:
    bomb = pack()
    peak = hostile.memory()[1]
    with unharmed(hostile):
        errors = refused(upload(hostile, bomb, "pairs.jsonl.gz"), 413, "decompressed_too_large")["errors"]
        assert errors[0]["code"] == "decompressed_too_large"
    assert hostile.memory()[1] < peak + 16


TABLES = {
    "H33 a mark of byte order": b"\xef\xbb\xbf" + TABLE + b"a,b\n",
    "H33 a formula": TABLE + b"=cmd(),@b\n",
    "H28 extra keys": json.dumps([PAIR | {"source": "x", "label": 1}]).encode(),
    "H29 pictures alone, which a job's model may read or leave out": rows(PAIR | {"query": "\U0001f600\U0001f600"}),
    "in gzip": gzip.compress(rows(PAIR)),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_is_odd_and_right_is_kept(hostile: Hostile, name: str) -> None:
    answer = upload(hostile, TABLES[name], "pairs.csv")
    assert (answer.status, answer.json()["counts"]["pairs"]) == (200, 1), answer
    assert ask(hostile, "DELETE", f"/v1/files/{answer.json()['id']}").status == 200


def test_h26_what_other_programs_take_for_the_end_of_a_line_is_text(hostile: Hostile) -> None:
    texts = ["a\u2028b", "a\u0085b", "a\u2029b", "a\x0bb \x1c c", "a\rb"]
    content = b"".join(json.dumps(PAIR | {"query": t}, ensure_ascii=False).encode() + b"\r\n" for t in texts)
    answer = upload(hostile, b"\xef\xbb\xbf" + content)
    assert (answer.status, answer.json()["counts"]["pairs"]) == (200, len(texts)), answer
    assert ask(hostile, "DELETE", f"/v1/files/{answer.json()['id']}").status == 200


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def stating(digest: str) -> bytes:
    """The part of a file of one pair, with that digest."""
    field = b"\r\ncontent-digest: %b\r\n\r\n" % digest.encode("latin-1")
    return part("file", rows(PAIR), "f").replace(b"\r\n\r\n", field, 1)


WRONG = [digest(b"other"), "sha-256=:AAAA:", "sha-256=:%%%:", "md5=:AAAA:", "x", digest(b"other") + "\u00e9"]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_h35_a_body_or_file_that_is_not_what_its_digest_says_is_refused(hostile: Hostile, wrong: str) -> None:
    with unharmed(hostile):
        refused(send(hostile, PURPOSE + stating(wrong) + END), 400, "digest_mismatch")
        body = PURPOSE + FILE + END
        answer = ask(hostile, "POST", "/v1/files", body=body, content_type=FORM, content_digest=wrong)
        refused(answer, 400, "digest_mismatch")


def test_h35_what_is_as_its_digests_say_is_kept(hostile: Hostile) -> None:
    body = PURPOSE + stating(digest(rows(PAIR))) + END
    stated = f"sha-512=:AAAA:, {digest(body)}"
    answer = ask(hostile, "POST", "/v1/files", body=body, content_type=FORM, content_digest=stated)
    assert answer.status == 200, answer
    assert ask(hostile, "DELETE", f"/v1/files/{answer.json()['id']}").status == 200


@pytest.mark.parametrize("content", [rows(PAIR), rows(*[PAIR] * 99)], ids=["H31 one pair", "H31 and H32 all the same"])
def test_pairs_from_which_nothing_can_be_learnt_make_no_job(hostile: Hostile, content: bytes) -> None:
    file = upload(hostile, content).json()
    assert file["counts"]["duplicates"] == file["counts"]["pairs"] - 1
    body = json.dumps({"model": BASE, "training_file": file["id"]}).encode()
    with unharmed(hostile):
        assert "at least 2" in refused(post(hostile, "/v1/fine_tuning/jobs", body), 422, "too_few_pairs")["detail"]
    assert ask(hostile, "DELETE", f"/v1/files/{file['id']}").status == 200


DOCUMENT = {"id": "a", "vector": [1.0] + [0.0] * 7}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", None),
        (rows(DOCUMENT, 5), 2),
        (rows(DOCUMENT, DOCUMENT | {"vector": [1.0]}), 2),
        (rows(DOCUMENT, {"id": "b", "text": "no vector"}), 2),
        (rows(DOCUMENT) * 16 + b"{\n" + rows(DOCUMENT) * 983, 17),
        (b'{"id": "' + b"a" * (5 << 20) + b'"}', 1),
        (b"\x89PNG\r\n\x1a\n", 1),
    ],
    ids=range(7),
)
def test_a_stream_of_documents_is_refused_whole(hostile: Hostile, content: bytes, line: int | None) -> None:
    with unharmed(hostile):
        answer = post(hostile, "/v1/collections/pets/documents", content, content_type="application/x-ndjson")
        assert refused(answer, 422, "dataset_invalid")["errors"][0]["line"] == line
