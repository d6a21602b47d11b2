"""Judgements are counted where they cannot take the gateway's memory."""

import io
import zipfile

from tests.faults.hostile.gateway import Hostile
from tests.faults.hostile.test_hostile_uploads import END, part, rows, send
from tests.faults.hostile.wire import ask


def test_a_million_judgements_lie_in_another_process(hostile: Hostile) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("corpus", "queries"):
            archive.writestr(f"{name}.jsonl", rows(*({"_id": f"{n}", "text": "a dog"} for n in range(1_000))))
        archive.writestr("qrels.tsv", "".join(f"{q}\t{d}\t1\n" for q in range(1_000) for d in range(1_000)))
    peak = hostile.memory()[1]
    answer = send(hostile, part("purpose", b"eval") + part("file", packed.getvalue(), "judged.zip") + END)
    assert answer.status == 200 and answer.json()["counts"]["judgements"] == 1_000_000
    assert hostile.memory()[1] < peak + 16
    assert ask(hostile, "DELETE", f"/v1/files/{answer.json()['id']}").status == 200
