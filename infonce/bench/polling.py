"""A training that waits in a gateway, and what it takes to look at it: what a client that polls is answered."""

import json
from statistics import median, quantiles
from typing import Any, Final

import httpx2

from infonce.bench.callers import look
from infonce.errors import InfonceError

_JOBS: Final = "/v1/fine_tuning/jobs"
_PAIRS: Final = 64
_LOOKS: Final = 200
_SECONDS: Final = 60.0


def ordered(url: str, model: str) -> str:
    """The URL of a training that waits in the gateway at that address.

    Raises:
        InfonceError: its file or its order was refused.
    """
    pairs = [{"anchor": f"which word has the number {n}", "positive": f"word {n}"} for n in range(_PAIRS)]
    file = {"file": ("pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs).encode())}
    with httpx2.Client(base_url=url, timeout=_SECONDS, trust_env=False) as http:
        uploaded = _body(http.post("/v1/files", files=file, data={"purpose": "fine-tune"}))
        job = _body(http.post(_JOBS, json={"model": model, "training_file": uploaded["id"]}))
    return f"{url}{_JOBS}/{job['id']}"


def polled(job: str) -> dict[str, float]:
    """What one caller waits for the job at that URL, in milliseconds.

    Raises:
        InfonceError: an answer was no 200.
    """
    seconds = [answer.seconds for answer in look(job, times=_LOOKS, callers=1).answers]
    return {"p50_ms": 1_000 * median(seconds), "p99_ms": 1_000 * quantiles(seconds, n=100)[-1]}


def _body(answer: httpx2.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise InfonceError(f"the gateway answered {answer.status_code}: {answer.text[:200]}")
    body: dict[str, Any] = answer.json()
    return body
