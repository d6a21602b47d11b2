"""Requests made up from the OpenAPI document, valid and not: no 5xx, and nothing that the document does not say."""

import json
import re
import subprocess
from collections.abc import Callable

from tests.end_to_end.processes import COMMANDS
from tests.faults.hostile.gateway import BASE, Hostile
from tests.faults.hostile.wire import ask, post

SEED = 20261125
SECONDS = 20
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth,"
    "use_after_free,ensure_resource_availability"
)
"""All but `positive_data_acceptance`: which model, file or cursor exists is no matter of the document."""

CONFIG = """
[[operations]]
include-path-regex = "^/v1/collections/"
parameters = { "path.c" = "pets" }
[[operations]]
include-path-regex = "jobs/"
exclude-path-regex = "events/stream"
parameters = { "path.id" = "%s" }
[[operations]]
include-path-regex = "events/stream"
parameters = { "path.id" = "%s" }
"""


def test_the_gateway_does_what_its_document_says(start: Callable[..., Hostile]) -> None:
    hostile = start()
    file = ask(hostile, "GET", "/v1/files").json()["data"][0]["id"]
    order = json.dumps({"model": BASE, "training_file": file}).encode()
    waiting, ended = (post(hostile, "/v1/fine_tuning/jobs", order).json()["id"] for _ in range(2))
    assert ask(hostile, "POST", f"/v1/jobs/{ended}/cancel").status == 200  # its stream has an end
    (hostile.home / "config.toml").write_text(CONFIG % (waiting, ended))
    done = subprocess.run(
        [
            *(COMMANDS / "st", "--config-file", "config.toml", "run", f"{hostile.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {hostile.key}", "--checks", CHECKS, "--seed", str(SEED)),
            *("--max-time", str(SECONDS), "--request-timeout", "10", "--generation-database", "none"),
            *("--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off", "--no-color"),
        ],
        cwd=hostile.home,
        capture_output=True,
        text=True,
        timeout=2 * SECONDS + 30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout[done.stdout.index("= SUMMARY =") :]
    print(summary)
    found = re.search(r"(\d+) generated", summary)
    assert found is not None and int(found[1]) > 300
    assert "ERROR" not in (hostile.home / "log.txt").read_text()
    assert not [path for path in hostile.files() if path.startswith("tmp/")]
